"""Undo: what an incident changed is as it was before, byte for byte; what others changed since is theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollback.harness import RollbackHarness, flag_step, make_repair, restart
from watchdog.core.target import Target
from watchdog.journal import backups
from watchdog.journal.serialization import to_json

pytestmark = pytest.mark.slow

V2 = b"# v2\r\nTRADING = True\nFEATURE = True\nMODEL = 2   # fitted by hand\n"
REVERT_STEP = {"do": "git", "revert": "v2-merge"}


def git(repo: Path, *args: str) -> str:
    name = {f"GIT_{who}_{what}": "ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {**os.environ, **name, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(
        ["git", *args], cwd=repo, env=environ, check=True, capture_output=True, text=True
    ).stdout.strip()


def make_deployed_bot(harness: RollbackHarness) -> Path:
    """A repository of a v1 onto which v2 was merged."""
    place = harness.make_target()
    git(place, "init", "-q", "-b", "main")
    git(place, "config", "user.email", "ann")
    git(place, "config", "user.name", "ann")
    (place / "config.py").write_bytes(V2.replace(b"MODEL = 2", b"MODEL = 1"))
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "v1")
    git(place, "switch", "-q", "-c", "v2")
    (place / "config.py").write_bytes(V2)
    (place / "added.py").write_text("NEW = 1\n")
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "v2")
    git(place, "switch", "-q", "main")
    git(place, "merge", "-q", "--no-ff", "-m", "Merge v2", "v2")
    git(place, "tag", "v2-merge")
    (place / "config.py").chmod(0o640)
    return place


REVERT_LADDER = make_repair(
    levels=[
        {"name": "feature", "steps": [flag_step(FEATURE=False)]},
        {"name": "version", "steps": [REVERT_STEP]},
    ]
)


def make_repaired_bot(harness: RollbackHarness) -> Path:
    """The night is over: v2 was reverted, and its flag is off."""
    harness.plans["ladder"] = REVERT_LADDER
    place = make_deployed_bot(harness)
    number = harness.queue_run()
    harness.run_to_end()
    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 1)
    assert harness.config_values()["MODEL"] == "1"
    return place


def queue_undo(harness: RollbackHarness) -> int:
    place = Target(repo=str(harness.folder / "bot")).model_dump_json(include={"repo"})
    with harness.journal.transaction() as tx:
        return tx.runs.queue_run(
            incident=1,
            target="bot",
            plan="undo 1",
            kind="repair",
            part="undo",
            place=place,
            text=to_json({"incident": 1}),
            by="person ann",
            now=harness.now,
        )


def test_after_a_rollback_undo_puts_the_version_and_its_flag_back_byte_for_byte(harness: RollbackHarness) -> None:
    place = make_repaired_bot(harness)
    reverted = git(place, "rev-parse", "HEAD")

    number = queue_undo(harness)
    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven", harness.get_run(number).reason
    assert (place / "config.py").read_bytes() == V2
    assert (place / "config.py").stat().st_mode & 0o777 == 0o640
    assert git(place, "rev-parse", "HEAD^{tree}") == git(place, "rev-parse", "v2-merge^{tree}")
    assert git(place, "rev-parse", "HEAD^") == reverted
    assert git(place, "status", "--porcelain") == ""
    assert git(place, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_what_was_dirty_before_the_incident_is_dirty_again(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(levels=[{"name": "model", "steps": [flag_step(MODEL=1)]}])
    place = make_deployed_bot(harness)
    dirty = V2.replace(b"by hand", b"by ann, not committed")
    (place / "config.py").write_bytes(dirty)
    (place / "notes.txt").write_text("mine")
    harness.queue_run()
    harness.run_to_end()
    assert (place / "config.py").read_bytes() != dirty

    number = queue_undo(harness)
    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven", harness.get_run(number).reason
    assert (place / "config.py").read_bytes() == dirty
    copies = harness.folder / ".backups" / "1" / "level-0"
    assert (copies / "git-head").read_text().strip() == git(place, "rev-parse", "HEAD")
    assert "not committed" in (harness.folder / ".backups" / "1" / "before-0" / "git-dirty.patch").read_text()
    assert (copies / "git-untracked").read_text() == "notes.txt\n"


def test_what_somebody_changed_since_is_refused_and_nothing_is_touched(harness: RollbackHarness) -> None:
    place = make_repaired_bot(harness)
    config = place / "config.py"
    config.write_bytes(config.read_bytes() + b"RISK = 1\n")
    before, head = config.read_bytes(), git(place, "rev-parse", "HEAD")

    number = queue_undo(harness)
    harness.run_to_end()

    assert harness.get_run(number).outcome == "stopped"
    assert "changed since by somebody else" in harness.get_run(number).reason
    assert config.read_bytes() == before
    assert git(place, "rev-parse", "HEAD") == head
    assert harness.latch_reason() is None


def test_commits_since_are_refused(harness: RollbackHarness) -> None:
    place = make_repaired_bot(harness)
    git(place, "commit", "-q", "--allow-empty", "-m", "hotfix")

    number = queue_undo(harness)
    harness.run_to_end()

    assert harness.get_run(number).outcome == "stopped"
    assert "has had commits since" in harness.get_run(number).reason


def test_an_undone_incident_has_nothing_left_to_undo(harness: RollbackHarness) -> None:
    make_repaired_bot(harness)
    queue_undo(harness)
    harness.run_to_end()

    assert harness.journal.backups.list_for_incident(1) == []


def test_no_undo_while_the_target_is_latched(harness: RollbackHarness) -> None:
    place = make_repaired_bot(harness)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    before = (place / "config.py").read_bytes()

    number = queue_undo(harness)
    harness.run_to_end()

    assert harness.get_run(number).outcome == "stopped"
    assert (place / "config.py").read_bytes() == before


@pytest.mark.slow
def test_wherever_undo_dies_the_end_is_the_same(make_folder: Callable[[], Path]) -> None:
    folder = make_folder()
    first = RollbackHarness(folder)
    place = make_repaired_bot(first)
    number = queue_undo(first)
    first.journal.close()
    repaired = shutil.copytree(folder, make_folder() / "repaired", symlinks=True)
    for n in range(1, 40):
        shutil.rmtree(folder)
        shutil.copytree(repaired, folder, symlinks=True)  # to the same place: backups know full paths
        harness = RollbackHarness(folder, now=first.now)
        harness.plans = first.plans
        harness.crash_points.crash_after = n
        died = harness.crashes()
        heir = restart(harness)
        heir.run_to_end()
        assert heir.get_run(number).outcome == "proven", (n, heir.get_run(number).reason)
        assert (place / "config.py").read_bytes() == V2, n
        assert git(place, "rev-parse", "HEAD^{tree}") == git(place, "rev-parse", "v2-merge^{tree}")
        assert git(place, "rev-list", "--count", "--first-parent", "HEAD") == "4"
        heir.journal.close()
        if not died:
            return
    raise AssertionError("it never came to its end alive")


def test_what_cannot_be_saved_is_not_changed_and_the_next_level_is_tried(harness: RollbackHarness) -> None:
    place = make_deployed_bot(harness)
    harness.plans["ladder"] = REVERT_LADDER.model_copy(update={"exhausted": "leave-running"})
    (harness.folder / ".backups").write_text("a file stands in the way")
    before = (place / "config.py").read_bytes()
    number = harness.queue_run()

    harness.run_to_end(number)

    assert harness.get_run(number).outcome == "exhausted"
    assert (place / "config.py").read_bytes() == before
    assert any("cannot be saved" in row["text"] for row in harness.journal.query("SELECT text FROM event"))


def test_a_halt_is_carried_out_when_nothing_can_be_saved(harness: RollbackHarness) -> None:
    (harness.folder / ".backups").write_text("a file stands in the way")
    number = harness.queue_run("halt")

    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven"


def make_relapse(harness: RollbackHarness) -> None:
    """A person edits by hand what the plan will take back by a flag."""
    config = harness.folder / "bot" / "config.py"
    config.write_bytes(config.read_bytes().replace(b"MODEL = 1", b"MODEL = 2"))
    harness.plans["ladder"] = make_repair(levels=[{"name": "model", "steps": [flag_step(MODEL=1)]}])


def test_copies_are_kept_for_a_week_and_then_make_room(harness: RollbackHarness) -> None:
    make_repaired_bot(harness)
    kept = harness.folder / ".backups" / "1"
    harness.now += backups.RETENTION - 600_000
    make_relapse(harness)
    harness.run_to_end(harness.queue_run(incident=None))
    assert kept.exists()

    harness.now += 1_200_000
    make_relapse(harness)
    harness.run_to_end(harness.queue_run(incident=None))
    assert not kept.exists()


def test_each_work_tree_in_which_there_were_commits_gets_its_own_files_back(harness: RollbackHarness) -> None:
    place = make_deployed_bot(harness)
    inner = place / "strategies"
    inner.mkdir()
    (place / ".git" / "info" / "exclude").write_text("strategies\n")
    git(inner, "init", "-q", "-b", "main")
    for size in (b"SIZE = 1\n", b"SIZE = 2\n"):
        (inner / "hmm.py").write_bytes(size)
        git(inner, "add", ".")
        git(inner, "commit", "-q", "-m", "size")
    harness.plans["ladder"] = make_repair(
        levels=[
            {"name": "feature", "steps": [flag_step(FEATURE=False)]},
            {"name": "both", "steps": [REVERT_STEP, {"do": "git", "revert": "HEAD", "repo": "strategies"}]},
        ]
    )
    number = harness.queue_run()
    harness.run_to_end()
    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 1)
    assert (inner / "hmm.py").read_bytes() == b"SIZE = 1\n"

    number = queue_undo(harness)
    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven", harness.get_run(number).reason
    assert (inner / "hmm.py").read_bytes() == b"SIZE = 2\n"
    assert (place / "config.py").read_bytes() == V2
    assert git(place, "rev-parse", "HEAD^{tree}") == git(place, "rev-parse", "v2-merge^{tree}")
    assert git(inner, "rev-list", "--count", "HEAD") == "4"
    assert (git(place, "status", "--porcelain"), git(inner, "status", "--porcelain")) == ("", "")


def test_undo_of_what_went_to_an_emergency_branch_stays_on_it(harness: RollbackHarness) -> None:
    place = make_deployed_bot(harness)
    harness.plans["ladder"] = make_repair(
        levels=[
            {"name": "feature", "steps": [flag_step(FEATURE=False)]},
            {
                "name": "version",
                "steps": [{"do": "git", "files": ["config.py"], "from": "v2-merge^", "branch": "emergency/v2"}],
            },
        ]
    )
    number = harness.queue_run()
    harness.run_to_end()
    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 1)

    number = queue_undo(harness)
    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven", harness.get_run(number).reason
    assert (place / "config.py").read_bytes() == V2
    assert git(place, "symbolic-ref", "HEAD") == "refs/heads/emergency/v2"
    assert git(place, "rev-parse", "main") == git(place, "rev-parse", "v2-merge")
    assert git(place, "status", "--porcelain") == ""


def test_a_repository_that_git_says_nothing_about_keeps_no_flag_from_being_taken_back(harness: RollbackHarness) -> None:
    place = harness.make_target()
    git(place, "init", "-q")  # no commit yet: there is no HEAD to note
    harness.plans["ladder"] = make_repair(levels=[{"name": "model", "steps": [flag_step(MODEL=1)]}])

    number = harness.queue_run()
    harness.run_to_end()
    assert harness.get_run(number).outcome == "proven", harness.get_run(number).reason
    assert harness.config_values()["MODEL"] == "1"

    number = queue_undo(harness)
    harness.run_to_end()
    assert harness.get_run(number).outcome == "proven", harness.get_run(number).reason
    assert harness.config_values()["MODEL"] == "2"


@pytest.mark.parametrize("kind", ["link", "gone"])
def test_links_and_files_that_were_not_there_come_back_as_such(tmp_path: Path, kind: str) -> None:
    from watchdog.rollback import backup

    path = tmp_path / "file"
    if kind == "link":
        path.symlink_to("elsewhere")
    (copy,) = backup.back_up(tmp_path / "copies", [path], None)
    path.unlink(missing_ok=True)
    path.write_text("something else")

    backup.restore_file(path, copy.was, copy.copy)

    assert path.is_symlink() == (kind == "link")
    assert not path.exists()
