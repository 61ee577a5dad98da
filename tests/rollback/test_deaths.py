"""A death at any point: each effect happens once, and what nobody can tell is left to a person."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollback.rig import CONFIG, CUT, LADDER, Rig, again, dies_within, flag, once, repair
from watchdog.journal import runs
from watchdog.journal.runs import Step

# ─ a death at any point ─


def test_wherever_it_dies_each_effect_happens_once_and_the_end_is_the_same(folder: Callable[[], Path]) -> None:
    whole = Rig(folder())
    run = whole.queue()
    start = len(whole.boundary.seen)
    whole.play()
    points = whole.boundary.seen[start:]
    assert len(points) > 25

    for number, point in enumerate(points, 1):
        first = Rig(folder())
        first.queue()
        first.boundary.kill_at = number
        assert first.dies(), point
        heir = again(first)
        heir.play()

        assert heir.run(run).outcome == "proven", point
        assert heir.run(run).level == 1, point
        assert [step[:3] for step in heir.did(run)] == [step[:3] for step in LADDER], point
        assert {step.status for step in heir.steps(run)} == {"done"}, point
        assert heir.config() == whole.config(), point
        assert first.changes + heir.changes == whole.changes, point
        assert heir.latched() is None, point
        assert set(heir.told()) == set(whole.told()), point
        heir.journal.close()
    whole.journal.close()


def test_wherever_it_dies_a_ladder_of_no_use_ends_in_one_halt_and_a_latch(folder: Callable[[], Path]) -> None:
    def made() -> Rig:
        rig = Rig(folder())
        rig.errors = lambda _: "bad"
        rig.queue()
        return rig

    whole = made()
    start = len(whole.boundary.seen)
    whole.play()
    points = whole.boundary.seen[start:]

    for number, point in enumerate(points, 1):
        first = made()
        first.boundary.kill_at = number
        assert first.dies(), point
        heir = again(first)
        heir.play()

        listed = [heir.run(row[0]) for row in heir.journal.rows("SELECT id FROM run ORDER BY id")]
        assert [(one.plan, one.outcome) for one in listed] == [("ladder", "exhausted"), ("halt", "proven")], point
        assert heir.config() == whole.config() == {"TRADING": "False", "FEATURE": "False", "MODEL": "1"}, point
        assert heir.latched(), point
        assert not [step for one in listed for step in heir.steps(one.id) if step.status == "started"], point
        heir.journal.close()
    whole.journal.close()


def test_wherever_it_dies_a_command_that_can_be_checked_runs_once(folder: Callable[[], Path]) -> None:
    def made() -> Rig:
        rig = Rig(folder())
        rig.errors = lambda _: "ok"
        rig.plans["ladder"] = repair(before=[], proven=[], levels=[{"name": "script", "steps": [once("done")]}])
        rig.queue()
        return rig

    whole = made()
    start = len(whole.boundary.seen)
    whole.play()

    for number in range(1, len(whole.boundary.seen) - start + 1):
        first = made()
        first.boundary.kill_at = number
        assert first.dies()
        heir = again(first)
        heir.play()

        assert heir.effects() == ["done"], number
        assert heir.run(1).outcome == "proven", number
        heir.journal.close()
    whole.journal.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_revert_that_was_cut_off_is_made_once(rig: Rig, when: str) -> None:
    place = rig.target()
    git = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "v1"]):
        subprocess.run([*git, *arguments], cwd=place, check=True)
    (place / "config.py").write_text(CONFIG.replace("MODEL = 2", "MODEL = 3"))
    subprocess.run([*git, "commit", "-q", "-a", "-m", "v2"], cwd=place, check=True)
    subprocess.run(["git", "tag", "v2"], cwd=place, check=True)
    rig.errors = lambda config: "bad" if config["MODEL"] == "3" else "ok"
    rig.plans["ladder"] = repair(levels=[{"name": "version", "steps": [{"do": "git", "revert": "v2"}]}])
    run = rig.queue()

    heir = dies_within(rig, f"{when} git revert v2")
    assert [step[3] for step in heir.did(run)] == ["done", "started"]
    heir.play()

    subjects = subprocess.run(["git", "log", "--format=%s"], cwd=place, check=True, capture_output=True, text=True)
    assert subjects.stdout.splitlines() == ['Revert "v2"', "v2", "v1"]
    assert heir.run(run).outcome == "proven"
    assert heir.config() == {"TRADING": "True", "FEATURE": "True", "MODEL": "2"}
    heir.journal.close()


def test_a_step_that_the_world_says_did_not_happen_is_done_again(rig: Rig) -> None:
    run = rig.queue()

    heir = dies_within(rig, CUT)
    assert heir.did(run)[-1][3] == "started"
    heir.play()

    assert heir.run(run).outcome == "proven"
    assert heir.acts.count("set FEATURE = false in config.py") == 1
    heir.journal.close()


def test_a_step_that_the_world_says_has_happened_is_not_done_again(rig: Rig) -> None:
    run = rig.queue()

    heir = dies_within(rig, "after set FEATURE = false in config.py")
    assert heir.did(run)[-1][3] == "started"
    heir.play()

    assert heir.did(run) == LADDER
    assert "set FEATURE = false in config.py" not in heir.acts
    heir.journal.close()


def test_a_step_after_which_the_world_is_other_stops_latches_and_pages(rig: Rig) -> None:
    run = rig.queue()

    heir = dies_within(rig, CUT)
    config = heir.folder / "bot" / "config.py"
    config.write_text(config.read_text().replace("FEATURE = True", "FEATURE = 7"))
    heir.play()

    assert heir.run(run).outcome == "stopped"
    assert heir.did(run)[-1] == ("level", 0, "set FEATURE = false in config.py", "unknown")
    assert heir.config()["FEATURE"] == "7"
    assert "other" in (heir.latched() or "")
    assert "other than before or after it" in heir.pages()[-1]
    heir.journal.close()


def test_a_step_of_which_nobody_can_tell_whether_it_happened_stops_latches_and_pages(rig: Rig) -> None:
    blindly = {"do": "command", "run": ["sh", "-c", "echo once >> effects"]}
    rig.plans["ladder"] = repair(
        levels=[{"name": "blind", "steps": [blindly]}, {"name": "next", "steps": [flag(MODEL=1)]}]
    )
    run = rig.queue()

    heir = dies_within(rig, "after run sh -c 'echo once >> effects'")
    heir.play()

    assert heir.run(run).outcome == "stopped"
    assert heir.effects() == ["once"]
    assert heir.config()["MODEL"] == "2"
    assert heir.latched()
    assert "cannot be told" in heir.pages()[-1]
    heir.journal.close()


def test_what_nobody_can_tell_stays_so_when_the_next_process_dies_in_saying_it(rig: Rig) -> None:
    """The step stands as unknown, and the run is not over: the ladder must not climb on from there."""
    blindly = {"do": "command", "run": ["sh", "-c", "echo once >> effects"]}
    rig.plans["ladder"] = repair(
        levels=[{"name": "blind", "steps": [blindly]}, {"name": "next", "steps": [flag(MODEL=1)]}]
    )
    run = rig.queue()
    heir = dies_within(rig, "after run sh -c 'echo once >> effects'")
    for number in range(1, 20):
        heir.boundary.kill_at = number
        assert heir.dies(), "it ended before the step stood as unknown"
        heir = again(heir)
        if heir.did(run)[-1][3] == "unknown":
            break
    assert heir.run(run).ended is None
    heir.play()

    assert heir.run(run).outcome == "stopped"
    assert heir.config()["MODEL"] == "2"
    assert heir.latched()
    heir.journal.close()


def test_what_is_found_out_in_one_life_is_not_half_written_down(rig: Rig) -> None:
    """A level whose steps all hold stays one, also when the watchdog dies in finding that out."""
    rig.target()
    (rig.folder / "bot" / "config.py").write_text(CONFIG.replace("FEATURE = True", "FEATURE = False"))
    rig.queue()
    points = 0
    while True:
        points += 1
        rig.boundary.kill_at = points
        if not rig.dies():
            break
        rig = again(rig)
        assert [step for step in rig.did(1) if step[2].startswith("set FEATURE")] in (
            [],
            [("level", 0, "set FEATURE = false in config.py", "skipped")],
        )
    assert points > 3


# ─ a power cut ─


@pytest.mark.parametrize("plan", ["ladder", "halt"])
def test_the_disk_is_waited_for_before_anything_is_done(rig: Rig, monkeypatch: pytest.MonkeyPatch, plan: str) -> None:
    """What came before `started` may be written without waiting; it is flushed together with it."""
    rig.journal.rows("PRAGMA synchronous=FULL")
    starts, waits = runs.start_step, []

    def start_step(db: sqlite3.Connection, step: Step) -> None:
        waits.append(db.execute("PRAGMA synchronous").fetchone()[0])
        starts(db, step)

    monkeypatch.setattr(runs, "start_step", start_step)
    run = rig.queue(plan)

    rig.play()

    assert waits == [2] * len(rig.steps(run))
    assert rig.run(run).outcome == "proven"
