"""systemd units, through systemctl."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import Duration, JsonObject
from watchdog.core.protocols import CompletedStep, LastingChange, StepState
from watchdog.core.target import Target
from watchdog.host import child_process
from watchdog.host.systemctl import (
    UnitStatus,
    describe_failure,
    full_unit_name,
    mask_command,
    run_systemctl,
    unit_status,
)

_UNIT_PATTERN = re.compile(
    r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*"
)  # no * ? [ ]: systemctl would take them for a pattern
_SETTLE_TIMEOUT = 3.0  # seconds that `state` waits for a unit that is on its way


class SystemdAction(ActionModel):
    """Restarts, starts or stops a systemd unit, and reads back that it happened."""

    runs_as_owner: ClassVar[bool] = False

    do: Literal["systemd"]
    restart: str | None = None
    """Unit to restart; the word `unit` means the target's unit."""
    start: str | None = None
    """Unit to start; likewise."""
    stop: str | None = None
    """Unit to stop; likewise."""
    mask: bool = False
    """With `stop`, in a halt: nobody and nothing starts the unit before a person says `systemctl unmask`."""
    timeout: Duration = 60_000
    """How long systemctl may take. A unit of Type=notify is waited for until it says that it is ready."""

    @field_validator("restart", "start", "stop")
    @classmethod
    def _validate_unit(cls, unit: str | None) -> str | None:
        if unit is not None and not _UNIT_PATTERN.fullmatch(unit):
            raise ValueError(f"{unit!r} is no name of one unit, such as trading-bot.service")
        return unit

    @model_validator(mode="after")
    def _validate_one_operation(self) -> SystemdAction:
        if sum(unit is not None for unit in (self.restart, self.start, self.stop)) != 1:
            raise ValueError("say one of restart, start, stop")
        if self.mask and self.stop is None:
            raise ValueError("mask goes with stop: what is masked cannot be started")
        return self

    @property
    def halt_only(self) -> bool:
        return self.mask

    @property
    def stops_bot(self) -> bool:
        return self._operation == "stop"

    @property
    def unit_operations(self) -> tuple[tuple[str, str], ...]:
        unit = self._unit_name
        if self._operation != "stop":
            return (self._operation, unit), ("reset-failed", unit)
        return (("stop", unit), ("mask", unit)) if self.mask else (("stop", unit),)

    @property
    def _operation(self) -> Literal["restart", "start", "stop"]:
        return "restart" if self.restart is not None else "start" if self.start is not None else "stop"

    @property
    def _unit_name(self) -> str:
        return self.restart or self.start or self.stop or ""

    def bind(self, target: Target) -> Self:
        if self._unit_name != "unit":
            return self
        if target.unit is None and target.process is not None:
            cure = f"say {{do: process, {self._operation}: process}}"
            raise ActionError(f"the target has no unit, but a process — {cure}")
        if target.unit is None:
            raise ActionError("the target has no unit — give it one, or name the unit in the step")
        return self.model_copy(update={self._operation: target.unit})

    def describe(self) -> str:
        return f"{self._operation}{' and mask' if self.mask else ''} {self._unit_name}"

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"unit", "invocation", "active", "sub", "result", "restarts", "folder"}`` as systemd says it."""
        status = self._unit_status()
        return {
            "unit": self._unit_name,
            "invocation": status.invocation,
            "active": status.active,
            "sub": status.sub,
            "result": status.result,
            "restarts": "" if status.restarts is None else str(status.restarts),
            "folder": status.folder,
        }

    def preview(self, captured: JsonObject) -> str:
        return f"{self.describe()} (now {captured['active']}, {captured['sub']})"

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        unit = self._unit_name
        forgiven = self._operation != "stop" and self._reset_failed(self._unit_status())
        ran = run_systemctl(self._operation, "--", unit, timeout_ms=self.timeout)
        if ran.exit_code != 0 and self._operation != "stop" and self._reset_failed(self._unit_status()):
            forgiven = True
            ran = run_systemctl(self._operation, "--", unit, timeout_ms=self.timeout)
        status = self._unit_status()
        if ran.exit_code != 0:
            raise ActionError(
                f"systemctl {self._operation} {unit} ended with {ran.exit_code}: "
                f"{describe_failure(ran, status)}{self._start_limit_hint(status)}"
            )
        if self._operation == "stop":
            if status.active not in ("inactive", "failed"):
                raise ActionError(f"{unit} was stopped and is {status.describe()}")
        elif status.active != "active":
            cure = self._start_limit_hint(status) or f" — see journalctl -u {unit}"
            raise ActionError(f"{unit} was {self._operation}ed and is {status.describe()}{cure}")
        elif self._operation == "restart" and status.invocation == captured["invocation"]:
            raise ActionError(f"{unit} still runs as it did before the restart", may_have_happened=True)
        masked = f"; {self._mask_unit(status)}" if self.mask else ""
        reset = "; it had failed, and its count of starts was set back" if forgiven else ""
        return f"{unit} is {status.describe()}{reset}{masked}"

    def _mask_unit(self, status: UnitStatus) -> str:
        """Mask the stopped unit; in words what came of it."""
        unit = self._unit_name
        if not status.cannot_be_masked:
            ran = run_systemctl(*mask_command(unit))
            if ran.exit_code != 0:
                raise ActionError(f"{unit} is stopped, and could not be masked: {describe_failure(ran)}")
            if self._unit_status().load != "masked":
                raise ActionError(f"{unit} is stopped, and is not masked although systemctl said so")
            return f"masked, start it with: systemctl unmask {unit} && systemctl start {unit}"
        if status.load == "masked":
            return f"it was masked already: systemctl unmask {unit}"
        return f"not masked, since its file is {status.file} — keep it in /usr/local/lib/systemd/system instead"

    def state(self, captured: JsonObject) -> StepState:
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        for _ in child_process.poll_until(deadline, every=0.2):
            try:
                status = self._unit_status()
            except ActionError:
                return "unknown"
            if not status.in_transition or status.auto_restarting:
                break
        if self._operation == "stop":
            if status.active == "deactivating":
                return "unknown"
            stopped = status.active in ("inactive", "failed")
            return "after" if stopped and (not self.mask or status.cannot_be_masked) else "before"
        if status.auto_restarting:
            return "before"
        if status.in_transition:
            return "unknown"
        if status.active == "active" and (self._operation == "start" or status.invocation != captured["invocation"]):
            return "after"
        # Ended well, by somebody's hand or of its own: no crash, and not ours to start again.
        ended_well = status.active == "inactive" and status.result == "success"
        return "stopped" if ended_well and captured["active"] == "active" else "before"

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:
        unit, was = full_unit_name(self._unit_name), None if captured is None else captured["active"]
        if self._operation != "stop":
            return (LastingChange(f"unit {unit}", None, unit, was),)
        stopped = LastingChange(f"unit {unit}", "stopped", unit, was, f"systemctl start {unit}")
        masked = LastingChange(f"mask of {unit}", "masked", unit, None, f"systemctl unmask {unit}")
        return (masked, stopped) if self.mask else (stopped,)

    def lasting_states(self, captured: JsonObject) -> Sequence[StepState]:
        status = unit_status(self._unit_name)
        if status.load == "not-found":
            raise ActionError(f"systemd knows no unit {self._unit_name}")
        runs = status.active not in ("inactive", "failed")
        states: dict[str | None, StepState] = {
            "masked": "after" if status.load == "masked" else "before",
            "stopped": "before" if runs else "after",
            None: "after" if runs else "before",
        }
        return [states[change.how] for change in self.lasting_changes(captured)]

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        status = unit_status(self._unit_name)
        if status.load == "not-found":
            raise ActionError(f"systemd knows no unit {self._unit_name}")
        unit, found = full_unit_name(self._unit_name), dict[str, str]()
        if self._operation == "stop" and status.active not in ("inactive", "failed"):
            found[f"unit {unit}"] = f"{unit} is {status.describe()}"
        if self.mask and not status.cannot_be_masked:
            found[f"mask of {unit}"] = f"{unit} is masked no more"
        was = captured.get("folder")  # not noted by an older version
        if self._operation != "stop" and was is not None and status.folder != was:
            found[f"unit {unit}"] = f"{unit} now runs in {status.folder or '/'}, and ran in {was or '/'}"
        return found

    def _unit_status(self) -> UnitStatus:
        """What systemd knows of the unit. Raises ActionError when it knows none, or cannot be asked."""
        status = unit_status(self._unit_name)
        if status.load == "not-found":
            raise ActionError(f"systemd knows no unit {self._unit_name} — install it, or mend the name")
        if status.load == "masked" and self._operation != "stop":
            raise ActionError(f"{self._unit_name} is masked — systemctl unmask {self._unit_name}")
        return status

    def _reset_failed(self, status: UnitStatus) -> bool:
        """A unit that crashed too often cannot be started, even by hand, before its count is set back."""
        if status.result != "start-limit-hit" and status.active != "failed":
            return False
        return run_systemctl("reset-failed", "--", self._unit_name).exit_code == 0

    def _start_limit_hint(self, status: UnitStatus) -> str:
        """The cure, when systemd has given up on the unit."""
        if status.result != "start-limit-hit":
            return ""
        return f" — it crashed too often (StartLimitBurst=): mend what journalctl -u {self._unit_name} shows, then start it by hand"
