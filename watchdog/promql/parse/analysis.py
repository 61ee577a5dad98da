"""What can be told of an expression without a single sample."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from watchdog.core.model import Millis
from watchdog.promql.functions.function import RangeFunction, SpecialFunction
from watchdog.promql.functions.registry import FUNCTIONS, range_function
from watchdog.promql.parse.nodes import (
    SET_OPERATORS,
    AggregateExpr,
    BinaryExpr,
    Expr,
    FunctionCall,
    Node,
    NumberLiteral,
    RangeFunctionCall,
    RecordedMetric,
    StringLiteral,
    Subquery,
    UnaryMinus,
    VectorSelector,
    child_nodes,
)
from watchdog.tsdb.labels import LOOKBACK_DELTA, METRIC_NAME_LABEL, Matcher

UNBOUNDED_LOOKBACK: Millis = 100 * 365 * 86_400_000
"""How far back ``@`` with a fixed time reads: nothing of the metric may be forgotten."""

_COUNTER_FUNCTIONS = ("rate", "increase", "irate")


def required_lookback(expr: Expr) -> dict[str, Millis]:
    """Metric name → how far back its samples may be read: range + offset + lookback, the longest of them.

    A subquery adds its own range and offset to what it asks. The key ``""`` stands for a selector without a name:
    every metric.
    """
    longest: dict[str, Millis] = {}
    for selector, lookback, _ in _selector_reads(expr.node, 0):
        name = selector.name or ""
        longest[name] = max(longest.get(name, 0), LOOKBACK_DELTA + max(lookback, 0))
    return longest


def metric_names(expr: Expr, having: Mapping[str, str] | None = None) -> set[str]:
    """The metrics that are read; ``""`` for a selector without a name. `having`: of series with these labels alone (``source``,
    ``target``): what a selector's own matchers on them rule out is not read of those."""
    return {each.name for each in selected_metrics(expr) if having is None or each.may_be_read_of(having)}


def selected_metrics(expr: Expr) -> frozenset[SelectedMetric]:
    """The same with what is said of whose they are: for who asks it of one source after the other."""
    return frozenset(
        SelectedMetric.of(selector.name or "", selector.matchers) for selector, _, _ in _selector_reads(expr.node, 0)
    )


_WHOSE = ("source", "target")
"""Labels that say whose a series is."""


class SelectedMetric(NamedTuple):
    """A metric that an expression reads, and what is said of whose it is."""

    name: str
    """``""``: any."""
    matchers: tuple[Matcher, ...] = ()

    @classmethod
    def of(cls, name: str, matchers: tuple[Matcher, ...]) -> SelectedMetric:
        return cls(name, tuple(each for each in matchers if each.label in _WHOSE))

    def may_be_read_of(self, having: Mapping[str, str]) -> bool:
        """Whether its own matchers let it be read of series with these labels (``source``, ``target``)."""
        return all(each.matches(having[each.label]) for each in self.matchers if each.label in having)


def required_metrics(expr: Expr) -> frozenset[SelectedMetric]:
    """The metrics without each of which it surely returns nothing, whatever else there is."""
    return _required(expr.node)


def _required(node: Node) -> frozenset[SelectedMetric]:
    match node:
        case VectorSelector(name=str() as name, matchers=matchers):
            return frozenset({SelectedMetric.of(name, matchers)})
        case FunctionCall(func=func) | RangeFunctionCall(func=func) if FUNCTIONS[func].absence:
            return frozenset()
        case RangeFunctionCall(selector=Subquery(expr=inner)) | RangeFunctionCall(selector=VectorSelector() as inner):
            return _required(inner)
        case BinaryExpr(op="or", lhs=lhs, rhs=rhs):
            return _required(lhs) & _required(rhs)
        case BinaryExpr(op="unless", lhs=lhs):
            return _required(lhs)
        case FunctionCall() if is_scalar(node):
            return frozenset()
    return frozenset[SelectedMetric]().union(*map(_required, child_nodes(node)))


