"""What every step of a plan may say, and what holds of an action that is nothing special."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from watchdog.core.errors import ActionError
from watchdog.core.model import ConfigModel, Duration, JsonObject, OnError
from watchdog.core.protocols import (
    CommitRange,
    CompletedStep,
    Copies,
    Finding,
    LastingChange,
    NeededFiles,
    NoopReason,
    ProgramCall,
    StepState,
)
from watchdog.core.target import Target


class ActionModel(ConfigModel):
    """What every step of a plan may say, whatever it does, and what holds of one that is nothing special.

    Base of all actions. `core.protocols.Action` says what each answer means; an action gives its own where it differs.
    """

    persistent: ClassVar[bool] = False
    runs_as_owner: ClassVar[bool] = True

    retries: Annotated[int, Field(ge=0, le=100)] = 0
    """How often a step that failed is tried again. One of which nobody can tell whether it happened is not."""
    retry_after: Duration = 5_000
    """How long to wait before each of those."""
    on_error: OnError = "escalate"
    """When it failed for good: the level has failed; go on with the next step; or stop the plan and ask a person."""
    timeout: Duration = 60_000
    """For all of it."""

    @property
    def input_file(self) -> Path | None:
        return None

    def with_input_file(self, path: Path) -> Self:  # noqa: ARG002
        return self

    @property
    def repeatable(self) -> bool:
        return not self.persistent

    @property
    def halt_only(self) -> bool:
        return False

    @property
    def stops_bot(self) -> bool:
        return False

    @property
    def unit_operations(self) -> tuple[tuple[str, str], ...]:
        return ()

    def bind(self, target: Target) -> Self:  # noqa: ARG002
        return self

    @abstractmethod
    def describe(self) -> str: ...

    def programs(self) -> tuple[ProgramCall, ...]:
        return ()

    def needed_files(self, captured: JsonObject | None = None) -> NeededFiles | None:  # noqa: ARG002
        return None

    def value_edits(self) -> Mapping[Path, Mapping[str, Any]]:
        return {}

    def findings(self) -> tuple[Finding, ...]:
        return ()

    def redirect(self, copies: Copies) -> Self | None:  # noqa: ARG002
        return None

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        return {}

    def rehearse(self, captured: JsonObject) -> None:  # noqa: ARG002
        return

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:  # noqa: ARG002
        return ()

    def preview(self, captured: JsonObject) -> str:  # noqa: ARG002
        return self.describe()

    @abstractmethod
    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str: ...

    def state(self, captured: JsonObject) -> StepState:  # noqa: ARG002
        return "unknown"

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:  # noqa: ARG002
        return ()

    def lasting_states(self, captured: JsonObject) -> Sequence[StepState]:
        seen = self.state(captured)
        if seen == "unknown":
            raise ActionError(f"whether “{self.describe()}” still holds cannot be told")
        return (seen,) * len(self.lasting_changes(captured))

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        changes = self.lasting_changes(captured)
        if all(change.how is None for change in changes):
            return {}
        seen = zip(changes, self.lasting_states(captured), strict=True)
        return {one.thing: f"not {one.what}" for one, state in seen if one.how is not None and state != "after"}

    def noop_reason(self, captured: JsonObject) -> NoopReason:  # noqa: ARG002
        return "so already"

    def commit_range(self, captured: JsonObject) -> CommitRange | None:  # noqa: ARG002
        return None
