"""YAML files → Config. Every mistake is listed at once, each as ``file:line:column: what — cure``."""

from __future__ import annotations

from watchdog.config.diff import FileStats, describe_changes, stat_files
from watchdog.config.load import check_files, find_files, load, load_partial, require_files, state_folder, unsafe_files
from watchdog.config.models import Config, Defaults, Reload, Web
from watchdog.documents.problems import ConfigError, Problem

__all__ = [
    "Config",
    "ConfigError",
    "Defaults",
    "FileStats",
    "Problem",
    "Reload",
    "Web",
    "check_files",
    "describe_changes",
    "find_files",
    "load",
    "load_partial",
    "require_files",
    "stat_files",
    "state_folder",
    "unsafe_files",
]
