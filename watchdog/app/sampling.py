"""Keeps every source going: asks those that are asked, listens to those that are told, and says which are down.

A source has one thread at most, whatever it does with it; a hung one costs its own samples and nobody else's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, cast

from watchdog.app.deliveries import MAX_WAITING, Deliveries, Delivery
from watchdog.app.read_schedule import ReadSchedule
from watchdog.core.errors import SourceError
from watchdog.core.executor import call_deadline
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.protocols import PulledSource, PushedSource, Receiver, Source, SourceCache, SourceState
from watchdog.core.telemetry import Telemetry, log
from watchdog.sources.relabel import Relabeling
from watchdog.sources.series_limits import Cut, SeriesLimiter
from watchdog.tsdb.write_buffer import NO_STATES, StateSnapshot

_DEADLINE_SLACK = 1.0
"""s that a read may go on past its deadline, by which it should have ended itself."""
_RECEIVER_TIMEOUT = 10.0
"""s to open a receiver, or to close it."""
_RECEIVER_CHECK_INTERVAL = 5.0
"""s, at most, between two checks whether a receiver is open and has delivered."""
_EMPTY_STATE = "{}"


class SampleSink(Protocol):
    """Where samples go: the pipeline."""

    def add_samples(self, source: str, samples: Sequence[Sample], now: Millis) -> None: ...

    def mark_source_down(self, source: str, now: Millis, reason: str) -> None: ...

    def note_cut(self, source: str, cut: Cut | None, now: Millis) -> None:
        """Of the samples that come next not all are there; None: all are."""


_Admit = Callable[[Iterable[Sample], Millis], tuple[list[Sample], Cut | None]]


@dataclass
class _RunningSource:
    """One source as the configuration has it now."""

    name: str
    source: Source
    limiter: SeriesLimiter
    relabeling: Relabeling
    cache: SourceCache = field(default_factory=dict)
    answered: bool = False
    error: str | None = None
    """Why it is down."""
    receiver: Receiver | None = None
    """Set by the thread that opened it, also when nobody waits for that any more."""
    schedule: ReadSchedule | None = None
    """Of one that is asked."""
    due: float | None = None
    """When it was to be asked last, in seconds of the clock; None: not yet."""
    timer: asyncio.TimerHandle | None = None
    """Of the next read, …"""
    reading: asyncio.Task[None] | None = None
    """… which begins when this one has ended."""
    task: asyncio.Task[None] | None = None
    """That of a receiver, from its opening to its end."""
    heard_at: float = 0.0
    """Monotonic s of the last delivery, or of the opening."""
    deliveries: Deliveries = field(default_factory=Deliveries)
    taken_away: bool = False
    """By a reload that has put none in its place."""

    @property
    def key(self) -> str:
        return f"source {self.name}"

    def admit(self, samples: Iterable[Sample], now: Millis) -> tuple[list[Sample], Cut | None]:
        """What is kept of them, as the entry wants them named; and what was left out. In the source's own thread."""
        return self.limiter.admit(self.relabeling.apply(samples), now)


