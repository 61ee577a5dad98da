"""Folders by descriptor: what lies in them is named one component at a time, and no link is followed.

A path of a plan is resolved once (`resolve`): links that stay within its folder are followed then, one that leads out
is refused. What comes of it has no link in it, and from then on it is walked from the root without following any
(`open_folder`): what somebody swaps for a link later is refused, however late, and a folder that is open stays that
folder. Nothing but a regular file is ever opened as one, so no FIFO makes us wait and no device hears of us.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from watchdog.core.errors import ActionError

_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 100
"""Folders within folders; each is open while it is gone through."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def resolve(base: str | None, name: str, *, follow_last: bool = True) -> Path:
    """The full path, free of links, of what a plan calls `name`. Raises ActionError for one that leads out of its folder.

    Its folder is `base`, when the name lies below it; else, and for a full path without a base, the one it stands in:
    that much the plan says itself. What is not there is resolved as far as it is.
    """
    full = os.path.normpath(os.path.join(base or "/", name))  # noqa: PTH118 - normpath is by words, on purpose
    top = os.path.normpath(base) if base else ""
    if not top or not Path(full).is_relative_to(top):
        top = os.path.dirname(full)  # noqa: PTH120
    root = os.path.realpath(top)
    below = Path(root, os.path.relpath(full, top))
    real = Path(os.path.realpath(below)) if follow_last else Path(os.path.realpath(below.parent), below.name)
    if not real.is_relative_to(root):
        raise ActionError(
            f"{full} is a link, or lies behind one, that leads out of {top} to {real} — name the real one"
        )
    return real


class Entry(NamedTuple):
    """Something that `Folder.walk` came by."""

    folder: Folder
    """Where it lies; open until the walk goes on."""
    name: str
    below: str
    """Its path from where the walk began, which is ``.`` itself."""
    stat: os.stat_result

    @property
    def path(self) -> Path:
        return self.folder.path / self.name


