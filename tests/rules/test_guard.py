"""Who may act, and the one reason why not."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.core.target import Target
from watchdog.rules.guard import Allowed, GuardInputs, PastRun, Refused, budget_uses, may_start_plan

NOW = 1_700_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE

QUIET_FACTS = GuardInputs(
    latch_reason=None, blind_reason=None, has_fresh_data=True, last_external_change=None, halt_ran=False, past_runs=()
)
BOT = Target.model_validate({"budget": ["3 per 1h", "7 per 1d"], "cooldown": "15m", "settling": "10m"})

ANY = settings(max_examples=50, deadline=None)
TIMES = st.integers(NOW - 3 * 24 * HOUR, NOW + HOUR)
FACTS = st.builds(
    GuardInputs,
    latch_reason=st.none() | st.text(),
    blind_reason=st.none() | st.text(),
    has_fresh_data=st.booleans(),
    last_external_change=st.none() | TIMES,
    halt_ran=st.booleans(),
    past_runs=st.lists(
        st.builds(PastRun, st.sampled_from(["halt", "repair"]), TIMES, st.none() | TIMES, st.none()), max_size=8
    ),
    suppression_reason=st.none() | st.text(),
    repairs_follow_until=st.none() | TIMES,
    halts_suppressed=st.booleans(),
)
TARGETS = st.builds(
    lambda *spans: Target(budget=(), cooldown=spans[0], settling=spans[1]), st.integers(0, HOUR), st.integers(0, HOUR)
) | st.just(BOT)


def make_past_repair(started: int, ended: int | None) -> PastRun:
    """A repair by a rule; times before now, in ms."""
    return PastRun("repair", NOW - started, None if ended is None else NOW - ended, 1)


def make_past_halt(started: int, ended: int | None) -> PastRun:
    return PastRun("halt", NOW - started, None if ended is None else NOW - ended, 1)


def check_guard(target: Target = BOT, kind: Literal["halt", "repair"] = "repair", **facts: Any) -> Allowed | Refused:
    return may_start_plan(kind, target, QUIET_FACTS._replace(**facts), NOW)


def refusal_code(**facts: Any) -> str | None:
    answer = check_guard(**facts)
    return answer.code if isinstance(answer, Refused) else None


@ANY
@given(TARGETS, FACTS, TIMES)
def test_a_halt_is_refused_by_nothing_but_a_person_who_holds_all(target: Target, facts: GuardInputs, now: int) -> None:
    answer = may_start_plan("halt", target, facts, now)

    if facts.suppression_reason is None or not facts.halts_suppressed:
        assert answer == Allowed()
    else:
        assert answer == Refused("held", f"held by {facts.suppression_reason}")


@ANY
@given(TARGETS, FACTS, TIMES)
def test_a_refused_repair_is_told_why(target: Target, facts: GuardInputs, now: int) -> None:
    answer = may_start_plan("repair", target, facts, now)

    assert isinstance(answer, Allowed) or (answer.code and answer.reason)


def test_a_repair_is_allowed_when_nothing_speaks_against_it() -> None:
    assert check_guard() == Allowed()


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        (
            {"latch_reason": "2 h ago (hmm-v2 exhausted)"},
            Refused("latched", "latched 2 h ago (hmm-v2 exhausted): a person must resume it"),
        ),
        ({"halt_ran": True}, Refused("halted", "a halt has already made this incident safe")),
        ({"has_fresh_data": False}, Refused("cold", "no fresh samples since the watchdog started")),
        ({"blind_reason": "no-ticks fires"}, Refused("blind", "blind: no-ticks fires")),
        (
            {"last_external_change": NOW - 4 * MINUTE},
            Refused("settling", "somebody deployed or restarted the bot; settling for another 6 m"),
        ),
        (
            {"past_runs": [make_past_repair(20 * MINUTE, 5 * MINUTE)]},
            Refused("cooldown", "the last repair ended 5 m ago, cooldown is 15 m"),
        ),
        (
            {"past_runs": [make_past_repair(18 * MINUTE, 16 * MINUTE)] * 3},
            Refused("budget", "the budget of 3 per 1h is used up for another 42 m"),
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Refused) else "",
)
def test_each_reason_alone_refuses_a_repair_and_says_so(facts: dict[str, Any], refused: Refused) -> None:
    assert check_guard(**facts) == refused


def test_the_first_reason_that_holds_is_given() -> None:
    """In this order: what only a person ends comes first, what passes by itself comes last."""
    reasons: dict[str, dict[str, Any]] = {
        "latched": {"latch_reason": "a while ago"},
        "halted": {"halt_ran": True},
        "cold": {"has_fresh_data": False},
        "blind": {"blind_reason": "no-ticks fires"},
        "settling": {"last_external_change": NOW},
        "cooldown": {"past_runs": [make_past_repair(1, 0)] * 3},
        "budget": {"past_runs": [make_past_repair(1, None)] * 3},
    }
    told = []
    while reasons:
        all_at_once = {key: value for facts in reversed(reasons.values()) for key, value in facts.items()}
        told.append(refusal_code(**all_at_once))
        reasons.pop(next(iter(reasons)))

    assert told == ["latched", "halted", "cold", "blind", "settling", "cooldown", "budget"]


BEHIND_HALT: dict[str, Any] = {"latch_reason": "1 m ago (halt safe)", "halt_ran": True}


@pytest.mark.parametrize(
    ("left", "refused"), [(None, "latched"), (1, None), (HOUR, None), (0, "latched"), (-1, "latched")]
)
def test_behind_a_halt_that_lets_it_a_repair_may_begin_until_its_time_is_over(
    left: int | None, refused: str | None
) -> None:
    until = None if left is None else NOW + left

    assert refusal_code(**BEHIND_HALT, repairs_follow_until=until) == refused
    assert refusal_code(halt_ran=True, repairs_follow_until=until) == (refused and "halted")


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        ({"suppression_reason": "ann"}, "held"),
        ({"has_fresh_data": False}, "cold"),
        ({"blind_reason": "no-ticks fires"}, "blind"),
        ({"last_external_change": NOW}, "settling"),
        ({"past_runs": [make_past_repair(MINUTE, 1)]}, "cooldown"),
        ({"past_runs": [make_past_repair(MINUTE, None)] * 3}, "budget"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_behind_a_halt_all_else_refuses_a_repair_as_ever(facts: dict[str, Any], refused: str) -> None:
    assert refusal_code(**BEHIND_HALT, repairs_follow_until=NOW + HOUR, **facts) == refused


@pytest.mark.slow
@ANY
@given(TARGETS, FACTS, TIMES)
def test_what_may_follow_a_halt_could_begin_without_one(target: Target, facts: GuardInputs, now: int) -> None:
    """A halt never lets a repair begin that nothing else would have refused either."""
    follows = facts.repairs_follow_until is not None and now < facts.repairs_follow_until
    bare = facts._replace(latch_reason=None, halt_ran=False, repairs_follow_until=None)

    if follows:
        assert may_start_plan("repair", target, facts, now) == may_start_plan("repair", target, bare, now)
    else:
        unsaid = facts._replace(repairs_follow_until=None)
        assert may_start_plan("repair", target, facts, now) == may_start_plan("repair", target, unsaid, now)


@pytest.mark.parametrize(("ago", "refused"), [(0, "settling"), (10 * MINUTE - 1, "settling"), (10 * MINUTE, None)])
def test_settling_ends(ago: int, refused: str | None) -> None:
    assert refusal_code(last_external_change=NOW - ago) == refused


@pytest.mark.parametrize(("ago", "refused"), [(0, "cooldown"), (15 * MINUTE - 1, "cooldown"), (15 * MINUTE, None)])
def test_the_cooldown_runs_from_the_end_of_the_last_repair(ago: int, refused: str | None) -> None:
    """However long ago it started, and whichever order they are told in."""
    assert refusal_code(past_runs=[make_past_repair(5 * HOUR, ago), make_past_repair(6 * HOUR, 5 * HOUR)]) == refused


def test_a_halt_starts_no_cooldown() -> None:
    assert refusal_code(past_runs=[make_past_halt(MINUTE, 1)]) is None


def test_a_repair_that_still_runs_has_no_end_to_cool_down_from() -> None:
    assert refusal_code(past_runs=[make_past_repair(MINUTE, None)]) is None


def test_the_budget_counts_starts_within_its_time() -> None:
    three = [
        make_past_repair(HOUR - 1, 20 * MINUTE),
        make_past_repair(40 * MINUTE, 20 * MINUTE),
        make_past_repair(30 * MINUTE, 20 * MINUTE),
    ]

    assert refusal_code(past_runs=three) == "budget"
    assert refusal_code(past_runs=three[1:]) is None
    assert refusal_code(past_runs=[*three[1:], make_past_repair(HOUR, 20 * MINUTE)]) is None


def test_every_budget_counts() -> None:
    seven = [make_past_repair(n * 3 * HOUR, n * 3 * HOUR - MINUTE) for n in range(1, 8)]

    assert check_guard(past_runs=seven) == Refused("budget", "the budget of 7 per 1d is used up for another 3 h")
    assert refusal_code(past_runs=seven[1:]) is None


def test_halts_use_up_no_budget_of_repairs() -> None:
    """What made a bot safe is no reason not to repair it: three halts leave as many repairs as there were."""
    halts = [make_past_halt(30 * MINUTE, 20 * MINUTE)] * 3
    repairs = [make_past_repair(50 * MINUTE, 40 * MINUTE), make_past_repair(30 * MINUTE, 20 * MINUTE)]

    assert refusal_code(past_runs=[*halts, *repairs]) is None
    assert refusal_code(past_runs=[*halts, *repairs, make_past_repair(29 * MINUTE, 19 * MINUTE)]) == "budget"


def test_what_is_left_of_a_budget_and_when_there_is_more() -> None:
    target = Target.model_validate({"budget": ["3 per 1h", "7 per 1d"]})
    past = [make_past_halt(5 * MINUTE, None), make_past_repair(50 * MINUTE, MINUTE), make_past_repair(2 * HOUR, HOUR)]

    hour, day = budget_uses(target, past, NOW)

    assert (hour.budget.text, hour.left, hour.frees) == ("3 per 1h", 2, NOW + 10 * MINUTE)
    assert (day.budget.text, day.left, day.frees) == ("7 per 1d", 5, NOW + 22 * HOUR)
    assert budget_uses(target, past[:1], NOW)[0][1:] == (3, None)


def test_a_budget_that_was_made_smaller_meanwhile_is_free_when_enough_of_it_is_past() -> None:
    past = [make_past_repair(minutes * MINUTE, 0) for minutes in (50, 40, 30)]

    (use,) = budget_uses(Target.model_validate({"budget": "1 per 1h"}), past, NOW)

    assert (use.left, use.frees) == (0, NOW + 30 * MINUTE)


def test_without_a_budget_repairs_are_not_counted() -> None:
    assert check_guard(Target(), past_runs=[make_past_repair(30 * MINUTE, 20 * MINUTE)] * 100) == Allowed()
