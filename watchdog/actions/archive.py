"""State out of the way: files and folders into a compressed archive, which is read back before they are removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import Duration, FrozenList, JsonObject, RepoPath
from watchdog.core.protocols import CompletedStep, Copies, Finding, NeededFiles, StepState
from watchdog.core.target import Target
from watchdog.host import atomic_file, tar_archive
from watchdog.host.atomic_file import hidden_name
from watchdog.host.file_metadata import describe_lost
from watchdog.host.folder import Folder, open_folder, resolve
from watchdog.host.write_trial import describe_write_error, try_replacing

_MAX_LOST = 5
"""Things that an archive cannot hold, which are told by name."""


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

    def findings(self) -> tuple[Finding, ...]:
        found = []
        for index, name in enumerate(self.paths):
            try:
                self._resolve(name)
            except ActionError as error:
                found.append(Finding.of("missing now", ("paths", index), error))
        return tuple(found)

    def redirect(self, copies: Copies) -> Self:
        base = Path(self.repo or "/")
        paths = tuple(str(copies.file(base / path)) for path in self.paths)
        return self.model_copy(update={"repo": None, "paths": paths, "into": str(copies.file(base / self.into))})

    def needed_files(self, captured: JsonObject | None = None) -> NeededFiles:
        if captured is not None:
            return NeededFiles(self.touched_paths(captured))
        base = Path(self.repo or "")
        return NeededFiles((*(base / path for path in self.paths), base / self.into / "archive"))

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"paths": {path: digest of names, sizes and times below it}, "base", "archive": path, "files", "bytes"}``."""
        paths = [self._resolve(name) for name in self.paths]
        into = resolve(self.repo, self.into)
        for path in paths:
            if any(other == path or other in path.parents for other in paths if other is not path):
                raise ActionError(f"{path} is named twice — name it, or a folder above it, once")
            if path == into or path in into.parents:
                raise ActionError(f"{into} lies within {path}, which goes away — say another place in into")
        seen = {str(path): _scan_path(path) for path in paths}
        atomic_file.ensure_no_writers(paths)
        entries = [entry for scan in seen.values() for entry in scan]
        digests = {path: tar_archive.digest(scan) for path, scan in seen.items()}
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

    def rehearse(self, captured: JsonObject) -> None:
        """As if nothing could be packed: what does not fit as it is may not fit at night."""
        for path in map(Path, captured["paths"]):
            try_replacing(path, 0)
        archive = Path(captured["archive"])
        there = next(folder for folder in archive.parents if folder.is_dir())
        try_replacing(there / archive.name, captured["bytes"])

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        return (*map(Path, captured["paths"]), Path(captured["archive"]))

    def preview(self, captured: JsonObject) -> str:
        count = "1 file" if captured["files"] == 1 else f"{captured['files']} files"
        return (
            f"{', '.join(captured['paths'])} ({count}, {captured['bytes']} bytes) would go into {captured['archive']}"
        )

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        until = time.monotonic() + self.timeout / 1_000
        archive = Path(captured["archive"])
        try:
            with _open_originals(captured) as originals, open_folder(archive.parent, create=True) as into:
                _finish_or_roll_back(into, archive.name, originals)
                packed = None
                if not _is_there(into, archive.name):
                    packed = self._archive(captured, into, archive.name, originals, until)
        except OSError as problem:
            where = Path(problem.filename or archive)
            raise ActionError(f"{describe_write_error(where, problem)} (nothing was removed)") from None
        options = "--acls --xattrs -xzf" if packed is not None and packed.has_lists else "-xzf"
        back = f"back with: tar {options} {archive} -C {captured['base']}"
        return f"{', '.join(self.paths)} → {archive}; {back}{describe_lost(packed.lost[:_MAX_LOST] if packed else ())}"

    def state(self, captured: JsonObject) -> StepState:
        """Ends what a crash left open, too: either all is back under its name, or the rest is removed."""
        archive = Path(captured["archive"])
        try:
            with _open_originals(captured) as originals:
                try:
                    with open_folder(archive.parent) as into:
                        _finish_or_roll_back(into, archive.name, originals)
                        if _is_there(into, archive.name):
                            return "after"
                except FileNotFoundError:  # no folder of archives yet
                    pass
                if not all(one.folder.has(one.name) for one in originals):
                    return "other"
                return "before" if all(one.digest == tar_archive.digest(one.scan()) for one in originals) else "other"
        except FileNotFoundError:  # the folder of an original has gone since
            return "after" if archive.is_file() else "other"
        except (ActionError, OSError):
            return "unknown"

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        """Where something else is meant by now, which was not archived."""
        now = {name: resolve(self.repo, name, follow_last=False) for name in self.paths}
        return {
            str(path): f"{Path(self.repo or '', name)} now leads to {path}, which was not archived"
            for name, path in now.items()
            if str(path) not in captured["paths"] and os.path.lexists(path)
        }

    def _resolve(self, name: str) -> Path:
        """Where it really is; what lies behind a link is not ours to move."""
        real = resolve(self.repo, name, follow_last=False)
        if not os.path.lexists(real) or Path(name).name in ("", ".", ".."):
            raise ActionError(f"there is no {Path(self.repo or '', name)} — name it relative to the target's repo")
        return real

    def _archive(
        self, captured: JsonObject, into: Folder, name: str, originals: Sequence[_Original], until: float
    ) -> tar_archive.Packed:
        """Raises ActionError, OSError: then the originals are under their names."""

        def set_aside() -> None:
            _hide_originals(originals)

        try:
            with atomic_file.replacement(into, name, set_aside) as file:
                return self._write_archive(captured, file, originals, until)
        finally:
            _finish_or_roll_back(into, name, originals)

    def _write_archive(
        self, captured: JsonObject, file: BinaryIO, originals: Sequence[_Original], deadline: float
    ) -> tar_archive.Packed:
        """Write the archive, read it back, and see that nobody wrote meanwhile. Raises ActionError, OSError."""
        _ensure_unchanged(originals)
        atomic_file.ensure_no_writers([one.path for one in originals])
        if os.geteuid() == 0:
            owner = originals[0].folder.stat(originals[0].name)
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        packed = tar_archive.pack(file, [(one.folder, one.name) for one in originals], Path(captured["base"]), deadline)
        file.seek(0)
        if tar_archive.read_back(file, deadline) != packed.members:
            raise ActionError(
                f"{captured['archive']} does not hold what was written to it — is the disk broken? (nothing was removed)"
            )
        _ensure_unchanged(originals)
        return packed


