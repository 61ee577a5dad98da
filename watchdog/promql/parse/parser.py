"""Text → nodes. `promql_parser` reads the language; what this engine does not know is refused here, by name."""

from __future__ import annotations

import difflib
import re
from datetime import timedelta
from typing import Any, Literal

import promql_parser as pp

from watchdog.core.model import Millis
from watchdog.promql.errors import PromqlError, unsupported_error
from watchdog.promql.eval.aggregations import AGGREGATION_KERNELS, PARAMETRIZED_AGGREGATIONS
from watchdog.promql.eval.binary_operators import ARITHMETIC_FUNCTIONS
from watchdog.promql.functions.function import ElementwiseFunction, RangeFunction, SpecialFunction
from watchdog.promql.functions.label_functions import check_label_name, compile_regex
from watchdog.promql.functions.registry import FUNCTIONS
from watchdog.promql.parse.nodes import (
    COMPARISON_OPERATORS,
    DEFAULT_SUBQUERY_STEP,
    SET_OPERATORS,
    AggregateExpr,
    AtModifier,
    BinaryExpr,
    Expr,
    FunctionCall,
    Node,
    NumberLiteral,
    RangeFunctionCall,
    StringLiteral,
    Subquery,
    UnaryMinus,
    VectorSelector,
)
from watchdog.tsdb.labels import METRIC_NAME_LABEL, Matcher


def register_extensions() -> None:
    """Tells the parser beneath of the functions that Prometheus lacks; again when the table has got another one."""
    scalar, matrix = pp.ValueType.Scalar, pp.ValueType.Matrix
    pp.register_extra_functions(
        [
            pp.Function(name, [matrix, *[scalar] * function.extension_scalars], pp.ValueType.Vector)
            for name, function in FUNCTIONS.items()
            if isinstance(function, RangeFunction) and function.extension_scalars is not None
        ]
    )


register_extensions()

MAX_CHARACTERS = 10_000
MAX_ESCAPES = 500
MAX_TOKENS = 1_000
MAX_DEPTH = 100
MAX_PATTERNS = 64
"""The parser beneath recurses without a limit, also for each backslash in a text, until the stack is full and the process
dies; and it slows down with the square of the length. What is longer or deeper than any rule is refused before it gets there.
Each regular expression may take half a megabyte."""

_STRING = r""" "(?:\\.|[^"\\])*"? | '(?:\\.|[^'\\])*'? | `[^`]*`? """
_TOKEN = re.compile(rf""" {_STRING} | \#[^\r\n]* | [\w:.]+ | \S """, re.VERBOSE | re.DOTALL)
_STRING_IN_PLACE = re.compile(
    rf""" (?: (?<![=!])(?P<sign>[=!])~(?P<gap>(?:\s|\#[^\r\n]*)*+) )? (?P<string>{_STRING}) | \#[^\r\n]* """,
    re.VERBOSE | re.DOTALL,
)
_TEXT = re.compile(r""" "(?:\\.|[^"\\])*"? | '(?:\\.|[^'\\])*'? | `[^`]*`? | \#[^\r\n]* """, re.VERBOSE | re.DOTALL)
_NUMBER = r"[\s+-]*(nan|inf(?:inity)?|0x[0-9a-f]+|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?![\w.])"
_NUMBERS_OF_SECONDS = [re.compile(before + _NUMBER, re.IGNORECASE) for before in (r"(?:\boffset|\[)", r"\[[^\[\]:]*:")]
"""What is written for a duration: an offset, a range, the step of a subquery."""
_MAX_DURATION = 1e11
"""Seconds: 3,000 years."""
_TIME_BEFORE_1970 = re.compile(r"@[\s+]*-")

_PATTERN_MARKS = {"=": "\ufdd0", "!": "\ufdd1"}
"""What stands before a regular expression while the parser beneath takes it for a plain value: characters that are none."""
_MARKED_OPS: dict[str, Literal["=~", "!~"]] = {"\ufdd0": "=~", "\ufdd1": "!~"}
_MARKED = re.compile("=([\"'`])([\ufdd0\ufdd1])")

