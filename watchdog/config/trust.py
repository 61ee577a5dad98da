"""Who may write the files. Whoever can edit a rule can have commands run as the daemon's user."""

from __future__ import annotations

import grp
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from watchdog.config.problem import Problem, one_line

ROOT = 0
_STEPS = 400
"""Parts of a path with all its links; links that lead in a circle end there, and whoever opens the file says so."""


def distrusted(paths: Iterable[Path], uid: int | None) -> list[Problem]:
    """Files, their folders and every folder on the way there that somebody else could write, each with the cure.

    `uid`: whom the daemon runs as; what belongs neither to it nor to root is refused. None: whoever owns a file may.
    """
    problems: dict[Path, Problem] = {}
    seen: set[tuple[Path, bool]] = set()
    for path in paths:
        way = list(_way(path))
        homes = {way[-1], way[-1].parent, list(_way(path.parent))[-1]}
        for each in way:
            key = each, each not in homes
            if key not in seen and (wrong := _wrong(each, uid, shared=key[1])) is not None:
                problems.setdefault(each, Problem(one_line(str(each)), 1, 1, *wrong))
            seen.add(key)
    return list(problems.values())


def _way(path: Path) -> Iterator[Path]:
    """Every folder and link that is passed on the way to a file, and what stands at the end."""
    here = Path("/")
    todo = list(reversed(path.absolute().parts[1:]))
    yield here
    for _ in range(_STEPS):
        if not todo:
            return
        part = todo.pop()
        if part == "..":
            here = here.parent
            continue
        yield here / part
        try:
            target = (here / part).readlink()
        except OSError:  # no link, or nothing
            here /= part
            continue
        todo += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        here = Path("/") if target.is_absolute() else here


def _wrong(path: Path, uid: int | None, *, shared: bool) -> tuple[str, str] | None:
    """What is wrong, and the cure. `shared`: others may have things of their own there, as in /tmp."""
    try:
        told = path.lstat()
    except OSError:
        return None  # whoever opens it says why
    name = shlex.quote(str(path))
    what = "the folder" if stat.S_ISDIR(told.st_mode) else "the file"
    if uid is not None and told.st_uid not in _trusted(uid):
        return (
            f"{what} belongs to {_user(told.st_uid)}, who could change what the watchdog does",
            f"chown {_user(uid)} {name}",
        )
    if stat.S_ISLNK(told.st_mode) or (shared and told.st_mode & stat.S_ISVTX):
        return None  # a link is its owner's alone; in a sticky folder nobody moves what belongs to somebody else
    if told.st_mode & stat.S_IWOTH:
        return f"everybody may write {what}", f"chmod go-w {name}"
    if told.st_mode & stat.S_IWGRP and not any(_private(told.st_gid, owner) for owner in (told.st_uid, ROOT)):
        return f"the group {_group(told.st_gid)} may write {what}", f"chmod g-w {name}"
    return None


@cache
def _trusted(uid: int) -> frozenset[int]:
    """Root and the daemon's user. Within a user namespace the machine's own root has no number but this one."""
    users = {ROOT, uid}
    try:
        if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
            users.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    except (OSError, ValueError):
        pass
    return frozenset(users)


def _private(gid: int, uid: int) -> bool:
    """Whether a group is its user's alone, as many systems make one for each user."""
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
