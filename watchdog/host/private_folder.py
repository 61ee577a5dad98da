"""A folder of ours that is nobody else's business: mode 700, its files 600, and all of it ours."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from watchdog.core.errors import WatchdogError
from watchdog.host import posix_acl
from watchdog.host.trust import find_untrusted, find_untrusted_itself, user_name

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
"""Only named, not opened: closing an open file ends the locks that SQLite has on it in this process."""


def secure_folder(folder: Path, patterns: Sequence[str]) -> None:
    """Makes the folder where it is not there; takes from others the right to read in it what is called like `patterns`.

    Raises WatchdogError with the cure when somebody else owns, or could have written, the folder, the way to it, or one of
    those files: what stands there is not known to be ours. OSError: it cannot be made or looked at.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_foreign_folder(folder)
    for wrong in find_untrusted([folder / "any"], (os.geteuid(),)):
        raise WatchdogError(f"the state folder {folder} is not used: {wrong.describe(with_path=True)} — {wrong.cure}")
    opened = os.open(folder, _FOLDER_FLAGS)
    try:
        _make_private(opened, 0o700)
        _secure_entries(opened, folder, patterns)
    finally:
        os.close(opened)


def refuse_foreign_folder(folder: Path) -> None:
    """Raises WatchdogError that says whom to be when the folder is somebody else's; nothing when there is none."""
    try:
        owner = folder.stat().st_uid
    except OSError:
        return  # whoever opens it says why
    if owner != os.geteuid():
        name, me = user_name(owner), user_name(os.geteuid())
        raise WatchdogError(
            f"the state folder {folder} belongs to {name}, and this is {me} — say it as that user: "
            f"{say_as(owner)}; or, if it is {me}'s to have: chown -R {me} {shlex.quote(str(folder))}"
        )


def make_private_folders(folder: Path) -> None:
    """It, and each above it that is not there: mode 700, whatever the umask. Raises OSError."""
    if not folder.parent.exists():
        make_private_folders(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def say_as(uid: int) -> str:
    """The command that is a command of that user's. Who has no account is nobody to sudo: root goes on as that one by itself."""
    name = user_name(uid)
    return "sudo trading-watchdog …" if name == str(uid) else f"sudo -u {name} trading-watchdog …"


def create_private_file(path: Path) -> None:
    """An empty file that only we read, unless there is one. It is not opened: closing it again would end the locks that
    this process has on it. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFREG | 0o600)


def _secure_entries(folder: int, path: Path, patterns: Sequence[str]) -> None:
    with os.scandir(folder) as entries:
        names = sorted(each.name for each in entries if any(fnmatch(each.name, pattern) for pattern in patterns))
    for name in names:
        there, quoted = path / name, shlex.quote(str(path / name))
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue  # SQLite removes its own when its last reader goes
        is_folder = stat.S_ISDIR(found.st_mode)
        if not (is_folder or stat.S_ISREG(found.st_mode)):
            raise WatchdogError(f"{there} is no file of ours but a link or a device — look at it, then: rm {quoted}")
        if found.st_uid != os.geteuid():
            owner = user_name(found.st_uid)
            raise WatchdogError(
                f"{there} belongs to {owner}: who wrote what is in it? — if it is well: "
                f"chown {user_name(os.geteuid())} {quoted}"
            )
        if (wrong := find_untrusted_itself(there, (os.geteuid(),))) is not None:
            raise WatchdogError(
                f"{there} is not believed: {wrong.describe()} — if it is well: {wrong.cure}; else move it away"
            )
        if is_folder:
            opened = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
        else:
            opened = os.open(name, _FILE_FLAGS, dir_fd=folder)
        try:
            _make_private(opened, 0o700 if is_folder else 0o600)
            if is_folder:
                _secure_entries(opened, there, ("*",))
        finally:
            os.close(opened)


def _make_private(opened: int, mode: int) -> None:
    """Whoever has opened it before keeps that, and nobody gets anything new."""
    itself = Path(f"/proc/self/fd/{opened}")
    if stat.S_IMODE(os.fstat(opened).st_mode) != mode:
        itself.chmod(mode)
    posix_acl.remove_acls(itself)
