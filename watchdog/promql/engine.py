"""`evaluate`: walks the expression, and says what it read on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watchdog.model import Labels, Millis
from watchdog.promql.aggregations import aggregate
from watchdog.promql.calendar import CLOCK
from watchdog.promql.functions import INSTANT, KEEPS_NAME, RANGE
from watchdog.promql.histograms import over_buckets
from watchdog.promql.labelling import relabel
from watchdog.promql.nodes import (
    NAME,
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
    Subquery,
    Text,
)
from watchdog.promql.operators import Operand, operate
from watchdog.promql.pages import Bools, Floats, Ints, Series
from watchdog.promql.ranges import ranged
from watchdog.promql.recorded import as_recorded
from watchdog.promql.selectors import Run, instant
from watchdog.promql.subqueries import over_steps
from watchdog.promql.vectors import Scalar, Vector, constant, nameless, without_name


@dataclass(frozen=True, slots=True)
class Result:
    """What an expression says at each of the times."""

    keys: list[Labels]
    """Label sets that are there at some time; with `__name__` where PromQL keeps it."""
    values: Floats
    """[keys, times]; NaN where the series is not there."""
    present: Bools
    """[keys, times]; tells "not there" from "there, and NaN"."""
    newest: Ints
    """[times] ms: oldest of the newest sample times, over all pages that selectors read; 0 = no sample was read.
    What is asked of the past (offset, @) counts as if its samples were that much newer, a subquery's until the next step."""
    have: Ints
    """[times] ms: how much of the window is covered that lacks the greatest share …"""
    need: Ints
    """[times] ms: … and how long it is. Both 0 when no range was read."""
    age: Millis | None = None
    """How old the newest … are at most, where that is known of all times at once."""

    def at(self, i: int) -> dict[Labels, float]:
        """The instant vector at the i-th time; labels without `__name__`."""
        rows = np.flatnonzero(self.present[:, i])
        names = nameless(tuple(self.keys[row] for row in rows))
        return dict(zip(names, self.values[rows, i].tolist(), strict=True))


def evaluate(expr: Expr, series: Series, times: Ints, since: Millis | None = None) -> Result:
    """Evaluates at each of `times` (ms). Pure: nothing but the arguments is read, and none of them is changed.

    `since`: as if no sample up to that time, inclusive, had ever been taken.
    The arrays may be views of the pages: use them before the series change.
    What it says of one time does not depend on the other times, bit for bit.
    Raises PromqlError where Prometheus would fail too, such as when series match several times.
    """
    run = Run(series, np.ascontiguousarray(times, np.int64), since)
    vector = whole(expr, run)
    need = run.have if run.need is None else run.need
    return Result(list(vector.keys), vector.v, vector.there, run.told(), run.have, need, run.age)


def whole(expr: Expr, run: Run) -> Vector:
    """The expression at the times of a run: only series that are there at some time, and one NaN for all NaNs."""
    with np.errstate(all="ignore"):
        got = _value(expr.node, run)
    vector = got if isinstance(got, Vector) else _as_vector(got)
    if not (run.times.size and vector.there.all()):
        kept = np.flatnonzero(vector.there.any(axis=1))
        keys = tuple(vector.keys[row] for row in kept)
        # Whatever lies in the cells of a series that is not there does not leave the engine.
        vector = Vector(keys, np.where(vector.there[kept], vector.v[kept], np.nan), vector.there[kept])
    if np.isnan(np.minimum.reduce(vector.v, axis=None, initial=np.inf)):
        vector = Vector(
            vector.keys, np.where(np.isnan(vector.v), np.nan, vector.v), vector.there
        )  # one NaN, whatever its bits
    return vector


def _value(node: Node, run: Run) -> Operand:
    match node:
        case Number(value=value):
            return constant(value, run.times.size)
        case Selector():
            return instant(run, node)[0]
        case RangeCall(func="absent_over_time", selector=selector):
            return _absent(selector, _range(node, run, named=True))
        case RangeCall(func=func):
            return _range(node, run, named=func in KEEPS_NAME)
        case Binary(lhs=lhs, rhs=rhs):
            return operate(node, _value(lhs, run), _value(rhs, run))
        case Aggregate(expr=inner, param=param):
            given = None if param is None else param.value if isinstance(param, Text) else _scalar(param, run)
            return aggregate(node, _vector(inner, run), given)
        case Negate(expr=inner):
            got = _value(inner, run)
            return without_name(Vector(got.keys, -got.v, got.there), node.memo) if isinstance(got, Vector) else -got
        case Call():
            return _call(node, run)
        case Recorded(expr=inner):
            got = _value(inner, run)
            return as_recorded(node, got if isinstance(got, Vector) else _as_vector(got))
        case Text():
            raise AssertionError("the parser lets strings stand only where they are looked at, not evaluated")


