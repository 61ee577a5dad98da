"""Whether a commit of ours could be made and checked out now: what would be written or replaced is tried, and nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from watchdog.actions.git.commit_refs import BAD_REFS
from watchdog.actions.git.repository import Repository, open_repository
from watchdog.core.model import JsonObject
from watchdog.host.write_trial import try_appending, try_moving_below, try_replacing

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
        try_moving_below(repo.work_tree, path)
        sizes[_first_missing(path)] = path.lstat().st_size if path.is_file() else 0
    branch = captured.get("branch") or repo.git_line("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))
    refs = [f"{BAD_REFS}{captured['bad']}", *([branch] if branch else [])]
    for path in (repo.git_dir / "index", repo.git_dir / "HEAD", *(repo.common_dir / ref for ref in refs)):
        try_replacing(_first_missing(path), 0)
    for path in _logs(repo, refs):
        if path.is_file():  # it grows, whatever stands in its folder
            try_appending(path)
        else:
            try_replacing(_first_missing(path), 0)
    try_replacing(repo.common_dir / "objects" / "new", _NEW_OBJECTS + sum(sizes.values()))
    for path, size in sizes.items():
        try_replacing(path, size)


def _first_missing(path: Path) -> Path:
    """Itself, where its folder is there; else the first folder on the way to it that would have to be made."""
    return path if path.parent.is_dir() else _first_missing(path.parent)


def _logs(repo: Repository, refs: list[str]) -> Iterator[Path]:
    """Those that git would write to: what is there, and what it makes for a branch unless it is told not to."""
    kept = repo.git_line("config", "--get", "core.logAllRefUpdates", ok=(0, 1)).lower()
    makes_some = kept not in ("false", "no", "off", "0")
    for path, made in (
        (repo.git_dir / "logs" / "HEAD", makes_some),
        *((repo.common_dir / "logs" / ref, kept == "always" or (makes_some and BAD_REFS not in ref)) for ref in refs),
    ):
        if made or path.is_file():
            yield path
