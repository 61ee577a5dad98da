"""A disk that is full, or read-only, in the middle of a plan: a real one, small, mounted for one process alone."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from tests.crash import lives
from tests.crash.lives import Life
from tests.crash.stories import CONFIG, STORIES, Story, World, lost

WRITES = [story for story in STORIES if story.name in ("flag", "halt", "git revert", "archive", "restore")]
SPAN = 20_000
"""ms after which the disk is well again."""


@pytest.fixture(scope="module", autouse=True)
def _mounts() -> None:
    if missing := lives.needs_mounts():
        pytest.skip(missing)


@pytest.mark.parametrize("story", WRITES, ids=lambda story: story.name)
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_whenever_the_disk_gives_out_the_files_are_whole_and_the_run_ends(
    story: Story, trouble: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    template = lives.template_of(story, tmp_path / "0", "")
    whole = lives.fresh(template, World(tmp_path / "1", ""))
    code, said = lives.forked(lives.lived(whole, story))
    assert code == 0, said
    columns, _, names = json.loads((whole.folder / "points.json").read_text())
    points = [point for point in lives.chosen(columns) if columns[point - 1] not in ("queue", "watch", "end")][::2]

    wrong, tried = [], []
    for point in points:
        world = World(tmp_path / str(point + 1), "")
        code, said = lives.forked(partial(_suffers, template, world, story, point, trouble))
        tried.append((columns[point - 1], code == 0))
        if code != 0:
            wrong.append(f"{columns[point - 1]} (point {point}, {names[point - 1]}): {said}")
    request.node.user_properties.append(("crash", [story.name, trouble, tried]))
    assert not wrong, "\n".join(wrong)


def _suffers(template: World, world: World, story: Story, point: int, trouble: str) -> None:
    """A whole life on a disk of its own. The journal lies on it where it is full, and elsewhere where it is read-only."""
    lives.own_mounts()
    world.folder.mkdir()
    disk = world.folder if trouble == "full" else world.bot
    disk.mkdir(exist_ok=True)
    lives.mount("-t", "tmpfs", "-o", "size=24m", "tmpfs", disk)
    lives.bring(template, world)
    life = Life(world, story)
    life.journal.reserve.fill()
    life.points.at = point
    trip = Trouble(life, disk, trouble)
    life.points.happens = trip.begins
    life.points.each = trip.lasts
    life.meanwhile = trip.passes
    run = life.begin()
    life.play()

    assert trip.came
    trip.ends()
    ended = life.run(run)
    assert ended.status == "ended"
    assert not [row[0] for row in life.journal.rows("SELECT say FROM step WHERE status = 'started'")]
    # What lies beside a file when the disk turns read-only can be removed by nobody; the next step does.
    assert [one for one in lost(world) if trouble == "full" or not one.startswith("left behind")] == []
    effects = story.effects(world)
    assert all(effects.count(one) <= story.once.count(one) for one in effects if one in story.once), effects
    if ended.outcome == "proven":
        assert set(story.once) <= set(effects), effects
        assert story.well(world)
    else:
        assert life.latched()
        assert life.pages()
    config = (world.bot / "config.py").read_text()
    assert [line.split(" = ")[0] for line in config.splitlines()] == [
        line.split(" = ")[0] for line in CONFIG.splitlines()
    ]
    if story.name in ("archive", "restore"):  # the originals, or what takes their place, and never neither
        assert (world.bot / "state").exists() or effects == story.once or story.name == "restore"
    assert life.journal.rows("PRAGMA integrity_check")[0][0] == "ok"


class Trouble:
    """A disk that gives out, for a while."""

    def __init__(self, life: Life, disk: Path, kind: str) -> None:
        self._life, self._disk, self._kind = life, disk, kind
        self._since: int | None = None
        self.over = False

    def begins(self) -> None:
        self._since = self._life.now
        if self._kind == "full":
            self._fill()
        else:
            lives.mount("-o", "remount,ro", self._disk)

    def lasts(self) -> None:
        """Whatever becomes free is taken by somebody else at once."""
        if self._since is not None and not self.over and self._kind == "full":
            self._fill()

    def passes(self) -> None:
        if self._since is not None and self._life.now >= self._since + SPAN:
            self.ends()

    @property
    def came(self) -> bool:
        return self._since is not None

    def ends(self) -> None:
        if not self.over:
            self.over = True
            if self._kind == "full":
                (self._disk / "somebody-elses").unlink()
            else:
                lives.mount("-o", "remount,rw", self._disk)

    def _fill(self) -> None:
        with (self._disk / "somebody-elses").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 4_096):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass


def test_a_journal_on_a_full_disk_says_so_and_nothing_is_lost(tmp_path: Path) -> None:
    """The driver's disk really is full: what these tests stand on."""

    def fills() -> None:
        lives.own_mounts()
        disk = tmp_path / "disk"
        disk.mkdir()
        lives.mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)
        with contextlib.closing(sqlite3.connect(disk / "x.db")) as db:
            db.execute("CREATE TABLE t (x)")
            db.commit()
            (disk / "somebody-elses").write_bytes(b"x" * ((1 << 20) - 40_960))
            with pytest.raises(sqlite3.OperationalError, match="full"), db:
                db.execute("INSERT INTO t VALUES (zeroblob(500000))")

    code, said = lives.forked(fills)
    assert code == 0, said
