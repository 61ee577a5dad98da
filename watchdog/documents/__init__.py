"""YAML files as data in which each word knows its place, and the problems that are found in them."""
