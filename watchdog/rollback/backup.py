"""What a repair saves ahead of each change, so that a person can undo it: bytes, mode and owner, and the tree of git.

Two sides: the target's is read and written by `host.file_state`; the copies lie here, in a folder of the watchdog's own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from watchdog.actions.git import repository
from watchdog.core.errors import ActionError
from watchdog.core.executor import CallOwner, call_directly
from watchdog.core.model import JsonObject
from watchdog.core.telemetry import log
from watchdog.host import file_state
from watchdog.host.atomic_file import fsync_directory
from watchdog.host.private_folder import create_private_file, make_private_folders

_MAX_BYTES = 1 << 30
"""Bytes that one step may have saved; what is larger is not a change to a configuration or a program."""
_GIT_TIMEOUT_MS = 25_000
_GIT_NOTES: Mapping[str, list[str]] = {
    "git-head": ["rev-parse", "HEAD"],
    "git-dirty.patch": ["diff", "--binary", "--no-ext-diff", "HEAD"],
    "git-untracked": ["ls-files", "--others", "--exclude-standard"],
}


class SavedFile(NamedTuple):
    path: str
    was: JsonObject
    """As `file_state` says it."""
    copy: str | None
    """File that holds the bytes."""


def back_up(
    folder: Path, touched: Iterable[Path], repo: str | None, call_owner: CallOwner = call_directly
) -> list[SavedFile]:
    """Copies of what is there, flushed to the disk. Raises ActionError: what cannot be saved is not changed."""
    try:
        make_private_folders(folder)
        paths: dict[Path, int] = dict(call_owner(file_state.list_files, tuple(touched)))
        if (size := sum(paths.values())) > _MAX_BYTES:
            raise ActionError(f"{size >> 20} MB would have to be saved first, and {_MAX_BYTES >> 20} MB is the most")
        saved = []
        for path in sorted(paths):
            with NewCopy(folder) as copy:
                was = call_owner(file_state.file_state, path)
                for chunk in _read_parts(path, paths[path], call_owner) if was["kind"] == "file" else ():
                    copy.write(chunk)
                saved.append(SavedFile(str(path), was, copy.keep(was)))
        if repo is not None and _lacks_git_state(folder):
            _write_git_state(folder, call_owner(read_git_state, repo))
        fsync_directory(folder)
    except OSError as error:
        raise ActionError(f"{folder}: {error.strerror}: what is about to be changed cannot be saved") from None
    return saved


def _read_parts(path: Path, size: int, call_owner: CallOwner) -> Iterator[bytes]:
    offset = 0
    while part := _decoded(call_owner(file_state.read_part, path, offset), path):
        yield part
        offset += len(part)
        if offset > size:  # as it was counted; else whoever is asked could fill the disk
            raise ActionError(f"{path} grows while it is saved")


def _decoded(text: str, of: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ActionError(f"what was read of {of} is damaged") from None


def restore_file(
    path: Path,
    was: JsonObject,
    copy: str | None,
    expected: JsonObject | None = None,
    call_owner: CallOwner = call_directly,
) -> tuple[str, ...]:
    """Makes it again what it was: bytes, rights, owner, attributes; what of that is not kept, in words. Raises ActionError."""
    lost: tuple[str, ...] = call_owner(write_saved_file, path, was, expected, None if copy is None else Path(copy))
    return lost


def write_saved_file(
    path: Path, was: JsonObject, expected: JsonObject | None, input_file: Path | None
) -> tuple[str, ...]:
    """The target's side of `restore_file`; `input_file` holds the bytes that were saved. Raises ActionError."""
    return file_state.restore_file(path, was, _read_copy(path, was, input_file), expected)


class NewCopy:
    """A file's bytes on their way into the folder of copies; for one `with` block. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._part = folder / "copy.part"
        self._file: BinaryIO | None = None

    def __enter__(self) -> NewCopy:
        return self

    def write(self, chunk: bytes) -> None:
        if self._file is None:
            self._part.unlink(missing_ok=True)  # left over from a crash
            create_private_file(self._part)
            self._file = self._part.open("r+b")
        self._file.write(chunk)

    def keep(self, was: JsonObject) -> str | None:
        """Its path, named by its hash and on the disk; None for what has no bytes. Raises ActionError."""
        if was["kind"] != "file":
            return None
        self.write(b"")  # an empty one is one, too
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        if _sha256(self._part) != was["sha"]:
            raise ActionError("what is about to be changed changes while it is saved")
        self._part.replace(self._folder / was["sha"])
        return str(self._folder / was["sha"])

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._part.unlink(missing_ok=True)


def _read_copy(path: Path, was: JsonObject, copy: Path | None) -> Iterator[bytes]:
    """The bytes that were saved of a file, chunk by chunk. Raises ActionError when they are gone."""
    if was["kind"] != "file":
        return
    try:
        with (copy or Path()).open("rb") as file:
            while chunk := file.read(file_state.CHUNK):
                yield chunk
    except OSError:
        raise ActionError(f"what was saved of {path} is gone or damaged") from None


def delete_backups(folder: Path, runs: Iterable[int]) -> None:
    """Removes what was saved for these runs."""
    for run in runs:
        shutil.rmtree(folder / str(run), ignore_errors=True)


def read_git_state(repo: str) -> dict[str, str]:
    """HEAD, the patch of a dirty tree and the names of untracked files: for people; undo itself goes by the files.

    So no repair is given up because git does not answer, or may not: a flag needs no git. Bytes as base64.
    """
    found: dict[str, str] = {}
    if not (Path(repo) / ".git").exists():
        return found
    try:
        git = repository.open_repository(repo, _GIT_TIMEOUT_MS)
        for name, args in _GIT_NOTES.items():
            found[name] = base64.b64encode(git.git(*args).stdout_bytes).decode()
    except ActionError as error:
        log.warning("%s: HEAD and the patch of what is edited are not kept beside the files: %s", repo, error)
    return found


def _lacks_git_state(folder: Path) -> bool:
    return not all((folder / name).exists() for name in _GIT_NOTES)


def _write_git_state(folder: Path, notes: Mapping[str, str]) -> None:
    """What is there already says how it was before the first step."""
    for name in _GIT_NOTES:  # these and no others: names come from where the bot is
        if name in notes and not (folder / name).exists():
            content = _decoded(notes[name], name)
            create_private_file(folder / name)
            (folder / name).write_bytes(content)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
