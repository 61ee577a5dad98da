"""The account under which a target is looked at and acted on."""

from __future__ import annotations

import ctypes
import os
import pwd
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.target import Target
from watchdog.host.trust import find_untrusted_way, user_name

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


class UntrustedOwnerError(ActionError):
    """Somebody else decides what stands at the path of a target, and so who its owner is."""


def target_account(target: Target, uid: int | None = None) -> Account:
    """Who acts on that target: its `run_as`, else the owner of its repository, else of its process's folder, else we.

    `uid`: whom the daemon runs as; we, when not said. Raises ActionError; UntrustedOwnerError when somebody other than
    root, the daemon's user and that owner could exchange a folder or a link on the way there: with a link to /etc in the
    place of its repository a bot's user would have us act on it as root.
    """
    if target.run_as is not None:
        return account_by_name(target.run_as)
    folder = _owned_folder(target)
    if not folder:
        return own_account() if uid is None else account_by_uid(uid)
    try:
        return folder_account(Path(folder), uid, say="run_as in the target")
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise ActionError(f"{folder}: {problem.strerror} — mend the target's repo, or the folder") from None


def folder_account(folder: Path, uid: int | None = None, *, say: str) -> Account:
    """Who owns a folder, and so acts in it. `uid`: as in `target_account`. `say`: where a user can be named instead.

    Raises ActionError; UntrustedOwnerError as `target_account` does; FileNotFoundError, NotADirectoryError: it is not there.
    """
    # The order matters: the owner is read first, by the very name whose way is then looked at. Whoever may change the way
    # may do so meanwhile, and is found on it whatever it shows by then.
    try:
        owner = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except PermissionError:
        raise ActionError(f"whose {folder} is cannot be seen by {own_account().name} — say {say}") from None
    except OSError as problem:
        raise ActionError(f"{folder} cannot be seen: {problem.strerror} — mend its path") from None
    wrong = find_untrusted_way(folder, (os.geteuid() if uid is None else uid, owner.st_uid))
    if wrong is not None:
        raise UntrustedOwnerError(
            f"{folder} belongs to {user_name(owner.st_uid)}, and could be changed by {wrong.who} at {wrong.path} — say {say}"
        )
    return account_by_uid(owner.st_uid, owner.st_gid)


def names_owner(target: Target) -> bool:
    """Whether it says, or a folder of it, who acts on it; else that is whoever asks."""
    return bool(target.run_as or _owned_folder(target))


def _owned_folder(target: Target) -> str | None:
    return target.repo or (target.process and target.process.cwd) or None


def _from_entry(entry: pwd.struct_passwd) -> Account:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/")
