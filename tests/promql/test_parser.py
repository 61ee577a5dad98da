"""What is read, what is refused, and how it is said."""

from __future__ import annotations

import re
import time

import promql_parser
import pytest

from watchdog.core.errors import WatchdogError
from watchdog.promql import PromqlError, parse
from watchdog.promql.parse.nodes import (
    AggregateExpr,
    BinaryExpr,
    FunctionCall,
    NumberLiteral,
    RangeFunctionCall,
    Subquery,
    UnaryMinus,
    VectorSelector,
)
from watchdog.tsdb.labels import Matcher


def test_an_expression_remembers_its_text() -> None:
    assert parse(" a  +  b # why").text == " a  +  b # why"


def test_two_readings_of_one_text_are_equal() -> None:
    assert parse('rate(a{x=~"1|2"}[5m])') == parse('rate(a{x=~"1|2"}[5m])')
    assert parse("a") != parse("b")


def test_minus_binds_weaker_than_power() -> None:
    assert parse("-a^2").node == UnaryMinus(BinaryExpr("^", VectorSelector("a", ()), NumberLiteral(2.0)))


def test_parentheses_and_plus_signs_leave_nothing_behind() -> None:
    assert parse("((+a))").node == VectorSelector("a", ())


def test_offsets_and_ranges_are_milliseconds() -> None:
    assert parse("rate(a[1h30m] offset 5m)").node == RangeFunctionCall(
        "rate", VectorSelector("a", (), 300_000), 5_400_000
    )
    assert parse("a offset -1m500ms").node == VectorSelector("a", (), -60_500)
    assert parse("rate((a[1ms]))").node == RangeFunctionCall("rate", VectorSelector("a", ()), 1)


def test_subqueries_and_fixed_times() -> None:
    inner = RangeFunctionCall("rate", VectorSelector("a", ()), 300_000)
    assert parse("max_over_time(rate(a[5m])[1h:30s] offset 1m)").node == RangeFunctionCall(
        "max_over_time", Subquery(inner, 30_000, 60_000), 3_600_000
    )
    assert parse("min_over_time(a[1h:] @ 7.5)").node == RangeFunctionCall(
        "min_over_time", Subquery(VectorSelector("a", ()), 60_000, 0, 7_500), 3_600_000
    )
    assert parse("a @ start()").node == parse("a @ end()").node == VectorSelector("a", (), 0, "query")
    assert parse("a @ 1700000000.1234 offset 1m").node == VectorSelector("a", (), 60_000, 1_700_000_000_123)


def test_a_name_may_be_written_as_a_matcher() -> None:
    assert parse('{__name__="a", x!="1"}').node == VectorSelector("a", (Matcher("x", "!=", "1"),))
    assert parse('{"a b"}').node == VectorSelector("a b", ())