class Sampler:
    """All sources of a daemon. Lives in its loop; `apply` starts, replaces and ends what has changed."""

    def __init__(
        self,
        sink: SampleSink,
        telemetry: Telemetry,
        clock: Callable[[], Millis],
        judge: Callable[[str], Awaitable[None]],
        restored_states: Mapping[str, StateSnapshot] = NO_STATES,
        retention_of: Callable[[str], Millis] = lambda _: 0,
        series_key: Callable[..., Labels] | None = None,
    ) -> None:
        """`judge` is called with the name of each source of which something is new. `retention_of`: how long the sink holds
        samples of a metric, `series_key(metric, labels, source)`: under which labels; asked in threads."""
        self._series_key = series_key
        self._sink = sink
        self._telemetry = telemetry
        self._clock = clock
        self._judge = judge
        self._retention_of = retention_of
        self.notice_disruption: Callable[[], None] = lambda: None
        """Called ahead of each read and of what it brings: calls `begin_anew` when time has not gone on evenly."""
        self._disruptions = 0
        self._not_before = 0.0
        """Loop's s: reads wait until then."""
        self._offload = ThreadOffload(None, "sampling")
        self._running: dict[str, _RunningSource] = {}
        self._states = dict(restored_states)
        self._stopping = False
        self._closing: dict[str, asyncio.Task[None]] = {}
        """By name: the last receiver, until it is closed."""

    def apply(self, sources: Mapping[str, Source]) -> None:
        """From now on these. Those that stay as they are go on undisturbed."""
        for name, running in list(self._running.items()):
            if sources.get(name) != running.source:
                running.taken_away = name not in sources and not self._stopping
                self._end(running)
        for name, source in sources.items():
            if name not in self._running:
                key_of = None if self._series_key is None else partial(self._series_key, source=name)
                limiter = SeriesLimiter.of(source, self._retention_of, key_of)
                self._begin(_RunningSource(name, source, limiter, Relabeling.of(source)), len(sources))
            else:
                self._running[name].limiter.recount()  # other windows may look back at its samples now

    def begin_anew(self, step: Millis, settle: float) -> None:
        """The clock was set by `step`, or nobody has watched: all are asked anew, in `settle` seconds at the earliest. A read that
        is under way counts for nothing: it is of another time."""
        loop = asyncio.get_running_loop()
        self._disruptions += 1
        self._not_before = loop.time() + settle
        for running in self._running.values():
            running.due, running.heard_at = None, time.monotonic()
            if step and running.receiver is not None:
                running.receiver.shift_times(step)
            if running.schedule is not None and running.timer is not None and loop.time() < running.timer.when():
                running.timer.cancel()
                self._read_later(running, running.schedule)

    def errors(self) -> dict[str, str | None]:
        """Source → why it is down, None when it is up; without those of which nothing is known yet."""
        return {name: running.error for name, running in self._running.items() if running.answered}

    def states(self) -> dict[str, StateSnapshot]:
        """What the sources remember, standing for exactly those samples that have gone to the sink by now."""
        return dict(self._states)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What must go on for as long as the daemon does."""
        return [running.task for running in self._running.values() if running.task is not None]

    async def stop(self) -> None:
        """Ends everything; what hangs is left alone."""
        self._stopping = True
        self.apply({})
        if self._closing:
            await asyncio.wait(self._closing.values(), timeout=_RECEIVER_TIMEOUT / 2)

    def close(self) -> None:
        for task in self._closing.values():
            task.cancel()
        self._offload.close()

    def _begin(self, running: _RunningSource, sources: int) -> None:
        self._running[running.name] = running
        if isinstance(running.source, PushedSource):
            receiving = self._receive(running, running.source, self._closing.get(running.name))
            running.task = asyncio.create_task(receiving, name=running.key)
            return
        running.schedule = ReadSchedule(running.name, running.source.every, sources)
        self._read_later(running, running.schedule)

    def _end(self, running: _RunningSource) -> None:
        del self._running[running.name]
        if running.timer is not None:
            running.timer.cancel()
        if running.reading is not None and self._stopping:  # else it goes on to its end, and counts for nothing
            running.reading.cancel()
        if running.task is None:
            return
        running.task.cancel()
        self._closing[running.name] = asyncio.create_task(
            self._close_receiver(running, running.task, self._closing.get(running.name)), name=f"closing {running.name}"
        )

    # ─ what is new ─

    def _state_of(self, running: _RunningSource) -> str:
        known = self._states.get(running.name)
        return known.text if known is not None and known.identity == _identity_of(running.source) else _EMPTY_STATE

    def _keep(self, running: _RunningSource, delivery: Delivery, now: Millis) -> None:
        """Samples and the state that stands for them, in one go: whoever looks sees both, or neither."""
        try:
            self._sink.note_cut(running.name, delivery.cut, now)
            self._sink.add_samples(running.name, delivery.samples, now)
        except Exception as bug:  # what cannot be kept costs nobody else
            log.exception("source %s", running.name)
            self._mark_down(running, f"internal error: {bug!r}")
            return
        self._remember(running, delivery.state)
        if running.error is not None:
            log.info("source %s delivers again", running.name)
        running.answered, running.error = True, None

    def _remember(self, running: _RunningSource, state: str) -> None:
        if state != _EMPTY_STATE or running.name in self._states:  # most remember nothing, ever
            self._states[running.name] = StateSnapshot(_identity_of(running.source), state)

    def _mark_down(self, running: _RunningSource, error: str) -> None:
        self._sink.mark_source_down(running.name, self._clock(), error)
        if running.error != error:
            log.warning("source %s: %s", running.name, error)
        running.answered, running.error = True, error

    # ─ those that are asked ─

    def _read_later(self, running: _RunningSource, schedule: ReadSchedule) -> None:
        """By timers of the loop's own: a scheduler that is asked a thousand times a second costs a fifth of all the work."""
        loop, now = asyncio.get_running_loop(), self._clock() / 1_000
        running.due = schedule.next_time(running.due, now)

        def begin() -> None:
            running.reading = asyncio.create_task(self._read_once(running, schedule))

        running.timer = loop.call_at(max(loop.time() + running.due - now, self._not_before), begin)

    async def _read_once(self, running: _RunningSource, schedule: ReadSchedule) -> None:
        try:
            await self._sample(running)
        except Exception:  # what could not be judged is judged with the next read
            log.exception("source %s", running.name)
        if self._running.get(running.name) is running:
            self._read_later(running, schedule)

    async def _sample(self, running: _RunningSource) -> None:
        self.notice_disruption()
        disruptions = self._disruptions
        if asyncio.get_running_loop().time() < self._not_before:
            return
        source, now, started = cast(PulledSource, running.source), self._clock(), time.monotonic()  # see _begin
        deadline = source.deadline / 1_000 + _DEADLINE_SLACK
        call_deadline.set(started + deadline)
        result, error_text = None, ""
        try:
            state = self._state_of(running)
            result = await self._offload(running.key, deadline, _read, source, running.admit, state, running.cache, now)
        except SourceError as error:
            error_text = str(error)
        except DeadlineExceededError:
            error_text = f"no answer within {deadline:g} s"
        except StillBusyError:
            error_text = "the last read still hangs"
        except Exception as bug:  # one source with a mistake of ours in it is no reason to lose the others
            log.exception("source %s", running.name)
            error_text = f"internal error: {bug!r}"
        self.notice_disruption()
        if disruptions != self._disruptions:
            return
        if self._running.get(running.name) is not running:
            return  # a reload has taken it away or made another of it meanwhile
        if result is None:
            self._mark_down(running, error_text)
        else:
            self._keep(running, result, now)
        self._telemetry.source_duration.labels(running.name).set(time.monotonic() - started)
        await self._judge(running.name)

    # ─ those that are told ─

    async def _receive(
        self, running: _RunningSource, source: PushedSource, previous: asyncio.Task[None] | None
    ) -> None:
        """Opens the receiver once the one before is closed, and sees whether it delivers."""
        if previous is not None:
            await asyncio.wait({previous})
        async with asyncio.TaskGroup() as together:
            together.create_task(self._take_deliveries(running), name=f"deliveries of {running.name}")
            together.create_task(self._keep_receiver_open(running, source), name=f"receiver of {running.name}")

    async def _keep_receiver_open(self, running: _RunningSource, source: PushedSource) -> None:
        while True:
            if running.receiver is None:
                await self._open_receiver(running, source)
            silence = time.monotonic() - running.heard_at
            if running.receiver is not None and silence * 1_000 >= source.deadline:
                self._mark_down(running, f"nothing was received within {source.deadline / 1_000:g} s")
                await self._judge(running.name)
            left = source.deadline / 1_000 - silence
            wait = min(source.every / 1_000, _RECEIVER_CHECK_INTERVAL)
            await asyncio.sleep(min(wait, left) if left > 0 else wait)

    async def _open_receiver(self, running: _RunningSource, source: PushedSource) -> None:
        loop = asyncio.get_running_loop()

        def deliver(samples: Sequence[Sample], state: SourceState) -> int:
            text = _to_json(state)
            at = time.monotonic()
            return running.deliveries.put(Delivery(*running.admit(samples, self._clock()), text, at), loop)

        def open_it(state: str) -> None:
            running.receiver = source.receive(running.name, json.loads(state), deliver, self._clock)

        running.heard_at = time.monotonic()
        error_text = None
        try:
            await self._offload(running.key, _RECEIVER_TIMEOUT, open_it, self._state_of(running))
        except SourceError as error:
            error_text = str(error)
        except (DeadlineExceededError, StillBusyError):
            error_text = f"the receiver is not open after {_RECEIVER_TIMEOUT:g} s"
        except Exception as bug:  # as above
            log.exception("source %s", running.name)
            error_text = f"internal error: {bug!r}"
        if error_text is not None:
            self._mark_down(running, error_text)
            await self._judge(running.name)

    async def _take_deliveries(self, running: _RunningSource) -> None:
        """One after another: each is judged before the next one is seen."""
        while True:
            await running.deliveries.wait()
            self.notice_disruption()
            while (delivery := running.deliveries.take()) is not None:
                running.heard_at = time.monotonic()
                self._keep(running, delivery, self._clock())
                self._telemetry.source_duration.labels(running.name).set(time.monotonic() - delivery.at)
                await self._judge(running.name)
                await asyncio.sleep(0)  # others have their turn, however many there are
            if running.deliveries.overrun:
                running.deliveries.overrun = False
                log.warning("source %s delivers faster than it can be judged: some were passed over", running.name)

    def _keep_undelivered(self, running: _RunningSource) -> None:
        """What was delivered until the closing is not lost: the next receiver goes on from there."""
        successor = self._running.get(running.name)
        for _ in range(MAX_WAITING):  # one that never ceases is not waited for
            if (delivery := running.deliveries.take()) is None:
                return
            if successor is None and running.taken_away:
                self._remember(running, delivery.state)  # its series are gone, and come back with the source
            elif successor is None or _identity_of(successor.source) == _identity_of(running.source):
                self._keep(successor or running, delivery, self._clock())

    async def _close_receiver(
        self, running: _RunningSource, opening: asyncio.Task[None], previous: asyncio.Task[None] | None
    ) -> None:
        """However long it takes: another one can be opened only after it."""
        await asyncio.wait({opening, *([previous] if previous is not None else [])})
        self._keep_undelivered(running)

        def close_it() -> None:
            receiver, running.receiver = running.receiver, None
            if receiver is not None:
                receiver.close()

        while True:
            try:
                await self._offload(running.key, _RECEIVER_TIMEOUT, close_it)
            except StillBusyError:  # it hangs in its opening, or in its closing
                await asyncio.sleep(_DEADLINE_SLACK)
                continue
            except DeadlineExceededError:
                log.warning("source %s: its receiver is not closed after %g s", running.name, _RECEIVER_TIMEOUT)
                continue
            except Exception:
                log.exception("source %s: its receiver could not be closed", running.name)
            self._keep_undelivered(running)
            if self._closing.get(running.name) is asyncio.current_task():
                del self._closing[running.name]
            return


def _identity_of(source: Source) -> str:
    """What it looks at, and how: two types may look at one file. A source of a test's need not have a type."""
    kind = getattr(source, "type", None)
    return source.identity if kind is None else f"{kind} {source.identity}"


def _read(source: PulledSource, admit: _Admit, state: str, cache: SourceCache, now: Millis) -> Delivery:
    """In a thread. A read that fails leaves nothing behind but its cache."""
    after: SourceState = json.loads(state)
    at = time.monotonic()
    samples, cut = admit(source.read(after, cache, now), now)
    return Delivery(samples, cut, _to_json(after), at)


def _to_json(state: SourceState) -> str:
    return json.dumps(state, allow_nan=False, separators=(",", ":"))
