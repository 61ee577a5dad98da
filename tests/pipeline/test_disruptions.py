"""Time that nobody watched, and a clock that is set: what rules, plans and people make of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MINUTE, SECOND, PipelineHarness
from watchdog.core.model import Message
from watchdog.rules.state_machine import MachineState

HOUR = 60 * MINUTE
STEPS = [-30 * 24 * HOUR, -2 * HOUR, -20 * SECOND, -SECOND, SECOND, 20 * SECOND, 2 * HOUR, 30 * 24 * HOUR]

WINDOWS = """\
targets: {bot: {repo: /srv/bot}}
kpis:
  mean: {expr: "avg_over_time(error_ratio[20s])"}
  few: {expr: "count_over_time(error_ratio[20s])"}
  grown: {expr: "increase(alive[20s])"}
  needy: {expr: "avg_over_time(error_ratio[20s])", needs: "count_over_time(error_ratio[20s]) >= 5"}
rules:
  - {name: mean, kpi: mean, target: bot, crit: {above: 0.5}}
  - {name: few, kpi: few, target: bot, crit: {below: 10}}
  - {name: grown, kpi: grown, target: bot, crit: {below: 10}}
  - {name: needy, kpi: needy, target: bot, crit: {above: 0.5}}
"""


def phases(harness: PipelineHarness) -> dict[str, tuple[str, str]]:
    return {
        key.rule: (machine.outcome, machine.reason) for key, machine in harness.pipeline.machines.items() if key.labels
    }


def go_away(harness: PipelineHarness, how: str, seconds: int) -> None:
    if how == "outage":
        harness.lost_sources = {"bot"}
        harness.rounds(seconds)
        harness.lost_sources = set()
    elif how == "standstill":
        since, harness.now = harness.now, harness.now + seconds * SECOND
        harness.pipeline.handle_standstill(since, harness.now)
    else:
        harness.restart(seconds * SECOND)


@pytest.mark.parametrize("how", ["outage", "standstill"])
def test_a_window_that_nobody_watched_is_not_judged_by_what_came_after(tmp_path: Path, how: str) -> None:
    harness = PipelineHarness(tmp_path, WINDOWS)
    for alive in range(30):
        harness.round(alive=alive)
    assert {outcome for outcome, _ in phases(harness).values()} == {"ok"}
    go_away(harness, how, 40)

    harness.rounds(3, error_ratio=9, alive=30)
    assert {name: found for name, found in phases(harness).items() if name != "needy"} == {
        "mean": ("nodata", "mean has 2 s of 20 s"),
        "few": ("nodata", "few has 2 s of 20 s"),
        "grown": ("nodata", "grown has 2 s of 20 s"),
    }
    assert not [title for title in harness.message_titles() if "tripped" in title]
    harness.rounds(3)
    assert phases(harness)["needy"][0] == "bad"  # it brings its own measure of evidence
    assert phases(harness)["mean"][0] == "nodata"
    harness.rounds(16)
    assert phases(harness)["mean"][0] == "bad"
    assert phases(harness)["few"][0] == "ok"


def test_a_page_of_which_every_other_read_fails_is_still_judged(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, WINDOWS)
    harness.rounds(22)
    for i in range(20):
        harness.lost_sources = {"bot"} if i % 2 else set()
        harness.round(error_ratio=9)

    assert harness.is_firing("mean")


def test_what_was_seen_ahead_of_a_sleep_is_not_judged_by_the_time_after_it(tmp_path: Path) -> None:
    """A freshness rule without patience, over a page that is read seldom: 50 s asleep are no age of a tick."""
    harness = PipelineHarness(
        tmp_path,
        "targets: {bot: {repo: /srv/bot}}\nkpis: {age: {expr: time() - tick}}\n"
        "rules: [{name: age, kpi: age, target: bot, crit: {above: 70}}]\n",
        "sources: {bot: {type: scrape, url: 'http://127.0.0.1:1/', every: 60s}, host: {type: host, every: 1s}}\nstate: state\n",
    )
    harness.round(tick=harness.now / 1_000)
    go_away(harness, "standstill", 80)
    harness.lost_sources = set()
    for _ in range(5):
        harness.now += SECOND
        harness.pipeline.judge(harness.now)
    assert not harness.is_firing("age")
    harness.round(tick=harness.now / 1_000)
    assert phases(harness)["age"][0] == "ok"


AGES = """\
targets: {bot: {repo: /srv/bot}}
kpis:
  by_clock: {expr: time() - tick}
  by_bot: {expr: tick_age, unit: seconds}
