"""A file is replaced as a whole: written beside, flushed to the disk, renamed. Nobody ever reads half of it."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from watchdog.core.errors import ActionError, MissingError, UnreadableError
from watchdog.host import landlock
from watchdog.host.file_metadata import give_metadata, read_metadata
from watchdog.host.folder import Folder, ensure_owner_can_stay, open_folder
from watchdog.host.write_trial import describe_write_error, find_obstacle

MAX_BYTES = 1 << 20
"""Bytes of a file that holds flags; more is no configuration."""
_MAX_NAMES = 300
"""Of a folder, that are compared with one that is not there."""


def resolve_base(repo: str | None, within: str | None, *names: str) -> str | None:
    """The folder that a step's paths are relative to: `within` the target's `repo`; None for full paths alone."""
    folder = Path(repo or "", within or "")
    for name in names:
        if not Path(folder, name).is_absolute():
            raise ActionError(f"{name} is relative, to nothing — give the target a repo, or write the full path")
    return str(folder) if folder.parts else None


def read_bytes(path: Path) -> bytes:
    """A configuration file's content; no link on the way is followed. Raises MissingError, UnreadableError, and ActionError for
    what is no regular file, or too large."""
    try:
        with open_folder(path.parent) as folder, folder.open_file(path.name) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(MAX_BYTES + 1) if size <= MAX_BYTES else b""
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _names_beside(path), n=1, cutoff=0.75)
        cure = f"did you mean {near[0]}?" if near else "name it relative to the target's repo"
        raise MissingError(f"there is no file {path} — {cure}") from None
    except OSError as problem:
        raise UnreadableError(f"{path} cannot be read: {problem.strerror}") from None
    if (size := max(size, len(content))) > MAX_BYTES:
        raise ActionError(f"{path} has {size} bytes — flags are edited in files up to {MAX_BYTES} bytes")
    return content


def _names_beside(path: Path) -> list[str]:
    with contextlib.suppress(OSError, ActionError), open_folder(path.parent) as folder:
        return folder.names()[:_MAX_NAMES]
    return []


def replace_file(path: Path, content: bytes, expected: bytes | None = None) -> tuple[str, ...]:
    """`path`, a regular file, gets this content; rights, owner, lists and attributes stay. Says what does not, in words.
    Raises ActionError.

    No link on the way is followed. `expected` is what it held when `content` was made of it: when it holds something
    else now, that is somebody's work.
    """
    try:
        with open_folder(path.parent) as folder, folder.open_file(path.name) as current:
            was = os.fstat(current.fileno())
            _ensure_replaceable(was, path)

            def ensure_unchanged() -> None:
                now = folder.stat(path.name)
                if expected is not None and (
                    not os.path.samestat(now, was) or current.read(len(expected) + 1) != expected
                ):
                    raise ActionError(f"{path} was changed by somebody else this very moment — look at it")

            with replacement(folder, path.name, ensure_unchanged) as file:
                file.write(content)
                lost = give_metadata(file.fileno(), read_metadata(current.fileno()))
                file.flush()
                ensure_newer_mtime(file.fileno(), was)
            return lost
    except OSError as problem:
        raise ActionError(describe_write_error(path, problem)) from None


def ensure_replaceable(path: Path) -> None:
    """Raises ActionError, with the cure, when `replace_file` would refuse the file as it stands there. Writes nothing."""
    try:
        with open_folder(path.parent) as folder:
            _ensure_replaceable(folder.stat(path.name), path)
            obstacle = find_obstacle(path)
    except OSError as problem:
        raise UnreadableError(f"{path} cannot be looked at: {problem.strerror}") from None
    if obstacle is not None:
        raise ActionError(obstacle)


def _ensure_replaceable(was: os.stat_result, path: Path) -> None:
    if was.st_nlink > 1:
        raise ActionError(f"{path} has other hard links, which would keep the old content — make it a plain file")
    ensure_owner_can_stay(was, path)


@contextlib.contextmanager
def replacement(folder: Folder, name: str, check: Callable[[], None] = lambda: None) -> Iterator[BinaryIO]:
    """A new file that is called `name` once the block has ended well and all is on the disk; else there is none.

    `check` is asked in the last instant: it raises what keeps the old one in its place. Raises OSError.
    """
    beside = hidden_name(name)
    folder.unlink(beside, missing_ok=True)  # left over from a crash
    with folder.create_file(beside) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            check()
            if not os.path.samestat(folder.stat(beside), os.fstat(file.fileno())):
                raise OSError(errno.ESTALE, f"{beside} was swapped by somebody", str(folder.path / beside))
            folder.rename(beside, name)
        except BaseException:
            with contextlib.suppress(OSError):
                folder.unlink(beside)
            raise
    folder.sync()


def hidden_name(name: str) -> str:
    """What stands beside a file of that name while it is being replaced."""
    return f".{name}.trading-watchdog"


def ensure_no_writers(paths: Sequence[Path]) -> None:
    """ActionError when a process that we may look into has a file at or below the paths open for writing."""
    landlock.look_outside(_ensure_no_writers, paths)


def _ensure_no_writers(paths: Sequence[Path]) -> None:
    import psutil  # 2 MB: paid by who archives

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            for opened in process.open_files():
                there = Path(opened.path)
                if opened.mode != "r" and any(path == there or path in there.parents for path in paths):
                    raise ActionError(f"{there} is being written by {process.name()} ({process.pid}) — stop that first")


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
