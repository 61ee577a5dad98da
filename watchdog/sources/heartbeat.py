"""A job that calls in: how long it has been silent, and how it went."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from watchdog.core.inbox import RETRY_LATER, InboxEndpoint, InboxError, InboxReply, InboxRequest
from watchdog.core.model import Millis, Sample, SecretFile
from watchdog.core.protocols import Deliver, SourceState
from watchdog.core.telemetry import log
from watchdog.sources.delivery_limit import DeliveryLimit
from watchdog.sources.interval import Interval
from watchdog.sources.sample_clock import SampleClock
from watchdog.sources.senders import TokenCheck, open_inbox
from watchdog.sources.source_model import SourceModel

_REFUSAL = InboxReply(404, "there is no heartbeat of this name with this token")
ENDPOINT = InboxEndpoint("heartbeat", ("GET", "HEAD", "POST"), _REFUSAL)
KINDS = ("success", "start", "fail", "log")
_EXIT_STATUS = re.compile(r"[0-9]{1,3}", re.ASCII)
_MIN_DEADLINE: Millis = 10_000
_PACE: Millis = 100
"""From one call to the next, in the long run: each takes room in memory until nothing looks back at it any more."""
_MAX_SERIES = 4 + len(KINDS)


class HeartbeatSource(SourceModel):
    """A bot or a job that calls in, at `/heartbeat/NAME/TOKEN` of the web server, as Healthchecks has it."""

    identity: ClassVar[str] = "heartbeat"

    type: Literal["heartbeat"]
    token_file: SecretFile
    """File with the token that stands in the address, 16 characters or more; read anew each time, so it may be rotated."""
    every: Interval = 10_000
    """How often the age is told, and judged, while nobody calls. Calls are judged when they come."""

    @property
    def deadline(self) -> Millis:
        """It tells the age by itself: it is down when it cannot."""
        return max(3 * self.every, _MIN_DEADLINE)

    def receive(
        self, name: str, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]
    ) -> HeartbeatReceiver:
        """State: when it was called last, and how often."""
        return HeartbeatReceiver(self, name, state, deliver, clock)


class HeartbeatReceiver:
    """Called in the threads of the web server; one of its own tells the age meanwhile."""

    def __init__(
        self, source: HeartbeatSource, name: str, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]
    ) -> None:
        self._source, self._name, self._deliver, self._clock = source, name, deliver, SampleClock(clock)
        self._known: dict[str, Any] = {"calls": dict.fromkeys(KINDS, 0)} | state
        self._changed = threading.Condition()
        self._closed = False
        self._token = TokenCheck(name, source.token_file)
        self._delivery_limit = DeliveryLimit(_PACE)
        self._leave = open_inbox(ENDPOINT, name, source.token_file, self._take)
        self._thread = threading.Thread(target=self._tell, name=f"heartbeat {name}", daemon=True)
        self._thread.start()

    def shift_times(self, step: Millis) -> None:
        with self._changed:
            self._known |= {each: self._known[each] + step for each in ("started", "succeeded") if each in self._known}

    def close(self) -> None:
        self._leave()
        with self._changed:  # whoever has been answered has been heard
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _take(self, request: InboxRequest) -> InboxReply:
        token, *parts = request.parts or ("",)
        if not self._token.admits(token):
            return _REFUSAL
        kind = _kind_of(parts)
        if kind is None:
            raise InboxError(404, "a heartbeat is called without more, or with /start, /fail, /log or an exit status")
        with self._changed:
            if self._closed:
                raise InboxError(503, "this source is being opened anew - call again in a moment", RETRY_LATER)
            if not self._delivery_limit.is_open(_MAX_SERIES):
                raise InboxError(429, "calls come more than ten times a second for long - call less often", RETRY_LATER)
            now = self._clock.next()
            self._note(kind, now)
            self._deliver(_measure(self._known, now), self._known)
            self._delivery_limit.note()
        return InboxReply(200, "OK")

    def _note(self, kind: str, now: Millis) -> None:
        known = self._known
        known["calls"] = known["calls"] | {kind: known["calls"].get(kind, 0) + 1}
        if kind == "start":
            known["started"] = now
        elif kind in ("success", "fail"):
            started = known.pop("started", None)
            known["ok"] = kind == "success"
            if started is not None:
                known["duration"] = max(0, now - started)
            if kind == "success":
                known["succeeded"] = now

    def _tell(self) -> None:
        """As long as it is open."""
        with self._changed:
            while not self._closed:
                try:
                    self._deliver(_measure(self._known, self._clock.next()), self._known)
                except Exception:  # the next time is another one
                    log.exception("source %s", self._name)
                self._changed.wait(self._source.every / 1_000)


def _kind_of(parts: list[str]) -> str | None:
    """What a call says; None: nothing that is known."""
    if not parts or parts == [""]:
        return "success"
    if len(parts) > 1:
        return None
    if _EXIT_STATUS.fullmatch(parts[0]) and int(parts[0]) <= 255:
        return "success" if int(parts[0]) == 0 else "fail"
    return parts[0] if parts[0] in ("start", "fail", "log") else None


def _measure(known: dict[str, Any], now: Millis) -> list[Sample]:
    """What was never said is absent."""
    values: dict[str, float] = {}
    if any(known["calls"].values()):
        values["heartbeat_running"] = float("started" in known)
    if "ok" in known:
        values["heartbeat_success"] = float(known["ok"])
    if "succeeded" in known:
        values["heartbeat_age_seconds"] = max(0, now - known["succeeded"]) / 1_000
    if "duration" in known:
        values["heartbeat_duration_seconds"] = known["duration"] / 1_000
    calls = [
        Sample("heartbeat_calls_total", (("kind", kind),), now, float(known["calls"].get(kind, 0))) for kind in KINDS
    ]
    return [*(Sample(name, (), now, value) for name, value in values.items()), *calls]
