"""Where a repository's folders are and whose they are, read without starting git: git comes in when that is in order."""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from watchdog.actions.git.open_tree import OpenTree
from watchdog.core.errors import ActionError
from watchdog.host.account import account_by_uid

_MAX_POINTER = 8192
"""Bytes of a `.git` file, of `commondir`."""
_MAX_ALTERNATES = 64 << 10
_MAX_BORROWED = 100
_MAX_DEPTH = 5
"""Of repositories that borrow from one another; git's own limit."""


class GitFolders(NamedTuple):
    work_tree: Path
    dot_git: Path
    """`.git` of the work tree: the git directory, a file that says where it is, or a link to it."""
    git_dir: Path
    """HEAD and index lie here."""
    common_dir: Path
    """Branches and objects lie here; the same, but for a linked work tree."""


def find_git_folders(folder: Path) -> GitFolders | None:
    """Of the work tree at or around a folder; real paths. None: there is none. Raises ActionError for a broken one."""
    start = Path(os.path.realpath(folder))
    for top in (start, *start.parents):
        if os.path.lexists(top / ".git") and (found := _from_dot_git(top)) is not None:
            return found
    return None


def _from_dot_git(top: Path) -> GitFolders | None:
    dot_git = top / ".git"
    try:
        is_folder = stat.S_ISDIR(dot_git.stat().st_mode)
        if is_folder:
            own = Path(os.path.realpath(dot_git))
        else:
            pointer = _read(dot_git, _MAX_POINTER)
            if not pointer.startswith(b"gitdir:"):
                raise ActionError(f"{dot_git} is neither a git directory nor says where one is")
            own = Path(os.path.realpath(top / os.fsdecode(pointer.removeprefix(b"gitdir:").strip())))
        common = own
        if os.path.lexists(own / "commondir"):
            common = Path(os.path.realpath(own / os.fsdecode(_read(own / "commondir", _MAX_POINTER).strip())))
    except (OSError, ValueError) as problem:
        raise ActionError(f"{dot_git}: {getattr(problem, 'strerror', problem)} — look at it") from None
    if os.path.lexists(own / "HEAD") and (common / "objects").is_dir() and (common / "refs").is_dir():
        return GitFolders(top, dot_git, own, common)
    if is_folder:
        return None  # an empty one, say: git goes on upwards, too
    raise ActionError(f"{dot_git} names {own}, which is no git directory")


def borrowed_objects(common_dir: Path) -> tuple[Path, ...]:
    """Object folders of other repositories that this one reads as well (`objects/info/alternates`), theirs too."""
    found: dict[Path, None] = {}
    around = [common_dir / "objects"]
    for _ in range(_MAX_DEPTH):
        around = [path for folder in around for path in _alternates(folder) if path not in found][:_MAX_BORROWED]
        found |= dict.fromkeys(around)
    return tuple(found)[:_MAX_BORROWED]


def ensure_owned(paths: Iterable[Path]) -> None:
    """Raises ActionError unless all of them are the user's as whom we run: in somebody else's, root's included, git's
    filters, drivers and settings would be that one's program run with our rights, and what is written ours in their tree."""
    for path in paths:
        try:
            uid = path.lstat().st_uid
        except OSError as problem:
            raise ActionError(f"{path}: {problem.strerror}") from None
        if uid != os.geteuid():
            owner, we = (account_by_uid(each).name for each in (uid, os.geteuid()))
            raise ActionError(
                f"{path} belongs to another user ({owner}), and this runs as {we} — git acts as a repository's owner "
                f"only: say run_as: {owner} for the target, or chown the repository"
            )


def ensure_contained(folders: GitFolders, refs: Iterable[str] = ()) -> None:
    """Raises ActionError for links on the way to what git would write, and for FIFOs and devices, on which it would wait.

    `refs`: full names of those that are written, beside what HEAD says.
    """
    with OpenTree.open(folders.git_dir) as own, OpenTree.open(folders.common_dir) as common:
        for name in ("HEAD", "index", "logs/HEAD"):
            _ensure_plain(own, name)
        for name in ("packed-refs", "objects/info/alternates"):
            _ensure_plain(common, name)
        _ensure_plain(common, "config", link_allowed=True)
        try:
            head = os.fsdecode(own.read("HEAD", _MAX_POINTER)).strip()
            for ref in (*refs, *([head.removeprefix("ref:").strip()] if head.startswith("ref:") else [])):
                for name in (ref, f"logs/{ref}"):
                    _ensure_plain(common, name)
            with common.subfolder("objects") as objects, os.scandir(objects.fd) as entries:
                linked = next((entry.name for entry in entries if len(entry.name) == 2 and entry.is_symlink()), None)
        except OSError as problem:
            raise ActionError(f"{problem.filename or folders.common_dir / 'objects'}: {problem.strerror}") from None
        if linked is not None:
            raise _leads_elsewhere(folders.common_dir / "objects" / linked)


def _ensure_plain(folder: OpenTree, name: str, *, link_allowed: bool = False) -> None:
    """A regular file or a folder of its own, or nothing; so is all on the way to it."""
    parts = name.split("/")
    for end in range(1, len(parts) + 1):
        there = "/".join(parts[:end])
        path = folder.path / there
        try:
            found = path.stat() if link_allowed else folder.lstat(there)
        except FileNotFoundError:
            return
        except OSError as problem:
            raise ActionError(f"{path}: {problem.strerror}") from None
        if found is None:
            return
        if stat.S_ISLNK(found.st_mode):
            raise _leads_elsewhere(path)
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise ActionError(f"{path} is neither a file nor a folder — remove it")


def _leads_elsewhere(path: Path) -> ActionError:
    return ActionError(f"{path} is a symbolic link, and git would write where it leads — put a plain one in its place")


def _alternates(objects: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError, ValueError, ActionError):
        for line in _read(objects / "info" / "alternates", _MAX_ALTERNATES).splitlines():
            if line and not line.startswith(b"#"):
                if line.startswith(b'"') and line.endswith(b'"'):
                    line = codecs.decode(line[1:-1], "unicode_escape").encode("latin-1")  # as C writes it
                yield Path(os.path.realpath(objects / os.fsdecode(line)))


def _read(path: Path, limit: int) -> bytes:
    with OpenTree.open(path.parent) as folder:
        return folder.read(path.name, limit)
