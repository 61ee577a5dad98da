"""Nights in which a strategy halt comes ahead of the repair that the bot needs: it is made safe, and repaired."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.harness import ScenarioHarness

MakeHarness = Callable[..., ScenarioHarness]

STREAK_YAML: dict[str, Any] = {
    "kpis": "  streak: {expr: losing_streak}",
    "rules": "  - {name: streak, kpi: streak, crit: {at_least: 5, clear: 1, plan: safe}}",
}
SAFE_YAML = """\
  safe:
    kind: halt
    after: repair
    repair_within: 30s
    levels:
      - {name: no-entries, steps: [{do: flag, file: config.py, set: {TRADING: false}}],
         verify: {that: [entries == 0], give_up: 5s}}
"""
RECOVER_YAML = """\
    recover:
      - {name: entries, steps: [{do: flag, file: config.py, set: {TRADING: true}}],
         verify: {that: [entries == 1], quiet: 2s, give_up: 20s}}
"""
REPAIRED = {"TRADING": "False", "FEATURE": "True", "MODEL": "1"}
WITHOUT_BEFORE = ("before: [{do: flag, file: config.py, set: {TRADING: false}}]", "")
"""The ladder alone would leave trading on."""
LOST = {"losing_streak": 6.0}


def make_safe(make_harness: MakeHarness, *, plans: str = SAFE_YAML + RECOVER_YAML, **options: Any) -> ScenarioHarness:
    harness = make_harness(plans=plans, **STREAK_YAML, **options)
    harness.values["losing_streak"] = 0
    return harness


def trip_lines(harness: ScenarioHarness, rule: str = "streak") -> list[str]:
    """What the chat was told when the rule tripped."""
    (row,) = harness.journal.query(
        "SELECT lines FROM message WHERE channel = 'chat' AND title LIKE ? ORDER BY id", f"%{rule} tripped"
    )
    return list(json.loads(row["lines"]))


def events_beside(harness: ScenarioHarness) -> list[str]:
    """What an incident's timeline says beside the trips."""
    return [row["text"] for row in harness.journal.query("SELECT text FROM event WHERE kind = 'beside' ORDER BY id")]


def test_a_halt_ahead_of_the_model_rule_names_it_and_the_ladder_repairs_behind_it(make_harness: MakeHarness) -> None:
    """The streak goes on all the while, since nothing is traded: the repair is proven all the same."""
    harness = make_safe(make_harness)
    harness.advance_second()
    harness.advance_second(**LOST)
    assert harness.outcomes()[0][0] == "safe"
    assert "errors has been bad for 1 s of 2 s" in trip_lines(harness)
    assert events_beside(harness) == ["errors has been bad for 1 s of 2 s"]

    harness.advance_until(lambda: ("ladder", "proven") in harness.outcomes())

    assert harness.outcomes() == [("safe", "proven"), ("ladder", "proven")]
    assert {run.incident for run in harness.runs} == {1}
    assert harness.config_values() == REPAIRED
    assert harness.rollback_commits() == ['Revert "Merge v2"']
    assert harness.is_firing("streak")
    assert harness.is_latched()
    assert harness.refusal_reasons() == []


def test_a_ladder_under_way_is_gone_on_with_behind_the_halt(make_harness: MakeHarness) -> None:
    harness = make_safe(make_harness, replacement=WITHOUT_BEFORE)
    harness.advance_until(lambda: any(run.level == 1 for run in harness.runs))
    harness.advance_second(**LOST)
    harness.advance_until(lambda: ("ladder", "proven") in harness.outcomes())

    assert harness.outcomes() == [("ladder", "proven"), ("safe", "proven")]
    assert harness.config_values() == REPAIRED
    assert harness.rollback_commits() == ['Revert "Merge v2"']
    assert harness.is_latched()


@pytest.mark.parametrize("dies_after", [0, 1, 3, 6, 9])
@pytest.mark.slow
def test_wherever_the_watchdog_is_killed_it_is_made_safe_and_repaired(
    make_harness: MakeHarness, dies_after: int
) -> None:
    harness = make_safe(make_harness)
    harness.advance_second()
    harness.advance_second(**LOST)
    harness.advance_seconds(dies_after)
    harness.kill()
    harness.advance_until(lambda: ("ladder", "proven") in harness.outcomes())

    assert harness.outcomes() == [("safe", "proven"), ("ladder", "proven")]
    assert harness.config_values() == REPAIRED


def test_a_resume_starts_the_halts_way_back_to_work(make_harness: MakeHarness) -> None:
    harness = make_safe(make_harness)
    harness.advance_second()
    harness.advance_second(**LOST)
    harness.advance_until(lambda: any(run.status == "watching" for run in harness.runs))

    said = harness.requests.resume_target("bot", "ann", harness.now)  # she need not wait for the end of the watch
    harness.advance_until(lambda: len(harness.runs) == 3 and harness.runs[2].outcome, losing_streak=0)

    assert said == (True, "bot resumed; safe goes back to work in 1 stage (run 3)")
    assert harness.outcomes() == [("safe", "proven"), ("ladder", "proven"), ("safe", "proven")]
    assert harness.config_values() == {"TRADING": "True", "FEATURE": "True", "MODEL": "1"}
    assert not harness.is_latched()