def test_groupings_keep_their_labels() -> None:
    assert parse("sum by (x, y) (a)").node == AggregateExpr("sum", VectorSelector("a", ()), False, ("x", "y"))
    assert parse("max(a) without (x)").node == AggregateExpr("max", VectorSelector("a", ()), True, ("x",))
    assert parse("a / on (x) b").node == BinaryExpr(
        "/", VectorSelector("a", ()), VectorSelector("b", ()), False, True, ("x",)
    )
    assert parse("a > bool 1").node == BinaryExpr(">", VectorSelector("a", ()), NumberLiteral(1.0), True)
    assert parse("clamp_min(a, 1)").node == FunctionCall("clamp_min", (VectorSelector("a", ()), NumberLiteral(1.0)))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("limitk(2, a)", "the aggregation limitk"),
        ("info(a)", "the function info"),
        ("step()", "the function step"),
        ("a + fill(0) b", "fill"),
        ("a + fill_left(0) b", "fill"),
        ("a @ -5", "a time before 1970 after @"),
        ('{x="1" or x="2"}', "`or` between matchers"),
        ("1 + (2 * sum(limitk(1, a)))", "the aggregation limitk"),
        ("limit_ratio(0.5, a)", "the aggregation limit_ratio"),
        ("double_exponential_smoothing(a[5m], 0.1, 0.1)", "the function double_exponential_smoothing"),
        ('sort_by_label(a, "x")', "the function sort_by_label"),
        ("first_over_time(a[5m])", "the function first_over_time"),
        ("ts_of_max_over_time(a[5m])", "the function ts_of_max_over_time"),
        ("histogram_avg(a)", "the function histogram_avg"),
    ],
)
def test_what_the_engine_does_not_know_is_refused_by_name(text: str, what: str) -> None:
    with pytest.raises(PromqlError) as caught:
        parse(text)

    assert str(caught.value).startswith(f"{what} ")
    assert " is not supported by the embedded engine — " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no expression found"),
        ("a = 5", "equal is written =="),
        ("(a", "unclosed left parenthesis"),
        ("rate(a)", "expected type matrix"),
        ("avg_ovr_time(a[5m])", "did you mean avg_over_time?"),
        ("qqqqqqqq(a)", "there is no function qqqqqqqq"),
        ("a[5m]", "avg_over_time(a{}[5m])"),
        ("rate(a[5m])[1h:]", "a range alone has no value"),
        ("a @ 1e300", "the time after @ cannot be read"),
        ('"a"', 'the string "a"'),
        ("rate(a[0s])", "duration must be greater than 0"),
        ("{}", "at least one non-empty matcher"),
        ('a{x=~"("}', "the regular expression '(' cannot be read: missing ) — "),
        ('a{x=~"(?!a).*"}', "invalid perl operator: (?! — RE2 knows no look-around"),
        (r'a{x=~"(.)\\1"}', r"invalid escape sequence: \1 — RE2 knows no back references"),
        (r'label_replace(a, "x", "$1", "y", "\\C")', r"\C is half a character"),
        (r'a{x=~"(?:\\pL{500}){2}"}', "pattern too large - compile failed — at most 512 kB"),
        ('a{x!=~"b"}', "unexpected"),
        ('a{x=!~"b"}', "unexpected"),
        ('{x=~".*"}', "at least one non-empty matcher"),
        ('{x!~".+"}', "at least one non-empty matcher"),
        ('a{__name__=~"b"}', "must not be set twice: 'a' or 'b'"),
        ('max(a{x=~"b",y!~`c`}[5m])', "type"),
        ("1 == 1", "BOOL"),
        ("holt_winters(a[5m], 0.1, 0.1)", "no function holt_winters in Prometheus 3"),
        ('label_replace(a, "x-y", "$1", "y", "z")', "'x-y' is no name for a label"),
        ('label_join(a, "x", "-", "y-z")', "'y-z' is no name for a label"),
        ('count_values("", a)', "'' is no name for a label"),
        ("topk(a, a)", "expected type scalar"),
        ("a offset 1e999", "check its numbers and durations"),
    ],
)
def test_a_mistake_is_explained(text: str, said: str) -> None:
    with pytest.raises(WatchdogError, match=re.escape(said)):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 50_000,
        "-" * 50_000 + "a",
        "a" + "+a" * 50_000,
        "abs(" * 5_000 + "a" + ")" * 5_000,
        "a^" * 20_000 + "a",
        "[" * 9_999,
    ],
    ids=["parentheses", "signs", "sums", "calls", "powers", "brackets"],
)
def test_a_monster_is_refused_before_it_can_crash_the_parser(text: str) -> None:
    start = time.monotonic()

    with pytest.raises(PromqlError, match="at most 1000"):
        parse(text)

    assert time.monotonic() - start < 5


@pytest.mark.parametrize("text", ["a" + "+a" * 150, "-" * 150 + "a"])
def test_a_deep_expression_is_refused(text: str) -> None:
    with pytest.raises(PromqlError, match="nested more than 100 deep"):
        parse(text)


def test_brackets_inside_strings_and_comments_do_not_count() -> None:
    brackets = "(" * 500
    assert parse(f'a{{x="{brackets}"}} # {brackets}').node == VectorSelector("a", (Matcher("x", "=", brackets),))


def test_the_regular_expressions_of_one_expression_are_counted() -> None:
    matchers = [f'x{i}=~"a{i}.*"' for i in range(64)]
    parse(f"a{{{','.join(matchers)}}}")

    with pytest.raises(PromqlError, match="has 65 regular expressions, at most 64 are read"):
        parse(f"a{{{','.join([*matchers, 'y!~`b`'])}}}")


def test_no_other_engine_compiles_what_re2_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, parse_beneath = list[str](), promql_parser.parse

    def record(text: str) -> object:
        seen.append(text)
        return parse_beneath(text)

    monkeypatch.setattr(promql_parser, "parse", record)

    for text in (
        'a{x=~"\\\\w{100}"}',
        "a{x !~ #=~\n '\\\\w{100}'}",
        "sum(a{y='=~', x=~`\\w{100}`})",
        'a{x=~"b", y!~"c"}',
    ):
        parse(text)

    assert len(seen) == 4
    assert not [text for text in seen if re.search("[=!]~", text.replace("#=~", "").replace("'=~'", ""))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'a{x=~"\\d"}', r"\d"),
        (r"a{x=~'\\d'}", r"\d"),
        (r"a{x=~`\d`}", r"\d"),
        ('a{x=~`"\n`}', '"\n'),
        ("a{x=~ # why\n 'b'}", "b"),
    ],
)
def test_a_regular_expression_is_read_in_every_kind_of_quotes(text: str, value: str) -> None:
    node = parse(text).node

    assert isinstance(node, VectorSelector)
    assert [(each.op, each.value) for each in node.matchers] == [("=~", value)]


@pytest.mark.parametrize(
    "text", ['a{b="' + "\\\\" * 30_000 + '"}', "a{b='" + "\\n" * 400_000, 'a{b="' + "x" * 20_000 + '"}']
)
def test_what_would_fill_the_stack_of_the_parser_beneath_is_refused_before_it_gets_there(text: str) -> None:
    with pytest.raises(PromqlError, match="at most 10000 and 500 are read"):
        parse(text)