def reads_beyond(expr: Expr) -> bool:
    """Whether samples after the time of evaluation may be read: `offset` with a minus, or a fixed time after ``@``."""

    def within(node: Node) -> bool:
        places: list[VectorSelector | Subquery] = [node] if isinstance(node, VectorSelector) else []
        if isinstance(node, RangeFunctionCall):
            places.append(node.selector)
        return any(place.offset < 0 or place.at is not None for place in places) or any(map(within, child_nodes(node)))

    return within(expr.node)


def metrics_read_for_extremes(expr: Expr) -> set[tuple[str, Literal["max", "min"]]]:
    """The metrics of which the highest or the lowest sample of a window is read.

    Not those that a subquery reads: it sees what is there at its steps, and one remembered sample is not.
    """
    return {
        (selector.name or "", function.extreme)
        for selector, _, name in _selector_reads(expr.node, 0)
        if isinstance(function := FUNCTIONS.get(name), RangeFunction) and function.extreme is not None
    }


def is_scalar(node: Node) -> bool:
    """Whether PromQL calls its result a scalar, not an instant vector."""
    match node:
        case NumberLiteral():
            return True
        case FunctionCall(func=func):
            function = FUNCTIONS[func]
            return isinstance(function, SpecialFunction) and function.returns_scalar
        case UnaryMinus(expr=inner):
            return is_scalar(inner)
        case BinaryExpr(lhs=lhs, rhs=rhs):
            return is_scalar(lhs) and is_scalar(rhs)
    return False


def detects_absence(expr: Expr) -> bool:
    """Whether it may return something because there are no samples."""

    def within(node: Node) -> bool:
        is_absence = isinstance(node, FunctionCall | RangeFunctionCall) and FUNCTIONS[node.func].absence
        return is_absence or any(map(within, child_nodes(node)))

    return within(expr.node)


def reads_clock(expr: Expr) -> bool:
    """Whether ``time()`` is written somewhere in it: then it grows by itself."""

    def within(node: Node) -> bool:
        return (isinstance(node, FunctionCall) and node.func == "time") or any(map(within, child_nodes(node)))

    return within(expr.node)


def may_have_labels(expr: Expr) -> bool:
    """Whether its series may have labels, judged by its shape alone."""
    return not _cardinality(expr.node)[1]


def may_return_multiple_series(expr: Expr) -> bool:
    """Whether it may return several series, judged by its shape alone: a selector may, an aggregation into one not."""
    return _cardinality(expr.node)[0]


def _selector_reads(node: Node, behind: Millis) -> Iterator[tuple[VectorSelector, Millis, str]]:
    """Each selector, how long before the evaluation its oldest sample may lie, and the function on its range.

    `behind`: how much earlier than the evaluation the node itself may be asked.
    """
    match node:
        case VectorSelector():
            yield node, _lookback_of(node, behind), ""
        case RangeFunctionCall(func=func, selector=VectorSelector() as selector, span=span):
            yield selector, _lookback_of(selector, behind) + span, func
        case RangeFunctionCall(selector=Subquery(expr=inner) as sub, span=span):
            yield from _selector_reads(inner, _lookback_of(sub, behind) + span)
    for child in () if isinstance(node, RangeFunctionCall) else child_nodes(node):
        yield from _selector_reads(child, behind)
    for arg in node.args if isinstance(node, RangeFunctionCall) else ():
        yield from _selector_reads(arg, behind)


def _lookback_of(node: VectorSelector | Subquery, behind: Millis) -> Millis:
    if node.at is None:
        return behind + node.offset
    return node.offset if node.at == "query" else UNBOUNDED_LOOKBACK


def _cardinality(node: Node) -> tuple[bool, bool]:
    """Whether there may be several series, and whether none of them has a label."""
    if is_scalar(node):
        return False, True
    match node:
        case FunctionCall():
            return _call_cardinality(node)
        case RangeFunctionCall(func=func, selector=selector) if range_function(func).absence:
            return _absence_cardinality(selector)
        case UnaryMinus(expr=inner):
            return _cardinality(inner)
        case AggregateExpr(op="count_values"):
            return True, False
        case AggregateExpr(op="topk" | "bottomk", expr=inner, without=without, labels=labels, param=param):
            many, bare = _cardinality(inner)
            alone = param == NumberLiteral(1.0) and ((not without and not labels) or bare)
            return many and not alone, bare
        case AggregateExpr(expr=inner, without=without, labels=labels):
            many, bare = _cardinality(inner)
            if bare or (not without and not labels):
                return False, True
            return many, False
        case BinaryExpr():
            return _binary_cardinality(node)
        case RecordedMetric(expr=inner):
            return _cardinality(inner)[0], False
        case RangeFunctionCall(selector=Subquery(expr=inner)):
            return _cardinality(inner)
        case VectorSelector() | RangeFunctionCall() | NumberLiteral() | StringLiteral():
            pass
    return True, False


