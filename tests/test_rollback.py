"""A plan run that is cut off at any journal boundary goes on to the same end, in process and with a clock of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from watchdog.actions.plan import Halt, Plan, Repair, write_plan
from watchdog.incidents import Key, Terms
from watchdog.journal import Journal, incidents, runs
from watchdog.journal.runs import Run
from watchdog.model import Target, Verdict
from watchdog.rollback import Hands, Rollback
from watchdog.rules import Patience
from watchdog.telemetry import Telemetry

START = "T = True\nA = True\nB = True\n"
LADDER: dict[str, Any] = {
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
KEY = Key("errors", "crit", ())


class CrashError(BaseException):
    """The process is gone; nothing of it may catch this."""


class House:
    """The rollback with a journal and a file, and nothing else that is real."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.py"
        self.now = 1_000_000
        self.told: list[str] = []
        self.commits = 0
        self.crash_at: int | None = None
        self.seen: Callable[[], str] = lambda: "bad" if "B = True" in self.config.read_text() else "ok"
        self.at_work: Callable[[], None] = lambda: None
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.folder / "journal.db")
        write = self.journal.write

        @contextmanager
        def counted(*, soon: bool = False) -> Iterator[Any]:
            inner = self.journal._db.in_transaction
            with write(soon=soon) as db:
                yield db
            if not inner:
                self.commits += 1
                if self.commits == self.crash_at:
                    raise CrashError

        self.journal.write = counted  # type: ignore[method-assign]  # the process dies right after a commit
        self.rollback = Rollback(self.hands())
        self.rollback._wake["bot"] = asyncio.Event()

    def hands(self) -> Hands:
        async def offload(
            key: str, deadline: float, call: Callable[..., object], *args: object, **kw: object
        ) -> object:
            return call(*args, **kw)

        def evidence(
            target: str, keys: Sequence[Key], that: Sequence[str], since: int, now: int
        ) -> tuple[list[Verdict], dict[str, bool | None]]:
            seen = self.seen()
            verdict = Verdict("errors", "crit", (), seen, seen, 0.5, 0.1, seen == "ok", now)  # type: ignore[arg-type]
            return [verdict] if keys else [], dict.fromkeys(that, seen == "ok" or None)

        def tell(severity: str, title: str, lines: Sequence[str], *, incident: int | None) -> None:
            self.told.append(title)

        return Hands(
            journal=self.journal,
            telemetry=Telemetry("0"),
            clock=self.clock,
            offload=offload,
            terms=lambda incident, target: {KEY: Terms(Patience(hold=300))},
            evidence=evidence,
            wanted=lambda run: True,
            halt=lambda *_: True,
            tell=tell,
            ended=lambda target: None,
        )

    def clock(self) -> int:
        """Every look at the clock takes a tenth of a second, and every wait is over at once."""
        self.now += 100
        self.rollback._wake["bot"].set()
        self.at_work()
        return self.now

    def queue(self, plan: dict[str, Any], *, kind: str = "repair") -> int:
        known: Halt | Repair = TypeAdapter(Plan).validate_python(plan)
        place = Target(repo=str(self.folder)).model_dump_json(include={"repo"})
        incidents.standing(self.journal, "bot", self.now)
        incident = incidents.current(self.journal, "bot")
        with self.journal.write() as db:
            number = incident.id if incident else incidents.open_incident(db, "bot", "crit", "errors", self.now)
            return runs.queue(
                db,
                incident=number,
                target="bot",
                plan=kind,
                kind=kind,
                text=write_plan(known),
                place=place,
                by="rule errors",
                now=self.now,
            )

    def carry(self, run: int) -> Run:
        asyncio.run(self.rollback.carry(runs.get(self.journal, run)))
        return runs.get(self.journal, run)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "config.py").write_text(START)
    one = House(tmp_path)
    yield one
    one.journal.close()


def test_the_second_level_helps_when_the_first_does_not(house: House) -> None:
    run = house.carry(house.queue(LADDER))

    assert (run.outcome, run.level) == ("proven", 1)
    assert house.config.read_text() == "T = True\nA = False\nB = False\n"
    assert [(step.phase, step.level, step.status) for step in runs.steps(house.journal, run.id)] == [
        ("before", 0, "done"),
        ("level", 0, "done"),
        ("level", 1, "done"),
        ("proven", 1, "done"),
    ]


def test_a_crash_at_any_commit_changes_nothing_about_the_end(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.py").write_text(START)
    whole = House(tmp_path / "whole")
    number = whole.queue(LADDER)
    before = whole.commits
    whole.carry(number)
    commits = whole.commits - before
    whole.journal.close()
    assert commits > 12

    for n in range(1, commits + 1):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "config.py").write_text(START)
        house = House(folder)
        number = house.queue(LADDER)
        house.crash_at = house.commits + n
        with pytest.raises(CrashError):
            house.carry(number)
        house.journal.close()

        house.crash_at = None
        house.open()
        run = runs.get(house.journal, number)
        run = run if run.ended else house.carry(number)
        steps = runs.steps(house.journal, number)
        house.journal.close()

        assert (run.outcome, run.level) == ("proven", 1), f"commit {n}: {run.reason}"
        assert house.config.read_text() == "T = True\nA = False\nB = False\n", f"commit {n}"
        assert all(step.status in ("done", "skipped") for step in steps), f"commit {n}"


def test_no_evidence_is_no_proof_and_the_target_is_latched(house: House) -> None:
    house.seen = lambda: "nodata"

    run = house.carry(house.queue(LADDER))

    assert (run.outcome, run.level) == ("exhausted", 0)
    assert "B = True" in house.config.read_text()  # nothing is tried blindly
    assert incidents.standing(house.journal, "bot", house.now).latched is not None
    assert any("exhausted" in title for title in house.told)


def test_somebody_elses_edit_in_the_middle_stops_the_plan(house: House) -> None:
    def meddle() -> None:
        if "A = False" in house.config.read_text():
            house.config.write_text("T = True\nA = 7\nB = True\n")

    house.at_work = meddle

    run = house.carry(house.queue(LADDER))

    assert run.outcome == "stopped"
    assert house.config.read_text() == "T = True\nA = 7\nB = True\n"
    assert incidents.standing(house.journal, "bot", house.now).latched is not None


def test_a_halt_that_is_queued_overtakes_the_repair_before_its_next_step(house: House) -> None:
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
        if "A = False" in house.config.read_text() and not queued:
            queued.append(0)
            queued[0] = house.queue(halt, kind="halt")

    house.at_work = trip
    repair = house.carry(house.queue(LADDER))
    house.seen = lambda: "ok"
    halted = house.carry(queued[0])

    assert repair.outcome == "overtaken"
    assert halted.outcome == "proven"
    assert house.config.read_text() == "T = False\nA = False\nB = True\n"


def test_a_plan_that_cannot_be_read_is_not_carried_out(house: House) -> None:
    number = house.queue(LADDER)
    with house.journal.write() as db:
        runs.move(db, number, text='{"kind": "repair", "spell": "abracadabra"}')

    run = house.carry(number)

    assert run.outcome == "stopped"
    assert house.config.read_text() == START
    assert incidents.standing(house.journal, "bot", house.now).latched is not None
