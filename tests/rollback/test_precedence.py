"""Who goes first: halts, and what they overtake; several targets; runs that cannot be carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.rollback.harness import (
    FIRST_LEVEL_STEP,
    NO_ENTRIES_STEP,
    START,
    RollbackHarness,
    crash_at_point,
    make_repair,
)

# ─ who goes first ─


async def queue_second_run(
    harness: RollbackHarness, run: int, when: Callable[[], object], *, plan: str = "halt"
) -> int:
    """A halt is queued as soon as it is `when`; both runs come to their ends. Returns the halt."""
    harness.start_targets()
    await harness.advance_until(when)
    halting = harness.queue_run(plan, by="rule drawdown")
    queued = harness.now
    await harness.advance_until_ended(run, halting)
    await harness.stop()
    assert not [step for step in harness.steps(run) if (step.started or 0) > queued]
    return halting


WAIT_POINTS: dict[str, tuple[str, Callable[[RollbackHarness], object]]] = {
    "it settles": ("settle", lambda harness: len(harness.applied_steps) == 2),
    "it waits for proof": ("verify", lambda harness: harness.now > START + 5_000),
    "it watches": ("watch", lambda harness: harness.get_run(1).status == "watching"),
}


@pytest.mark.parametrize("phase", WAIT_POINTS)
def test_a_halt_overtakes_a_repair_while(harness: RollbackHarness, phase: str) -> None:
    key, when = WAIT_POINTS[phase]
    harness.errors_outcome = lambda _: "nodata" if key == "verify" else "ok"
    verify = {"settle": "1m" if key == "settle" else "1s", "quiet": "1s", "give_up": "10m", "watch": "1h"}
    harness.plans["ladder"] = make_repair(verify=verify)
    run = harness.queue_run()

    halting = asyncio.run(queue_second_run(harness, run, lambda: when(harness)))

    assert harness.get_run(run).outcome == "overtaken"
    assert harness.get_run(halting).outcome == "proven"
    assert (harness.get_run(halting).ended or 0) - harness.get_run(halting).queued < 2_000
    assert harness.config_values()["TRADING"] == "False"
    assert harness.config_values()["MODEL"] == "2"
    assert harness.latch_reason() == "halt"


def test_a_halt_that_comes_while_a_step_looks_around_goes_before_that_step(harness: RollbackHarness) -> None:
    def meddle(verb: str, say: str) -> None:
        if verb == "capture" and "MODEL" in say:
            harness.before_call = lambda *_: None
            harness.queue_run("halt", by="rule drawdown")

    harness.before_call = meddle
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "overtaken"
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "False", "MODEL": "2"}
    assert harness.applied_steps[-1] == "set TRADING = false in config.py" or len(harness.applied_steps) == 2


@pytest.mark.parametrize("incident", [-1, None], ids=["of a rule", "of a person"])
def test_a_repair_that_waits_while_a_halt_runs_does_not_run_afterwards(
    harness: RollbackHarness, incident: int | None
) -> None:
    waits = harness.queue_run(by="rule errors" if incident else "person ada", incident=incident)
    halting = harness.queue_run("halt")

    harness.run_to_end()

    assert harness.get_run(halting).outcome == "proven"
    assert (harness.get_run(waits).outcome, harness.get_run(waits).reason) == (
        "overtaken",
        "latched meanwhile: halt",
    )
    assert harness.steps(waits) == []
    assert harness.config_values()["FEATURE"] == "True"
    assert "bot: ladder overtaken" in harness.message_titles()


@pytest.mark.parametrize("incident", [-1, None], ids=["of a rule", "of a person"])
@pytest.mark.parametrize(("cut", "status"), [("before", "failed"), ("after", "done")])
def test_at_boot_a_halt_goes_before_a_repair_that_was_cut_off_and_which_then_ends(
    harness: RollbackHarness, cut: str, status: str, incident: int | None
) -> None:
    run = harness.queue_run(by="rule errors" if incident else "person ada", incident=incident)
    heir = crash_at_point(harness, f"{cut} set FEATURE = false in config.py")
    halting = heir.queue_run("halt")

    heir.run_to_end()

    assert heir.get_run(halting).outcome == "proven"
    assert heir.get_run(run).outcome == "overtaken"
    assert heir.step_outcomes(run)[-1] == ("level", 0, "set FEATURE = false in config.py", status)
    assert heir.applied_steps == []  # the row before the levels has stopped trading already
    heir.journal.close()


def test_at_boot_a_cut_off_step_of_an_overtaken_repair_that_nobody_can_tell_is_paged(harness: RollbackHarness) -> None:
    run = harness.queue_run()
    heir = crash_at_point(harness, FIRST_LEVEL_STEP)
    config = heir.folder / "bot" / "config.py"
    config.write_text(config.read_text().replace("FEATURE = True", "FEATURE = 7"))
    halting = heir.queue_run("halt")

    heir.run_to_end()

    assert heir.get_run(halting).outcome == "proven"
    assert heir.get_run(run).outcome == "stopped"
    assert heir.step_outcomes(run)[-1][3] == "unknown"
    assert (
        "set FEATURE = false in config.py was cut off by a crash, and the world is other"
        in heir.critical_messages()[-1]
    )
    heir.journal.close()


def test_a_repair_of_a_person_that_waits_does_not_run_once_the_first_one_has_latched(harness: RollbackHarness) -> None:
    harness.errors_outcome = lambda _: "bad"
    harness.plans["ladder"] = make_repair(exhausted="leave-running")
    first, second = harness.queue_run(), harness.queue_run(by="person ada", incident=None)
    with harness.journal.transaction() as tx:
        tx.runs.update_run(first, status="running")

    harness.run_to_end()

    assert harness.get_run(first).outcome == "exhausted"
    assert harness.get_run(second).outcome == "overtaken"
    assert harness.steps(second) == []


def test_two_plans_that_trip_in_one_tick_start_with_the_halt(harness: RollbackHarness) -> None:
    run, halting = harness.queue_run(), harness.queue_run("halt")
    began = []
    harness.before_call = lambda _, say: began.append(say)

    harness.run_to_end()

    assert began[0] == "set TRADING = false in config.py"
    assert harness.step_outcomes(halting) == [NO_ENTRIES_STEP]
    assert harness.step_outcomes(run) == []


def test_two_targets_are_repaired_at_once(harness: RollbackHarness) -> None:
    harness.plans["slow"] = make_repair(verify={"settle": "1h", "quiet": "1s", "give_up": "2h"})
    slow, quick = harness.queue_run("slow", "one"), harness.queue_run("ladder", "two")

    harness.run_to_end(quick)

    assert harness.get_run(quick).outcome == "proven"
    assert harness.get_run(slow).status == "running"
    assert len(harness.steps(slow)) == 2


def test_a_plan_text_that_cannot_be_read_stops_its_run_and_nothing_else(harness: RollbackHarness) -> None:
    strange, other = harness.queue_run(text='{"kind": "ramp"}'), harness.queue_run(target="other")
    harness.run_to_end()
    halting = harness.queue_run("halt")
    harness.run_to_end()

    assert harness.get_run(strange).outcome == "stopped"
    assert (harness.latch_reason() or "").startswith("ladder stopped: its text in the journal cannot be read")
    assert any("ladder stopped" in page for page in harness.critical_messages())
    assert harness.get_run(other).outcome == "proven"
    assert harness.get_run(halting).outcome == "proven"
    assert harness.config_values()["TRADING"] == "False"


def test_a_mistake_in_an_action_stops_the_run_with_nothing_left_open(harness: RollbackHarness) -> None:
    def meddle(verb: str, say: str) -> None:
        if verb == "apply" and "FEATURE" in say:
            raise ZeroDivisionError

    harness.before_call = meddle
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "stopped"
    assert "internal error: ZeroDivisionError" in harness.get_run(run).reason
    assert harness.step_outcomes(run)[-1][3] == "unknown"
    assert harness.latch_reason()
