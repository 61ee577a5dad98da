"""A bot that sends StatsD: counters, gauges and timers in datagrams, as many libraries do."""

from __future__ import annotations

import ipaddress
import os
import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from pydantic import field_validator, model_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import FrozenList, Millis
from watchdog.core.protocols import Deliver, SourceState
from watchdog.core.telemetry import log
from watchdog.sources.delivery_limit import DeliveryLimit
from watchdog.sources.interval import Interval
from watchdog.sources.sample_clock import SampleClock
from watchdog.sources.series_limits import REFUSED_FACTOR
from watchdog.sources.source_model import SourceModel
from watchdog.sources.statsd_table import StatsdTable

_MIN_DEADLINE: Millis = 60_000
_GAP = 0.05
"""Seconds between two deliveries: what comes meanwhile goes with the next one."""
_MAX_DATAGRAM = 65_536
_SPELL = 0.05
"""Seconds for which datagrams are read before it is seen whether something is due: ten thousand lines fit into one of them."""
_LAST_SPELL = 1.0
"""For those that have come by the time it is closed."""
_BUFFER = 4 << 20
"""Bytes that wait in the kernel at most, if it grants so many."""
_MAX_WAITING = 64
"""Deliveries that may wait to be judged before it goes slower."""


class StatsdSource(SourceModel):
    """A bot that sends StatsD or DogStatsD over UDP."""

    type: Literal["statsd"]
    listen: str = "127.0.0.1:8125"
    """Address and port, `127.0.0.1:8125` or `[::1]:8125`. Beyond this machine only with `allow`."""
    allow: FrozenList[str] = ()
    """Addresses or networks from which datagrams are taken beside this machine's: `10.0.0.5`, `10.0.0.0/24`."""
    every: Interval = 1_000
    """Time from one delivery to the next, in the long run. What comes is delivered within 50 ms as long as there is room, and
    sets are counted over so long."""
    timeout: Interval | None = None
    """Silence after which it is down. Not said: three times `every`, and at least `1m`."""
    forget: Interval = 300_000
    """When a gauge is gone that is sent no more while others are. Counters stay."""
    signed: Literal["delta", "value"] = "delta"
    """What `+5` and `-5` say of a gauge: `delta`, it rises or falls by that (StatsD); `value`, that is what it is (DogStatsD)."""

    @field_validator("listen")
    @classmethod
    def _validate_listen(cls, listen: str) -> str:
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9]{1,5})", listen)
        try:
            ipaddress.ip_address(found[1].strip("[]") if found else "")
        except ValueError:
            found = None
        if found is None or not 0 < int(found[2]) <= 65_535:
            raise ValueError("listen reads like 127.0.0.1:8125 or [::1]:8125, with an address and not a name")
        return listen

    @field_validator("allow")
    @classmethod
    def _validate_allow(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for text in allow:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise ValueError(f"{text[:60]!r} is no address and no network — it reads like 10.0.0.0/24") from None
        return allow

    @model_validator(mode="after")
    def _validate_who_may_send(self) -> StatsdSource:
        if not ipaddress.ip_address(self.host).is_loopback and not self.allow:
            raise ValueError(
                f"whoever reaches {self.host} could say what the bot's numbers are — say allow: [10.0.0.5]"
            )
        return self

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def deadline(self) -> Millis:
        return self.timeout if self.timeout is not None else max(3 * self.every, _MIN_DEADLINE)

    @property
    def identity(self) -> str:
        return self.listen

    def receive(self, name: str, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]) -> StatsdReceiver:
        """State: all counters and gauges."""
        return StatsdReceiver(self, name, state, deliver, clock)


class StatsdReceiver:
    """Listens in a thread of its own."""

    def __init__(
        self, source: StatsdSource, name: str, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]
    ) -> None:
        self._source, self._name, self._deliver, self._clock = source, name, deliver, SampleClock(clock)
        self._table = StatsdTable(state, source.forget, REFUSED_FACTOR * source.max_series, source.signed)
        self._delivery_limit = DeliveryLimit(source.every)
        self._networks = tuple(map(ipaddress.ip_network, source.allow))
        self._is_allowed = lru_cache(1_000)(self._find_allowed)
        self._steps: deque[Millis] = deque()
        """By which the clock was set since the table was told."""
        self._due = self._sets_end = 0.0
        """Monotonic seconds: ahead of them nothing is delivered; then sets are counted."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in source.host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.bind((source.host, source.port))
        except OSError as error:
            self._socket.close()
            raise SourceError(
                f"{source.listen} cannot be listened on: {error.strerror} — end what listens there, or say another listen"
            ) from None
        self._socket.setblocking(False)
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._listen, name=f"statsd {name}", daemon=True)
        self._thread.start()

    def shift_times(self, step: Millis) -> None:
        self._steps.append(step)

    def close(self) -> None:
        os.eventfd_write(self._end, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._end)

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        closing = False
        while not closing:
            wait = self._seconds_to_wait()
            closing = any(ready == self._end for ready, _ in poll.poll(None if wait is None else wait * 1_000))
            try:
                self._read_datagrams(_LAST_SPELL if closing else _SPELL)
                self._deliver_what_is_due(at_once=closing)
            except Exception:  # the next datagram is another one
                log.exception("source %s", self._name)

    def _seconds_to_wait(self) -> float | None:
        """None: until something comes."""
        ends = [self._due] if self._table.has_news else []
        if self._table.has_members:
            ends.append(self._sets_end)
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _read_datagrams(self, spell: float) -> None:
        end = time.monotonic() + spell
        while time.monotonic() < end:
            try:
                data, sender = self._socket.recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue  # what the network has to say of an earlier answer; there are none of ours
            if not self._is_allowed(sender[0]):
                self._table.refuse_datagram()
                continue
            if not self._table.has_members:
                self._sets_end = time.monotonic() + self._source.every / 1_000
            self._table.read_datagram(data)

    def _deliver_what_is_due(self, *, at_once: bool) -> None:
        now = time.monotonic()
        while self._steps:
            self._table.shift_times(self._steps.popleft())
        if self._table.has_members and now >= self._sets_end:
            self._table.end_sets()
        if not self._table.has_news or not (at_once or now >= self._due):
            return
        waiting = self._deliver(*self._table.take(self._clock.next()))
        self._delivery_limit.note()
        is_open = waiting < _MAX_WAITING and self._delivery_limit.is_open(len(self._table))
        self._due = now + (_GAP if is_open else max(_GAP, self._source.every / 1_000))

    def _find_allowed(self, address: str) -> bool:
        sender = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(sender, ipaddress.IPv6Address) and sender.ipv4_mapped is not None:
            sender = sender.ipv4_mapped
        return sender.is_loopback or any(sender in network for network in self._networks)
