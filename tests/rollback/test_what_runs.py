"""A proof is about what runs: what the plan names is looked at anew, and a link may lead elsewhere than when the step acted."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rollback.harness import RollbackHarness, flag_step, make_halt, make_repair
from watchdog.core.target import Target
from watchdog.plans.models import serialize_plan


def make_releases(harness: RollbackHarness) -> Path:
    """Two releases of a bot, and `current`, which leads to the first; its target is named by that link."""
    harness.make_target()
    place = harness.folder / "srv"
    for name in ("1", "2"):
        shutil.copytree(harness.folder / "bot", place / "releases" / name)
    (place / "current").symlink_to("releases/1")
    return place


def move_link(place: Path, to: str) -> None:
    (place / "next").symlink_to(to)
    (place / "next").replace(place / "current")


def queue_run(harness: RollbackHarness, plan: Any, repo: Path) -> int:
    with harness.journal.transaction() as tx:
        return tx.runs.queue_run(
            incident=None,
            target="bot",
            plan=plan.kind,
            kind=plan.kind,
            text=serialize_plan(plan),
            place=Target(repo=str(repo)).location(),
            by="person ann",
            now=harness.now,
        )


def once_proving(harness: RollbackHarness, act: Callable[[], None]) -> None:
    """Carries `act` out between the last step and the proof."""
    left = [act]

    def result(_: str) -> bool:
        if left:
            left.pop()()
        return True

    harness.condition_result = result


def halt(*steps: Any) -> Any:
    return make_halt(levels=[{"name": "off", "steps": steps, "verify": {"that": ["alive == 1"], "give_up": "5s"}}])


def test_a_link_that_was_moved_between_step_and_proof_disproves_the_level(harness: RollbackHarness) -> None:
    place = make_releases(harness)
    once_proving(harness, lambda: move_link(place, "releases/2"))
    run = queue_run(harness, halt(flag_step(TRADING=False)), place / "current")

    harness.run_to_end(run)

    ended = harness.get_run(run)
    assert ended.outcome == "exhausted"
    assert f"{place}/current/config.py now leads to {place}/releases/2/config.py, where TRADING = True" in ended.reason


def test_a_release_that_brings_the_value_along_is_as_safe_as_the_one_before(harness: RollbackHarness) -> None:
    place = make_releases(harness)
    new = place / "releases" / "2" / "config.py"
    new.write_text(new.read_text().replace("TRADING = True", "TRADING = False"))
    once_proving(harness, lambda: move_link(place, "releases/2"))
    run = queue_run(harness, halt(flag_step(TRADING=False)), place / "current")

    harness.run_to_end(run)

    assert harness.get_run(run).outcome == "proven"


def test_a_value_that_was_found_so_is_looked_at_as_well(harness: RollbackHarness) -> None:
    place = make_releases(harness)
    old = place / "releases" / "1" / "config.py"
    old.write_text(old.read_text().replace("TRADING = True", "TRADING = False"))
    once_proving(harness, lambda: move_link(place, "releases/2"))
    run = queue_run(harness, halt(flag_step(TRADING=False)), place / "current")

    harness.run_to_end(run)

    assert harness.get_run(run).outcome == "exhausted"


def test_a_file_that_is_itself_a_link_is_looked_at_by_its_name(harness: RollbackHarness) -> None:
    bot = harness.make_target()
    (bot / "off.py").write_text((bot / "config.py").read_text())
    (bot / "live.py").symlink_to("config.py")

    def switch() -> None:
        (bot / "next").symlink_to("off.py")
        (bot / "next").replace(bot / "live.py")

    once_proving(harness, switch)
    run = queue_run(harness, halt(flag_step("live.py", TRADING=False)), bot)

    harness.run_to_end(run)

    assert harness.get_run(run).outcome == "exhausted"
    assert "live.py now leads to" in harness.get_run(run).reason


def test_a_value_that_somebody_sets_back_before_the_proof_disproves_it(harness: RollbackHarness) -> None:
    bot = harness.make_target()
    file = bot / "config.py"
    once_proving(harness, lambda: void(file.write_text(file.read_text().replace("TRADING = False", "TRADING = True"))))
    run = queue_run(harness, halt(flag_step(TRADING=False)), bot)

    harness.run_to_end(run)

    assert harness.get_run(run).outcome == "exhausted"
    assert harness.get_run(run).reason.endswith("set TRADING = false in config.py, and yet TRADING = True")


def test_what_cannot_be_looked_at_is_not_proven(harness: RollbackHarness) -> None:
    place = make_releases(harness)
    once_proving(harness, lambda: move_link(place, "releases/gone"))
    run = queue_run(harness, halt(flag_step(TRADING=False)), place / "current")

    harness.run_to_end(run)

    ended = harness.get_run(run)
    assert ended.outcome == "exhausted"
    assert "whether “set TRADING = false in config.py” is what runs cannot be told" in ended.reason


@pytest.mark.slow
@pytest.mark.parametrize("other", ["worktree", "clone"])
def test_a_work_tree_that_was_put_in_the_place_of_the_repaired_one_disproves_it(
    harness: RollbackHarness, other: str
) -> None:
    harness.deploy_v2("MODEL = 2", "MODEL = 3")
    harness.errors_outcome = lambda _: "ok"
    place = harness.folder / "srv"
    place.mkdir()
    (place / "current").symlink_to("../bot")
    how = ("worktree", "add", "-q", "--detach") if other == "worktree" else ("clone", "-q", ".")
    subprocess.run(
        ["git", *how, str(place / "new"), *(["HEAD"] if other == "worktree" else [])],
        cwd=harness.folder / "bot",
        check=True,
    )
    once_proving(harness, lambda: move_link(place, "new"))
    repair = make_repair(
        before=[],
        proven=[],
        exhausted="leave-running",
        levels=[{"name": "version", "steps": [{"do": "git", "revert": "v2"}]}],
    )
    run = queue_run(harness, repair, place / "current")

    harness.run_to_end(run)

    ended = harness.get_run(run)
    assert ended.outcome == "exhausted"
    assert f"{place}/current now leads to {place}/new, which is at" in ended.reason


def test_two_steps_that_set_the_same_value_are_proven_by_the_last(harness: RollbackHarness) -> None:
    bot = harness.make_target()
    run = queue_run(harness, halt(flag_step(MODEL=1, TRADING=False), flag_step(MODEL=3)), bot)

    harness.run_to_end(run)

    assert harness.get_run(run).outcome == "proven"


def void(_: object) -> None:
    return None
