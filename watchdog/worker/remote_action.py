"""An action whose verbs are carried out by its target's owner."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from watchdog.core.errors import ActionError
from watchdog.core.executor import Executor
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action, CompletedStep, Finding, StepState
from watchdog.core.target import Target
from watchdog.worker import functions


class RemoteAction:
    """An `Action`. What it is, it says itself; the verbs that look at the world or change it are asked of a worker."""

    def __init__(self, action: Action, target: Target, executor: Executor) -> None:
        self._action = action
        self._target = target
        self._executor = executor

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:
        steps = tuple(functions.Completed(_local(step.action), step.before, step.in_force) for step in completed)
        captured = self._executor.call(self._target, functions.capture, self._action, self._given(), steps)
        self._ensure_plausible(captured)
        return captured

    def _ensure_plausible(self, captured: JsonObject) -> None:
        """What is noted is asked about all through the run: ActionError now for what the action could not answer by."""
        try:
            ensure_shallow(captured)
            known = self._action
            asked = (
                known.needed_files,
                known.touched_paths,
                known.noop_reason,
                known.commit_range,
                known.lasting_changes,
            )
            for ask in asked:
                ask(captured)
        except Exception:
            raise ActionError("what was noted of how it is now cannot be true: it is not acted on") from None

    def preview(self, captured: JsonObject) -> str:
        return self._executor.call(self._target, functions.preview, self._action, self._given(), captured)

    def rehearse(self, captured: JsonObject) -> None:
        self._executor.call(self._target, functions.rehearse, self._action, self._given(), captured)

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

    def lasting_states(self, captured: JsonObject) -> Sequence[StepState]:
        states = self._executor.call(self._target, functions.lasting_states, self._action, self._given(), captured)
        if len(states) != len(self._action.lasting_changes(captured)):
            raise ActionError("the worker answered what no worker answers")
        return states

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        return self._executor.call(self._target, functions.deviations, self._action, self._given(), captured)

    def findings(self) -> tuple[Finding, ...]:
        return self._executor.call(self._target, functions.findings, self._action)

    def _given(self) -> dict[str, str]:
        """What of our environment its programs get; one that is not set is told by the action, as it acts."""
        names = {name for program in self._action.programs() for name in program.inherit}
        return {name: os.environ[name] for name in names if name in os.environ}

    def __getattr__(self, name: str) -> Any:
        """All else is known without looking."""
        return getattr(self._action, name)


def ensure_shallow(value: object, levels: int = 50) -> None:
    """Raises ValueError for objects in objects in objects, on which whoever stores them would give up."""
    if levels == 0:
        raise ValueError("too deep")
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            ensure_shallow(part, levels - 1)


def _local(action: Action) -> Action:
    return action._action if isinstance(action, RemoteAction) else action
