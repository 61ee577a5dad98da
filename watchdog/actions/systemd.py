"""systemd units, through systemctl."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from watchdog.core.errors import ActionError
from watchdog.core.model import ActionModel, Duration, JsonObject
from watchdog.core.protocols import CompletedStep, StepState
from watchdog.core.target import Target
from watchdog.host import child_process

_UNIT_PATTERN = re.compile(
    r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*"
)  # no * ? [ ]: systemctl would take them for a pattern
_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "InvocationID",
    "NRestarts",
    "ExecMainStatus",
    "FragmentPath",
)
_TRANSITIONAL_STATES = ("activating", "deactivating", "reloading", "refreshing")
_QUERY_TIMEOUT_MS = 10_000
_SETTLE_TIMEOUT = 3.0  # seconds that `state` waits for a unit that is on its way
_ENV = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_LOG_LEVEL": None}


class SystemdAction(ActionModel):
    """Restarts, starts or stops a systemd unit, and reads back that it happened."""

    persistent: ClassVar[bool] = False

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
    def _operation(self) -> Literal["restart", "start", "stop"]:
        return "restart" if self.restart is not None else "start" if self.start is not None else "stop"

    @property
    def _unit_name(self) -> str:
        return self.restart or self.start or self.stop or ""

    def bind(self, target: Target) -> SystemdAction:
        if self._unit_name != "unit":
            return self
        if target.unit is None:
            raise ActionError("the target has no unit — give it one, or name the unit in the step")
        return self.model_copy(update={self._operation: target.unit})

    def describe(self) -> str:
        return f"{self._operation}{' and mask' if self.mask else ''} {self._unit_name}"

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"unit", "invocation", "active", "sub", "result", "restarts"}`` as systemd says it."""
        facts = self._unit_properties()
        return {
            "unit": self._unit_name,
            "invocation": facts["InvocationID"],
            "active": facts["ActiveState"],
            "sub": facts["SubState"],
            "result": facts["Result"],
            "restarts": facts["NRestarts"],
        }

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:  # noqa: ARG002
        return ()

    def preview(self, captured: JsonObject) -> str:
        return f"{self.describe()} (now {captured['active']}, {captured['sub']})"

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        forgiven = self._operation != "stop" and self._reset_failed(self._unit_properties())
        ran = self._systemctl(self._operation, "--", self._unit_name, timeout_ms=self.timeout)
        if ran.exit_code != 0 and self._operation != "stop" and self._reset_failed(self._unit_properties()):
            forgiven = True
            ran = self._systemctl(self._operation, "--", self._unit_name, timeout_ms=self.timeout)
        facts = self._unit_properties()
        if ran.exit_code != 0:
            raise ActionError(
                f"systemctl {self._operation} {self._unit_name} ended with {ran.exit_code}: "
                f"{_describe_failure(ran, facts)}{self._start_limit_hint(facts)}"
            )
        active = facts["ActiveState"]
        if self._operation == "stop":
            if active not in ("inactive", "failed"):
                raise ActionError(f"{self._unit_name} was stopped and is {_describe_status(facts)}")
        elif active != "active":
            cure = self._start_limit_hint(facts) or f" — see journalctl -u {self._unit_name}"
            raise ActionError(f"{self._unit_name} was {self._operation}ed and is {_describe_status(facts)}{cure}")
        elif self._operation == "restart" and facts["InvocationID"] == captured["invocation"]:
            raise ActionError(f"{self._unit_name} still runs as it did before the restart", may_have_happened=True)
        masked = f"; {self._mask_unit(facts)}" if self.mask else ""
        reset = "; it had failed, and its count of starts was set back" if forgiven else ""
        return f"{self._unit_name} is {_describe_status(facts)}{reset}{masked}"

    def _mask_unit(self, facts: Mapping[str, str]) -> str:
        """Mask the stopped unit; in words what came of it."""
        if not _nothing_to_mask(facts):
            ran = self._systemctl("mask", "--", self._unit_name, timeout_ms=_QUERY_TIMEOUT_MS)
            if ran.exit_code != 0:
                raise ActionError(
                    f"{self._unit_name} is stopped, and could not be masked: {_describe_failure(ran, {})}"
                )
            if self._unit_properties()["LoadState"] != "masked":
                raise ActionError(f"{self._unit_name} is stopped, and is not masked although systemctl said so")
            return f"masked, start it with: systemctl unmask {self._unit_name} && systemctl start {self._unit_name}"
        if facts["LoadState"] == "masked":
            return f"it was masked already: systemctl unmask {self._unit_name}"
        return (
            f"not masked, since its file is {facts['FragmentPath']} — keep it in /usr/local/lib/systemd/system instead"
        )

    def state(self, captured: JsonObject) -> StepState:
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        facts: Mapping[str, str] = {}
        for _ in child_process.poll_until(deadline, every=0.2):
            try:
                facts = self._unit_properties()
            except ActionError:
                return "unknown"
            if facts["ActiveState"] not in _TRANSITIONAL_STATES or _is_auto_restarting(facts):
                break
        active = facts["ActiveState"]
        if self._operation == "stop":
            if active == "deactivating":
                return "unknown"
            stopped = active in ("inactive", "failed")
            return "after" if stopped and (not self.mask or _nothing_to_mask(facts)) else "before"
        if _is_auto_restarting(facts):
            return "before"
        if active in _TRANSITIONAL_STATES:
            return "unknown"
        if active == "active" and (self._operation == "start" or facts["InvocationID"] != captured["invocation"]):
            return "after"
        # Ended well, by somebody's hand or of its own: no crash, and not ours to start again.
        return (
            "other"
            if active == "inactive" and facts["Result"] == "success" and captured["active"] == "active"
            else "before"
        )

    def _unit_properties(self) -> dict[str, str]:
        """What systemd knows of the unit. Raises ActionError when it knows none, or cannot be asked."""
        ran = self._systemctl(
            "show", f"--property={','.join(_PROPERTIES)}", "--", self._unit_name, timeout_ms=_QUERY_TIMEOUT_MS
        )
        if ran.exit_code != 0:
            raise ActionError(
                f"systemctl show {self._unit_name} ended with {ran.exit_code}: {_describe_failure(ran, {})}"
            )
        said = {name: value for name, _, value in (line.partition("=") for line in ran.stdout.splitlines())}
        facts = {name: said.get(name, "") for name in _PROPERTIES}
        if facts["LoadState"] == "not-found":
            raise ActionError(f"systemd knows no unit {self._unit_name} — install it, or mend the name")
        if facts["LoadState"] == "masked" and self._operation != "stop":
            raise ActionError(f"{self._unit_name} is masked — systemctl unmask {self._unit_name}")
        return facts

    def _reset_failed(self, facts: Mapping[str, str]) -> bool:
        """A unit that crashed too often cannot be started, even by hand, before its count is set back."""
        if facts["Result"] != "start-limit-hit" and facts["ActiveState"] != "failed":
            return False
        return self._systemctl("reset-failed", "--", self._unit_name, timeout_ms=_QUERY_TIMEOUT_MS).exit_code == 0

    def _start_limit_hint(self, facts: Mapping[str, str]) -> str:
        """The cure, when systemd has given up on the unit."""
        if facts["Result"] != "start-limit-hit":
            return ""
        return f" — it crashed too often (StartLimitBurst=): mend what journalctl -u {self._unit_name} shows, then start it by hand"

    def _systemctl(self, verb: str, *rest: str, timeout_ms: int) -> child_process.CommandResult:
        argv = ["systemctl", "--no-ask-password", "--no-pager", verb, *rest]
        return child_process.run(argv, env=_ENV, timeout_ms=timeout_ms)


