"""Looks after the journal, each second: its disk, its lock, and people when it takes nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from typing import Protocol

from watchdog.journal import Journal, JournalError, Lock, incidents
from watchdog.journal.outage import Outage
from watchdog.model import Millis, Severity
from watchdog.notify import Outbox
from watchdog.telemetry import log


class Tell(Protocol):
    def __call__(self, severity: Severity, title: str, lines: list[str], *, weight: Severity = "warn") -> None:
        """A message by way of the journal."""


class Upkeep:
    def __init__(
        self,
        journal: Journal,
        lock: Lock,
        outbox: Outbox,
        tell: Tell,
        clock: Callable[[], Millis],
        broken: Callable[[str], None],
    ) -> None:
        """`broken`: told once the journal cannot be used any more."""
        self._journal, self._lock, self._outbox = journal, lock, outbox
        self._tell, self._clock, self._broken = tell, clock, broken
        self._outage = Outage()
        self._cry: asyncio.Task[None] | None = None
        self._roomy = True  # a disk that is full from the start is told of as well

    def look(self) -> bool:
        """False when the journal is damaged. Takes the reserve back when the disk has room again."""
        deaf = self._lock.beat()
        try:
            self._journal.check()
            with self._journal.write():
                pass
            self._room()
            if deaf is not None:
                self.unwritten(deaf)
            elif self._outage.ends():
                self._tell(
                    "warn", "the journal can be written again", ["what was wanted meanwhile is done now"], weight="crit"
                )
        except JournalError as error:
            log.critical("%s", error)
            if self._lock.held():
                self._alarm("the watchdog stops: its journal cannot be used", str(error))
            self._broken(str(error))
            return False
        except sqlite3.OperationalError as error:
            self.unwritten(error)
        return True

    def unwritten(self, error: Exception) -> None:
        """The disk is full, reserve and all, or read-only, or a stranger holds the journal: said, and tried again."""
        steady = time.monotonic()
        if self._outage.meets(error, steady):
            log.critical("the journal cannot be written: %s", self._outage.why)
        if self._outage.due(steady):
            self._alarm(
                "the watchdog cannot act: its journal takes nothing",
                f"{self._journal.path}: {self._outage.why}; repairs and halts wait until then",
            )

    def health(self) -> str | None:
        """What is wrong; None when nothing is, or has not been for long."""
        lasts = self._outage.lasts(time.monotonic())
        return None if lasts <= 5 else f"the journal takes nothing since {lasts:.0f} s: {self._outage.why}"

    async def told(self) -> None:
        """Ahead of the end: what is being told past the journal is told."""
        if self._cry is not None:
            await asyncio.wait({self._cry}, timeout=10)

    def _room(self) -> None:
        reserve, was = self._journal.reserve, self._roomy
        reserve.fill()
        if was == reserve.there:
            return
        with self._journal.write() as db:
            title = "the disk has room again" if reserve.there else "the disk is full: the journal lives on its reserve"
            folder = self._journal.path.parent
            lines = [] if reserve.there else [f"make room on the disk of {folder}; halts still work, for a while"]
            self._tell("info" if reserve.there else "crit", title, lines, weight="crit")
            incidents.event(db, "room", title, self._clock())
        self._roomy = reserve.there

    def _alarm(self, title: str, line: str) -> None:
        self._cry = asyncio.get_running_loop().create_task(self._outbox.cry(title, [line]), name="cry")
