"""Every form of threshold, and what may be said beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.rules.builders import BTC, ETH, NOW, make_check, make_reading
from watchdog.core.model import Labels, Verdict
from watchdog.rules import (
    BaselineState,
    Check,
    Kpi,
    Learn,
    Rule,
    Threshold,
    ThresholdError,
    compile_check,
    judge,
    queries,
    render_summary,
    unknown_placeholders,
    verdict_kinds,
)

ANY = settings(max_examples=50, deadline=None)


def judge_values(check_: Check, values: dict[Labels, float] | float, **keys: Any) -> Verdict:
    (verdict,) = judge(check_, make_reading(values, **keys), NOW)
    return verdict


# ─ outside and equals ─


def test_outside_is_bad_on_either_side_and_names_the_limit_that_was_crossed() -> None:
    c = make_check({"outside": ["20%", "80%"], "clear": ["25%", "75%"]}, Kpi(expr="x", unit="ratio"))

    found = [
        (judge_values(c, v).outcome, judge_values(c, v).cleared, judge_values(c, v).limit)
        for v in (0.1, 0.2, 0.25, 0.5, 0.76, 0.8, 0.9)
    ]

    assert found == [
        ("bad", False, 0.2),
        ("ok", False, 0.2),
        ("ok", True, 0.2),
        ("ok", True, 0.8),
        ("ok", False, 0.8),
        ("ok", False, 0.8),
        ("bad", False, 0.8),
    ]
    assert judge_values(c, 0.1).reason == "k 10 % is outside 20 % to 80 %"


def test_equals_is_bad_at_exactly_that_value() -> None:
    c = make_check({"equals": 3})

    assert [(judge_values(c, v).outcome, judge_values(c, v).cleared) for v in (2.9, 3, 3.1)] == [
        ("ok", True),
        ("bad", False),
        ("ok", True),
    ]
    assert judge_values(c, 3).reason == "k 3 is equal to 3"


def test_outside_may_lean_on_the_baseline_on_both_sides() -> None:
    c = make_check({"outside": ["0.5x baseline", "2x baseline"], "ceiling": [2, 15]}, Kpi(expr="x", baseline=10))

    assert (c.low_limit, c.limit) == (5, 15)
    c = make_check({"outside": ["0.1x baseline", "2x baseline"], "ceiling": [2, 35]}, Kpi(expr="x", baseline=10))
    assert (c.low_limit, c.limit) == (2, 20)


@pytest.mark.parametrize(
    ("threshold", "cure"),
    [
        ({"outside": [1]}, "outside takes two limits"),
        ({"outside": [1, 2, 3]}, "outside takes two limits"),
        ({"outside": [1, 2], "clear": 1}, "a pair of limits beside outside"),
        ({"above": 1, "clear": [1, 2]}, "a pair of limits beside outside"),
        ({"equals": 1, "clear": 2}, "clear means nothing beside equals"),
        ({"expr": "up == 0", "ceiling": 2}, "ceiling means nothing beside expr"),
    ],
)
def test_what_does_not_go_together_is_refused(threshold: dict[str, Any], cure: str) -> None:
    with pytest.raises(ValidationError, match=cure):
        Threshold.model_validate(threshold)


@pytest.mark.parametrize(
    ("threshold", "key", "cure"),
    [
        ({"outside": [5, 2]}, "outside", "the smaller limit comes first"),
        ({"outside": [2, 5], "clear": [1, 5]}, "clear", "at least 2"),
        ({"outside": [2, 5], "clear": [2, 6]}, "clear", "at most 5"),
        ({"above": "2x baseline", "ceiling": "3x baseline"}, "ceiling", "a ceiling is absolute"),
        ({"above": "± 5%"}, "above", r"say outside: \[baseline - 5pp, baseline \+ 5pp\]"),
        ({"above": "baseline ± 5%"}, "above", r"0\.95x baseline, 1\.05x baseline"),
    ],
)
def test_limits_that_contradict_each_other_name_the_key_and_the_cure(
    threshold: dict[str, Any], key: str, cure: str
) -> None:
    with pytest.raises(ThresholdError, match=cure) as caught:
        make_check(threshold, Kpi(expr="x", baseline=10))

    assert caught.value.key == key


# ─ expr ─


def test_a_condition_is_bad_for_what_it_returns_and_well_for_the_known_rest() -> None:
    c = make_check({"expr": "x > 5"})
    verdicts = judge(c, make_reading({BTC: 7.0}), NOW, [BTC, ETH])

    assert {v.labels: (v.outcome, v.cleared, v.value) for v in verdicts} == {
        BTC: ("bad", False, 7.0),
        ETH: ("ok", True, None),
    }
    assert [v.reason for v in verdicts[:2]] == ["r 7: x > 5", "r: not x > 5"]


def test_a_condition_stands_for_itself_only_while_it_names_nothing_and_nothing_is_known() -> None:
    c = make_check({"expr": "x > 5"})

    def said(values: Any, known: list[Any]) -> list[tuple[Any, str, bool]]:
        return [(v.labels, v.outcome, v.gone) for v in judge(c, make_reading(values), NOW, known)]

    assert said({}, []) == [((), "ok", False)]
    assert said({}, [()]) == [((), "ok", False)]
    assert said({BTC: 7.0}, [()]) == [(BTC, "bad", False), ((), "ok", True)]
    assert said({BTC: 7.0}, []) == [(BTC, "bad", False)]
    assert said({}, [BTC]) == [(BTC, "ok", False)]
    assert said({(): 7.0}, [()]) == [((), "bad", False)]


def test_a_condition_that_returns_nothing_is_well_only_where_there_is_fresh_and_full_data() -> None:
    c = make_check({"expr": "x > 5"})

    assert [
        judge_values(c, {}, **lack).outcome
        for lack in ({}, {"newest_sample": 0}, {"newest_sample": NOW - 3_001}, {"covered": 1, "window": 2})
    ] == [
        "ok",
        "nodata",
        "nodata",
        "nodata",
    ]


def test_a_condition_about_absence_speaks_where_there_is_no_sample_but_is_no_evidence() -> None:
    verdict = judge_values(make_check({"expr": "absent(x)"}), 1.0, newest_sample=0)

    assert (verdict.outcome, verdict.evidence) == ("bad", 0)


def test_a_condition_beside_a_kpi_shows_the_kpi_and_needs_what_it_needs() -> None:
    kpi = Kpi(expr="x", unit="ratio", needs="bars > 250", since="resume")
    c = make_check({"expr": "y > 5"}, kpi)
    rule = Rule.model_validate({"name": "r", "kpi": "k", "target": "bot", "crit": {"expr": "y > 5"}})

    beside = make_reading({BTC: 7.0}, kpi_values={BTC: 0.5, ETH: 0.1}, evidence={(): 1.0})
    assert judge(c, beside, NOW)[0].reason == "k 50 %: y > 5"
    assert judge_values(c, {}, kpi_values={(): 0.5}, evidence={(): 1.0}).reason == "k 50 %: not y > 5"
    assert judge_values(c, {}, kpi_values={}, evidence={}).outcome == "nodata"
    asked = queries({"k": kpi}, {"r": rule})[c.query]
    assert (asked.expr, asked.needs, asked.since) == ("y > 5", "bars > 250", "resume")


def test_a_rule_without_a_kpi_says_expr_everywhere() -> None:
    with pytest.raises(ValidationError, match="needs a kpi, or an expr in each"):
        Rule.model_validate({"name": "r", "target": "bot", "warn": {"above": 1}, "crit": {"expr": "x > 5"}})


def test_missing_data_trips_a_level_that_has_no_condition_of_its_own() -> None:
    rule = Rule.model_validate(
        {"name": "r", "target": "bot", "warn": {"expr": "x > 5"}, "if_missing": {"then": "crit"}}
    )
    c = compile_check(rule, "crit", None)

    assert c is not None
    assert (c.query, c.operator) == ("r: x > 5", None)


# ─ baselines that move ─


MEMORY_KPI = Kpi(expr="x", unit="bytes", baseline=Learn(learn=604_800_000))
DOUBLE_BASELINE: dict[str, Any] = {"above": "2x baseline", "ceiling": "3GiB", "clear": "1.5x baseline"}
GIB = 2.0**30


def test_until_a_baseline_is_learned_the_ceiling_counts_and_it_says_so() -> None:
    c = make_check(DOUBLE_BASELINE, MEMORY_KPI, BaselineState(None, "learning 3 d of 7 d"))

    assert [(judge_values(c, v * GIB).outcome, judge_values(c, v * GIB).cleared) for v in (2.9, 3.1)] == [
        ("ok", True),
        ("bad", False),
    ]
    assert judge_values(c, 2.9 * GIB).reason == "k 2.9 GiB is not above 3 GiB (its ceiling; learning 3 d of 7 d)"


def test_a_learned_baseline_makes_the_limit_and_never_lifts_it_over_the_ceiling() -> None:
    c = make_check(DOUBLE_BASELINE, MEMORY_KPI, BaselineState(GIB, ""))
    assert (c.limit, c.clear, c.limit_unknown) == (2 * GIB, 1.5 * GIB, None)

    c = make_check(DOUBLE_BASELINE, MEMORY_KPI, BaselineState(5 * GIB, ""))
    assert (c.limit, c.clear) == (3 * GIB, 3 * GIB)


def test_a_learned_baseline_needs_a_ceiling_beside_it_and_a_captured_one_does_not() -> None:
    with pytest.raises(ThresholdError, match="add a ceiling"):
        make_check({"above": "2x baseline"}, MEMORY_KPI)

    verdict = judge_values(
        make_check(
            {"above": "2x baseline"}, Kpi(expr="x", baseline="captured"), BaselineState(None, "not captured yet")
        ),
        5,
    )
    assert (verdict.outcome, verdict.reason) == ("nodata", "k: not captured yet")


def test_a_multiple_of_a_learned_baseline_that_is_not_above_zero_leaves_the_ceiling() -> None:
    c = make_check(DOUBLE_BASELINE, MEMORY_KPI, BaselineState(0.0, ""))

    assert c.limit == 3 * GIB
    assert "needs a baseline above zero" in judge_values(c, GIB).reason


@pytest.mark.parametrize("crit", [{"above": "15"}, {"above": "2x baseline", "ceiling": 3}, {"above": "baseline + 3%"}])
def test_units_are_checked_before_anything_is_learned(crit: dict[str, Any]) -> None:
    with pytest.raises(ThresholdError):
        make_check({"ceiling": "3GiB", **crit}, MEMORY_KPI)


def test_what_could_never_be_learned_is_refused() -> None:
    with pytest.raises(ValidationError, match="holds 600 values, fewer than min_samples 1000"):
        Learn(learn=600_000)


# ─ over many times at once ─


FORMS: list[dict[str, Any]] = [
    {"above": 10},
    {"at_least": 10, "clear": 8},
    {"below": 10, "clear": 12},
    {"at_most": 10},
    {"outside": [5, 10], "clear": [6, 9]},
    {"equals": 10},
]
NUMBERS = st.one_of(st.sampled_from([5.0, 6.0, 8.0, 9.0, 10.0, 12.0, math.nan, math.inf]), st.floats(-20, 20))


@pytest.mark.parametrize("crit", FORMS, ids=lambda crit: next(iter(crit)))
@ANY
@given(values=st.lists(NUMBERS, min_size=1, max_size=20))
def test_what_is_said_of_many_values_at_once_is_what_is_said_of_each(crit: dict[str, Any], values: list[float]) -> None:
    c = make_check(crit)
    found = verdict_kinds(c, np.array([values]), np.ones((1, len(values)), np.bool_))[0]

    verdicts = [judge_values(c, value) for value in values]
    assert [{1: "nodata", 2: "bad", 3: "ok", 4: "ok"}[int(kind)] for kind in found] == [v.outcome for v in verdicts]
    assert [kind == 4 for kind in found] == [v.cleared for v in verdicts]


@pytest.mark.parametrize("operator", ["above", "at_least", "below", "at_most"])
@ANY
@given(value=st.floats(-100, 100), limit=st.floats(-100, 100), further=st.floats(0, 100))
def test_every_operator_is_monotone_in_its_limit(operator: str, value: float, limit: float, further: float) -> None:
    away = further if operator in ("above", "at_least") else -further
    near, far = make_check({operator: f"{limit:f}"}), make_check({operator: f"{limit + away:f}"})

    assert judge_values(far, value).outcome == "ok" or judge_values(near, value).outcome == "bad"


# ─ summaries ─


def test_a_summary_knows_single_labels_the_rule_and_how_long_it_was_bad() -> None:
    c = make_check({"outside": ["10%", "20%"]}, Kpi(expr="x", unit="ratio"))
    (verdict,) = judge(c, make_reading({BTC: 0.25}), NOW)

    text = render_summary(
        "{{ name }}/{{level}} of {{ target }}: {{ labels.pair }} of {{labels.team}}, {{ labels.none }}, "
        "{{ kpi }} {{ value }} {{ limit }} for {{ duration }}",
        c,
        verdict,
        200_000,
        (("team", "fx"),),
    )

    assert text == "r/crit of bot: BTC of fx, none, k 25 % 10 % to 20 % for 3 m 20 s"


def test_a_broken_summary_is_found_before_the_night() -> None:
    assert unknown_placeholders("{{ labels.pair }} {{ duration }} {{ name }}") == []
    assert unknown_placeholders("{{ labels. }} {{ durations }} }} {{") == [
        "labels.",
        "durations",
        "an unclosed {{",
        "a }} that closes nothing",
    ]