def _range(node: RangeCall, run: Run, *, named: bool) -> Vector:
    kernel, args = RANGE[node.func], [_scalar(arg, run) for arg in node.args]
    if isinstance(node.selector, Selector):
        return ranged(run, node, node.selector, kernel, args, named=named)
    return over_steps(run, node, kernel, args, _vector, named=named)


def _vector(node: Node, run: Run) -> Vector:
    got = _value(node, run)
    assert isinstance(got, Vector)  # the parser has checked the types of all arguments
    return got


def _scalar(node: Node, run: Run) -> Scalar:
    got = _value(node, run)
    assert not isinstance(got, Vector)
    return got


def _as_vector(scalar: Scalar) -> Vector:
    return Vector(((),), scalar[None, :], np.ones((1, scalar.size), np.bool_))


def _call(node: Call, run: Run) -> Operand:
    first = node.args[0] if node.args else None
    if first is None:
        return run.times / 1_000 if node.func == "time" else np.full(run.times.size, np.pi)
    match node.func:
        case "label_replace" | "label_join":
            return relabel(node, _vector(first, run))
        case "histogram_quantile" | "histogram_fraction":
            *bounds, buckets = node.args
            return over_buckets(node, _vector(buckets, run), [_scalar(bound, run) for bound in bounds])
        case "sort" | "sort_desc":
            return _sorted(_vector(first, run), node.func == "sort_desc")
        case "vector":
            return _as_vector(_scalar(first, run))
        case "scalar":
            vector = _vector(first, run)
            if not vector.keys:
                return np.full(run.times.size, np.nan)
            alone = vector.there.sum(axis=0) == 1
            which = vector.there.argmax(axis=0)
            return np.where(alone, np.take_along_axis(vector.v, which[None, :], axis=0)[0], np.nan)
        case "absent":
            return _absent(first, _vector(first, run))
        case "timestamp":
            if isinstance(first, Selector):
                vector, at = instant(run, first)
                stamped = Vector(vector.keys, np.broadcast_to(at / 1_000, vector.v.shape), vector.there)
            else:
                vector = _vector(first, run)
                stamped = Vector(vector.keys, np.broadcast_to(run.times / 1_000, vector.v.shape), vector.there)
            return without_name(stamped, node.memo)
    vector = _vector(first, run)
    if node.func in CLOCK:
        return without_name(Vector(vector.keys, CLOCK[node.func](vector.v), vector.there), node.memo)
    rest = [_scalar(arg, run) for arg in node.args[1:]]
    there = vector.there & ~(rest[1] < rest[0]) if node.func == "clamp" else vector.there
    return without_name(Vector(vector.keys, INSTANT[node.func](vector.v, *rest), there), node.memo)


def _sorted(vector: Vector, descending: bool) -> Vector:
    """By value, NaN last. Only one time has an order, as in Prometheus."""
    if vector.v.shape[1] != 1:
        return vector
    order = np.argsort(-vector.v[:, 0] if descending else vector.v[:, 0], kind="stable")
    return Vector(tuple(vector.keys[row] for row in order), vector.v[order], vector.there[order])


def _absent(node: Node | Subquery, found: Vector) -> Vector:
    """1 where nothing was found, labelled by what was asked for with ``=``, once per label."""
    asked: dict[str, str] = {}
    seen = set()
    for matcher in node.matchers if isinstance(node, Selector | Recorded) else ():
        if matcher.label == NAME:
            continue
        if matcher.op == "=" and matcher.label not in seen:
            asked[matcher.label] = matcher.value
            seen.add(matcher.label)
        else:
            asked.pop(matcher.label, None)
    key = tuple(sorted(pair for pair in asked.items() if pair[1]))
    nothing = ~np.logical_or.reduce(found.there, axis=0, keepdims=True)
    return Vector((key,), np.ones(nothing.shape), nothing)
