"""Who could change what stands at a path: the thing itself, its folder, and every folder and link on the way there."""

from __future__ import annotations

import grp
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from watchdog.host import posix_acl

ROOT = 0
_MAX_PATH_PARTS = 400
"""Parts of a path with all its links; links that lead in a circle end there, and whoever opens the file says so."""


class UntrustedPath(NamedTuple):
    """Something on the way to a file, or the file, that somebody could change who is not trusted."""

    path: Path
    kind: Literal["folder", "file"]
    who: str
    """``everybody``, ``the group dev``, ``the user bot``; of one that belongs to others the owner's name alone."""
    why: Literal["owner", "mode", "acl", "unknown"]
    cure: str
    """The command that mends it."""

    def describe(self, *, with_path: bool = False) -> str:
        """``the group dev may write the folder``; with its path where nothing else names it."""
        it = f"the {self.kind} {self.path}" if with_path else f"the {self.kind}"
        match self.why:
            case "owner":
                return f"{it} belongs to {self.who}, who could change what the watchdog does"
            case "mode":
                return f"{self.who} may write {it}"
            case "acl":
                return f"{self.who} may write {it} by its ACL"
            case _:
                return f"who may write {it} cannot be told"


def find_untrusted(
    paths: Iterable[Path], users: Sequence[int] | None, *, must_exist: bool = False
) -> list[UntrustedPath]:
    """Files, their folders and every folder and link on the way there that somebody else could write.

    `users`: who may, beside root; the first is whom a cure gives things to. None: whoever owns a thing may. What is not
    there, or cannot be looked at, is passed over: whoever opens it says why. With `must_exist` it is the OSError that is
    raised: who takes a link away while we look, and puts it back, is not passed over. The way is looked at from the top
    down, so nobody who is not trusted can exchange what has been looked at for something else.
    """
    found: dict[Path, UntrustedPath] = {}
    seen: set[tuple[Path, bool]] = set()
    for path in paths:
        parts = list(path_parts(path))
        own_folders = {parts[-1], parts[-1].parent, list(path_parts(path.parent))[-1]}
        for each in parts:
            key = each, each not in own_folders
            if key in seen:
                continue
            seen.add(key)
            if (wrong := find_untrusted_itself(each, users, shared=key[1], must_exist=must_exist)) is not None:
                found.setdefault(each, wrong)
    return list(found.values())


def path_parts(path: Path) -> Iterator[Path]:
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
        except (OSError, ValueError):  # no link, or nothing, or no name that anything could have
            current /= part
            continue
        todo += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        current = Path("/") if target.is_absolute() else current


def trusted_users(*users: int) -> frozenset[int]:
    """Those, and root. Within a user namespace the machine's own root has no number but the overflow one."""
    return frozenset({ROOT, *users, *_foreign_root()})


def user_name(uid: int) -> str:
    """As in /etc/passwd; the number where there is no such user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def find_untrusted_way(path: Path, users: Sequence[int]) -> UntrustedPath | None:
    """The first folder or link on the way to `path` by which somebody else decides what stands there; None: nobody.

    What stands there must belong to `users` or root, and may be written by others. What is gone by now was somebody's to
    take away, and counts.
    """
    *way, end = path_parts(path)
    for each in (*way, end):
        try:
            if each == end and each.lstat().st_uid in trusted_users(*users):
                continue
            wrong = find_untrusted_itself(each, users, shared=True, must_exist=True)
        except OSError:
            return UntrustedPath(each, "folder", "somebody", "unknown", "")
        if wrong is not None:
            return wrong
    return None


def find_untrusted_itself(
    path: Path, users: Sequence[int] | None, *, shared: bool = False, must_exist: bool = False
) -> UntrustedPath | None:
    """A file, folder or link without the way to it; None also when it is not there, unless it `must_exist`: then OSError.

    `shared`: others may have things of their own there, as in /tmp.
    """
    try:
        status = path.lstat()
    except (OSError, ValueError):
        if must_exist:
            raise
        return None
    name = shlex.quote(str(path))
    kind: Literal["folder", "file"] = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    known = trusted_users(*(users or ()))
    if users is not None and status.st_uid not in known:
        return UntrustedPath(path, kind, user_name(status.st_uid), "owner", f"chown {user_name(users[0])} {name}")
    if stat.S_ISLNK(status.st_mode) or (shared and status.st_mode & stat.S_ISVTX):
        return None  # a link is its owner's alone; in a sticky folder nobody moves what belongs to somebody else
    known |= {status.st_uid}
    try:
        may_write = posix_acl.writers(status.st_mode, status.st_gid, posix_acl.read_acl(path))
    except OSError:
        return UntrustedPath(path, kind, "somebody", "unknown", f"setfacl -b {name}")
    if may_write.everybody:
        return UntrustedPath(path, kind, "everybody", "mode", f"chmod go-w {name}")
    for uid in sorted(may_write.users - known):
        return UntrustedPath(path, kind, f"the user {user_name(uid)}", "acl", f"setfacl -b {name}")
    for gid in sorted(may_write.groups):
        if not any(_is_private_group(gid, uid) for uid in known):
            group = f"the group {_group_name(gid)}"
            if may_write.by_list:
                return UntrustedPath(path, kind, group, "acl", f"setfacl -b {name}")
            return UntrustedPath(path, kind, group, "mode", f"chmod g-w {name}")
    return None


@cache
def _foreign_root() -> frozenset[int]:
    try:
        if Path("/proc/self/uid_map").read_text("ascii").split() != ["0", "0", "4294967295"]:
            return frozenset({int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))})
    except (OSError, ValueError):
        pass
    return frozenset()


def _is_private_group(gid: int, uid: int) -> bool:
    """Whether a group is its user's alone, as many systems make one for each user."""
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
