"""What the two formats of a metrics page have in common: lines, labels, numbers, and how much of a page is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isinf
from typing import NamedTuple

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels
from watchdog.net.deadline import Deadline
from watchdog.sources.series_limits import REFUSED_FACTOR
from watchdog.tsdb.labels import LABEL_NAME

# `*+` stands behind single characters only: behind groups Pythons before 3.11.5 match what is not there.
QUOTED_VALUE = r'"[^"\\]*+(?:\\.[^"\\]*+)*"'
NUMBER = r"[+-]?(?:(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?|(?i:inf(?:inity)?|nan))"
_LABEL_PAIR = re.compile(rf"({LABEL_NAME})[ \t]*=[ \t]*({QUOTED_VALUE})")
_ESCAPE = re.compile(r'\\([\\n"])')
MAX_LINE = 64 * 1024
"""Characters of a sample's line. Each is matched in one go, and nobody else has a turn meanwhile."""
_LINES_PER_SERIES = 4
"""What a page has at most where each series has a family of its own: HELP, TYPE, UNIT and the sample."""
_LABELS_PER_SERIES = 32
"""On average over `max_series`."""
_SLICE = 64 * 1024
"""Characters that are split into lines in one go."""


class PageLimits(NamedTuple):
    """How much of a page is read. What is more is refused whole, and soon; what is less and still too much for its
    source is the business of `SeriesLimiter`, which knows the series that were there before. All that checks raises
    SourceError."""

    max_series: int
    """Of the source."""
    deadline: Deadline
    """Of the read."""

    @property
    def samples(self) -> int:
        return REFUSED_FACTOR * self.max_series

    def check_lines(self, text: str) -> None:
        if text.count("\n") > _LINES_PER_SERIES * self.samples:
            raise self._too_large_error(f"more than {_LINES_PER_SERIES * self.samples} lines")

    def check_time(self, number: int, lines: int) -> None:
        """When that line is under way."""
        if not self.deadline.milliseconds_left():
            raise SourceError(
                f"the page is not read after {self.deadline.total} ms, {number} of its {lines} lines are — "
                "serve fewer series, or say a longer timeout"
            )

    def check_size(self, samples: int, pairs: int) -> None:
        """`pairs`: labels of all of them together."""
        if samples > self.samples:
            raise self._too_large_error(f"more than {self.samples} series")
        if pairs > _LABELS_PER_SERIES * self.max_series:
            raise self._too_large_error(f"more than {_LABELS_PER_SERIES * self.max_series} labels")

    def is_worth_remembering(self, samples: int, pairs: int) -> bool:
        """What is not kept anyway is not remembered either."""
        return samples + pairs // 8 <= 2 * self.max_series

    def _too_large_error(self, what: str) -> SourceError:
        return SourceError(
            f"the page has {what}, of which max_series: {self.max_series} would be kept — "
            "serve fewer series, or say a larger max_series"
        )


def decode_lines(page: bytes, limits: PageLimits | None) -> list[str]:
    """Raises SourceError for a page that is empty, is not UTF-8, or has more lines than are read."""
    if not page:
        raise SourceError("the page is empty — nothing is measured there yet, or it is another page")
    try:
        text = page.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise SourceError(f"byte {fault.start} of the page is not UTF-8 — is this the metrics page?") from None
    if limits is not None:
        limits.check_lines(text)
    return list(_split_lines(text))


def _split_lines(text: str) -> Iterator[str]:
    """splitlines() would also split inside label values; split() would do ten megabytes in one go."""
    start = 0
    while (end := text.find("\n", start + _SLICE)) >= 0:
        yield from text[start:end].split("\n")
        start = end + 1
    yield from text[start:].split("\n")


def parse_labels(text: str, number: int) -> Labels:
    """Pairs sorted by name. An empty value is no label, as in Prometheus. Raises SourceError."""
    pairs = _LABEL_PAIR.findall(text)
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or "__name__" in names:
        raise SourceError(f"line {number} of the page repeats or reserves a label name: {_excerpt(text)}")
    return tuple(sorted((name, _ESCAPE.sub(_unescape, quoted[1:-1])) for name, quoted in pairs if quoted != '""'))


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def match_sample(pattern: re.Pattern[str], line: str, number: int) -> re.Match[str]:
    """The whole line. Raises SourceError for one that is no sample, or so long that nobody looks."""
    if len(line) > MAX_LINE:
        raise SourceError(
            f"line {number} of the page has {len(line)} characters, at most {MAX_LINE} are read — "
            "is this the metrics page?"
        )
    match = pattern.fullmatch(line)
    if match is None:
        raise no_sample_error(line, number)
    return match


def to_value(text: str, line: str, number: int) -> float:
    """What a number of the format is. Raises SourceError for one that is too large to be one: it is not infinite."""
    value = float(text)
    if overflows(value, text):
        raise SourceError(
            f"line {number} of the page holds a number that is too large: {_excerpt(line)} — say +Inf if that is meant"
        )
    return value


def overflows(value: float, text: str) -> bool:
    """Whether it is infinite only because no number is so large: ``1e400``."""
    return isinf(value) and "n" not in text.lower()


def no_sample_error(line: str, number: int) -> SourceError:
    return SourceError(f"line {number} of the page is no sample: {_excerpt(line)} — is this the metrics page?")


def repeated_series_error(line: str, number: int) -> SourceError:
    return SourceError(
        f"line {number} of the page repeats a series: {_excerpt(line)} — which of the two holds is unknown"
    )


def empty_page_error() -> SourceError:
    return SourceError("the page holds no sample — nothing is measured there yet, or it is another page")


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