class _Original(NamedTuple):
    """A path that goes away, by the open folder that it lies in."""

    path: Path
    folder: Folder
    digest: str

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def hidden(self) -> str:
        return hidden_name(self.path.name)

    def scan(self, *, hidden: bool = False) -> list[tar_archive.ArchiveEntry]:
        return tar_archive.scan(self.folder, self.hidden if hidden else self.name)


@contextlib.contextmanager
def _open_originals(captured: JsonObject) -> Iterator[list[_Original]]:
    """The folders stay open for the block: whatever is put in their place meanwhile is not what we pack and remove."""
    with contextlib.ExitStack() as stack:
        yield [
            _Original(Path(path), stack.enter_context(open_folder(Path(path).parent)), digest)
            for path, digest in captured["paths"].items()
        ]


def _scan_path(path: Path) -> list[tar_archive.ArchiveEntry]:
    try:
        with open_folder(path.parent) as folder:
            return tar_archive.scan(folder, path.name)
    except OSError as problem:
        raise ActionError(f"{path} cannot be looked at: {problem.strerror}") from None


def _ensure_unchanged(originals: Sequence[_Original], *, hidden: bool = False) -> None:
    for one in originals:
        if tar_archive.digest(one.scan(hidden=hidden)) != one.digest:
            raise ActionError(f"{one.path} was changed meanwhile (nothing was removed) — stop the bot first")


# Removing: every original gets another name in one step, then the archive its own; only then anything is deleted.


def _hide_originals(originals: Sequence[_Original]) -> None:
    """Give the originals another name. ActionError, with all of them back, when somebody wrote to them meanwhile."""
    try:
        for one in originals:
            one.folder.rename(one.name, one.hidden)
        _ensure_unchanged(originals, hidden=True)
        atomic_file.ensure_no_writers([one.path.with_name(one.hidden) for one in originals])
    except (ActionError, OSError):
        for one in originals:
            if one.folder.has(one.hidden):
                _unhide(one)
        raise


def _is_there(into: Folder, name: str) -> bool:
    """Whether the archive has its name. Raises ActionError when something else has it."""
    if not into.has(name):
        return False
    if not stat.S_ISREG(into.stat(name).st_mode):
        raise ActionError(f"{into.path / name} is no archive of ours, and stands in its place — look at it")
    return True


def _finish_or_roll_back(into: Folder, name: str, originals: Sequence[_Original]) -> None:
    """With the archive in place what was set aside is deleted, without it put back. Raises ActionError."""
    with contextlib.suppress(OSError):
        into.unlink(hidden_name(name))  # half of one
    done = _is_there(into, name)
    for one in originals:
        if not one.folder.has(one.hidden):
            continue
        if not done:
            _unhide(one)
            continue
        try:
            one.folder.remove(one.hidden)
            one.folder.sync()
        except OSError as problem:
            raise ActionError(
                f"{problem.filename}: {problem.strerror} — it stands in {into.path / name} and can be removed",
                may_have_happened=True,
            ) from None


def _unhide(one: _Original) -> None:
    aside = one.path.with_name(one.hidden)
    if one.folder.has(one.name):
        raise ActionError(f"{one.path} was made anew meanwhile; the old one is {aside} — put back what is right")
    try:
        one.folder.rename(one.hidden, one.name)
    except OSError as problem:
        raise ActionError(
            f"{aside} cannot be put back as {one.path}: {problem.strerror}", may_have_happened=True
        ) from None
