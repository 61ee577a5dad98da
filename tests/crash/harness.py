"""A process of its own that carries a plan out, and what may happen to it on the way."""

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

from tests.crash.scenarios import Scenario, Workspace, setup_workspace
from tests.rollback.harness import START, CrashPoints, RollbackHarness, flag_step, make_halt, make_repair, unwrap_call
from watchdog.core.model import Millis
from watchdog.rollback.runner import RollbackRunner

PHASES = ("queue", "queued", "begun", "started", "act", "applied", "done", "verify", "proven", "watch", "end")
_RENAME_CALLS = ("replace", "rename", "link", "unlink", "rmdir")
"""Changes of a name in the file system."""
_EXTERNAL_CALLS: list[tuple[Any, str]] = [(subprocess, "Popen"), (http.client.HTTPConnection, "getresponse")]
"""The start of a program; between a request and its answer."""


class CountedCrashPoints(CrashPoints):
    """Counts the points; at the one that is wanted, something happens."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.get_phase: Callable[[str], str] = lambda _: ""
        self.phases: list[str] = []
        self.fault_at = 0
        self.inject_fault: Callable[[], None] = lambda: None
        self.on_each_point: Callable[[], None] = lambda: None

    def __call__(self, what: str) -> None:
        self.count += 1
        self.on_each_point()
        if not self.fault_at:
            self.passed.append(what)
            self.phases.append(self.get_phase(what))
        elif self.count == self.fault_at:
            self.inject_fault()


class CrashHarness(RollbackHarness):
    """A harness whose crash points lie within the actions, too."""

    def __init__(self, workspace: Workspace, scenario: Scenario, *, now: Millis | None = None) -> None:
        super().__init__(workspace.folder, **({} if now is None else {"now": now}))
        self.workspace, self.scenario = workspace, scenario
        self.counted_points = CountedCrashPoints()
        self.counted_points.get_phase = self._current_phase
        self.boundary = self.counted_points
        self.journal._crash_points = self.counted_points
        self.apply_phase = ""
        """`before`, `in` or `after` an act."""
        self.steps_at_last_check = -1
        self.stopped = asyncio.Event()
        self.on_clock_advance: Callable[[], None] = lambda: None
        """Called as time goes by."""
        step = scenario.make_step(workspace)
        after = [flag_step("other.yaml", size=1)]
        verify = {"that": ["alive == 1"], "give_up": "5s"}
        self.plans = {
            "ladder": make_halt(levels=[{"name": "act", "steps": [step], "verify": verify}])
            if scenario.kind == "halt"
            else make_repair(
                before=list(scenario.before_steps), proven=after, levels=[{"name": "act", "steps": [step]}]
            ),
            "halt": make_halt(),
        }
        self.errors_outcome = lambda _: "ok" if scenario.is_healthy(workspace) else "bad"

    def get_or_queue_run(self) -> int:
        """The run, queued unless it is."""
        known = self.journal.query("SELECT id FROM run ORDER BY id")
        return int(known[0][0]) if known else self.queue_run()

    def queue_run(self, *args: Any, **kwargs: Any) -> int:
        number = super().queue_run(*args, **kwargs)
        place = self.workspace.target().model_dump_json(include={"repo", "unit", "process"})
        self.journal.query("UPDATE run SET place = ? WHERE id = ?", place, number)
        return number

    def run_to_end(self, *numbers: int) -> None:
        """To the end, or to a SIGTERM."""

        async def play() -> None:
            self.stopped = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopped.set)
            self.rollback = RollbackRunner(self._make_context())
            self.start_targets()
            await self.advance_until(self._is_finished)
            await self.stop()

        asyncio.run(play())

    def _is_finished(self) -> bool:
        self.on_clock_advance()
        return self.stopped.is_set() or not self.open_runs()

    def _current_phase(self, what: str) -> str:
        """Where in its plan the run is, as the journal has it."""
        known = self.journal.query("SELECT id FROM run ORDER BY id")
        if not known:
            return "queue"
        run, steps = self.get_run(known[0][0]), self.journal.runs.list_steps(known[0][0])
        if run.status == "queued":
            return "queued"
        if run.status in ("watching", "ended"):
            return "watch" if run.status == "watching" else "end"
        if any(step.phase == "proven" for step in steps):
            return "proven"
        if any(step.status == "started" for step in steps):
            return {"": "started", "before": "started", "in": "act", "after": "applied"}[self.apply_phase]
        if any(step.phase == "level" for step in steps):
            return "verify" if self.steps_at_last_check == len(steps) else "done"
        return "begun"

    async def _offload(self, key: str, deadline: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call, args = unwrap_call(call, args)
        owner = getattr(call, "__self__", None)
        if call.__name__ != "apply" or owner is None:
            return call(*args, **kwargs)
        self.apply_phase = "before"
        self.counted_points(f"before {owner.describe()}")
        self.apply_phase = "in"
        try:
            with _instrument_syscalls(self):
                return call(*args, **kwargs)
        finally:
            self.apply_phase = "after"
            self.counted_points(f"after {owner.describe()}")

    def _evidence(
        self, target: str, terms: Collection[Any], that: Any, since: Millis, now: Millis, siblings: Any
    ) -> Any:
        steps = len(self.journal.runs.list_steps(1))
        if self.steps_at_last_check != steps:
            self.counted_points("look")
            self.steps_at_last_check = steps
        return super()._evidence(target, terms, that, since, now, siblings)

    def _mute(self, names: Collection[str]) -> None:
        pass


@contextlib.contextmanager
def _instrument_syscalls(harness: CrashHarness) -> Any:
    """A point ahead of each change of a name, around the start of each program, and between request and answer."""
    kept: list[tuple[Any, str, Any]] = [(os, name, getattr(os, name)) for name in _RENAME_CALLS]
    kept += [(owner, name, getattr(owner, name)) for owner, name in _EXTERNAL_CALLS]

    def named(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            harness.counted_points(f"{name} {Path(os.fsdecode(args[-1])).name if name != 'rmdir' else ''}")
            answer = real(*args, **kwargs)
            if name in ("replace", "rename") and not (there := Path(os.fsdecode(args[1])).name).startswith("."):
                with (harness.folder / "replaced").open("a") as log:
                    log.write(f"{there}\n")
            return answer

        return change

    def program(real: Callable[..., Any]) -> Callable[..., Any]:
        def start(argv: Any, *args: Any, **kwargs: Any) -> Any:
            harness.counted_points("start of a program")
            return real(argv, *args, **kwargs)  # that it runs is the next point: its number is written down

        return start

    def answered(real: Callable[..., Any]) -> Callable[..., Any]:
        def getresponse(*args: Any, **kwargs: Any) -> Any:
            harness.counted_points("sent")
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


def mounts_unavailable() -> str | None:
    """What is missing for a disk of a test's own, or None."""
    if os.geteuid() != 0:
        return "needs root, to mount a small disk of its own"
    code, said = run_in_fork(unshare_mounts)
    return None if code == 0 else f"needs mounts: {said.strip().splitlines()[-1:]}"


