"""What is at a path, for who must put it back: a file with its bytes, mode and owner, a link, or nothing.

Of the target alone: what is kept of it lies elsewhere, and may be written by another process. So bytes come and go in
chunks, and all else is JSON. Paths are full ones, and no link on the way is followed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.host.atomic_file import hidden_name, replacement
from watchdog.host.folder import Folder, open_folder
from watchdog.host.trust import user_name

CHUNK = 4 << 20
"""Bytes that are handed on at once."""


def ensure_state(said: JsonObject) -> None:
    """Raises ValueError for what no `file_state` is."""
    numbers = [said.get(name) for name in ("mode", "uid", "gid")]
    known = {
        "absent": True,
        "link": isinstance(said.get("to"), str),
        "file": bool(re.fullmatch("[0-9a-f]{64}", str(said.get("sha"))))
        and all(type(number) is int and 0 <= number < 1 << 32 for number in numbers),
    }
    if not known.get(str(said.get("kind")), False):
        raise ValueError(f"{str(said)[:100]} is no state of a file")


FileState = Annotated[JsonObject, ensure_state]


def file_state(path: Path) -> FileState:
    """What is at a path now. Raises ActionError when it is neither a file, a link nor nothing, or cannot be read.

    ``{"kind": file | link | absent, "sha", "mode", "uid", "gid", "to"}``; only `kind` when absent. `mode` is the
    permissions: that a file runs as its owner (setuid) is no part of what is put back.
    """
    return read_for_backup(path, lambda _: None)


def same_content(one: JsonObject, other: JsonObject) -> bool:
    """Whether the content is the same; mode and owner aside."""
    return all(one.get(key) == other.get(key) for key in ("kind", "sha", "to"))


def read_for_backup(path: Path, write: Callable[[bytes], object]) -> JsonObject:
    """`file_state`, and on the way a file's bytes to `write`, chunk by chunk. Raises ActionError."""
    try:
        with open_folder(path.parent) as folder:
            return _read(folder, path.name, write)
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
    return {
        "kind": "file",
        "sha": digest.hexdigest(),
        "mode": found.st_mode & 0o777,
        "uid": found.st_uid,
        "gid": found.st_gid,
    }


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


def restore_file(path: Path, was: JsonObject, chunks: Iterable[bytes] = (), expected: JsonObject | None = None) -> None:
    """Makes it again what it was: bytes, mode, owner. `chunks`: a file's bytes. Raises ActionError: all is as it is.

    `expected` is what is there by what the caller knows; when something else is, that is somebody's work.
    """

    try:
        with open_folder(path.parent, create=was["kind"] != "absent") as folder:

            def ensure_expected() -> None:
                if expected is not None and not same_content(_read(folder, path.name), expected):
                    raise ActionError(f"{path} was changed by somebody else in the meantime — look at it")

            if was["kind"] == "absent":
                ensure_expected()
                folder.unlink(path.name, missing_ok=True)
                folder.sync()
                return
            if was["kind"] == "link":
                _restore_link(folder, path.name, was["to"], ensure_expected)
                return
            with replacement(folder, path.name, ensure_expected) as file:
                digest = hashlib.sha256()
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
                if digest.hexdigest() != was["sha"]:
                    raise ActionError(f"what was saved of {path} is gone or damaged")
                file.flush()
                _give(file.fileno(), path, was)
    except FileNotFoundError as error:
        if was["kind"] != "absent":  # else it has gone with its folder
            raise ActionError(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise ActionError(f"{path}: {error.strerror}") from None


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


def _give(file: int, path: Path, was: JsonObject) -> None:
    """Owner and permissions as they were."""
    now = os.fstat(file)
    if (now.st_uid, now.st_gid) != (was["uid"], was["gid"]):
        try:
            os.fchown(file, was["uid"], was["gid"])
        except PermissionError:
            raise ActionError(
                f"{path} belonged to {was['uid']}:{was['gid']}, and cannot be given back to them — "
                f"restore it by hand, as root"
            ) from None
    os.fchmod(file, was["mode"] & 0o777)
