"""A folder held open: what lies below it is reached from its descriptor, step by step, and never through a link.

A name can be made to mean another place between two system calls, a descriptor cannot. So whoever may rename things in
a bot's tree while we act in it gets an error out of us, and never a file somewhere else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType

from watchdog.core.errors import ActionError
from watchdog.host.file_metadata import give_metadata, read_metadata

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WALK_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO or a device is opened by nobody who then waits for it: without O_NONBLOCK, opening is waiting.
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR)
_CHUNK = 1 << 20


class OpenTree:
    """The folder itself, open until it is closed. Names are relative to it, with ``/`` between their parts.

    What raises OSError has the name as the error's `filename`; a link on the way to it is ELOOP or ENOTDIR.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def open(cls, path: Path) -> OpenTree:
        """Raises ActionError when that is no folder, but a link to one, say."""
        try:
            return cls(path, os.open(path, _FOLDER_FLAGS))
        except OSError as problem:
            if problem.errno in _IN_THE_WAY:
                raise ActionError(f"{path} is no folder of its own (a link?) — look at who put that there") from None
            raise ActionError(f"{path} cannot be opened: {problem.strerror}") from None

    def __enter__(self) -> OpenTree:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)

    @contextlib.contextmanager
    def parent(self, name: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """Descriptor of the folder that holds it, and the last part of its name. Raises OSError.

        `create`: folders that are missing on the way are made.
        """
        *folders, last = _parts(name)
        here = os.dup(self.fd)
        try:
            for part in folders:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=here)
                below = os.open(part, _WALK_FLAGS, dir_fd=here)
                os.close(here)
                here = below
            yield here, last
        except OSError as problem:
            problem.filename = self._full_name(name)
            raise
        finally:
            os.close(here)

    def subfolder(self, name: str) -> OpenTree:
        """A folder below this one. Raises OSError."""
        with self.parent(name) as (at, last):
            return OpenTree(self.path / name, os.open(last, _FOLDER_FLAGS, dir_fd=at))

    def make_folder(self, name: str, mode: int = 0o777) -> None:
        """Raises OSError: FileExistsError when anything at all has that name."""
        with self.parent(name) as (at, last):
            os.mkdir(last, mode, dir_fd=at)

    def lstat(self, name: str) -> os.stat_result | None:
        """What is there; None: nothing, or nothing that is in this tree (a link leads to it). Raises OSError."""
        try:
            with self.parent(name) as (at, last):
                return os.stat(last, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as problem:
            if problem.errno in _IN_THE_WAY:
                return None
            raise

    def readlink(self, name: str) -> str:
        with self.parent(name) as (at, last):
            return os.readlink(last, dir_fd=at)

    def open_file(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Descriptor of a regular file; of anything else it is an OSError, at once. The caller closes it."""
        with self.parent(name) as (at, last):
            file = os.open(last, flags | _FILE_FLAGS, dir_fd=at)
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file
        os.close(file)
        raise OSError(errno.EINVAL, "is no regular file", self._full_name(name))

    def create_file(self, name: str, content: bytes = b"", mode: int = 0o600) -> None:
        """A new file with that content; FileExistsError when anything at all has that name."""
        with self.parent(name) as (at, last):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE_FLAGS
            file = os.open(last, flags, mode, dir_fd=at)
            try:
                write_all(file, content)
            finally:
                os.close(file)

    def publish_file(self, name: str, content: bytes) -> None:
        """As `create_file`, but nobody ever sees the name without the content, not even after a `kill -9`.

        Where the file system has no files without a name it is `create_file`.
        """
        with self.parent(name) as (at, last):
            try:
                file = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=at)
            except OSError as problem:
                if problem.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                    raise
                self.create_file(name, content, 0o644)
                return
            try:
                write_all(file, content)
                os.link(f"/proc/self/fd/{file}", last, dst_dir_fd=at, follow_symlinks=True)
            except PermissionError:  # a file system without hard links
                self.create_file(name, content, 0o644)
            finally:
                os.close(file)

    def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a regular file. Raises OSError."""
        file = self.open_file(name)
        try:
            return read_up_to(file, limit)
        finally:
            os.close(file)

    def rename(self, name: str, to: OpenTree, new_name: str) -> None:
        """In one step, over whatever file is there; folders that the new name needs are made. Raises OSError."""
        with self.parent(name) as (at, last), to.parent(new_name, create=True) as (new_at, new_last):
            os.replace(last, new_last, src_dir_fd=at, dst_dir_fd=new_at)

    def link(self, name: str, to: OpenTree, new_name: str) -> None:
        """A second name for the very file or link. Raises OSError."""
        with self.parent(name) as (at, last), to.parent(new_name, create=True) as (new_at, new_last):
            os.link(last, new_last, src_dir_fd=at, dst_dir_fd=new_at, follow_symlinks=False)

    def copy_file(self, name: str, to: OpenTree, new_name: str) -> None:
        """A regular file once more, flushed to the disk: content, rights, attributes (as far as they are ours to give) and time.
        Raises OSError."""
        source = self.open_file(name)
        try:
            was = os.fstat(source)
            with to.parent(new_name, create=True) as (at, last):
                copy = os.open(last, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE_FLAGS, 0o600, dir_fd=at)
            try:
                while chunk := os.read(source, _CHUNK):
                    write_all(copy, chunk)
                give_metadata(copy, read_metadata(source), owner_may_differ=True)
                os.utime(copy, ns=(was.st_atime_ns, was.st_mtime_ns))
                os.fsync(copy)
            finally:
                os.close(copy)
        finally:
            os.close(source)

    def copy_metadata(self, name: str, to: OpenTree, other: str) -> None:
        """Another regular file gets the rights and attributes of this one, as far as they are ours to give. Raises OSError."""
        source, copy = self.open_file(name), to.open_file(other)
        try:
            give_metadata(copy, read_metadata(source), owner_may_differ=True)
        finally:
            os.close(source)
            os.close(copy)

    @contextlib.contextmanager
    def nearest_folder(self, name: str) -> Iterator[int]:
        """Descriptor of the folder that it lies in, or would, were those made that are not there: the nearest that is."""
        here = os.dup(self.fd)
        try:
            for part in _parts(name)[:-1]:
                try:
                    below = os.open(part, _WALK_FLAGS, dir_fd=here)
                except FileNotFoundError:
                    break
                except OSError as problem:
                    if problem.errno in _IN_THE_WAY:
                        break  # a file or link, which goes
                    raise
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)

    def link_or_copy(self, name: str, to: OpenTree, new_name: str) -> None:
        """A second name for the file or link; a copy where the file system, or whose the file is, forbids that. OSError."""
        try:
            self.link(name, to, new_name)
        except OSError as problem:
            if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
                raise
            found = self.lstat(name)
            if found is not None and stat.S_ISLNK(found.st_mode):
                with to.parent(new_name, create=True) as (at, last):
                    os.symlink(self.readlink(name), last, dir_fd=at)
            else:
                self.copy_file(name, to, new_name)

    def unlink(self, name: str) -> None:
        """A file or link; that there is none will do. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), self.parent(name) as (at, last):
            os.unlink(last, dir_fd=at)

    def remove_folder(self, name: str) -> None:
        """An empty one. Raises OSError."""
        with self.parent(name) as (at, last):
            os.rmdir(last, dir_fd=at)

    def remove_tree(self, name: str) -> None:
        """A folder with all that it holds, links in it not followed; what cannot be removed stays."""
        with contextlib.suppress(OSError), self.parent(name) as (at, last):
            shutil.rmtree(last, ignore_errors=True, dir_fd=at)

    def fsync(self, name: str = "") -> None:
        """A rename survives a power cut only when its folder was flushed too."""
        if not name:
            os.fsync(self.fd)
            return
        with self.subfolder(name) as folder:
            os.fsync(folder.fd)

    def _full_name(self, name: str) -> str:
        return str(self.path / name)


def write_all(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]


def read_up_to(file: int, limit: int) -> bytes:
    """From where the descriptor stands, that many bytes at most."""
    found = bytearray()
    while len(found) < limit and (chunk := os.read(file, min(limit - len(found), _CHUNK))):
        found += chunk
    return bytes(found)


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise OSError(errno.EINVAL, "is no name within a folder", name)
    return parts
