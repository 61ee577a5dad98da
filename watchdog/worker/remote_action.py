"""An action whose verbs are carried out by its target's owner."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from watchdog.core.errors import ActionError
from watchdog.core.executor import Executor
from watchdog.core.model import JsonObject, Millis, OnError
from watchdog.core.protocols import Action, CommitRange, CompletedStep, Copies, NeededFiles, ProgramCall, StepState
from watchdog.core.target import Target
from watchdog.worker import functions


class RemoteAction:
    """What it is, it says itself; what looks at the world or changes it, is asked of a worker."""

    def __init__(self, action: Action, target: Target, executor: Executor) -> None:
        self._action = action
        self._target = target
        self._executor = executor

    # ─ carried out by the owner ─

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:
        steps = tuple(functions.Completed(_local(step.action), step.before, step.in_force) for step in completed)
        captured = self._executor.call(self._target, functions.capture, self._action, self._given(), steps)
        self._ensure_plausible(captured)
        return captured

    def _ensure_plausible(self, captured: JsonObject) -> None:
        """What is noted is asked about all through the run: ActionError now for what the action could not answer by."""
        try:
            ensure_shallow(captured)
            for ask in (self.needed_files, self.touched_paths, self.commit_range, self.redeploy_hint):
                ask(captured)
        except Exception:
            raise ActionError("what was noted of how it is now cannot be true: it is not acted on") from None

    def preview(self, captured: JsonObject) -> str:
        return self._executor.call(self._target, functions.preview, self._action, self._given(), captured)

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:
        return self._executor.call(
            self._target,
            functions.apply,
            self._action,
            self._given(),
            captured,
            idempotency_key,
            incident,
            self._action.input_file,
        )

    def state(self, captured: JsonObject) -> StepState:
        return self._executor.call(self._target, functions.state, self._action, self._given(), captured)

    def _given(self) -> dict[str, str]:
        """What of our environment its programs get; one that is not set is told by the action, as it acts."""
        names = {name for program in self._action.programs() for name in program.inherit}
        return {name: os.environ[name] for name in names if name in os.environ}

    # ─ known without looking ─

    def programs(self) -> tuple[ProgramCall, ...]:
        return self._action.programs()

    @property
    def timeout(self) -> Millis:
        return self._action.timeout

    @property
    def retries(self) -> int:
        return self._action.retries

    @property
    def retry_after(self) -> Millis:
        return self._action.retry_after

    @property
    def on_error(self) -> OnError:
        return self._action.on_error

    @property
    def persistent(self) -> bool:
        return self._action.persistent

    @property
    def runs_as_owner(self) -> bool:
        return self._action.runs_as_owner

    @property
    def input_file(self) -> Path | None:
        return self._action.input_file

    def with_input_file(self, path: Path) -> Action:
        return self._action.with_input_file(path)

    @property
    def repeatable(self) -> bool:
        return self._action.repeatable

    @property
    def halt_only(self) -> bool:
        return self._action.halt_only

    @property
    def unit_operations(self) -> tuple[tuple[str, str], ...]:
        return self._action.unit_operations

    @property
    def noop_problem(self) -> str | None:
        return self._action.noop_problem

    def bind(self, target: Target) -> Action:
        return self._action.bind(target)

    def describe(self) -> str:
        return self._action.describe()

    def needed_files(self, captured: JsonObject | None = None) -> NeededFiles | None:
        return self._action.needed_files(captured)

    def value_edits(self) -> Mapping[Path, Mapping[str, Any]]:
        return self._action.value_edits()

    def redirect(self, copies: Copies) -> Action | None:
        return self._action.redirect(copies)

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        return self._action.touched_paths(captured)

    def commit_range(self, captured: JsonObject) -> CommitRange | None:
        return self._action.commit_range(captured)

    def redeploy_hint(self, captured: JsonObject) -> str | None:
        return self._action.redeploy_hint(captured)


def ensure_shallow(value: object, levels: int = 50) -> None:
    """Raises ValueError for objects in objects in objects, on which whoever stores them would give up."""
    if levels == 0:
        raise ValueError("too deep")
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            ensure_shallow(part, levels - 1)


def _local(action: Action) -> Action:
    return action._action if isinstance(action, RemoteAction) else action
