"""Whose hands: the account under which a target is looked at and acted on."""

from __future__ import annotations

import ctypes
import os
import pwd
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.target import Target

_PR_SET_DUMPABLE = 4
NOGROUP = 65534
"""The group of an owner without an account: no file of the system's belongs to it."""


class Account(NamedTuple):
    """A user with all that belongs to it, and nothing else."""

    name: str
    """As in /etc/passwd; the number where there is no such user."""
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    """``/`` where there is no such user."""


def account_by_name(name: str) -> Account:
    """Raises ActionError when the machine knows no such user."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ActionError(
            f"there is no user {name} on this machine — mend run_as, or: useradd --system {name}"
        ) from None
    return _from_entry(entry)


def account_by_uid(uid: int, gid: int | None = None) -> Account:
    """Who that is. An owner without an account has no groups but one of its own number, when what it owns has that: `gid`."""
    try:
        return _from_entry(pwd.getpwuid(uid))
    except KeyError:
        return Account(str(uid), uid, uid if uid == gid else NOGROUP, (), "/")


def own_account() -> Account:
    """Whom this process runs as."""
    return account_by_uid(os.geteuid())


def become(account: Account) -> None:
    """This process is that account from here on, for good: user, groups, and no capability. Nothing when it is already."""
    if (os.geteuid(), os.getuid()) != (account.uid, account.uid):
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # /proc/self is ours again


def target_account(target: Target) -> Account:
    """Who acts on that target: its `run_as`, else the owner of its repository, else of its process's folder, else we."""
    if target.run_as is not None:
        return account_by_name(target.run_as)
    folder = target.repo or (target.process and target.process.cwd)
    if not folder:
        return own_account()
    try:
        owner = Path(folder).stat()
        return account_by_uid(owner.st_uid, owner.st_gid)
    except PermissionError:
        raise ActionError(
            f"whose {folder} is cannot be seen by {own_account().name} — say it: run_as: USER, beside repo"
        ) from None
    except OSError as problem:
        raise ActionError(f"{folder}: {problem.strerror} — mend the target's repo, or the folder") from None


def _from_entry(entry: pwd.struct_passwd) -> Account:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/")
