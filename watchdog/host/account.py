"""Whose hands: the account under which a target is looked at and acted on."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.target import Target

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


def account_by_uid(uid: int) -> Account:
    """Who that is; an owner without an account has no groups, and not those of whoever asks."""
    try:
        return _from_entry(pwd.getpwuid(uid))
    except KeyError:
        return Account(str(uid), uid, NOGROUP, (), "/")


def own_account() -> Account:
    """Whom this process runs as."""
    return account_by_uid(os.geteuid())


def target_account(target: Target) -> Account:
    """Who acts on that target: its `run_as`, else the owner of its repository, else of its process's folder, else we."""
    if target.run_as is not None:
        return account_by_name(target.run_as)
    folder = target.repo or (target.process and target.process.cwd)
    if not folder:
        return own_account()
    try:
        return account_by_uid(Path(folder).stat().st_uid)
    except OSError as problem:
        raise ActionError(f"{folder}: {problem.strerror} — mend the target's repo, or the folder") from None


def _from_entry(entry: pwd.struct_passwd) -> Account:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/")
