"""systemd's own view of units: services, timers, and whatever else it manages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from watchdog.core.errors import ActionError, SourceError
from watchdog.core.executor import owner_executor
from watchdog.core.model import FrozenList, Millis, Sample
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.target import Target
from watchdog.core.text import shorten
from watchdog.host.account import account_by_name
from watchdog.host.systemctl import SystemctlError, is_booted
from watchdog.host.unit_report import TimerReport, UnitReport, read_units, read_user_units
from watchdog.sources.interval import Interval
from watchdog.sources.source_model import SourceModel

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@*?\[][A-Za-z0-9:_.\\@*?\[\]-]{0,254}", re.ASCII)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", re.ASCII)
_STATES = ("active", "activating", "deactivating", "failed", "inactive")
"""As node_exporter counts them."""
_STATE_OF = {
    **{state: state for state in _STATES},
    "reloading": "active",
    "refreshing": "active",
    "maintenance": "inactive",
}


class SystemdSource(SourceModel):
    """State, result, restarts, watchdog, memory and processor time of systemd's units, and timers that did not run."""

    reads_needed: ClassVar[int] = 1

    type: Literal["systemd"]
    units: FrozenList[str] = Field(min_length=1, max_length=100)
    """Names, with `.service` where no suffix is said; `*`, `?` and `[…]` find units that are loaded."""
    user: str | None = None
    """Ask this user's own manager (`systemctl --user`)."""
    machine: str | None = None
    """Ask the systemd of this container, as `systemctl --machine` does; for a watchdog that is root."""
    every: Interval = 5_000
    """Time from one read to the next."""
    timeout: Interval = 5_000
    """Most time that systemd may take for its answer."""

    @field_validator("units")
    @classmethod
    def _validate_units(cls, units: tuple[str, ...]) -> tuple[str, ...]:
        for unit in units:
            if not _UNIT.fullmatch(unit):
                raise ValueError(
                    f"{shorten(unit, 60)!r} is no unit — it reads like trading-bot.service or trading-*.timer"
                )
            if re.search(r"@(\.|$)", unit):
                raise ValueError(
                    f"{unit} is a template — name an instance of it, such as {unit.replace('@', '@main', 1)}"
                )
            if not unit.strip("*?."):
                raise ValueError("a pattern that every unit matches is none — say how their names begin")
        if len(set(units)) < len(units):
            raise ValueError("a unit stands in the list twice")
        return units

    @field_validator("user")
    @classmethod
    def _validate_user(cls, user: str | None) -> str | None:
        if user is not None and not _USER.fullmatch(user):
            raise ValueError("user is the name of an account, such as trading")
        return user

    @field_validator("machine")
    @classmethod
    def _validate_machine(cls, machine: str | None) -> str | None:
        if machine is not None and not _MACHINE.fullmatch(machine):
            raise ValueError("machine is the name of a container, as machinectl list shows it")
        return machine

    @property
    def deadline(self) -> Millis:
        return self.timeout

    @property
    def identity(self) -> str:
        whose = f" of {self.user}" if self.user is not None else ""
        where = f" in {self.machine}" if self.machine is not None else ""
        return f"{' '.join(self.units)}{whose}{where}"

    def owner(self) -> Target:
        """As whom it is asked, see `core.protocols.OwnedSource`."""
        return Target() if self.user is None or self.machine is not None else Target(run_as=self.user)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:  # noqa: ARG002
        """What systemd knows of each unit; ``systemd_unit_known 0`` alone of one that it does not know."""
        try:
            reports = self._ask()
        except ActionError as error:
            raise SourceError(str(error)) from None
        if not any(report.is_known for report in reports):
            raise SourceError(
                f"systemd knows {'no unit' if len(self.units) == 1 else 'none of the units'} "
                f"{shorten(', '.join(self.units), 200)} — check units, and that systemctl status finds them"
            )
        return [
            Sample(name, (*labels, ("unit", report.name)), now, float(value))
            for report in reports
            for name, labels, value in _series(report, now / 1_000)
            if value is not None
        ]

    def _ask(self) -> tuple[UnitReport, ...]:
        """Raises ActionError with the cure."""
        if self.machine is None and self.user is not None:
            try:
                uid = account_by_name(self.user).uid
            except ActionError:
                raise ActionError(f"there is no user {self.user} on this machine — mend user") from None
            # that manager answers its user, without root and without D-Bus
            return owner_executor.get().call(self.owner(), read_user_units, self.units, uid, self.timeout)
        try:
            return read_units(self.units, self._manager_options(), self.timeout)
        except SystemctlError as error:
            raise ActionError(f"{error.problem} — {self._cure(error)}") from None

    def _manager_options(self) -> tuple[str, ...]:
        if self.machine is None:
            return ()
        if self.user is None:
            return (f"--machine={self.machine}",)
        return "--user", f"--machine={self.user}@{self.machine}"

    def _cure(self, error: SystemctlError) -> str:
        if self.machine is not None:
            return f"does machinectl list show {self.machine}? Only a watchdog that is root is let into it"
        if is_booted():
            return error.cure or "does systemctl status answer?"
        return "watch the bot as a process, by pid_file or cmdline, where systemd does not run"


