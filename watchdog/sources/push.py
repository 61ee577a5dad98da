"""A bot that sends its numbers itself, over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from watchdog.core.errors import SourceError
from watchdog.core.inbox import RETRY_LATER, InboxEndpoint, InboxError, InboxReply, InboxRequest
from watchdog.core.model import Millis, SecretFile
from watchdog.core.protocols import Deliver, SourceState
from watchdog.core.units import format_duration
from watchdog.net.deadline import Deadline
from watchdog.sources.delivery_limit import DeliveryLimit
from watchdog.sources.exposition import PageCache, PageLimits
from watchdog.sources.interval import Interval
from watchdog.sources.push_body import MediaTypeError, parse_body
from watchdog.sources.sample_clock import SampleClock
from watchdog.sources.senders import TokenCheck, open_inbox
from watchdog.sources.series_limits import REFUSED_FACTOR
from watchdog.sources.series_table import SeriesTable
from watchdog.sources.source_model import SourceModel

_REFUSAL = InboxReply(
    401,
    "no push source of this name has this token - send the one in its token_file as Authorization: Bearer TOKEN",
    {"WWW-Authenticate": "Bearer"},
)
ENDPOINT = InboxEndpoint("push", ("POST", "PUT"), _REFUSAL)
_MIN_FORGET: Millis = 300_000
_PARSE_LIMIT: Millis = 2_000
_MAX_WAITING = 64
"""Deliveries that may wait to be judged; then none is taken for a moment, so that none is ever passed over."""
_REST = 0.5
"""Seconds."""


class PushSource(SourceModel):
    """A bot that sends its numbers itself: to `/push/NAME` of the web server, as Prometheus text or JSON."""

    identity: ClassVar[str] = "push"

    type: Literal["push"]
    token_file: SecretFile
    """File with the token that the bot sends along, 16 characters or more; read anew each time, so it may be rotated."""
    every: Interval = 10_000
    """Time from one push to the next, as a rule. More come at once without harm; for long they must not."""
    timeout: Interval | None = None
    """Silence after which it is down. Not said: three times `every`."""
    forget: Interval | None = None
    """When a series is gone that is pushed no more while others are. Not said: three times `every`, and at least `5m`."""
    max_bytes: int = Field(2**20, ge=1, le=16 * 2**20)
    """Most bytes of one push, unpacked."""

    @property
    def deadline(self) -> Millis:
        return self.timeout if self.timeout is not None else 3 * self.every

    def receive(self, name: str, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]) -> PushReceiver:  # noqa: ARG002
        """State: none. What was pushed ahead of a start says nothing of now, and counts as gone until it comes again."""
        return PushReceiver(self, name, deliver, clock)


class PushReceiver:
    """Takes what is sent in the threads of the web server; it has none of its own."""

    def __init__(self, source: PushSource, name: str, deliver: Deliver, clock: Callable[[], Millis]) -> None:
        self._source, self._deliver, self._clock = source, deliver, SampleClock(clock)
        forget = source.forget if source.forget is not None else max(3 * source.every, _MIN_FORGET)
        self._table = SeriesTable(forget)
        self._delivery_limit = DeliveryLimit(source.every)
        self._cache = PageCache()
        self._lock = threading.Lock()
        self._rests_until = 0.0
        self._closed = False
        self._token = TokenCheck(name, source.token_file)
        self._leave = open_inbox(ENDPOINT, name, source.token_file, self._take)

    def shift_times(self, step: Millis) -> None:
        with self._lock:
            self._table.shift_times(step)

    def close(self) -> None:
        self._leave()
        with self._lock:  # whoever has been answered has been heard
            self._closed = True

    def _take(self, request: InboxRequest) -> InboxReply:
        if request.parts or not self._token.admits(request.token):
            return _REFUSAL
        body = request.read_body(self._source.max_bytes)
        with self._lock:
            self._refuse_flood()
            now = self._clock.next()
            limits = PageLimits(self._source.max_series, Deadline.after(_PARSE_LIMIT))
            try:
                samples = parse_body(request.content_type, body, now, self._cache, limits)
            except SourceError as error:
                raise InboxError(415 if isinstance(error, MediaTypeError) else 400, str(error)) from None
            if request.method == "PUT":
                self._table.keep_only(samples)
            elif self._table.count_with(samples) > limits.samples:
                raise InboxError(
                    413,
                    f"with these there would be more than {REFUSED_FACTOR} times max_series: {limits.max_series} "
                    "series - push fewer, PUT all there are, or say a larger max_series",
                )
            self._table.put(samples, now)
            self._table.drop_forgotten(now)
            self._delivery_limit.note()
            waiting = self._deliver(self._table.take(), {})
            if waiting >= _MAX_WAITING:
                self._rests_until = time.monotonic() + _REST
        return InboxReply(204)

    def _refuse_flood(self) -> None:
        if self._closed:
            raise InboxError(503, "this source is being opened anew - send it again in a moment", RETRY_LATER)
        if time.monotonic() < self._rests_until:
            raise InboxError(429, "more is pushed than can be judged - send it again in a moment", RETRY_LATER)
        if not self._delivery_limit.is_open(len(self._table)):
            every = format_duration(self._source.every)
            raise InboxError(
                429,
                f"pushes come faster than every: {every} for long - push less often, or say what is so",
                RETRY_LATER,
            )
