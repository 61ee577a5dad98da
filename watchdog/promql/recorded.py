"""Recording rules as views: where an expression reads a recorded metric, the recording's own expression is asked.

Nothing is stored. So a recorded window is covered as soon as the samples beneath it are, their age passes through (what
is recorded of lost data is no data), and live, replay and verify cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from watchdog.model import Labels, Millis
from watchdog.promql.errors import PromqlError
from watchdog.promql.nodes import (
    NAME,
    Aggregate,
    Binary,
    Call,
    Expr,
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
    node = _expand(expr.node, recordings, ())
    if node is expr.node:
        return expr
    if _parts(node, {}) > MOST_PARTS:
        raise PromqlError(f"with all that is recorded the expression has more than {MOST_PARTS} parts — "
                          "read fewer recorded metrics that are made of each other")  # fmt: skip
    return Expr(expr.text, node)


def _expand(node: Node, recordings: Recordings, within: tuple[str, ...]) -> Node:
    def go(inner: Node) -> Node:
        return _expand(inner, recordings, within)

    match node:
        case Selector(name=name, offset=0, at=None) if name in recordings:
            return _view(node, recordings, within)
        case Selector(name=name, offset=offset, at=at) if name in recordings:
            step = _step(recordings[name or ""])
            return RangeCall("last_over_time", Subquery(_view(node, recordings, within), step, offset, at), step)
        case RangeCall(selector=Selector(name=name, offset=offset, at=at) as selector) if name in recordings:
            sub = Subquery(_view(selector, recordings, within), _step(recordings[name or ""]), offset, at)
            return replace(node, selector=sub, args=_all(node.args, go))
        case RangeCall(selector=Subquery(expr=inner) as sub, args=args):
            return _changed(node, (inner, *args), go, lambda new: replace(node, selector=replace(sub, expr=new[0]), args=new[1:]))
        case RangeCall(args=args):
            return _changed(node, args, go, lambda new: replace(node, args=new))
        case Call(args=args):
            return _changed(node, args, go, lambda new: replace(node, args=new))
        case Negate(expr=inner):
            return _changed(node, (inner,), go, lambda new: replace(node, expr=new[0]))
        case Binary(lhs=lhs, rhs=rhs):
            return _changed(node, (lhs, rhs), go, lambda new: replace(node, lhs=new[0], rhs=new[1]))
        case Aggregate(expr=inner, param=param):
            given = (inner,) if param is None else (inner, param)
            return _changed(node, given, go, lambda new: replace(node, expr=new[0], param=new[1] if new[1:] else None))
    return node


def _all(nodes: tuple[Node, ...], go: Callable[[Node], Node]) -> tuple[Node, ...]:
    return tuple(map(go, nodes))


def _changed(
    node: Node, parts: tuple[Node, ...], go: Callable[[Node], Node], make: Callable[[tuple[Node, ...]], Node]
) -> Node:  # fmt: skip
    """The same node, and the same object, where nothing beneath is recorded."""
    new = _all(parts, go)
    return node if all(a is b for a, b in zip(parts, new, strict=True)) else make(new)


def _view(selector: Selector, recordings: Recordings, within: tuple[str, ...]) -> Node:
    name = selector.name or ""
    if name in within:
        chain = " → ".join([*within[within.index(name) :], name])
        raise PromqlError(f"{name} is recorded from itself ({chain}) — break the circle")
    views: list[Node] = [
        Recorded(_expand(each.expr.node, recordings, (*within, name)), name, each.labels, selector.matchers)
        for each in recordings[name]
    ]
    joined = views[0]
    for view in views[1:]:
        joined = Binary("or", joined, view)
    return joined


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
    keys = [tuple(sorted((label, text) for label, text in {**dict(key), **said}.items() if text)) for key in vector.keys]
    rows = [row for row, key in enumerate(keys)
            if all(matcher.accepts(dict(key).get(matcher.label, "")) for matcher in node.matchers)]  # fmt: skip
    return rows, merge_plan(tuple(keys[row] for row in rows))
