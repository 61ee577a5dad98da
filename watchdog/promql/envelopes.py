"""What an expression is at least and at most over a whole stretch of time, told from blocks of samples.

Replay asks it where no verdict can change: nothing need be evaluated there. Every bound holds for the very floats that
`evaluate` gives, rounding included. What cannot be told is not said: of a function that is not known here, nothing at all;
of a stretch in which samples are missing, or a comparison goes both ways, that it is not `sure`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from watchdog.model import Labels, Millis
from watchdog.promql.aggregations import aggregate
from watchdog.promql.errors import PromqlError
from watchdog.promql.extents import RANGES, Columns, Range, Read, newest, rounded
from watchdog.promql.functions import INSTANT, KEEPS_NAME
from watchdog.promql.nodes import (
    COMPARISONS,
    LOOKBACK,
    SETS,
    Aggregate,
    Binary,
    Call,
    Expr,
    Negate,
    Node,
    Number,
    RangeCall,
    Recorded,
    Selector,
)
from watchdog.promql.operators import Operand, operate
from watchdog.promql.pages import Bools, Floats, Ints, Page, Picked, Series
from watchdog.promql.recorded import as_recorded
from watchdog.promql.selectors import join
from watchdog.promql.summaries import Summary, widest
from watchdog.promql.vectors import Vector, constant, merge, without_name


class Stretches(NamedTuple):
    """Stretches of time, ascending."""

    firsts: Ints
    """[n] ms, inclusive …"""
    lasts: Ints
    """… and so are these."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is true at all times of a stretch. Where it is not `sure`, the rest says nothing."""

    keys: tuple[Labels, ...]
    low: Floats
    """[keys, n]"""
    high: Floats
    there: Bools
    """[keys, n]: whether the series is there, at all of its times or at none."""
    sure: Bools
    """[n]"""
    age: Ints
    """[n] ms: how old what is read is at most."""
    covered: Bools
    """[n]: whether all windows are covered, …"""
    uncovered: Bools
    """[n]: … or none of the windows of some range is."""


class Unknown(Exception):  # noqa: N818 - no error: it is evaluated instead
    """Nothing is known of such an expression."""


def envelope(expr: Expr, series: Series, over: Stretches, summaries: dict[int, Summary]) -> Envelope | None:
    """Bounds of `evaluate` at any times within the stretches; None where it has none to say.

    `summaries`: by the id of a page; filled in here, and good for as long as the pages do not change.
    """
    ask = _Asked(series, over, summaries)
    try:
        with np.errstate(all="ignore"):
            low, high = ask.value(expr.node)
    except (Unknown, PromqlError):  # what is an error at some times is met again when those are evaluated
        return None
    if not (isinstance(low, Vector) and isinstance(high, Vector)) or not ask.read:
        return None
    finite = (np.isfinite(low.v) & np.isfinite(high.v)) | ~low.there
    return Envelope(
        low.keys, low.v, high.v, low.there, ask.sure & finite.all(axis=0), ask.age, ask.covered, ask.uncovered
    )


Pair = tuple[Operand, Operand]
"""Least and greatest: two scalars, or two vectors of the same series that are there at the same times."""


