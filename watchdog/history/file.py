"""What all files have in common: gzip, encoding, and how times and series are written in them."""

from __future__ import annotations

import gzip
import re
import zlib
from datetime import UTC, datetime
from pathlib import Path

from watchdog.history.gather import HistoryError
from watchdog.model import Labels, Millis

_TIME_COLUMNS = ("t", "time", "timestamp")
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_KEY = r"[a-zA-Z_][a-zA-Z0-9_]*"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_PAIR = re.compile(rf"\s*({_KEY})\s*=\s*({_QUOTED})\s*")
SERIES = re.compile(rf"\s*({_NAME})\s*(?:\{{((?:\s*{_KEY}\s*=\s*{_QUOTED}\s*,?)*+)\s*\}})?\s*")
_ESCAPE = re.compile(r'\\([\\n"])')

EPOCH_MS = 100_000_000_000
"""A number from here on counts milliseconds: as seconds it would lie beyond the year 5000."""


def lines_of(path: Path) -> list[str]:
    """The lines of a text file, unpacked when it is gzip. Raises HistoryError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror} — check the path") from None
    if raw.startswith(b"\x1f\x8b"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            raise HistoryError(f"{path}: the gzip file is damaged or cut short — copy it again") from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").split("\n")  # splitlines() would split label values
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise HistoryError(f"{path}:{line}: is not UTF-8 — is this CSV, or text in Prometheus's format?") from None


def is_table(path: Path, lines: list[str]) -> bool:
    """CSV by its name, or because its first line names a column of times."""
    names = [suffix.lower() for suffix in path.suffixes]
    first = lines[0].split(",")[0].strip().strip('"').lower() if lines else ""
    return ".csv" in names or ("," in (lines[0] if lines else "") and first in _TIME_COLUMNS)


def time_column(header: list[str]) -> int | None:
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
        return round(number) if abs(number) >= EPOCH_MS else round(number * 1_000)
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time — say seconds or milliseconds since 1970, or 2026-01-31T12:00:00Z"
        ) from None
    return round((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1_000)


def parse_series(text: str) -> tuple[str, Labels]:
    """``name{label="v"}`` → name and labels. Raises ValueError with the cure."""
    found = SERIES.fullmatch(text)
    if found is None:
        raise ValueError(f"{_short(text)} is no series — write a metric's name, or name{{label=\"value\"}}")
    pairs = labels_of(found[2] or "")
    return found[1], pairs


def labels_of(text: str) -> Labels:
    """``a="x",b="y"`` → pairs sorted by name. Raises ValueError when a label stands there twice."""
    pairs = _PAIR.findall(text)
    if len({name for name, _ in pairs}) < len(pairs) or any(name == "__name__" for name, _ in pairs):
        raise ValueError(f"{_short(text)} repeats or reserves a label name — each label stands once")
    return tuple(sorted((name, _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], quoted[1:-1])) for name, quoted in pairs))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
