"""What a source, an action and a channel must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from watchdog.core.model import JsonObject, Message, Millis, Sample, Severity
from watchdog.core.target import Target

SourceState = dict[str, Any]
"""What of a source survives a restart: JSON, saved together with the samples that it stands for (offsets, counts)."""

SourceCache = dict[str, Any]
"""What of a source may be thrown away between any two reads (sockets, parsers, the last figures)."""

StepState = Literal["before", "after", "other", "unknown"]


class Source(Protocol):
    """Where samples come from. A model that holds nothing itself: see `PulledSource` and `PushedSource`."""

    @property
    def every(self) -> Millis:
        """From one set of samples to the next, as a rule."""
        ...

    @property
    def deadline(self) -> Millis:
        """How long nobody is worried: about a read that has not ended, about a receiver that has delivered nothing."""
        ...

    @property
    def identity(self) -> str:
        """What it looks at, without secrets. State that was kept of another identity is not handed to it."""
        ...


@runtime_checkable
class PulledSource(Source, Protocol):
    """One that is asked. Runs in a thread, one read at a time; raises SourceError only."""

    reads_needed: ClassVar[int]
    """After how many reads all its series are there: 2 where some are differences."""

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> Iterable[Sample]:
        """All its series as they are now. `state` is a copy: what is left in it counts once the samples are kept, and
        not when the read fails or comes too late. `cache` is the same at each read of one run."""
        ...


class Receiver(Protocol):
    """What listens. It has its own threads."""

    def close(self) -> None:
        """Gives everything back, so that another can be opened in its place. Blocks; called once."""
        ...


Deliver = Callable[[Sequence[Sample], SourceState], None]
"""Takes all series of a source as they are now (one that is missing is gone), and the state that stands for them and
for everything before. From any thread, at any time, also from within `receive`; returns at once. They are judged on
arrival. A sample that is not newer than the last one of its series says nothing new and is dropped."""


@runtime_checkable
class PushedSource(Source, Protocol):
    """One that is told: a push, a heartbeat, StatsD. It is up from a delivery on, until `deadline` goes by without one."""

    def receive(self, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]) -> Receiver:
        """Begins to listen, and comes back. Runs in a thread; raises SourceError only, and is tried again then.

        `state`: what was delivered last, or empty. `clock`: the time of the samples.
        """
        ...


class CompletedStep(NamedTuple):
    """A step that this incident has already done: git needs to know which edits in the tree are ours."""

    action: Any
    before: JsonObject
    in_force: bool
    """True when the edit must outlive the next steps (a plan's `before:` rows)."""


class Action(Protocol):
    """A change to the world. Runs in a thread; raises ActionError only."""

    @property
    def persistent(self) -> bool:
        """What it did stays until somebody changes it (a file, a commit); a restart is not lasting."""
        ...

    def bind(self, target: Target) -> Action:
        """The same action with the target's repository, unit and process filled in."""
        ...

    def describe(self) -> str:
        """The change in a few words: ``set FEATURE_HMM_V2 = false in config.py``."""
        ...

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:
        """What is so now. Read-only; journalled with `started`, ahead of the act."""
        ...

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        """Absolute paths of the files and folders that `apply` will change, for a backup ahead of it; none: no files."""
        ...

    def preview(self, captured: JsonObject) -> str:
        """Exactly what `apply` would change: a unified diff of files, else one line. Empty: nothing. Touches nothing."""
        ...

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:
        """Make it so; return one line for people. `key` is the same for every try of this step.

        `incident`: what tripped, for actions that hand it on. Its strings come from the data: never words of a command.
        """
        ...

    def state(self, captured: JsonObject) -> StepState:
        """`after`: it is so; `before`: nothing happened yet; `other`: changed by others; `unknown`: cannot tell."""
        ...


class Notifier(Protocol):
    """Tells people. `send` may be a coroutine where the client library is; raises NotifyError only.

    Returns a handle for the thread (a Slack ts, a Telegram message id), or None.
    """

    @property
    def from_(self) -> Severity: ...

    def send(self, message: Message) -> Any: ...
