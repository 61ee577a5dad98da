"""A death at any point: each effect happens once, and what nobody can tell is left to a person."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollback.harness import (
    CONFIG_PY,
    FIRST_LEVEL_STEP,
    LADDER_STEPS,
    RollbackHarness,
    command_step,
    crash_at_point,
    flag_step,
    make_repair,
    restart,
)
from watchdog.journal.runs import SqlRunWriter, Step

pytestmark = pytest.mark.slow

# ─ a death at any point ─


@pytest.mark.slow
def test_wherever_it_dies_each_effect_happens_once_and_the_end_is_the_same(make_folder: Callable[[], Path]) -> None:
    whole = RollbackHarness(make_folder())
    run = whole.queue_run()
    start = len(whole.crash_points.passed)
    whole.run_to_end()
    points = whole.crash_points.passed[start:]
    assert len(points) > 25

    for number, point in enumerate(points, 1):
        first = RollbackHarness(make_folder())
        first.queue_run()
        first.crash_points.crash_after = number
        assert first.crashes(), point
        heir = restart(first)
        heir.run_to_end()

        assert heir.get_run(run).outcome == "proven", point
        assert heir.get_run(run).level == 1, point
        assert [step[:3] for step in heir.step_outcomes(run)] == [step[:3] for step in LADDER_STEPS], point
        assert {step.status for step in heir.steps(run)} == {"done"}, point
        assert heir.config_values() == whole.config_values(), point
        assert first.changed_steps + heir.changed_steps == whole.changed_steps, point
        assert heir.latch_reason() is None, point
        assert set(heir.message_titles()) == set(whole.message_titles()), point
        heir.journal.close()
    whole.journal.close()


@pytest.mark.slow
def test_wherever_it_dies_a_ladder_of_no_use_ends_in_one_halt_and_a_latch(make_folder: Callable[[], Path]) -> None:
    def made() -> RollbackHarness:
        harness = RollbackHarness(make_folder())
        harness.errors_outcome = lambda _: "bad"
        harness.queue_run()
        return harness

    whole = made()
    start = len(whole.crash_points.passed)
    whole.run_to_end()
    points = whole.crash_points.passed[start:]

    for number, point in enumerate(points, 1):
        first = made()
        first.crash_points.crash_after = number
        assert first.crashes(), point
        heir = restart(first)
        heir.run_to_end()

        listed = [heir.get_run(row[0]) for row in heir.journal.query("SELECT id FROM run ORDER BY id")]
        assert [(one.plan, one.outcome) for one in listed] == [("ladder", "exhausted"), ("halt", "proven")], point
        assert (
            heir.config_values() == whole.config_values() == {"TRADING": "False", "FEATURE": "False", "MODEL": "1"}
        ), point
        assert heir.latch_reason(), point
        assert not [step for one in listed for step in heir.steps(one.id) if step.status == "started"], point
        heir.journal.close()
    whole.journal.close()


def test_wherever_it_dies_a_command_that_can_be_checked_runs_once(make_folder: Callable[[], Path]) -> None:
    def made() -> RollbackHarness:
        harness = RollbackHarness(make_folder())
        harness.errors_outcome = lambda _: "ok"
        harness.plans["ladder"] = make_repair(
            before=[], proven=[], levels=[{"name": "script", "steps": [command_step("done")]}]
        )
        harness.queue_run()
        return harness

    whole = made()
    start = len(whole.crash_points.passed)
    whole.run_to_end()

    for number in range(1, len(whole.crash_points.passed) - start + 1):
        first = made()
        first.crash_points.crash_after = number
        assert first.crashes()
        heir = restart(first)
        heir.run_to_end()

        assert heir.effects() == ["done"], number
        assert heir.get_run(1).outcome == "proven", number
        heir.journal.close()
    whole.journal.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_revert_that_was_cut_off_is_made_once(harness: RollbackHarness, when: str) -> None:
    place = harness.deploy_v2("MODEL = 2", "MODEL = 3")
    harness.errors_outcome = lambda config: "bad" if config["MODEL"] == "3" else "ok"
    harness.plans["ladder"] = make_repair(levels=[{"name": "version", "steps": [{"do": "git", "revert": "v2"}]}])
    run = harness.queue_run()

    heir = crash_at_point(harness, f"{when} git revert v2")
    assert [step[3] for step in heir.step_outcomes(run)] == ["done", "started"]
    heir.run_to_end()

    subjects = subprocess.run(["git", "log", "--format=%s"], cwd=place, check=True, capture_output=True, text=True)
    assert subjects.stdout.splitlines() == ['Revert "v2"', "v2", "v1"]
    assert heir.get_run(run).outcome == "proven"
    assert heir.config_values() == {"TRADING": "True", "FEATURE": "True", "MODEL": "2"}
    heir.journal.close()


def test_a_step_that_the_world_says_did_not_happen_is_done_again(harness: RollbackHarness) -> None:
    run = harness.queue_run()

    heir = crash_at_point(harness, FIRST_LEVEL_STEP)
    assert heir.step_outcomes(run)[-1][3] == "started"
    heir.run_to_end()

    assert heir.get_run(run).outcome == "proven"
    assert heir.applied_steps.count("set FEATURE = false in config.py") == 1
    heir.journal.close()


def test_a_step_that_the_world_says_has_happened_is_not_done_again(harness: RollbackHarness) -> None:
    run = harness.queue_run()

    heir = crash_at_point(harness, "after set FEATURE = false in config.py")
    assert heir.step_outcomes(run)[-1][3] == "started"
    heir.run_to_end()

    assert heir.step_outcomes(run) == LADDER_STEPS
    assert "set FEATURE = false in config.py" not in heir.applied_steps
    heir.journal.close()


def test_a_step_after_which_the_world_is_other_stops_latches_and_pages(harness: RollbackHarness) -> None:
    run = harness.queue_run()

    heir = crash_at_point(harness, FIRST_LEVEL_STEP)
    config = heir.folder / "bot" / "config.py"
    config.write_text(config.read_text().replace("FEATURE = True", "FEATURE = 7"))
    heir.run_to_end()

    assert heir.get_run(run).outcome == "stopped"
    assert heir.step_outcomes(run)[-1] == ("level", 0, "set FEATURE = false in config.py", "unknown")
    assert heir.config_values()["FEATURE"] == "7"
    assert "other" in (heir.latch_reason() or "")
    assert "other than before or after it" in heir.critical_messages()[-1]
    heir.journal.close()


def test_a_step_of_which_nobody_can_tell_whether_it_happened_stops_latches_and_pages(harness: RollbackHarness) -> None:
    blindly = {"do": "command", "run": ["sh", "-c", "echo once >> effects"]}
    harness.plans["ladder"] = make_repair(
        levels=[{"name": "blind", "steps": [blindly]}, {"name": "next", "steps": [flag_step(MODEL=1)]}]
    )
    run = harness.queue_run()

    heir = crash_at_point(harness, "after run sh -c 'echo once >> effects'")
    heir.run_to_end()

    assert heir.get_run(run).outcome == "stopped"
    assert heir.effects() == ["once"]
    assert heir.config_values()["MODEL"] == "2"
    assert heir.latch_reason()
    assert "cannot be told" in heir.critical_messages()[-1]
    heir.journal.close()


def test_what_nobody_can_tell_stays_so_when_the_next_process_dies_in_saying_it(harness: RollbackHarness) -> None:
    """The step stands as unknown, and the run is not over: the ladder must not climb on from there."""
    blindly = {"do": "command", "run": ["sh", "-c", "echo once >> effects"]}
    harness.plans["ladder"] = make_repair(
        levels=[{"name": "blind", "steps": [blindly]}, {"name": "next", "steps": [flag_step(MODEL=1)]}]
    )
    run = harness.queue_run()
    heir = crash_at_point(harness, "after run sh -c 'echo once >> effects'")
    for number in range(1, 20):
        heir.crash_points.crash_after = number
        assert heir.crashes(), "it ended before the step stood as unknown"
        heir = restart(heir)
        if heir.step_outcomes(run)[-1][3] == "unknown":
            break
    assert heir.get_run(run).ended is None
    heir.run_to_end()

    assert heir.get_run(run).outcome == "stopped"
    assert heir.config_values()["MODEL"] == "2"
    assert heir.latch_reason()
    heir.journal.close()


def test_what_is_found_out_in_one_life_is_not_half_written_down(harness: RollbackHarness) -> None:
    """A level whose steps all hold stays one, also when the watchdog dies in finding that out."""
    harness.make_target()
    (harness.folder / "bot" / "config.py").write_text(CONFIG_PY.replace("FEATURE = True", "FEATURE = False"))
    harness.queue_run()
    points = 0
    while True:
        points += 1
        harness.crash_points.crash_after = points
        if not harness.crashes():
            break
        harness = restart(harness)
        assert [step for step in harness.step_outcomes(1) if step[2].startswith("set FEATURE")] in (
            [],
            [("level", 0, "set FEATURE = false in config.py", "skipped")],
        )
    assert points > 3


# ─ a power cut ─


@pytest.mark.parametrize("plan", ["ladder", "halt"])
def test_the_disk_is_waited_for_before_anything_is_done(
    harness: RollbackHarness, monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    """What came before `started` may be written without waiting; it is flushed together with it."""
    harness.journal.query("PRAGMA synchronous=FULL")
    starts, waits = SqlRunWriter.start_step, []

    def start_step(writer: SqlRunWriter, step: Step) -> None:
        waits.append(harness.journal.query("PRAGMA synchronous")[0][0])
        starts(writer, step)

    monkeypatch.setattr(SqlRunWriter, "start_step", start_step)
    run = harness.queue_run(plan)

    harness.run_to_end()

    assert waits == [2] * len(harness.steps(run))
    assert harness.get_run(run).outcome == "proven"
