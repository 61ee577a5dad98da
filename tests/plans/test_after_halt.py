"""Until when a repair may begin behind a halt, told from what the journal knows of the target's runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rollback.harness import make_halt, make_repair
from watchdog.journal.incidents import TripRecord
from watchdog.journal.runs import PlanRun
from watchdog.plans.after_halt import halts_in_force, repairs_follow_until, run_to_recover, trips_to_repair
from watchdog.plans.models import Halt, serialize_plan

NOW = 1_700_000_000_000
HOUR = 3_600_000
STAGE = {"name": "small", "steps": [{"do": "flag", "file": "c.py", "set": {"A": 1}}], "verify": {"quiet": "1m"}}
SAFE = serialize_plan(make_halt(after="repair", repair_within="30m"))
FOR_GOOD = serialize_plan(make_halt())


def make_run(plan: str = "safe", text: str = SAFE, **columns: Any) -> PlanRun:
    """A halt of a rule's that was proven a moment ago."""
    kind = "repair" if '"repair"' in text[:20] else "halt"
    known: dict[str, Any] = {
        "id": 1,
        "incident": 1,
        "target": "bot",
        "plan": plan,
        "kind": kind,
        "text": text,
        "place": "{}",
        "by": "rule streak",
        "status": "ended",
        "outcome": "proven",
        "reason": "",
        "level": 0,
        "acted": NOW,
        "queued": NOW,
        "ended": NOW,
        "watch_until": None,
    }
    return PlanRun(**known | columns)


def make_repair_run(outcome: str | None = None, **overrides: Any) -> PlanRun:
    return make_run("ladder", serialize_plan(make_repair(**overrides)), outcome=outcome)


def test_a_repair_may_begin_for_so_long_after_the_halts_proof() -> None:
    assert repairs_follow_until([make_run()]) == NOW + HOUR // 2


def test_what_says_no_time_lets_repairs_follow_for_an_hour() -> None:
    assert repairs_follow_until([make_run(text=serialize_plan(make_halt(after="repair")))]) == NOW + HOUR


def test_while_the_halt_is_at_work_a_repair_may_be_queued_behind_it() -> None:
    until = repairs_follow_until([make_run(outcome=None, ended=None)])

    assert until is not None
    assert until > NOW + 1_000 * HOUR


def test_of_several_halts_the_one_whose_time_is_over_first_counts() -> None:
    assert repairs_follow_until([make_run(ended=NOW - 1_000), make_run()]) == NOW - 1_000 + HOUR // 2


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [make_run(text=FOR_GOOD)],
        [make_run(), make_run(text=FOR_GOOD)],
        [make_run(), make_run(text=FOR_GOOD, outcome=None, ended=None)],
        [make_run(by="person ada: enough")],
        [make_run(by="ladder exhausted")],
        [make_run(outcome="exhausted")],
        [make_run(outcome="stopped")],
        [make_run(), make_run(text="{")],
        [make_run(), make_repair_run("exhausted")],
        [make_run(), make_repair_run("stopped")],
        [make_run(), make_repair_run("aborted")],
        [make_repair_run("proven", latch="always"), make_run()],
    ],
    ids=[
        "no halt",
        "for good",
        "one of two for good",
        "one for good at work",
        "a person's",
        "end of a repair",
        "not proven",
        "stopped",
        "of another version",
        "repair exhausted",
        "repair stopped",
        "repair aborted",
        "repair that latches",
    ],
)
def test_no_repair_follows(runs: list[PlanRun]) -> None:
    assert repairs_follow_until(runs) is None


@pytest.mark.parametrize("outcome", [None, "proven", "overtaken", "denied", "not-needed", "dry-run"])
def test_a_repair_that_has_not_failed_keeps_no_other_one_from_following(outcome: str | None) -> None:
    assert repairs_follow_until([make_run(), make_repair_run(outcome)]) == NOW + HOUR // 2


def test_a_repair_is_proven_by_all_trips_but_those_that_the_halt_has_answered() -> None:
    trips = [
        TripRecord(rule, "crit", (), NOW, None, f"{rule} is bad", plan)
        for rule, plan in (("streak", "safe"), ("errors", "ladder"), ("drawdown", "halt"), ("disk", None))
    ]
    runs = [make_run(), make_run("halt", FOR_GOOD)]

    assert [trip.rule for trip in trips_to_repair(trips, runs)] == ["errors", "drawdown", "disk"]
    assert trips_to_repair(trips, []) == trips


def test_only_a_halt_that_is_proven_is_in_force() -> None:
    runs = [make_run(outcome="exhausted"), make_run("b"), make_run("c", outcome=None), make_repair_run("proven")]

    assert [run.plan for run in halts_in_force(runs)] == ["b"]


def test_a_resume_behind_a_halt_goes_back_to_work_as_the_halt_says() -> None:
    halt = make_run(text=serialize_plan(make_halt(after="repair", recover=[STAGE])))
    repair = make_repair_run("proven")

    assert run_to_recover([halt, repair], repair) is halt
    assert run_to_recover([make_run(), repair], repair) is repair  # it says nothing of that
    assert run_to_recover([repair], repair) is repair
    assert run_to_recover([halt], halt) is halt
    assert run_to_recover([], None) is None


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"repair_within": "5m"}, "repair_within goes with after: repair"),
        ({"after": "reboot"}, "Input should be 'repair'"),
        (
            {
                "after": "repair",
                "levels": [
                    {
                        "name": "stop",
                        "steps": [{"do": "systemd", "stop": "unit"}],
                        "verify": {"that": ["alive == 0"]},
                    }
                ],
            },
            "level stop: stop unit and after: repair do not go together",
        ),
        (
            {
                "after": "repair",
                "levels": [
                    {
                        "name": "stop",
                        "steps": [{"do": "process", "stop": "process"}],
                        "verify": {"that": ["alive == 0"]},
                    }
                ],
            },
            "level stop: stop the process and after: repair do not go together",
        ),
    ],
    ids=["time alone", "unknown", "unit", "process"],
)
def test_a_halt_behind_which_a_repair_would_start_the_bot_again_is_refused(keys: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        make_halt(**keys)


def test_a_halt_comes_back_from_the_journal_with_what_may_follow_it() -> None:
    back = Halt.model_validate_json(SAFE)

    assert (back.after, back.repair_within) == ("repair", HOUR // 2)