rules:
  - {name: by_clock, kpi: by_clock, target: bot, crit: {above: 70}}
  - {name: by_bot, kpi: by_bot, target: bot, crit: {above: 70s}}
  - {name: condition, target: bot, crit: {expr: time() - tick > 70}}
"""
FRESHNESS_RULES = ("by_clock", "by_bot", "condition")


def ages(harness: PipelineHarness, ticked: int) -> dict[str, float]:
    return {"tick": ticked / 1_000, "tick_age": (harness.now + SECOND - ticked) / 1_000}


@pytest.mark.parametrize("asleep", [75, 300, 8 * 3_600])
def test_a_bot_that_slept_as_well_may_tick_before_its_freshness_trips(tmp_path: Path, asleep: int) -> None:
    harness = PipelineHarness(tmp_path, AGES)
    ticked = harness.now
    for _ in range(10):
        harness.round(**ages(harness, ticked))
    go_away(harness, "standstill", asleep)
    for _ in range(40):
        harness.round(**ages(harness, ticked))  # it has bars of a minute
        assert not [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)]
    ticked = harness.now
    for _ in range(70):
        harness.round(**ages(harness, ticked))
        assert not [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)]
    harness.round(**ages(harness, ticked))
    harness.round(**ages(harness, ticked))
    assert [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)] == [*FRESHNESS_RULES]


def test_a_bot_that_ticks_seldom_is_not_stale_because_the_clock_was_set_forward(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, AGES)
    ticked = harness.now
    for _ in range(10):
        harness.round(**ages(harness, ticked))
    harness.set_clock(HOUR)
    for _ in range(40):
        harness.round(tick=ticked / 1_000, tick_age=30)  # by the clock as it was
        assert not [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)]
    harness.round(tick_age=71)  # who counts by itself knows of no clock
    assert [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)] == ["by_bot"]
    harness.round(tick_age=1)
    ticked = harness.now
    for _ in range(50):
        harness.round(**ages(harness, ticked))
    assert not [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)]


@pytest.mark.parametrize("step", [SECOND, 3 * SECOND, -SECOND])
def test_a_clock_that_is_set_after_a_sleep_takes_nothing_of_the_time_to_tick(tmp_path: Path, step: int) -> None:
    harness = PipelineHarness(tmp_path, AGES)
    ticked = harness.now
    for _ in range(10):
        harness.round(**ages(harness, ticked))
    go_away(harness, "standstill", 8 * 3_600)
    for _ in range(5):
        harness.round(**ages(harness, ticked))
    harness.set_clock(step)
    ticked += step  # who counts by itself knows of no clock
    for _ in range(40):
        harness.round(tick=(ticked - step) / 1_000, tick_age=(harness.now + SECOND - ticked) / 1_000)
        assert not [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)]
    for _ in range(30):
        harness.round(tick=(ticked - step) / 1_000, tick_age=(harness.now + SECOND - ticked) / 1_000)
    assert [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)] == [*FRESHNESS_RULES]


@pytest.mark.parametrize(("asleep", "after"), [(65, 65), (8 * 3_600, 71)])
def test_a_bot_that_does_not_wake_up_is_told_after_the_age_that_is_allowed(
    tmp_path: Path, asleep: int, after: int
) -> None:
    harness = PipelineHarness(tmp_path, AGES)
    ticked = harness.now
    for _ in range(10):
        harness.round(**ages(harness, ticked))
    go_away(harness, "standstill", asleep)
    for _ in range(59):
        harness.round(**ages(harness, ticked))
        assert not [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)]
    for _ in range(after - 59):
        harness.round(**ages(harness, ticked))
    assert [rule for rule in FRESHNESS_RULES if harness.is_firing(rule)] == [*FRESHNESS_RULES]


def test_half_an_hour_asleep_is_no_half_an_hour_blind(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(3)
    harness.lost_sources = {"bot", "host"}
    harness.rounds(3)
    go_away(harness, "standstill", 1_800)
    harness.rounds(10)

    assert not [title for title in harness.message_titles() if "blind" in title]
    harness.rounds(20)
    assert [title for title in harness.message_titles() if "blind" in title]


# ─ the clock ─


def state_of(harness: PipelineHarness, moved: int) -> dict[str, object]:
    """All that a clock could disturb, by the time that it would be without."""

    def at(t: int) -> int:
        return t - moved if t else 0

    def known(machine: MachineState) -> tuple[object, ...]:
        return (
            machine.phase, at(machine.since), at(machine.last), machine.held, machine.outcome, machine.reason,
            machine.missing, at(machine.seen), at(machine.evidence), machine.recent,
        )  # fmt: skip

    return {
        "machines": {key: known(machine) for key, machine in harness.pipeline.machines.items()},
        "runs": [(run.plan, run.status, run.outcome, at(run.queued)) for run in harness.runs],
        "told": harness.message_titles(),
        "refused": harness.refusal_reasons(),
        "settling": harness.journal.targets.get_state("bot", harness.now).unsettled is not None,
        "held": harness.pipeline.incident_manager.hold_reason("bot", harness.now),
        "due": {channel: at(due) for channel, due in harness.journal.messages.next_due().items()},
    }


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_a_life_in_which_the_clock_is_set_is_the_same_life(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    even, uneven = (PipelineHarness(tmp_path / name) for name in ("even", "uneven"))
    moved = 0
    for i in range(260):
        if dice.random() < 0.06:
            for step in dice.choices(STEPS, k=dice.choice([1, 1, 3])):
                uneven.set_clock(step)
                moved += step
        values = {
            "error_ratio": 0.2 if i % 90 > 60 else 0.01,
            "equity": 1_000 - (150 if 200 < i < 230 else i % 7),
            "tick_age": 90 if 120 < i < 125 else 1,
        }
        lost = {"bot"} if i % 70 in (40, 41, 42, 43, 44, 45) else set()
        for harness in (even, uneven):
            harness.lost_sources = lost
            harness.round(**values)
            with harness.journal.transaction() as tx:
                if i == 5:
                    tx.suppressions.add_suppression("hold", "bot", harness.now + 90 * SECOND, "ann", harness.now)
                if i == 235:
                    tx.targets.update_target("bot", unsettled=harness.now)
                if i == 7:
                    tx.messages.enqueue(Message("warn", "waits"), ["chat"], harness.now)
                    (message,) = harness.journal.messages.due(harness.now, "chat")[:1]
                    tx.messages.mark_postponed(message.id, harness.now + 300 * SECOND, "busy")
            harness.requests.end_suppressions(harness.now)
            for run in harness.runs:
                if run.ended is None and i % 20 == 0:
                    harness.end_run(run, "proven")
        assert state_of(uneven, moved) == state_of(even, 0), (i, moved)
    assert len(even.runs) > 1


@pytest.mark.parametrize("step", STEPS)
def test_a_cooldown_and_a_budget_are_as_long_by_any_clock(tmp_path: Path, step: int) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(3)
    harness.rounds(4, error_ratio=0.5)
    (run,) = harness.runs
    harness.end_run(run, "proven")
    harness.rounds(5, error_ratio=0.01)
    harness.set_clock(step)
    harness.rounds(5, error_ratio=0.5)

    (reason,) = harness.refusal_reasons()
    assert reason.startswith("the last repair ended 8 s ago"), reason


@pytest.mark.parametrize("step", STEPS)
def test_a_capture_of_a_baseline_takes_as_long_as_was_asked(tmp_path: Path, step: int) -> None:
    rules = (
        "targets: {bot: {repo: /srv/bot}}\nkpis: {errors: {expr: error_ratio, baseline: captured}}\n"
        "rules: [{name: errors, kpi: errors, target: bot, crit: {above: 3 x baseline}}]\n"
    )
    harness = PipelineHarness(tmp_path, rules)
    harness.rounds(3)
    ok, said = harness.pipeline.baselines.start_capture(
        ["errors"], 60 * SECOND, "ann", harness.pipeline.is_firing, harness.now
    )
    assert ok, said
    harness.rounds(20)
    harness.set_clock(step)
    harness.rounds(38)
    assert harness.pipeline.baselines.current("errors", "bot").value is None
    harness.rounds(5)
    assert harness.pipeline.baselines.current("errors", "bot").value == pytest.approx(0.01)
