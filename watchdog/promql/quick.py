"""Expressions about single series, at one time: closures over plain floats.

Most rules read one series of each metric. For them arrays of one number cost ten times what the number does, so such an
expression is turned into closures once, and again when series come or go. Every float operation is the one that the
arrays make: the answers are the same bits. Whatever is not simple (a cell without a value, a window with a gap) raises
`Unusual`, and the caller asks the arrays.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from watchdog.model import Labels, Millis
from watchdog.promql import operators
from watchdog.promql.calendar import CLOCK
from watchdog.promql.functions import INSTANT, KEEPS_NAME
from watchdog.promql.look import Common, Look, Shared, Spot, Unusual
from watchdog.promql.nodes import LOOKBACK, SETS, At, Binary, Call, Negate, Node, Number, RangeCall, Selector
from watchdog.promql.pages import Page, Picked, Series, bare
from watchdog.promql.selectors import NONE

Step = Callable[[Look], float | None]
"""What a node says: a number, or None where the series is not there."""


class Cover(NamedTuple):
    """A window whose coverage is minded."""

    page: Page
    begin: Millis
    number: int
    span: Millis


class Plan:
    """An expression as closures, for as long as the series stay the same."""

    __slots__ = ("_common", "_series", "covers", "names", "numbers", "still", "value")

    def __init__(self, node: Node, series: Series, common: Common) -> None:
        """Raises Unusual when the expression is not about single series."""
        self._series, self._common = series, common
        self.numbers: list[int] = []
        """Of the spots where it reads."""
        self.covers: list[Cover] = []
        self.still = True
        """Whether the answer depends on nothing but the samples that are read."""
        key, self.value = self._compile(node)
        self.names: tuple[Labels, ...] = (() if key is None else bare(key),)

    def _compile(self, node: Node) -> tuple[Labels | None, Step]:
        """The labels, with the name where PromQL keeps it, None for a scalar; and the closure."""
        match node:
            case Number(value=value):
                return None, lambda _: value
            case Selector():
                return self._selector(node)
            case RangeCall():
                return self._range(node)
            case Binary():
                return self._binary(node)
            case Negate(expr=inner):
                key, step = self._compile(inner)
                return None if key is None else bare(key), _mapped(step, operator.neg)
            case Call():
                return self._call(node)
        raise Unusual

    def _pick(self, selector: Selector) -> Picked:
        picked = selector.memo.of(
            self._series.generation, None, lambda: self._series.select(selector.name, selector.matchers)
        )
        if len(picked) != 1 or len(picked[0].keys) != 1:
            raise Unusual
        return picked[0]

    def _spot(self, page: Page, selector: Selector, span: Millis, *, whole: bool) -> tuple[int, Spot]:
        at: At = selector.at
        if at is not None or selector.offset:
            self.still = False
        spot = Spot(id(page), at if isinstance(at, int) else None, selector.offset, span, whole)
        number = self._common.numbers.setdefault(spot, len(self._common.numbers))
        if number not in self.numbers:
            self.numbers.append(number)
        return number, spot

    def _selector(self, selector: Selector, *, stamp: bool = False) -> tuple[Labels, Step]:
        picked = self._pick(selector)
        page, row = picked.page, _row(picked)
        number, spot = self._spot(page, selector, LOOKBACK, whole=False)

        def cell(look: Look) -> float | None:
            view = look.views.get(number) or look.view(number, page, spot)
            last = view.last
            if view.first >= last:
                return None
            x = view.cell(row, last - 1)
            if x != x:
                raise Unusual  # a NaN that was measured, or a cell without a value
            return x

        def sampled(look: Look) -> float | None:
            return None if cell(look) is None else look.views[number].sampled / 1_000

        return picked.keys[0], sampled if stamp else cell

    def _range(self, node: RangeCall) -> tuple[Labels, Step]:
        selector = node.selector
        if not isinstance(selector, Selector) or node.func == "absent_over_time":
            raise Unusual
        args = []
        for arg in node.args:
            if not isinstance(arg, Number):
                raise Unusual
            args.append(arg.value)
        picked = self._pick(selector)
        row, (number, spot) = _row(picked), self._spot(picked.page, selector, node.span, whole=True)
        self.covers.append(Cover(picked.page, picked.begin, number, node.span))
        self.still = self.still and node.func in _STILL
        what = (node.func, tuple(map(repr, args)), spot)
        shared = self._common.shared.get(what)
        if shared is None:
            shared = self._common.shared[what] = Shared(node, picked.page, number, spot, tuple(args), self._common.room)
        if row not in shared.rows:
            shared.rows.append(row)
            shared.rows.sort()

        def over(look: Look) -> float | None:
            known = look.kernels.get(shared)
            if known is None:
                known = look.kernels[shared] = shared.values(look, row)
            elif row not in known:
                known.update(shared.values(look, row))
            return known[row]

        return picked.keys[0] if node.func in KEEPS_NAME else picked.bare[0], over

    def _binary(self, node: Binary) -> tuple[Labels | None, Step]:
        (mine, left), (theirs, right) = self._compile(node.lhs), self._compile(node.rhs)
        if node.op in SETS:
            return self._set(node, mine, left, theirs, right)
        if mine is None or theirs is None:
            key = mine if theirs is None else theirs
            nameless = key is not None and (node.op in operators.ARITHMETIC or node.as_bool)
            # What a comparison keeps is the value of the vector, wherever it stands.
            keeps = "left" if theirs is None else "right"
            return bare(key) if key is not None and nameless else key, _joined(
                node, left, right, keeps, scalar=key is None
            )
        pairs = operators.pair(node, (mine,), (theirs,))
        if not pairs.many.size:
            raise Unusual
        return pairs.result.keys[0], _joined(node, left, right, "left", scalar=False)

    def _set(
        self, node: Binary, mine: Labels | None, left: Step, theirs: Labels | None, right: Step
    ) -> tuple[Labels, Step]:
        if mine is None or theirs is None or node.op == "or":  # what `or` is labelled by depends on who is there
            raise Unusual
        met = operators.signature(node, mine) == operators.signature(node, theirs)
        wanted = node.op == "and"

        def step(look: Look) -> float | None:
            x, y = left(look), right(look)
            return x if (met and y is not None) == wanted else None

        return mine, step

    def _call(self, node: Call) -> tuple[Labels | None, Step]:
        func, args = node.func, node.args
        if func == "pi":
            return None, lambda _: math.pi
        if func == "time":
            self.still = False
            return None, lambda look: look.now / 1_000
        if func == "vector":
            return (), self._compile(args[0])[1]
        if func == "timestamp" and isinstance(args[0], Selector):
            name, stamped = self._selector(args[0], stamp=True)
            return bare(name), stamped
        if func == "scalar":
            _, step = self._compile(args[0])
            return None, lambda look: math.nan if (x := step(look)) is None else x
        function = INSTANT.get(func) or CLOCK.get(func)
        if function is None or func == "clamp":
            raise Unusual
        labels, step = self._compile(args[0])
        if labels is None:
            raise Unusual
        rest = [self._compile(arg)[1] for arg in args[1:]]
        return bare(labels), _applied(function, step, rest)

    # ─ at one time, after `value` ─

    def about(self, look: Look) -> tuple[Millis, Millis]:
        """How old the answer is (as `Result.newest`), and until when it stays as it is, exclusively, as long as no samples
        come; `now`: nothing is known."""
        views, newest, until = look.views, NONE, NONE
        for number in self.numbers:
            view = views[number]
            if view.newest < newest:
                newest = view.newest
            if view.until < until:
                until = view.until
        return (0 if newest == NONE else newest), (until if self.still and until != NONE else look.now)

    def coverage(self, look: Look) -> tuple[Millis, Millis]:
        """How much of the window is covered that lacks the greatest share, and how long it is."""
        worst_have = worst_span = 0
        for page, begin, number, span in self.covers:
            end = look.views[number].end
            if page.unwatched.size and page.unwatched[-1, 1] > end - span:
                raise Unusual  # some of the window may have been missed
            have = end - max(begin, page.trimmed, look.since)
            have = span if have > span else max(have, 0)
            if worst_span:
                share, before = have / span, worst_have / worst_span
                if share > before or (share == before and span <= worst_span):
                    continue
            worst_have, worst_span = have, span
        return worst_have, worst_span


_STILL = frozenset(
    {
        "avg_over_time",
        "sum_over_time",
        "min_over_time",
        "max_over_time",
        "count_over_time",
        "last_over_time",
        "changes",
        "resets",
        "stddev_over_time",
        "stdvar_over_time",
        "quantile_over_time",
        "mad_over_time",
        "present_over_time",
        "max_drawdown_over_time",
        "change_share_over_time",
        "streak_below_over_time",
        "streak_above_over_time",
        "irate",
        "idelta",
    }
)
"""Functions of the samples alone: where the window's edges lie does not matter to them."""


