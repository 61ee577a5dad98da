"""Drains the outbox: send, then mark as sent. At least once, in order, and never in the way of acting.

What is critical goes first on each channel, then each incident gets its turn, a message a second; what waits of one incident is
told as one (`waiting`). What a channel does not take is tried again; what it refuses while the incident is open is made up for by
one message that says what is so by then. When nothing waits that is due, the first messages of incidents are brought up to date.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from watchdog.core.chat import IncidentHead
from watchdog.core.errors import NotifyError
from watchdog.core.model import Alert, Message, Millis
from watchdog.core.offload import DeadlineExceededError, StillBusyError
from watchdog.core.protocols import AlertingNotifier
from watchdog.core.telemetry import Telemetry, log
from watchdog.core.units import format_duration
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.incidents import Incident
from watchdog.journal.messages import LATE_AFTER, OutboxMessage
from watchdog.journal.storage import Journal
from watchdog.journal.topics import incident_topic
from watchdog.notifiers import call
from watchdog.notifiers.call import call_notifier
from watchdog.notifiers.head_editor import MAX_RETRY_PAUSE, DescribeHead, Edit, HeadEditor
from watchdog.notifiers.late import QUIET_IF_CRITICAL, report_late, report_notice, report_recovery
from watchdog.notifiers.pictures import DrawFunction, draw_nothing, shows_pictures
from watchdog.notifiers.waiting import Delivery, DescribeIncident, WaitingMessages

_JOURNAL_RETRY_PAUSE = 1.0
"""Seconds between two tries to write into a journal that takes nothing."""
_FIRST_PROBE, _MAX_PROBE = 60_000, 900_000
"""ms from one try to the next of what the other side refuses, or wants to wait: the first pause, and the longest."""
_MAX_SLEEP = QUIET_IF_CRITICAL / 1_000
"""Seconds after which it looks anew whether something is to be told of a channel that is late."""
_HEAD_INTERVAL = 1.0
"""Seconds after which it looks anew whether a first message shows what is so, where nobody has said that something is other."""
_EDIT_PAUSE = 3_000
"""ms from one edit on a channel to the next, where a second lies between two deliveries: what moves faster is told by replies."""
_PACE = 1.0
"""Seconds from one delivery to a chat to the next: more is what chats slow down."""

_DRAWING_TIMEOUT, _DRAWING_TIMEOUT_URGENT = 5.0, 3.0
"""Seconds that a message waits for its picture; that of one that is urgent. The channels wait each for itself."""

AlertsOf = Callable[[OutboxMessage, Millis], Sequence[Alert]]
"""(message, now) → what of its subject is so now, for a channel that is told states."""


class OutboxSender:
    """Sends what the journal says is unsent."""

    def __init__(
        self,
        journal: Journal,
        telemetry: Telemetry,
        clock: Callable[[], Millis],
        offload: Callable[..., Awaitable[Any]],
        channels: Mapping[str, Any],
        describe_incident: DescribeIncident = lambda *_: None,
        pace: float = _PACE,
        describe_head: DescribeHead = lambda *_: None,
    ) -> None:
        """`pace`: seconds from one delivery on a channel to the next."""
        self._describe_incident = describe_incident
        self._waiting = WaitingMessages(journal, describe_incident)
        self._pace = pace
        self._heads = HeadEditor(journal, clock, describe_head, round(pace * _EDIT_PAUSE))
        self._next_delivery: dict[str, float] = {}
        """Channel → when it may be spoken to again, in seconds of the loop's clock."""
        self._turns: dict[str, dict[tuple[bool, int], int]] = {}
        """Channel → (critical or not, incident) → when that had its last turn, counted."""
        self._started = clock()
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._offload = offload
        self.channels = channels
        self.silent: Collection[str] = ()
        """Channels on which this process cannot tell anything: what waits for them waits on."""
        self.draw: DrawFunction = draw_nothing
        self.alerts_of: AlertsOf | None = None
        """Where nobody says it, a channel that is told states is told the message."""
        self._pending = asyncio.Event()
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None

    def notify_pending(self) -> None:
        """There may be something to send. A hint; the journal is the truth."""
        self._pending.set()

    def apply_channels(self, channels: Mapping[str, Any], silent: Collection[str], now: Millis) -> None:
        """Another configuration: what waits for a channel that has changed is tried at once."""
        changed = [name for name, channel in channels.items() if self.channels.get(name) != channel]
        with self._journal.transaction() as tx:
            for name in changed:
                tx.messages.retry_channel(name, now)
                tx.heads.retry_heads(name, now)
            self.channels, self.silent = channels, silent
            self._hand_over(tx, now)
        self.notify_pending()

    def resume(self, now: Millis) -> None:
        """At the start: what was refused may have been cured while nobody ran."""
        with self._journal.transaction() as tx:
            tx.messages.retry_catch_ups(now)
            tx.heads.retry_heads(None, now)
            self._hand_over(tx, now)

    def _hand_over(self, tx: Any, now: Millis) -> None:
        """What waits for a channel that is configured no longer, or has another name, is owed to those that heard nothing of it."""
        for target in self._journal.incidents.list_targets_with_open_incident():
            incident = self._journal.incidents.find_open(target)
            if incident is None:
                continue
            undelivered = self._journal.messages.list_undelivered(incident.id)
            if any(one.channel not in self.channels and one.channel != "log" for one in undelivered):
                for name in self.channels:
                    if self._journal.messages.begins_thread(name, incident.id):
                        tx.messages.enqueue_catch_up(name, incident.id, incident.severity, now, None, now)

    async def run(self) -> None:
        """Until cancelled. Raises when the journal cannot be used."""
        try:
            while True:
                self._report_late()
                due = self._start_due()
                longest = _HEAD_INTERVAL if self._heads.has_open else _MAX_SLEEP
                longest = _HEAD_INTERVAL / 5 if self._heads.has_more else longest
                pause = longest if due is None else min(longest, max(0.05, (due - self._clock()) / 1_000))
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
        while True:
            await asyncio.gather(*self._workers.values())
            self._report_late()
            self._start_due()
            if not self._workers and not self._heads.has_more:
                return

    def _start_due(self) -> Millis | None:
        """Sets one task to work on each channel with something due: no channel waits for another.

        Returns when the first of the other channels wants to be tried.
        """
        if self._failure is not None:
            raise self._failure
        with contextlib.suppress(JournalUnavailableError):  # whoever sends looks again
            self._waiting.hold(self.channels, self._clock())
        later, when = [], self._journal.messages.next_due()
        for channel, due in self._heads.next_due(self.channels).items():
            when[channel] = min(due, when.get(channel, due))
        for channel, due in when.items():
            if channel in self._workers or channel in self.silent:
                continue
            if due > self._clock():
                later.append(due)
                continue
            task = asyncio.create_task(self._send_due(channel), name=f"channel {channel}")
            self._workers[channel] = task
            task.add_done_callback(partial(self._worker_ended, channel))
        if (late := self._journal.messages.next_late(self._clock())) is not None:
            later.append(late)
        return min(later, default=None)

    async def _send_due(self, channel: str) -> None:
        loop = asyncio.get_running_loop()
        while self._journal.messages.due(self._clock(), channel) or self._next_edit(channel) is not None:
            if (wait := self._next_delivery.get(channel, 0) - loop.time()) > 0:
                await asyncio.sleep(wait)
            try:
                self._journal.probe()  # what cannot be marked as sent is not sent: it would be sent again and again
                if channel in self.channels:
                    self._waiting.hold({channel: self.channels[channel]}, self._clock())
            except JournalUnavailableError:
                await asyncio.sleep(_JOURNAL_RETRY_PAUSE)
                continue
            queued = self._next_of(channel)  # what is critical may have come meanwhile
            edit = self._next_edit(channel) if queued is None else None
            if queued is not None:
                await self._deliver(queued)
            elif edit is not None:
                await self._edit(edit)
            if channel in self.channels and (queued is not None or edit is not None):
                self._next_delivery[channel] = loop.time() + self._pace

    def _next_edit(self, channel: str) -> Edit | None:
        return self._heads.take_due(self.channels, channel)

    def _next_of(self, channel: str) -> OutboxMessage | None:
        """What is critical first, then whose incident has waited longest for its turn; what belongs to none waits for nobody's."""
        queued = self._journal.messages.due(self._clock(), channel)
        turns = self._turns.setdefault(channel, {})
        if not queued:
            turns.clear()
            return None
        first = [one for one in queued if one.is_urgent == queued[0].is_urgent]
        chosen = min(first, key=lambda one: (turns.get((one.is_urgent, one.message.incident or 0), 0), one.id))
        if chosen.message.incident is not None:
            turns[chosen.is_urgent, chosen.message.incident] = 1 + max(turns.values(), default=0)
        return chosen

    def _worker_ended(self, channel: str, task: asyncio.Task[None]) -> None:
        del self._workers[channel]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
        self.notify_pending()

    async def _deliver(self, queued: OutboxMessage) -> None:
        if queued.is_catch_up:
            rewritten: OutboxMessage | None = await self._durably(self._write_catch_up, queued)
            if rewritten is None:
                return
            queued = rewritten
        name = queued.channel
        delivery = await self._waiting.gather(queued, self.channels.get(name), self._clock())
        begins: IncidentHead | None = await self._durably(
            self._heads.first_form, self.channels.get(name), name, delivery.queued.message
        )
        if begins is not None:
            delivery = delivery._replace(queued=replace(delivery.queued, message=begins.message))
        handle, error = await self._try(name, self._send(delivery, as_written=begins is None))
        await self._durably(self._record_result, delivery, handle, error, begins)  # until then, this channel waits
        outcome = "sent" if error is None else "failed" if error.permanent else "retried"
        self._telemetry.notifications.labels(name, outcome).inc()
        if error is not None:
            log.warning("channel %s: %s%s", name, error, "" if error.permanent else " (will try again)")

    async def _edit(self, edit: Edit) -> None:
        """The first message of an incident says what is so now."""
        name = edit.head.channel
        editing = call_notifier(self._offload, f"channel {name}", edit.editor.edit, edit.handle, edit.said.message)
        _, error = await self._try(name, editing)
        await self._durably(self._heads.record_edit, edit, error, self._clock())
        outcome = "edited" if error is None else "edit_failed" if error.permanent else "edit_retried"
        self._telemetry.notifications.labels(name, outcome).inc()
        if error is not None:
            what = f"the first message of incident {edit.head.incident} is not up to date"
            log.warning("channel %s: %s: %s%s", name, what, error, "" if error.permanent else " (will try again)")

    async def _try(self, channel: str, calling: Awaitable[str | None]) -> tuple[str | None, NotifyError | None]:
        """What came back, or what went wrong."""
        try:
            return await calling, None
        except NotifyError as failure:
            return None, failure
        except DeadlineExceededError:
            return None, NotifyError(f"no answer within {call.SEND_TIMEOUT:.0f} s")
        except StillBusyError:
            return None, NotifyError("the last delivery still hangs")
        except Exception as bug:
            # A mistake in one notifier must not silence the others; the message itself is not lost.
            log.exception("channel %s: a mistake in its notifier", channel)
            return None, NotifyError(f"a mistake in its notifier ({type(bug).__name__})")

    async def _durably(self, write: Callable[..., Any], *args: Any) -> Any:
        """Writes it down as soon as the journal takes something."""
        while True:
            try:
                return write(*args)
            except JournalUnavailableError:
                await asyncio.sleep(_JOURNAL_RETRY_PAUSE)

    def _write_catch_up(self, queued: OutboxMessage) -> OutboxMessage | None:
        """With what is so now; None: there is nothing left to say."""
        incident = queued.message.incident
        said = None if incident is None else self._describe_incident(incident, queued.channel, self._clock())
        with self._journal.transaction(defer_sync=True) as tx:
            if said is None:
                tx.messages.drop(queued.id)
                return None
            tx.messages.rewrite(queued.id, said)
        return replace(queued, message=replace(said, incident=incident, key=queued.message.key, broadcast=True))

    def _record_result(
        self, delivery: Delivery, handle: str | None, error: NotifyError | None, begins: IncidentHead | None
    ) -> None:
        now, queued = self._clock(), delivery.queued
        with self._journal.transaction(
            defer_sync=error is None
        ) as tx:  # forgotten, it is sent once more; actions wait for no chat
            if error is None:
                # A digest begins no thread: what follows of its incidents does.
                handle = None if delivery.is_digest else handle
                tx.messages.mark_sent(queued.id, handle, now, counted=delivery.is_counted)
                tx.messages.mark_folded([one for one in delivery.ids if one != queued.id], queued.id, now)
                if begins is not None:
                    self._heads.record_first(tx, queued.channel, begins, handle, now)
                tx.messages.note_delivery(queued.channel, now)
                report_recovery(self._journal, tx, queued.channel, now)
                channel = self.channels.get(queued.channel)
                told, standby = self._reachable(), self._standby()
                report_notice(self._journal, tx, queued.channel, channel, told, now, standby=standby)
            elif error.permanent and queued.is_catch_up:
                tx.messages.mark_postponed(queued.id, now + _probe_pause(queued.tries), str(error))
            elif error.permanent:
                for number in delivery.ids:
                    tx.messages.mark_failed(number, str(error), now)
                for owed in self._incidents_owed(delivery):
                    next_try = now + _FIRST_PROBE
                    tx.messages.enqueue_catch_up(queued.channel, owed.id, owed.severity, next_try, str(error), now)
                report_late(
                    self._journal, tx, self._reachable(), now, refused_by=queued.channel, standby=self._standby()
                )
            else:
                next_try = now + min(MAX_RETRY_PAUSE, 1_000 * 2 ** min(queued.tries, 9))
                for number in delivery.ids:
                    tx.messages.mark_postponed(number, next_try, str(error))
                if error.retry_after is not None:
                    pause = round(error.retry_after * 1_000)
                    probe = _probe_pause(self._journal.messages.count_refusals(queued.channel))
                    # What is critical may try its luck though others were refused: once, and then rarely.
                    crit_pause = min(pause, probe, MAX_RETRY_PAUSE) if queued.is_urgent else 0
                    tx.messages.pause_channel(queued.channel, now + pause, now + crit_pause, now)

    def _incidents_owed(self, delivery: Delivery) -> list[Incident]:
        """The incidents of which the channel is to hear once it is cured."""
        channel, known = delivery.queued.channel, self._journal.incidents
        if channel not in self.channels:
            return []
        if not delivery.incidents:  # it may have spoken of several at once
            found = [known.find_open(target) for target in known.list_targets_with_open_incident()]
            return [
                one
                for one in found
                if one is not None
                and channel in self._journal.messages.list_told([incident_topic(one.id)])
                and self._journal.messages.begins_thread(channel, one.id)
            ]
        spoken_of = [known.find_incident(number) for number in delivery.incidents]
        return [
            one
            for one in spoken_of
            if one is not None and (one.closed is None or self._journal.messages.last_sent(channel, one.id) is not None)
        ]

    def _report_late(self) -> None:
        """Tells the other channels of what one does not take. What this process has not tried yet is given its minute."""
        now, reachable = self._clock(), self._reachable()
        try:
            late = self._journal.messages.list_unreported(now - LATE_AFTER)
            late = [one for one in late if one.channel in reachable and (one.severity == "crit" or not one.refused)]
            if any(one.tries or now - self._started >= LATE_AFTER for one in late):
                with self._journal.transaction() as tx:
                    report_late(self._journal, tx, reachable, now, untried_since=self._started, standby=self._standby())
        except JournalUnavailableError:
            return  # it is told as soon as it can be written down

    def _reachable(self) -> list[str]:
        return [name for name in self.channels if name not in self.silent]

    def _standby(self) -> list[str]:
        return [name for name, channel in self.channels.items() if getattr(channel, "standby", False)]

    async def send_unjournaled(self, message: Message) -> None:
        """Past the journal, at once and once, on every channel: for when the journal itself takes nothing. Never raises."""
        log.critical("%s: %s", message.title, "; ".join(message.lines))
        message = replace(message, lines=(*message.lines, f"on {socket.gethostname()}"), key="0")

        async def on(name: str, channel: Any) -> None:
            try:
                await call_notifier(self._offload, f"cry on {name}", channel.send, message)
            except Exception as error:  # a mistake in one notifier must not silence the others
                log.warning(
                    "channel %s: %s: not delivered: %s", name, str(error) or type(error).__name__, message.title
                )

        await asyncio.gather(*(on(name, each) for name, each in self.channels.items() if name not in self.silent))

    async def _send(self, delivery: Delivery, *, as_written: bool) -> str | None:
        queued = delivery.queued
        channel = self.channels.get(queued.channel)
        if channel is None:  # the log is a channel too; so is one that a reload took away
            level = {"info": 20, "warn": 30, "crit": 40}[queued.message.severity]
            log.log(level, "message: %s", format_line(queued.message))
            return None
        thread = self._journal.messages.thread_handle(queued.channel, queued.message.incident)
        message = replace(queued.message, thread=thread)
        late = self._clock() - queued.created
        if as_written and not queued.is_catch_up and len(delivery.ids) == 1 and late >= LATE_AFTER:
            said = f"{format_duration(late)} {'late' if queued.held is None else 'ago'}"
            message = replace(message, lines=(*message.lines, said))
        if message.chart is not None and shows_pictures(channel):
            timeout = _DRAWING_TIMEOUT_URGENT if queued.is_urgent else _DRAWING_TIMEOUT
            message = replace(message, picture=await self.draw(message.chart, timeout))
        if self.alerts_of is not None and isinstance(channel, AlertingNotifier):
            message = replace(message, alerts=tuple(self.alerts_of(replace(queued, message=message), self._clock())))
        return await call_notifier(self._offload, f"channel {queued.channel}", channel.send, message)


def _probe_pause(tries: int) -> Millis:
    return int(min(_MAX_PROBE, _FIRST_PROBE * 2 ** min(tries, 9)))


def format_line(message: Message) -> str:
    """A message on one line, as it stands in the log when there is no channel."""
    return " — ".join([message.title, *message.lines])
