"""systemd's units, through systemctl."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.host import child_process

QUERY_TIMEOUT_MS = 10_000
POLKIT_RULE_FILE = "/etc/polkit-1/rules.d/50-trading-watchdog.rules"
"""Where the rule lies that lets the watchdog's user manage the units that its files name."""
_UNIT_TYPES = (
    *("service", "socket", "timer", "target", "path", "slice"),
    *("scope", "mount", "automount", "swap", "device"),
)
_TRANSITIONAL_STATES = ("activating", "deactivating", "reloading", "refreshing")
_ENV = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "InvocationID",
    "ExecMainStatus",
    "FragmentPath",
    "NRestarts",
    "MainPID",
    "WorkingDirectory",
)
_NO_SYSTEMD = "there is no systemd to ask here: describe the bot as a process, with do: process"
_NO_BUS = "systemd answers a user who is not root over D-Bus: apt-get install dbus polkitd"
_NOT_ALLOWED = "allow the watchdog's user, as root: trading-watchdog polkit --write"
_NO_MASK_SERVICE = "copy systemd/trading-watchdog-mask@.service to /etc/systemd/system"


class UnitStatus(NamedTuple):
    """A unit as systemd says it is; an empty text where it says nothing."""

    load: str
    """``loaded``, ``masked``, ``not-found``, …"""
    active: str
    """``active``, ``inactive``, ``failed``, ``activating``, …"""
    sub: str
    """``running``, ``dead``, ``auto-restart``, …"""
    result: str
    """How it ended: ``success``, ``exit-code``, ``start-limit-hit``, …"""
    invocation: str
    """What tells one run of it from the next."""
    exit_status: str
    file: str
    """Full path of the unit's file."""
    restarts: int | None
    """Restarts by systemd itself; None where systemd counts none (before 235, or no service)."""
    main_pid: int | None
    """0: it does not run. None: no service, and so without a main process."""
    folder: str = ""
    """In which it is started, as its file says; empty: the root of the file system."""

    @property
    def in_transition(self) -> bool:
        return self.active in _TRANSITIONAL_STATES

    @property
    def auto_restarting(self) -> bool:
        """Dead, and waiting for systemd's next try (`Restart=`): such a unit may be on its way for ever."""
        return self.sub.startswith("auto-restart")

    @property
    def cannot_be_masked(self) -> bool:
        """Masked already, or never to be: masking is a link in /etc/systemd/system, and there the unit's own file is."""
        return self.load == "masked" or self.file.startswith("/etc/systemd/system/")

    def describe(self) -> str:
        """``active (running)``, ``failed (exit-code, status 1)``."""
        if self.active == "failed" or self.result not in ("", "success"):
            return f"{self.active} ({self.result}, status {self.exit_status or '?'})"
        return f"{self.active} ({self.sub})"


class SystemctlError(ActionError):
    """systemctl could not be asked, or gave no answer that can be read."""

    def __init__(self, problem: str, cure: str = "") -> None:
        super().__init__(f"{problem} — {cure}" if cure else problem)
        self.problem, self.cure = problem, cure


def unit_status(unit: str, timeout_ms: float = QUERY_TIMEOUT_MS) -> UnitStatus:
    """Asks systemd; blocks. Of a unit that it does not know, `load` is ``not-found``. Raises SystemctlError."""
    blocks = show_units([unit], _PROPERTIES, timeout_ms=timeout_ms)
    said = dict.fromkeys(_PROPERTIES, "") | (blocks[0] if blocks else {})
    if not all(said[name].isdecimal() for name in ("NRestarts", "MainPID") if said[name]):
        raise SystemctlError(
            f"systemctl show {unit} answered what no systemd answers (is another program first in PATH?)"
        )
    return UnitStatus(
        load=said["LoadState"],
        active=said["ActiveState"],
        sub=said["SubState"],
        result=said["Result"],
        invocation=said["InvocationID"],
        exit_status=said["ExecMainStatus"],
        file=said["FragmentPath"],
        restarts=int(said["NRestarts"]) if said["NRestarts"] else None,
        main_pid=int(said["MainPID"]) if said["MainPID"] else None,
        folder=said["WorkingDirectory"],
    )


