"""Between which numbers a function's values lie, whatever the samples are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

INF = math.inf


class ValueBounds(NamedTuple):
    """The lowest and the highest value; NaN is beyond telling."""

    low: float = -INF
    high: float = INF

    def union(self, other: ValueBounds) -> ValueBounds:
        return ValueBounds(min(self.low, other.low), max(self.high, other.high))


UNBOUNDED, NON_NEGATIVE, ZERO_TO_ONE, EXACTLY_ONE = (
    ValueBounds(),
    ValueBounds(0.0),
    ValueBounds(0.0, 1.0),
    ValueBounds(1.0, 1.0),
)


class CallFacts(NamedTuple):
    """What is known of a call ahead of all samples."""

    input: ValueBounds
    """Of the vector or the samples that it reads."""
    numbers: Sequence[float]
    """Its other arguments; NaN where they are not written as numbers."""
    max_samples: float
    """How many samples a window has room for; infinity: nobody knows."""


StaticBounds = Callable[[CallFacts], ValueBounds]


def anything(_: CallFacts) -> ValueBounds:
    return UNBOUNDED


def always(low: float, high: float = INF) -> StaticBounds:
    bounds = ValueBounds(low, high)
    return lambda _: bounds


non_negative, exactly_one = always(0.0), always(1.0, 1.0)


def within_input(call: CallFacts) -> ValueBounds:
    """No value is lower or higher than what is read."""
    return call.input


def sum_of_input(call: CallFacts) -> ValueBounds:
    return ValueBounds(0.0 if call.input.low >= 0 else -INF, 0.0 if call.input.high <= 0 else INF)


def counts_samples(call: CallFacts) -> ValueBounds:
    return ValueBounds(0.0, call.max_samples)


def counts_gaps(call: CallFacts) -> ValueBounds:
    """What is counted lies between two samples."""
    return ValueBounds(0.0, max(0.0, call.max_samples - 1))


def whole_numbers(call: CallFacts) -> ValueBounds:
    if not all(map(math.isfinite, call.input)):
        return UNBOUNDED
    return ValueBounds(math.floor(call.input.low), math.ceil(call.input.high))


def clamped(call: CallFacts) -> ValueBounds:
    low, high = call.numbers
    return _clamp(call.input, low, high) if low <= high else UNBOUNDED


def clamped_below(call: CallFacts) -> ValueBounds:
    (low,) = call.numbers
    return UNBOUNDED if math.isnan(low) else _clamp(call.input, low, INF)


def clamped_above(call: CallFacts) -> ValueBounds:
    (high,) = call.numbers
    return UNBOUNDED if math.isnan(high) else _clamp(call.input, -INF, high)


def _clamp(of: ValueBounds, low: float, high: float) -> ValueBounds:
    return ValueBounds(min(max(of.low, low), high), max(min(of.high, high), low))