def test_a_resume_waits_for_a_repair_that_is_at_work(make_harness: MakeHarness) -> None:
    harness = make_safe(make_harness)
    harness.advance_second()
    harness.advance_second(**LOST)
    harness.advance_until(lambda: any(run.plan == "ladder" and run.status == "running" for run in harness.runs))

    assert harness.requests.resume_target("bot", "ann", harness.now) == (
        False,
        "plan ladder is at work on bot: wait for its end",
    )


def test_a_model_rule_that_trips_within_the_time_is_repaired_though_the_incident_of_the_halt_is_over(
    make_harness: MakeHarness,
) -> None:
    """What that halt has switched off stays off while the code is reverted."""
    harness = make_safe(make_harness, replacement=WITHOUT_BEFORE)
    harness.bad_since_model = 3
    harness.advance_seconds(3)
    harness.advance_second(**LOST)
    harness.advance_until(lambda: harness.list_incidents()[0].closed, losing_streak=0)
    harness.bad_since_model = 2
    harness.advance_until(lambda: ("ladder", "proven") in harness.outcomes())

    assert [run.incident for run in harness.runs] == [1, 2]
    assert harness.config_values() == REPAIRED
    assert harness.is_latched()


def test_after_the_time_a_repair_is_refused_until_a_person_resumes(make_harness: MakeHarness) -> None:
    harness = make_safe(make_harness)
    harness.bad_since_model = 3
    harness.advance_seconds(3)
    harness.advance_second(**LOST)
    harness.advance_seconds(32)
    harness.bad_since_model = 2
    harness.advance_seconds(10)

    assert harness.outcomes() == [("safe", "proven")]
    assert any("a person must resume it" in why for why in harness.refusal_reasons())


@pytest.mark.parametrize("plans", [SAFE_YAML.replace("    after: repair\n    repair_within: 30s\n", "")])
def test_without_after_the_halt_overtakes_for_good(make_harness: MakeHarness, plans: str) -> None:
    harness = make_safe(make_harness, plans=plans)
    harness.advance_second()
    harness.advance_second(**LOST)
    harness.advance_seconds(60)

    assert harness.outcomes() == [("safe", "proven")]
    assert any("must resume it" in why or "already made" in why for why in harness.refusal_reasons())
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "True", "MODEL": "2"}


@pytest.mark.slow
def test_a_loss_behind_the_halt_ends_the_repair_for_good(make_harness: MakeHarness) -> None:
    """What the drawdown rule must do alone it does alone."""
    harness = make_safe(make_harness)
    harness.advance_second()
    harness.advance_second(**LOST)
    harness.advance_until(lambda: any(run.plan == "ladder" and run.level == 1 for run in harness.runs))
    harness.advance_until(lambda: ("halt", "proven") in harness.outcomes(), equity=850)
    harness.advance_seconds(60)

    assert harness.outcomes()[:3] == [("safe", "proven"), ("ladder", "overtaken"), ("halt", "proven")]
    assert {run.plan for run in harness.runs[3:]} <= {"halt"}
    assert harness.config_values()["TRADING"] == "False"


def test_a_hold_keeps_repairs_from_following_too(make_harness: MakeHarness) -> None:
    harness = make_safe(make_harness)
    harness.advance_second()
    harness.requests.hold_target("bot", 60_000, "ann", harness.now)
    harness.advance_second(**LOST)
    harness.advance_seconds(20)

    assert harness.outcomes() == [("safe", "proven")]
    assert any("held by ann" in why for why in harness.refusal_reasons())


@pytest.mark.slow
def test_a_halt_shortly_after_a_deployment_says_so_and_the_repair_waits_until_that_has_settled(
    make_harness: MakeHarness,
) -> None:
    plans = (SAFE_YAML + RECOVER_YAML).replace("repair_within: 30s", "repair_within: 5m")
    harness = make_safe(make_harness, plans=plans)
    harness.bad_since_model = 4
    harness.advance_seconds(11)
    harness.repo.commit("v3", notes__md="v3\n")
    deployed = harness.repo.head()
    harness.advance_seconds(14)
    harness.bad_since_model = 2
    harness.advance_second(**LOST)

    assert any(
        line.endswith(f" s after somebody else deployed {deployed[:10]} to the bot") for line in trip_lines(harness)
    )
    assert "errors has just turned bad and trips in 2 s" in trip_lines(harness)
    assert len(events_beside(harness)) == 2

    harness.advance_seconds(20)
    assert harness.outcomes() == [("safe", "proven")]
    harness.advance_until(lambda: ("ladder", "proven") in harness.outcomes(), 150)
    assert harness.config_values()["TRADING"] == "False"


def test_a_halt_with_nothing_beside_it_says_nothing_of_that(make_harness: MakeHarness) -> None:
    harness = make_safe(make_harness)
    harness.bad_since_model = 3
    harness.advance_seconds(3)
    harness.advance_second(**LOST)

    assert events_beside(harness) == []
    assert trip_lines(harness)[-2].startswith("safe starts: ")
    assert trip_lines(harness)[-1].startswith("incident 1 on ")
