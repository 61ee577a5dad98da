"""An expression after parsing: frozen nodes that hold nothing but what was written.

The one exception is `PlanCache`: which series join which group is worked out once and remembered until the series change.
It never changes a result, and two equal nodes are equal whatever they remember.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from watchdog.core.model import Millis
from watchdog.promql.parse.plan_cache import PlanCache
from watchdog.tsdb.labels import Matcher

AtModifier = Millis | Literal["query"] | None
"""``@``: the fixed time from which a selector reads; ``start()`` and ``end()`` are the time that the whole expression is
asked for, because every time is a query of its own, as in a rule. None: the time of evaluation."""

DEFAULT_SUBQUERY_STEP: Millis = 60_000
"""The step of a subquery that does not say one: Prometheus's own default evaluation interval."""


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    value: float


@dataclass(frozen=True, slots=True)
class StringLiteral:
    """A string: only ever an argument."""

    value: str


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """Series by name and matchers, read `offset` ms before the evaluation time."""

    name: str | None
    """None: chosen by matchers alone."""
    matchers: tuple[Matcher, ...]
    offset: Millis = 0
    at: AtModifier = None
    plan_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)
    merge_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Subquery:
    """An expression asked at every multiple of `step` in a range: its answers are read like samples."""

    expr: Node
    step: Millis
    offset: Millis = 0
    at: AtModifier = None
    plan_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RangeFunctionCall:
    """A function over the samples in ``(t - span, t]`` of each selected series."""

    func: str
    selector: VectorSelector | Subquery
    span: Millis
    args: tuple[Node, ...] = ()
    """Scalars."""
    plan_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Every other function."""

    func: str
    args: tuple[Node, ...]
    plan_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class UnaryMinus:
    expr: Node
    plan_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class BinaryExpr:
    op: str
    lhs: Node
    rhs: Node
    return_bool: bool = False
    """``bool``: a comparison gives 0 or 1 where it would drop the series."""
    uses_on: bool = False
    """Series are matched on `labels`, rather than on all labels but those."""
    labels: tuple[str, ...] = ()
    many_side: Literal["left", "right"] | None = None
    """``group_left``, ``group_right``: the side of which several series may match one of the other side."""
    group_labels: tuple[str, ...] = ()
    """Labels that the many get from the one."""
    plan_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AggregateExpr:
    op: str
    expr: Node
    without: bool = False
    """Groups by all labels but `labels`, rather than by those."""
    labels: tuple[str, ...] = ()
    param: Node | None = None
    """How many, which quantile, which label."""
    plan_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RecordedMetric:
    """A recorded metric, read where it is asked for. The parser makes none: see `expand_recordings`."""

    expr: Node
    name: str
    labels: tuple[tuple[str, str], ...]
    matchers: tuple[Matcher, ...]
    plan_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


Node = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | RangeFunctionCall
    | FunctionCall
    | UnaryMinus
    | BinaryExpr
    | AggregateExpr
    | RecordedMetric
)

COMPARISON_OPERATORS = ("==", "!=", ">", "<", ">=", "<=")
SET_OPERATORS = ("and", "or", "unless")


@dataclass(frozen=True, slots=True)
class Expr:
    """A parsed expression; evaluate it as often as you like."""

    text: str
    """As it was written."""
    node: Node
    names_cache: PlanCache = field(default_factory=PlanCache, compare=False, repr=False)


def child_nodes(node: Node) -> Iterator[Node]:
    """The expressions right beneath one."""
    match node:
        case FunctionCall(args=args):
            yield from args
        case RangeFunctionCall(selector=Subquery(expr=inner), args=args):
            yield inner
            yield from args
        case RangeFunctionCall(args=args):
            yield from args
        case UnaryMinus(expr=inner) | RecordedMetric(expr=inner):
            yield inner
        case AggregateExpr(expr=inner, param=param):
            yield inner
            if param is not None:
                yield param
        case BinaryExpr(lhs=lhs, rhs=rhs):
            yield lhs
            yield rhs