def show_units(
    units: Sequence[str],
    properties: Sequence[str],
    options: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    timeout_ms: float = QUERY_TIMEOUT_MS,
    output_limit: int = 64 * 1024,
) -> list[dict[str, str]]:
    """Those properties of each unit, in one question; what a unit has not is missing. First the units that are named, in
    their order, then those that patterns find. `options`: whose manager is asked. Raises SystemctlError."""
    try:
        ran = run_systemctl(
            *("show", *options, f"--property={','.join(properties)}", "--", *units),
            env=env,
            timeout_ms=timeout_ms,
            output_limit=output_limit,
        )
    except ActionError as error:
        if error.may_have_happened:
            raise SystemctlError(
                f"systemctl gave no answer within {timeout_ms / 1_000:g} s (is systemd busy?)"
            ) from None
        if shutil.which("systemctl") is None:
            raise SystemctlError("systemctl is not on this machine", _NO_SYSTEMD) from None
        raise SystemctlError(str(error)) from None
    if ran.exit_code != 0:
        asked = " ".join(units[:3]) + (" …" if len(units) > 3 else "")
        raise SystemctlError(f"systemctl show {asked} ended with {ran.exit_code}: {_last_words(ran)}", _cure(ran))
    if ran.truncated:
        raise SystemctlError(f"systemctl says more than {output_limit} bytes of these units", "name fewer")
    blocks = (block.split("\n") for block in ran.stdout.strip("\n").split("\n\n") if block)
    return [{name: value for name, _, value in (line.partition("=") for line in block)} for block in blocks]


ask_root: Callable[[str, str, float], child_process.CommandResult] | None = None
"""(verb, unit, timeout in ms) → what systemctl said to root: for a process that was root once. None: we ask ourselves."""


def run_systemctl(
    verb: str,
    *rest: str,
    env: Mapping[str, str] | None = None,
    timeout_ms: float = QUERY_TIMEOUT_MS,
    output_limit: int = 64 * 1024,
) -> child_process.CommandResult:
    if ask_root is not None and verb != "show":
        return ask_root(verb, rest[-1], timeout_ms)
    argv = ["systemctl", "--no-ask-password", "--no-pager", verb, *rest]
    return child_process.run(argv, env={**_ENV, **(env or {})}, timeout_ms=timeout_ms, output_limit=output_limit)


def resolve_unit(unit: str) -> str:
    """What systemd itself calls it: with its suffix, and instead of an alias the unit that it stands for.

    Blocks. Where no systemd can be asked, the name with its suffix. Raises ActionError: systemctl cannot be started.
    """
    if shutil.which("systemctl") is not None:
        ran = run_systemctl("show", "--property=Id", "--", unit)
        for line in ran.stdout.splitlines():
            if line.startswith("Id=") and line != "Id=":
                return line.removeprefix("Id=")
    return full_unit_name(unit)


def is_pattern(unit: str) -> bool:
    """Whether systemctl takes it for one: it finds the units that are loaded, and of what it does not find it says nothing."""
    return any(character in unit for character in "*?[")


def full_unit_name(unit: str) -> str:
    """With its suffix; systemd is not asked."""
    return unit if unit.rpartition(".")[2] in _UNIT_TYPES else f"{unit}.service"


def mask_service(unit: str) -> str:
    """The unit of root's that masks that one."""
    return f"trading-watchdog-mask@{unit}.service"


def mask_command(unit: str) -> tuple[str, ...]:
    """Words for `run_systemctl`. Whoever may change unit files at all may change every one, and so is root: no rule
    lets the watchdog's user do it. What it may is start a unit of root's that masks one."""
    if os.geteuid() == 0 or ask_root is not None:
        return "mask", "--", unit
    return "start", "--", mask_service(resolve_unit(unit))


def is_booted() -> bool:
    """Whether systemd runs this machine, as sd_booted(3) tells it."""
    return Path("/run/systemd/system").is_dir()


def describe_failure(ran: child_process.CommandResult, status: UnitStatus | None = None) -> str:
    """Why systemctl ended as it did, with the cure where that is known; else what the unit is by now."""
    if cure := _cure(ran):
        return f"{_last_words(ran)} — {cure}"
    return _last_words(ran) if status is None else f"{_last_words(ran)}; it is {status.describe()}"


def _last_words(ran: child_process.CommandResult) -> str:
    said = child_process.last_lines(ran.stderr, lines=2) or child_process.last_lines(ran.stdout, lines=2)
    return said or "it said nothing"


def _cure(ran: child_process.CommandResult) -> str:
    words = _last_words(ran)
    if "authentication required" in words or "Access denied" in words:
        return _NOT_ALLOWED
    if "trading-watchdog-mask@" in words and "not found" in words:
        return _NO_MASK_SERVICE
    if "connect to bus" in words and os.geteuid() != 0 and is_booted():
        return _NO_BUS
    return _NO_SYSTEMD if "not been booted with systemd" in words or "connect to bus" in words else ""
