"""A state file as its owner reads it: all of this runs in the owner's worker, and only numbers and labels leave it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from watchdog.core.errors import ActionError, SourceError
from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import Match
from watchdog.host.folder import open_folder, resolve
from watchdog.sources.json_document import parse_document
from watchdog.sources.json_values import JsonValue, Limits, Timing, extract

_TRIES = 5
_PAUSE = 0.02
"""s between two tries: a bot that writes its file anew is done by then."""


class StateFile(NamedTuple):
    """What is asked of a file."""

    path: Path
    max_bytes: int
    values: dict[str, str | JsonValue]
    time: str | None
    zone: str
    max_series: int


class FileSamples(NamedTuple):
    modified: Millis
    """When the file was written last, as the file system says."""
    samples: list[Sample]


def read_samples(file: StateFile, now: Millis) -> FileSamples:
    """Raises ActionError with what is wrong and the cure."""
    document, modified = _read_document(file)
    try:
        return FileSamples(
            modified, extract(document, file.values, _timing(file, modified, now), Limits(file.max_series))
        )
    except SourceError as fault:
        raise ActionError(f"{file.path}: {fault}") from None


def explain_file(file: StateFile, now: Millis) -> list[Match]:
    """What each expression matches. Raises ActionError."""
    from watchdog.sources.json_explain import explain

    document, modified = _read_document(file)
    return explain(document, file.values, _timing(file, modified, now))


def _timing(file: StateFile, modified: Millis, now: Millis) -> Timing:
    return Timing(now, min(modified, now), file.time, file.zone)


def _read_document(file: StateFile) -> tuple[dict[str, Any] | list[Any], Millis]:
    """The whole document and its time. Half of one, or one that changes while it is read, is looked at again a few times."""
    for _ in range(_TRIES - 1):
        try:
            return _read_once(file)
        except ActionError:
            time.sleep(_PAUSE)
    return _read_once(file)


def _read_once(file: StateFile) -> tuple[dict[str, Any] | list[Any], Millis]:
    path = resolve(None, str(file.path))
    try:
        with open_folder(path.parent) as folder, folder.open_file(path.name) as opened:
            before = os.fstat(opened.fileno())
            content = opened.read(file.max_bytes + 1)
            after = os.fstat(opened.fileno())
    except (FileNotFoundError, NotADirectoryError):
        raise ActionError(f"{file.path} is not there — does the bot write it, and is file right?") from None
    except OSError as problem:
        raise ActionError(f"{file.path} cannot be read: {problem.strerror} — check its permissions") from None
    if len(content) > file.max_bytes:
        raise ActionError(f"{file.path} is larger than {file.max_bytes} bytes — raise max_bytes if that is right")
    if _version(before) != _version(after):
        raise ActionError(
            f"{file.path} changes while it is read — let the bot write another file and rename it to this one"
        )
    try:
        document = parse_document(content)
    except SourceError as fault:
        raise ActionError(f"{file.path} holds half a document, or none: {fault}") from None
    if not isinstance(document, dict | list):
        raise ActionError(f"{file.path} holds a single value — an object or a list is expected, which shows its end")
    return document, after.st_mtime_ns // 1_000_000


def _version(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
