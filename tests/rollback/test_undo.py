"""Undo: what an incident changed is as it was before, byte for byte; what others changed since is theirs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollback.rig import Rig, again, flag, repair
from watchdog.journal import dump, incidents, runs, saved
from watchdog.model import Target

V2 = b"# v2\r\nTRADING = True\nFEATURE = True\nMODEL = 2   # fitted by hand\n"
REVERT = {"do": "git", "revert": "v2-merge"}


def git(repo: Path, *args: str) -> str:
    name = {f"GIT_{who}_{what}": "ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {**os.environ, **name, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(
        ["git", *args], cwd=repo, env=environ, check=True, capture_output=True, text=True
    ).stdout.strip()


def deployed(rig: Rig) -> Path:
    """A repository of a v1 onto which v2 was merged."""
    place = rig.target()
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


LADDER = repair(
    levels=[
        {"name": "feature", "steps": [flag(FEATURE=False)]},
        {"name": "version", "steps": [REVERT]},
    ]
)


def repaired(rig: Rig) -> Path:
    """The night is over: v2 was reverted, and its flag is off."""
    rig.plans["ladder"] = LADDER
    place = deployed(rig)
    number = rig.queue()
    rig.play()
    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 1)
    assert rig.config()["MODEL"] == "1"
    return place


def undo(rig: Rig) -> int:
    place = Target(repo=str(rig.folder / "bot")).model_dump_json(include={"repo"})
    with rig.journal.write() as db:
        return runs.queue(
            db,
            incident=1,
            target="bot",
            plan="undo 1",
            kind="repair",
            part="undo",
            place=place,
            text=dump({"incident": 1}),
            by="person ann",
            now=rig.now,
        )


def test_after_a_rollback_undo_puts_the_version_and_its_flag_back_byte_for_byte(rig: Rig) -> None:
    place = repaired(rig)
    reverted = git(place, "rev-parse", "HEAD")

    number = undo(rig)
    rig.play()

    assert rig.run(number).outcome == "proven", rig.run(number).reason
    assert (place / "config.py").read_bytes() == V2
    assert (place / "config.py").stat().st_mode & 0o777 == 0o640
    assert git(place, "rev-parse", "HEAD^{tree}") == git(place, "rev-parse", "v2-merge^{tree}")
    assert git(place, "rev-parse", "HEAD^") == reverted
    assert git(place, "status", "--porcelain") == ""
    assert git(place, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_what_was_dirty_before_the_incident_is_dirty_again(rig: Rig) -> None:
    rig.plans["ladder"] = repair(levels=[{"name": "model", "steps": [flag(MODEL=1)]}])
    place = deployed(rig)
    dirty = V2.replace(b"by hand", b"by ann, not committed")
    (place / "config.py").write_bytes(dirty)
    (place / "notes.txt").write_text("mine")
    rig.queue()
    rig.play()
    assert (place / "config.py").read_bytes() != dirty

    number = undo(rig)
    rig.play()

    assert rig.run(number).outcome == "proven", rig.run(number).reason
    assert (place / "config.py").read_bytes() == dirty
    copies = rig.folder / ".backups" / "1" / "level-0"
    assert (copies / "git-head").read_text().strip() == git(place, "rev-parse", "HEAD")
    assert "not committed" in (rig.folder / ".backups" / "1" / "before-0" / "git-dirty.patch").read_text()
    assert (copies / "git-untracked").read_text() == "notes.txt\n"


def test_what_somebody_changed_since_is_refused_and_nothing_is_touched(rig: Rig) -> None:
    place = repaired(rig)
    config = place / "config.py"
    config.write_bytes(config.read_bytes() + b"RISK = 1\n")
    before, head = config.read_bytes(), git(place, "rev-parse", "HEAD")

    number = undo(rig)
    rig.play()

    assert rig.run(number).outcome == "stopped"
    assert "changed since by somebody else" in rig.run(number).reason
    assert config.read_bytes() == before
    assert git(place, "rev-parse", "HEAD") == head
    assert rig.latched() is None


def test_commits_since_are_refused(rig: Rig) -> None:
    place = repaired(rig)
    git(place, "commit", "-q", "--allow-empty", "-m", "hotfix")

    number = undo(rig)
    rig.play()

    assert rig.run(number).outcome == "stopped"
    assert "has had commits since" in rig.run(number).reason


def test_an_undone_incident_has_nothing_left_to_undo(rig: Rig) -> None:
    repaired(rig)
    undo(rig)
    rig.play()

    assert saved.of_incident(rig.journal, 1) == []


def test_no_undo_while_the_target_is_latched(rig: Rig) -> None:
    place = repaired(rig)
    with rig.journal.write() as db:
        incidents.stand(db, "bot", latched=rig.now, latch_why="halt")
    before = (place / "config.py").read_bytes()

    number = undo(rig)
    rig.play()

    assert rig.run(number).outcome == "stopped"
    assert (place / "config.py").read_bytes() == before


def test_wherever_undo_dies_the_end_is_the_same(folder: Callable[[], Path]) -> None:
    for n in range(1, 40):
        rig = Rig(folder())
        place = repaired(rig)
        number = undo(rig)
        rig.boundary.kill_at = n
        died = rig.dies()
        heir = again(rig)
        heir.play()
        assert heir.run(number).outcome == "proven", (n, heir.run(number).reason)
        assert (place / "config.py").read_bytes() == V2, n
        assert git(place, "rev-parse", "HEAD^{tree}") == git(place, "rev-parse", "v2-merge^{tree}")
        assert git(place, "rev-list", "--count", "--first-parent", "HEAD") == "4"
        heir.journal.close()
        if not died:
            return
    raise AssertionError("it never came to its end alive")


def test_what_cannot_be_saved_is_not_changed_and_the_next_level_is_tried(rig: Rig) -> None:
    place = deployed(rig)
    rig.plans["ladder"] = LADDER.model_copy(update={"exhausted": "leave-running"})
    (rig.folder / ".backups").write_text("a file stands in the way")
    before = (place / "config.py").read_bytes()
    number = rig.queue()

    rig.play(number)

    assert rig.run(number).outcome == "exhausted"
    assert (place / "config.py").read_bytes() == before
    assert any("cannot be saved" in row["text"] for row in rig.journal.rows("SELECT text FROM event"))


def test_a_halt_is_carried_out_when_nothing_can_be_saved(rig: Rig) -> None:
    (rig.folder / ".backups").write_text("a file stands in the way")
    number = rig.queue("halt")

    rig.play()

    assert rig.run(number).outcome == "proven"


def relapse(rig: Rig) -> None:
    """A person edits by hand what the plan will take back by a flag."""
    config = rig.folder / "bot" / "config.py"
    config.write_bytes(config.read_bytes().replace(b"MODEL = 1", b"MODEL = 2"))
    rig.plans["ladder"] = repair(levels=[{"name": "model", "steps": [flag(MODEL=1)]}])


def test_copies_are_kept_for_a_week_and_then_make_room(rig: Rig) -> None:
    repaired(rig)
    kept = rig.folder / ".backups" / "1"
    rig.now += saved.KEPT - 600_000
    relapse(rig)
    rig.play(rig.queue(incident=None))
    assert kept.exists()

    rig.now += 1_200_000
    relapse(rig)
    rig.play(rig.queue(incident=None))
    assert not kept.exists()


def test_each_work_tree_in_which_there_were_commits_gets_its_own_files_back(rig: Rig) -> None:
    place = deployed(rig)
    inner = place / "strategies"
    inner.mkdir()
    (place / ".git" / "info" / "exclude").write_text("strategies\n")
    git(inner, "init", "-q", "-b", "main")
    for size in (b"SIZE = 1\n", b"SIZE = 2\n"):
        (inner / "hmm.py").write_bytes(size)
        git(inner, "add", ".")
        git(inner, "commit", "-q", "-m", "size")
    rig.plans["ladder"] = repair(
        levels=[
            {"name": "feature", "steps": [flag(FEATURE=False)]},
            {"name": "both", "steps": [REVERT, {"do": "git", "revert": "HEAD", "repo": "strategies"}]},
        ]
    )
    number = rig.queue()
    rig.play()
    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 1)
    assert (inner / "hmm.py").read_bytes() == b"SIZE = 1\n"

    number = undo(rig)
    rig.play()

    assert rig.run(number).outcome == "proven", rig.run(number).reason
    assert (inner / "hmm.py").read_bytes() == b"SIZE = 2\n"
    assert (place / "config.py").read_bytes() == V2
    assert git(place, "rev-parse", "HEAD^{tree}") == git(place, "rev-parse", "v2-merge^{tree}")
    assert git(inner, "rev-list", "--count", "HEAD") == "4"
    assert (git(place, "status", "--porcelain"), git(inner, "status", "--porcelain")) == ("", "")


def test_undo_of_what_went_to_an_emergency_branch_stays_on_it(rig: Rig) -> None:
    place = deployed(rig)
    rig.plans["ladder"] = repair(
        levels=[
            {"name": "feature", "steps": [flag(FEATURE=False)]},
            {
                "name": "version",
                "steps": [{"do": "git", "files": ["config.py"], "from": "v2-merge^", "branch": "emergency/v2"}],
            },
        ]
    )
    number = rig.queue()
    rig.play()
    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 1)

    number = undo(rig)
    rig.play()

    assert rig.run(number).outcome == "proven", rig.run(number).reason
    assert (place / "config.py").read_bytes() == V2
    assert git(place, "symbolic-ref", "HEAD") == "refs/heads/emergency/v2"
    assert git(place, "rev-parse", "main") == git(place, "rev-parse", "v2-merge")
    assert git(place, "status", "--porcelain") == ""


def test_a_repository_that_git_says_nothing_about_keeps_no_flag_from_being_taken_back(rig: Rig) -> None:
    place = rig.target()
    git(place, "init", "-q")  # no commit yet: there is no HEAD to note
    rig.plans["ladder"] = repair(levels=[{"name": "model", "steps": [flag(MODEL=1)]}])

    number = rig.queue()
    rig.play()
    assert rig.run(number).outcome == "proven", rig.run(number).reason
    assert rig.config()["MODEL"] == "1"

    number = undo(rig)
    rig.play()
    assert rig.run(number).outcome == "proven", rig.run(number).reason
    assert rig.config()["MODEL"] == "2"


@pytest.mark.parametrize("kind", ["link", "gone"])
def test_links_and_files_that_were_not_there_come_back_as_such(tmp_path: Path, kind: str) -> None:
    from watchdog.rollback import backup

    path = tmp_path / "file"
    if kind == "link":
        path.symlink_to("elsewhere")
    (copy,) = backup.save(tmp_path / "copies", [path], None)
    path.unlink(missing_ok=True)
    path.write_text("something else")

    backup.put_back(path, copy.was, copy.copy)

    assert path.is_symlink() == (kind == "link")
    assert not path.exists()
