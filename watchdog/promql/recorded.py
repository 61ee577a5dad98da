"""Recording rules as views: where an expression reads a recorded metric, the recording's own expression is asked.

Nothing is stored. So a recorded window is covered as soon as the samples beneath it are, their age passes through (what
is recorded of lost data is no data), and live, replay and verify cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from watchdog.model import Labels, Millis
from watchdog.promql.errors import PromqlError
from watchdog.promql.nodes import (
    NAME,
    Aggregate,
    Binary,
    Call,
    Expr,
    Memo,
    Negate,
    Node,
    RangeCall,
    Recorded,
    Selector,
    Subquery,
    children,
)
from watchdog.promql.pages import Ints
from watchdog.promql.vectors import Merge, Vector, merge, merge_plan

MOST_PARTS = 5_000
"""Parts of an expression once everything recorded is filled in: each is evaluated at every look."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A metric that is made of others."""

    name: str
    expr: Expr
    labels: Labels = ()
    """Set on every series; an empty value takes the label away."""
    step: Millis = 60_000
    """How often it would be recorded: the step at which a range of it is read."""


Recordings = Mapping[str, Sequence[Recording]]
"""By name; several of one name are joined."""


def expand(expr: Expr, recordings: Recordings) -> Expr:
    """The expression over samples only. Raises PromqlError for what is recorded from itself, or grows too large."""
    if not recordings:
        return expr
    node = _Filling(recordings).go(expr.node)
    if node is expr.node:
        return expr
    if _parts(node, {}) > MOST_PARTS:
        raise PromqlError(
            f"with all that is recorded the expression has more than {MOST_PARTS} parts — "
            "read fewer recorded metrics that are made of each other"
        )
    return Expr(expr.text, node)


class _Filling:
    """Each recording is filled in once, however often it is read."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self._done: dict[str, tuple[Node, ...]] = {}
        self._within: list[str] = []

    def go(self, node: Node) -> Node:
        known = self._recordings
        match node:
            case Selector(name=name, offset=0, at=None) if name in known:
                return self._view(node)
            case Selector(name=name, offset=offset, at=at) if name in known:
                step = _step(known[name or ""])
                return RangeCall("last_over_time", Subquery(self._view(node), step, offset, at), step)
            case RangeCall(func, Selector(name=name, offset=offset, at=at) as selector, span, args) if name in known:
                sub = Subquery(self._view(selector), _step(known[name or ""]), offset, at)
                return RangeCall(func, sub, span, tuple(map(self.go, args)))
            case RangeCall(func, Subquery(inner, step, offset, at) as sub, span, args):
                new = self._all((inner, *args))
                return node if new is None else RangeCall(func, Subquery(new[0], step, offset, at), span, new[1:])
            case RangeCall(func, selector, span, args):
                new = self._all(args)
                return node if new is None else RangeCall(func, selector, span, new)
            case Call(func, args):
                new = self._all(args)
                return node if new is None else Call(func, new)
            case Negate(inner):
                new = self._all((inner,))
                return node if new is None else Negate(new[0])
            case Binary(lhs=lhs, rhs=rhs):
                new = self._all((lhs, rhs))
                return node if new is None else replace(node, lhs=new[0], rhs=new[1], memo=Memo())
            case Aggregate(expr=inner, param=param):
                new = self._all((inner,) if param is None else (inner, param))
                return (
                    node if new is None else replace(node, expr=new[0], param=new[1] if new[1:] else None, memo=Memo())
                )
        return node

    def _all(self, nodes: tuple[Node, ...]) -> tuple[Node, ...] | None:
        """None where nothing beneath is recorded: such nodes stay the same objects."""
        new = tuple(map(self.go, nodes))
        return None if all(a is b for a, b in zip(nodes, new, strict=True)) else new

    def _view(self, selector: Selector) -> Node:
        name = selector.name or ""
        inner = self._inner(name)
        views: list[Node] = [
            Recorded(node, name, each.labels, selector.matchers)
            for each, node in zip(self._recordings[name], inner, strict=True)
        ]
        joined = views[0]
        for view in views[1:]:
            joined = Binary("or", joined, view)
        return joined

    def _inner(self, name: str) -> tuple[Node, ...]:
        if name in self._within:
            chain = " → ".join([*self._within[self._within.index(name) :], name])
            raise PromqlError(f"{name} is recorded from itself ({chain}) — break the circle")
        if name not in self._done:
            self._within.append(name)
            self._done[name] = tuple(self.go(each.expr.node) for each in self._recordings[name])
            self._within.pop()
        return self._done[name]


def _step(listed: Sequence[Recording]) -> Millis:
    return max(each.step for each in listed)


def _parts(node: Node, known: dict[int, int]) -> int:
    if id(node) not in known:
        known[id(node)] = 1 + sum(_parts(child, known) for child in children(node))
    return known[id(node)]


def as_recorded(node: Recorded, vector: Vector) -> Vector:
    """The series that the selector asks for, under the labels that the recording gives them."""
    rows, plan = node.memo.of(vector.keys, None, lambda: _choose(node, vector))
    return merge(plan, vector.v[rows], vector.there[rows])


def _choose(node: Recorded, vector: Vector) -> tuple[Ints | list[int], Merge]:
    said = {**dict(node.labels), NAME: node.name}
    keys = [
        tuple(sorted((label, text) for label, text in {**dict(key), **said}.items() if text)) for key in vector.keys
    ]
    rows = [
        row
        for row, key in enumerate(keys)
        if all(matcher.accepts(dict(key).get(matcher.label, "")) for matcher in node.matchers)
    ]
    return rows, merge_plan(tuple(keys[row] for row in rows))
