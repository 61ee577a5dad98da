"""What a plan has left switched off, stopped or reverted stands until it is put back, by whomever: the world says so."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.rollback.harness import RollbackHarness, command_step, flag_step, make_halt, make_repair
from watchdog.core.errors import ActionError
from watchdog.core.executor import DirectExecutor
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.journal.serialization import to_json
from watchdog.plans.models import serialize_plan
from watchdog.rollback.standing import (
    describe_standing,
    find_standing,
    list_traces,
    touched_things,
    unseen_changes,
)

VERIFY_QUIET = {"that": ["alive == 1"], "quiet": "1s", "give_up": "10s"}


def standing_lines(harness: RollbackHarness, incident: int | None = None) -> list[str]:
    target = Target(repo=str(harness.folder / "bot"))
    return describe_standing(find_standing(harness.journal, "bot", target, DirectExecutor(), incident))


def edit_config(harness: RollbackHarness, old: str, new: str) -> None:
    file = harness.folder / "bot" / "config.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def halt_bot(harness: RollbackHarness, *steps: Any, recover: Sequence[Any] = (), **queued: Any) -> int:
    levels = [{"name": "safe", "steps": steps or [flag_step(TRADING=False)], "verify": {"that": ["alive == 1"]}}]
    harness.plans["halt"] = make_halt(levels=levels, recover=recover)
    number = harness.queue_run("halt", **{"by": "person ann", "incident": None, **queued})
    harness.run_to_end(number)
    return number


def run_recovery(harness: RollbackHarness) -> int:
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=None, latch_why=None)
        number = tx.runs.queue_run(
            incident=None,
            target="bot",
            plan="halt",
            kind="repair",
            text=serialize_plan(harness.plans["halt"]),
            place=Target(repo=str(harness.folder / "bot")).model_dump_json(include={"repo"}),
            by="person ann",
            now=harness.now,
            part="recover",
        )
    harness.run_to_end(number)
    return number


def test_nothing_stands_where_no_plan_has_acted(harness: RollbackHarness) -> None:
    harness.make_target()

    assert standing_lines(harness) == []


def test_what_a_halt_has_switched_off_stands(harness: RollbackHarness) -> None:
    number = halt_bot(harness)

    (one,) = find_standing(harness.journal, "bot", Target(repo=str(harness.folder / "bot")), DirectExecutor())

    assert (one.run, one.plan, one.step, one.incident) == (number, "halt", "set TRADING = false in config.py", None)
    assert (one.how, one.what, one.unseen) == ("off", "TRADING", None)
    assert one.by_hand == "TRADING = True in config.py, then restart the bot"
    assert one.since == harness.steps(number)[0].ended


def test_what_a_person_has_put_back_stands_no_more_and_does_again_when_it_is_off_again(
    harness: RollbackHarness,
) -> None:
    halt_bot(harness)

    edit_config(harness, "TRADING = False", "TRADING = True")
    assert standing_lines(harness) == []

    halt_bot(harness)
    assert standing_lines(harness) == ["off: TRADING"]


def test_what_the_way_back_has_switched_on_again_stands_no_more(harness: RollbackHarness) -> None:
    halt_bot(harness, recover=[{"name": "trading", "steps": [flag_step(TRADING=True)], "verify": VERIFY_QUIET}])
    assert standing_lines(harness) == ["off: TRADING"]

    assert harness.get_run(run_recovery(harness)).outcome == "proven"

    assert standing_lines(harness) == []
    edit_config(harness, "TRADING = True", "TRADING = False")
    assert standing_lines(harness) == []  # a person's own doing


def test_a_stage_that_was_taken_back_has_put_nothing_back(harness: RollbackHarness) -> None:
    halt_bot(harness, recover=[{"name": "trading", "steps": [flag_step(TRADING=True)], "verify": VERIFY_QUIET}])
    harness.tripped_rule = lambda: "drawdown" if harness.config_values()["TRADING"] == "True" else None

    assert harness.get_run(run_recovery(harness)).outcome == "stopped"

    assert harness.config_values()["TRADING"] == "False"
    assert standing_lines(harness) == ["off: TRADING"]


def test_a_smaller_number_of_a_first_stage_stands_until_a_later_stage_has_set_it_back(harness: RollbackHarness) -> None:
    small = {"name": "small", "steps": [flag_step(TRADING=True, MODEL=1)], "verify": VERIFY_QUIET}
    full = {"name": "full", "steps": [flag_step(MODEL=2)], "verify": VERIFY_QUIET}
    halt_bot(harness, recover=[small])
    run_recovery(harness)
    assert standing_lines(harness) == ["set: MODEL = 1 (was 2)"]

    harness.plans["halt"] = make_halt(recover=[small, full])
    harness.errors_outcome = lambda _: "ok"
    run_recovery(harness)

    assert harness.config_values() == {"TRADING": "True", "FEATURE": "True", "MODEL": "2"}
    assert standing_lines(harness) == []


def test_what_a_repair_has_switched_on_again_does_not_stand_and_what_helped_does(harness: RollbackHarness) -> None:
    number = harness.queue_run()
    harness.run_to_end(number)

    assert harness.get_run(number).outcome == "proven"
    assert standing_lines(harness) == ["off: FEATURE", "set: MODEL = 1 (was 2), size = 1 (was 5)"]
    assert standing_lines(harness, incident=harness.get_run(number).incident) == standing_lines(harness)
    assert standing_lines(harness, incident=99) == []


def test_what_a_repair_switched_off_ahead_of_its_levels_stands_when_it_stopped(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(
        exhausted="leave-running", levels=[{"name": "feature", "steps": [flag_step(FEATURE=False)]}]
    )
    number = harness.queue_run()
    harness.run_to_end(number)

    assert harness.get_run(number).outcome == "exhausted"
    assert standing_lines(harness) == ["off: TRADING, FEATURE"]


def test_a_line_that_is_not_there_any_more_does_not_stand(harness: RollbackHarness) -> None:
    harness.run_to_end(harness.queue_run())

    edit_config(harness, "FEATURE = False\n", "")

    assert "off: FEATURE" not in standing_lines(harness)
    (harness.folder / "bot" / "other.yaml").unlink()
    assert standing_lines(harness) == ["set: MODEL = 1 (was 2)"]


def test_what_was_so_already_is_nobodys_but_who_made_it_so(harness: RollbackHarness) -> None:
    harness.make_target()
    edit_config(harness, "FEATURE = True", "FEATURE = False")

    halt_bot(harness, flag_step(TRADING=False, FEATURE=False))
    assert standing_lines(harness) == ["off: TRADING"]

    halt_bot(harness, flag_step(TRADING=False))  # skipped: it was off
    assert standing_lines(harness) == ["off: TRADING"]


def test_a_switch_that_is_on_to_make_it_safe_stands(harness: RollbackHarness) -> None:
    harness.make_target()
    (harness.folder / "bot" / "config.py").write_text("TRADING = True\nFEATURE = True\nMODEL = 2\nKILL = False\n")
    back = [{"name": "back", "steps": [flag_step(KILL=False)], "verify": VERIFY_QUIET}]

    halt_bot(harness, flag_step(KILL=True), recover=back)
    assert standing_lines(harness) == ["on: KILL"]

    run_recovery(harness)
    assert standing_lines(harness) == []


def test_what_a_command_says_that_it_leaves_stands_for_as_long_as_its_check_says_so(harness: RollbackHarness) -> None:
    halt_bot(harness, command_step("closed") | {"leaves": "entries are closed"}, command_step("flattened"))
    assert standing_lines(harness) == ["left: entries are closed"]

    (harness.folder / "bot" / "effects").unlink()

    assert standing_lines(harness) == []


def test_what_cannot_be_looked_at_is_never_nothing(harness: RollbackHarness) -> None:
    halt_bot(harness)

    shutil.rmtree(harness.folder / "bot")

    (line,) = standing_lines(harness)
    assert line.startswith("left off, and cannot be looked at: TRADING (there is no file ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("TRADING = False\n", "TRADING = False\nSIZE = (\n"),
        ("TRADING = False\n", "TRADING = False\nTRADING = False\n"),
        ("TRADING = False\n", "TRADING = False\nfrom local import *\n"),
        ("TRADING = False\n", "TRADING = False\x00\n"),
    ],
)
def test_a_file_whose_value_nobody_can_tell_is_not_one_that_somebody_has_put_back(
    harness: RollbackHarness, old: str, new: str
) -> None:
    halt_bot(harness)

    edit_config(harness, old, new)

    (line,) = standing_lines(harness)
    assert line.startswith("left off, and cannot be looked at: TRADING (")
    assert "unknown" not in line


def test_a_disk_that_is_not_mounted_is_not_a_file_that_was_removed(harness: RollbackHarness) -> None:
    halt_bot(harness)

    for file in (harness.folder / "bot").iterdir():
        file.unlink()

    (line,) = standing_lines(harness)
    assert "cannot be looked at: TRADING" in line


def test_an_owner_who_does_not_answer_is_said_in_his_words(harness: RollbackHarness) -> None:
    class Unreachable(DirectExecutor):
        def act_as_owner(self, action: Action, target: Target) -> Action:
            raise ActionError("there was no answer in time")

    halt_bot(harness)
    target = Target(repo=str(harness.folder / "bot"))

    lines = describe_standing(find_standing(harness.journal, "bot", target, Unreachable()))

    assert lines == ["left off, and cannot be looked at: TRADING (there was no answer in time)"]
    traces = list_traces(harness.journal, "bot", target)
    assert describe_standing(unseen_changes(traces, "there was no answer in time")) == lines


def test_each_step_is_looked_at_once_whatever_it_changed(harness: RollbackHarness) -> None:
    looked: list[JsonObject] = []

    class Counting(DirectExecutor):
        def act_as_owner(self, action: Action, target: Target) -> Action:
            looked.append({"action": action.describe()})
            return action

    halt_bot(harness, flag_step(TRADING=False, FEATURE=False, MODEL=1))
    target = Target(repo=str(harness.folder / "bot"))

    assert describe_standing(find_standing(harness.journal, "bot", target, Counting())) == [
        "off: TRADING, FEATURE",
        "set: MODEL = 1 (was 2)",
    ]
    assert len(looked) == 1


def test_a_step_of_which_nobody_knows_whether_it_happened_is_looked_at(harness: RollbackHarness) -> None:
    number = halt_bot(harness)
    with harness.journal.transaction() as tx:
        tx.runs.end_step(harness.steps(number)[0].id, "unknown", "nobody looked what became of it", harness.now)

    assert standing_lines(harness) == ["off: TRADING"]
    edit_config(harness, "TRADING = False", "TRADING = True")
    assert standing_lines(harness) == []


def test_what_was_done_where_the_target_is_no_longer_is_not_its_own(harness: RollbackHarness, tmp_path: Path) -> None:
    halt_bot(harness)

    moved = Target(repo=str(tmp_path / "elsewhere"))

    assert find_standing(harness.journal, "bot", moved, DirectExecutor()) == []
    (one,) = find_standing(harness.journal, "bot", None, DirectExecutor())  # no longer configured
    assert one.what == "TRADING"


def test_what_was_done_to_a_bot_under_another_name_is_still_so(harness: RollbackHarness) -> None:
    halt_bot(harness)
    place = Target(repo=str(harness.folder / "bot"))
    with harness.journal.transaction():  # as a target's run keeps it
        harness.journal.execute("UPDATE run SET place = ?", place.location())

    (one,) = find_standing(harness.journal, "renamed", place, DirectExecutor())

    assert (one.how, one.what) == ("off", "TRADING")


def test_what_an_undo_has_put_back_stands_no_more(harness: RollbackHarness) -> None:
    number = harness.queue_run()
    harness.run_to_end(number)
    incident = harness.get_run(number).incident
    with harness.journal.transaction() as tx:
        undo = tx.runs.queue_run(
            incident=incident,
            target="bot",
            plan=f"undo {incident}",
            kind="repair",
            part="undo",
            text=to_json({"incident": incident}),
            place=harness.get_run(number).place,
            by="person ann",
            now=harness.now,
        )
    harness.run_to_end(undo)

    assert harness.get_run(undo).outcome == "proven"
    assert standing_lines(harness) == []


@pytest.mark.parametrize(("file", "covered"), [("config.py", True), ("other.yaml", False)])
def test_it_is_known_whether_a_stage_would_put_it_back(harness: RollbackHarness, file: str, covered: bool) -> None:
    stage = {"name": "back", "steps": [flag_step(file, TRADING=True)], "verify": VERIFY_QUIET}
    halt_bot(harness, recover=[stage])
    target = Target(repo=str(harness.folder / "bot"))

    (one,) = find_standing(harness.journal, "bot", target, DirectExecutor())

    steps = [step for level in harness.plans["halt"].recover for step in level.steps]
    assert (one.thing in touched_things(steps, target)) is covered
