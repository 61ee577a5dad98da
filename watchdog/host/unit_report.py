"""What systemd knows of units, in numbers, for the source `systemd`.

`systemctl show` is asked and not D-Bus itself: it is there wherever systemd is, speaks to the private socket of a manager
where there is no bus, and finds the way into containers. What it writes for people (``1min 30s``, ``[not set]``,
``infinity``) is read back here, by the letter: what is none of that is left out.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.host.systemctl import SystemctlError, full_unit_name, is_pattern, show_units
from watchdog.host.trust import user_name

MAX_UNITS = 256
"""Of one question: patterns find as many as there are."""
_BYTES_PER_UNIT = 4_096
_PROPERTIES = (
    *("Id", "Names", "LoadState", "ActiveState", "SubState", "Result", "NRestarts"),
    *("ActiveEnterTimestamp", "StateChangeTimestamp", "StateChangeTimestampMonotonic"),
    *("WatchdogUSec", "WatchdogTimestampMonotonic"),
    *("MemoryCurrent", "MemoryPeak", "MemoryMax", "EffectiveMemoryMax", "CPUUsageNSec"),
    *("TasksCurrent", "TasksMax", "EffectiveTasksMax"),
    *("LastTriggerUSec", "NextElapseUSecRealtime", "NextElapseUSecMonotonic", "AccuracyUSec"),
)
_ENV = {"TZ": "UTC"}
_NOT_SET = 2**64 - 1
"""What systemd has for "not set" and "no limit" alike; old ones write it as it is."""
_TIME = re.compile(r"[A-Z][a-z]{2} (\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))? UTC", re.ASCII)
_SPAN = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(y|month|w|d|h|min|s|ms|us)", re.ASCII)
_SECONDS = {
    "y": 31_557_600.0,
    "month": 2_629_800.0,
    "w": 604_800.0,
    "d": 86_400.0,
    "h": 3_600.0,
    "min": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
}


class TimerReport(NamedTuple):
    """Of a timer; None where systemd says nothing."""

    last_trigger: float | None
    """Seconds since 1970."""
    next_at: float | None
    """Seconds since 1970: when a date brings it next."""
    next_in: float | None
    """Seconds from now until a span of time brings it next; below zero when that has passed."""
    accuracy: float
    """Seconds by which systemd may be late."""


class UnitReport(NamedTuple):
    """One unit; None where systemd says nothing, or nothing that can be read."""

    name: str
    load: str
    """``loaded``, ``masked``, ``not-found``, …"""
    active: str
    """``active``, ``inactive``, ``failed``, ``activating``, …"""
    sub: str
    """``running``, ``waiting``, ``auto-restart``, …"""
    result: str
    """``success``, ``exit-code``, …; empty for units that have no result."""
    restarts: float | None
    active_since: float | None
    """Seconds since 1970."""
    state_since: float | None
    """Seconds since 1970."""
    state_age: float | None
    watchdog_age: float | None
    """Seconds since it last said that it lives."""
    watchdog_limit: float | None
    memory: float | None
    memory_peak: float | None
    memory_limit: float | None
    cpu_seconds: float | None
    tasks: float | None
    tasks_limit: float | None
    timer: TimerReport | None

    @property
    def is_known(self) -> bool:
        """One whose file was removed while it runs, or has failed, is known all the same."""
        return self.load != "not-found" or self.active not in ("inactive", "")


def read_units(units: tuple[str, ...], options: tuple[str, ...], timeout_ms: int) -> tuple[UnitReport, ...]:
    """Each unit that is named, under that name; then those that patterns find, under systemd's own. Blocks.

    `options`: whose manager is asked; the machine's own when they name none. Raises SystemctlError, else ActionError.
    """
    return _read_units(units, options, {}, timeout_ms)


def read_user_units(units: tuple[str, ...], uid: int, timeout_ms: int) -> tuple[UnitReport, ...]:
    """The same of the manager of the user that this process is, who must be the one of that number. Raises ActionError."""
    whose = user_name(uid)
    if os.geteuid() != uid:
        own = user_name(os.geteuid())
        raise ActionError(f"the manager of {whose} does not answer {own} — run this as {whose}, or as root")
    try:
        return _read_units(units, ("--user",), {"XDG_RUNTIME_DIR": f"/run/user/{uid}"}, timeout_ms)
    except SystemctlError as error:
        raise ActionError(
            f"{error.problem} — does {whose} have a manager? As root: loginctl enable-linger {whose}"
        ) from None


def _read_units(
    units: Sequence[str], options: Sequence[str], env: dict[str, str], timeout_ms: int
) -> tuple[UnitReport, ...]:
    names = [unit if is_pattern(unit) else full_unit_name(unit) for unit in units]
    blocks = show_units(
        names,
        _PROPERTIES,
        options,
        env={**_ENV, **env},
        timeout_ms=timeout_ms,
        output_limit=(len(names) + MAX_UNITS) * _BYTES_PER_UNIT,
    )
    monotonic = time.monotonic()
    by_name: dict[str, dict[str, str]] = {}
    for block in blocks:
        for name in (block.get("Id", ""), *block.get("Names", "").split(" ")):
            by_name.setdefault(name, block)
    named = dict.fromkeys(name for name in names if not is_pattern(name))
    if missing := [name for name in named if name not in by_name]:
        raise ActionError(f"systemctl says nothing of {missing[0]} — is another program first in PATH?")
    told = {id(by_name[name]) for name in named}
    found = {block["Id"]: block for block in blocks if "Id" in block and id(by_name[block["Id"]]) not in told}
    if len(named) + len(found) > MAX_UNITS:
        raise ActionError(f"{len(found)} units match, at most {MAX_UNITS} are read — make the pattern narrower")
    reports = {name: by_name[name] for name in named} | found
    return tuple(_report(name, block, monotonic) for name, block in reports.items())


def _report(name: str, block: dict[str, str], monotonic: float) -> UnitReport:
    changed, pinged = (
        _count(block.get(key)) for key in ("StateChangeTimestampMonotonic", "WatchdogTimestampMonotonic")
    )
    watchdog = _span(block.get("WatchdogUSec"))
    active = block.get("ActiveState", "")
    is_pinging = bool(watchdog and pinged) and active in ("active", "reloading", "refreshing", "deactivating")
    nanoseconds = _count(block.get("CPUUsageNSec"))
    return UnitReport(
        name=name,
        load=block.get("LoadState", ""),
        active=active,
        sub=block.get("SubState", ""),
        result=block.get("Result", ""),
        restarts=_count(block.get("NRestarts")),
        active_since=_time(block.get("ActiveEnterTimestamp")),
        state_since=_time(block.get("StateChangeTimestamp")),
        state_age=max(0.0, monotonic - changed / 1e6) if changed else None,
        watchdog_age=max(0.0, monotonic - pinged / 1e6) if is_pinging and pinged else None,
        watchdog_limit=watchdog if is_pinging else None,
        memory=_count(block.get("MemoryCurrent")),
        memory_peak=_count(block.get("MemoryPeak")),
        memory_limit=_least(_count(block.get(key)) for key in ("MemoryMax", "EffectiveMemoryMax")),
        cpu_seconds=None if nanoseconds is None else nanoseconds / 1e9,
        tasks=_count(block.get("TasksCurrent")),
        tasks_limit=_least(_count(block.get(key)) for key in ("TasksMax", "EffectiveTasksMax")),
        timer=_timer(block, monotonic) if "LastTriggerUSec" in block else None,
    )


def _timer(block: dict[str, str], monotonic: float) -> TimerReport:
    elapse = _span(block.get("NextElapseUSecMonotonic"))
    return TimerReport(
        last_trigger=_time(block.get("LastTriggerUSec")),
        next_at=_time(block.get("NextElapseUSecRealtime")),
        next_in=elapse - monotonic if elapse else None,
        accuracy=_span(block.get("AccuracyUSec")) or 0.0,
    )


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _count(text: str | None) -> float | None:
    """None for ``[not set]``, ``infinity``, and for what only means them."""
    if text is None or not re.fullmatch(r"[0-9]{1,20}", text) or int(text) >= _NOT_SET:
        return None
    return float(int(text))


def _span(text: str | None) -> float | None:
    """Seconds of ``1min 30.5s``; None for ``infinity`` and for nothing."""
    if text == "0":
        return 0.0
    parts = [_SPAN.fullmatch(word) for word in (text or "").split(" ")]
    seconds = [float(part[1]) * _SECONDS[part[2]] for part in parts if part is not None]
    return math.fsum(seconds) if len(seconds) == len(parts) else None


def _time(text: str | None) -> float | None:
    """Seconds since 1970 of ``Tue 2026-12-01 04:49:35 UTC``; None for ``n/a`` and for nothing."""
    match = _TIME.fullmatch(text or "")
    if match is None:
        return None
    try:
        whole = datetime(*(int(part) for part in match.groups()[:6]), tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    return whole + float(f"0.{match[7] or 0}")