def _is_auto_restarting(facts: Mapping[str, str]) -> bool:
    """Dead, and waiting for systemd's next try (`Restart=`): such a unit may be on its way for ever."""
    return facts["SubState"].startswith("auto-restart")


def _nothing_to_mask(facts: Mapping[str, str]) -> bool:
    """Masked already, or never to be: masking is a link in /etc/systemd/system, and there the unit's own file is."""
    return facts["LoadState"] == "masked" or facts["FragmentPath"].startswith("/etc/systemd/system/")


def _describe_status(facts: Mapping[str, str]) -> str:
    """``active (running)``, ``failed (exit-code, status 1)``."""
    if facts["ActiveState"] == "failed" or facts["Result"] not in ("", "success"):
        return f"{facts['ActiveState']} ({facts['Result']}, status {facts['ExecMainStatus'] or '?'})"
    return f"{facts['ActiveState']} ({facts['SubState']})"


def _describe_failure(ran: child_process.CommandResult, facts: Mapping[str, str]) -> str:
    words = (
        child_process.last_lines(ran.stderr, lines=2)
        or child_process.last_lines(ran.stdout, lines=2)
        or "it said nothing"
    )
    if "authentication required" in words or "Access denied" in words:
        return f"{words} — allow the watchdog's user by a polkit rule, or run the watchdog as root"
    if "not been booted with systemd" in words or "connect to bus" in words:
        return f"{words} — there is no systemd to ask here: describe the bot as a process, with do: process"
    return f"{words}; it is {_describe_status(facts)}" if facts else words
