"""`kill -9` in the middle of what brings a bot back to before: an undo, a snapshot, and the way back to one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.crash import harness
from tests.crash.harness import CrashHarness
from tests.crash.scenarios import SCENARIOS, Workspace, find_lost_user_data, setup_workspace
from tests.support.actions import GitRepo, killed_at
from watchdog.core.errors import WatchdogError
from watchdog.core.target import Target
from watchdog.host import file_state
from watchdog.journal.serialization import to_json
from watchdog.offline import snapshot

REVERT_SCENARIO = next(story for story in SCENARIOS if story.name == "git revert")
NOW = 1_700_000_000_000


def sample_points(numbers: int, about: int) -> range:
    """Some of 1 … numbers, evenly; all when CRASH_POINTS says so."""
    return range(1, numbers + 1, 1 if os.environ.get("CRASH_POINTS") == "all" else max(1, numbers // about))


def read_work_tree(folder: Path) -> dict[str, bytes]:
    """All that is no business of git's own."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


# ─ undo ─


def run_undo(workspace: Workspace, fault_at: int) -> None:
    """One life of an undo of incident 1; at point number `at` it is killed. 0: what its points are."""
    life = CrashHarness(workspace, REVERT_SCENARIO, now=harness.time_after_last_event(workspace))
    life.counted_points.fault_at = fault_at
    life.counted_points.inject_fault = partial(harness.send_sigkill, life)
    life.counted_points.get_phase = lambda _: "act" if life.apply_phase == "in" else "begun"
    known = life.journal.query("SELECT id FROM run WHERE part = 'undo'")
    if not known:
        place = workspace.target().model_dump_json(include={"repo"})
        with life.journal.transaction() as tx:
            tx.runs.queue_run(
                incident=1,
                target="bot",
                plan="undo 1",
                kind="repair",
                part="undo",
                place=place,
                text=to_json({"incident": 1}),
                by="person ann",
                now=life.now,
            )
    life.run_to_end()
    (run,) = life.journal.query("SELECT id FROM run WHERE part = 'undo'")
    assert life.get_run(run[0]).outcome == "proven", life.get_run(run[0]).reason
    assert life.journal.query("PRAGMA integrity_check")[0][0] == "ok"
    if not fault_at:
        (workspace.folder / "points.json").write_text(json.dumps(life.counted_points.phases))


