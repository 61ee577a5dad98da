"""The files of a textfile folder, read by whom the folder belongs to: whole, in bounds, each with its own mistakes."""

from __future__ import annotations

import itertools
import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.model import Millis
from watchdog.host.folder import open_folder, resolve

MAX_FILES = 500
"""Of a folder; one that has more is refused, since nobody knows which of them count."""
MAX_ENTRIES = 20 * MAX_FILES
"""Names in a folder that are looked at, whatever they are."""
MAX_TOTAL = 2**23
"""Bytes of all files together: so much travels in one answer."""


class TextFile(NamedTuple):
    name: str
    written: Millis | None
    """When it was changed last; None: nobody could look."""
    text: str | None
    problem: str | None
    """Why there is no text."""


def read_folder(folder: Path, pattern: str, max_bytes: int) -> tuple[TextFile, ...]:
    """The files whose names match, in the order of their names; small ones are read first, so that a large one takes no
    other's place. Raises ActionError when the folder cannot be read, or holds too many."""
    try:
        real = resolve(None, str(folder))
        names = _matching_names(real, pattern)
    except OSError as problem:
        raise ActionError(f"{folder} cannot be read: {problem.strerror} — mend folder, or its permissions") from None
    files, left = [], MAX_TOTAL
    for _, name in sorted((_size(real, name), name) for name in names):
        read = _read(real, name, max_bytes, left)
        left -= 0 if read.text is None else len(read.text.encode())
        files.append(read)
    return tuple(sorted(files))


def _matching_names(folder: Path, pattern: str) -> list[str]:
    """Raises OSError, ActionError."""
    with open_folder(folder) as opened:
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=opened.fd)
        try:
            with os.scandir(handle) as entries:
                seen = [entry.name for entry in itertools.islice(entries, MAX_ENTRIES + 1)]
        finally:
            os.close(handle)
    found = [name for name in seen if fnmatchcase(name, pattern) and not name.startswith(".")]
    for what, most, names in (("things", MAX_ENTRIES, seen), (f"files called {pattern}", MAX_FILES, found)):
        if len(names) > most:
            raise ActionError(f"{folder} holds more than {most} {what} — give the metrics a folder of their own")
    return found


def _size(folder: Path, name: str) -> int:
    try:
        return (folder / name).stat().st_size
    except OSError:
        return 0


def _read(folder: Path, name: str, max_bytes: int, left: int) -> TextFile:
    shown = name.encode(errors="backslashreplace").decode()
    written: Millis | None = None
    try:
        path = resolve(str(folder), name)
        with open_folder(path.parent) as opened, opened.open_file(path.name) as file:
            before = os.fstat(file.fileno())
            written = before.st_mtime_ns // 1_000_000
            data = file.read(min(max_bytes, left) + 1)
            after = os.fstat(file.fileno())
        if len(data) > max_bytes:
            problem = f"it has more than {max_bytes} bytes (max_bytes)"
        elif len(data) > left:
            problem = f"the files of the folder have more than {MAX_TOTAL} bytes together"
        elif (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or len(data) != after.st_size:
            problem = "it changes while it is read — write another file, and rename it"
        else:
            return TextFile(shown, written, data.decode(), None)
    except UnicodeDecodeError as fault:
        problem = f"byte {fault.start} is not UTF-8"
    except ActionError as error:
        problem = str(error)
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    return TextFile(shown, written, None, problem)
