"""A rollback without a daemon: a real journal and real files, a clock that is moved by hand, and a death at any point.

What the bot does follows from its files, as it would in life: `Rig.errors` says which edits make it well again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from watchdog.actions.plan import Halt, Repair, write_plan
from watchdog.actions.scalars import read
from watchdog.incidents import Key, Terms
from watchdog.journal import Journal, incidents, outbox, runs
from watchdog.journal.runs import Run, Step
from watchdog.model import Millis, Outcome, Severity, Target, Verdict
from watchdog.offload import Offload
from watchdog.rollback import Hands, Rollback
from watchdog.rules import Patience
from watchdog.telemetry import Telemetry

START = 1_700_000_000_000
SECOND = 1_000
ERRORS = Key("errors", "crit", ())
CUT = "before set FEATURE = false in config.py"
LADDER = [
    ("before", 0, "set TRADING = false in config.py", "done"),
    ("level", 0, "set FEATURE = false in config.py", "done"),
    ("level", 1, "set MODEL = 1 in config.py", "done"),
    ("level", 1, "set size = 1 in other.yaml", "done"),
    ("proven", 1, "set TRADING = true in config.py", "done"),
]
"""What a ladder does whose second level helps."""
NO_ENTRIES = ("level", 0, "set TRADING = false in config.py", "done")
CONFIG = "TRADING = True\nFEATURE = True\nMODEL = 2\n"


class KilledError(BaseException):
    """kill -9: nothing of the process is left but what it wrote."""


class Boundaries:
    """Every point at which a death makes a difference: before each transaction, before and after each act.

    Who dies while looking dies as before the next of these.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.kill_at = 0
        """Which of those still to come is the last; 0 = none."""
        self.die_at = ""
        """The same by name."""

    def __call__(self, what: str) -> None:
        self.seen.append(what)
        if what == self.die_at:
            raise KilledError(what)
        if self.kill_at:
            self.kill_at -= 1
            if not self.kill_at:
                raise KilledError(what)


class Counted(Journal):
    """A journal whose process may die ahead of any commit."""

    def __init__(self, path: Path, boundary: Boundaries) -> None:
        super().__init__(path)
        self._boundary = boundary
        self.rows("PRAGMA synchronous=OFF")  # nothing here cuts the power, and a flush takes its time

    @contextmanager
    def write(self, *, soon: bool = False) -> Iterator[sqlite3.Connection]:
        if hasattr(self, "_boundary") and not self._db.in_transaction:
            self._boundary("commit")
        with super().write(soon=soon) as db:
            yield db


def flag(file: str = "config.py", **values: Any) -> dict[str, Any]:
    return {"do": "flag", "file": file, "set": values}


def once(word: str) -> dict[str, Any]:
    """A command that leaves a line for each time that it ran, and a check that looks for it."""
    return {
        "do": "command",
        "run": ["sh", "-c", f"echo {word} >> effects"],
        "check": ["sh", "-c", f"test -e effects || exit 1; grep -qx {word} effects"],
    }


VERIFY = {"settle": "1s", "that": ["alive == 1"], "quiet": "1s", "give_up": "20s", "watch": "2s"}


def repair(**said: Any) -> Repair:
    """Two levels: the feature's flag (which does not help a bot with MODEL 2), and the model."""
    return Repair.model_validate(
        {
            "kind": "repair",
            "mode": "auto",
            "exhausted": "halt",
            "before": [flag(TRADING=False)],
            "proven": [flag(TRADING=True)],
            "verify": VERIFY,
            "levels": [
                {"name": "feature", "steps": [flag(FEATURE=False)]},
                {"name": "version", "steps": [flag(MODEL=1), flag("other.yaml", size=1)]},
            ],
        }
        | said
    )


def halt(**said: Any) -> Halt:
    return Halt.model_validate(
        {
            "kind": "halt",
            "levels": [
                {
                    "name": "no-entries",
                    "steps": [flag(TRADING=False)],
                    "verify": {"that": ["alive == 1"], "give_up": "5s"},
                }
            ],
        }
        | said
    )


