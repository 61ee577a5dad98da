"""A rollback without a daemon: a real journal and real files, a clock that is moved by hand, and a death at any point.

What the bot does follows from its files, as it would in life: `errors_outcome` says which edits make it well again.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from watchdog.actions.values.editor import get_values
from watchdog.core.executor import DirectExecutor
from watchdog.core.model import JsonObject, Message, Millis, Outcome, Uncounted, Verdict
from watchdog.core.offload import ThreadOffload
from watchdog.core.target import Target
from watchdog.core.telemetry import Telemetry
from watchdog.journal.runs import PlanRun, Step
from watchdog.journal.sqlite import SqliteJournal, SqliteTransaction
from watchdog.plans.models import Halt, Repair, serialize_plan
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.runner import RollbackRunner
from watchdog.rules import Patience
from watchdog.rules.state_machine import MachineConfig, StateKey

START = 1_700_000_000_000
SECOND = 1_000
ERRORS_KEY = StateKey("errors", "crit", ())
FIRST_LEVEL_STEP = "before set FEATURE = false in config.py"
LADDER_STEPS = [
    ("before", 0, "set TRADING = false in config.py", "done"),
    ("level", 0, "set FEATURE = false in config.py", "done"),
    ("level", 1, "set MODEL = 1 in config.py", "done"),
    ("level", 1, "set size = 1 in other.yaml", "done"),
    ("proven", 1, "set TRADING = true in config.py", "done"),
]
"""What a ladder does whose second level helps."""
NO_ENTRIES_STEP = ("level", 0, "set TRADING = false in config.py", "done")
CONFIG_PY = "TRADING = True\nFEATURE = True\nMODEL = 2\n"


class SimulatedKill(BaseException):
    """kill -9: nothing of the process is left but what it wrote."""


class CrashPoints:
    """Every point at which a death makes a difference: before each transaction, before and after each act.

    Who dies while looking dies as before the next of these.
    """

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.crash_after = 0
        """Which of those still to come is the last; 0 = none."""
        self.crash_at = ""
        """The same by name."""

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        if point == self.crash_at:
            raise SimulatedKill(point)
        if self.crash_after:
            self.crash_after -= 1
            if not self.crash_after:
                raise SimulatedKill(point)


class CrashingJournal(SqliteJournal):
    """A journal whose process may die ahead of any commit."""

    def __init__(self, path: Path, crash_points: CrashPoints) -> None:
        super().__init__(path, durable=False)  # nothing here cuts the power, and a flush takes its time
        self._crash_points = crash_points

    @contextmanager
    def transaction(self, *, defer_sync: bool = False) -> Iterator[SqliteTransaction]:
        if hasattr(self, "_crash_points") and not self._db.in_transaction:
            self._crash_points("commit")
        with super().transaction(defer_sync=defer_sync) as tx:
            yield tx


def flag_step(file: str = "config.py", **values: Any) -> dict[str, Any]:
    return {"do": "flag", "file": file, "set": values}


def command_step(word: str) -> dict[str, Any]:
    """A command that leaves a line for each time that it ran, and a check that looks for it."""
    return {
        "do": "command",
        "run": ["sh", "-c", f"echo {word} >> effects"],
        "check": ["sh", "-c", f"test -e effects || exit 1; grep -qx {word} effects"],
    }


VERIFY_OPTIONS = {"settle": "1s", "that": ["alive == 1"], "quiet": "1s", "give_up": "20s", "watch": "2s"}


def make_repair(**overrides: Any) -> Repair:
    """Two levels: the feature's flag (which does not help a bot with MODEL 2), and the model."""
    return Repair.model_validate(
        {
            "kind": "repair",
            "mode": "auto",
            "exhausted": "halt",
            "before": [flag_step(TRADING=False)],
            "proven": [flag_step(TRADING=True)],
            "verify": VERIFY_OPTIONS,
            "levels": [
                {"name": "feature", "steps": [flag_step(FEATURE=False)]},
                {"name": "version", "steps": [flag_step(MODEL=1), flag_step("other.yaml", size=1)]},
            ],
        }
        | overrides
    )


