"""What is at a path, for who must put it back: a file with its bytes, rights and attributes, a link, or nothing.

Of the target alone: what is kept of it lies elsewhere, and may be written by another process. So bytes come and go in
chunks, and all else is JSON. Paths are full ones, and no link on the way is followed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.host import file_metadata
from watchdog.host.atomic_file import hidden_name, replacement
from watchdog.host.folder import Folder, open_folder
from watchdog.host.trust import user_name

_MAX_FOLDERS = 4
"""Above a file, of which it is noted what they were."""
CHUNK = 4 << 20
"""Bytes that are handed on at once."""


def ensure_state(said: JsonObject) -> None:
    """Raises ValueError for what no `file_state` is."""
    kind = str(said.get("kind"))
    known = {
        "absent": True,
        "link": isinstance(said.get("to"), str),
        "file": bool(re.fullmatch("[0-9a-f]{64}", str(said.get("sha")))),
    }
    folders = said.get("folders", [])
    if not known.get(kind, False) or not isinstance(folders, list) or len(folders) > _MAX_FOLDERS:
        raise ValueError(f"{str(said)[:100]} is no state of a file")
    for metadata in (*([said] if kind == "file" else []), *folders):
        file_metadata.from_json(metadata)


FileState = Annotated[JsonObject, ensure_state]


def file_state(path: Path) -> FileState:
    """What is at a path now. Raises ActionError when it is neither a file, a link nor nothing, or cannot be read.

    ``{"kind": file | link | absent, "sha", "to", "folders": […]}``, and of a file what `file_metadata.to_json` says; only `kind`
    when absent. `folders`: the same of those above it, innermost first. That a file runs as its owner (setuid) is no part of what
    is put back.
    """
    return read_for_backup(path, lambda _: None)


def is_as(seen: JsonObject, was: JsonObject) -> bool:
    """Whether a file is what it was, by all that was noted then: content, rights, owner, list and attributes of its users."""

    def known(state: JsonObject) -> JsonObject:
        users = {name: value for name, value in state.get("attributes", {}).items() if name.startswith("user.")}
        return {key: value for key, value in state.items() if key != "folders"} | {"attributes": users}

    now = known(seen)
    return all(now.get(key) == value for key, value in known(was).items() if key in was)


def same_content(one: JsonObject, other: JsonObject) -> bool:
    """Whether the content is the same; mode and owner aside."""
    return all(one.get(key) == other.get(key) for key in ("kind", "sha", "to"))


def read_for_backup(path: Path, write: Callable[[bytes], object]) -> JsonObject:
    """`file_state`, and on the way a file's bytes to `write`, chunk by chunk. Raises ActionError."""
    try:
        with open_folder(path.parent) as folder:
            seen = _read(folder, path.name, write)
        return seen if seen["kind"] == "absent" else {**seen, "folders": list(_folders_above(path))}
    except (FileNotFoundError, NotADirectoryError):
        return {"kind": "absent"}
    except OSError as error:
        raise ActionError(f"{path} cannot be read: {error.strerror}") from None


def _read(folder: Folder, name: str, write: Callable[[bytes], object] = lambda _: None) -> JsonObject:
    """The same in a folder that is open. Raises OSError, ActionError."""
    if not folder.has(name):
        return {"kind": "absent"}
    found = folder.stat(name)
    if stat.S_ISLNK(found.st_mode):
        return {"kind": "link", "to": folder.read_link(name)}
    with folder.open_file(name) as file:
        found, digest = os.fstat(file.fileno()), hashlib.sha256()
        while file.tell() <= found.st_size and (chunk := file.read(CHUNK)):
            digest.update(chunk)
            write(chunk)
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
            raise ActionError(f"{folder.path / name} changes while it is read")
        metadata = file_metadata.read_metadata(file.fileno())
    return {"kind": "file", "sha": digest.hexdigest(), **file_metadata.to_json(metadata)}


def _folders_above(path: Path) -> Iterator[JsonObject]:
    """Rights and lists of the folders above, innermost first: they may go with what they hold. Raises OSError."""
    for parent in list(path.parents)[:_MAX_FOLDERS]:
        with open_folder(parent) as folder:
            yield file_metadata.folder_to_json(file_metadata.read_metadata(folder.fd))