class Rig:
    """One target, or several, in a folder; a new Rig in the same folder is the next process."""

    def __init__(self, folder: Path, *, now: Millis = START) -> None:
        self.folder = folder
        self.now = now
        self.boundary = Boundaries()
        self.journal = Counted(folder / "journal.db", self.boundary)
        self.telemetry = Telemetry("test")
        self.plans: dict[str, Halt | Repair] = {"ladder": repair(), "halt": halt()}
        self.errors: Callable[[dict[str, str]], Outcome] = lambda config: "bad" if config["MODEL"] == "2" else "ok"
        """What the rule `errors` says, given the target's configuration."""
        self.errors_of: dict[Key, Callable[[dict[str, str]], Outcome]] = {}
        """What other rules say."""
        self.named: Callable[[str, Collection[str]], dict[Key, Terms]] = lambda *_: {}
        self.muted: list[list[str]] = []
        """What was muted, each time that changed."""
        self.held: str | None = None
        self.trips: Callable[[], str | None] = lambda: None
        """A rule with a plan that has tripped just now …"""
        self.trips_since: Callable[[str, Millis], str | None] = lambda *_: self.trips()
        """… or since then."""
        self.that: Callable[[str], bool | None] = lambda _: True
        self.wanted: Callable[[Run], bool | None] = lambda _: True
        self.meddle: Callable[[str, str], None] = lambda *_: None
        """Called ahead of each act in the world with the action's verb and its words."""
        self.pool: Offload | None = None
        """Real threads, for what takes real time."""
        self.acts: list[str] = []
        """What was applied, in order …"""
        self.changes: list[str] = []
        """… and which of that changed a file."""
        self.over: list[str] = []
        self.rollback = Rollback(self._hands())

    def target(self, name: str = "bot") -> Path:
        """A target's folder with a configuration; in the journal since now."""
        place = self.folder / name
        if not place.exists():
            place.mkdir()
            (place / "config.py").write_text(CONFIG)
            (place / "other.yaml").write_text("size: 5\n")
        incidents.standing(self.journal, name, self.now)
        return place

    def trip(self, name: str = "bot") -> int:
        """An open incident in which `errors` tripped."""
        known = incidents.current(self.journal, name)
        if known is not None:
            return known.id
        with self.journal.write() as db:
            number = incidents.open_incident(db, name, "crit", "errors", self.now)
            incidents.trip(db, number, *ERRORS, "errors 50 %", "ladder", self.now)
        return number

    def queue(
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
        place, known = self.target(target), self.plans[plan]
        number = self.trip(target) if incident == -1 else incident
        with self.journal.write() as db:
            return runs.queue(
                db,
                incident=number,
                target=target,
                plan=plan,
                kind=known.kind,
                text=text or write_plan(known),
                place=Target(repo=str(place)).model_dump_json(include={"repo"}),
                by=by,
                now=self.now,
                level=level,
            )

    def run(self, number: int) -> Run:
        return runs.get(self.journal, number)

    def steps(self, number: int) -> list[Step]:
        return runs.steps(self.journal, number)

    def did(self, number: int) -> list[tuple[str, int, str, str]]:
        return [(step.phase, step.level, step.say, step.status) for step in self.steps(number)]

    def config(self, name: str = "bot") -> dict[str, str]:
        content = (self.folder / name / "config.py").read_bytes()
        return read(content, "config.py", ["TRADING", "FEATURE", "MODEL"])

    def effects(self, name: str = "bot") -> list[str]:
        file = self.folder / name / "effects"
        return file.read_text().split() if file.exists() else []

    def told(self) -> list[str]:
        """Titles of all messages, in order."""
        return [row["title"] for row in self.journal.rows("SELECT title FROM message ORDER BY id")]

    def pages(self) -> list[str]:
        """All that critical messages say."""
        rows = self.journal.rows("SELECT title, lines FROM message WHERE severity = 'crit' ORDER BY id")
        return [f"{row['title']} {row['lines']}" for row in rows]

    def latched(self, name: str = "bot") -> str | None:
        return incidents.standing(self.journal, name, self.now).latch_why

    # time

    async def until(self, fact: Callable[[], object], seconds: float = 120, *, step: Millis = 500) -> None:
        """Moves the clock until the fact is there; fails when that takes longer than `seconds` of its time."""
        end = self.now + round(seconds * 1_000)
        while True:
            for _ in range(6):
                await asyncio.sleep(0)
            for task in self.rollback.tasks:
                if task.done():
                    task.result()
            if fact():
                return
            assert self.now < end, f"not within {seconds} s: {self.told()}"
            self.now += step
            self.rollback.wake()

    async def ended(self, *numbers: int, seconds: float = 120) -> None:
        await self.until(lambda: all(self.run(number).ended is not None for number in numbers), seconds)

    def play(self, *numbers: int) -> None:
        """Carries these runs to their ends; all there are when none is named, with what they bring about."""

        async def play() -> None:
            self.rollback = Rollback(self._hands())
            self.tend()
            await self.until(lambda: not self.unended() if not numbers else all(self.run(n).ended for n in numbers))
            await self.stop()

        asyncio.run(play())

    def tend(self) -> None:
        for row in self.journal.rows("SELECT name FROM target ORDER BY name"):
            self.rollback.tend(row[0])

    async def stop(self) -> None:
        stopping = asyncio.ensure_future(self.rollback.stop())
        while not stopping.done():
            self.rollback.wake()
            await asyncio.sleep(0)

    def unended(self) -> list[int]:
        return [row[0] for row in self.journal.rows("SELECT id FROM run WHERE status != 'ended' ORDER BY id")]

    def dies(self) -> bool:
        """Carries everything out; True when this process died on the way."""
        try:
            self.play()
        except KilledError:
            return True
        finally:
            self.journal.close()
        return False

    # hands

    def _hands(self) -> Hands:
        return Hands(
            journal=self.journal,
            telemetry=self.telemetry,
            clock=lambda: self.now,
            offload=self._offload,
            terms=lambda *_: {ERRORS: Terms(Patience(hold=500))},
            evidence=self._evidence,
            wanted=self._wanted,
            halt=self._halt,
            tell=self._tell,
            ended=self.over.append,
            named=self._named,
            mute=lambda _, names: self._mute(names),
            held=lambda _: self.held,
            backups=self.folder / ".backups",
            trips=self._trips,
        )

    async def _offload(self, key: str, deadline: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """In this very thread unless there is a pool: what is to be told apart is what happened, not where."""
        if self.pool is not None:
            return await self.pool(key, deadline, call, *args, **kwargs)
        owner = getattr(call, "__self__", None)
        say = owner.say() if owner is not None and hasattr(owner, "say") else ""
        self.meddle(call.__name__, say)
        if call.__name__ != "apply":
            return call(*args, **kwargs)
        files = self._files()
        self.boundary(f"before {say}")
        answer = call(*args, **kwargs)
        self.acts.append(say)
        self.changes += [say] * (self._files() != files)
        self.boundary(f"after {say}")
        return answer

    def _files(self) -> list[bytes]:
        return [file.read_bytes() for file in sorted(self.folder.glob("*/*")) if file.is_file()]

    def _evidence(
        self, target: str, terms: Collection[Key], that: Collection[str], since: Millis, now: Millis
    ) -> tuple[list[Verdict], dict[str, bool | None]]:
        config = self.config(target)
        verdicts = []
        for key in terms:
            outcome = self.errors_of.get(key, self.errors)(config) if now > since else "nodata"
            verdicts.append(
                Verdict(
                    key.rule, "crit", key.labels, outcome, f"{key.rule} are {outcome}", 0.5, 0.1, outcome == "ok", now
                )
            )
        return verdicts, {text: self.that(text) for text in that}

    def _named(self, target: str, names: Collection[str]) -> dict[Key, Terms]:
        return self.named(target, names)  # asked anew: a test may change its mind

    def _trips(self, target: str, since: Millis) -> str | None:
        return self.trips_since(target, since)

    def _mute(self, names: Collection[str]) -> None:
        if not self.muted or self.muted[-1] != list(names):
            self.muted.append(list(names))

    def _wanted(self, run: Run) -> bool | None:
        return self.wanted(run)  # asked anew: a test may change its mind

    def _halt(self, target: str, plan: str, by: str, incident: int | None) -> bool:
        if plan not in self.plans:
            return False
        self.queue(plan, target, by=by, incident=incident)
        return True

    def _tell(self, severity: Severity, title: str, lines: Sequence[str], *, incident: int | None) -> None:
        with self.journal.write() as db:
            outbox.post(db, ["log"], severity, title, lines, self.now, incident)


def again(rig: Rig, after: int = 1_000) -> Rig:
    """The next process, some ms later: same folder, same plans, same bot."""
    rig.journal.close()
    heir = Rig(rig.folder, now=rig.now + after)
    heir.plans, heir.errors, heir.that, heir.wanted = rig.plans, rig.errors, rig.that, rig.wanted
    heir.errors_of, heir.named, heir.held = rig.errors_of, rig.named, rig.held
    return heir


def dies_within(rig: Rig, what: str) -> Rig:
    """Carries out until the given boundary is reached, and dies there; returns the next process."""
    rig.boundary.die_at = what
    assert rig.dies(), f"{what} was never reached: {rig.boundary.seen}"
    return again(rig)
