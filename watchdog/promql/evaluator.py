"""What the pipeline asks of an engine: an evaluator gives a round, a round answers expressions.

The embedded engine reads our own series. One elsewhere fetches in `prefetch`, and its rounds answer from what was fetched.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.promql.eval.vectors import Keys
from watchdog.promql.parse.nodes import Expr
from watchdog.tsdb.page import Floats


class InstantVector(Mapping[Labels, float]):
    """An instant vector: labels without `__name__` → value. Single values cost a dictionary, made when one is asked for."""

    __slots__ = ("_by_labels", "_values", "label_sets", "max_value", "min_value")

    label_sets: Keys
    """The same object as long as the same series are there."""
    min_value: float
    """Least value; NaN when there is none or one of them is NaN."""
    max_value: float
    """Greatest value, likewise."""

    def __init__(self, names: Keys, numbers: tuple[float, ...] | Floats, low: float, high: float) -> None:
        self.label_sets, self._values, self.min_value, self.max_value = names, numbers, low, high
        self._by_labels: dict[Labels, float] | None = None

    @classmethod
    def of(cls, values: Mapping[Labels, float]) -> InstantVector:
        numbers = tuple(values.values())
        unclear = not numbers or any(map(math.isnan, numbers))
        low, high = (math.nan, math.nan) if unclear else (min(numbers), max(numbers))
        return cls(tuple(values), numbers, low, high)

    def renamed(self, names: Keys) -> InstantVector:
        """The same values under other labels, in the same order."""
        return InstantVector(names, self._values, self.min_value, self.max_value)

    def _dict(self) -> dict[Labels, float]:
        if self._by_labels is None:
            self._by_labels = dict(zip(self.label_sets, np.asarray(self._values).tolist(), strict=True))
        return self._by_labels

    def __getitem__(self, labels: Labels) -> float:
        return self._dict()[labels]

    def __iter__(self) -> Iterator[Labels]:
        return iter(self.label_sets)

    def __len__(self) -> int:
        return len(self.label_sets)

    def __repr__(self) -> str:
        return repr(self._dict())


EMPTY_VECTOR = InstantVector((), (), math.nan, math.nan)


class InstantResult(NamedTuple):
    """What an expression says at one time."""

    values: InstantVector
    newest: Millis
    """As in `QueryResult`: when the oldest of the newest samples was taken; 0: nothing was read, so nothing is known."""
    covered_ms: Millis
    """How much of the window is covered that lacks the greatest share …"""
    window_ms: Millis
    """… and how long it is; both 0 when no range was read."""
    valid_until: Millis
    """As long as no samples come, the same is said up to this time, exclusively; the time itself: nothing is promised."""

    @classmethod
    def no_data(cls, now: Millis) -> InstantResult:
        """Nothing is known."""
        return cls(EMPTY_VECTOR, 0, 0, 0, now)


class EvaluationRound(Protocol):
    """All that is asked at one time. Use it before samples come, and throw it away. Waits for nobody."""

    def evaluate(self, expr: Expr, samples_after: Millis | None = None) -> InstantResult:
        """`samples_after`: as if no sample up to that time, inclusive, had ever been taken.

        Raises PromqlError where Prometheus would fail too. What is not known is `InstantResult.no_data`.
        """

    def query(self, expr: Expr) -> dict[Labels, float]:
        """The instant vector with `__name__` where PromQL keeps it, as templates of alerts read it. Raises PromqlError."""


class Evaluator(Protocol):
    """An engine, over the series that it knows."""

    @property
    def prefetches(self) -> bool:
        """Whether `prefetch` does anything."""

    def at(self, now: Millis) -> EvaluationRound:
        """A round at `now`."""

    async def prefetch(self, expressions: Collection[Expr], now: Millis) -> None:
        """Ahead of a round that will ask these: whatever takes time is done here, within a deadline of the engine's own.

        Raises nothing: what could not be fetched is unknown to the rounds that follow.
        """
