"""Who may write the files. Whoever can edit a rule can have commands run as the daemon's user."""

from __future__ import annotations

import grp
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from watchdog.documents.problems import Problem, one_line

ROOT = 0
_MAX_PATH_PARTS = 400
"""Parts of a path with all its links; links that lead in a circle end there, and whoever opens the file says so."""


def find_unsafe_files(paths: Iterable[Path], uid: int | None) -> list[Problem]:
    """Files, their folders and every folder on the way there that somebody else could write, each with the cure.

    `uid`: whom the daemon runs as; what belongs neither to it nor to root is refused. None: whoever owns a file may.
    """
    problems: dict[Path, Problem] = {}
    seen: set[tuple[Path, bool]] = set()
    for path in paths:
        parts = list(_path_parts(path))
        own_folders = {parts[-1], parts[-1].parent, list(_path_parts(path.parent))[-1]}
        for each in parts:
            key = each, each not in own_folders
            if key not in seen and (wrong := _unsafe_reason(each, uid, shared=key[1])) is not None:
                problems.setdefault(each, Problem(one_line(str(each)), 1, 1, *wrong))
            seen.add(key)
    return list(problems.values())


def _path_parts(path: Path) -> Iterator[Path]:
    """Every folder and link that is passed on the way to a file, and what stands at the end."""
    current = Path("/")
    todo = list(reversed(path.absolute().parts[1:]))
    yield current
    for _ in range(_MAX_PATH_PARTS):
        if not todo:
            return
        part = todo.pop()
        if part == "..":
            current = current.parent
            continue
        yield current / part
        try:
            target = (current / part).readlink()
        except OSError:  # no link, or nothing
            current /= part
            continue
        todo += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        current = Path("/") if target.is_absolute() else current


def _unsafe_reason(path: Path, uid: int | None, *, shared: bool) -> tuple[str, str] | None:
    """What is wrong, and the cure. `shared`: others may have things of their own there, as in /tmp."""
    try:
        status = path.lstat()
    except OSError:
        return None  # whoever opens it says why
    name = shlex.quote(str(path))
    what = "the folder" if stat.S_ISDIR(status.st_mode) else "the file"
    if uid is not None and status.st_uid not in _trusted_uids(uid):
        return (
            f"{what} belongs to {_user_name(status.st_uid)}, who could change what the watchdog does",
            f"chown {_user_name(uid)} {name}",
        )
    if stat.S_ISLNK(status.st_mode) or (shared and status.st_mode & stat.S_ISVTX):
        return None  # a link is its owner's alone; in a sticky folder nobody moves what belongs to somebody else
    if status.st_mode & stat.S_IWOTH:
        return f"everybody may write {what}", f"chmod go-w {name}"
    if status.st_mode & stat.S_IWGRP and not any(
        _is_private_group(status.st_gid, owner) for owner in (status.st_uid, ROOT)
    ):
        return f"the group {_group_name(status.st_gid)} may write {what}", f"chmod g-w {name}"
    return None


@cache
def _trusted_uids(uid: int) -> frozenset[int]:
    """Root and the daemon's user. Within a user namespace the machine's own root has no number but this one."""
    users = {ROOT, uid}
    try:
        if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
            users.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    except (OSError, ValueError):
        pass
    return frozenset(users)


def _is_private_group(gid: int, uid: int) -> bool:
    """Whether a group is its user's alone, as many systems make one for each user."""
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
