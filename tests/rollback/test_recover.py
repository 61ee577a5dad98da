"""Back to work in stages: each proven, the next only when quiet; one that trips is taken back, and the target latched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.rollback.harness import RollbackHarness, command_step, flag_step, make_halt, make_repair, restart
from watchdog.core.target import Target
from watchdog.plans.models import serialize_plan

VERIFY_QUIET = {"that": ["alive == 1"], "quiet": "2s", "give_up": "10s"}
STAGES = [
    {"name": "small", "steps": [flag_step("other.yaml", size=1), command_step("restarted")], "verify": VERIFY_QUIET},
    {"name": "trading", "steps": [flag_step(TRADING=True)], "verify": VERIFY_QUIET},
]


def queue_recovery(harness: RollbackHarness, **said: Any) -> int:
    """A halt was resumed: its stages are to be carried out."""
    harness.plans["halt"] = make_halt(**{"recover": STAGES, **said})
    place = harness.make_target()
    (place / "config.py").write_text((place / "config.py").read_text().replace("TRADING = True", "TRADING = False"))
    with harness.journal.transaction() as tx:
        return tx.runs.queue_run(
            incident=None,
            target="bot",
            plan="halt",
            kind="repair",
            text=serialize_plan(harness.plans["halt"]),
            place=Target(repo=str(place)).model_dump_json(include={"repo"}),
            by="person ann",
            now=harness.now,
            part="recover",
        )


def recovery_steps(harness: RollbackHarness, number: int) -> list[tuple[str, int, str]]:
    return [(step.phase, step.level, step.status) for step in harness.steps(number)]


def test_after_resume_each_stage_is_proven_before_the_next_one_starts(harness: RollbackHarness) -> None:
    number = queue_recovery(harness)
    seen: list[tuple[str, int]] = []
    harness.condition_result = lambda _: bool(seen.append((harness.config_values()["TRADING"], harness.now))) or True  # type: ignore[func-returns-value]

    harness.run_to_end()

    assert (harness.get_run(number).outcome, harness.latch_reason()) == ("proven", None)
    assert recovery_steps(harness, number) == [("recover", 0, "done"), ("recover", 0, "done"), ("recover", 1, "done")]
    waited = [now for trading, now in seen if trading == "False"]
    assert waited[-1] - waited[0] >= 2_000
    assert harness.config_values()["TRADING"] == "True"


def test_a_stage_during_which_a_rule_trips_is_taken_back_and_the_target_is_latched(harness: RollbackHarness) -> None:
    number = queue_recovery(harness)
    harness.tripped_rule = lambda: "drawdown" if harness.config_values()["TRADING"] == "True" else None

    harness.run_to_end()

    assert harness.get_run(number).outcome == "stopped"
    assert harness.get_run(number).reason == "stage trading: disproven: drawdown tripped; it was taken back"
    assert harness.config_values()["TRADING"] == "False"
    assert (harness.folder / "bot" / "other.yaml").read_text() == "size: 1\n"  # the stage before it stays
    assert "drawdown tripped" in (harness.latch_reason() or "")
    assert any("stage trading goes back" in page for page in harness.critical_messages())


def test_a_stage_that_found_all_as_it_wants_it_is_not_said_to_be_taken_back(harness: RollbackHarness) -> None:
    number = queue_recovery(harness, recover=[STAGES[1]])
    path = harness.folder / "bot" / "config.py"
    path.write_text(path.read_text().replace("TRADING = False", "TRADING = True"))  # by who aborted the stage before
    harness.tripped_rule = lambda: "drawdown"

    harness.run_to_end()

    assert harness.config_values()["TRADING"] == "True"
    said = "stage trading: disproven: drawdown tripped; it had changed nothing, so nothing was taken back"
    assert harness.get_run(number).reason == said


def test_a_stage_that_cannot_be_proven_is_taken_back_with_its_restarts(harness: RollbackHarness) -> None:
    number = queue_recovery(harness)
    harness.condition_result = lambda _: None

    harness.run_to_end()

    assert harness.get_run(number).outcome == "stopped"
    assert (harness.folder / "bot" / "other.yaml").read_text() == "size: 5\n"
    assert next(step.say for step in harness.steps(number) if step.phase == "back").startswith("put back")
    assert len([step for step in harness.steps(number) if step.phase == "back"]) == 2


def test_what_a_stage_put_away_is_back_once_it_is_taken_back_and_is_not_put_away_again(
    harness: RollbackHarness,
) -> None:
    state = harness.folder / "bot" / "state.json"
    archive = {"do": "archive", "paths": ["state.json"], "into": "archives"}
    stage = {"name": "fresh", "steps": [archive], "verify": VERIFY_QUIET}
    number = queue_recovery(harness, recover=[stage])
    state.write_text("{}\n")
    harness.condition_result = lambda _: None

    harness.run_to_end()

    assert harness.get_run(number).reason.endswith("it was taken back")
    assert state.read_text() == "{}\n"
    assert not list((state.parent / "archives").iterdir())


def test_a_halt_goes_ahead_of_the_way_back(harness: RollbackHarness) -> None:
    number = queue_recovery(harness)

    def that(_: str) -> None:
        if harness.open_runs() == [number]:
            harness.queue_run("halt", incident=None)

    harness.condition_result = that

    harness.run_to_end(number)

    assert harness.get_run(number).outcome == "overtaken"


def test_a_repair_goes_back_to_work_in_stages_after_it_helped(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(
        recover=[{"name": "size", "steps": [flag_step("other.yaml", size=9)], "verify": VERIFY_QUIET}]
    )
    number = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven"
    assert ("recover", 1, "done") in recovery_steps(harness, number)
    assert (harness.folder / "bot" / "other.yaml").read_text() == "size: 9\n"


def test_a_repair_whose_way_back_trips_stops_and_latches(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(
        recover=[{"name": "size", "steps": [flag_step("other.yaml", size=9)], "verify": VERIFY_QUIET}]
    )
    harness.tripped_rule = lambda: "drawdown" if "9" in (harness.folder / "bot" / "other.yaml").read_text() else None
    number = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(number).outcome == "stopped"
    assert harness.latch_reason() is not None
    assert (harness.folder / "bot" / "other.yaml").read_text() == "size: 1\n"


def trips_while_trading(harness: RollbackHarness) -> str | None:
    return "drawdown" if harness.config_values()["TRADING"] == "True" else None


@pytest.mark.parametrize("trips", [False, True])
@pytest.mark.slow
def test_wherever_it_dies_the_end_is_the_same(make_folder: Callable[[], Path], trips: bool) -> None:
    for n in range(1, 60):
        harness = RollbackHarness(make_folder())
        number = queue_recovery(harness)
        harness.tripped_rule = partial(trips_while_trading, harness) if trips else lambda: None
        harness.crash_points.crash_after = n
        died = harness.crashes()
        heir = restart(harness)
        heir.tripped_rule = partial(trips_while_trading, heir) if trips else lambda: None
        heir.run_to_end()
        assert heir.get_run(number).outcome == ("stopped" if trips else "proven"), n
        assert heir.config_values()["TRADING"] == ("False" if trips else "True"), n
        assert heir.effects().count("restarted") == 1
        heir.journal.close()
        if not died:
            return
    raise AssertionError("it never came to its end alive")


def test_a_stage_says_how_long_all_must_be_quiet() -> None:
    with pytest.raises(ValidationError, match="stage small has no quiet"):
        make_halt(recover=[{"name": "small", "steps": [flag_step(TRADING=True)], "verify": {"that": ["alive == 1"]}}])