NATIVE_HISTOGRAMS_HINT = (
    "it reads native histograms, and samples are floats here: use the classic buckets, as in histogram_quantile"
)
EXPERIMENTAL_HINT = "it is experimental in Prometheus"
UNSUPPORTED_HINTS: dict[str, str] = {
    **dict.fromkeys(
        ("histogram_avg", "histogram_count", "histogram_sum", "histogram_stddev", "histogram_stdvar"),
        NATIVE_HISTOGRAMS_HINT,
    ),
    **dict.fromkeys(("info", "step", "start", "end", "range", "min_of", "max_of"), EXPERIMENTAL_HINT),
    "double_exponential_smoothing": f"{EXPERIMENTAL_HINT}: say ewma_over_time, or a mean",
    "sort_by_label": f"{EXPERIMENTAL_HINT}, and rules do not mind the order",
    "sort_by_label_desc": f"{EXPERIMENTAL_HINT}, and rules do not mind the order",
    "first_over_time": f"{EXPERIMENTAL_HINT}: say offset",
}
"""Cures for what Prometheus knows and this engine does not."""


def parse(text: str) -> Expr:
    """Reads an expression. Raises PromqlError: what is wrong or not supported, and what to do."""
    _check_size(text)
    _refuse_panics(text)
    try:
        tree = pp.parse(_mark_patterns(text))
    except (ValueError, OverflowError) as error:
        raise PromqlError(_describe_parse_error(_unmark_patterns(str(error)))) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what a Rust library raises when it meets its own bug
            raise
        raise PromqlError(f"the expression cannot be read: {error} — check its numbers and durations") from None
    node = _convert_node(tree, 0)
    return Expr(text, node)


def _check_size(text: str) -> None:
    if len(text) > MAX_CHARACTERS or text.count("\\") > MAX_ESCAPES:
        raise PromqlError(
            f"the expression has {len(text)} characters and {text.count(chr(92))} backslashes, at most {MAX_CHARACTERS} and "
            f"{MAX_ESCAPES} are read — record parts of it as KPIs of their own"
        )
    tokens = depth = deepest = patterns = 0
    for word in _TOKEN.findall(text):
        tokens += word[0] != "#"
        depth += (word in "([{") - (word in ")]}")
        deepest = max(deepest, depth)
        patterns += word == "~" or word == "label_replace"
    if tokens > MAX_TOKENS or deepest > MAX_DEPTH:
        raise PromqlError(
            f"the expression has {tokens} parts nested {deepest} deep, at most {MAX_TOKENS} and {MAX_DEPTH} are read"
            " — record parts of it as KPIs of their own"
        )
    if patterns > MAX_PATTERNS:
        raise PromqlError(
            f"the expression has {patterns} regular expressions, at most {MAX_PATTERNS} are read"
            " — record parts of it as KPIs of their own"
        )


def _mark_patterns(text: str) -> str:
    """The text for the parser beneath, each ``=~"x"`` written ``="<mark>x"``. It compiles regular expressions with an engine
    of its own, which knows others than Prometheus's, and takes seconds and gigabytes for some. It also looks for
    escapes in raw strings, where there are none."""
    return _STRING_IN_PLACE.sub(_mark_string, text) if "~" in text or "`" in text else text


