"""systemd units, through systemctl."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from watchdog.actions import child
from watchdog.model import ActionError, Done, Duration, Json, State, StepPart, Target

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*")  # no * ? [ ]: systemctl would take them for a pattern
_FACTS = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "InvocationID",
    "NRestarts",
    "ExecMainStatus",
    "FragmentPath",
)
_PASSING = ("activating", "deactivating", "reloading", "refreshing")
_LOOK_MS = 10_000
_SETTLE = 3.0  # seconds that `state` waits for a unit that is on its way
_ENV = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_LOG_LEVEL": None}


class Systemd(StepPart):
    """Restarts, starts or stops a systemd unit, and reads back that it happened."""

    lasting: ClassVar[bool] = False

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
    def _one_unit(cls, unit: str | None) -> str | None:
        if unit is not None and not _UNIT.fullmatch(unit):
            raise ValueError(f"{unit!r} is no name of one unit, such as trading-bot.service")
        return unit

    @model_validator(mode="after")
    def _one_verb(self) -> Systemd:
        if sum(unit is not None for unit in (self.restart, self.start, self.stop)) != 1:
            raise ValueError("say one of restart, start, stop")
        if self.mask and self.stop is None:
            raise ValueError("mask goes with stop: what is masked cannot be started")
        return self

    @property
    def _verb(self) -> Literal["restart", "start", "stop"]:
        return "restart" if self.restart is not None else "start" if self.start is not None else "stop"

    @property
    def _unit(self) -> str:
        return self.restart or self.start or self.stop or ""

    def at(self, target: Target) -> Systemd:
        if self._unit != "unit":
            return self
        if target.unit is None:
            raise ActionError("the target has no unit — give it one, or name the unit in the step")
        return self.model_copy(update={self._verb: target.unit})

    def say(self) -> str:
        return f"{self._verb}{' and mask' if self.mask else ''} {self._unit}"

    def before(self, done: Sequence[Done] = ()) -> Json:  # noqa: ARG002
        """``{"unit", "invocation", "active", "sub", "result", "restarts"}`` as systemd says it."""
        facts = self._show()
        return {
            "unit": self._unit,
            "invocation": facts["InvocationID"],
            "active": facts["ActiveState"],
            "sub": facts["SubState"],
            "result": facts["Result"],
            "restarts": facts["NRestarts"],
        }

    def touches(self, before: Json) -> tuple[Path, ...]:  # noqa: ARG002
        return ()

    def preview(self, before: Json) -> str:
        return f"{self.say()} (now {before['active']}, {before['sub']})"

    def apply(self, before: Json, key: str, incident: Json | None = None) -> str:  # noqa: ARG002
        forgiven = self._verb != "stop" and self._forgive(self._show())
        ran = self._systemctl(self._verb, "--", self._unit, timeout_ms=self.timeout)
        if ran.code != 0 and self._verb != "stop" and self._forgive(self._show()):
            forgiven = True
            ran = self._systemctl(self._verb, "--", self._unit, timeout_ms=self.timeout)
        facts = self._show()
        if ran.code != 0:
            raise ActionError(
                f"systemctl {self._verb} {self._unit} ended with {ran.code}: {_why(ran, facts)}{self._limit(facts)}"
            )
        active = facts["ActiveState"]
        if self._verb == "stop":
            if active not in ("inactive", "failed"):
                raise ActionError(f"{self._unit} was stopped and is {_so(facts)}")
        elif active != "active":
            cure = self._limit(facts) or f" — see journalctl -u {self._unit}"
            raise ActionError(f"{self._unit} was {self._verb}ed and is {_so(facts)}{cure}")
        elif self._verb == "restart" and facts["InvocationID"] == before["invocation"]:
            raise ActionError(f"{self._unit} still runs as it did before the restart", may_have_happened=True)
        masked = f"; {self._masked(facts)}" if self.mask else ""
        return f"{self._unit} is {_so(facts)}{'; it had failed, and its count of starts was set back' if forgiven else ''}{masked}"

    def _masked(self, facts: Mapping[str, str]) -> str:
        """Mask the stopped unit; in words what came of it."""
        if not _unmaskable(facts):
            ran = self._systemctl("mask", "--", self._unit, timeout_ms=_LOOK_MS)
            if ran.code != 0:
                raise ActionError(f"{self._unit} is stopped, and could not be masked: {_why(ran, {})}")
            if self._show()["LoadState"] != "masked":
                raise ActionError(f"{self._unit} is stopped, and is not masked although systemctl said so")
            return f"masked, start it with: systemctl unmask {self._unit} && systemctl start {self._unit}"
        if facts["LoadState"] == "masked":
            return f"it was masked already: systemctl unmask {self._unit}"
        return (
            f"not masked, since its file is {facts['FragmentPath']} — keep it in /usr/local/lib/systemd/system instead"
        )

    def state(self, before: Json) -> State:
        deadline = time.monotonic() + _SETTLE
        facts: Mapping[str, str] = {}
        for _ in child.waiting(deadline, every=0.2):
            try:
                facts = self._show()
            except ActionError:
                return "unknown"
            if facts["ActiveState"] not in _PASSING or _crashed(facts):
                break
        active = facts["ActiveState"]
        if self._verb == "stop":
            if active == "deactivating":
                return "unknown"
            stopped = active in ("inactive", "failed")
            return "after" if stopped and (not self.mask or _unmaskable(facts)) else "before"
        if _crashed(facts):
            return "before"
        if active in _PASSING:
            return "unknown"
        if active == "active" and (self._verb == "start" or facts["InvocationID"] != before["invocation"]):
            return "after"
        # Ended well, by somebody's hand or of its own: no crash, and not ours to start again.
        return (
            "other"
            if active == "inactive" and facts["Result"] == "success" and before["active"] == "active"
            else "before"
        )

    def _show(self) -> dict[str, str]:
        """What systemd knows of the unit. Raises ActionError when it knows none, or cannot be asked."""
        ran = self._systemctl("show", f"--property={','.join(_FACTS)}", "--", self._unit, timeout_ms=_LOOK_MS)
        if ran.code != 0:
            raise ActionError(f"systemctl show {self._unit} ended with {ran.code}: {_why(ran, {})}")
        said = {name: value for name, _, value in (line.partition("=") for line in ran.out.splitlines())}
        facts = {name: said.get(name, "") for name in _FACTS}
        if facts["LoadState"] == "not-found":
            raise ActionError(f"systemd knows no unit {self._unit} — install it, or mend the name")
        if facts["LoadState"] == "masked" and self._verb != "stop":
            raise ActionError(f"{self._unit} is masked — systemctl unmask {self._unit}")
        return facts

    def _forgive(self, facts: Mapping[str, str]) -> bool:
        """A unit that crashed too often cannot be started, even by hand, before its count is set back."""
        if facts["Result"] != "start-limit-hit" and facts["ActiveState"] != "failed":
            return False
        return self._systemctl("reset-failed", "--", self._unit, timeout_ms=_LOOK_MS).code == 0

    def _limit(self, facts: Mapping[str, str]) -> str:
        """The cure, when systemd has given up on the unit."""
        if facts["Result"] != "start-limit-hit":
            return ""
        return f" — it crashed too often (StartLimitBurst=): mend what journalctl -u {self._unit} shows, then start it by hand"

    def _systemctl(self, verb: str, *rest: str, timeout_ms: int) -> child.Ran:
        argv = ["systemctl", "--no-ask-password", "--no-pager", verb, *rest]
        return child.run(argv, env=_ENV, timeout_ms=timeout_ms)


def _crashed(facts: Mapping[str, str]) -> bool:
    """Dead, and waiting for systemd's next try (`Restart=`): such a unit may be on its way for ever."""
    return facts["SubState"].startswith("auto-restart")


def _unmaskable(facts: Mapping[str, str]) -> bool:
    """Masked already, or never to be: masking is a link in /etc/systemd/system, and there the unit's own file is."""
    return facts["LoadState"] == "masked" or facts["FragmentPath"].startswith("/etc/systemd/system/")


def _so(facts: Mapping[str, str]) -> str:
    """``active (running)``, ``failed (exit-code, status 1)``."""
    if facts["ActiveState"] == "failed" or facts["Result"] not in ("", "success"):
        return f"{facts['ActiveState']} ({facts['Result']}, status {facts['ExecMainStatus'] or '?'})"
    return f"{facts['ActiveState']} ({facts['SubState']})"


def _why(ran: child.Ran, facts: Mapping[str, str]) -> str:
    words = child.last_lines(ran.err, lines=2) or child.last_lines(ran.out, lines=2) or "it said nothing"
    if "authentication required" in words or "Access denied" in words:
        return f"{words} — allow the watchdog's user by a polkit rule, or run the watchdog as root"
    if "not been booted with systemd" in words or "connect to bus" in words:
        return f"{words} — there is no systemd to ask here: describe the bot as a process, with do: process"
    return f"{words}; it is {_so(facts)}" if facts else words
