"""What a rule says about one reading."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.rules.builders import BTC, ETH, NOW, make_check, make_reading
from watchdog.core.model import Labels, Verdict
from watchdog.rules import (
    Check,
    Kpi,
    Patience,
    Reading,
    Rule,
    Threshold,
    ThresholdError,
    compile_check,
    judge,
    parse_patience,
    render_summary,
    unknown_placeholders,
)

ANY = settings(max_examples=30, deadline=None)


def judge_one(check_: Check, reading: Reading, known: tuple[Labels, ...] = ()) -> Verdict:
    (verdict,) = judge(check_, reading, NOW, known)
    return verdict


# ─ comparing ─


@pytest.mark.parametrize(
    ("operator", "below", "at", "over"),
    [
        ("above", "ok", "ok", "bad"),
        ("at_least", "ok", "bad", "bad"),
        ("below", "bad", "ok", "ok"),
        ("at_most", "bad", "bad", "ok"),
    ],
)
def test_above_and_below_are_strict_and_the_others_are_not(operator: str, below: str, at: str, over: str) -> None:
    c = make_check({operator: 10})

    assert [judge_one(c, make_reading(value)).outcome for value in (9.999, 10, 10.001)] == [below, at, over]


@pytest.mark.parametrize(
    ("threshold", "recovered", "between"),
    [
        ({"above": 15, "clear": 12}, [12, 3], [12.1, 15]),
        ({"at_least": 15, "clear": 12}, [11.9, 3], [12, 14.9]),
        ({"below": 15, "clear": 20}, [20, 99], [19.9, 15]),
        ({"at_most": 15, "clear": 20}, [20.1, 99], [20, 15.1]),
    ],
)
def test_between_limit_and_clear_it_is_neither_bad_nor_recovered(
    threshold: dict[str, Any], recovered: list[float], between: list[float]
) -> None:
    c = make_check(threshold)

    for value in recovered:
        assert judge_one(c, make_reading(value))[3:4] == ("ok",)
        assert judge_one(c, make_reading(value)).cleared
    for value in between:
        assert judge_one(c, make_reading(value)).outcome == "ok"
        assert not judge_one(c, make_reading(value)).cleared


@pytest.mark.parametrize("operator", ["above", "below", "at_least", "at_most"])
@ANY
@given(value=st.floats(-100, 100))
def test_without_a_clear_what_is_not_bad_has_recovered(operator: str, value: float) -> None:
    verdict = judge_one(make_check({operator: 10}), make_reading(value))

    assert verdict.cleared == (verdict.outcome == "ok")


@ANY
@given(value=st.floats(-100, 100), limit=st.floats(-100, 100), further=st.floats(0, 100))
def test_a_limit_further_away_is_never_crossed_sooner(value: float, limit: float, further: float) -> None:
    near, far = make_check({"above": f"{limit:f}"}), make_check({"above": f"{limit + further:f}"})

    if judge_one(far, make_reading(value)).outcome == "bad":
        assert judge_one(near, make_reading(value)).outcome == "bad"


def test_the_reason_says_value_limit_and_baseline() -> None:
    c = make_check({"above": "15%"}, Kpi(expr="x", unit="ratio", baseline="8.3%"))

    assert judge_one(c, make_reading(0.152)).reason == f"{c.kpi} 15.2 % is above 15 % (baseline 8.3 %)"
    assert judge_one(c, make_reading(0.1)).reason == f"{c.kpi} 10 % is not above 15 % (baseline 8.3 %)"
    assert make_check({"at_least": 7}).operator == "at_least"
    assert judge_one(make_check({"at_least": 7}), make_reading(9)).reason == "k 9 is at least 7"


def test_a_reason_shows_what_makes_it_true() -> None:
    c = make_check({"above": "10s"}, Kpi(expr="x", unit="seconds"))

    assert judge_one(c, make_reading(10.04)).reason == f"{c.kpi} 10.04 s is above 10 s"
    assert judge_one(c, make_reading(9.996)).reason == f"{c.kpi} 9.996 s is not above 10 s"
    assert judge_one(c, make_reading(10.0)).reason == f"{c.kpi} 10 s is not above 10 s"


def test_a_verdict_carries_the_evidence_it_was_judged_by() -> None:
    assert judge_one(make_check({"above": 10}), make_reading(11, age=1_500)).evidence == NOW - 1_500


# ─ unreadable is never bad ─


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_no_data(value: float) -> None:
    for operator in ("above", "below"):
        assert judge_one(make_check({operator: 10}), make_reading(value)).outcome == "nodata"


def test_an_error_is_an_error_for_every_label_set() -> None:
    verdicts = judge(make_check({"above": 10}), make_reading({BTC: 99.0}, error="no such thing"), NOW, [BTC, ETH])

    assert [(v.labels, v.outcome, v.reason) for v in verdicts] == [
        (BTC, "error", "no such thing"),
        (ETH, "error", "no such thing"),
    ]


def test_without_any_sample_there_is_no_data() -> None:
    verdict = judge_one(make_check({"above": 10}), make_reading({}, newest_sample=0))

    assert (verdict.labels, verdict.outcome, verdict.reason) == ((), "nodata", "k has no samples")


def test_a_value_from_samples_that_are_too_old_is_not_believed() -> None:
    assert judge_one(make_check({"above": 10}), make_reading(99, age=3_000)).outcome == "bad"
    old = judge_one(make_check({"above": 10}), make_reading(99, age=3_001))

    assert old.outcome == "nodata"
    assert old.reason == "newest sample of k is 3.001 s old, at most 3 s is believed"


def test_ages_and_windows_that_differ_look_different() -> None:
    c = make_check({"above": 5})
    old = make_reading(9, age=3_040)
    short = make_reading(9, covered=10_799_950, window=10_800_000)

    assert judge_one(c, old).reason == "newest sample of k is 3.04 s old, at most 3 s is believed"
    assert judge_one(c, short).reason == "k has 2 h 59 m 59.95 s of 3 h"


def test_a_window_that_is_not_covered_is_no_data_and_says_what_it_has() -> None:
    verdict = judge_one(make_check({"above": 10}), make_reading(99, covered=3 * 3_600_000, window=24 * 3_600_000))

    assert (verdict.outcome, verdict.reason) == ("nodata", "k has 3 h of 1 d")


@pytest.mark.parametrize("kpi", [Kpi(expr="x", needs="y > 1"), Kpi(expr="x", since="resume")])
def test_who_says_what_evidence_is_needed_or_forgets_on_purpose_needs_no_covered_window(kpi: Kpi) -> None:
    short = make_reading(99, covered=1, window=1_000, evidence={(): 1.0})

    assert judge_one(make_check({"above": 10}, kpi), short).outcome == "bad"


def test_a_label_set_without_the_evidence_it_needs_is_no_data() -> None:
    c = make_check({"above": 10}, Kpi(expr="x", needs="y > 1"))
    what = make_reading({BTC: 99.0, ETH: 99.0}, evidence={(("pair", "BTC"), ("source", "bot")): 5.0})

    assert {v.labels: v.outcome for v in judge(c, what, NOW)} == {BTC: "bad", ETH: "nodata"}


def test_evidence_without_labels_counts_for_all_and_no_evidence_for_none() -> None:
    c = make_check({"above": 10}, Kpi(expr="x", needs="y > 1"))

    assert {v.outcome for v in judge(c, make_reading({BTC: 99.0, ETH: 1.0}, evidence={(): 5.0}), NOW)} == {"bad", "ok"}
    assert {v.outcome for v in judge(c, make_reading({BTC: 99.0, ETH: 1.0}, evidence={}), NOW)} == {"nodata"}


def test_a_known_label_set_that_is_gone_is_no_data_and_the_others_are_judged() -> None:
    verdicts = judge(make_check({"above": 10}), make_reading({BTC: 99.0}), NOW, [BTC, ETH])

    assert {v.labels: v.outcome for v in verdicts} == {BTC: "bad", ETH: "nodata"}


def test_when_every_series_is_gone_each_known_label_set_is_told_so() -> None:
    verdicts = judge(make_check({"above": 10}), make_reading({}), NOW, [BTC, ETH])

    assert [(v.labels, v.outcome, v.reason) for v in verdicts] == [
        (BTC, "nodata", "k has no value"),
        (ETH, "nodata", "k has no value"),
    ]


def test_there_is_always_a_verdict() -> None:
    assert judge_one(make_check({"above": 10}), make_reading({})).outcome == "nodata"


def test_series_that_appear_end_what_was_missing_before_any_was_known() -> None:
    verdicts = judge(make_check({"above": 10}), make_reading({BTC: 99.0}), NOW, [()])

    said = {v.labels: (v.outcome, v.cleared, v.gone) for v in verdicts}
    assert said == {BTC: ("bad", False, False), (): ("ok", True, True)}  # and what stood for them leaves


MISSING_CASES: list[dict[str, Any]] = [
    {"error": "boom"},
    {"newest_sample": 0},
    {"age": 3_001},
    {"covered": 1, "window": 2},
    {"values": {}},
    {"values": math.nan},
    {"evidence": {}},
]


@pytest.mark.parametrize("lost", MISSING_CASES, ids=lambda lost: next(iter(lost)))
@pytest.mark.parametrize("then", ["hold", "ok", "warn", "crit"])
def test_what_cannot_be_read_is_never_bad_and_never_recovered(lost: dict[str, Any], then: str) -> None:
    """What missing data does to a rule is the state machine's business, with patience of its own."""
    c = make_check({"above": 10}, if_missing={"after": "1m", "then": then})

    verdict = judge_one(c, make_reading(**{"values": 99.0, **lost}), ((),))

    assert verdict.outcome in ("nodata", "error")
    assert not verdict.cleared
    assert verdict.evidence == 0
    assert verdict.reason


