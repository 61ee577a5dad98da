"""Looks after the journal, each second: its disk, its lock, and people when it takes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from watchdog.core.model import Message, Millis, NotifyFunction, Severity
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.off_record import take_in
from watchdog.journal.outage import JournalOutage
from watchdog.journal.storage import Journal
from watchdog.journal.topics import DISK
from watchdog.notifiers.outbox import OutboxSender

ALARM_FILE = "journal.alarm"


class JournalHealth:
    def __init__(
        self,
        journal: Journal,
        lock: StateLock,
        outbox: OutboxSender,
        notify: NotifyFunction,
        clock: Callable[[], Millis],
        on_unusable: Callable[[str], None],
    ) -> None:
        """`on_unusable`: told once the journal cannot be used any more."""
        self._journal, self._lock, self._outbox = journal, lock, outbox
        self._notify, self._clock, self._on_unusable = notify, clock, on_unusable
        self._outage = JournalOutage()
        self._failure: JournalUnavailableError | None = None
        """Of the outage under way."""
        self._alarm_task: asyncio.Task[None] | None = None
        self._alarm_file = lock.folder / ALARM_FILE
        """There from an alarm to its end, which the journal may not take; where the disk takes nothing, nor does it take this."""
        self._alarm_raised = self._alarm_file.exists()
        # What is full from the start is told of as well, and what an earlier process has told of and is not full any more.
        self._had_room = DISK not in journal.messages.list_open_topics()

    def check(self) -> bool:
        """False when the journal is damaged. Takes the reserve back when the disk has room again."""
        heartbeat_error = self._lock.heartbeat()
        try:
            self._journal.check()
            self._journal.probe()
            self._check_disk_space()
            if heartbeat_error is not None:
                self.record_failure(JournalUnavailableError(str(heartbeat_error), "io"))
                return True
            if self._outage.reason is not None:
                take_in(self._journal, self._lock.folder, self._clock())
            self._failure = None
            if self._outage.record_success() or self._alarm_raised:
                lines = ("what was wanted meanwhile is done now",)
                self._notify(Message("warn", "the journal can be written again", lines, filter_severity="crit"))
                self._alarm_raised = False
                with contextlib.suppress(OSError):
                    self._alarm_file.unlink(missing_ok=True)
        except JournalError as error:
            log.critical("%s", error)
            if self._lock.is_held():
                self._alarm("the watchdog stops: its journal cannot be used", str(error))
            self._on_unusable(str(error))
            return False
        except JournalUnavailableError as error:
            self.record_failure(error)
        return True

    def record_failure(self, error: JournalUnavailableError) -> None:
        """The disk is full, reserve and all, or read-only, or a stranger holds the journal: said, and tried again."""
        monotonic, self._failure = time.monotonic(), error
        if self._outage.record_failure(error, monotonic):
            log.critical("the journal cannot be written: %s", self._outage.reason)
        if self._outage.should_notify(monotonic):
            self._alarm(
                "the watchdog cannot act: its journal takes nothing",
                f"{self._journal.location}: {self._outage.reason}; what rules start waits until then, "
                "and a halt by hand does not: trading-watchdog rollback HALT --yes",
            )

    def ensure_well(self) -> None:
        """Raises JournalUnavailableError from a failed write until a look has found that all is well."""
        if self._failure is not None:
            raise self._failure

    def describe_problem(self) -> str | None:
        """What is wrong; None when nothing is, or has not been for long."""
        duration = self._outage.duration(time.monotonic())
        return None if duration <= 5 else f"the journal takes nothing since {duration:.0f} s: {self._outage.reason}"

    async def wait_for_alarm(self) -> None:
        """Ahead of the end: what is being told past the journal is told."""
        if self._alarm_task is not None:
            await asyncio.wait({self._alarm_task}, timeout=10)

    def _check_disk_space(self) -> None:
        reserve, had_room = self._journal.disk_reserve, self._had_room
        if reserve is None:
            return
        reserve.fill()
        if had_room == reserve.exists:
            return
        with self._journal.transaction() as tx:
            title = (
                "the disk has room again" if reserve.exists else "the disk is full: the journal lives on its reserve"
            )
            folder = reserve.path.parent
            lines = () if reserve.exists else (f"make room on the disk of {folder}; halts still work, for a while",)
            severity: Severity = "info" if reserve.exists else "crit"
            message = Message(severity, title, lines)
            self._notify(replace(message, ends=(DISK,)) if reserve.exists else replace(message, opens=(DISK,)))
            tx.timeline.add_event("room", title, self._clock())
        self._had_room = reserve.exists

    def _alarm(self, title: str, line: str) -> None:
        self._alarm_raised = True
        with contextlib.suppress(OSError):
            self._alarm_file.touch(0o600)
        self._alarm_task = asyncio.get_running_loop().create_task(
            self._outbox.send_unjournaled(Message("crit", title, (line,))), name="cry"
        )
