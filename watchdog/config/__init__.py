"""YAML files → Config. Every mistake is listed at once, each as ``file:line:column: what — cure``."""

from __future__ import annotations

from watchdog.config.diff import FileStats, describe_changes, stat_files
from watchdog.config.files import find_files, find_neighbours, require_files
from watchdog.config.inventory import Inventory, describe_missing, find_fates
from watchdog.config.load import check_files, load, load_partial, state_folder, unsafe_files
from watchdog.config.models import Config, Defaults, Reload, Web
from watchdog.config.state_owner import configuration_path, describe_foreign_state, is_same_configuration
from watchdog.documents.problems import ConfigError, Problem

__all__ = [
    "Config",
    "ConfigError",
    "Defaults",
    "FileStats",
    "Inventory",
    "Problem",
    "Reload",
    "Web",
    "check_files",
    "configuration_path",
    "describe_changes",
    "describe_foreign_state",
    "describe_missing",
    "find_fates",
    "find_files",
    "find_neighbours",
    "is_same_configuration",
    "load",
    "load_partial",
    "require_files",
    "stat_files",
    "state_folder",
    "unsafe_files",
]