_Series = tuple[str, tuple[tuple[str, str], ...], float | None]


def _series(unit: UnitReport, now: float) -> Iterator[_Series]:
    """Name, labels beside the unit's, and value; None is left out. `now`: seconds since 1970."""
    yield "systemd_unit_known", (), unit.is_known
    if not unit.is_known:
        return
    yield "systemd_unit_loaded", (), unit.load == "loaded"
    yield "systemd_unit_masked", (), unit.load == "masked"
    state = _STATE_OF.get(unit.active)
    if state is not None:  # one that later versions may have says nothing, rather than that it is not active
        yield "systemd_unit_active", (), state == "active"
        yield "systemd_unit_failed", (), state == "failed"
        for each in _STATES:
            yield "systemd_unit_state", (("state", each),), state == each
    yield "systemd_unit_result_success", (), (unit.result == "success" if unit.result else None)
    yield "systemd_unit_restarts_total", (), unit.restarts
    yield "systemd_unit_start_time_seconds", (), (unit.active_since if state == "active" else None)
    yield "systemd_unit_state_change_time_seconds", (), unit.state_since
    yield "systemd_unit_state_age_seconds", (), unit.state_age
    yield "systemd_unit_watchdog_age_seconds", (), unit.watchdog_age
    yield "systemd_unit_watchdog_limit_seconds", (), unit.watchdog_limit
    yield "systemd_unit_memory_bytes", (), unit.memory
    yield "systemd_unit_memory_peak_bytes", (), unit.memory_peak
    yield "systemd_unit_memory_limit_bytes", (), unit.memory_limit
    if unit.memory is not None and unit.memory_limit:
        yield "systemd_unit_memory_limit_ratio", (), unit.memory / unit.memory_limit
    yield "systemd_unit_cpu_seconds_total", (), unit.cpu_seconds
    yield "systemd_unit_tasks", (), unit.tasks
    yield "systemd_unit_tasks_limit", (), (unit.tasks_limit if unit.tasks is not None else None)
    if unit.timer is not None:
        yield from _timer_series(unit, unit.timer, state == "active", now)


def _timer_series(unit: UnitReport, timer: TimerReport, active: bool, now: float) -> Iterator[_Series]:
    yield "systemd_timer_last_trigger_time_seconds", (), timer.last_trigger
    since = timer.last_trigger
    if active and unit.active_since is not None:  # one that has never run has not run since it was started
        since = unit.active_since if since is None else since
    yield "systemd_timer_idle_seconds", (), (None if since is None else max(0.0, now - since))
    soonest = min(
        (at for at in (timer.next_at, None if timer.next_in is None else now + timer.next_in) if at is not None),
        default=None,
    )
    if not active or soonest is None:
        return
    yield "systemd_timer_next_elapse_time_seconds", (), soonest
    if unit.sub == "waiting":
        yield "systemd_timer_overdue_seconds", (), max(0.0, now - soonest - timer.accuracy)
    elif unit.sub == "running":  # what it starts is at work: the next time is only then worked out
        yield "systemd_timer_overdue_seconds", (), 0.0
