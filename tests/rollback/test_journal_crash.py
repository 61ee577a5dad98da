"""A plan run that is cut off at any journal boundary goes on to the same end, in process and with a clock of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from watchdog.core.model import JsonObject, Message, Verdict
from watchdog.core.target import Target
from watchdog.core.telemetry import Telemetry
from watchdog.journal.runs import PlanRun
from watchdog.journal.sqlite import SqliteJournal
from watchdog.plans.models import Halt, Plan, Repair, serialize_plan
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.runner import RollbackRunner
from watchdog.rules import Patience
from watchdog.rules.state_machine import MachineConfig, StateKey

CONFIG_PY = "T = True\nA = True\nB = True\n"
LADDER_PLAN: dict[str, Any] = {
    "kind": "repair",
    "mode": "auto",
    "exhausted": "leave-running",
    "before": [{"do": "flag", "file": "config.py", "set": {"T": False}}],
    "proven": [{"do": "flag", "file": "config.py", "set": {"T": True}}],
    "verify": {"settle": "1s", "quiet": "1s", "give_up": "10s", "watch": "1s"},
    "levels": [
        {"name": "one", "steps": [{"do": "flag", "file": "config.py", "set": {"A": False}}]},
        {"name": "two", "steps": [{"do": "flag", "file": "config.py", "set": {"B": False}}]},
    ],
}
ERRORS_KEY = StateKey("errors", "crit", ())


class SimulatedCrashError(BaseException):
    """The process is gone; nothing of it may catch this."""


class JournalCrashHarness:
    """The rollback with a journal and a file, and nothing else that is real."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.py"
        self.now = 1_000_000
        self.message_titles: list[str] = []
        self.commits = 0
        self.crash_at_commit: int | None = None
        self.outcome: Callable[[], str] = lambda: "bad" if "B = True" in self.config.read_text() else "ok"
        self.on_clock_read: Callable[[], None] = lambda: None
        self.open()

    def open(self) -> None:
        self.journal = SqliteJournal(self.folder / "journal.db")
        write = self.journal.transaction

        @contextmanager
        def counted(*, defer_sync: bool = False) -> Iterator[Any]:
            inner = self.journal._db.in_transaction
            with write(defer_sync=defer_sync) as tx:
                yield tx
            if not inner:
                self.commits += 1
                if self.commits == self.crash_at_commit:
                    raise SimulatedCrashError

        self.journal.transaction = counted  # type: ignore[method-assign]  # the process dies right after a commit
        self.rollback = RollbackRunner(self.make_context())
        self.rollback._wake["bot"] = asyncio.Event()

    def make_context(self) -> RollbackContext:
        async def offload(
            key: str, deadline: float, call: Callable[..., object], *args: object, **kw: object
        ) -> object:
            return call(*args, **kw)

        def evidence(
            target: str, keys: Sequence[StateKey], that: Sequence[str], since: int, now: int, siblings: JsonObject
        ) -> tuple[list[Verdict], dict[str, bool | None]]:
            seen = self.outcome()
            verdict = Verdict("errors", "crit", (), seen, seen, 0.5, 0.1, seen == "ok", now)  # type: ignore[arg-type]
            return [verdict] if keys else [], dict.fromkeys(that, seen == "ok" or None)

        def tell(message: Message) -> None:
            self.message_titles.append(message.title)

        return RollbackContext(
            journal=self.journal,
            telemetry=Telemetry("0"),
            clock=self.clock,
            offload=offload,
            incident_machine_configs=lambda incident, target: {ERRORS_KEY: MachineConfig(Patience(duration=300))},
            evidence=evidence,
            still_needed=lambda run: True,
            queue_halt=lambda *_: True,
            notify=tell,
            run_ended=lambda target: None,
        )

    def clock(self) -> int:
        """Every look at the clock takes a tenth of a second, and every wait is over at once."""
        self.now += 100
        self.rollback._wake["bot"].set()
        self.on_clock_read()
        return self.now

    def queue_run(self, plan: dict[str, Any], *, kind: str = "repair") -> int:
        known: Halt | Repair = TypeAdapter(Plan).validate_python(plan)
        place = Target(repo=str(self.folder)).model_dump_json(include={"repo"})
        self.journal.targets.get_state("bot", self.now)
        incident = self.journal.incidents.find_open("bot")
        with self.journal.transaction() as tx:
            number = incident.id if incident else tx.incidents.open_incident("bot", "crit", "errors", self.now)
            return tx.runs.queue_run(
                incident=number,
                target="bot",
                plan=kind,
                kind=kind,
                text=serialize_plan(known),
                place=place,
                by="rule errors",
                now=self.now,
            )

    def execute(self, run: int) -> PlanRun:
        asyncio.run(self.rollback.execute(self.journal.runs.get_run(run)))
        return self.journal.runs.get_run(run)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[JournalCrashHarness]:
    (tmp_path / "config.py").write_text(CONFIG_PY)
    one = JournalCrashHarness(tmp_path)
    yield one
    one.journal.close()


