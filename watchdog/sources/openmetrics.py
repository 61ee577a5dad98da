"""OpenMetrics → samples; all of a page or nothing of it, and by the letter, as `exposition` reads its older sister.

What is different: a page ends with ``# EOF``, times are seconds, exemplars may stand behind a value (they are passed over),
and counters may say when they began. That is no series of ours. It is heeded: a counter that began anew between two reads
has lost nothing that it counted since, even where it stands higher than before. So a sample 0 is put in at the time at
which it began, as Prometheus does, and whatever looks at the counter sees that it fell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.protocols import SourceState
from watchdog.sources.metrics_page import (
    NUMBER,
    QUOTED_VALUE,
    PageLimits,
    decode_lines,
    empty_page_error,
    match_sample,
    no_sample_error,
    overflows,
    parse_labels,
    repeated_series_error,
    to_value,
)
from watchdog.tsdb.labels import LABEL_NAME, METRIC_NAME

CONTENT_TYPE = "application/openmetrics-text"

_LABEL_PAIRS = rf"(?:{LABEL_NAME}={QUOTED_VALUE}(?:,(?=[a-zA-Z_])|(?=\}})))*"
_SECONDS = r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,2})?"
_BEHIND_VALUE = rf"(?: (?P<t>{_SECONDS}))?(?: # \{{{_LABEL_PAIRS}\}} {NUMBER}(?: {_SECONDS})?)?"
_LINE = re.compile(rf"(?P<name>{METRIC_NAME})(?:\{{(?P<labels>{_LABEL_PAIRS})\}})? (?P<value>{NUMBER}){_BEHIND_VALUE}")
_VALUE = re.compile(rf"(?P<value>{NUMBER}){_BEHIND_VALUE}")
_HELP, _TYPE, _UNIT = "# HELP ", "# TYPE ", "# UNIT "
_END = "# EOF"
_MAX_TIME = 1 << 53
_COUNTED = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}
"""Type of a family → what is counted in it from the time of its `_created` on."""
_MAX_ZERO_TIMES = 8
"""Different times of the samples that are put in at one read: each makes a column over all series of the source. Where there
are more, as of many counters of one start, the latest stands for all."""
_NEWEST = "created"
"""Key of the state: the latest time, in ms, at which anything on a page had begun."""
_AHEAD = "ahead"
"""Key of the state, while it is so: the same of the last page, where that is a time that has not come yet by far. It is known, and
hides nothing that begins once the clock is right again."""
_MAX_AHEAD: Millis = 600_000
"""By so much a clock is merely ahead of ours."""

_Series = tuple[str, Labels]


class OpenMetricsCache:
    """What the last page looked like, and when its counters began."""

    def __init__(self) -> None:
        self.lines: list[str | _Line] = []
        """For each line: itself, when it says no value of a series (its begin, of a help text); else what it begins with, and
        which series that is."""
        self.created: Mapping[_Series, Millis] = {}
        self.known: tuple[Millis | None, Millis | None] = None, None
        """What the state said then: where it says something else now, what came of that page was never kept."""


class _Line(NamedTuple):
    start: str
    name: str
    labels: Labels


class _Page(NamedTuple):
    samples: list[Sample]
    created: dict[_Series, Millis]
    """Family and labels (of a histogram without `le`) → when it began."""
    types: dict[str, str]
    """Family → type."""
    lines: list[str | _Line]
    pairs: int


def parse_samples(
    page: bytes, now: Millis, state: SourceState, cache: OpenMetricsCache, limits: PageLimits | None = None
) -> list[Sample]:
    """Every sample of a page, in its order, behind the zeros of counters that began anew; those without a timestamp of their
    own get `now`. Raises SourceError as `exposition.parse_samples` does; then `state` is as it was."""
    lines = decode_lines(page, limits)
    if lines[-1] == "":  # the last one may be ended
        del lines[-1]
    if not lines or lines[-1] != _END:
        raise SourceError("the page does not end with # EOF — it was cut short, or is no OpenMetrics")
    known: tuple[Millis | None, Millis | None] = state.get(_NEWEST), state.get(_AHEAD)
    if cache.known != known:
        cache.lines, cache.created = [], {}
    elif (again := _parse_unchanged_page(lines, cache.lines, now)) is not None:
        return again
    found = _parse(lines, now, limits)
    zeros = _zeros(found, cache.created, known)
    _note_begins(found.created.values(), now, state)
    remembered = limits is None or limits.is_worth_remembering(len(found.samples), found.pairs)
    cache.lines, cache.created = found.lines if remembered else [], found.created
    cache.known = state.get(_NEWEST), state.get(_AHEAD)
    return zeros + found.samples


def _note_begins(begins: Collection[Millis], now: Millis, state: SourceState) -> None:
    if not begins:
        return
    latest = max(begins)
    plain = [at for at in begins if at <= now + _MAX_AHEAD]
    state[_NEWEST] = max(state.get(_NEWEST) or 0, *plain, min(now, latest))
    if latest > now + _MAX_AHEAD:
        state[_AHEAD] = latest
    else:
        state.pop(_AHEAD, None)


def _parse(lines: list[str], now: Millis, limits: PageLimits | None) -> _Page:
    found = _Page([], {}, {}, [], 0)
    samples, remembered, seen, pairs = found.samples, found.lines, set[_Series](), 0
    for number, line in enumerate(lines, 1):
        if limits is not None and not number & 255:
            limits.check_time(number, len(lines))
        if line.startswith("#"):
            if not line.startswith((_HELP, _TYPE, _UNIT)) and (line != _END or number < len(lines)):
                raise no_sample_error(line, number)
            if line.startswith(_TYPE):
                family, _, kind = line.removeprefix(_TYPE).partition(" ")
                found.types[family] = kind
            remembered.append(_HELP if line.startswith(_HELP) else line)
            continue
        match = match_sample(_LINE, line, number)
        name, labels = match["name"], parse_labels(match["labels"] or "", number)
        if (name, labels) in seen:
            raise repeated_series_error(line, number)
        seen.add((name, labels))
        value, pairs = to_value(match["value"], line, number), pairs + len(labels)
        if name.endswith("_created") and found.types.get(name[:-8]) in _COUNTED:
            remembered.append(line)
            if 0 < value * 1_000 < _MAX_TIME:
                found.created[name[:-8], labels] = round(value * 1_000)
        else:
            remembered.append(_Line(line[: match.start("value")], name, labels))
            samples.append(Sample(name, labels, _time(match["t"], now, line, number), value))
        if limits is not None:
            limits.check_size(len(seen), pairs)
    if not samples:
        raise empty_page_error()
    return found._replace(pairs=pairs)


def _parse_unchanged_page(lines: list[str], known_lines: list[str | _Line], now: Millis) -> list[Sample] | None:
    """The samples of a page whose lines are those of the page before, but for values and what stands behind them; None when
    it is not so. Series that differed then differ now, and no counter has begun anew."""
    if len(lines) != len(known_lines):
        return None
    found: list[Sample] = []
    for number, (line, known) in enumerate(zip(lines, known_lines, strict=True), 1):
        if isinstance(known, str):
            if line != known and not (known == _HELP and line.startswith(_HELP)):
                return None
            continue
        start, name, labels = known
        if not line.startswith(start):
            return None
        value = line[len(start) :]
        # What is left out float() would read, too.
        if value.isascii() and value.isprintable() and " " not in value and "_" not in value:
            try:
                v = float(value)
            except ValueError:
                return None
            if v - v != 0 and overflows(v, value):
                return None
            found.append(Sample(name, labels, now, v))
            continue
        match = _VALUE.fullmatch(value)
        if match is None:
            return None
        found.append(Sample(name, labels, _time(match["t"], now, line, number), to_value(match["value"], line, number)))
    return found


def _time(text: str | None, now: Millis, line: str, number: int) -> Millis:
    if text is None:
        return now
    milliseconds = float(text) * 1_000
    if not -_MAX_TIME < milliseconds < _MAX_TIME:
        raise no_sample_error(line, number)
    return round(milliseconds)


def _zeros(page: _Page, known: Mapping[_Series, Millis], seen: tuple[Millis | None, Millis | None]) -> list[Sample]:
    """A sample 0 of each counter that began anew since the page before, or is new since then. After a start of ours, nobody
    knows the page before: then what began later than all that had been seen did. Without that, all is as it was."""
    newest = None if seen[0] is None else max(seen[0], seen[1] or 0)
    began = {
        series: at
        for series, at in page.created.items()
        if (at != known[series] if series in known else newest is not None and at > newest)
    }
    if not began:
        return []
    latest = max(began.values()) if len(set(began.values())) > _MAX_ZERO_TIMES else None
    zeros = []
    for name, labels, t, _ in page.samples:
        at = _find_begin(name, labels, page.types, began)
        if at is not None and at < t:
            zeros.append(Sample(name, labels, latest if latest is not None and latest < t else at, 0.0))
    return zeros


def _find_begin(name: str, labels: Labels, types: Mapping[str, str], began: Mapping[_Series, Millis]) -> Millis | None:
    """When that series began, if it is one that counts."""
    family, underscore, suffix = name.rpartition("_")
    if underscore + suffix not in _counted(types.get(family)):
        return None
    if suffix == "bucket":
        labels = tuple(pair for pair in labels if pair[0] != "le")
    return began.get((family, labels))


def _counted(kind: str | None) -> Iterable[str]:
    return _COUNTED.get(kind or "", ())
