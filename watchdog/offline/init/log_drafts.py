"""What can be read of a log that a bot writes for people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_TIMES = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?",
    r"\d{10}(?:\.\d+)?",
)
_ERROR = r"\b(?:ERROR|CRITICAL|FATAL)\b"
_WARNING = r"\bWARN(?:ING)?\b"
_EXCEPTION = r"(?:^|\n)(?P<exception>[A-Za-z_][A-Za-z0-9_.]*(?:Error|Exception|Timeout|Warning)):"
_SHARE_WITH_TIMES = 0.2
"""Of the lines: those of a traceback, and of a message of several lines, begin with none."""
_LOG_SUFFIXES = (".log", ".out", ".err", ".txt")


def looks_like_log(path: Path, text: str) -> bool:
    """By its name, or because its lines begin with times or say how grave they are."""
    lines = [line for line in text.splitlines() if line.strip()]
    return (
        path.suffix in _LOG_SUFFIXES
        or "time" in draft_log(text)
        or sum(bool(re.search(rf"{_ERROR}|{_WARNING}|\b(?:INFO|DEBUG)\b", line)) for line in lines) > 0.5 * len(lines)
    )


def draft_log(text: str) -> dict[str, Any]:
    """`time` and `values` of a `log` entry; of an empty text what nearly every log has."""
    drafted: dict[str, Any] = {}
    lines = [line for line in text.splitlines() if line.strip()]
    for pattern in _TIMES:
        starts = sum(bool(re.match(rf"\W*{pattern}", line)) for line in lines)
        if lines and starts >= _SHARE_WITH_TIMES * len(lines):
            drafted["time"] = rf"^\W*(?P<time>{pattern})"
            break
    drafted["values"] = {
        "log_errors_total": {"count": _ERROR},
        "log_warnings_total": {"count": _WARNING},
        "exceptions_total": {"count": _EXCEPTION, "labels": {"exception": "exception"}},
    }
    return drafted