def _call_cardinality(node: FunctionCall) -> tuple[bool, bool]:
    function = FUNCTIONS[node.func]
    if function.labels == "none":
        return False, True
    of = node.args[function.input]
    if function.absence:
        return _absence_cardinality(of)
    many, bare = _cardinality(of)
    return many, bare and function.labels == "kept"


def _absence_cardinality(of: Node | Subquery) -> tuple[bool, bool]:
    return False, not (isinstance(of, VectorSelector) and _has_equality_matcher(of))


def _binary_cardinality(node: BinaryExpr) -> tuple[bool, bool]:
    if is_scalar(node.lhs) or is_scalar(node.rhs):
        return _cardinality(node.rhs if is_scalar(node.lhs) else node.lhs)
    (many, bare), (others, bare_too) = _cardinality(node.lhs), _cardinality(node.rhs)
    if node.op == "or":
        one_signature = (bare and bare_too) or (node.uses_on and not node.labels)
        return (many or others) if one_signature else True, bare and bare_too
    if node.op in SET_OPERATORS:
        return many, bare
    if node.many_side is not None:
        return (many, False) if node.many_side == "left" else (others, False)
    if node.uses_on and not node.labels:
        return False, True
    return many and others, bare


def _has_equality_matcher(selector: VectorSelector) -> bool:
    return any(matcher.op == "=" and matcher.label != METRIC_NAME_LABEL for matcher in selector.matchers)


def result_labels(node: Node, labels_of: Callable[[VectorSelector], Collection[str]]) -> set[str]:
    """Names of labels that its series have. `labels_of`: those that are known of what a selector finds. Where a function makes up
    labels none are known."""
    match node:
        case VectorSelector():
            return {*labels_of(node)}
        case UnaryMinus(expr=inner) | RangeFunctionCall(selector=Subquery(expr=inner)):
            return result_labels(inner, labels_of)
        case RangeFunctionCall(selector=VectorSelector() as selector):
            return {*labels_of(selector)}
        case FunctionCall(func=func, args=args):
            function = FUNCTIONS[func]
            return result_labels(args[function.input], labels_of) if function.labels == "kept" else set()
        case AggregateExpr(op="topk" | "bottomk" | "limitk", expr=inner):
            return result_labels(inner, labels_of)
        case AggregateExpr(expr=inner, without=True, labels=labels):
            return result_labels(inner, labels_of).difference(labels)
        case AggregateExpr(labels=labels):
            return {*labels}
        case BinaryExpr(lhs=lhs, rhs=rhs) if is_scalar(lhs) or is_scalar(rhs):
            return result_labels(rhs if is_scalar(lhs) else lhs, labels_of)
        case BinaryExpr(op=op, lhs=lhs) if op in SET_OPERATORS:
            return result_labels(lhs, labels_of)
        case BinaryExpr(many_side=str() as side, lhs=lhs, rhs=rhs, group_labels=group_labels):
            return result_labels(lhs if side == "left" else rhs, labels_of).union(group_labels)
        case BinaryExpr(uses_on=True, labels=labels):
            return {*labels}
        case BinaryExpr(lhs=lhs, rhs=rhs, labels=labels):
            return (result_labels(lhs, labels_of) | result_labels(rhs, labels_of)).difference(labels)
        case RecordedMetric(expr=inner, labels=own):
            return result_labels(inner, labels_of) | {name for name, _ in own}
    return set()


def counter_metrics(expr: Expr) -> set[str]:
    """The metrics that are read as counters, where their names are said."""
    return {
        selector.name
        for selector, _, function in _selector_reads(expr.node, 0)
        if selector.name is not None and function in _COUNTER_FUNCTIONS
    }
