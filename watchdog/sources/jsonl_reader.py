"""Reads JSON lines as the owner of their files: what is new of them, as counters, sums and last values."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from watchdog.core.errors import ActionError, SourceError
from watchdog.core.model import JsonObject, Millis, Sample
from watchdog.host.tail import matches_any, newest_lines, read_new_lines
from watchdog.sources.compiled_path import Find, compile_path
from watchdog.sources.jsonl_series import JsonlSeries
from watchdog.sources.jsonl_values import LineValue
from watchdog.sources.time_budget import catch_up_times
from watchdog.sources.timestamps import parse_timestamp

FIRST_BYTES = 256 << 10
"""Of what is there at the first read, so much is looked at for `last` values."""
_AROUND = " \t\r\ufeff"
"""What may stand around an object; the last at the beginning of a file, by editors of another system."""
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""(text, place) → the value that stands there, and where it ends. StopIteration: none."""


class JsonlSpec(NamedTuple):
    """What of a source's entry the reader needs."""

    files: str
    values: dict[str, LineValue]
    time: str | None
    zone: str
    every: Millis
    max_bytes: int
    max_series: int


class JsonlResult(NamedTuple):
    state: JsonObject
    samples: tuple[Sample, ...]
    at: Millis
    """Of the newest sample of the counters."""


def read_jsonl(spec: JsonlSpec, state: JsonObject, previous: Millis | None, now: Millis, seconds: float) -> JsonlResult:
    """The series as they are now, and the state that stands for them. `previous`: `at` of the read before; None: that of
    the state. `seconds`: after so many it stops, and goes on from there the next time. Raises ActionError."""
    try:
        return _Read(spec, state, previous, now).result(time.monotonic() + seconds)
    except FileNotFoundError:
        raise no_files(spec.files) from None


def no_files(pattern: str) -> ActionError:
    return ActionError(f"no file is called {pattern} — is the path right, and has the bot written there yet?")


