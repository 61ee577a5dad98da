"""How much a source may bring: what is over is left out by rule, counted and told, and never taken for all there is.

The rule: series that are known stay. A new one is taken, in the order of the samples, as long as there is room for it;
what is left out is left out whole. A series that is gone takes up its room for as long as the store holds what it was,
an hour at least: so one limit bounds a read, the memory, and how many names a source can think of in an hour.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.protocols import Source
from watchdog.core.units import format_value, parse_quantity
from watchdog.tsdb.labels import (
    METRIC_NAME_LABEL,
    SOURCE_LABEL,
    TARGET_LABEL,
    is_label_name,
    is_metric_name,
    series_key,
)

DEFAULT_MAX_SERIES = 10_000
DEFAULT_MAX_MEMORY = 128 * 2**20
REFUSED_FACTOR = 4
"""A page with so many times `max_series` is not looked through for the series that are known."""
MAX_LABELS = 64
"""Labels of a series."""
MAX_NAME = 256
MAX_VALUE = 1_024
MAX_SERIES_TEXT = 4_096
"""Characters: of a metric's or a label's name, of a label's value, and of all of these of one series together."""
LABEL_LIMITS = (
    f"a series has at most {MAX_LABELS} labels, {MAX_VALUE} characters in a value and {MAX_SERIES_TEXT} in all"
)
_MAX_SKEW_CELLS = 250_000
"""Series × different times of one read: each time that differs makes a column over all series of the source."""
_MIN_TIMES = 16
"""Different times that a read may always have."""
_MAX_TIME = 1 << 53
CHURN_WINDOW: Millis = 3_600_000
"""How long a series that is gone counts at least."""
ALL_METRICS = ""
_MAX_NAMED = 1_000
"""Metrics that are told apart when something of them was left out; beyond, all of the source counts as cut."""
_SERIES_BYTES, _LABEL_BYTES, _SAMPLE_BYTES = 1_024, 400, 8
"""What a series, each of its labels (beside the text) and each of its samples takes, about: they stand in the store, in
the parser, in what is evaluated and in what is written down."""

_OUR_LABELS = (SOURCE_LABEL, TARGET_LABEL)

_SURROGATE = re.compile("[\ud800-\udfff]")
_SeriesName = tuple[str, Labels]


KeyFunction = Callable[[str, Labels], Labels]
"""(metric, labels) → the labels under which the series is kept."""
_KEY_WITHOUT_TARGET: KeyFunction = partial(series_key, source="source", target_by_source=None)


