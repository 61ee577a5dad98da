"""YAML files → Config. Every mistake is listed at once, each as ``file:line:column: what — cure``."""

from __future__ import annotations

from watchdog.config.changes import Looks, changes, looks
from watchdog.config.load import check, load, ours, salvage
from watchdog.config.problem import ConfigError, Problem
from watchdog.config.shape import Config, Defaults, Reload, Web

__all__ = [
    "Config",
    "ConfigError",
    "Defaults",
    "Looks",
    "Problem",
    "Reload",
    "Web",
    "changes",
    "check",
    "load",
    "looks",
    "ours",
    "salvage",
]