class _Asked:
    """One evaluation."""

    def __init__(self, series: Series, over: Stretches, summaries: dict[int, Summary]) -> None:
        self.series, self.over, self.summaries = series, over, summaries
        size = over.firsts.size
        self.read = False
        self.sure: Bools = np.ones(size, np.bool_)
        self.covered: Bools = np.ones(size, np.bool_)
        self.uncovered: Bools = np.zeros(size, np.bool_)
        self.age: Ints = np.zeros(size, np.int64)
        self._columns: dict[tuple[int, Millis, Millis], Columns] = {}

    def value(self, node: Node) -> Pair:
        match node:
            case Number(value=number):
                number_ = constant(number, self.sure.size)
                return number_, number_
            case Selector(at=None):
                return self._each(node, LOOKBACK, newest, named=True)
            case RangeCall(func=func, selector=Selector(at=None) as selector, span=span, args=args) if func in RANGES:
                given = [arg.value for arg in args if isinstance(arg, Number)]
                if len(given) < len(args):
                    raise Unknown
                of = RANGES[func]
                asked: Range = partial(of, args=given) if given else of
                return self._each(selector, span, asked, named=func in KEEPS_NAME, ranged=True)
            case Negate(expr=inner):
                low, high = self.value(inner)
                return _negated(node, high), _negated(node, low)
            case Binary(lhs=lhs, rhs=rhs):
                return self._binary(node, self.value(lhs), self.value(rhs))
            case Aggregate(op=op, expr=inner, param=param) if op in _RISING and isinstance(param, Number | None):
                given_ = None if param is None else constant(param.value, self.sure.size)
                low, high = self._vectors(inner)
                low, high = aggregate(node, low, given_), aggregate(node, high, given_)
                return _wider(low, high) if op in ("sum", "avg", "quantile") else (low, high)
            case Call(func=func, args=(inner, *bounds)) if func in _MONOTONE and all(
                isinstance(x, Number) for x in bounds
            ):
                low, high = self._vectors(inner)
                limits = [x.value for x in bounds if isinstance(x, Number)]
                return (
                    without_name(Vector(low.keys, INSTANT[func](low.v, *limits), low.there), node.memo),
                    without_name(Vector(high.keys, INSTANT[func](high.v, *limits), high.there), node.memo),
                )
            case Recorded(expr=inner):
                low, high = self._vectors(inner)
                return as_recorded(node, low), as_recorded(node, high)
        raise Unknown

    def _vectors(self, node: Node) -> tuple[Vector, Vector]:
        low, high = self.value(node)
        if not (isinstance(low, Vector) and isinstance(high, Vector)):
            raise Unknown
        return low, high

    def _binary(self, node: Binary, left: Pair, right: Pair) -> Pair:
        if node.op in SETS:
            return operate(node, left[0], right[0]), operate(node, left[1], right[1])
        if node.op in ("==", "!="):
            self._needs_constant(left)
            self._needs_constant(right)
        elif node.op == "/":
            self._needs_sign(right)
        elif node.op not in ("+", "-", "*", *COMPARISONS):
            raise Unknown
        corners = [operate(node, a, b) for a, b in itertools.product(left, right)]
        there = [corner.there for corner in corners if isinstance(corner, Vector)]
        for other in there[1:]:
            self.sure &= (other == there[0]).all(axis=0)
        values = [corner.v if isinstance(corner, Vector) else corner for corner in corners]
        low, high = np.minimum.reduce(values), np.maximum.reduce(values)
        first = corners[0]
        if isinstance(first, Vector):
            return Vector(first.keys, low, first.there), Vector(first.keys, high, first.there)
        return low, high

    def _needs_constant(self, pair: Pair) -> None:
        """An equality may hold somewhere between two ends at which it does not."""
        for low, high, there in _rows(pair):
            self.sure &= (low == high) | ~there

    def _needs_sign(self, divisor: Pair) -> None:
        for low, high, there in _rows(divisor):
            self.sure &= (low > 0) | (high < 0) | ~there

    def _each(self, selector: Selector, span: Millis, of: Range, *, named: bool, ranged: bool = False) -> Pair:
        """`of` every row that is selected."""
        picked = self.series.select(selector.name, selector.matchers)
        if not picked:
            raise Unknown
        lows, highs = [], []
        for one in picked:
            if not one.page.t.size:
                raise Unknown
            self.read = True
            at = self._where(one.page, selector.offset, span)
            if ranged:
                self._covers(one, selector.offset, span)
            summary = self._summary(one.page)
            for row in np.arange(one.page.v.shape[0])[one.rows].tolist():
                read = Read(summary, row, at, *summary.within(row, at.newest if of is newest else at.first, at.after))
                low, high = of(read, span)
                # A sample that is missing, or no number, counts for more than the others.
                self.sure &= np.isfinite(low) & np.isfinite(high) & np.isfinite(read.low) & np.isfinite(read.high)
                lows.append(low)
                highs.append(high)
        plan = join([one.keys if named else one.bare for one in picked])
        there = np.ones((len(lows), self.sure.size), np.bool_)
        return merge(plan, np.array(lows), there), merge(plan, np.array(highs), there)

    def _summary(self, page: Page) -> Summary:
        if (known := self.summaries.get(id(page))) is None:
            known = self.summaries[id(page)] = Summary(page)
        return known

    def _where(self, page: Page, offset: Millis, span: Millis) -> Columns:
        known = self._columns.get((id(page), offset, span))
        if known is not None:
            return known
        t, (firsts, lasts) = page.t, self.over
        starts, ends = firsts - offset, lasts - offset
        summary = self._summary(page)
        first, first_late, after_early, after = (summary.after(x) for x in (starts - span, ends - span, starts, ends))
        least, greatest = summary.gaps()
        newest = np.maximum(after_early - 1, 0)
        age = np.maximum(widest(greatest, newest, after, np.maximum) - 1, ends - t[np.maximum(after - 1, 0)])
        self.sure &= (after_early > 0) & (age < span)
        self.age = np.maximum(self.age, age.astype(np.int64))
        apart = np.maximum(widest(greatest, first, after, np.maximum), 1)
        close = np.maximum(widest(least, first, after, np.minimum), 1)
        fewest = np.maximum(after_early - first_late, np.minimum(np.ceil((span - age) / apart), after_early))
        most = np.minimum(after - first, (span - 1) // close + 1)
        found = self._columns[id(page), offset, span] = Columns(
            first, first_late, newest, after_early, after, fewest, most
        )
        return found

    def _covers(self, picked: Picked, offset: Millis, span: Millis) -> None:
        page, (firsts, lasts) = picked.page, self.over
        begin = max(picked.begin, page.trimmed)
        self.covered &= firsts - offset - begin >= span
        self.uncovered |= lasts - offset - begin < span
        downs = page.unwatched
        if downs.size:
            next_ = downs[:, 1].searchsorted(firsts - offset - span, "right")
            self.sure &= (next_ == len(downs)) | (downs[np.minimum(next_, len(downs) - 1), 0] >= lasts - offset)


_RISING = frozenset({"sum", "avg", "min", "max", "count", "group", "quantile"})
"""Aggregations that do not fall when one of their members rises."""
_MONOTONE = frozenset({"ceil", "floor", "sqrt", "sgn", "clamp_min", "clamp_max"})


def _rows(pair: Pair) -> Iterator[tuple[Floats, Floats, Bools]]:
    low, high = pair
    if isinstance(low, Vector) and isinstance(high, Vector):
        yield from zip(low.v, high.v, low.there, strict=True)
    elif not isinstance(low, Vector) and not isinstance(high, Vector):
        yield low, high, np.ones(low.size, np.bool_)


def _negated(node: Negate, x: Operand) -> Operand:
    return without_name(Vector(x.keys, -x.v, x.there), node.memo) if isinstance(x, Vector) else -x


def _wider(low: Vector, high: Vector) -> tuple[Vector, Vector]:
    least, greatest = rounded(low.v, high.v)
    return Vector(low.keys, least, low.there), Vector(high.keys, greatest, high.there)