def _row(picked: Picked) -> int:
    rows = picked.rows
    return int(rows.start) if isinstance(rows, slice) else int(rows[0])


def _mapped(step: Step, function: Callable[[float], float]) -> Step:
    return lambda look: None if (x := step(look)) is None else function(x)


def _applied(function: Callable[..., object], step: Step, rest: list[Step]) -> Step:
    """A function of vectors on one cell, by numpy: its sines and logarithms are not those of the C library."""

    def call(look: Look) -> float | None:
        x = step(look)
        given = [np.array([number(look)]) for number in rest]
        if x is None:
            return None
        with np.errstate(all="ignore"):
            return float(np.asarray(function(np.array([[x]]), *given))[0, 0])

    return call


def _joined(node: Binary, left: Step, right: Step, keeps: str, *, scalar: bool) -> Step:
    """One operator between two numbers; both sides are always read."""
    if node.op in operators.ARITHMETIC:
        function = _ARITHMETIC.get(node.op) or _by_numpy(node.op)

        def arithmetic(look: Look) -> float | None:
            x, y = left(look), right(look)
            return None if x is None or y is None else function(x, y)

        return arithmetic
    holds = _COMPARE[node.op]
    as_number, keeps_left = scalar or node.as_bool, keeps == "left"

    def compare(look: Look) -> float | None:
        x, y = left(look), right(look)
        if x is None or y is None:
            return None
        if as_number:
            return 1.0 if holds(x, y) else 0.0
        return (x if keeps_left else y) if holds(x, y) else None

    return compare


def _divide(x: float, y: float) -> float:
    if y:
        return x / y
    return math.copysign(math.inf, x) * math.copysign(1.0, y) if x and x == x else math.nan


def _by_numpy(op: str) -> Callable[[float, float], float]:
    function = operators.ARITHMETIC[op]

    def apply(x: float, y: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(np.array([[x]]), np.array([[y]]))[0, 0])

    return apply


_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
