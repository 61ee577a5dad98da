"""Whether a file could be replaced now, and if not, why: found out without changing anything, not so much as a folder's time.

What is written for it has no name (`O_TMPFILE`), so nothing is left behind however this process ends. What the kernel would
refuse only at the rename is read from where it looks itself: mount points, attributes, the sticky bit.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import struct
from pathlib import Path

from watchdog.core.errors import ActionError
from watchdog.host.folder import Folder, open_folder
from watchdog.host.trust import user_name

_GET_FLAGS = 0x80086601
"""FS_IOC_GETFLAGS of linux/fs.h, and the attributes that `chattr` sets."""
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
"""A file system that knows no files without a name."""


def try_replacing(path: Path, size: int) -> None:
    """Raises ActionError, with the cure, when a new file of `size` bytes could not take the place of what is at `path` now, or
    of nothing. No link on the way is followed."""
    try:
        with open_folder(path.parent) as folder:
            if (obstacle := _find_obstacle(folder, path.name)) is not None:
                raise ActionError(obstacle)
            _try_writing(folder, size)
    except OSError as error:
        raise ActionError(describe_write_error(path, error)) from None


def try_moving_below(top: Path, path: Path) -> None:
    """Raises ActionError, with the cure, when what lies in `top` could not be moved to `path` below it in one step."""
    mounts = _mount_points()
    if any(str(folder) in mounts for folder in path.parents if folder != top and folder.is_relative_to(top)):
        error = OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        raise ActionError(describe_write_error(path, error))


def try_appending(path: Path) -> None:
    """Raises ActionError, with the cure, when nothing could be written at the end of the file at `path`. No link on the way is
    followed."""
    try:
        with open_folder(path.parent) as folder:
            if _attribute(folder, path.name) == _IMMUTABLE:
                raise ActionError(f"{path} cannot be written: it is immutable — chattr -i {path}")
            os.close(os.open(path.name, _APPEND, dir_fd=folder.fd))
    except OSError as error:
        cure = _cure(path, error.errno)
        if error.errno in (errno.EACCES, errno.EPERM):
            cure = f"the watchdog's user needs the right to: {user_name(os.geteuid())} must be able to write {path}"
        raise ActionError(f"{path} cannot be written: {error.strerror} — {cure}") from None


def find_obstacle(path: Path) -> str | None:
    """What keeps the file at `path` from ever being replaced as it is there, with the cure; None: nothing that can be seen without
    writing. Raises OSError."""
    with open_folder(path.parent) as folder:
        return _find_obstacle(folder, path.name)


def describe_write_error(path: Path, error: OSError) -> str:
    """Why nothing could be written at `path`, in words, with the cure that fits."""
    cure = _cure(path, error.errno)
    return f"{path} cannot be written: {error.strerror} — {cure}"


def _cure(path: Path, code: int | None) -> str:
    if code == errno.EBUSY:
        return f"it is a mount of its own: mount the folder {path.parent} instead of the single file"
    if code == errno.EXDEV:
        return "a folder on the way to it is a mount of its own: mount the whole tree, or take do: restore for the file"
    if code == errno.ENOSPC:
        return "make room on its disk (df, df -i)"
    if code == errno.EDQUOT:
        return f"the quota of user {user_name(os.geteuid())} is used up: make room, or raise it"
    if code == errno.EROFS:
        return "its file system is mounted read-only: mount it read-write (mount -o remount,rw), or look at its disk"
    if code == errno.EIO:
        return "look at its disk: it may be broken"
    if code == errno.EPERM:
        with contextlib.suppress(OSError, ActionError):
            if (obstacle := find_obstacle(path)) is not None:
                return obstacle.rpartition(" — ")[2]
    return f"the watchdog's user needs the right to: {user_name(os.geteuid())} must be able to write {path.parent}"


def _find_obstacle(folder: Folder, name: str) -> str | None:
    path = folder.path / name
    if (attribute := _attribute(folder, ".")) is not None:
        return f"{path} cannot be replaced: {folder.path} is {_describe(attribute)} — chattr {_option(attribute)} {folder.path}"
    try:
        there = folder.stat(name)
    except FileNotFoundError:
        return None
    if str(path) in _mount_points():
        error = OSError(errno.EBUSY, "it is a mount point")
        return f"{path} cannot be replaced: {error.strerror} — {_cure(path, errno.EBUSY)}"
    if stat.S_ISREG(there.st_mode) and (attribute := _attribute(folder, name)) is not None:
        return f"{path} cannot be replaced: it is {_describe(attribute)} — chattr {_option(attribute)} {path}"
    own, above = os.geteuid(), os.stat(".", dir_fd=folder.fd)
    if own and above.st_mode & stat.S_ISVTX and own not in (there.st_uid, above.st_uid):
        return (
            f"{path} cannot be replaced: it belongs to {user_name(there.st_uid)}, and its folder is sticky — "
            f"chown {user_name(own)} {path}, or chmod -t {folder.path}"
        )
    return None


def _describe(attribute: int) -> str:
    return "immutable" if attribute == _IMMUTABLE else "append-only"


def _option(attribute: int) -> str:
    return "-i" if attribute == _IMMUTABLE else "-a"


def _attribute(folder: Folder, name: str) -> int | None:
    """The attribute that keeps even root from it; None: it has none, or the file system knows none, or it may not be read."""
    try:
        fd = os.open(name, _LOOK | (os.O_DIRECTORY if name == "." else 0), dir_fd=folder.fd)
    except OSError:
        return None
    try:
        (flags,) = struct.unpack("i", fcntl.ioctl(fd, _GET_FLAGS, struct.pack("i", 0)))
    except OSError:
        return None
    finally:
        os.close(fd)
    return next((each for each in (_IMMUTABLE, _APPEND_ONLY) if flags & each), None)


def _mount_points() -> frozenset[str]:
    """Full paths, as this process sees them."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return frozenset()
    named = (line.split(" ", 5)[4] for line in lines)
    return frozenset(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name) for name in named)


def _try_writing(folder: Folder, size: int) -> None:
    """Raises OSError."""
    fd = _open_nameless(folder)
    if fd is None:
        _try_writing_with_name(folder, size)
        return
    try:
        os.posix_fallocate(fd, 0, max(size, 1))
    finally:
        os.close(fd)


def _open_nameless(folder: Folder) -> int | None:
    """A new file in it that has no name; None: the file system has none such. Raises OSError."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
    except OSError as error:
        if error.errno in _NO_NAMELESS_FILES:
            return None
        raise


_TRIAL_NAME = ".trading-watchdog-trial"


def _try_writing_with_name(folder: Folder, size: int) -> None:
    """The same where it takes a name: one of ours, which the next trial removes when this one was killed. The folder's time is put
    back, as far as that is ours to do. Raises OSError."""
    was = os.stat(".", dir_fd=folder.fd)
    folder.unlink(_TRIAL_NAME, missing_ok=True)
    try:
        with folder.create_file(_TRIAL_NAME) as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
    finally:
        folder.unlink(_TRIAL_NAME, missing_ok=True)
        with contextlib.suppress(OSError):
            os.utime(f"/proc/self/fd/{folder.fd}", ns=(was.st_atime_ns, was.st_mtime_ns))
