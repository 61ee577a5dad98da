"""Subqueries: an expression asked at every multiple of its step, and a range function over the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from watchdog.model import Labels
from watchdog.promql.columns import Bounds, columns
from watchdog.promql.errors import PromqlError
from watchdog.promql.nodes import Node, RangeCall, Selector, Subquery, children
from watchdog.promql.pages import ABSENT, NEVER, Ints, Page, bare
from watchdog.promql.ranges import over
from watchdog.promql.selectors import NONE, Run
from watchdog.promql.vectors import Scalar, Vector, merge, merge_plan
from watchdog.promql.windows import Kernel, array

_STEPS = 50_000
"""Steps that one subquery is asked for at once: many times come in chunks."""
_TOO_MANY = 2_000_000
"""Steps in one range: a mistake."""

Value = Callable[[Node, Run], Vector]


def over_steps(
    run: Run, node: RangeCall, kernel: Kernel, args: Sequence[Scalar], value: Value, *, named: bool
) -> Vector:
    """`kernel` over the answers of a subquery, at each time. What is said of one time does not depend on the others."""
    sub = node.selector
    assert isinstance(sub, Subquery)
    steps = node.span // sub.step + 1
    if steps > _TOO_MANY:
        raise PromqlError(f"a subquery of {steps} steps — take a longer step, as in [1d:1m]")
    if asks_for_query(sub.expr):
        size = 1  # start() and end() are another time for each
    else:
        apart = int(np.abs(np.diff(run.times)).max()) if run.times.size > 1 else 0
        fresh = min(steps, apart // sub.step + 1)  # steps that one more time brings
        size = max(1, (_STEPS - steps) // fresh)
    if size >= run.times.size:
        return _at_once(run, node, sub, kernel, args, value, named=named)
    parts = []
    for start in range(0, run.times.size, size):
        some = slice(start, start + size)
        part = run.inside(run.times[some], run.query[some])
        parts.append(_at_once(part, node, sub, kernel, [arg[some] for arg in args], value, named=named))
        np.minimum(run.newest[some], part.newest, out=run.newest[some])
        run.age = None
    return _side_by_side(parts)


def asks_for_query(node: Node) -> bool:
    """Whether ``start()`` or ``end()`` is written somewhere in it."""
    if isinstance(node, Selector):
        return node.at == "query"
    if isinstance(node, RangeCall) and (node.selector.at == "query"):
        return True
    return any(map(asks_for_query, children(node)))


def _at_once(
    run: Run, node: RangeCall, sub: Subquery, kernel: Kernel, args: Sequence[Scalar], value: Value, *, named: bool
) -> Vector:
    ends = run.ends(sub)
    times = _grid(ends, node.span, sub.step)
    query = np.full_like(times, run.query[0]) if run.query.size == 1 else times
    inner = run.inside(times, query, within=(sub, node.span))
    found = value(sub.expr, inner)
    names = node.memo.of(found.keys, named, lambda: merge_plan(found.keys if named else tuple(map(bare, found.keys))))
    answers = np.where(found.there, np.where(np.isnan(found.v), np.nan, found.v), ABSENT)
    page = Page(times, answers, found.keys, NEVER)
    bounds = columns(page, ends, node.span)
    v, there, _ = over(page, slice(0, len(found.keys)), bounds, run, ends, node.span, kernel, args)
    run.saw(_newest(inner.newest, bounds), sub, late=sub.step)
    return merge(names, v, there)


def _grid(ends: Ints, span: int, step: int) -> Ints:
    """Every multiple of `step` that lies in one of the windows ``(end - span, end]``; ascending."""
    first, last = (ends - span) // step + 1, ends // step
    if ends.size == 1:
        return np.arange(first[0], last[0] + 1, dtype=np.int64) * step
    order = np.argsort(first, kind="stable")
    begin, end = first[order], last[order]
    known = np.maximum.accumulate(end)
    begin[1:] = np.maximum(begin[1:], known[:-1] + 1)
    pieces = [np.arange(a, b + 1, dtype=np.int64) for a, b in zip(begin, end, strict=True) if a <= b]
    return np.concatenate(pieces) * step if pieces else np.zeros(0, np.int64)


def _newest(inner: Ints, bounds: Bounds) -> Ints:
    """Newest sample time of the last step that read one, per window. An hourly step is not stale after a minute: it
    counts as fresh until the next one is due (`late`), and each step is one piece of evidence."""
    read = np.where(inner == NONE, -1, np.arange(inner.size))
    firsts, lasts = array(bounds.firsts), array(bounds.lasts)
    if not inner.size:
        return np.full(firsts.shape, NONE, np.int64)
    newest = np.maximum.accumulate(read)[np.maximum(lasts - 1, 0)]
    return np.where((newest >= firsts) & (lasts > firsts), inner[np.maximum(newest, 0)], NONE)


def _side_by_side(parts: Sequence[Vector]) -> Vector:
    """The same vector over times that follow each other."""
    rows: dict[Labels, int] = {}
    for part in parts:
        for key in part.keys:
            rows.setdefault(key, len(rows))
    widths = [part.v.shape[1] for part in parts]
    values, there = np.full((len(rows), sum(widths)), np.nan), np.zeros((len(rows), sum(widths)), np.bool_)
    start = 0
    for part, width in zip(parts, widths, strict=True):
        mine = [rows[key] for key in part.keys]
        values[mine, start : start + width], there[mine, start : start + width] = part.v, part.there
        start += width
    return Vector(tuple(rows), values, there)
