"""Whether a commit of ours could be made and checked out now: what would be written or replaced is tried, and nothing is."""

from __future__ import annotations

from pathlib import Path

from watchdog.actions.git.repository import open_repository
from watchdog.core.model import JsonObject
from watchdog.host.write_trial import try_replacing

_QUERY_TIMEOUT_MS = 25_000
_NEW_OBJECTS = 64 * 1024
"""Bytes that a commit with its trees takes, beside the files that it changes."""


def try_update(captured: JsonObject) -> None:
    """`captured`: as the action noted it. Raises ActionError with the first that could not be replaced."""
    if captured["already"]:
        return
    repo, sizes = open_repository(captured["repo"], _QUERY_TIMEOUT_MS), dict[Path, int]()
    for name in captured["changes"]:
        path = Path(repo.work_tree, name)
        there = next(folder for folder in path.parents if folder.is_dir())
        sizes[path if there == path.parent else there / path.name] = path.lstat().st_size if path.is_file() else 0
    branch = repo.git_line("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))
    for path in (repo.git_dir / "index", repo.git_dir / "HEAD", *([repo.common_dir / branch] if branch else [])):
        if path.parent.is_dir():
            try_replacing(path, 0)
    try_replacing(repo.common_dir / "objects" / "new", _NEW_OBJECTS + sum(sizes.values()))
    for path, size in sizes.items():
        try_replacing(path, size)