def test_wherever_an_undo_dies_every_file_and_the_tree_come_back(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    world, kept = Workspace(tmp_path / "world", ""), tmp_path / "repaired"
    world.folder.mkdir()
    setup_workspace(world, REVERT_SCENARIO)
    begun = read_work_tree(world.bot)
    code, said = harness.run_in_fork(harness.make_first_process(world, REVERT_SCENARIO))
    assert code == 0, said
    assert read_work_tree(world.bot) != begun
    shutil.copytree(
        world.folder, kept, symlinks=True
    )  # what was saved is known by its full path: each try is in that place

    def is_back() -> None:
        assert read_work_tree(world.bot) == begun
        repo = GitRepo(world.bot)
        assert repo.git("rev-parse", "HEAD^{tree}") == repo.git("rev-parse", "v2-merge^{tree}")
        assert repo.git("log", "--format=%s", "v2-merge..HEAD").count("\n") == 2
        assert find_lost_user_data(world) == []

    code, said = harness.run_in_fork(partial(run_undo, world, 0))
    assert code == 0, said
    is_back()
    columns = json.loads((world.folder / "points.json").read_text())
    tried = []
    for point in sample_points(len(columns), 9):
        shutil.rmtree(world.folder)
        shutil.copytree(kept, world.folder, symlinks=True)
        code, said = harness.run_in_fork(partial(run_undo, world, point))
        assert code == -9, (point, said)
        code, said = harness.run_in_fork(partial(run_undo, world, 2**62))
        assert code == 0, (point, said)
        is_back()
        tried.append((columns[point - 1], True))
    request.node.user_properties.append(("crash", ["undo", "kill -9", tried]))


# ─ snapshots ─


def make_deployed_bot(folder: Path) -> tuple[GitRepo, Target]:
    """A bot with a secret that git does not know and an edit that nobody has committed."""
    folder.mkdir()
    repo = GitRepo(folder / "bot")
    repo.commit("v1", config__py="SIZE = 1\n", notes__md="one\n", __gitignore=".env\n")
    repo.write_files(notes__md="one\ntwo\n", __env="KEY=old\n")
    return repo, Target(repo=str(repo.path))


def kill_at_each_point(
    tmp_path: Path, about: int, act: Callable[[Path], None], check: Callable[[Path], None]
) -> list[int]:
    """`act` on a folder made anew, killed ahead of each change of a name in turn; `check` looks at what came of it."""
    steps = 0
    while killed_at(steps, partial(act, tmp_path / f"whole-{steps}")):
        steps += 8
    tried = []
    for nth in (number - 1 for number in sample_points(steps, about)):
        folder = tmp_path / str(nth)
        if not killed_at(nth, partial(act, folder)):
            break
        check(folder)
        tried.append(nth)
    assert tried
    return tried


def test_a_snapshot_that_was_cut_off_is_none_and_is_made_anew_under_its_name(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def take(folder: Path, *, made: tuple[GitRepo, Target] | None = None) -> None:
        repo, target = made or make_deployed_bot(folder)
        snapshot.take(folder / "snapshots", "before", "bot", target, [repo.path / ".env"], NOW)

    def check(folder: Path) -> None:
        repo = GitRepo(folder / "bot")
        if not snapshot.listing(folder / "snapshots"):
            take(folder, made=(repo, Target(repo=str(repo.path))))
        (one,) = snapshot.listing(folder / "snapshots")
        assert {Path(saved.path).name for saved in one.saved} == {".env", "notes.md"}
        assert all(
            file_state.same_content(file_state.file_state(Path(str(saved.copy))), saved.was) for saved in one.saved
        )
        assert repo.git("rev-parse", "before").strip() == repo.head()
        assert repo.read("notes.md") == "one\ntwo\n"

    tried = kill_at_each_point(tmp_path, 12, take, check)
    request.node.user_properties.append(("crash", ["snapshot", "kill -9", [("act", True) for _ in tried]]))


def test_wherever_the_way_back_dies_it_is_gone_on_with_and_no_edit_is_lost(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def restore(folder: Path) -> None:
        repo, target = make_deployed_bot(folder)
        made = snapshot.take(folder / "snapshots", "before", "bot", target, [repo.path / ".env"], NOW)
        repo.git("checkout", "-q", "notes.md")
        repo.commit("v2", config__py="SIZE = 2\n", notes__md="v2\n", added__py="NEW = 1\n")
        repo.write_files(notes__md="v2\nedited since\n", __env="KEY=new\n")
        (folder / "ready").touch()
        snapshot.restore(folder / "snapshots", made, target, NOW + 1)

    def check(folder: Path) -> None:
        repo = GitRepo(folder / "bot")
        if not (folder / "ready").exists():
            return
        made = snapshot.find(folder / "snapshots", "before")
        snapshot.restore(folder / "snapshots", made, Target(repo=str(repo.path)), NOW + 2)
        assert read_work_tree(repo.path) == {
            ".env": b"KEY=old\n",
            ".gitignore": b".env\n",
            "config.py": b"SIZE = 1\n",
            "notes.md": b"one\ntwo\n",
        }
        assert repo.git("rev-parse", "HEAD^{tree}") == repo.git("rev-parse", "before^{tree}")
        held = [
            Path(str(saved.copy)).read_bytes()
            for one in snapshot.listing(folder / "snapshots")
            for saved in one.saved
            if saved.copy is not None
        ]
        assert b"v2\nedited since\n" in held
        assert b"KEY=new\n" in held

    tried = kill_at_each_point(tmp_path, 8, restore, check)
    request.node.user_properties.append(("crash", ["snapshot --restore", "kill -9", [("act", True) for _ in tried]]))


def test_a_snapshot_of_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    repo, target = make_deployed_bot(tmp_path / "one")
    snapshot.take(tmp_path / "snapshots", "before", "bot", target, [repo.path / ".env"], NOW)
    with pytest.raises(WatchdogError, match="already"):
        snapshot.take(tmp_path / "snapshots", "before", "bot", target, [], NOW)
