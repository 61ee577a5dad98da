"""What all files have in common: gzip, encoding, and how times and series are written in them."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from watchdog.core.model import Labels, Millis
from watchdog.offline.history.page_builder import HistoryError
from watchdog.tsdb.labels import LABEL_NAME, METRIC_NAME

_CHUNK = 2**22
_TIME_COLUMNS = ("t", "time", "timestamp")
# `*+` stands behind single characters only: behind groups Pythons before 3.11.5 match what is not there.
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*"'
_PAIR = re.compile(rf"\s*({LABEL_NAME})\s*=\s*({_QUOTED})\s*")
SERIES_PATTERN = re.compile(rf"({METRIC_NAME})(?:\s*+\{{\s*((?:{LABEL_NAME}\s*+=\s*+{_QUOTED}\s*+(?:,\s*+)?)*)\}})?")
"""Without blanks around it: two that stand side by side would share them out in every way there is."""
_ESCAPE = re.compile(r'\\([\\n"])')

MIN_EPOCH_MS = 100_000_000_000
"""A number from here on counts milliseconds: as seconds it would lie beyond the year 5000."""


class Chunk(NamedTuple):
    """Whole lines of a file, each with its end; none of them cuts a quoted cell in two."""

    line: int
    """The number of the first one."""
    text: str


def read_chunks(path: Path, size: int = _CHUNK) -> Iterator[Chunk]:
    """A text file in parts that fit into memory, unpacked when it is gzip. Raises HistoryError."""
    line = 1
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            with gzip.open(plain) if packed else plain as file:
                rest = b""
                while data := file.read(size):
                    rest += data
                    if cut := _last_line_end(rest):
                        yield _decode_chunk(path, line, rest[:cut])
                        line, rest = line + rest.count(b"\n", 0, cut), rest[cut:]
                if rest:
                    yield _decode_chunk(path, line, rest)
    except gzip.BadGzipFile:
        raise HistoryError(f"{path}: the gzip file is damaged or cut short — copy it again") from None
    except (EOFError, zlib.error):
        raise HistoryError(f"{path}: the gzip file is damaged or cut short — copy it again") from None
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror} — check the path") from None


def _last_line_end(data: bytes) -> int:
    """Where the last line ends that leaves no quote open; 0 where that is not to be found quickly."""
    cut = data.rfind(b"\n") + 1
    quotes = data.count(b'"', 0, cut)
    for _ in range(64):
        if not cut or quotes % 2 == 0:
            return cut
        before = data.rfind(b"\n", 0, cut - 1) + 1
        quotes -= data.count(b'"', before, cut)
        cut = before
    return 0


def _decode_chunk(path: Path, line: int, raw: bytes) -> Chunk:
    try:
        return Chunk(line, raw.decode("utf-8-sig" if line == 1 else "utf-8").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        line += raw[: error.start].count(b"\n")
        raise HistoryError(f"{path}:{line}: is not UTF-8 — is this CSV, or text in Prometheus's format?") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, unpacked when it is gzip. Raises HistoryError."""
    # splitlines() would split label values
    return [line for chunk in read_chunks(path) for line in chunk.text.removesuffix("\n").split("\n")]


def is_csv(path: Path, first: str) -> bool:
    """CSV by its name, or because its first line names a column of times."""
    names = [suffix.lower() for suffix in path.suffixes]
    column = first.split(",")[0].strip().strip('"').lower()
    return ".csv" in names or ("," in first and column in _TIME_COLUMNS)


def find_time_column(header: list[str]) -> int | None:
    """Where the times stand."""
    lowered = [name.strip().lower() for name in header]
    return next((lowered.index(name) for name in _TIME_COLUMNS if name in lowered), None)


def parse_time(text: str) -> Millis:
    """Seconds or milliseconds since the epoch, or ISO 8601 (UTC where it names no zone) → ms.

    Raises ValueError with the cure.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if not abs(number) < 1e15:
            raise ValueError(f"{text!r} is no time — say seconds or milliseconds since 1970, or 2026-01-31T12:00:00Z")
        return round(number) if abs(number) >= MIN_EPOCH_MS else round(number * 1_000)
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time — say seconds or milliseconds since 1970, or 2026-01-31T12:00:00Z"
        ) from None
    return round((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1_000)


def parse_series(text: str) -> tuple[str, Labels]:
    """``name{label="v"}`` → name and labels. Raises ValueError with the cure."""
    found = SERIES_PATTERN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'{_shorten(text)} is no series — write a metric\'s name, or name{{label="value"}}')
    pairs = parse_labels(found[2] or "")
    return found[1], pairs


def parse_labels(text: str) -> Labels:
    """``a="x",b="y"`` → pairs sorted by name. Raises ValueError when a label stands there twice."""
    pairs = _PAIR.findall(text)
    if len({name for name, _ in pairs}) < len(pairs) or any(name == "__name__" for name, _ in pairs):
        raise ValueError(f"{_shorten(text)} repeats or reserves a label name — each label stands once")
    return tuple(
        sorted((name, _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], quoted[1:-1])) for name, quoted in pairs)
    )


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
