"""What lies in a folder, packed as a compressed archive and read back; all of it by descriptor, no link is followed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.host.file_metadata import FileMetadata, read_metadata
from watchdog.host.folder import Entry, Folder
from watchdog.host.posix_acl import format_acl, parse_acl

if TYPE_CHECKING:
    import tarfile

_CHUNK = 1 << 20
_MAX_ENTRIES = 100_000
_KEPT_ATTRIBUTES = ("user.", "security.selinux")
"""Those that are packed, and a label that the system gives to what is unpacked by itself."""


class ArchiveEntry(NamedTuple):
    below: str
    kind: Literal["file", "folder", "link"]
    size: int
    mtime: int
    identity: tuple[int, int, int]
    """Inode, mode, owner: a file that was replaced by another of the same size and time is another."""


_KINDS: Mapping[int, Literal["file", "folder", "link"]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
}


def scan(folder: Folder, name: str) -> list[ArchiveEntry]:
    """Everything at and below the name, in order. Raises ActionError for what cannot be kept in an archive."""
    device = folder.stat(".").st_dev
    found: list[ArchiveEntry] = []
    for entry in _walk(folder, name):
        seen = entry.stat
        if seen.st_dev != device:
            raise ActionError(f"{entry.path} lies on another file system — archive it by itself, by hand")
        kind = _KINDS.get(stat.S_IFMT(seen.st_mode))
        if kind is None or (kind == "link" and entry.below == "."):
            raise ActionError(
                f"{entry.path} is no file or folder — name the real ones, without sockets, devices and links"
            )
        size = seen.st_size if kind == "file" else 0
        found.append(ArchiveEntry(entry.below, kind, size, seen.st_mtime_ns, (seen.st_ino, seen.st_mode, seen.st_uid)))
        if len(found) > _MAX_ENTRIES:
            raise ActionError(f"{folder.path / name} holds more than {_MAX_ENTRIES} files — archive it by hand")
    return found


def _walk(folder: Folder, name: str) -> Iterator[Entry]:
    try:
        yield from folder.walk(name)
    except OSError as problem:
        raise ActionError(f"{problem.filename or folder.path / name} cannot be read: {problem.strerror}") from None


def digest(entries: Sequence[ArchiveEntry]) -> str:
    """Of names, kinds, sizes, times and identities: whether all is as it was."""
    lines = [repr((os.fsencode(entry.below), entry[1:])) for entry in entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Packed(NamedTuple):
    members: dict[str, str]
    """By name, what was read of it."""
    has_lists: bool
    """Access lists or attributes stand in it, for a tar that is asked for them."""
    lost: tuple[str, ...]
    """What of the files is not in it, in words."""


def pack(file: BinaryIO, tops: Iterable[tuple[Folder, str]], base: Path, until: float) -> Packed:
    """All at and below each top goes into the archive, with its rights, lists and attributes. Raises ActionError, OSError.

    Members are called by their paths below `base`; else by their full ones, without the slash.
    """
    import gzip  # paid by who archives
    import tarfile

    packed: dict[str, str] = {}
    has_lists, lost = False, dict[str, None]()
    with gzip.GzipFile("", "wb", 6, file, mtime=0) as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
        for folder, name in tops:
            for entry in folder.walk(name):
                path = folder.path / name / entry.below
                member = str(path.relative_to(base if path.is_relative_to(base) else "/"))
                metadata = read_metadata((entry.folder.fd, entry.name))
                headers = _list_headers(metadata)
                has_lists |= bool(headers)
                others = [name for name in metadata.attributes if not name.startswith(_KEPT_ATTRIBUTES)]
                lost |= dict.fromkeys(f"{what} of {entry.path}" for what in (*metadata.left_out, *others))
                packed[member] = _add_entry(tar, entry, member, until, headers)
    file.flush()
    os.fsync(file.fileno())
    return Packed(packed, has_lists, tuple(lost))


def _list_headers(metadata: FileMetadata) -> dict[str, str]:
    """Lists and attributes as GNU tar and star write them."""
    lists = {"SCHILY.acl.access": metadata.acl, "SCHILY.acl.default": metadata.default_acl}
    found = {name: format_acl(parse_acl(value)) for name, value in lists.items() if value is not None}
    for name, value in metadata.attributes.items():
        if name.startswith("user."):
            found[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
    return found


def _add_entry(tar: tarfile.TarFile, entry: Entry, member: str, until: float, headers: dict[str, str]) -> str:
    """The entry goes into the archive; what was read of it. A hard link is packed as the file that it is."""
    kind = _KINDS.get(stat.S_IFMT(entry.stat.st_mode))
    if kind == "file":
        with entry.folder.open_file(entry.name) as file:
            reading = _HashingReader(file, until)
            try:
                tar.addfile(_tar_info(member, os.fstat(file.fileno()), headers), reading)
            except OSError as problem:
                if problem.errno is None:
                    raise ActionError(f"{entry.path} was changed meanwhile (nothing was removed)") from None
                raise
        return f"file {reading.digest.hexdigest()}"
    info = _tar_info(member, entry.stat, headers)
    if kind == "link":
        info.linkname = entry.folder.read_link(entry.name)
    tar.addfile(info)
    return f"{kind} {info.linkname}"


def _tar_info(name: str, seen: os.stat_result, headers: dict[str, str]) -> tarfile.TarInfo:
    """Of a file without the right to run it as somebody else."""
    import tarfile

    info = tarfile.TarInfo(name)
    info.pax_headers = headers
    info.mtime, info.uid, info.gid = int(seen.st_mtime), seen.st_uid, seen.st_gid
    info.mode = stat.S_IMODE(seen.st_mode)
    if stat.S_ISREG(seen.st_mode):
        info.size, info.mode = seen.st_size, info.mode & 0o777
    else:
        info.type = tarfile.DIRTYPE if stat.S_ISDIR(seen.st_mode) else tarfile.SYMTYPE
    return info


class _HashingReader:
    """A file that is read: its checksum, and the deadline."""

    def __init__(self, file: IO[bytes], until: float) -> None:
        self._file, self._until, self.digest = file, until, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() >= self._until:
            raise ActionError("not done in time (nothing was removed) — raise timeout, or archive less")
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk


def read_back(part: BinaryIO, until: float) -> dict[str, str]:
    """What the archive really holds: by name, what `pack` said of it. Of a broken one, less."""
    import gzip
    import tarfile

    found: dict[str, str] = {}
    broken = (tarfile.TarError, EOFError, gzip.BadGzipFile, OSError)
    with contextlib.suppress(*broken), tarfile.open(fileobj=part, mode="r|gz") as tar:
        for member in tar:
            kind = "folder" if member.isdir() else "link" if member.issym() else "file"
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                found[member.name] = f"{kind} {member.linkname}"
                continue
            reading = _HashingReader(content, until)
            while reading.read(_CHUNK):
                pass
            found[member.name] = f"file {reading.digest.hexdigest()}"
    return found