def test_the_second_level_helps_when_the_first_does_not(harness: JournalCrashHarness) -> None:
    run = harness.execute(harness.queue_run(LADDER_PLAN))

    assert (run.outcome, run.level) == ("proven", 1)
    assert harness.config.read_text() == "T = True\nA = False\nB = False\n"
    assert [(step.phase, step.level, step.status) for step in harness.journal.runs.list_steps(run.id)] == [
        ("before", 0, "done"),
        ("level", 0, "done"),
        ("level", 1, "done"),
        ("proven", 1, "done"),
    ]


@pytest.mark.slow
def test_a_crash_at_any_commit_changes_nothing_about_the_end(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.py").write_text(CONFIG_PY)
    whole = JournalCrashHarness(tmp_path / "whole")
    number = whole.queue_run(LADDER_PLAN)
    before = whole.commits
    whole.execute(number)
    commits = whole.commits - before
    whole.journal.close()
    assert commits > 12

    for n in range(1, commits + 1):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "config.py").write_text(CONFIG_PY)
        harness = JournalCrashHarness(folder)
        number = harness.queue_run(LADDER_PLAN)
        harness.crash_at_commit = harness.commits + n
        with pytest.raises(SimulatedCrashError):
            harness.execute(number)
        harness.journal.close()

        harness.crash_at_commit = None
        harness.open()
        run = harness.journal.runs.get_run(number)
        run = run if run.ended else harness.execute(number)
        steps = harness.journal.runs.list_steps(number)
        harness.journal.close()

        assert (run.outcome, run.level) == ("proven", 1), f"commit {n}: {run.reason}"
        assert harness.config.read_text() == "T = True\nA = False\nB = False\n", f"commit {n}"
        assert all(step.status in ("done", "skipped") for step in steps), f"commit {n}"


def test_no_evidence_is_no_proof_and_the_target_is_latched(harness: JournalCrashHarness) -> None:
    harness.outcome = lambda: "nodata"

    run = harness.execute(harness.queue_run(LADDER_PLAN))

    assert (run.outcome, run.level) == ("exhausted", 0)
    assert "B = True" in harness.config.read_text()  # nothing is tried blindly
    assert harness.journal.targets.get_state("bot", harness.now).latched is not None
    assert any("exhausted" in title for title in harness.message_titles)


def test_somebody_elses_edit_in_the_middle_stops_the_plan(harness: JournalCrashHarness) -> None:
    def meddle() -> None:
        if "A = False" in harness.config.read_text():
            harness.config.write_text("T = True\nA = 7\nB = True\n")

    harness.on_clock_read = meddle

    run = harness.execute(harness.queue_run(LADDER_PLAN))

    assert run.outcome == "stopped"
    assert harness.config.read_text() == "T = True\nA = 7\nB = True\n"
    assert harness.journal.targets.get_state("bot", harness.now).latched is not None


def test_a_halt_that_is_queued_overtakes_the_repair_before_its_next_step(harness: JournalCrashHarness) -> None:
    halt = {
        "kind": "halt",
        "levels": [
            {
                "name": "stop",
                "steps": [{"do": "flag", "file": "config.py", "set": {"T": False}}],
                "verify": {"that": ["stopped"], "give_up": "5s"},
            }
        ],
    }
    queued: list[int] = []

    def trip() -> None:
        if "A = False" in harness.config.read_text() and not queued:
            queued.append(0)
            queued[0] = harness.queue_run(halt, kind="halt")

    harness.on_clock_read = trip
    repair = harness.execute(harness.queue_run(LADDER_PLAN))
    harness.outcome = lambda: "ok"
    halted = harness.execute(queued[0])

    assert repair.outcome == "overtaken"
    assert halted.outcome == "proven"
    assert harness.config.read_text() == "T = False\nA = False\nB = True\n"


def test_a_plan_that_cannot_be_read_is_not_carried_out(harness: JournalCrashHarness) -> None:
    number = harness.queue_run(LADDER_PLAN)
    with harness.journal.transaction():
        harness.journal.execute("UPDATE run SET text = ?", '{"kind": "repair", "spell": "abracadabra"}')

    run = harness.execute(number)

    assert run.outcome == "stopped"
    assert harness.config.read_text() == CONFIG_PY
    assert harness.journal.targets.get_state("bot", harness.now).latched is not None
