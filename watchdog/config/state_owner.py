"""Whose state folder it is: two configurations that share one would act on each other's incidents."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from watchdog.config.files import find_files
from watchdog.config.load import load_partial
from watchdog.documents.problems import ConfigError


def configuration_path(path: Path) -> str:
    """How a state folder knows its configuration: the full path of watchdog.yaml. Links in it are kept, so that one that
    leads to another release tomorrow is still the same configuration."""
    return os.path.abspath(find_files(path).main or path)  # noqa: PTH100 - Path.resolve would follow the links


def is_same_configuration(known: str, path: Path) -> bool:
    """Whether `path` is the configuration called `known`, perhaps by another way."""
    ours = configuration_path(path)
    try:
        return known == ours or os.path.samefile(known, ours)  # noqa: PTH121 - plain paths
    except OSError:
        return False


def describe_foreign_state(known: str | None, path: Path, state: Path, environ: Mapping[str, str]) -> str | None:
    """Why the configuration at `path` has no business in the state folder `state`, whose journal was written for `known`.

    None when it has: the journal is its own or nobody's, or the other one is gone, or has a state folder elsewhere by now.
    """
    if known is None or is_same_configuration(known, path) or not _claims(Path(known), state, environ):
        return None
    ours = configuration_path(path)
    return (
        f"the state folder {state} belongs to the configuration {known}, not to {ours} — "
        f"say `state:` with a folder of its own in {ours}; has the configuration moved there? then remove {known}"
    )


def _claims(other: Path, state: Path, environ: Mapping[str, str]) -> bool:
    """Whether that configuration is still there and keeps its state in this folder; also when nobody can tell."""
    try:
        other.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return os.path.realpath(load_partial(other, environ=environ).state) == os.path.realpath(state)
    except ConfigError:
        return True
