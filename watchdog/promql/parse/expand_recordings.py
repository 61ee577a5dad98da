"""Recording rules as views: where an expression reads a recorded metric, the recording's own expression is asked.

Nothing is stored. So a recorded window is covered as soon as the samples beneath it are, their age passes through (what
is recorded of lost data is no data), and live, replay and verify cannot differ. What is asked for a target is so beneath, too:
a sum that is recorded is that of its own and of nobody's series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from watchdog.core.model import Labels, Millis
from watchdog.promql.errors import PromqlError
from watchdog.promql.parse.nodes import (
    AggregateExpr,
    BinaryExpr,
    Expr,
    FunctionCall,
    Node,
    RangeFunctionCall,
    RecordedMetric,
    Subquery,
    UnaryMinus,
    VectorSelector,
    child_nodes,
)
from watchdog.promql.parse.parser import parse
from watchdog.promql.parse.plan_cache import PlanCache
from watchdog.promql.parse.restrict import find_own_or_shared, restrict_selectors

MAX_EXPANDED_NODES = 5_000
"""Parts of an expression once everything recorded is filled in: each is evaluated in every round."""
MAX_EXPANDED_DEPTH = 120
"""How deep they may be nested: hardly deeper than what is written, for whoever walks the parts calls itself as often."""


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A metric that is made of others."""

    name: str
    expr: Expr
    labels: Labels = ()
    """Set on every series; an empty value takes the label away."""
    step: Millis = 60_000
    """How often it would be recorded: the step at which a range of it is read."""


RecordingRules = Mapping[str, Sequence[RecordingRule]]
"""By name; several of one name are joined."""


def expand_recordings(expr: Expr, recordings: RecordingRules) -> Expr:
    """The expression over samples only. Raises PromqlError for what is recorded from itself, or grows too large."""
    if not recordings:
        return expr
    expander = _Expander(recordings)
    node = expander.expand_node(expr.node)
    if node is expr.node:
        return expr
    if expander.measure(node) > MAX_EXPANDED_NODES:
        raise PromqlError(
            f"with all that is recorded the expression has more than {MAX_EXPANDED_NODES} parts — "
            "read fewer recorded metrics that are made of each other"
        )
    return Expr(expr.text, node)


class _Expander:
    """Each recording is filled in once, however often it is read."""

    def __init__(self, recordings: RecordingRules) -> None:
        self._recordings = recordings
        self._expanded: dict[tuple[str, str], tuple[Node, ...]] = {}
        """By name, and by the matcher of whoever asks."""
        self._expanding: list[str] = []
        self._depth = 0
        self._measured: dict[int, tuple[int, int]] = {}

    def expand_node(self, node: Node) -> Node:
        self._depth += 1
        if self._depth > MAX_EXPANDED_DEPTH:
            raise _too_deep()
        expanded = self._expand(node)
        self._depth -= 1
        return expanded

    def _expand(self, node: Node) -> Node:
        known = self._recordings
        match node:
            case VectorSelector(name=name, offset=0, at=None) if name in known:
                return self._recorded_view(node)
            case VectorSelector(name=name, offset=offset, at=at) if name in known:
                step = _max_step(known[name or ""])
                return RangeFunctionCall("last_over_time", Subquery(self._recorded_view(node), step, offset, at), step)
            case RangeFunctionCall(func, VectorSelector(name=name, offset=offset, at=at) as selector, span, args) if (
                name in known
            ):
                sub = Subquery(self._recorded_view(selector), _max_step(known[name or ""]), offset, at)
                return RangeFunctionCall(func, sub, span, tuple(map(self.expand_node, args)))
            case RangeFunctionCall(func, Subquery(inner, step, offset, at) as sub, span, args):
                new = self._expand_all((inner, *args))
                return (
                    node if new is None else RangeFunctionCall(func, Subquery(new[0], step, offset, at), span, new[1:])
                )
            case RangeFunctionCall(func, selector, span, args):
                new = self._expand_all(args)
                return node if new is None else RangeFunctionCall(func, selector, span, new)
            case FunctionCall(func, args):
                new = self._expand_all(args)
                return node if new is None else FunctionCall(func, new)
            case UnaryMinus(inner):
                new = self._expand_all((inner,))
                return node if new is None else UnaryMinus(new[0])
            case BinaryExpr(lhs=lhs, rhs=rhs):
                new = self._expand_all((lhs, rhs))
                return node if new is None else replace(node, lhs=new[0], rhs=new[1], plan_cache=PlanCache())
            case AggregateExpr(expr=inner, param=param):
                new = self._expand_all((inner,) if param is None else (inner, param))
                return (
                    node
                    if new is None
                    else replace(node, expr=new[0], param=new[1] if new[1:] else None, plan_cache=PlanCache())
                )
        return node

    def _expand_all(self, nodes: tuple[Node, ...]) -> tuple[Node, ...] | None:
        """None where nothing beneath is recorded: such nodes stay the same objects."""
        new = tuple(map(self.expand_node, nodes))
        return None if all(a is b for a, b in zip(nodes, new, strict=True)) else new

    def _recorded_view(self, selector: VectorSelector) -> Node:
        name = selector.name or ""
        inner = self._expanded_sources(name, find_own_or_shared(selector.matchers))
        views: list[Node] = [
            RecordedMetric(node, name, each.labels, selector.matchers)
            for each, node in zip(self._recordings[name], inner, strict=True)
        ]
        joined = views[0]
        for view in views[1:]:
            joined = BinaryExpr("or", joined, view)
        return joined

    def _expanded_sources(self, name: str, matcher: str) -> tuple[Node, ...]:
        if name in self._expanding:
            chain = " → ".join([*self._expanding[self._expanding.index(name) :], name])
            raise PromqlError(f"{name} is recorded from itself ({chain}) — break the circle")
        if (name, matcher) not in self._expanded:
            self._expanding.append(name)
            written = [each.expr for each in self._recordings[name]]
            asked = [parse(restrict_selectors(expr.text, matcher)) if matcher else expr for expr in written]
            self._expanded[name, matcher] = tuple(self.expand_node(expr.node) for expr in asked)
            self._expanding.pop()
            for each in self._expanded[name, matcher]:  # at once: many that are made of each other never get deep
                self.measure(each)
        return self._expanded[name, matcher]

    def measure(self, node: Node) -> int:
        """How many parts it has. Raises PromqlError when they are nested too deep."""
        return self._measure(node)[0]

    def _measure(self, node: Node) -> tuple[int, int]:
        if (known := self._measured.get(id(node))) is None:
            below = [self._measure(child) for child in child_nodes(node)]
            depth = 1 + max((depth for _, depth in below), default=0)
            if depth > MAX_EXPANDED_DEPTH:
                raise _too_deep()
            known = self._measured[id(node)] = 1 + sum(parts for parts, _ in below), depth
        return known


def _max_step(listed: Sequence[RecordingRule]) -> Millis:
    return max(each.step for each in listed)


def _too_deep() -> PromqlError:
    return PromqlError(
        f"with all that is recorded the expression is nested more than {MAX_EXPANDED_DEPTH} deep — "
        "read recorded metrics that are made of fewer others"
    )