class _Read:
    def __init__(self, spec: JsonlSpec, state: JsonObject, previous: Millis | None, now: Millis) -> None:
        self._spec, self._now = spec, now
        self._previous: Millis | None = None
        self._kept_at = now
        try:
            self._take_state(state)
        except (KeyError, TypeError, ValueError, AttributeError):  # nothing that we wrote
            self._previous, self._kept_at = None, now
            self._take_state({})
        if previous is not None and self._previous is not None:
            self._previous = max(self._previous, previous)
        if self._previous is not None and self._previous >= now:
            self._previous = now - 1  # the clock was set back
        self._find_time = finder(spec)
        self._zone = ZoneInfo(spec.zone)
        self._newest: Any = None
        """The last line that was read."""
        self._bounds: list[Millis] = []
        """Times between the last read and now at which the counters are said."""
        self._earlier: list[tuple[Millis, list[list[float]]]] = []

    def _take_state(self, state: JsonObject) -> None:
        self._tail = dict(state.get("tail", {}))
        if state:
            self._previous = self._kept_at = int(state["at"])
        self._lines, self._invalid = int(state.get("lines", 0)), int(state.get("invalid", 0))
        self._last_event: Millis | None = state.get("last_event")
        self._series = JsonlSeries(self._spec.values, state.get("values", {}), self._spec.max_series, self._now)

    def result(self, deadline: float) -> JsonlResult:
        is_first, lines_before = self._previous is None, self._lines
        self._bounds = self._catch_up_times()
        skipped = self._tail.get("skipped_lines", 0)
        self._take(read_new_lines(self._spec.files, self._tail, self._spec.max_bytes, deadline))
        self._lines += self._tail["skipped_lines"] - skipped
        self._invalid += self._tail["skipped_lines"] - skipped
        has_read = self._lines != lines_before
        if is_first:
            self._take_first_lines()
        if not has_read and not matches_any(self._spec.files):
            raise no_files(self._spec.files)
        if has_read:
            self._last_event = self._time_of(self._newest)
        at, budget = self._final_time(), self._series.budget()
        steps = budget.fewer_steps(self._steps_before(at))
        last_times = budget.last_times(steps)
        self._series.settle_last(self._time_of, last_times)
        samples = self._series.counter_samples(self._previous, steps, at)
        samples += [*self._series.last_samples(last_times), *self._own_samples()]
        state: JsonObject = {
            "tail": self._tail,
            "at": at if has_read else self._kept_at,
            "lines": self._lines,
            "invalid": self._invalid,
            "last_event": self._last_event,
            "values": self._series.to_json(),
        }
        return JsonlResult(state, tuple(samples), at)

    # ─ lines ─

    def _take(self, lines: Iterable[bytes]) -> None:
        """This is done fifty thousand times a second."""
        scan = _scan
        takes = self._series.takes()
        count = invalid = 0
        document: Any = None
        for line in lines:
            if not line or line.isspace():
                continue
            count += 1
            try:
                text = line.decode().strip(_AROUND)
                document, end = scan(text, 0)
            except (StopIteration, ValueError, RecursionError):
                invalid += 1
                continue
            if end != len(text) or type(document) is not dict:
                invalid += 1
                continue
            if self._bounds and (at := self._time_said(document)) is not None:
                self._pass_bounds(at)
            for condition, parts in takes:
                if condition is None or condition(document):
                    for part in parts:
                        part(document)
            self._newest = document
        self._lines += count
        self._invalid += invalid

    def _take_first_lines(self) -> None:
        """Nothing of what was there is counted; the last values are what they are."""
        takes = self._series.takes(only_last=True)
        for line in newest_lines(self._spec.files, FIRST_BYTES):
            document = parse_line(line)
            if document is not None:
                self._newest = document
                for condition, parts in takes:
                    if condition is None or condition(document):
                        for part in parts:
                            part(document)
        if self._newest is not None and self._find_time is not None:
            self._last_event = self._time_said(self._newest)

    def _time_said(self, document: Any) -> Millis | None:
        return None if self._find_time is None else time_said(self._find_time, document, self._now, self._zone)

    def _time_of(self, document: Any) -> Millis:
        """What names no time is from now."""
        found = None if document is None else self._time_said(document)
        return self._now if found is None else found

    # ─ the times of the counters ─

    def _catch_up_times(self) -> list[Millis]:
        return [] if self._find_time is None else catch_up_times(self._previous, self._now, self._spec.every)

    def _pass_bounds(self, at: Millis) -> None:
        while self._bounds and at > self._bounds[0]:
            self._earlier.append((self._bounds.pop(0), self._series.totals()))

    def _final_time(self) -> Millis:
        """Now; where more waits to be read, when the newest was that has been read."""
        if not self._tail["behind"] or self._find_time is None or self._previous is None:
            return self._now
        found: Millis = self._previous if self._newest is None else self._time_of(self._newest)
        return min(max(found, self._previous), self._now)

    def _steps_before(self, final: Millis) -> list[tuple[Millis, list[list[float]]]]:
        """Also the end of the step in which the newest line was: nothing has happened since."""
        if self._bounds and self._newest is not None:
            self._earlier.append((self._bounds[0], self._series.totals()))
        return [(t, totals) for t, totals in self._earlier if t < final]

    def _own_samples(self) -> list[Sample]:
        found = {
            "jsonl_lines_total": self._lines,
            "jsonl_invalid_lines_total": self._invalid,
            "jsonl_lag_bytes": self._tail["behind"],
        }
        if self._last_event is not None:
            found["jsonl_last_event_timestamp_seconds"] = self._last_event / 1_000
        return [Sample(name, (), self._now, float(value)) for name, value in found.items()]


def parse_line(line: bytes) -> dict[str, Any] | None:
    """None when it is no JSON object."""
    try:
        found = json.loads(line.decode().strip(_AROUND))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def finder(spec: JsonlSpec) -> Find | None:
    """Of the time of a line."""
    return None if spec.time is None else compile_path(spec.time)


def time_said(find: Find, document: Any, now: Millis, zone: ZoneInfo) -> Millis | None:
    """When a line was, by what it says."""
    try:
        return parse_timestamp(find(document), now, zone)
    except (TypeError, SourceError):
        return None