def _mark_string(found: re.Match[str]) -> str:
    quoted = found["string"]
    if quoted is None:  # a comment
        return found[0]
    if quoted[0] == "`" and len(quoted) > 1 and quoted[-1] == "`":
        escaped = quoted[1:-1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        quoted = f'"{escaped}"'
    if found["sign"] is None:
        return quoted
    return f"={found['gap']}{quoted[0]}{_PATTERN_MARKS[found['sign']]}{quoted[1:]}"


def _unmark_patterns(text: str) -> str:
    """What is said of a marked text, for people."""
    text = _MARKED.sub(lambda found: _MARKED_OPS[found[2]] + found[1], text)
    return text.replace("\ufdd0", "").replace("\ufdd1", "")


def _refuse_panics(text: str) -> None:
    """What the parser beneath ends with a panic, which it writes to stderr on its own: numbers that are no time."""
    bare = _TEXT.sub(" ", text)
    for said in (said for numbers in _NUMBERS_OF_SECONDS for said in numbers.findall(bare)):
        seconds = float(int(said, 16) if said[:2].lower() == "0x" else said) if len(said) < 200 else float("inf")
        if not seconds < _MAX_DURATION:
            raise PromqlError(
                f"the expression cannot be read: {said[:40]} s is longer than anything lasts — check its numbers and durations"
            )
    if _TIME_BEFORE_1970.search(bare):
        raise unsupported_error("a time before 1970 after @", "use offset")


def _describe_parse_error(message: str) -> str:
    if message == "unknown function with name 'holt_winters'":
        return "there is no function holt_winters in Prometheus 3 — say ewma_over_time, or a mean"
    if unknown := re.fullmatch(r"unknown function with name '(.*)'", message):
        close = difflib.get_close_matches(unknown[1], sorted(FUNCTIONS), 1)
        return f"there is no function {unknown[1]}" + (f" — did you mean {close[0]}?" if close else "")
    if message == "invalid promql query":
        message = "its words are in no order that PromQL knows"
    return f"the expression cannot be read: {message} — check brackets, quotes and operators (equal is written ==)"


def _convert_node(tree: Any, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise PromqlError(
            f"the expression is nested more than {MAX_DEPTH} deep — record parts of it as KPIs of their own"
        )
    match tree:
        case pp.ParenExpr():
            return _convert_node(tree.expr, depth + 1)
        case pp.NumberLiteral():
            return NumberLiteral(float(tree.val))
        case pp.UnaryExpr():  # the parser has dropped any plus
            return UnaryMinus(_convert_node(tree.expr, depth + 1))
        case pp.VectorSelector():
            return _convert_selector(tree)
        case pp.BinaryExpr():
            return _convert_binary(tree, depth)
        case pp.AggregateExpr():
            return _convert_aggregate(tree, depth)
        case pp.Call():
            return _convert_call(tree, depth)
        case pp.MatrixSelector():
            raise PromqlError(
                f"a range alone has no value — wrap it in a function, as in avg_over_time({_unmark_patterns(str(tree))})"
            )
        case pp.SubqueryExpr():
            raise PromqlError(
                "a range alone has no value — wrap it in a function, as in max_over_time(rate(a[5m])[1h:1m])"
            )
        case pp.StringLiteral():
            raise PromqlError(f"the string {tree} has no value that a rule could judge — remove its quotes")
    raise unsupported_error(type(tree).__name__)


def _convert_selector(tree: Any) -> VectorSelector:
    if tree.matchers.or_matchers:
        raise unsupported_error("`or` between matchers", "join two selectors with the operator or")
    name, matchers = tree.name, []
    for given in tree.matchers.matchers:
        matcher = _convert_matcher(given)
        if matcher.label == METRIC_NAME_LABEL and matcher.op == "=" and name is None:
            name = matcher.value
        else:
            matchers.append(matcher)
    if not name and all(matcher.matches("") for matcher in matchers):  # the parser beneath took patterns for values
        raise PromqlError(_describe_parse_error("vector selector must contain at least one non-empty matcher"))
    return VectorSelector(name, tuple(matchers), *_convert_offset_and_at(tree))


def _convert_offset_and_at(tree: Any) -> tuple[Millis, AtModifier]:
    """Offset and ``@`` of a selector or a subquery."""
    offset = _to_millis(tree.offset) if tree.offset is not None else 0
    if tree.at is None:
        return offset, None
    if tree.at.type != pp.AtModifierType.At:
        return offset, "query"
    try:
        at = tree.at.at.timestamp() * 1_000
    except (OverflowError, ValueError) as error:
        raise PromqlError(f"the time after @ cannot be read: {error}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # the library beneath knows no time before 1970
            raise
        raise unsupported_error("a time before 1970 after @", "use offset") from None
    return offset, round(at)


def _convert_matcher(given: Any) -> Matcher:
    op = _MARKED_OPS.get(given.value[:1])
    if op is not None:
        value = given.value[1:]
        return Matcher(given.name, op, value, compile_regex(value))
    if given.op != pp.MatchOp.Equal and given.op != pp.MatchOp.NotEqual:
        raise PromqlError(_describe_parse_error(f"{given} is no matcher"))
    return Matcher(given.name, "=" if given.op == pp.MatchOp.Equal else "!=", given.value)


def _convert_binary(tree: Any, depth: int) -> BinaryExpr:
    op = str(tree.op)
    if op not in ARITHMETIC_FUNCTIONS and op not in COMPARISON_OPERATORS and op not in SET_OPERATORS:
        raise unsupported_error(f"the operator {op}")
    given, on = tree.modifier, False
    labels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    many: Literal["left", "right"] | None = None
    if given is not None:
        if given.fill_values is not None and (given.fill_values.lhs is not None or given.fill_values.rhs is not None):
            raise unsupported_error("fill", "join a default with the operator or")
        if given.matching is not None:
            on = given.matching.type == pp.LabelModifierType.Include
            labels = tuple(given.matching.labels)
        if given.card == pp.VectorMatchCardinality.ManyToOne or given.card == pp.VectorMatchCardinality.OneToMany:
            many = "left" if given.card == pp.VectorMatchCardinality.ManyToOne else "right"
            include = tuple(given.group_labels or ())
    as_bool = given is not None and given.return_bool
    return BinaryExpr(
        op, _convert_node(tree.lhs, depth + 1), _convert_node(tree.rhs, depth + 1), as_bool, on, labels, many, include
    )


def _convert_aggregate(tree: Any, depth: int) -> AggregateExpr:
    op = str(tree.op)
    if op not in AGGREGATION_KERNELS and op not in PARAMETRIZED_AGGREGATIONS:
        raise unsupported_error(
            f"the aggregation {op}", "it is experimental in Prometheus: use topk, or select fewer series"
        )
    without, labels = False, ()
    if tree.modifier is not None:
        without, labels = tree.modifier.type == pp.AggModifierType.Without, tuple(tree.modifier.labels)
    param = None if tree.param is None else _convert_argument(tree.param, depth)
    if op == "count_values" and isinstance(param, StringLiteral):
        check_label_name(param.value)
    return AggregateExpr(op, _convert_node(tree.expr, depth + 1), without, labels, param)


def _convert_argument(tree: Any, depth: int) -> Node:
    while isinstance(tree, pp.ParenExpr):
        tree = tree.expr
    return StringLiteral(tree.val) if isinstance(tree, pp.StringLiteral) else _convert_node(tree, depth + 1)


def _convert_call(tree: Any, depth: int) -> FunctionCall | RangeFunctionCall:
    name = tree.func.name
    function = FUNCTIONS.get(name)
    if function is None:
        raise unsupported_error(f"the function {name}", UNSUPPORTED_HINTS.get(name, ""))
    if isinstance(function, RangeFunction):
        return _convert_range_call(tree, function, depth)
    args = tuple(_convert_argument(arg, depth) for arg in tree.args)
    if isinstance(function, ElementwiseFunction):
        args = args or function.default_args
    if isinstance(function, SpecialFunction) and function.check_args is not None:
        function.check_args(args)
    return FunctionCall(name, args)


def _convert_range_call(tree: Any, function: RangeFunction, depth: int) -> RangeFunctionCall:
    name, args = tree.func.name, list(tree.args)
    inner = args.pop(function.input)
    while isinstance(inner, pp.ParenExpr):
        inner = inner.expr
    rest = tuple(_convert_node(arg, depth + 1) for arg in args)
    if isinstance(inner, pp.MatrixSelector):
        return RangeFunctionCall(name, _convert_selector(inner.vector_selector), _to_millis(inner.range), rest)
    step = DEFAULT_SUBQUERY_STEP if inner.step is None else _to_millis(inner.step)
    sub = Subquery(_convert_node(inner.expr, depth + 1), step, *_convert_offset_and_at(inner))
    return RangeFunctionCall(name, sub, _to_millis(inner.range), rest)


def _to_millis(given: timedelta) -> int:
    return given // timedelta(milliseconds=1)