def unshare_mounts() -> None:
    """From now on what this process mounts is seen by nobody else, and is gone when it ends."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x00020000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    mount("--make-rprivate", "/")


def mount(*args: str | Path) -> None:
    subprocess.run(["mount", *map(str, args)], check=True, capture_output=True)


def run_in_fork(callback: Callable[[], None]) -> tuple[int, str]:
    """Runs `callback` in a process of its own; (exit code, −9 after SIGKILL; what it said of a failure)."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        code = 1
        try:
            callback()
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


def make_first_process(
    workspace: Workspace,
    scenario: Scenario,
    *,
    fault_at: int = 0,
    inject_fault: Callable[[CrashHarness], None] | None = None,
) -> Callable[[], None]:
    """A run from the first commit on; at point number `fault_at` something happens to it. 0: its points are written down."""

    def live() -> None:
        scenario.setup_attempt(workspace)
        life = CrashHarness(workspace, scenario)
        life.counted_points.fault_at = fault_at
        if inject_fault is not None:
            life.counted_points.inject_fault = lambda: inject_fault(life)
        life.get_or_queue_run()
        life.run_to_end()
        if not fault_at:
            columns = [*life.counted_points.phases[:-1], "end"]
            (workspace.folder / "points.json").write_text(
                json.dumps([columns, life.message_titles(), life.counted_points.passed])
            )

    return live


def copy_template(template: Workspace, workspace: Workspace) -> Workspace:
    shutil.copytree(template.folder, workspace.folder, symlinks=True)
    return workspace


def copy_template_into(template: Workspace, workspace: Workspace) -> None:
    """Into folders that are there already."""
    shutil.copytree(template.folder, workspace.folder, symlinks=True, dirs_exist_ok=True)


def make_template(scenario: Scenario, folder: Path, api: str) -> Workspace:
    world = Workspace(folder, api)
    folder.mkdir()
    setup_workspace(world, scenario)
    return world


def select_points(phases: list[str]) -> list[int]:
    """Numbers of the points to try: of each column the first and the last, of acts four; all when CRASH_POINTS says so."""
    numbers = list(range(1, len(phases) + 1))
    if os.environ.get("CRASH_POINTS") == "all":
        return numbers
    picked: set[int] = set()
    for column in PHASES:
        mine = [number for number in numbers if phases[number - 1] == column]
        step = max(1, -(-len(mine) // (3 if column == "act" else 1)))
        picked |= {*mine[::step], *mine[-1:]}
    return sorted(picked)


def time_after_last_event(workspace: Workspace) -> Millis:
    """A second after the last thing that the journal knows of."""
    with contextlib.closing(sqlite3.connect(workspace.folder / "journal.db")) as db:
        (last,) = db.execute("SELECT max(t) FROM event").fetchone()
    return (last or START) + 1_000


def prepend_to_path(workspace: Workspace) -> None:
    """The world's own programs go first."""
    os.environ["PATH"] = f"{workspace.folder / 'bin'}:{os.environ['PATH']}"


def send_sigkill(_: CrashHarness) -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def send_sigterm(_: CrashHarness) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
