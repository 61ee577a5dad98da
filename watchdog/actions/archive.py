"""State out of the way: files and folders into a compressed archive, which is read back before they are removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import Duration, FrozenList, JsonObject, RepoPath
from watchdog.core.protocols import CompletedStep, Copies, StepState
from watchdog.core.target import Target
from watchdog.host import atomic_file

if TYPE_CHECKING:
    import tarfile

_CHUNK = 1 << 20
_MAX_ENTRIES = 100_000


class ArchiveAction(ActionModel):
    """Moves state into a dated archive: written, read back, and only then are the originals removed.

    Killed or failed anywhere, the originals are whole under their names, or the archive is.
    """

    repeatable: ClassVar[bool] = False  # what it moved is put back; what the bot has made since is not to follow it

    do: Literal["archive"]
    paths: Annotated[FrozenList[RepoPath], Field(min_length=1)]
    """Files and folders, relative to the target's repo. All of them must be there."""
    into: RepoPath
    """Folder of the archives, relative to the target's repo; made when it is not there."""
    repo: RepoPath | None = None
    """Folder that the others are relative to, within the target's repo; the repo itself when not said."""
    timeout: Duration = 60_000
    """For all of it; what is not done by then is put back."""

    def bind(self, target: Target) -> Self:
        return self.model_copy(
            update={"repo": atomic_file.resolve_base(target.repo, self.repo, *self.paths, self.into)}
        )

    def describe(self) -> str:
        return f"archive {', '.join(self.paths[:3])}{' …' if len(self.paths) > 3 else ''} into {self.into}"

    def redirect(self, copies: Copies) -> Self:
        base = Path(self.repo or "/")
        paths = tuple(str(copies.file(base / path)) for path in self.paths)
        return self.model_copy(update={"repo": None, "paths": paths, "into": str(copies.file(base / self.into))})

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"paths": {path: digest of names, sizes and times below it}, "base", "archive": path, "files", "bytes"}``."""
        paths = [self._resolve(name) for name in self.paths]
        into = Path(os.path.realpath(Path(self.repo or "", self.into)))
        for path in paths:
            if any(other == path or other in path.parents for other in paths if other is not path):
                raise ActionError(f"{path} is named twice — name it, or a folder above it, once")
            if path == into or path in into.parents:
                raise ActionError(f"{into} lies within {path}, which goes away — say another place in into")
        seen = {str(path): _scan(path) for path in paths}
        atomic_file.ensure_no_writers(paths)
        entries = [entry for scan in seen.values() for entry in scan]
        digests = {path: _digest_entries(scan) for path, scan in seen.items()}
        newest = datetime.fromtimestamp(max(entry.mtime for entry in entries) // 1_000_000_000, UTC)
        short = hashlib.sha256("".join(digests.values()).encode()).hexdigest()[:8]
        name = f"{paths[0].name.lstrip('.') or 'state'}-{newest:%Y%m%dT%H%M%SZ}-{short}.tar.gz"
        return {
            "paths": digests,
            "base": os.path.realpath(self.repo) if self.repo else "/",
            "archive": str(into / name),
            "files": sum(entry.kind == "file" for entry in entries),
            "bytes": sum(entry.size for entry in entries),
        }

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        return (*map(Path, captured["paths"]), Path(captured["archive"]))

    def preview(self, captured: JsonObject) -> str:
        count = "1 file" if captured["files"] == 1 else f"{captured['files']} files"
        return (
            f"{', '.join(captured['paths'])} ({count}, {captured['bytes']} bytes) would go into {captured['archive']}"
        )

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        until = time.monotonic() + self.timeout / 1_000
        archive, paths = Path(captured["archive"]), [Path(path) for path in captured["paths"]]
        _finish_or_roll_back(archive, paths)
        if not archive.exists():
            part = _hidden_path(archive)
            try:
                self._write_archive(captured, part, until)
                _hide_originals(captured["paths"])
                try:
                    part.replace(archive)
                    atomic_file.fsync_directory(archive.parent)
                finally:
                    _finish_or_roll_back(archive, paths)
            except OSError as problem:
                raise ActionError(f"{problem.filename or archive}: {problem.strerror} (nothing was removed)") from None
            finally:
                with contextlib.suppress(OSError):
                    part.unlink()
        base = captured["base"]
        return f"{', '.join(self.paths)} → {archive}; back with: tar -xzf {archive} -C {base}"

    def state(self, captured: JsonObject) -> StepState:
        """Ends what a crash left open, too: either all is back under its name, or the rest is removed."""
        archive, paths = Path(captured["archive"]), [Path(path) for path in captured["paths"]]
        try:
            _finish_or_roll_back(archive, paths)
            if archive.exists():
                return "after"
            return (
                "before"
                if all(_digest_entries(_scan(path)) == captured["paths"][str(path)] for path in paths)
                else "other"
            )
        except ActionError:
            return "other" if not all(os.path.lexists(path) for path in paths) else "unknown"

    def _resolve(self, name: str) -> Path:
        """Where it really is; what lies behind a link is not ours to move."""
        path = Path(self.repo or "", name)
        real = Path(os.path.realpath(path.parent)) / path.name
        if not os.path.lexists(real) or path.name in ("", ".", ".."):
            raise ActionError(f"there is no {path} — name it relative to the target's repo")
        return real

    def _write_archive(self, captured: JsonObject, part: Path, deadline: float) -> None:
        """Write the archive, read it back, and see that nobody wrote meanwhile. Raises ActionError, OSError."""
        import gzip  # paid by who archives
        import tarfile

        _make_directories(part.parent)
        scans = {path: _scan(Path(path)) for path in captured["paths"]}
        _ensure_unchanged(captured["paths"], scans)
        atomic_file.ensure_no_writers([Path(path) for path in scans])
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        sums: dict[str, str] = {}
        base = Path(captured["base"])
        with part.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)  # state may hold keys
            owner = Path(next(iter(scans))).lstat()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
                for scan in scans.values():
                    for entry in scan:
                        sums[_member_name(entry.path, base)] = _add_entry(tar, entry, base, deadline)
            file.flush()
            os.fsync(file.fileno())
        if _read_archive(part, deadline) != sums:
            raise ActionError(
                f"{part} does not hold what was written to it — is the disk broken? (nothing was removed)"
            )
        _ensure_unchanged(captured["paths"], {path: _scan(Path(path)) for path in scans})


class ArchiveEntry(NamedTuple):
    path: Path
    kind: Literal["file", "folder", "link"]
    size: int
    mtime: int
    identity: tuple[int, int, int]
    """Inode, mode, owner: a file that was replaced by another of the same size and time is another."""


def _scan(top: Path) -> list[ArchiveEntry]:
    """Everything at and below the path, in order. Raises ActionError for what cannot be kept in an archive."""
    device = _lstat(top.parent).st_dev
    found: list[ArchiveEntry] = []
    left = [top]
    while left:
        path = left.pop()
        seen = _lstat(path)
        if seen.st_dev != device:
            raise ActionError(f"{path} lies on another file system — archive it by itself, by hand")
        kinds: Mapping[int, Literal["file", "folder", "link"]] = {
            stat.S_IFREG: "file",
            stat.S_IFDIR: "folder",
            stat.S_IFLNK: "link",
        }
        kind = kinds.get(stat.S_IFMT(seen.st_mode))
        if kind is None or (kind == "link" and path == top):
            raise ActionError(f"{path} is no file or folder — name the real ones, without sockets, devices and links")
        size = seen.st_size if kind == "file" else 0
        found.append(ArchiveEntry(path, kind, size, seen.st_mtime_ns, (seen.st_ino, seen.st_mode, seen.st_uid)))
        if len(found) > _MAX_ENTRIES:
            raise ActionError(f"{top} holds more than {_MAX_ENTRIES} files — archive it by hand")
        if kind == "folder":
            try:
                left += sorted(path.iterdir(), reverse=True)
            except OSError as problem:
                raise ActionError(f"{path} cannot be read: {problem.strerror}") from None
    return found


def _make_directories(folder: Path) -> None:
    """The folder and those above it, owned like the folder that was there."""
    for missing in [each for each in (*reversed(folder.parents), folder) if not each.exists()]:
        missing.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            owner = missing.parent.stat()
            os.chown(missing, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _lstat(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as problem:
        raise ActionError(f"{path} cannot be looked at: {problem.strerror}") from None


def _digest_entries(entries: Sequence[ArchiveEntry]) -> str:
    top = entries[0].path
    lines = [repr((os.fsencode(entry.path.relative_to(top)), entry[1:])) for entry in entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _ensure_unchanged(digests: Mapping[str, str], scans: Mapping[str, Sequence[ArchiveEntry]]) -> None:
    for path, digest in digests.items():
        if _digest_entries(scans[path]) != digest:
            raise ActionError(f"{path} was changed meanwhile (nothing was removed) — stop the bot first")


def _member_name(path: Path, base: Path) -> str:
    return str(path.relative_to(base if path.is_relative_to(base) else "/"))


def _add_entry(tar: tarfile.TarFile, entry: ArchiveEntry, base: Path, until: float) -> str:
    """The entry goes into the archive; what was read of it."""
    tar.inodes.clear()  # type: ignore[attr-defined]  # a hard link is packed as the file that it is
    member = tar.gettarinfo(str(entry.path), _member_name(entry.path, base))
    if entry.kind != "file":
        tar.addfile(member)
        return f"{entry.kind} {member.linkname}"
    handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 - a handle
        reading = _HashingReader(file, until)
        try:
            tar.addfile(member, reading)
        except OSError as problem:
            if problem.errno is None:
                raise ActionError(f"{entry.path} was changed meanwhile (nothing was removed)") from None
            raise
    return f"file {reading.digest.hexdigest()}"


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


def _read_archive(part: Path, until: float) -> dict[str, str]:
    """What the archive really holds: by name, what `_add_entry` said of it. Of a broken one, less."""
    import gzip
    import tarfile

    found: dict[str, str] = {}
    with contextlib.suppress(tarfile.TarError, EOFError, gzip.BadGzipFile, OSError), tarfile.open(part, "r|gz") as tar:
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


# Removing: every original gets another name in one step, then the archive its own; only then anything is deleted.


def _hidden_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.trading-watchdog")


def _hide_originals(digests: Mapping[str, str]) -> None:
    """Give the originals another name. ActionError, with all of them back, when somebody wrote to them meanwhile."""
    try:
        for path in map(Path, digests):
            path.rename(_hidden_path(path))
        hidden = [_hidden_path(Path(path)) for path in digests]
        _ensure_unchanged(digests, {path: _scan(_hidden_path(Path(path))) for path in digests})
        atomic_file.ensure_no_writers(hidden)
    except (ActionError, OSError):
        for path in map(Path, digests):
            if os.path.lexists(_hidden_path(path)):
                _unhide(path)
        raise


def _finish_or_roll_back(archive: Path, paths: Sequence[Path]) -> None:
    """With the archive in place what was set aside is deleted, without it put back. Raises ActionError."""
    with contextlib.suppress(OSError):
        _hidden_path(archive).unlink()  # half of one
    for path in paths:
        hidden = _hidden_path(path)
        if not os.path.lexists(hidden):
            continue
        if not archive.exists():
            _unhide(path)
            continue
        try:
            if hidden.is_dir():
                shutil.rmtree(hidden)
            else:
                hidden.unlink()
            atomic_file.fsync_directory(hidden.parent)
        except OSError as problem:
            raise ActionError(
                f"{problem.filename}: {problem.strerror} — it stands in {archive} and can be removed",
                may_have_happened=True,
            ) from None


def _unhide(path: Path) -> None:
    hidden = _hidden_path(path)
    if os.path.lexists(path):
        raise ActionError(f"{path} was made anew meanwhile; the old one is {hidden} — put back what is right")
    try:
        hidden.rename(path)
    except OSError as problem:
        raise ActionError(
            f"{hidden} cannot be put back as {path}: {problem.strerror}", may_have_happened=True
        ) from None
