"""A person wants the next level now: at the next boundary, once, and over a crash."""

from __future__ import annotations

import asyncio

import pytest

from tests.rollback.harness import (
    LADDER_STEPS,
    VERIFY_OPTIONS,
    RollbackHarness,
    command_step,
    crash_at_point,
    make_repair,
    restart,
)
from watchdog.journal.runs import NEXT_LEVEL_MARK
from watchdog.rollback.runner import RollbackRunner

WHO = "ann (chat tg): no use"


def want_next(harness: RollbackHarness, run: int, level: int) -> None:
    marks = harness.get_run(run).marks
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run, marks={**marks, NEXT_LEVEL_MARK: {"level": level, "who": WHO}})


def test_a_level_that_is_still_verified_is_given_up_for_the_next_one(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(verify=VERIFY_OPTIONS | {"quiet": "1h", "give_up": "2h"})
    harness.errors_outcome = lambda _: "ok"
    run = harness.queue_run()

    async def play() -> None:
        harness.rollback = RollbackRunner(harness._make_context())
        harness.start_targets()
        await harness.advance_until(lambda: harness.step_outcomes(run) == LADDER_STEPS[:2])
        want_next(harness, run, 0)
        harness.rollback.wake()
        await harness.advance_until(lambda: harness.step_outcomes(run) == LADDER_STEPS[:4])
        await harness.stop()

    asyncio.run(play())

    assert harness.get_run(run).level == 1
    assert harness.message_titles() == ["bot: ladder: level feature disproven, level version starts"]
    (lines,) = harness.journal.query("SELECT lines FROM message ORDER BY id LIMIT 1")[0]
    assert f"given up for the next level by {WHO}" in lines


def test_what_was_wanted_of_another_level_gives_none_up(harness: RollbackHarness) -> None:
    run = harness.queue_run()
    want_next(harness, run, 1)

    harness.run_to_end()

    assert harness.get_run(run).outcome == "proven"
    assert harness.step_outcomes(run) == LADDER_STEPS


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_step_that_a_crash_cut_off_is_looked_at_before_the_level_is_given_up(
    harness: RollbackHarness, point: str
) -> None:
    steps = {"name": "first", "steps": [command_step("one"), command_step("two")]}
    harness.plans["ladder"] = make_repair(
        before=[], proven=[], levels=[steps, {"name": "second", "steps": [command_step("three")]}]
    )
    harness.errors_outcome = lambda _: "ok"
    run = harness.queue_run()
    say = harness.plans["ladder"].levels[0].steps[0].describe()

    heir = crash_at_point(harness, f"{point} {say}")
    want_next(heir, run, 0)
    heir.run_to_end()

    assert heir.effects() == (["three"] if point == "before" else ["one", "three"])
    assert heir.get_run(run).outcome == "proven"
    statuses = [step[3] for step in heir.step_outcomes(run)]
    assert statuses == (["failed", "done"] if point == "before" else ["done", "done"])
    heir.journal.close()


def test_a_crash_after_it_was_given_up_tries_it_no_more(harness: RollbackHarness) -> None:
    """Wherever the process dies from then on."""
    harness.plans["ladder"] = make_repair(
        levels=[
            {"name": "first", "steps": [command_step("one")]},
            {"name": "second", "steps": [command_step("two")]},
        ]
    )
    harness.errors_outcome = lambda _: "ok"
    run = harness.queue_run()
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run, status="running")
    want_next(harness, run, 0)
    deaths = 0
    while True:
        harness.crash_points.crash_after = 4
        died = harness.crashes()
        if not died:
            break
        deaths += 1
        harness = restart(harness)

    heir = RollbackHarness(harness.folder, now=harness.now)
    assert deaths > 2
    assert heir.effects() == ["two"]
    assert heir.get_run(run).outcome == "proven"
    heir.journal.close()
