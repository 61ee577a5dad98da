"""What a reload changes, in words, and whether the files on disk have been touched at all."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from watchdog.config.load import found
from watchdog.config.shape import Config

SECTIONS = ("rules", "kpis", "plans", "targets", "sources", "channels")
_ONE = {
    "rules": "rule",
    "kpis": "KPI",
    "plans": "plan",
    "targets": "target",
    "sources": "source",
    "channels": "channel",
}
_FEW = 5

Looks = dict[str, tuple[int, ...] | None]
"""File or folder → what changes when somebody writes it, moves another in its place, or changes who may write it."""


def changes(old: Config, new: Config) -> list[str]:
    """``3 rules changed: a, b, c``, ``1 plan added: d`` …; empty when the files say the same."""
    found: list[str] = []
    for section in SECTIONS:
        before, after = getattr(old, section), getattr(new, section)
        for verb, names in _moved(before, after):
            if names:
                few = ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
                found.append(f"{len(names)} {_ONE[section]}{'' if len(names) == 1 else 's'} {verb}: {few}")
    return found


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield "changed", [name for name, model in after.items() if name in before and before[name] != model]
    yield "added", [name for name in after if name not in before]
    yield "removed", [name for name in before if name not in after]


def looks(path: Path) -> Looks:
    """How the files that `load(path)` reads look from outside. Their content is not read."""
    files = found(path)
    mine = [*([files.main] if files.main else []), *files.rules, files.folder, files.folder / "rules"]
    return {str(each): _look(each) for each in mine}


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    owned = (told.st_ino, told.st_dev, told.st_mode, told.st_uid, told.st_gid)
    # Of a folder the names that count are in the list; an editor's own files there are nobody's business.
    return owned if stat.S_ISDIR(told.st_mode) else (*owned, told.st_size, told.st_mtime_ns)
