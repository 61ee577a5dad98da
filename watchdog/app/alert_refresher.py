"""Tells channels that are told states what is so, again and again: what is not told again is over for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from watchdog.core.errors import NotifyError
from watchdog.core.model import Alert, Message, Millis, NotifyFunction
from watchdog.core.offload import DeadlineExceededError, StillBusyError
from watchdog.core.protocols import AlertingNotifier
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.messages import LATE_AFTER, OutboxMessage
from watchdog.journal.topics import channel_topic
from watchdog.notifiers.outbox import OutboxSender
from watchdog.pipeline.pipeline import Pipeline

REFRESH_INTERVAL = 5.0
"""Seconds after which it looks anew whether a channel is to be told."""
_DEADLINE = 30.0
"""Seconds that telling one channel may take."""
_RETRY_PAUSE: Millis = 10_000
"""ms at most from one try to the next of what was not taken."""


class AlertRefresher:
    """Keeps no state that matters: the first time after a start, everything is told."""

    def __init__(
        self,
        pipeline: Pipeline,
        outbox: OutboxSender,
        clock: Callable[[], Millis],
        offload: Callable[..., Awaitable[Any]],
        notify: NotifyFunction,
    ) -> None:
        """`notify`: tells people that a channel does not take it."""
        self._pipeline = pipeline
        self._journal = pipeline.journal
        self._outbox = outbox
        self._clock = clock
        self._offload = offload
        self._notify = notify
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """Channel → what tells it: none waits for another."""
        self._due: dict[str, tuple[AlertingNotifier, float]] = {}
        """Channel → which it was, and when it is told next, in seconds of the loop's clock."""
        self._failing_since: dict[str, Millis] = {}
        outbox.alerts_of = self._list_alerts_of

    def _list_alerts_of(self, queued: OutboxMessage, now: Millis) -> list[Alert]:
        return self._pipeline.incident_manager.alerts.list_for(queued, now)  # of the configuration as it is then

    async def refresh(self) -> None:
        """Begins to tell every channel for which it is time. Raises what went wrong with the last one."""
        channels = self._channels()
        for name in self._due.keys() - channels.keys():
            del self._due[name]
            self._failing_since.pop(name, None)
        for name, channel in channels.items():
            running = self._tasks.get(name)
            if (running is None or running.done()) and self._is_due(name, channel):
                self._tasks[name] = asyncio.create_task(self._refresh_one(name, channel), name=f"alerts of {name}")
                if running is not None:
                    running.result()

    async def wait(self) -> None:
        """Until what has begun has ended."""
        await asyncio.gather(*self._tasks.values())

    def _channels(self) -> dict[str, AlertingNotifier]:
        known, silent = self._outbox.channels.items(), self._outbox.silent
        return {name: one for name, one in known if isinstance(one, AlertingNotifier) and name not in silent}

    def _is_due(self, name: str, channel: AlertingNotifier) -> bool:
        known, due = self._due.get(name, (None, 0.0))
        return known != channel or asyncio.get_running_loop().time() >= due

    async def _refresh_one(self, name: str, channel: AlertingNotifier) -> None:
        try:
            await self._tell_all(name, channel)
        except JournalUnavailableError:
            return  # it is told as soon as it can be read

    async def _tell_all(self, name: str, channel: AlertingNotifier) -> None:
        alerts = self._pipeline.incident_manager.alerts.list_all(name, self._clock())
        error = await self._publish(name, channel, alerts) if alerts else None
        pause = channel.resend if error is None else min(channel.resend, _RETRY_PAUSE)
        self._due[name] = channel, asyncio.get_running_loop().time() + pause / 1_000
        if error is None:
            self._failing_since.pop(name, None)
            self._tell_recovery(name)
            return
        now = self._clock()
        since = self._failing_since.setdefault(name, now)
        log.warning("channel %s: %s (%d alerts are not told again)", name, error, len(alerts))
        if now - since >= LATE_AFTER and not self._journal.messages.list_told([channel_topic(name)]):
            self._tell_failing(name, error, now - since, alerts)

    async def _publish(self, name: str, channel: AlertingNotifier, alerts: Sequence[Alert]) -> NotifyError | None:
        error: NotifyError | None = None
        try:
            await self._offload(f"alerts of {name}", _DEADLINE, channel.publish, alerts)
        except NotifyError as failure:
            error = failure
        except DeadlineExceededError:
            error = NotifyError(f"no answer within {_DEADLINE:.0f} s")
        except StillBusyError:
            error = NotifyError("the last one still hangs")
        except Exception as bug:  # a mistake in one notifier must not silence the others
            log.exception("channel %s: a mistake in its notifier", name)
            error = NotifyError(f"a mistake in its notifier ({type(bug).__name__})")
        outcome = "refreshed" if error is None else "not refreshed"
        self._pipeline.telemetry.notifications.labels(name, outcome).inc()
        return error

    def _tell_failing(self, name: str, error: NotifyError, lasting: Millis, alerts: Sequence[Alert]) -> None:
        """On the others."""
        others = tuple(other for other in self._outbox.channels if other != name and other not in self._outbox.silent)
        if not others:
            return
        is_critical = any(("severity", "critical") in alert.labels for alert in alerts)
        lines = (str(error), f"for {format_duration(lasting)}; what it is not told again, it takes for over")
        title, topic = f"channel {name} does not deliver", channel_topic(name)
        self._notify(Message("crit" if is_critical else "warn", title, lines, channels=others, opens=(topic,)))

    def _tell_recovery(self, name: str) -> None:
        """Unless messages wait: the outbox tells it then."""
        topic = channel_topic(name)
        if self._journal.messages.list_told([topic]) and name not in self._journal.messages.list_queues():
            self._notify(Message("info", f"channel {name} delivers again", ends=(topic,)))
