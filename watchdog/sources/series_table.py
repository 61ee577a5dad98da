"""The series of a source that is told of some of them at a time: what each was when it last came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.core.model import Labels, Millis, Sample

SeriesName = tuple[str, Labels]
_MAX_OLD_TIMES = 8
"""Different times of what did not come just now: each of them is a column of its own in the store."""


@dataclass(slots=True)
class _Series:
    t: Millis
    v: float
    came: Millis
    """When it last came, whatever its own time."""
    is_new: bool = True


class SeriesTable:
    """Not for several threads."""

    def __init__(self, forget: Millis, state: Iterable[Sequence[Any]] = ()) -> None:
        """`forget`: when one goes that comes no more. `state`: what `to_state` said."""
        self._forget = forget
        self._series: dict[SeriesName, _Series] = {
            (name, tuple((label, value) for label, value in labels)): _Series(t, v, came, is_new=False)
            for name, labels, t, v, came in state
        }

    def __len__(self) -> int:
        return len(self._series)

    def count_with(self, samples: Iterable[Sample]) -> int:
        """How many series there would be with these."""
        return len(self._series) + sum(sample[:2] not in self._series for sample in samples)

    def value_of(self, name: SeriesName) -> float | None:
        known = self._series.get(name)
        return None if known is None else known.v

    def put(self, samples: Iterable[Sample], now: Millis) -> None:
        """These came. One that is older than what is known of its series says no more than that there is one."""
        for name, labels, t, v in samples:
            known = self._series.get((name, labels))
            if known is None:
                self._series[name, labels] = _Series(t, v, now)
            else:
                known.came = now
                if t > known.t or known.t > now:  # the clock was set back
                    known.t, known.v, known.is_new = t, v, True

    def keep_only(self, samples: Iterable[Sample]) -> None:
        """All others are gone."""
        names = {sample[:2] for sample in samples}
        self._series = {name: series for name, series in self._series.items() if name in names}

    def drop_forgotten(self, now: Millis) -> None:
        """Those that have not come for long are gone."""
        for name, series in list(self._series.items()):
            if now - series.came >= self._forget:
                del self._series[name]

    def shift_times(self, step: Millis) -> None:
        """The clock was set by `step`."""
        for series in self._series.values():
            series.t += step
            series.came += step

    def take(self) -> list[Sample]:
        """All of them, as they are delivered. What was delivered before is told with a time that is not newer: it only says
        that the series is still there, and few such times are told apart."""
        step = max(1, self._forget // (_MAX_OLD_TIMES - 1))
        found = []
        for (name, labels), series in self._series.items():
            found.append(Sample(name, labels, series.t if series.is_new else series.t // step * step, series.v))
            series.is_new = False
        return found

    def to_state(self) -> list[list[Any]]:
        """JSON, as long as all values are finite."""
        return [[name, labels, series.t, series.v, series.came] for (name, labels), series in self._series.items()]
