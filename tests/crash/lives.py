"""A life: a process of its own that carries a plan out, and what may happen to it on the way."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tests.crash.stories import Story, World, make
from tests.rollback.rig import START, Boundaries, Rig, flag, halt, repair
from watchdog.actions import repository
from watchdog.journal import runs
from watchdog.model import Millis
from watchdog.rollback import Rollback

COLUMNS = ("queue", "queued", "begun", "started", "act", "applied", "done", "verify", "proven", "watch", "end")
_NAMES = ("replace", "rename", "link", "unlink", "rmdir")
"""Changes of a name in the file system."""
_PROGRAMS: list[tuple[Any, str]] = [(subprocess, "Popen"), (http.client.HTTPConnection, "getresponse")]
"""The start of a program; between a request and its answer."""


class Points(Boundaries):
    """Counts the points; at the one that is wanted, something happens."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.column: Callable[[str], str] = lambda _: ""
        self.columns: list[str] = []
        self.at = 0
        self.happens: Callable[[], None] = lambda: None
        self.each: Callable[[], None] = lambda: None

    def __call__(self, what: str) -> None:
        self.count += 1
        self.each()
        if not self.at:
            self.seen.append(what)
            self.columns.append(self.column(what))
        elif self.count == self.at:
            self.happens()


class Life(Rig):
    """A rig whose points lie within the acts, too."""

    def __init__(self, world: World, story: Story, *, now: Millis | None = None) -> None:
        super().__init__(world.folder, **({} if now is None else {"now": now}))
        self.world, self.story = world, story
        self.points = Points()
        self.points.column = self._column
        self.boundary = self.points
        self.journal._boundary = self.points
        self.acting = ""
        """`before`, `in` or `after` an act."""
        self.looked = -1
        self.stopped = asyncio.Event()
        self.meanwhile: Callable[[], None] = lambda: None
        """Called as time goes by."""
        step = story.step(world)
        after = [flag("other.yaml", size=1)]
        verify = {"that": ["alive == 1"], "give_up": "5s"}
        self.plans = {
            "ladder": halt(levels=[{"name": "act", "steps": [step], "verify": verify}])
            if story.kind == "halt"
            else repair(before=list(story.before), proven=after, levels=[{"name": "act", "steps": [step]}]),
            "halt": halt(),
        }
        self.errors = lambda _: "ok" if story.well(world) else "bad"

    def begin(self) -> int:
        """The run, queued unless it is."""
        known = self.journal.rows("SELECT id FROM run ORDER BY id")
        return int(known[0][0]) if known else self.queue()

    def queue(self, *args: Any, **kwargs: Any) -> int:
        number = super().queue(*args, **kwargs)
        place = self.world.target().model_dump_json(include={"repo", "unit", "process"})
        self.journal.rows("UPDATE run SET place = ? WHERE id = ?", place, number)
        return number

    def play(self, *numbers: int) -> None:
        """To the end, or to a SIGTERM."""

        async def play() -> None:
            self.stopped = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopped.set)
            self.rollback = Rollback(self._hands())
            self.tend()
            await self.until(self._is_over)
            await self.stop()

        asyncio.run(play())

    def _is_over(self) -> bool:
        self.meanwhile()
        return self.stopped.is_set() or not self.unended()

    def _column(self, what: str) -> str:
        """Where in its plan the run is, as the journal has it."""
        known = self.journal.rows("SELECT id FROM run ORDER BY id")
        if not known:
            return "queue"
        run, steps = self.run(known[0][0]), runs.steps(self.journal, known[0][0])
        if run.status == "queued":
            return "queued"
        if run.status in ("watching", "ended"):
            return "watch" if run.status == "watching" else "end"
        if any(step.phase == "proven" for step in steps):
            return "proven"
        if any(step.status == "started" for step in steps):
            return {"": "started", "before": "started", "in": "act", "after": "applied"}[self.acting]
        if any(step.phase == "level" for step in steps):
            return "verify" if self.looked == len(steps) else "done"
        return "begun"

    async def _offload(self, key: str, deadline: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        owner = getattr(call, "__self__", None)
        if call.__name__ != "apply" or owner is None:
            return call(*args, **kwargs)
        self.acting = "before"
        self.points(f"before {owner.say()}")
        self.acting = "in"
        try:
            with _points_within(self):
                return call(*args, **kwargs)
        finally:
            self.acting = "after"
            self.points(f"after {owner.say()}")

    def _evidence(self, target: str, terms: Collection[Any], that: Any, since: Millis, now: Millis) -> Any:
        steps = len(runs.steps(self.journal, 1))
        if self.looked != steps:
            self.points("look")
            self.looked = steps
        return super()._evidence(target, terms, that, since, now)

    def _mute(self, names: Collection[str]) -> None:
        pass


@contextlib.contextmanager
def _points_within(life: Life) -> Any:
    """A point ahead of each change of a name, around the start of each program, and between request and answer."""
    kept: list[tuple[Any, str, Any]] = [(os, name, getattr(os, name)) for name in _NAMES]
    kept += [(owner, name, getattr(owner, name)) for owner, name in _PROGRAMS]

    def named(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            life.points(f"{name} {Path(os.fsdecode(args[-1])).name if name != 'rmdir' else ''}")
            answer = real(*args, **kwargs)
            if name == "replace":
                with (life.folder / "replaced").open("a") as log:
                    log.write(f"{Path(os.fsdecode(args[1])).name}\n")
            return answer

        return change

    def program(real: Callable[..., Any]) -> Callable[..., Any]:
        def start(argv: Any, *args: Any, **kwargs: Any) -> Any:
            life.points("start of a program")
            return real(argv, *args, **kwargs)  # that it runs is the next point: its number is written down

        return start

    def answered(real: Callable[..., Any]) -> Callable[..., Any]:
        def getresponse(*args: Any, **kwargs: Any) -> Any:
            life.points("sent")
            return real(*args, **kwargs)

        return getresponse

    for module, name, real in kept:
        wrapper = program(real) if name == "Popen" else answered(real) if name == "getresponse" else named(name, real)
        setattr(module, name, wrapper)
    try:
        yield
    finally:
        for module, name, real in kept:
            setattr(module, name, real)


def quiet_disks() -> None:
    """Processes die here, disks do not: nothing waits for them."""
    os.fsync = lambda _: None  # type: ignore[assignment]
    repository._ENV["GIT_TEST_FSYNC"] = "false"


def needs_mounts() -> str | None:
    """What is missing for a disk of a test's own, or None."""
    if os.geteuid() != 0:
        return "needs root, to mount a small disk of its own"
    code, said = forked(own_mounts)
    return None if code == 0 else f"needs mounts: {said.strip().splitlines()[-1:]}"


def own_mounts() -> None:
    """From now on what this process mounts is seen by nobody else, and is gone when it ends."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x00020000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    mount("--make-rprivate", "/")


def mount(*args: str | Path) -> None:
    subprocess.run(["mount", *map(str, args)], check=True, capture_output=True)


def forked(act: Callable[[], None]) -> tuple[int, str]:
    """Runs `act` in a process of its own; (exit code, −9 after SIGKILL; what it said of a failure)."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        code = 1
        try:
            quiet_disks()
            act()
            code = 0
        except BaseException:
            os.write(writes, traceback.format_exc()[-3_000:].encode())
        finally:
            os._exit(code)
    os.close(writes)
    with open(reads, "rb") as pipe:  # noqa: PTH123 - a handle
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said.decode("utf-8", "replace")


def lived(
    world: World, story: Story, *, at: int = 0, happens: Callable[[Life], None] | None = None
) -> Callable[[], None]:
    """A life from the first commit on; at point number `at` something happens to it. Without: what its points are."""

    def live() -> None:
        story.begin(world)
        life = Life(world, story)
        life.points.at = at
        if happens is not None:
            life.points.happens = lambda: happens(life)
        life.begin()
        life.play()
        if not at:
            columns = [*life.points.columns[:-1], "end"]
            (world.folder / "points.json").write_text(json.dumps([columns, life.told(), life.points.seen]))

    return live


def fresh(template: World, world: World) -> World:
    shutil.copytree(template.folder, world.folder, symlinks=True)
    return world


def bring(template: World, world: World) -> None:
    """Into folders that are there already."""
    shutil.copytree(template.folder, world.folder, symlinks=True, dirs_exist_ok=True)


def template_of(story: Story, folder: Path, api: str) -> World:
    world = World(folder, api)
    folder.mkdir()
    make(world, story)
    return world


def chosen(columns: list[str]) -> list[int]:
    """Numbers of the points to try: of each column the first and the last, of acts four; all when CRASH_POINTS says so."""
    numbers = list(range(1, len(columns) + 1))
    if os.environ.get("CRASH_POINTS") == "all":
        return numbers
    picked: set[int] = set()
    for column in COLUMNS:
        mine = [number for number in numbers if columns[number - 1] == column]
        step = max(1, -(-len(mine) // (3 if column == "act" else 1)))
        picked |= {*mine[::step], *mine[-1:]}
    return sorted(picked)


def later(world: World) -> Millis:
    """A second after the last thing that the journal knows of."""
    with contextlib.closing(sqlite3.connect(world.folder / "journal.db")) as db:
        (last,) = db.execute("SELECT max(t) FROM event").fetchone()
    return (last or START) + 1_000


def on_path(world: World) -> None:
    """The world's own programs go first."""
    os.environ["PATH"] = f"{world.folder / 'bin'}:{os.environ['PATH']}"


def kill(_: Life) -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def term(_: Life) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