def _parse_size(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a size reads like 128MiB")
    size = round(parse_quantity(value, "bytes"))
    if size < 2**20:
        raise ValueError(f"{value!r} is less than 1MiB — say 128MiB")
    return size


MemorySize = Annotated[int, BeforeValidator(_parse_size)]


def has_room_for_labels(name: _SeriesName) -> bool:
    """Whether its texts are no more than a series may have."""
    metric, labels = name
    if len(labels) > MAX_LABELS or len(metric) > MAX_NAME or _text_length(name) > MAX_SERIES_TEXT:
        return False
    return all(len(label) <= MAX_NAME and len(value) <= MAX_VALUE for label, value in labels)


def max_series_of(source: Source) -> int:
    """What the source says; one over whose series nobody else decides need not say anything."""
    return int(getattr(source, "max_series", DEFAULT_MAX_SERIES))


class Cut(NamedTuple):
    """What of one read was left out."""

    dropped: Mapping[str, int]
    """Reason (`series`, `memory`, `labels`, `timestamps`, `invalid`, `collisions`) → samples."""
    metrics: frozenset[str]
    """Of these metrics not all is there; `ALL_METRICS`: of any."""
    text: str
    """For people: how much, why, and the cure."""


class SeriesLimiter:
    """The series of one source. For any thread, one at a time."""

    def __init__(
        self,
        max_series: int,
        max_memory: int,
        every: Millis,
        retention_of: Callable[[str], Millis],
        key_of: KeyFunction = _KEY_WITHOUT_TARGET,
    ) -> None:
        """`every`: from one read to the next; `retention_of`: how long samples of a metric are held, in ms; `key_of`: the labels
        under which a series of this source is kept."""
        self._key_of = key_of
        self._max_series, self._max_memory, self._every = max_series, max_memory, every
        self._retention_of = retention_of
        self._lock = threading.Lock()
        self._present: dict[_SeriesName, int] = {}
        self._gone: dict[_SeriesName, tuple[int, Millis]] = {}
        """Bytes of each series; of those that are gone, also when they are forgotten."""
        self._bytes = 0
        self._last_read: list[_SeriesName] = []
        """That of a read of which everything was taken."""
        self._next_expiry: Millis = 0
        self._ahead, self._admitted_at = 0.0, 0
        """Reads beyond one for each `every`; and when the last one was."""

    @classmethod
    def of(
        cls, source: Source, retention_of: Callable[[str], Millis], key_of: KeyFunction | None = None
    ) -> SeriesLimiter:
        """With the source's own limits, where it has some."""
        return cls(
            max_series_of(source),
            getattr(source, "max_memory", DEFAULT_MAX_MEMORY),
            source.every,
            retention_of,
            key_of or _KEY_WITHOUT_TARGET,
        )

    def admit(self, samples: Iterable[Sample], now: Millis) -> tuple[list[Sample], Cut | None]:
        """What is kept of a read, in its order; and what was left out, None when nothing was."""
        with self._lock:
            return self._admit(list(samples), now)

    def _admit(self, read: list[Sample], now: Millis) -> tuple[list[Sample], Cut | None]:
        self._ahead = max(0.0, self._ahead - max(0, now - self._admitted_at) / self._every) + 1
        self._admitted_at = now
        dropped = _Dropped()
        if self._is_last_read_again(read):
            kept = read
            if now >= self._next_expiry:
                self._expire(now)
        else:
            sound = []
            for sample in read:
                if _is_sound(sample):
                    sound.append(sample)
                else:
                    dropped.add(sample, "invalid")
            kept = self._take_known_and_new(self._without_collisions(sound, dropped), dropped, now)
            self._last_read = [] if dropped.counts else [sample[:2] for sample in read]
        kept = _within_skew(kept, dropped)
        if not dropped.counts:
            return kept, None
        return kept, Cut(dropped.counts, dropped.metrics(), self._describe(dropped.counts))

    def _is_last_read_again(self, read: list[Sample]) -> bool:
        """Whether it brings the same series in the same order, whose names are known to be sound."""
        if len(read) != len(self._last_read) or not all(type(sample) is Sample for sample in read):
            return False
        return [sample[:2] for sample in read] == self._last_read and all(map(_has_sound_value, read))

    def _without_collisions(self, read: list[Sample], dropped: _Dropped) -> list[Sample]:
        """Without series that become the same once they have our labels: which of the two holds nobody knows."""
        if not any(label in _OUR_LABELS for sample in read for label, _ in sample.labels):
            return read
        names: dict[Labels, set[_SeriesName]] = {}
        for sample in read:
            names.setdefault(self._key_of(sample.name, sample.labels), set()).add(sample[:2])
        twice = {name for same in names.values() if len(same) > 1 for name in same}
        for sample in read:
            if sample[:2] in twice:
                dropped.add(sample, "collisions")
        return [sample for sample in read if sample[:2] not in twice]

    def recount(self) -> None:
        """After a reload, when other windows look back at the samples: what has no room any more is left out from now on."""
        with self._lock:
            present, gone = self._present, self._gone
            self._present, self._gone, self._bytes, self._last_read = {}, {}, 0, []
            for name in present:
                self._take_new(name)
            for name, (_, until) in gone.items():
                size = self._size_of(name)
                self._gone[name] = size, until
                self._bytes += size

    def _take_known_and_new(self, read: list[Sample], dropped: _Dropped, now: Millis) -> list[Sample]:
        self._expire(now)
        before, self._present = self._present, {}
        for sample in read:
            if (size := before.pop(sample[:2], None)) is not None:
                self._present[sample[:2]] = size
        for name, size in before.items():
            self._gone[name] = size, now + max(CHURN_WINDOW, self._retention_of(name[0]))
        kept = []
        for sample in read:
            name = sample[:2]
            if name not in self._present:
                returned = self._gone.pop(name, None)
                if returned is not None:
                    self._present[name] = returned[0]
                elif (reason := self._take_new(name)) is not None:
                    dropped.add(sample, reason)
                    continue
            kept.append(sample)
        return kept

    def _take_new(self, name: _SeriesName) -> str | None:
        """Why there is no room for a series; None: it is taken."""
        if not has_room_for_labels(name):
            return "labels"
        if len(self._present) + len(self._gone) >= self._max_series:
            return "series"
        size = self._size_of(name)
        if self._bytes + size > self._max_memory:
            return "memory"
        self._bytes += size
        self._present[name] = size
        return None

    def _size_of(self, name: _SeriesName) -> int:
        """Bytes, about. Texts count twice: a source may write in characters that take more than one."""
        # One that is told may be told more often than `every`, and a new series has a place at each of those times, too.
        samples = self._retention_of(name[0]) // self._every + max(1, round(self._ahead))
        return _SERIES_BYTES + _LABEL_BYTES * len(name[1]) + 2 * _text_length(name) + _SAMPLE_BYTES * samples

    def _expire(self, now: Millis) -> None:
        self._next_expiry = now + 60_000
        for name, (size, until) in list(self._gone.items()):
            was_set_back = until - now > 2 * max(CHURN_WINDOW, self._retention_of(name[0]))
            if now >= until or was_set_back:
                del self._gone[name]
                self._bytes -= size

    def _describe(self, dropped: Mapping[str, int]) -> str:
        held = len(self._present) + len(self._gone)
        causes = {
            "series": f"it has had {held} series within the hour and may have {self._max_series} (max_series)",
            "memory": f"its series and their samples would take more than {format_value(self._max_memory, 'bytes')} "
            "(max_memory)",
            "labels": LABEL_LIMITS,
            "timestamps": "its samples have too many different times",
            "invalid": "they are no samples with a valid name",
            "collisions": "source and target are labels of the watchdog's, so what the data says under such a name becomes "
            "exported_source, exported_target, as other series are called already: rename the one or the other",
        }
        return "; ".join(
            f"{count} sample{'' if count == 1 else 's'} left out: {causes[reason]}" for reason, count in dropped.items()
        )


class _Dropped:
    """What is left out of one read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._metrics: set[str] = set()

    def add(self, sample: Any, reason: str) -> None:
        self.counts[reason] += 1
        if len(self._metrics) <= _MAX_NAMED:
            # A name that is none, or too long, is one that no expression can say.
            self._metrics.add(str(sample[0])[:MAX_NAME] if isinstance(sample, tuple) and sample else "?")

    def metrics(self) -> frozenset[str]:
        return frozenset(self._metrics if len(self._metrics) <= _MAX_NAMED else {ALL_METRICS})


def _text_length(name: _SeriesName) -> int:
    return len(name[0]) + sum(len(label) + len(value) for label, value in name[1])


def _has_sound_value(sample: Sample) -> bool:
    t: object = sample.t
    v: object = sample.v
    return isinstance(v, float | int) and isinstance(t, int) and -_MAX_TIME < t < _MAX_TIME


def _is_sound(sample: object) -> bool:
    """Whether it is a sample as the model says: what others push is not checked by anybody before."""
    if type(sample) is not Sample or not _has_sound_value(sample):
        return False
    name: object = sample.name
    labels: object = sample.labels
    if type(name) is not str or type(labels) is not tuple or not is_metric_name(name):
        return False
    for pair in labels:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
            return False
        if pair[0] == METRIC_NAME_LABEL or not is_label_name(pair[0]) or _SURROGATE.search(pair[1]):
            return False
    return len({label for label, _ in labels}) == len(labels)


def _within_skew(read: list[Sample], dropped: _Dropped) -> list[Sample]:
    """The samples of the first so many different times."""
    if len({sample[2] for sample in read}) <= _MIN_TIMES:
        return read
    most = max(_MIN_TIMES, _MAX_SKEW_CELLS // len(read))
    times: set[Millis] = set()
    kept = []
    for sample in read:
        if sample.t in times or len(times) < most:
            times.add(sample.t)
            kept.append(sample)
        else:
            dropped.add(sample, "timestamps")
    return kept
