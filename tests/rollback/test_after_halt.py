"""`after: repair`: a halt makes it safe at once, and the repair goes on behind it while nothing is traded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollback.harness import (
    FIRST_LEVEL_STEP,
    NO_ENTRIES_STEP,
    VERIFY_OPTIONS,
    RollbackHarness,
    crash_at_point,
    flag_step,
    make_halt,
    make_repair,
    restart,
)

REPAIRED = {"TRADING": "False", "FEATURE": "False", "MODEL": "1"}
"""What the ladder leaves behind a halt: its second level has helped, and trading stays off."""


def prepare(harness: RollbackHarness, *, before: bool = True) -> RollbackHarness:
    """A halt behind which repairs go on, and one that makes it safe for good."""
    harness.plans["safe"] = make_halt(after="repair")
    if not before:
        harness.plans["ladder"] = make_repair(before=[])
    return harness


async def halt_when(
    harness: RollbackHarness, when: Callable[[], object], *, plan: str = "safe", by: str = "rule streak"
) -> int:
    """Queues a halt as soon as it is `when`, and carries all out to the end. Returns the halt."""
    harness.start_targets()
    await harness.advance_until(when)
    halt = harness.queue_run(plan, by=by)
    await harness.advance_until(lambda: not harness.open_runs())
    await harness.stop()
    return halt


def lines_of(harness: RollbackHarness, title: str) -> str:
    (row,) = harness.journal.query("SELECT lines FROM message WHERE title = ?", title)
    return str(row["lines"])


MOMENTS: dict[str, Callable[[RollbackHarness], object]] = {
    "it settles": lambda harness: len(harness.applied_steps) == 2,
    "its first level is disproven": lambda harness: harness.get_run(1).level == 1,
    "its last level waits for proof": lambda harness: len(harness.applied_steps) == 4,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_repair_under_way_goes_on_behind_the_halt_and_trading_stays_off(
    harness: RollbackHarness, moment: str
) -> None:
    run = prepare(harness).queue_run()

    halt = asyncio.run(halt_when(harness, lambda: MOMENTS[moment](harness)))

    assert harness.get_run(halt).outcome == "proven"
    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 1)
    assert [step for step in harness.steps(run) if step.phase == "proven"] == []
    assert harness.config_values() == REPAIRED
    assert harness.latch_reason() == "halt safe"
    said = lines_of(harness, "bot: ladder proven")
    assert "what safe switched off stays off" in said
    assert "trading-watchdog resume bot --reason" in said


def test_the_halt_runs_before_the_repair_takes_another_step(harness: RollbackHarness) -> None:
    run = prepare(harness, before=False).queue_run()

    halt = asyncio.run(halt_when(harness, lambda: len(harness.applied_steps) == 1))

    assert harness.applied_steps[1] == "set TRADING = false in config.py"
    halted = harness.get_run(halt)
    assert not [s for s in harness.steps(run) if halted.queued < (s.started or 0) < (halted.ended or 0)]
    assert "next: ladder" in lines_of(harness, "bot: safe proven")
    assert harness.config_values() == REPAIRED


def test_a_repair_that_is_wanted_in_the_same_second_runs_behind_the_halt(harness: RollbackHarness) -> None:
    run, halt = prepare(harness).queue_run(), harness.queue_run("safe", by="rule streak")

    harness.run_to_end()

    assert (harness.get_run(halt).outcome, harness.get_run(run).outcome) == ("proven", "proven")
    assert harness.applied_steps[0] == "set TRADING = false in config.py"
    assert harness.config_values() == REPAIRED


def test_a_halt_without_a_repair_says_until_when_one_may_begin(harness: RollbackHarness) -> None:
    prepare(harness).queue_run("safe", by="rule streak")

    harness.run_to_end()

    said = lines_of(harness, "bot: safe proven")
    assert "a repair that begins within 1 h goes on behind it" in said
    assert "latched until trading-watchdog resume bot" in said


# ─ what does not let a repair follow ─


@pytest.mark.parametrize(
    ("plan", "by"),
    [("halt", "rule drawdown"), ("safe", "person ada: enough"), ("safe", "other exhausted")],
    ids=["without after", "of a person", "of a repair that failed"],
)
def test_a_halt_that_lets_nothing_follow_overtakes_for_good(harness: RollbackHarness, plan: str, by: str) -> None:
    run = prepare(harness).queue_run()

    asyncio.run(halt_when(harness, lambda: len(harness.applied_steps) == 2, plan=plan, by=by))

    assert harness.get_run(run).outcome == "overtaken"
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "False", "MODEL": "2"}


def test_a_latch_that_comes_into_the_journal_with_a_halt_that_has_ended_overtakes_a_repair_under_way(
    harness: RollbackHarness,
) -> None:
    """As one does that was carried out off the record."""
    run = prepare(harness).queue_run()

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: len(harness.applied_steps) == 2)
        with harness.journal.transaction() as tx:
            tx.targets.update_target("bot", latched=harness.now, latch_why="halt halt")
        await harness.advance_until_ended(run)
        await harness.stop()

    asyncio.run(play())

    assert (harness.get_run(run).outcome, harness.get_run(run).reason) == ("overtaken", "latched meanwhile: halt halt")
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "False", "MODEL": "2"}


def test_a_halt_for_risk_overtakes_the_repair_that_goes_on_behind_another_one(harness: RollbackHarness) -> None:
    run, safe = prepare(harness).queue_run(), harness.queue_run("safe", by="rule streak")

    halt = asyncio.run(halt_when(harness, lambda: len(harness.applied_steps) == 2, plan="halt", by="rule drawdown"))

    assert (harness.get_run(safe).outcome, harness.get_run(halt).outcome) == ("proven", "proven")
    assert harness.get_run(run).outcome == "overtaken"
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "False", "MODEL": "2"}


def test_behind_a_halt_that_is_not_proven_no_repair_goes_on(harness: RollbackHarness) -> None:
    run = prepare(harness).queue_run()
    harness.condition_result = lambda _: not harness.journal.query("SELECT 1 FROM run WHERE kind = 'halt'")

    halt = asyncio.run(halt_when(harness, lambda: len(harness.applied_steps) == 2))

    assert harness.get_run(halt).outcome == "exhausted"
    assert (harness.get_run(run).outcome, harness.get_run(run).reason) == ("overtaken", "latched meanwhile: halt safe")
    assert harness.config_values()["MODEL"] == "2"


def test_a_repair_that_has_put_the_bot_back_to_work_is_overtaken_and_trading_is_off(harness: RollbackHarness) -> None:
    prepare(harness).plans["ladder"] = make_repair(verify={**VERIFY_OPTIONS, "watch": "1h"})
    run = harness.queue_run()

    asyncio.run(halt_when(harness, lambda: harness.get_run(run).status == "watching"))

    assert harness.get_run(run).outcome == "overtaken"
    assert harness.config_values() == REPAIRED


# ─ its end ─


def test_a_repair_of_no_use_behind_its_own_halt_does_not_halt_again(harness: RollbackHarness) -> None:
    prepare(harness).plans["ladder"] = make_repair(exhausted="safe")
    harness.errors_outcome = lambda _: "bad"
    run = harness.queue_run()

    halt = asyncio.run(halt_when(harness, lambda: len(harness.applied_steps) == 2))

    assert [row[0] for row in harness.journal.query("SELECT id FROM run ORDER BY id")] == [run, halt]
    assert harness.get_run(run).outcome == "exhausted"
    assert "safe ran ahead of it and stays in force" in lines_of(harness, "bot: ladder exhausted")
    assert harness.config_values()["TRADING"] == "False"
    assert harness.latch_reason() == "halt safe"


def test_a_repair_of_no_use_behind_another_halt_still_ends_in_its_own(harness: RollbackHarness) -> None:
    prepare(harness).errors_outcome = lambda _: "bad"
    run, safe = harness.queue_run(), harness.queue_run("safe", by="rule streak")

    harness.run_to_end()

    assert harness.get_run(run).outcome == "exhausted"
    last = harness.get_run(max(run, safe) + 1)
    assert (last.plan, last.outcome, last.by) == ("halt", "proven", "ladder exhausted")


def test_a_level_that_switches_trading_on_again_is_stopped_and_the_halt_runs_again(harness: RollbackHarness) -> None:
    """As one would that brings an older file back, in which trading was on."""
    levels = [{"name": "old-file", "steps": [flag_step(TRADING=True, MODEL=1)]}]
    prepare(harness).plans["ladder"] = make_repair(before=[], levels=levels)
    run, halt = harness.queue_run(), harness.queue_run("safe", by="rule streak")

    harness.run_to_end()

    assert harness.get_run(halt).outcome == "proven"
    assert harness.get_run(run).outcome == "stopped"
    assert "no longer so: set TRADING = false in config.py; safe runs again" in harness.get_run(run).reason
    again = harness.get_run(max(run, halt) + 1)
    assert (again.plan, again.outcome) == ("safe", "proven")
    assert harness.config_values()["TRADING"] == "False"


def test_what_a_person_has_switched_on_behind_the_halt_stops_the_repair_before_its_next_level(
    harness: RollbackHarness,
) -> None:
    prepare(harness, before=False)
    run, _ = harness.queue_run(), harness.queue_run("safe", by="rule streak")
    config = harness.folder / "bot" / "config.py"

    def meddle(verb: str, say: str) -> None:
        if verb == "state" and "FEATURE" in say:
            harness.before_call = lambda *_: None
            config.write_text(config.read_text().replace("TRADING = False", "TRADING = True"))

    harness.before_call = meddle
    harness.run_to_end()

    assert harness.get_run(run).outcome == "stopped"
    assert harness.config_values()["MODEL"] == "2"


def test_a_revert_behind_the_halt_keeps_what_the_halt_has_switched_off(harness: RollbackHarness) -> None:
    """Its file comes back in one rename: trading is on at no moment."""
    prepare(harness).deploy_v2("MODEL = 2", "MODEL = 3")
    harness.errors_outcome = lambda config: "bad" if config["MODEL"] == "3" else "ok"
    levels = [{"name": "version", "steps": [{"do": "git", "revert": "v2"}]}]
    harness.plans["ladder"] = make_repair(before=[], levels=levels)
    run, halt = harness.queue_run(), harness.queue_run("safe", by="rule streak")

    harness.run_to_end()

    assert harness.get_run(halt).outcome == "proven"
    assert harness.get_run(run).outcome == "proven", harness.get_run(run).reason
    assert "kept TRADING = false" in harness.steps(run)[-1].detail
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "True", "MODEL": "2"}


def test_a_halt_that_edits_a_file_of_a_reverted_commit_is_not_taken_for_somebody_else(
    harness: RollbackHarness,
) -> None:
    prepare(harness).deploy_v2("FEATURE = True", "FEATURE = 7")
    levels = [
        {"name": "version", "steps": [{"do": "git", "revert": "v2"}]},
        {"name": "model", "steps": [flag_step(MODEL=1)]},
    ]
    harness.plans["ladder"] = make_repair(before=[], levels=levels)
    run = harness.queue_run()

    asyncio.run(halt_when(harness, lambda: len(harness.applied_steps) == 1))

    assert harness.get_run(run).outcome == "proven", harness.get_run(run).reason
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "True", "MODEL": "1"}


# ─ people, and the watch ─


def test_a_repair_that_waits_for_approval_goes_on_waiting_behind_the_halt(harness: RollbackHarness) -> None:
    prepare(harness).plans["ladder"] = make_repair(mode="approve", approve_within="10m")
    run = harness.queue_run()

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(run).approve_by)
        halt = harness.queue_run("safe", by="rule streak")
        await harness.advance_until(lambda: harness.get_run(halt).ended)
        assert harness.get_run(run).status == "queued"
        with harness.journal.transaction() as tx:
            tx.runs.update_run(run, approval="approved")
        await harness.advance_until(lambda: not harness.open_runs())
        await harness.stop()

    asyncio.run(play())

    assert harness.get_run(run).outcome == "proven"
    assert harness.config_values() == REPAIRED


def test_the_watch_behind_a_halt_is_over_when_a_person_resumes(harness: RollbackHarness) -> None:
    prepare(harness).plans["ladder"] = make_repair(verify={**VERIFY_OPTIONS, "watch": "6h"})
    run = harness.queue_run()
    harness.queue_run("safe", by="rule streak")

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(run).status == "watching")
        with harness.journal.transaction() as tx:
            tx.targets.update_target("bot", latched=None, latch_why=None)
            tx.incidents.close_incident(harness.get_run(run).incident or 0, harness.now)
        await harness.advance_until(lambda: harness.get_run(run).ended)
        await harness.stop()

    asyncio.run(play())

    assert harness.get_run(run).outcome == "proven"
    assert "a person has resumed the bot" in harness.get_run(run).reason
    assert "what safe switched off stays off" in lines_of(harness, "bot: ladder: repaired")
    assert harness.config_values()["TRADING"] == "False"


def test_a_relapse_within_the_watch_behind_a_halt_goes_one_level_up(harness: RollbackHarness) -> None:
    verify = {**VERIFY_OPTIONS, "watch": "1h"}
    prepare(harness).plans["ladder"] = make_repair(verify=verify)
    harness.errors_outcome = lambda config: (
        "bad" if config["FEATURE"] == "False" and config["MODEL"] == "2" and relapsed else "ok"
    )
    relapsed = False
    run = harness.queue_run()
    harness.queue_run("safe", by="rule streak")

    async def play() -> None:
        nonlocal relapsed
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(run).status == "watching")
        relapsed = True
        await harness.advance_until(lambda: harness.get_run(run).level == 1)
        await harness.advance_until(lambda: harness.get_run(run).status == "watching")
        await harness.stop()

    asyncio.run(play())

    assert harness.config_values() == REPAIRED


# ─ a death at any point ─


@pytest.mark.slow
def test_wherever_it_dies_the_bot_is_made_safe_first_and_repaired_behind_it(make_folder: Callable[[], Path]) -> None:
    def made() -> RollbackHarness:
        harness = prepare(RollbackHarness(make_folder()), before=False)
        harness.queue_run()
        return harness

    def crash_and_halt(harness: RollbackHarness) -> RollbackHarness:
        """Its first level is under way when the halt trips."""
        heir = crash_at_point(harness, f"after {FIRST_LEVEL_STEP.removeprefix('before ')}")
        heir.queue_run("safe", by="rule streak")
        return heir

    whole = crash_and_halt(made())
    start = len(whole.crash_points.passed)
    whole.run_to_end()
    points = whole.crash_points.passed[start:]
    assert len(points) > 20

    for number, point in enumerate(points, 1):
        first = crash_and_halt(made())
        first.crash_points.crash_after = number
        assert first.crashes(), point
        heir = restart(first)
        heir.run_to_end()

        run, halt = heir.get_run(1), heir.get_run(2)
        assert [run.outcome, halt.outcome] == ["proven", "proven"], point
        assert heir.step_outcomes(2) == [NO_ENTRIES_STEP], point
        assert {step.status for step in heir.steps(1)} == {"done"}, point
        assert heir.config_values() == REPAIRED, point
        assert heir.latch_reason() == "halt safe", point
        assert first.changed_steps + heir.changed_steps == whole.changed_steps, point
        assert set(heir.message_titles()) == set(whole.message_titles()), point
        heir.journal.close()
    whole.journal.close()
