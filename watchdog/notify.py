"""Drains the outbox: send, then mark as sent. At least once, in order, and never in the way of acting."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from watchdog.journal import Journal, outbox
from watchdog.journal.outbox import Letter
from watchdog.model import Message, Millis, NotifyError
from watchdog.offload import DeadlineError, StillBusyError
from watchdog.telemetry import Telemetry, log

_DEADLINE = 30.0
"""Seconds that one delivery may take."""
_AGAIN = 1.0
"""Seconds between two tries to write into a journal that takes nothing."""
_SLOWEST = 300_000
"""Longest pause between two tries, ms."""


class Outbox:
    """Sends what the journal says is unsent."""

    def __init__(
        self,
        journal: Journal,
        telemetry: Telemetry,
        clock: Callable[[], Millis],
        offload: Callable[..., Awaitable[Any]],
        channels: Mapping[str, Any],
    ) -> None:
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._offload = offload
        self.channels = channels
        self._news = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._broken: BaseException | None = None

    def wake(self) -> None:
        """There may be something to send. A hint; the journal is the truth."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled. Raises when the journal cannot be used."""
        try:
            while True:
                due = self._start()
                pause = 60.0 if due is None else min(60.0, max(0.05, (due - self._clock()) / 1_000))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):  # wait_for would swallow a cancel that comes with news
                        await self._news.wait()
                self._news.clear()
        finally:
            for task in self._working.values():
                task.cancel()

    async def drain(self) -> None:
        """One try for everything that is due. Raises when the journal cannot be used."""
        self._start()
        while self._working:
            await asyncio.gather(*self._working.values())
            self._start()

    def _start(self) -> Millis | None:
        """Sets one task to work on each channel with something due: no channel waits for another.

        Returns when the first of the other channels wants to be tried.
        """
        if self._broken is not None:
            raise self._broken
        later = []
        for channel, due in outbox.next_due(self._journal).items():
            if channel in self._working:
                continue
            if due > self._clock():
                later.append(due)
                continue
            task = asyncio.create_task(self._work(channel), name=f"channel {channel}")
            self._working[channel] = task
            task.add_done_callback(partial(self._ended, channel))
        return min(later, default=None)

    async def _work(self, channel: str) -> None:
        while letters := outbox.due(self._journal, self._clock(), channel):
            try:
                with self._journal.write():
                    pass  # what cannot be marked as sent is not sent: it would be sent again and again
            except sqlite3.OperationalError:
                await asyncio.sleep(_AGAIN)
                continue
            await self._deliver(letters[0])

    def _ended(self, channel: str, task: asyncio.Task[None]) -> None:
        del self._working[channel]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
        self.wake()

    async def _deliver(self, letter: Letter) -> None:
        handle, error = None, None
        try:
            handle = await self._send(letter)
        except NotifyError as failure:
            error = failure
        except DeadlineError:
            error = NotifyError(f"no answer within {_DEADLINE:.0f} s")
        except StillBusyError:
            error = NotifyError("the last delivery still hangs")
        except Exception as bug:
            # A mistake in one notifier must not silence the others; the message itself is not lost.
            log.exception("channel %s: a mistake in its notifier", letter.channel)
            error = NotifyError(f"a mistake in its notifier ({type(bug).__name__})")
        while True:
            try:
                self._note(letter, handle, error)
                break
            except sqlite3.OperationalError:  # it was sent: until that is written down, this channel waits
                await asyncio.sleep(_AGAIN)
        outcome = "sent" if error is None else "failed" if error.permanent else "retried"
        self._telemetry.notifications.labels(letter.channel, outcome).inc()
        if error is not None:
            log.warning("channel %s: %s%s", letter.channel, error, "" if error.permanent else " (will try again)")

    def _note(self, letter: Letter, handle: str | None, error: NotifyError | None) -> None:
        now = self._clock()
        with self._journal.write(soon=error is None) as db:  # forgotten, it is sent once more; actions wait for no chat
            if error is None:
                outbox.sent(db, letter.id, handle, now)
            elif error.permanent:
                outbox.failed(db, letter.id, str(error), now)
                self._say_elsewhere(db, letter, error, now)
            else:
                pause = min(_SLOWEST, 1_000 * 2 ** min(letter.tries, 9))
                if error.retry_after is not None:
                    pause = max(pause, round(error.retry_after * 1_000))
                outbox.postponed(db, letter.id, now + pause, str(error))

    async def cry(self, title: str, lines: Sequence[str]) -> None:
        """Past the journal, at once and once, on every channel: for when the journal itself takes nothing. Never raises."""
        log.critical("%s: %s", title, "; ".join(lines))
        message = Message(key="0", severity="crit", title=title, lines=tuple(lines))

        async def on(name: str, channel: Any) -> None:
            try:
                await self._hand(f"cry on {name}", channel, message)
            except Exception as error:  # a mistake in one notifier must not silence the others
                log.warning("channel %s: %s: not delivered: %s", name, str(error) or type(error).__name__, title)

        await asyncio.gather(*(on(name, channel) for name, channel in self.channels.items()))

    async def _send(self, letter: Letter) -> str | None:
        channel = self.channels.get(letter.channel)
        if channel is None:  # the log is a channel too; so is one that a reload took away
            log.log({"info": 20, "warn": 30, "crit": 40}[letter.severity], "message: %s", as_text(letter))
            return None
        message = Message(
            key=str(letter.id),
            severity=letter.severity,
            title=letter.title,
            lines=letter.lines,
            incident=letter.incident,
            thread=outbox.thread(self._journal, letter.channel, letter.incident),
        )
        return await self._hand(f"channel {letter.channel}", channel, message)

    async def _hand(self, key: str, channel: Any, message: Message) -> str | None:
        if inspect.iscoroutinefunction(channel.send):
            try:
                async with asyncio.timeout(_DEADLINE):
                    answer = await channel.send(message)
            except TimeoutError:
                raise DeadlineError(key) from None
        else:
            answer = await self._offload(key, _DEADLINE, channel.send, message)
        return None if answer is None else str(answer)

    def _say_elsewhere(self, db: Any, letter: Letter, error: NotifyError, now: Millis) -> None:
        """A channel that refuses for good is told of on the others, once in a quarter of an hour."""
        title = f"channel {letter.channel} does not deliver"
        (said,) = self._journal.rows(
            "SELECT count(*) FROM message WHERE title = ? AND created > ?", title, now - 900_000
        )
        if not said[0]:
            others = [name for name in self.channels if name != letter.channel]
            outbox.post(db, others or ["log"], "warn", title, [str(error), f"not delivered: {letter.title}"], now)


def as_text(letter: Letter) -> str:
    """A message on one line, as it stands in the log when there is no channel."""
    return " — ".join([letter.title, *letter.lines])
