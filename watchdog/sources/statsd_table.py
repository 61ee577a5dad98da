"""What StatsD's lines add up to: counters that go on, and gauges as they were set last."""

from __future__ import annotations

import math
from typing import Any, Literal

from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import SourceState
from watchdog.sources.series_table import SeriesName, SeriesTable
from watchdog.sources.statsd_line import StatsdUpdate, parse_line

OWN_COUNTERS = ("statsd_lines_total", "statsd_invalid_total", "statsd_refused_total")
_MAX_MEMBERS = 100_000
"""Of all sets together, while they are counted."""
_ZERO_AHEAD: Millis = 1_000
"""How far ahead of its first count a counter was 0, at most: whoever looks back over a short window sees it."""
_PASSED_OVER = (b"_e{", b"_sc|")
"""Events and service checks: no metrics, and no mistake."""


class StatsdTable:
    """Not for several threads."""

    def __init__(self, state: SourceState, forget: Millis, most: int, signed: Literal["delta", "value"]) -> None:
        """`forget`: when a gauge goes that is set no more. `most`: series that are kept at most. `signed`: what a sign says in
        front of a gauge's value."""
        self._most, self._signed = most, signed
        self._counters: dict[SeriesName, float] = {
            (name, tuple((label, value) for label, value in labels)): float(v)
            for name, labels, v in state.get("counters", ())
        }
        self._new: set[SeriesName] = set()
        """Counters that have not been delivered yet."""
        self._taken_at: Millis = 0
        self._gauges = SeriesTable(forget, state.get("gauges", ()))
        self._own: dict[str, int] = dict.fromkeys(OWN_COUNTERS, 0) | state.get("own", {})
        self._set: dict[SeriesName, float] = {}
        """Gauges since the last delivery."""
        self._members: dict[SeriesName, set[int]] = {}
        """By their hashes: a member may be as long as a datagram, and whoever sends it does not know how we hash."""
        self._member_count = 0
        self.has_news = False

    def __len__(self) -> int:
        return len(self._counters) + len(self._gauges) + len(OWN_COUNTERS)

    @property
    def has_members(self) -> bool:
        """Whether sets are being counted."""
        return bool(self._members)

    def read_datagram(self, data: bytes) -> None:
        """Whatever it is."""
        for line in data.split(b"\n"):
            line = line.strip(b"\r\0 ")
            if not line or line.startswith(_PASSED_OVER):
                continue
            update = parse_line(line)
            ok = update is not None and self._add(update)
            self._own["statsd_lines_total" if ok else "statsd_invalid_total"] += 1
            self.has_news = True

    def refuse_datagram(self) -> None:
        """One of a stranger: it is counted, and no sign of life."""
        self._own["statsd_refused_total"] += 1

    def end_sets(self) -> None:
        """What was counted is what the sets were."""
        for name, members in self._members.items():
            self._set[name] = float(len(members))
        self.has_news |= bool(self._members)
        self._members, self._member_count = {}, 0

    def shift_times(self, step: Millis) -> None:
        """The clock was set by `step`."""
        self._gauges.shift_times(step)
        self._taken_at += step

    def take(self, now: Millis) -> tuple[list[Sample], SourceState]:
        """All series, as they are delivered, and the state that stands for them. A counter says what it is now, and one that
        is new was 0 just before: so its first count is an increase. A gauge is as old as its last setting."""
        self._gauges.put([Sample(name, labels, now, v) for (name, labels), v in self._set.items()], now)
        self._gauges.drop_forgotten(now)
        self._set = {}
        self.has_news = False
        before = min(max(self._taken_at, now - _ZERO_AHEAD), now - 1)
        counters = [Sample(name, labels, before, 0.0) for name, labels in self._new]
        counters += [Sample(name, labels, now, v) for (name, labels), v in self._counters.items()]
        self._new, self._taken_at = set(), now
        own = [Sample(name, (), now, float(count)) for name, count in self._own.items()]
        state: dict[str, Any] = {
            "counters": [[name, labels, v] for (name, labels), v in self._counters.items()],
            "own": dict(self._own),
        }
        samples = [*counters, *self._gauges.take(), *own]
        return samples, {**state, "gauges": self._gauges.to_state()}

    def _add(self, update: StatsdUpdate) -> bool:
        """All of a line, or nothing."""
        name, labels = update.name, update.labels
        if update.kind == "c":
            return self._count({(name, labels): sum(update.values) / update.rate})
        if update.kind == "g":
            return self._set_gauge((name, labels), update)
        if update.kind == "s":
            return self._add_member((name, labels), update.member)
        peak = (f"{name}_max", labels)
        if not self._is_gauge(peak):
            return False
        counts = {
            (f"{name}_count", labels): len(update.values) / update.rate,
            (f"{name}_sum", labels): sum(update.values) / update.rate,
        }
        if not self._count(counts):
            return False
        self._set[peak] = max(self._set.get(peak, -math.inf), *update.values)
        return True

    def _count(self, added: dict[SeriesName, float]) -> bool:
        after = {name: self._counters.get(name, 0.0) + value for name, value in added.items()}
        if not all(map(math.isfinite, after.values())) or not all(self._is_counter(name) for name in added):
            return False
        self._new |= after.keys() - self._counters.keys()
        self._counters.update(after)
        return True

    def _set_gauge(self, name: SeriesName, update: StatsdUpdate) -> bool:
        if not self._is_gauge(name):
            return False
        value = self._set.get(name, self._gauges.value_of(name))
        for each, is_signed in zip(update.values, update.signed, strict=True):
            value = (value or 0.0) + each if is_signed and self._signed == "delta" else each
        if value is None or not math.isfinite(value):
            return False
        self._set[name] = value
        return True

    def _add_member(self, name: SeriesName, member: str) -> bool:
        if self._member_count >= _MAX_MEMBERS or not self._is_gauge(name):
            return False
        members = self._members.setdefault(name, set())
        hashed = hash(member)
        self._member_count += hashed not in members
        members.add(hashed)
        return True

    def _is_counter(self, name: SeriesName) -> bool:
        """Whether it is one, or may become one: a series is either a counter or a gauge."""
        if name in self._counters:
            return True
        return not self._is_known_gauge(name) and self._has_room(name)

    def _is_gauge(self, name: SeriesName) -> bool:
        if self._is_known_gauge(name):
            return True
        return name not in self._counters and self._has_room(name)

    def _is_known_gauge(self, name: SeriesName) -> bool:
        return name in self._set or name in self._members or self._gauges.value_of(name) is not None

    def _has_room(self, name: SeriesName) -> bool:
        known = len(self._counters) + len(self._gauges) + len(self._set) + len(self._members)
        return known < self._most and name[0] not in OWN_COUNTERS
