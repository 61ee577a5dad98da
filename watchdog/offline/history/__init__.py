"""The past as files and servers tell it, for everything that asks about the past: query and replay."""
