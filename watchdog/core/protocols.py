"""What a source, an action and a channel must be able to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from watchdog.core.model import JsonObject, Message, Millis, Sample, Severity
from watchdog.core.target import Target

SourceState = dict[str, Any]
"""A source's own memory between reads (offsets, last values); kept by the daemon, since a Part holds no state."""


StepState = Literal["before", "after", "other", "unknown"]


class Source(Protocol):
    """Where samples come from. Runs in a thread; raises SourceError only."""

    @property
    def every(self) -> Millis: ...

    def read(self, state: SourceState, now: Millis) -> Iterable[Sample]: ...


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
