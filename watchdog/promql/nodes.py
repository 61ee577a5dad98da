"""An expression after parsing: frozen nodes that hold nothing but what was written.

The one exception is `Memo`: which series join which group is worked out once and remembered until the series change.
It never changes a result, and two equal nodes are equal whatever they remember.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from watchdog.model import Millis

P = TypeVar("P")

NAME = "__name__"
"""The label that carries the metric's name."""

LOOKBACK: Millis = 300_000
"""How old the newest sample of an instant selector may be, exclusively."""


At = Millis | Literal["query"] | None
"""``@``: the fixed time from which a selector reads; ``start()`` and ``end()`` are the time that the whole expression is
asked for, because every time is a query of its own, as in a rule. None: the time of evaluation."""

STEP: Millis = 60_000
"""The step of a subquery that does not say one: Prometheus's own default evaluation interval."""


class Memo:
    """The last plan that was made, for as long as its two inputs are the same objects."""

    __slots__ = ("_entry",)

    def __init__(self) -> None:
        self._entry: tuple[object, object, Any] | None = None

    def of(self, first: object, second: object, make: Callable[[], P]) -> P:
        entry = self._entry
        if entry is not None and entry[0] is first and entry[1] is second:
            plan: P = entry[2]
            return plan
        plan = make()
        self._entry = (first, second, plan)  # one assignment: a second thread sees the old entry or the new one
        return plan


@dataclass(frozen=True, slots=True)
class Matcher:
    """``label="value"`` and its three relatives. A label that is not there has the empty value."""

    label: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str
    pattern: re.Pattern[str] | None = None

    def accepts(self, value: str) -> bool:
        if self.pattern is not None:
            return (self.pattern.fullmatch(value) is not None) == (self.op == "=~")
        return (value == self.value) == (self.op == "=")


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A string: only ever an argument."""

    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """Series by name and matchers, read `offset` ms before the evaluation time."""

    name: str | None
    """None: chosen by matchers alone."""
    matchers: tuple[Matcher, ...]
    offset: Millis = 0
    at: At = None
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)
    memo_keys: Memo = field(default_factory=Memo, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Subquery:
    """An expression asked at every multiple of `step` in a range: its answers are read like samples."""

    expr: Node
    step: Millis
    offset: Millis = 0
    at: At = None
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RangeCall:
    """A function over the samples in ``(t - span, t]`` of each selected series."""

    func: str
    selector: Selector | Subquery
    span: Millis
    args: tuple[Node, ...] = ()
    """Scalars."""
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """Every other function."""

    func: str
    args: tuple[Node, ...]
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Negate:
    expr: Node
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    op: str
    lhs: Node
    rhs: Node
    as_bool: bool = False
    """``bool``: a comparison gives 0 or 1 where it would drop the series."""
    on: bool = False
    """Series are matched on `labels`, rather than on all labels but those."""
    labels: tuple[str, ...] = ()
    many: Literal["left", "right"] | None = None
    """``group_left``, ``group_right``: the side of which several series may match one of the other side."""
    include: tuple[str, ...] = ()
    """Labels that the many get from the one."""
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Aggregate:
    op: str
    expr: Node
    without: bool = False
    """Groups by all labels but `labels`, rather than by those."""
    labels: tuple[str, ...] = ()
    param: Node | None = None
    """How many, which quantile, which label."""
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded metric, read where it is asked for. The parser makes none: see `recorded.expand`."""

    expr: Node
    name: str
    labels: tuple[tuple[str, str], ...]
    matchers: tuple[Matcher, ...]
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)


Node = Number | Text | Selector | RangeCall | Call | Negate | Binary | Aggregate | Recorded

COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
SETS = ("and", "or", "unless")


@dataclass(frozen=True, slots=True)
class Expr:
    """A parsed expression; evaluate it as often as you like."""

    text: str
    """As it was written."""
    node: Node
    names: Memo = field(default_factory=Memo, compare=False, repr=False)


def children(node: Node) -> Iterator[Node]:
    """The expressions right beneath one."""
    match node:
        case Call(args=args):
            yield from args
        case RangeCall(selector=Subquery(expr=inner), args=args):
            yield inner
            yield from args
        case RangeCall(args=args):
            yield from args
        case Negate(expr=inner) | Recorded(expr=inner):
            yield inner
        case Aggregate(expr=inner, param=param):
            yield inner
            if param is not None:
                yield param
        case Binary(lhs=lhs, rhs=rhs):
            yield lhs
            yield rhs


def is_scalar(node: Node) -> bool:
    """Whether PromQL calls its result a scalar, not an instant vector."""
    match node:
        case Number():
            return True
        case Call(func=func):
            return func in ("time", "scalar", "pi")
        case Negate(expr=inner):
            return is_scalar(inner)
        case Binary(lhs=lhs, rhs=rhs):
            return is_scalar(lhs) and is_scalar(rhs)
    return False