# ─ several series ─


def test_without_each_every_label_set_is_judged_for_itself() -> None:
    verdicts = judge(make_check({"above": 10}), make_reading({BTC: 9.0, ETH: 11.0}), NOW)

    assert {v.labels: v.outcome for v in verdicts} == {BTC: "ok", ETH: "bad"}


@ANY
@given(
    st.permutations(
        [
            ((("i", "1"), *BTC), 9.0),
            ((("i", "2"), *BTC), 11.0),
            ((("i", "3"), *BTC), math.nan),
            ((("i", "1"), *ETH), 1.0),
        ]
    )
)
def test_under_each_the_worst_series_speaks_for_its_state(series: list[tuple[Labels, float]]) -> None:
    verdicts = judge(make_check({"above": 10}, each=["pair"]), make_reading(dict(series)), NOW)

    assert {v.labels: v.outcome for v in verdicts} == {BTC: "bad", ETH: "ok"}


@ANY
@given(st.permutations([((("i", "1"),), 3.0), ((("i", "2"),), 13.0), ((("i", "3"),), 4.0)]))
def test_under_each_a_state_has_recovered_only_when_all_its_series_have(series: list[tuple[Labels, float]]) -> None:
    c = make_check({"above": 15, "clear": 12}, each=["pair"])

    verdict = judge_one(c, make_reading(dict(series)))

    assert (verdict.labels, verdict.outcome, verdict.cleared, verdict.value) == ((), "ok", False, 13.0)


