"""Sources that do as they are told, for tests of what keeps sources going."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import Deliver, Receiver, SourceCache, SourceState

LONG_TIMEOUT = 90.0
"""Seconds until something is given up that is not meant to be."""


@dataclass(frozen=True)
class CallableSource:
    """Asks a function of the test's own: ``reads(state, cache, now)``."""

    reads: Callable[[SourceState, SourceCache, Millis], Sequence[Sample]]
    every: Millis = 10
    deadline: Millis = 60_000
    identity: str = "test"
    reads_needed: ClassVar[int] = 1

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> Sequence[Sample]:
        return self.reads(state, cache, now)


@dataclass(frozen=True)
class LineCounter:
    """Counts the lines of a file that grows, and remembers where it stopped."""

    path: Path
    every: Millis = 10
    deadline: Millis = 60_000
    reads_needed: ClassVar[int] = 1

    @property
    def identity(self) -> str:
        return str(self.path)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> Sequence[Sample]:
        """The state is changed first, on purpose: a failing read may leave anything in it."""
        cache["reads"] = cache.get("reads", 0) + 1
        with self.path.open("rb") as file:
            file.seek(state.get("offset", 0))
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        state["offset"] = state.get("offset", 0) + len(whole)
        state["lines"] = state.get("lines", 0) + whole.count(b"\n")
        if new != whole:
            raise SourceError("half a line — it is being written")
        return [Sample("lines_total", (), now, float(state["lines"]))]


@dataclass
class FakeReceiver:
    """What a `FakePush` opened."""

    state: SourceState
    deliver: Deliver
    on_close: Callable[[], object]
    closed: threading.Event = field(default_factory=threading.Event)
    steps: list[Millis] = field(default_factory=list)

    def close(self) -> None:
        assert not self.closed.is_set(), "closed twice"
        self.on_close()
        self.closed.set()

    def shift_times(self, step: Millis) -> None:
        self.steps.append(step)

    def send(self, value: float, **state: Any) -> None:
        self.deliver([Sample("pushed", (), 1_000, value)], state)


@dataclass(frozen=True)
class FakePush:
    """A source that receives: the test sends through what it opened."""

    every: Millis = 10
    deadline: Millis = 60_000
    identity: str = "test"
    opened: list[FakeReceiver] = field(default_factory=list, compare=False)
    on_open: Callable[[], object] = field(default=lambda: None, compare=False)
    on_close: Callable[[], object] = field(default=lambda: None, compare=False)

    def receive(self, name: str, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]) -> Receiver:
        self.on_open()
        assert clock() >= 0
        self.opened.append(FakeReceiver(state, deliver, self.on_close))
        return self.opened[-1]