def make_halt(**overrides: Any) -> Halt:
    return Halt.model_validate(
        {
            "kind": "halt",
            "levels": [
                {
                    "name": "no-entries",
                    "steps": [flag_step(TRADING=False)],
                    "verify": {"that": ["alive == 1"], "give_up": "5s"},
                }
            ],
        }
        | overrides
    )


def unwrap_call(call: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What is really called, when it is called in the owner's name."""
    if isinstance(call, partial):
        first: tuple[Any, ...] = call.args
        call, args = call.func, (*first, *args)
    if isinstance(getattr(call, "__self__", None), DirectExecutor):
        return args[1], args[2:]
    return call, args


class RollbackHarness:
    """One target, or several, in a folder; a new harness in the same folder is the next process."""

    def __init__(self, make_folder: Path, *, now: Millis = START) -> None:
        self.folder = make_folder
        self.now = now
        self.uncounted = Uncounted()
        self.crash_points = CrashPoints()
        self.journal = CrashingJournal(make_folder / "journal.db", self.crash_points)
        self.telemetry = Telemetry("test")
        self.plans: dict[str, Halt | Repair] = {"ladder": make_repair(), "halt": make_halt()}
        self.errors_outcome: Callable[[dict[str, str]], Outcome] = lambda config: (
            "bad" if config["MODEL"] == "2" else "ok"
        )
        """What the rule `errors` says, given the target's configuration."""
        self.outcomes_by_key: dict[StateKey, Callable[[dict[str, str]], Outcome]] = {}
        """What other rules say."""
        self.named_machine_configs: Callable[[str, Collection[str]], dict[StateKey, MachineConfig]] = lambda *_: {}
        self.mute_calls: list[list[str]] = []
        """What was muted, each time that changed."""
        self.hold_reason: str | None = None
        self.tripped_rule: Callable[[], str | None] = lambda: None
        """A rule with a plan that has tripped just now …"""
        self.tripped_rule_since: Callable[[str, Millis], str | None] = lambda *_: self.tripped_rule()
        """… or since then."""
        self.condition_result: Callable[[str], bool | None] = lambda _: True
        self.is_wanted: Callable[[PlanRun], bool | None] = lambda _: True
        self.before_call: Callable[[str, str], None] = lambda *_: None
        """Called ahead of each act in the world with the action's verb and its words."""
        self.pool: ThreadOffload | None = None
        """Real threads, for what takes real time."""
        self.applied_steps: list[str] = []
        """What was applied, in order …"""
        self.changed_steps: list[str] = []
        """… and which of that changed a file."""
        self.ended_targets: list[str] = []
        self.rollback = RollbackRunner(self._make_context())

    def make_target(self, name: str = "bot") -> Path:
        """A target's folder with a configuration; in the journal since now."""
        place = self.folder / name
        if not place.exists():
            place.mkdir()
            (place / "config.py").write_text(CONFIG_PY)
            (place / "other.yaml").write_text("size: 5\n")
        self.journal.targets.get_state(name, self.now)
        return place

    def deploy_v2(self, before: str, after: str, name: str = "bot") -> Path:
        """The target's folder as a repository in which v2, a tag too, has changed one line of the configuration."""
        place = self.make_target(name)
        git = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "v1"]):
            subprocess.run([*git, *arguments], cwd=place, check=True)
        (place / "config.py").write_text(CONFIG_PY.replace(before, after))
        for arguments in (["commit", "-q", "-a", "-m", "v2"], ["tag", "v2"]):
            subprocess.run([*git, *arguments], cwd=place, check=True)
        return place

    def open_incident(self, name: str = "bot") -> int:
        """An open incident in which `errors` tripped."""
        known = self.journal.incidents.find_open(name)
        if known is not None:
            return known.id
        with self.journal.transaction() as tx:
            number = tx.incidents.open_incident(name, "crit", "errors", self.now)
            tx.incidents.add_trip(number, *ERRORS_KEY[:3], "errors 50 %", "ladder", self.now)
        return number

    def queue_run(
        self,
        plan: str = "ladder",
        target: str = "bot",
        *,
        by: str = "rule errors",
        level: int = 0,
        text: str | None = None,
        incident: int | None = -1,
    ) -> int:
        """`incident` −1: the open one, opened if need be."""
        place, known = self.make_target(target), self.plans[plan]
        number = self.open_incident(target) if incident == -1 else incident
        with self.journal.transaction() as tx:
            return tx.runs.queue_run(
                incident=number,
                target=target,
                plan=plan,
                kind=known.kind,
                text=text or serialize_plan(known),
                place=Target(repo=str(place)).model_dump_json(include={"repo"}),
                by=by,
                now=self.now,
                level=level,
            )

    def get_run(self, number: int) -> PlanRun:
        return self.journal.runs.get_run(number)

    def steps(self, number: int) -> list[Step]:
        return self.journal.runs.list_steps(number)

    def step_outcomes(self, number: int) -> list[tuple[str, int, str, str]]:
        return [(step.phase, step.level, step.say, step.status) for step in self.steps(number)]

    def config_values(self, name: str = "bot") -> dict[str, str]:
        content = (self.folder / name / "config.py").read_bytes()
        return get_values(content, "config.py", ["TRADING", "FEATURE", "MODEL"])

    def effects(self, name: str = "bot") -> list[str]:
        file = self.folder / name / "effects"
        return file.read_text().split() if file.exists() else []

    def message_titles(self) -> list[str]:
        """Titles of all messages, in order."""
        return [row["title"] for row in self.journal.query("SELECT title FROM message ORDER BY id")]

    def critical_messages(self) -> list[str]:
        """All that critical messages say."""
        rows = self.journal.query("SELECT title, lines FROM message WHERE severity = 'crit' ORDER BY id")
        return [f"{row['title']} {row['lines']}" for row in rows]

    def latch_reason(self, name: str = "bot") -> str | None:
        return self.journal.targets.get_state(name, self.now).latch_why

    # time

    def sleep(self, span: Millis) -> None:
        """The machine does: nobody watches."""
        self.now += span
        self.uncounted = self.uncounted._replace(standstill=self.uncounted.standstill + span)

    def set_clock(self, step: Millis) -> None:
        """Somebody sets the machine's clock."""
        with self.journal.transaction() as tx:
            tx.follow_clock_step(step, self.now, 0)
        self.now += step
        self.uncounted = self.uncounted._replace(steps=self.uncounted.steps + step)

    async def advance_until(self, condition: Callable[[], object], seconds: float = 120, *, step: Millis = 500) -> None:
        """Moves the clock until the fact is there; fails when that takes longer than `seconds` of its time."""
        end = self.now + round(seconds * 1_000)
        while True:
            for _ in range(6):
                await asyncio.sleep(0)
            for task in self.rollback.tasks:
                if task.done():
                    task.result()
            if condition():
                return
            assert self.now < end, f"not within {seconds} s: {self.message_titles()}"
            self.now += step
            self.rollback.wake()

    async def advance_until_ended(self, *numbers: int, seconds: float = 120) -> None:
        await self.advance_until(lambda: all(self.get_run(number).ended is not None for number in numbers), seconds)

    def run_to_end(self, *numbers: int) -> None:
        """Carries these runs to their ends; all there are when none is named, with what they bring about."""

        async def play() -> None:
            self.rollback = RollbackRunner(self._make_context())
            self.start_targets()
            await self.advance_until(
                lambda: not self.open_runs() if not numbers else all(self.get_run(n).ended for n in numbers)
            )
            await self.stop()

        asyncio.run(play())

    def start_targets(self) -> None:
        for row in self.journal.query("SELECT name FROM target ORDER BY name"):
            self.rollback.start_target(row[0])

    async def stop(self) -> None:
        stopping = asyncio.ensure_future(self.rollback.stop())
        while not stopping.done():
            self.rollback.wake()
            await asyncio.sleep(0)

    def open_runs(self) -> list[int]:
        return [row[0] for row in self.journal.query("SELECT id FROM run WHERE status != 'ended' ORDER BY id")]

    def crashes(self) -> bool:
        """Carries everything out; True when this process died on the way."""
        try:
            self.run_to_end()
        except SimulatedKill:
            return True
        finally:
            self.journal.close()
        return False

    # what the runner is given

    def _make_context(self) -> RollbackContext:
        return RollbackContext(
            journal=self.journal,
            telemetry=self.telemetry,
            clock=lambda: self.now,
            offload=self._offload,
            incident_machine_configs=lambda *_: {ERRORS_KEY: MachineConfig(Patience(duration=500))},
            evidence=self._evidence,
            still_needed=self._get_wanted,
            queue_halt=self._halt,
            notify=self._notify,
            run_ended=self.ended_targets.append,
            rule_machine_configs=self._get_named_terms,
            mute_rules=lambda _, names: self._mute(names),
            hold_reason=lambda _: self.hold_reason,
            uncounted=lambda: self.uncounted,
            backup_folder=self.folder / ".backups",
            tripped_since=self._get_tripped_rule,
        )

    async def _offload(self, key: str, deadline: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """In this very thread unless there is a pool: what is to be told apart is what happened, not where."""
        if self.pool is not None:
            return await self.pool(key, deadline, call, *args, **kwargs)
        call, args = unwrap_call(call, args)
        owner = getattr(call, "__self__", None)
        say = owner.describe() if owner is not None and hasattr(owner, "describe") else ""
        self.before_call(call.__name__, say)
        if call.__name__ != "apply":
            return call(*args, **kwargs)
        files = self._file_contents()
        self.crash_points(f"before {say}")
        answer = call(*args, **kwargs)
        self.applied_steps.append(say)
        self.changed_steps += [say] * (self._file_contents() != files)
        self.crash_points(f"after {say}")
        return answer

    def _file_contents(self) -> list[bytes]:
        return [file.read_bytes() for file in sorted(self.folder.glob("*/*")) if file.is_file()]

    def _evidence(
        self,
        target: str,
        terms: Collection[StateKey],
        that: Collection[str],
        since: Millis,
        now: Millis,
        siblings: JsonObject,
    ) -> tuple[list[Verdict], dict[str, bool | None]]:
        config = self.config_values(target)
        verdicts = []
        for key in terms:
            outcome = self.outcomes_by_key.get(key, self.errors_outcome)(config) if now > since else "nodata"
            verdicts.append(
                Verdict(
                    key.rule, "crit", key.labels, outcome, f"{key.rule} are {outcome}", 0.5, 0.1, outcome == "ok", now
                )
            )
        return verdicts, {text: self.condition_result(text) for text in that}

    def _get_named_terms(self, target: str, names: Collection[str]) -> dict[StateKey, MachineConfig]:
        return self.named_machine_configs(target, names)  # asked anew: a test may change its mind

    def _get_tripped_rule(self, target: str, since: Millis) -> str | None:
        return self.tripped_rule_since(target, since)

    def _mute(self, names: Collection[str]) -> None:
        if not self.mute_calls or self.mute_calls[-1] != list(names):
            self.mute_calls.append(list(names))

    def _get_wanted(self, run: PlanRun) -> bool | None:
        return self.is_wanted(run)  # asked anew: a test may change its mind

    def _halt(self, target: str, plan: str, by: str, incident: int | None) -> bool:
        if plan not in self.plans:
            return False
        self.queue_run(plan, target, by=by, incident=incident)
        return True

    def _notify(self, message: Message) -> None:
        with self.journal.transaction() as tx:
            tx.messages.enqueue(message, ["log"], self.now)


def restart(harness: RollbackHarness, downtime: int = 1_000) -> RollbackHarness:
    """The next process, some ms later: same folder, same plans, same bot."""
    harness.journal.close()
    successor = RollbackHarness(harness.folder, now=harness.now + downtime)
    successor.plans, successor.errors_outcome, successor.condition_result, successor.is_wanted = (
        harness.plans,
        harness.errors_outcome,
        harness.condition_result,
        harness.is_wanted,
    )
    successor.outcomes_by_key, successor.named_machine_configs, successor.hold_reason = (
        harness.outcomes_by_key,
        harness.named_machine_configs,
        harness.hold_reason,
    )
    return successor


def crash_at_point(harness: RollbackHarness, point: str) -> RollbackHarness:
    """Carries out until the given boundary is reached, and dies there; returns the next process."""
    harness.crash_points.crash_at = point
    assert harness.crashes(), f"{point} was never reached: {harness.crash_points.passed}"
    return restart(harness)
