"""OpenMetrics, or Prometheus's text format, with timestamps → samples. What `promtool tsdb dump-openmetrics` writes."""

from __future__ import annotations

import re

import numpy as np

from watchdog.core.model import Labels
from watchdog.offline.history.page_builder import HistoryError, PageBuilder
from watchdog.offline.history.text_format import SERIES_PATTERN, parse_labels

_NUMBER = r"[+-]?(?:(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?|(?i:inf(?:inity)?|nan))"
_LINE = re.compile(
    rf"(?P<series>{SERIES_PATTERN.pattern})[ \t]+(?P<v>{_NUMBER})(?:[ \t]+(?P<t>{_NUMBER}))?(?:[ \t]+#.*)?[ \t]*"
)
_EOF_MARKER = "# EOF"


def parse_openmetrics(name: str, lines: list[str], builder: PageBuilder) -> None:
    """`name`: of the file, for errors. A file that ends with ``# EOF`` is OpenMetrics, and its times are seconds."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    unit = 1_000 if last.strip() == _EOF_MARKER else 1
    keys: dict[str, Labels] = {}
    points: dict[Labels, tuple[list[int], list[float]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise HistoryError(f"{name}:{number}: is no sample: {line[:60]!r} — is this CSV? Then name it .csv")
        if match["t"] is None:
            cure = 'history needs one on every line, such as: name{label="v"} 1.5 1767225600000'
            raise HistoryError(f"{name}:{number}: has no timestamp — {cure}")
        t = float(match["t"]) * unit
        if not abs(t) < 1e15:
            raise HistoryError(f"{name}:{number}: {match['t']} is no time — {_time_unit_hint(unit)}")
        if abs(t) < 1e11 and unit == 1 and "." in match["t"]:
            raise HistoryError(
                f"{name}:{number}: {match['t']} is no whole number of milliseconds — {_time_unit_hint(unit)}"
            )
        series = match["series"]
        if series not in keys:
            try:
                keys[series] = builder.series_key(match[2], parse_labels(match[3] or ""))
            except ValueError as error:
                raise HistoryError(f"{name}:{number}: {error}") from None
        times, values = points.setdefault(keys[series], ([], []))
        times.append(round(t))
        values.append(float(match["v"]))
    for key, (times, values) in points.items():
        builder.add(key, np.array(times, np.int64), np.array(values, np.float64))


def _time_unit_hint(unit: int) -> str:
    if unit == 1:
        return "without '# EOF' at its end a file counts milliseconds; end it with '# EOF' if they are seconds"
    return "a file that ends with '# EOF' counts seconds"
