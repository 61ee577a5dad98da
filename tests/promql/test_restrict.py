"""Each selector of an expression gets one more matcher, and nothing else of it changes."""

from __future__ import annotations

from random import Random

import pytest

from tests.promql.random_promql import ExpressionGenerator
from watchdog.config.lint import selectors
from watchdog.promql import PromqlError, parse, restrict_selectors
from watchdog.tsdb.labels import Matcher

OWN = 'target=~"alpha|"'


def without_target(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    return tuple(each for each in matchers if each.label != "target")


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
    ],
)
def test_what_is_asked_is_what_was_written_and_the_matcher(text: str, wanted: str) -> None:
    assert restrict_selectors(text, OWN) == wanted
    parse(wanted)


def test_of_random_expressions_every_selector_is_restricted_and_nothing_else_is_otherwise() -> None:
    generator = ExpressionGenerator(Random(11))
    seen = 0
    for _ in range(800):
        text = generator.expression()
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