def last_writer(path: Path) -> str | None:
    """``config.py was written at 2026-01-31 12:00:00 UTC and belongs to ada``; None: there is no such file. Raises ActionError."""
    try:
        with open_folder(path.parent) as folder:
            found = folder.stat(path.name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ActionError(f"{path} cannot be looked at: {error.strerror}") from None
    when = datetime.fromtimestamp(found.st_mtime, UTC)
    return f"{path} was written at {when:%Y-%m-%d %H:%M:%S} UTC and belongs to {user_name(found.st_uid)}"


def list_files(touched: tuple[Path, ...]) -> list[tuple[Path, int]]:
    """`files_under`, as one answer."""
    return list(files_under(touched))


def read_part(path: Path, offset: int) -> str:
    """A file's bytes from `offset` on, `CHUNK` at most, as base64; empty at its end. Raises ActionError."""
    try:
        with open_folder(path.parent) as folder, folder.open_file(path.name) as file:
            file.seek(offset)
            return base64.b64encode(file.read(CHUNK)).decode()
    except OSError as error:
        raise ActionError(f"{path} cannot be read: {error.strerror}") from None


def restore_file(
    path: Path, was: JsonObject, chunks: Iterable[bytes] = (), expected: JsonObject | None = None
) -> tuple[str, ...]:
    """Makes it again what it was: bytes, rights, owner, lists, attributes; what of that is not kept, in words. `chunks`: a
    file's bytes. Raises ActionError: all is as it is.

    `expected` is what is there by what the caller knows; when something else is, that is somebody's work.
    """
    lost: tuple[str, ...] = ()
    try:
        if was["kind"] != "absent":
            lost = _make_folders(path, was.get("folders", ()))
        with open_folder(path.parent) as folder:

            def ensure_expected() -> None:
                if expected is not None and not same_content(_read(folder, path.name), expected):
                    raise ActionError(f"{path} was changed by somebody else in the meantime — look at it")

            if was["kind"] == "absent":
                ensure_expected()
                folder.unlink(path.name, missing_ok=True)
                folder.sync()
                return lost
            if was["kind"] == "link":
                _restore_link(folder, path.name, was["to"], ensure_expected)
                return lost
            with replacement(folder, path.name, ensure_expected) as file:
                digest = hashlib.sha256()
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
                if digest.hexdigest() != was["sha"]:
                    raise ActionError(f"what was saved of {path} is gone or damaged")
                file.flush()
                lost += _give(file.fileno(), path, was)
    except FileNotFoundError as error:
        if was["kind"] != "absent":  # else it has gone with its folder
            raise ActionError(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise ActionError(f"{path}: {error.strerror}") from None
    return lost


def _make_folders(path: Path, noted: Sequence[JsonObject]) -> tuple[str, ...]:
    """Those above it that are not there any more, with the rights and lists that they had, as far as they are ours to give;
    what is not kept, in words. Raises OSError."""
    missing = [(depth, parent) for depth, parent in enumerate(path.parents) if not os.path.lexists(parent)]
    lost: tuple[str, ...] = ()
    for depth, parent in reversed(missing):
        with open_folder(parent, create=True) as made:
            if depth < len(noted):
                with made.readable() as fd:
                    found = file_metadata.give_metadata(
                        fd, file_metadata.from_json(noted[depth]), owner_may_differ=True
                    )
                lost += tuple(f"{what} of {parent}" for what in found)
    return lost


def files_under(touched: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """The files behind what is touched, with their sizes in bytes: of a folder, all that it holds. Raises ActionError."""
    for path in touched:
        try:
            with open_folder(path.parent) as folder:
                for entry in folder.walk(path.name):
                    if not stat.S_ISDIR(entry.stat.st_mode):
                        yield entry.path, entry.stat.st_size if stat.S_ISREG(entry.stat.st_mode) else 0
        except (FileNotFoundError, NotADirectoryError):
            yield path, 0  # nothing: that is to be known, too
        except OSError as error:
            raise ActionError(f"{error.filename or path} cannot be read: {error.strerror}") from None


def _restore_link(folder: Folder, name: str, to: str, ensure_expected: Callable[[], None]) -> None:
    beside = hidden_name(name)
    folder.unlink(beside, missing_ok=True)
    folder.symlink(beside, to)
    try:
        ensure_expected()
        folder.rename(beside, name)
    except BaseException:
        folder.unlink(beside, missing_ok=True)
        raise
    folder.sync()


def _give(file: int, path: Path, was: JsonObject) -> tuple[str, ...]:
    """Owner, rights, list and attributes as they were; what is not kept, in words."""
    try:
        return file_metadata.give_metadata(file, file_metadata.from_json(was))
    except PermissionError:
        raise ActionError(
            f"{path} belonged to {was['uid']}:{was['gid']}, and cannot be given back to them — "
            f"restore it by hand, as root"
        ) from None
