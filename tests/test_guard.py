"""Who may act, and the one reason why not."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.guard import Allowed, Facts, Past, Refused, may_act
from watchdog.model import Target

NOW = 1_700_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE

QUIET = Facts(latched=None, blind=None, fresh=True, unsettled=None, halted=False, past=())
BOT = Target.model_validate({"budget": ["3 per 1h", "7 per 1d"], "cooldown": "15m", "settling": "10m"})

ANY = settings(max_examples=50, deadline=None)
TIME = st.integers(NOW - 3 * 24 * HOUR, NOW + HOUR)
FACTS = st.builds(
    Facts,
    latched=st.none() | st.text(),
    blind=st.none() | st.text(),
    fresh=st.booleans(),
    unsettled=st.none() | TIME,
    halted=st.booleans(),
    past=st.lists(st.builds(Past, st.sampled_from(["halt", "repair"]), TIME, st.none() | TIME, st.none()), max_size=8),
    held=st.none() | st.text(),
    halts_held=st.booleans(),
)
TARGET = st.builds(
    lambda *spans: Target(budget=(), cooldown=spans[0], settling=spans[1]), st.integers(0, HOUR), st.integers(0, HOUR)
) | st.just(BOT)


def repair(started: int, ended: int | None) -> Past:
    """A repair by a rule; times before now, in ms."""
    return Past("repair", NOW - started, None if ended is None else NOW - ended, 1)


def halt(started: int, ended: int | None) -> Past:
    return Past("halt", NOW - started, None if ended is None else NOW - ended, 1)


def asked(target: Target = BOT, kind: Literal["halt", "repair"] = "repair", **facts: Any) -> Allowed | Refused:
    return may_act(kind, target, QUIET._replace(**facts), NOW)


def code(**facts: Any) -> str | None:
    answer = asked(**facts)
    return answer.code if isinstance(answer, Refused) else None


@ANY
@given(TARGET, FACTS, TIME)
def test_a_halt_is_refused_by_nothing_but_a_person_who_holds_all(target: Target, facts: Facts, now: int) -> None:
    answer = may_act("halt", target, facts, now)

    if facts.held is None or not facts.halts_held:
        assert answer == Allowed()
    else:
        assert answer == Refused("held", f"held by {facts.held}")


@ANY
@given(TARGET, FACTS, TIME)
def test_a_refused_repair_is_told_why(target: Target, facts: Facts, now: int) -> None:
    answer = may_act("repair", target, facts, now)

    assert isinstance(answer, Allowed) or (answer.code and answer.why)


def test_a_repair_is_allowed_when_nothing_speaks_against_it() -> None:
    assert asked() == Allowed()


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        (
            {"latched": "2 h ago (hmm-v2 exhausted)"},
            Refused("latched", "latched 2 h ago (hmm-v2 exhausted): a person must resume it"),
        ),
        ({"halted": True}, Refused("halted", "a halt has already made this incident safe")),
        ({"fresh": False}, Refused("cold", "no fresh samples since the watchdog started")),
        ({"blind": "no-ticks fires"}, Refused("blind", "blind: no-ticks fires")),
        (
            {"unsettled": NOW - 4 * MINUTE},
            Refused("settling", "somebody deployed or restarted the bot; settling for another 6 m"),
        ),
        (
            {"past": [repair(20 * MINUTE, 5 * MINUTE)]},
            Refused("cooldown", "the last repair ended 5 m ago, cooldown is 15 m"),
        ),
        (
            {"past": [repair(18 * MINUTE, 16 * MINUTE)] * 3},
            Refused("budget", "the budget of 3 per 1h is used up"),
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Refused) else "",
)
def test_each_reason_alone_refuses_a_repair_and_says_so(facts: dict[str, Any], refused: Refused) -> None:
    assert asked(**facts) == refused


def test_the_first_reason_that_holds_is_given() -> None:
    """In this order: what only a person ends comes first, what passes by itself comes last."""
    reasons: dict[str, dict[str, Any]] = {
        "latched": {"latched": "a while ago"},
        "halted": {"halted": True},
        "cold": {"fresh": False},
        "blind": {"blind": "no-ticks fires"},
        "settling": {"unsettled": NOW},
        "cooldown": {"past": [repair(1, 0)] * 3},
        "budget": {"past": [repair(1, None)] * 3},
    }
    told = []
    while reasons:
        all_at_once = {key: value for facts in reversed(reasons.values()) for key, value in facts.items()}
        told.append(code(**all_at_once))
        reasons.pop(next(iter(reasons)))

    assert told == ["latched", "halted", "cold", "blind", "settling", "cooldown", "budget"]


@pytest.mark.parametrize(("ago", "refused"), [(0, "settling"), (10 * MINUTE - 1, "settling"), (10 * MINUTE, None)])
def test_settling_ends(ago: int, refused: str | None) -> None:
    assert code(unsettled=NOW - ago) == refused


@pytest.mark.parametrize(("ago", "refused"), [(0, "cooldown"), (15 * MINUTE - 1, "cooldown"), (15 * MINUTE, None)])
def test_the_cooldown_runs_from_the_end_of_the_last_repair(ago: int, refused: str | None) -> None:
    """However long ago it started, and whichever order they are told in."""
    assert code(past=[repair(5 * HOUR, ago), repair(6 * HOUR, 5 * HOUR)]) == refused


def test_a_halt_starts_no_cooldown() -> None:
    assert code(past=[halt(MINUTE, 1)]) is None


def test_a_repair_that_still_runs_has_no_end_to_cool_down_from() -> None:
    assert code(past=[repair(MINUTE, None)]) is None


def test_the_budget_counts_starts_within_its_time() -> None:
    three = [repair(HOUR - 1, 20 * MINUTE), repair(40 * MINUTE, 20 * MINUTE), repair(30 * MINUTE, 20 * MINUTE)]

    assert code(past=three) == "budget"
    assert code(past=three[1:]) is None
    assert code(past=[*three[1:], repair(HOUR, 20 * MINUTE)]) is None


def test_every_budget_counts() -> None:
    seven = [repair(n * 3 * HOUR, n * 3 * HOUR - MINUTE) for n in range(1, 8)]

    assert asked(past=seven) == Refused("budget", "the budget of 7 per 1d is used up")
    assert code(past=seven[1:]) is None


def test_halts_count_in_the_budget_of_repairs() -> None:
    """A budget counts plan runs that rules started: a bot that had to be halted three times is not repaired a fourth."""
    assert code(past=[halt(30 * MINUTE, 20 * MINUTE)] * 3) == "budget"


def test_without_a_budget_repairs_are_not_counted() -> None:
    assert asked(Target(), past=[repair(30 * MINUTE, 20 * MINUTE)] * 100) == Allowed()
