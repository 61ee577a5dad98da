"""How Prometheus's files write durations, numbers and strings."""

from __future__ import annotations

import re

from watchdog.core.model import Millis

_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_UNIT_MILLIS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"', "'": "'"}


def parse_prometheus_duration(text: str) -> Millis:
    """A duration as Prometheus writes it, ``1h30m``, in ms; 0 needs no unit. Raises ValueError."""
    found = _DURATION.fullmatch(text.strip())
    if text.strip() == "0":
        return 0
    if found is None or not text.strip():
        raise ValueError(f"{text!r} is no duration")
    return sum(int(number) * size for number, size in zip(found.groups(), _UNIT_MILLIS, strict=True) if number)


def parse_number(text: str) -> float:
    """A float, also ``0x1F``, ``Inf`` and ``NaN``. Raises ValueError."""
    try:
        return float(text)
    except ValueError:
        return float(int(text, 0))


def unescape_go_string(text: str) -> str:
    """Go's escapes. Raises ValueError for one that means nothing."""

    def one(found: re.Match[str]) -> str:
        escape = found[1]
        if escape[0] in "xuU" and len(escape) > 1:
            return chr(int(escape[1:], 16))
        if escape[0] in "01234567" and len(escape) == 3:
            return chr(int(escape, 8))
        if escape not in _ESCAPES:
            raise ValueError(f"\\{escape} means nothing — double the backslash")
        return _ESCAPES[escape]

    return _ESCAPE.sub(one, text)
