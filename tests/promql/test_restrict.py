"""Each selector of an expression gets one more matcher, and nothing else of it changes."""

from __future__ import annotations

import re
from random import Random

import pytest

from tests.promql.random_promql import ExpressionGenerator
from watchdog.config.lint import selectors
from watchdog.promql import PromqlError, parse, restrict_selectors
from watchdog.tsdb.labels import Matcher

_KEYWORDS = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "and",
    "or",
    "unless",
    "atan2",
    "bool",
    "offset",
    "inf",
    "NaN",
]
_KEYWORDS += ["BY", "And", "Unless", "sum", "start", "x"]
_GAPS = ["\n", "# { by (\n", "#\r", "\t"]
OWN = 'target=~"alpha|"'


def without_target(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    return tuple(each for each in matchers if each.label != "target")


def _with_odd_names(text: str, random: Random) -> str:
    """With some of its names, operators and spaces put otherwise: keywords are names, too, where a name stands."""

    def put(found: re.Match[str]) -> str:
        if random.random() < 0.8:
            return found[0]
        return random.choice(_GAPS if found[0].isspace() else _KEYWORDS)

    return re.sub(r"\b[a-z]+\b| +", put, text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("equity", f"equity{{{OWN}}}"),
        ("x{}", f"x{{{OWN}}}"),
        ('x{a="}"}', f'x{{{OWN}, a="}}"}}'),
        ('{__name__="x"}', f'{{{OWN}, __name__="x"}}'),
        ("sum by (x) (y)", f"sum by (x) (y{{{OWN}}})"),
        ("sum(y) without (x)", f"sum(y{{{OWN}}}) without (x)"),
        ("a / on(b) group_left(c) d", f"a{{{OWN}}} / on(b) group_left(c) d{{{OWN}}}"),
        ("a and b", f"a{{{OWN}}} and b{{{OWN}}}"),
        ("max_over_time(rate(x[1m])[5m:10s])", f"max_over_time(rate(x{{{OWN}}}[1m])[5m:10s])"),
        ("x # by (y)\n+ y", f"x{{{OWN}}} # by (y)\n+ y{{{OWN}}}"),
        ('label_replace(x, "a", "$1", "b", "(.*)")', f'label_replace(x{{{OWN}}}, "a", "$1", "b", "(.*)")'),
        ("x offset 5m @ end()", f"x{{{OWN}}} offset 5m @ end()"),
        ("inf + NaN + 0x1f + 1e3 + x", f"inf + NaN + 0x1f + 1e3 + x{{{OWN}}}"),
        ("hour() > bool 5", "hour() > bool 5"),
        ("job:errors:rate5m > 1", f"job:errors:rate5m{{{OWN}}} > 1"),
        ("by", f"by{{{OWN}}}"),
        ("and and and", f"and{{{OWN}}} and and{{{OWN}}}"),
        ("rate(OFFSET[5m] offset 5m)", f"rate(OFFSET{{{OWN}}}[5m] offset 5m)"),
        ("a * on(x) group_left without", f"a{{{OWN}}} * on(x) group_left without{{{OWN}}}"),
        ("sum(unless) by (by) > bool -or", f"sum(unless{{{OWN}}}) by (by) > bool -or{{{OWN}}}"),
        ("x # by\r+ y", f"x{{{OWN}}} # by\r+ y{{{OWN}}}"),
    ],
)
def test_what_is_asked_is_what_was_written_and_the_matcher(text: str, wanted: str) -> None:
    assert restrict_selectors(text, OWN) == wanted
    parse(wanted)


def test_of_random_expressions_every_selector_is_restricted_and_nothing_else_is_otherwise() -> None:
    random = Random(11)
    generator = ExpressionGenerator(random)
    seen = 0
    for _ in range(1_600):
        text = _with_odd_names(generator.expression(), random)
        try:
            before = list(selectors(parse(text)))
        except PromqlError:
            continue
        after = list(selectors(parse(restrict_selectors(text, OWN))))
        assert [(each.name, each.offset, each.at) for each in after] == [
            (each.name, each.offset, each.at) for each in before
        ]
        assert [without_target(each.matchers) for each in after] == [each.matchers for each in before]
        assert all(any((m.label, m.value) == ("target", "alpha|") for m in each.matchers) for each in after)
        seen += 1
    assert seen > 500
