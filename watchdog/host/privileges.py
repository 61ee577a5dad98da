"""Root lets go: whoever is begun as root without systemd goes on as an account that owns nothing but the state folder."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence, Set
from fnmatch import fnmatch
from pathlib import Path

from watchdog.core.errors import ActionError, WatchdogError
from watchdog.core.text import escape
from watchdog.host.account import Account, account_by_name, account_by_uid, become
from watchdog.host.trust import find_untrusted_itself, find_untrusted_way

SERVICE_USER = "trading-watchdog"
"""As which the shipped unit runs."""
_SERVICE_UID = 61_913
"""Whom it is on a machine that has no such user: a number out of those that systemd gives to services for a while."""

_PR_SET_SECUREBITS = 28
_KEEP_CAPABILITIES = 1 << 2
"""SECBIT_NO_SETUID_FIXUP: a change of user leaves them, and access(2) counts them, which SQLite asks of a bot's database."""
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def service_account(state: Path) -> Account:
    """Who owns the state folder, unless that is root; else the user `trading-watchdog`, or a number in its place.

    Where others may lay folders of their own, as in /tmp, its owner may be anybody, and is not asked.
    """
    try:
        owner = state.lstat()
    except OSError:
        owner = None
    if owner is not None and stat.S_ISDIR(owner.st_mode) and owner.st_uid != 0:
        way = state.parent.resolve()
        if find_untrusted_way(way, (0,)) is None and find_untrusted_itself(way, (0,)) is None:
            return account_by_uid(owner.st_uid, owner.st_gid)
    try:
        return account_by_name(SERVICE_USER)
    except ActionError:
        return Account(str(_SERVICE_UID), _SERVICE_UID, _SERVICE_UID, (), "/")


def hand_over(state: Path, account: Account, ours: Sequence[str]) -> None:
    """The state folder, made when it is not there, and what root has in it of `ours` belong to `account` afterwards.

    `ours`: patterns of names. By descriptors: a link is not followed, and a file that has another name elsewhere stays
    root's. Raises WatchdogError when it cannot be done, when root has something else in a folder of its own, or when
    somebody else decides what stands at that path.
    """
    wrong = find_untrusted_way(_existing(state), (0, account.uid))
    if wrong is not None:
        cure = wrong.cure
        if wrong.why == "owner":  # a user's own folder, as a home, is not root's to take
            cure = f"sudo -u {wrong.who} trading-watchdog …, or move `state` to a folder of root's"
        raise WatchdogError(f"the state folder {state} is not used: {wrong.describe(with_path=True)} — {cure}")
    at = state
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, folders, files, handle in os.fwalk(state, follow_symlinks=False):
            if Path(path) == state:
                other = [name for name in (*folders, *files) if not any(fnmatch(name, pattern) for pattern in ours)]
                folders[:], files = [[name for name in names if name not in other] for names in (folders, files)]
                if os.fstat(handle).st_uid == 0:
                    _refuse_shared_folder(state, account, {*other} - {"lost+found"})
            for name in (".", *folders, *files):
                at = Path(path, name)
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                only_here = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
                if found.st_uid == 0 and only_here:
                    os.chown(name, account.uid, account.gid, dir_fd=handle, follow_symlinks=False)
    except OSError as problem:
        raise WatchdogError(f"{at}: {problem.strerror} — mend `state`") from problem


def _refuse_shared_folder(state: Path, account: Account, other: Set[str]) -> None:
    """Whoever has a folder may exchange all that lies in it."""
    if other:
        raise WatchdogError(
            f"the state folder {state} is not handed to user {account.name}: root has {escape(min(other))} in it, too — "
            "name a folder of its own in `state`"
        )


def _existing(path: Path) -> Path:
    """It, or the nearest above it that is there; a link is there, wherever it leads."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if os.path.lexists(each))


def drop(account: Account, readable: Sequence[Path]) -> Path | None:
    """This process is `account` from here on, for good. Call it while there is one thread.

    Keeps the right to read every file (CAP_DAC_READ_SEARCH) when that account may not read all of `readable`: then that
    one of them is returned.
    """
    unreadable = _first_unreadable(account, readable)
    if unreadable is not None:
        _libc.prctl(_PR_SET_SECUREBITS, _KEEP_CAPABILITIES, 0, 0, 0)
    become(account)
    if unreadable is not None:
        kept = 1 << _CAP_DAC_READ_SEARCH
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        _libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0))
    return unreadable


def _first_unreadable(account: Account, paths: Sequence[Path]) -> Path | None:
    answers, asks = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(account)
            wrong = next((n for n, path in enumerate(paths) if not os.access(path, os.R_OK)), len(paths))
            os.write(asks, str(wrong).encode())
        finally:
            os._exit(0)
    os.close(asks)
    with open(answers, "rb") as file:  # noqa: PTH123 - a handle
        found = int(file.read() or b"0")
    os.waitpid(pid, 0)
    return paths[found] if found < len(paths) else None
