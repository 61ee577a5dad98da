"""A disk that is full, or read-only, in the middle of a plan: a real one, small, mounted for one process alone."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from tests.crash import harness
from tests.crash.harness import CrashHarness
from tests.crash.scenarios import CONFIG_V2, SCENARIOS, Scenario, Workspace, find_lost_user_data

WRITING_SCENARIOS = [story for story in SCENARIOS if story.name in ("flag", "halt", "git revert", "archive", "restore")]
FAULT_DURATION = 20_000
"""ms after which the disk is well again."""


@pytest.fixture(scope="module", autouse=True)
def _mounts() -> None:
    if missing := harness.mounts_unavailable():
        pytest.skip(missing)


@pytest.mark.parametrize("story", WRITING_SCENARIOS, ids=lambda story: story.name)
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_whenever_the_disk_gives_out_the_files_are_whole_and_the_run_ends(
    story: Scenario, trouble: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    template = harness.make_template(story, tmp_path / "0", "")
    whole = harness.copy_template(template, Workspace(tmp_path / "1", ""))
    code, said = harness.run_in_fork(harness.make_first_process(whole, story))
    assert code == 0, said
    columns, _, names = json.loads((whole.folder / "points.json").read_text())
    points = [point for point in harness.select_points(columns) if columns[point - 1] not in ("queue", "watch", "end")][
        ::2
    ]

    wrong, tried = [], []
    for point in points:
        world = Workspace(tmp_path / str(point + 1), "")
        code, said = harness.run_in_fork(partial(_run_with_fault, template, world, story, point, trouble))
        tried.append((columns[point - 1], code == 0))
        if code != 0:
            wrong.append(f"{columns[point - 1]} (point {point}, {names[point - 1]}): {said}")
    request.node.user_properties.append(("crash", [story.name, trouble, tried]))
    assert not wrong, "\n".join(wrong)


def _run_with_fault(template: Workspace, workspace: Workspace, scenario: Scenario, point: int, kind: str) -> None:
    """A whole life on a disk of its own. The journal lies on it where it is full, and elsewhere where it is read-only."""
    harness.unshare_mounts()
    workspace.folder.mkdir()
    disk = workspace.folder if kind == "full" else workspace.bot
    disk.mkdir(exist_ok=True)
    harness.mount("-t", "tmpfs", "-o", "size=24m", "tmpfs", disk)
    harness.copy_template_into(template, workspace)
    life = CrashHarness(workspace, scenario)
    life.journal.disk_reserve.fill()
    life.counted_points.fault_at = point
    trip = DiskFault(life, disk, kind)
    life.counted_points.inject_fault = trip.start
    life.counted_points.on_each_point = trip.refill
    life.on_clock_advance = trip.stop_when_expired
    run = life.get_or_queue_run()
    life.run_to_end()

    assert trip.has_started
    trip.stop()
    ended = life.get_run(run)
    assert ended.status == "ended"
    assert not [row[0] for row in life.journal.query("SELECT say FROM step WHERE status = 'started'")]
    # What lies beside a file when the disk turns read-only can be removed by nobody; the next step does.
    assert [one for one in find_lost_user_data(workspace) if kind == "full" or not one.startswith("left behind")] == []
    effects = scenario.read_effects(workspace)
    assert all(
        effects.count(one) <= scenario.expected_effects.count(one)
        for one in effects
        if one in scenario.expected_effects
    ), effects
    if ended.outcome == "proven":
        assert set(scenario.expected_effects) <= set(effects), effects
        assert scenario.is_healthy(workspace)
    else:
        assert life.latch_reason()
        assert life.critical_messages()
    config = (workspace.bot / "config.py").read_text()
    assert [line.split(" = ")[0] for line in config.splitlines()] == [
        line.split(" = ")[0] for line in CONFIG_V2.splitlines()
    ]
    if scenario.name in ("archive", "restore"):  # the originals, or what takes their place, and never neither
        assert (workspace.bot / "state").exists() or effects == scenario.expected_effects or scenario.name == "restore"
    assert life.journal.query("PRAGMA integrity_check")[0][0] == "ok"


class DiskFault:
    """A disk that gives out, for a while."""

    def __init__(self, life: CrashHarness, disk: Path, kind: str) -> None:
        self._life, self._disk, self._kind = life, disk, kind
        self._since: int | None = None
        self.is_over = False

    def start(self) -> None:
        self._since = self._life.now
        if self._kind == "full":
            self._fill()
        else:
            harness.mount("-o", "remount,ro", self._disk)

    def refill(self) -> None:
        """Whatever becomes free is taken by somebody else at once."""
        if self._since is not None and not self.is_over and self._kind == "full":
            self._fill()

    def stop_when_expired(self) -> None:
        if self._since is not None and self._life.now >= self._since + FAULT_DURATION:
            self.stop()

    @property
    def has_started(self) -> bool:
        return self._since is not None

    def stop(self) -> None:
        if not self.is_over:
            self.is_over = True
            if self._kind == "full":
                (self._disk / "somebody-elses").unlink()
            else:
                harness.mount("-o", "remount,rw", self._disk)

    def _fill(self) -> None:
        with (self._disk / "somebody-elses").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 4_096):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass


def test_a_journal_on_a_full_disk_says_so_and_nothing_is_lost(tmp_path: Path) -> None:
    """The driver's disk really is full: what these tests stand on."""

    def fills() -> None:
        harness.unshare_mounts()
        disk = tmp_path / "disk"
        disk.mkdir()
        harness.mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)
        with contextlib.closing(sqlite3.connect(disk / "x.db")) as db:
            db.execute("CREATE TABLE t (x)")
            db.commit()
            (disk / "somebody-elses").write_bytes(b"x" * ((1 << 20) - 40_960))
            with pytest.raises(sqlite3.OperationalError, match="full"), db:
                db.execute("INSERT INTO t VALUES (zeroblob(500000))")

    code, said = harness.run_in_fork(fills)
    assert code == 0, said
