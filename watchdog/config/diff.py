"""What a reload changes, in words, and whether the files on disk have been touched at all."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from watchdog.config.files import find_files
from watchdog.config.models import Config

SECTIONS = ("rules", "kpis", "plans", "targets", "sources", "channels", "people")
_SECTION_NOUNS = {
    "rules": "rule",
    "kpis": "KPI",
    "plans": "plan",
    "targets": "target",
    "sources": "source",
    "channels": "channel",
    "people": "person",
}
_PLURALS = {section: f"{noun}s" for section, noun in _SECTION_NOUNS.items()} | {"people": "people"}
_MAX_NAMES = 5

FileStats = dict[str, tuple[int, ...] | None]
"""File or folder → what changes when somebody writes it, moves another in its place, or changes who may write it."""


def describe_changes(old: Config, new: Config) -> list[str]:
    """``3 rules changed: a, b, c``, ``1 plan added: d`` …; empty when the files say the same."""
    found: list[str] = []
    for section in SECTIONS:
        before, after = _entries(old, section), _entries(new, section)
        for verb, names in _diff_names(before, after):
            if names:
                noun = _PLURALS[section] if len(names) > 1 else _SECTION_NOUNS[section]
                few = ", ".join(names[:_MAX_NAMES]) + (
                    f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
                )
                found.append(f"{len(names)} {noun} {verb}: {few}")
    return found


def _entries(config: Config, section: str) -> Mapping[str, Any]:
    """What stands under a section, by name; of a rule, what it is for each of its targets."""
    if section != "rules":
        found: Mapping[str, Any] = getattr(config, section)
        return found
    rules: dict[str, dict[str, Any]] = {}
    for (name, target), rule in config.rules_by_target.items():
        rules.setdefault(name, {})[target] = rule
    return rules


def _diff_names(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield "changed", [name for name, model in after.items() if name in before and before[name] != model]
    yield "added", [name for name in after if name not in before]
    yield "removed", [name for name in before if name not in after]


def stat_files(path: Path) -> FileStats:
    """How the files that `load(path)` reads look from outside. Their content is not read."""
    files = find_files(path)
    watched = [*([files.main] if files.main else []), *files.rules, files.folder, files.folder / "rules"]
    return {str(each): _stat_file(each) for each in watched}


def _stat_file(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    identity = (status.st_ino, status.st_dev, status.st_mode, status.st_uid, status.st_gid)
    # Of a folder the names that count are in the list; an editor's own files there are nobody's business.
    return identity if stat.S_ISDIR(status.st_mode) else (*identity, status.st_size, status.st_mtime_ns)
