"""Landlock: a process holds itself, and all that it will ever start, to some folders; the kernel sees to it.

It binds programs that resolve names themselves, git above all. It knows of opening, making, renaming and removing; it does
not know of chmod, chown, utime and extended attributes: what we do of those ourselves goes by descriptors.

See linux/landlock.h and landlock(7). Nothing can be widened again, neither by whoever was bound nor by root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
"""Numbers of the system calls; the same on every architecture."""
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

# LANDLOCK_ACCESS_FS_…: what may be done beneath a folder.
EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_CHAR = 1 << 6
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SOCK = 1 << 9
MAKE_FIFO = 1 << 10
MAKE_BLOCK = 1 << 11
MAKE_SYM = 1 << 12
REFER = 1 << 13
"""Renames and links from one folder to another; without it (ABI 1) the kernel refuses all of them."""
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15

_KNOWN_SINCE = ((1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
"""(ABI, what it brought). What a kernel does not know it must not be asked for."""

_READ = EXECUTE | READ_FILE | READ_DIR
_WRITE = WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""What can be granted for a path that is no folder."""

P = ParamSpec("P")
T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_USABLE_ABI = 2
"""With ABI 1 nothing can be renamed from one folder to another, and so no file of git's put in its place."""


_free_thread: ThreadPoolExecutor | None = None
"""The one that was left out when the process was bound."""


def handled_access(abi: int) -> int:
    """All that a kernel of that ABI can refuse; refused is what no rule grants: devices, sockets and FIFOs to anybody."""
    return sum(access for since, access in _KNOWN_SINCE if abi >= since)


def granted_access(abi: int, *, writable: bool, is_folder: bool) -> int:
    """What a rule grants beneath a path."""
    wanted = _READ | (_WRITE if writable else 0)
    return wanted & handled_access(abi) & (-1 if is_folder else _OF_A_FILE)


def abi_version() -> int:
    """What this kernel knows; 0: no Landlock, or it was turned off at boot."""
    try:
        return _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    except OSError as problem:
        if problem.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):  # EPERM: a seccomp filter of a container's
            return 0
        raise


def restrict(readable: Sequence[Path], writable: Sequence[Path]) -> bool:
    """From now on this process and its children read and execute beneath both, and write beneath `writable` alone.

    Links in these paths themselves are followed, now; what is not there is left out. Writing is: making files, folders and
    links, writing into them, renaming, removing. False: the kernel cannot (older than 5.19), and nothing is bound.
    Must be called while the process has one thread; RuntimeError otherwise, since the others would stay free, as one for
    `look_outside` does. OSError: the kernel refused; what the process is bound to then is not known, so it should end.
    """
    abi = abi_version()
    if abi < _USABLE_ABI:
        return False
    global _free_thread  # noqa: PLW0603 - whether a process is bound is one fact of the whole process
    if len(os.listdir("/proc/self/task")) != 1 + (_free_thread is not None):  # noqa: PTH208 - names are all that is asked for
        raise RuntimeError("Landlock binds one thread; this process has more")
    attributes = struct.pack("=Q", handled_access(abi))
    ruleset = _syscall(
        _CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    try:
        for paths, may_write in ((readable, False), (writable, True)):
            for path in paths:
                _allow(ruleset, path, abi, may_write)
        if _free_thread is None:
            _free_thread = ThreadPoolExecutor(1, "outside of Landlock")
            _free_thread.submit(bool).result()  # begun by now: those that are begun later are bound
        _no_new_privileges()  # else a setuid program would be bound by whoever starts it
        _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return True


def look_outside(look: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `look` says where nothing is bound: Landlock hides of other processes which files they have open.

    For what names no file of a target's, and changes nothing.
    """
    return look(*args, **kwargs) if _free_thread is None else _free_thread.submit(look, *args, **kwargs).result()


def _allow(ruleset: int, path: Path, abi: int, may_write: bool) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # what cannot be reached now will not be reached then
    try:
        access = granted_access(abi, writable=may_write, is_folder=stat.S_ISDIR(os.fstat(opened).st_mode))
        rule = struct.pack("=Qi", access, opened)
        _syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.c_char_p(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(opened)


def _no_new_privileges() -> None:
    nothing = ctypes.c_ulong(0)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), nothing, nothing, nothing) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _syscall(number: int, *args: object) -> int:
    said = int(_libc.syscall(ctypes.c_long(number), *args))
    if said < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return said