# ─ checks ─


def test_of_a_relative_limit_and_its_ceiling_the_stricter_counts() -> None:
    memory = Kpi(expr="x", unit="bytes", baseline="1GiB")
    rising = {"above": "2x baseline", "ceiling": "3GiB"}
    falling = {"below": "baseline - 512MiB", "ceiling": "768MiB"}

    assert make_check(rising, memory).limit == 2 * 2**30
    assert make_check(rising, Kpi(expr="x", unit="bytes", baseline="2GiB")).limit == 3 * 2**30
    assert make_check(falling, memory).limit == 768 * 2**20


@pytest.mark.parametrize(
    ("crit", "key", "cure"),
    [
        ({"above": 15}, "above", "say 15%"),
        ({"above": "2x baseline"}, "above", "give the KPI one"),
        ({"above": "15%", "clear": "16%"}, "clear", "must be at most 15 %"),
        ({"below": "15%", "clear": "14%"}, "clear", "must be at least 15 %"),
        ({"above": "15%", "ceiling": "3GiB"}, "ceiling", "share such as 10%"),
    ],
)
def test_a_limit_that_does_not_fit_names_its_key_and_the_cure(crit: dict[str, Any], key: str, cure: str) -> None:
    with pytest.raises(ThresholdError, match=cure) as caught:
        make_check(crit, Kpi(expr="x", unit="ratio"))

    assert (caught.value.level, caught.value.key) == ("crit", key)


