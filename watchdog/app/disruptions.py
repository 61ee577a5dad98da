"""When the clock was set, or nobody has watched: all that runs is moved along, and it is said once."""

from __future__ import annotations

import time

from watchdog.app.journal_health import JournalHealth
from watchdog.app.requests import RequestHandler
from watchdog.app.sampling import Sampler
from watchdog.app.series_writer import SeriesWriter
from watchdog.app.steady_clock import Disruption, Standstill, SteadyClock
from watchdog.core.model import Message, Millis, NotifyFunction
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration
from watchdog.journal.errors import JournalUnavailableError
from watchdog.pipeline.pipeline import Pipeline

_WORTH_TELLING: Millis = 30_000
"""What is shorter stands in the log alone."""
_TELL_AGAIN_AFTER = 900.0
"""s: of a watchdog that stands still again and again people are told so often."""
_SETTLE_AFTER_STEP, _SETTLE_AFTER_STANDSTILL = 0.5, 2.0
"""s until sources are asked again: who has slept as well is not asked before it is awake."""


class Disruptions:
    """Of one daemon, in its loop."""

    def __init__(
        self,
        clock: SteadyClock,
        pipeline: Pipeline,
        series_writer: SeriesWriter,
        sampler: Sampler,
        request_handler: RequestHandler,
        journal_health: JournalHealth,
        notify: NotifyFunction,
    ) -> None:
        self._clock, self._pipeline, self._series_writer = clock, pipeline, series_writer
        self._sampler, self._request_handler = sampler, request_handler
        self._journal_health, self._notify = journal_health, notify
        self._unextended: list[Standstill] = []
        """Which approvals do not know of yet."""
        self._told_at = -_TELL_AGAIN_AFTER
        """Monotonic s: of a standstill."""

    def notice(self) -> None:
        """Asked each second, and ahead of whatever is read and judged. What the journal does not take now is done the next time."""
        try:
            if (disruption := self._clock.look()) is not None:
                self._follow(disruption)
            while self._unextended:
                self._request_handler.extend_approvals(self._unextended[0].since, self._unextended[0].until)
                del self._unextended[0]
        except JournalUnavailableError as error:
            self._journal_health.record_failure(error)

    def _follow(self, disruption: Disruption) -> None:
        step, asleep = disruption
        if step:
            self._pipeline.follow_clock_step(step, self._clock() + step)
            self._clock.set(step)
            self._series_writer.shift(step)
            self._unextended = [Standstill(since + step, until + step) for since, until in self._unextended]
        self._sampler.begin_anew(step, _SETTLE_AFTER_STEP if asleep is None else _SETTLE_AFTER_STANDSTILL)
        if asleep is not None:
            self._pipeline.handle_standstill(asleep.since, asleep.until)
            self._clock.pass_over(asleep)
            self._unextended.append(asleep)
        message = describe_disruption(disruption)
        log.warning("%s: %s", message.title, "; ".join(message.lines))
        if self._is_worth_telling(disruption):
            self._notify(message)

    def _is_worth_telling(self, disruption: Disruption) -> bool:
        step, asleep = disruption
        now = time.monotonic()
        slept = asleep is not None and asleep.until - asleep.since >= _WORTH_TELLING
        if slept and now - self._told_at >= _TELL_AGAIN_AFTER:
            self._told_at = now
            return True
        return abs(step) >= _WORTH_TELLING


def describe_disruption(disruption: Disruption) -> Message:
    """For people."""
    step, asleep = disruption
    titles, lines = [], []
    if asleep is not None:
        titles.append(f"nobody watched for {format_duration(asleep.until - asleep.since)}")
        lines.append(
            "the watchdog stood still, or its machine slept: windows lack that time, and timers go on from here"
        )
    if step:
        titles.append(f"the clock was set {'back' if step < 0 else 'forward'} by {format_duration(abs(step))}")
        lines.append("all that runs goes on as if it had not been")
    return Message("warn", ", and ".join(titles), tuple(lines))