class Folder:
    """A folder that is open. Names are single components; of links the link itself is meant. Raises OSError."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd, self.path = fd, path

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def has(self, name: str) -> bool:
        """Whether anything has that name, be it a link that leads nowhere."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def open_file(self, name: str) -> BinaryIO:
        """A regular file, for reading. ActionError for whatever else has that name: it is not opened."""
        path = self.path / name
        _ensure_regular(self.stat(name), path)
        try:
            fd = os.open(name, _READ, dir_fd=self.fd)
        except OSError as problem:
            raise _explain(problem, path) from None
        file = open(fd, "rb")  # noqa: PTH123, SIM115 - a descriptor, and the caller's
        try:
            _ensure_regular(os.fstat(fd), path)  # it may have been swapped since
        except ActionError:
            file.close()
            raise
        return file

    def create_file(self, name: str) -> BinaryIO:
        """A new, empty file for writing and reading that nobody else may read; FileExistsError when the name is taken."""
        return open(os.open(name, _CREATE, 0o600, dir_fd=self.fd), "w+b")  # noqa: PTH123

    def symlink(self, name: str, to: str) -> None:
        os.symlink(to, name, dir_fd=self.fd)

    def link(self, name: str, to: str) -> None:
        """A second name for the same file."""
        os.link(name, to, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def read_link(self, name: str) -> str:
        return os.readlink(name, dir_fd=self.fd)

    def rename(self, name: str, to: str) -> None:
        """Takes the place of what is called `to`."""
        os.rename(name, to, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str, *, missing_ok: bool = False) -> None:
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove(self, name: str) -> None:
        """A file, a link, or a folder with all that it holds."""
        if stat.S_ISDIR(self.stat(name).st_mode):
            shutil.rmtree(name, dir_fd=self.fd)
        else:
            os.unlink(name, dir_fd=self.fd)

    @contextlib.contextmanager
    def subfolder(self, name: str) -> Iterator[Folder]:
        """The folder of that name, open for the block."""
        path = self.path / name
        fd = _open_below(self.fd, name, path)
        try:
            yield Folder(fd, path)
        finally:
            os.close(fd)

    def names(self) -> list[str]:
        """What it holds, sorted."""
        with _readable(self.fd) as fd:
            return sorted(os.listdir(fd))  # noqa: PTH208 - of a descriptor

    def walk(self, name: str) -> Iterator[Entry]:
        """That, and all below it: a folder ahead of what it holds, names in order. ActionError when it lies too deep."""
        return self._walk(name, ".", _MAX_DEPTH)

    def _walk(self, name: str, below: str, left: int) -> Iterator[Entry]:
        found = self.stat(name)
        yield Entry(self, name, below, found)
        if not stat.S_ISDIR(found.st_mode):
            return
        if not left:
            raise ActionError(f"{self.path / name} lies more than {_MAX_DEPTH} folders deep")
        with self.subfolder(name) as inner:
            for each in inner.names():
                yield from inner._walk(each, each if below == "." else f"{below}/{each}", left - 1)

    def readable(self) -> AbstractContextManager[int]:
        """A descriptor of it that may be asked and changed, and not only walked from; open for the block."""
        return _readable(self.fd)

    def sync(self) -> None:
        """A rename survives a power cut only when its folder was flushed too."""
        with _readable(self.fd) as fd:
            os.fsync(fd)


@contextlib.contextmanager
def open_folder(path: Path, *, create: bool = False) -> Iterator[Folder]:
    """The folder at a full path, open for the block, walked to without following a link. Raises OSError.

    With `create` what is not there is made, and belongs to whom the folder above it belongs.
    """
    if not path.is_absolute() or ".." in path.parts:
        raise ActionError(f"{path} is no full path")
    fd, there = os.open("/", _WALK), Path("/")
    try:
        for name in path.parts[1:]:
            there /= name
            below = _open_below(fd, name, there, create=create)
            os.close(fd)
            fd = below
        yield Folder(fd, path)
    finally:
        os.close(fd)


def _open_below(parent: int, name: str, path: Path, *, create: bool = False) -> int:
    """The folder of that name in an open one. Raises OSError."""
    try:
        return os.open(name, _WALK, dir_fd=parent)
    except FileNotFoundError as problem:
        if not create:
            raise _explain(problem, path) from None
    except OSError as problem:
        raise _explain(problem, path, parent) from None
    try:
        os.mkdir(name, dir_fd=parent)
        made = os.open(name, _WALK, dir_fd=parent)
    except OSError as problem:
        raise _explain(problem, path, parent) from None
    if os.geteuid() == 0:
        owner = os.fstat(parent)
        with _readable(made) as fd:
            os.fchown(fd, owner.st_uid, owner.st_gid)
    return made


@contextlib.contextmanager
def _readable(folder: int) -> Iterator[int]:
    """The same folder, to be listed, flushed or given away: walking needs less than that."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def ensure_owner_can_stay(was: os.stat_result, path: Path) -> None:
    """ActionError when a file that replaces this one could not be given to whom this one belongs."""
    if os.geteuid() == 0 or (was.st_uid == os.geteuid() and was.st_gid in (os.getegid(), *os.getgroups())):
        return
    raise ActionError(
        f"{path} belongs to {was.st_uid}:{was.st_gid}, and a new one could not be given to them — "
        f"chown it to {os.geteuid()}, or set run_as"
    )


def _ensure_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ActionError(f"{path} is no regular file but {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}")


def _explain(problem: OSError, path: Path, parent: int | None = None) -> OSError:
    """The same with its full path; and where a link was not followed, in words that say so."""
    is_link = problem.errno == errno.ELOOP
    if parent is not None:
        with contextlib.suppress(OSError):
            is_link = stat.S_ISLNK(os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode)
    if is_link:
        return OSError(errno.ELOOP, f"{path} is a link by now, and is not followed", str(path))
    return OSError(problem.errno, os.strerror(problem.errno or 0), str(path))