def test_a_level_without_a_threshold_is_checked_only_when_missing_data_trips_it() -> None:
    rule: dict[str, Any] = {"name": "r", "kpi": "k", "target": "bot", "warn": {"above": 1}}
    quiet = Rule.model_validate(rule)
    fresh = Rule.model_validate({**rule, "if_missing": {"after": "1m", "then": "crit"}})

    assert compile_check(quiet, "crit", Kpi(expr="x")) is None
    only_missing = compile_check(fresh, "crit", Kpi(expr="x"))
    assert only_missing is not None
    assert (judge_one(only_missing, make_reading(1e9)).outcome, judge_one(only_missing, make_reading(1e9)).cleared) == (
        "ok",
        True,
    )
    assert judge_one(only_missing, make_reading({}, newest_sample=0)).outcome == "nodata"


@pytest.mark.parametrize(
    ("threshold", "found"),
    [
        ({}, "none"),
        ({"above": 1, "below": 2}, "above and below"),
        ({"at_least": 1, "at_most": 2}, "at_least and at_most"),
    ],
)
def test_a_threshold_has_exactly_one_operator(threshold: dict[str, Any], found: str) -> None:
    with pytest.raises(ValidationError, match=f"found {found}"):
        Threshold.model_validate(threshold)


def test_a_rule_judges_something_and_only_crit_starts_a_plan() -> None:
    rule: dict[str, Any] = {"name": "r", "kpi": "k", "target": "bot"}

    with pytest.raises(ValidationError, match="needs warn, crit or both"):
        Rule.model_validate(rule)
    with pytest.raises(ValidationError, match="move plan to crit"):
        Rule.model_validate({**rule, "warn": {"above": 1, "plan": "halt"}})


# ─ patience as written ─


def test_patience_is_a_duration_or_n_of_m() -> None:
    assert parse_patience("5m") == Patience(duration=300_000)
    assert parse_patience("3 of 5") == Patience(n=3, m=5)
    assert Threshold.model_validate({"above": 1}).for_ == Patience()
    assert [Patience(duration=300_000).describe(), Patience(n=3, m=5).describe()] == ["5 m", "3 of 5 evaluations"]


@pytest.mark.parametrize("text", ["0 of 3", "4 of 3", "3 of 1001", "3 of", "soon", ""])
def test_patience_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"say N of M|reads like"):
        parse_patience(text)


@pytest.mark.parametrize("text", ["5m", "3 of 5"])
def test_a_threshold_reads_back_as_it_was_written_to_the_journal(text: str) -> None:
    threshold = Threshold.model_validate({"above": "15%", "for": text, "clear_for": "10m"})

    assert Threshold.model_validate(json.loads(threshold.model_dump_json(by_alias=True))) == threshold


# ─ summaries ─


def test_a_summary_is_filled_in() -> None:
    c = make_check({"above": "15%"}, Kpi(expr="x", unit="ratio", baseline="8.3%"))
    verdict = judge_one(c, make_reading({BTC: 0.152}))

    text = render_summary("{{ labels }}: {{value}} of {{  limit }}, usually {{ baseline }}", c, verdict)

    assert text == "pair=BTC: 15.2 % of 15 %, usually 8.3 %"


def test_a_summary_shows_what_makes_it_true() -> None:
    c = make_check({"above": "10s"}, Kpi(expr="x", unit="seconds"))

    assert render_summary("{{ value }} > {{ limit }}", c, judge_one(c, make_reading(10.04))) == "10.04 s > 10 s"


def test_a_summary_without_value_labels_or_baseline_says_so() -> None:
    c = make_check({"above": 15})
    verdict = judge_one(c, make_reading({}, newest_sample=0))

    assert (
        render_summary("{{ value }}, {{ limit }}, {{ baseline }}, {{ labels }}", c, verdict)
        == "no value, 15, none, none"
    )


def test_what_means_nothing_in_a_summary_is_found() -> None:
    assert unknown_placeholders("{{ value }} and {{limit}}, {{ baseline }}, {{ labels }}") == []
    assert unknown_placeholders("{{ vale }} {{ value | upper }} {{ limit") == [
        "vale",
        "value | upper",
        "an unclosed {{",
    ]
