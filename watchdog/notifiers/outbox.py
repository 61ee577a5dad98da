"""Drains the outbox: send, then mark as sent. At least once, in order, and never in the way of acting."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from watchdog.core.errors import NotifyError
from watchdog.core.model import Message, Millis
from watchdog.core.offload import DeadlineExceededError, StillBusyError
from watchdog.core.telemetry import Telemetry, log
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.messages import OutboxMessage
from watchdog.journal.storage import Journal
from watchdog.journal.topics import channel_topic

_SEND_TIMEOUT = 30.0
"""Seconds that one delivery may take."""
_JOURNAL_RETRY_PAUSE = 1.0
"""Seconds between two tries to write into a journal that takes nothing."""
_MAX_RETRY_PAUSE = 300_000
"""Longest pause between two tries, ms."""


class OutboxSender:
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
        self._pending = asyncio.Event()
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None

    def notify_pending(self) -> None:
        """There may be something to send. A hint; the journal is the truth."""
        self._pending.set()

    async def run(self) -> None:
        """Until cancelled. Raises when the journal cannot be used."""
        try:
            while True:
                due = self._start_due()
                pause = 60.0 if due is None else min(60.0, max(0.05, (due - self._clock()) / 1_000))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):  # wait_for would swallow a cancel that comes with news
                        await self._pending.wait()
                self._pending.clear()
        finally:
            for task in self._workers.values():
                task.cancel()

    async def drain(self) -> None:
        """One try for everything that is due. Raises when the journal cannot be used."""
        self._start_due()
        while self._workers:
            await asyncio.gather(*self._workers.values())
            self._start_due()

    def _start_due(self) -> Millis | None:
        """Sets one task to work on each channel with something due: no channel waits for another.

        Returns when the first of the other channels wants to be tried.
        """
        if self._failure is not None:
            raise self._failure
        later = []
        for channel, due in self._journal.messages.next_due().items():
            if channel in self._workers:
                continue
            if due > self._clock():
                later.append(due)
                continue
            task = asyncio.create_task(self._send_due(channel), name=f"channel {channel}")
            self._workers[channel] = task
            task.add_done_callback(partial(self._worker_ended, channel))
        return min(later, default=None)

    async def _send_due(self, channel: str) -> None:
        while queued := self._journal.messages.due(self._clock(), channel):
            try:
                self._journal.probe()  # what cannot be marked as sent is not sent: it would be sent again and again
            except JournalUnavailableError:
                await asyncio.sleep(_JOURNAL_RETRY_PAUSE)
                continue
            await self._deliver(queued[0])

    def _worker_ended(self, channel: str, task: asyncio.Task[None]) -> None:
        del self._workers[channel]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
        self.notify_pending()

    async def _deliver(self, queued: OutboxMessage) -> None:
        handle, error = None, None
        try:
            handle = await self._send(queued)
        except NotifyError as failure:
            error = failure
        except DeadlineExceededError:
            error = NotifyError(f"no answer within {_SEND_TIMEOUT:.0f} s")
        except StillBusyError:
            error = NotifyError("the last delivery still hangs")
        except Exception as bug:
            # A mistake in one notifier must not silence the others; the message itself is not lost.
            log.exception("channel %s: a mistake in its notifier", queued.channel)
            error = NotifyError(f"a mistake in its notifier ({type(bug).__name__})")
        while True:
            try:
                self._record_result(queued, handle, error)
                break
            except JournalUnavailableError:  # it was sent: until that is written down, this channel waits
                await asyncio.sleep(_JOURNAL_RETRY_PAUSE)
        outcome = "sent" if error is None else "failed" if error.permanent else "retried"
        self._telemetry.notifications.labels(queued.channel, outcome).inc()
        if error is not None:
            log.warning("channel %s: %s%s", queued.channel, error, "" if error.permanent else " (will try again)")

    def _record_result(self, queued: OutboxMessage, handle: str | None, error: NotifyError | None) -> None:
        now = self._clock()
        with self._journal.transaction(
            defer_sync=error is None
        ) as tx:  # forgotten, it is sent once more; actions wait for no chat
            if error is None:
                tx.messages.mark_sent(queued.id, handle, now)
                self._report_recovery(tx, queued.channel, now)
            elif error.permanent:
                tx.messages.mark_failed(queued.id, str(error), now)
                self._report_on_other_channels(tx, queued, error, now)
            else:
                pause = min(_MAX_RETRY_PAUSE, 1_000 * 2 ** min(queued.tries, 9))
                if error.retry_after is not None:
                    pause = max(pause, round(error.retry_after * 1_000))
                tx.messages.mark_postponed(queued.id, now + pause, str(error))

    async def send_unjournaled(self, message: Message) -> None:
        """Past the journal, at once and once, on every channel: for when the journal itself takes nothing. Never raises."""
        log.critical("%s: %s", message.title, "; ".join(message.lines))
        message = replace(message, lines=(*message.lines, f"on {socket.gethostname()}"), key="0")

        async def on(name: str, channel: Any) -> None:
            try:
                await self._call_notifier(f"cry on {name}", channel, message)
            except Exception as error:  # a mistake in one notifier must not silence the others
                log.warning(
                    "channel %s: %s: not delivered: %s", name, str(error) or type(error).__name__, message.title
                )

        await asyncio.gather(*(on(name, channel) for name, channel in self.channels.items()))

    async def _send(self, queued: OutboxMessage) -> str | None:
        channel = self.channels.get(queued.channel)
        if channel is None:  # the log is a channel too; so is one that a reload took away
            level = {"info": 20, "warn": 30, "crit": 40}[queued.message.severity]
            log.log(level, "message: %s", format_line(queued.message))
            return None
        thread = self._journal.messages.thread_handle(queued.channel, queued.message.incident)
        message = replace(queued.message, thread=thread)
        return await self._call_notifier(f"channel {queued.channel}", channel, message)

    async def _call_notifier(self, key: str, channel: Any, message: Message) -> str | None:
        if inspect.iscoroutinefunction(channel.send):
            try:
                async with asyncio.timeout(_SEND_TIMEOUT):
                    answer = await channel.send(message)
            except TimeoutError:
                raise DeadlineExceededError(key) from None
        else:
            answer = await self._offload(key, _SEND_TIMEOUT, channel.send, message)
        return None if answer is None else str(answer)

    def _report_on_other_channels(self, db: Any, queued: OutboxMessage, error: NotifyError, now: Millis) -> None:
        """A channel that refuses for good is told of on the others, once in a quarter of an hour."""
        lines = (str(error), f"not delivered: {queued.message.title}")
        opens = (channel_topic(queued.channel),)
        report = Message("warn", f"channel {queued.channel} does not deliver", lines, opens=opens)
        if not self._journal.messages.was_enqueued_since(report.title, now - 900_000):
            others = [name for name in self.channels if name != queued.channel]
            db.messages.enqueue(report, others or ["log"], now)

    def _report_recovery(self, db: Any, channel: str, now: Millis) -> None:
        topic = channel_topic(channel)
        if told := self._journal.messages.list_told([topic]):
            db.messages.enqueue(Message("info", f"channel {channel} delivers again", ends=(topic,)), sorted(told), now)


def format_line(message: Message) -> str:
    """A message on one line, as it stands in the log when there is no channel."""
    return " — ".join([message.title, *message.lines])
