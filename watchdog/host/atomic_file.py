"""A file is replaced as a whole: written beside, flushed to the disk, renamed. Nobody ever reads half of it."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from watchdog.core.errors import ActionError

MAX_BYTES = 1 << 20
"""Bytes of a file that holds flags; more is no configuration."""


_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def resolve_base(repo: str | None, within: str | None, *names: str) -> str | None:
    """The folder that a step's paths are relative to: `within` the target's `repo`; None for full paths alone."""
    folder = Path(repo or "", within or "")
    for name in names:
        if not Path(folder, name).is_absolute():
            raise ActionError(f"{name} is relative, to nothing — give the target a repo, or write the full path")
    return str(folder) if folder.parts else None


def read_bytes(path: Path) -> bytes:
    """A configuration file's content. Raises ActionError: missing, no regular file, too large, not readable."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ActionError(f"{path} is no regular file")
        if found.st_size > MAX_BYTES:
            raise ActionError(f"{path} has {found.st_size} bytes — flags are edited in files up to {MAX_BYTES} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise ActionError(f"there is no file {path} — name it relative to the target's repo") from None
    except OSError as problem:
        raise ActionError(f"{path} cannot be read: {problem.strerror}") from None


def replace_file(path: Path, content: bytes, expected: bytes | None = None) -> None:
    """`path`, a regular file, gets this content; mode, owner and extended attributes stay. Raises ActionError.

    `expected` is what it held when `content` was made of it: when it holds something else now, that is somebody's work.
    """
    beside = path.with_name(f".{path.name}.trading-watchdog")
    try:
        was = path.stat()
        if was.st_nlink > 1:
            raise ActionError(f"{path} has other hard links, which would keep the old content — make it a plain file")
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()  # left over from a crash
        with open(os.open(beside, _CREATE_FLAGS, 0o600), "wb") as file:  # noqa: PTH123 - nobody else reads it before its mode is set
            file.write(content)
            copy_mode_and_owner(file.fileno(), was)
            for name in _xattrs(path):
                with contextlib.suppress(OSError):
                    os.setxattr(file.fileno(), name, os.getxattr(path, name))
            file.flush()
            ensure_newer_mtime(file.fileno(), was)
            os.fsync(file.fileno())
        if expected is not None and path.read_bytes() != expected:
            beside.unlink()
            raise ActionError(f"{path} was changed by somebody else this very moment — look at it")
        os.replace(beside, path)  # noqa: PTH105 - one spelling for what the tests count
        fsync_directory(path.parent)
    except OSError as problem:
        with contextlib.suppress(OSError):
            beside.unlink()
        cure = "the watchdog's user needs the right to"
        raise ActionError(f"{path} cannot be written: {problem.strerror} — {cure}") from None


def unified_diff(old: bytes, new: bytes, name: str) -> str:
    """A unified diff, as `diff -u` and `patch` know it; empty when nothing differs."""
    if old == new:
        return ""
    if b"\0" in old + new:
        return f"Binary file {name} changes from {len(old)} to {len(new)} bytes\n"
    was, now = ([line for line in re.split(r"(?<=\n)", text.decode("utf-8", "replace")) if line] for text in (old, new))
    lines = difflib.unified_diff(was, now, f"a/{name.lstrip('/')}", f"b/{name.lstrip('/')}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def ensure_no_writers(paths: Sequence[Path]) -> None:
    """ActionError when a process that we may look into has a file at or below the paths open for writing."""
    import psutil  # 2 MB: paid by who archives

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            for opened in process.open_files():
                there = Path(opened.path)
                if opened.mode != "r" and any(path == there or path in there.parents for path in paths):
                    raise ActionError(f"{there} is being written by {process.name()} ({process.pid}) — stop that first")


def copy_mode_and_owner(file: int, was: os.stat_result) -> None:
    """Mode and owner as they were. OSError when that is not ours to give."""
    now = os.fstat(file)
    if (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid):
        os.fchown(file, was.st_uid, was.st_gid)
    os.fchmod(file, stat.S_IMODE(was.st_mode))


def ensure_newer_mtime(file: int, was: os.stat_result) -> None:
    """Python takes a source for unchanged when its size and the second of its time are: make it a second newer."""
    now = os.fstat(file)
    if now.st_size == was.st_size and int(now.st_mtime) <= int(was.st_mtime):
        os.utime(file, ns=(now.st_atime_ns, was.st_mtime_ns + 1_000_000_000))


def fsync_directory(folder: Path) -> None:
    """A rename survives a power cut only when its folder was flushed too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _xattrs(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listxattr(path)
    return []
