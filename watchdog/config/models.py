"""What the files amount to: the configuration that the daemon runs with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, field_validator

from watchdog.core.model import ConfigModel, Duration, FrozenList, Severity
from watchdog.core.target import Target
from watchdog.core.units import parse_quantity
from watchdog.documents.problems import Problem
from watchdog.notifiers import AnyNotifier
from watchdog.plans.models import Plan
from watchdog.promql import Expr, RecordingRules, expand_recordings, parse
from watchdog.rules import Check, Kpi, Missing, Only, Patience, Rule, StaticLabels, parse_patience
from watchdog.sources import AnySource

if TYPE_CHECKING:
    from watchdog.prometheus_rules.alert import PrometheusAlert

DEFAULT_STATE_FOLDER = "/var/lib/trading-watchdog"


class Web(ConfigModel):
    """Where the dashboard, the API and our own metrics are served."""

    listen: str = "127.0.0.1:9464"
    """Address and port; port 0 takes a free one."""
    hosts: FrozenList[str] = ()
    """More names under which readers may ask for it, as those of a proxy: `watchdog.example.org`. Addresses, `localhost`, the name
    in `listen` and this machine's own are always taken."""

    @field_validator("hosts")
    @classmethod
    def _names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", host):
                raise ValueError(f"{host!r} is no name — it reads like watchdog.example.org, without http:// and port")
        return hosts

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str) -> str:
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", listen)
        if found is None or int(found[2]) > 65_535:
            raise ValueError("listen reads like 127.0.0.1:9464 or [::1]:9464")
        return listen

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])


class Reload(ConfigModel):
    """When files that were edited come into force."""

    watch: bool = True
    """Look at the files every other second and reload when they have changed. `false`: only on SIGHUP, as by
    `systemctl reload`."""


def _parse_size(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a size reads like 2GiB or 500MiB")
    size = round(parse_quantity(value, "bytes"))
    if size < 2**20:
        raise ValueError(f"{value!r} is less than 1MiB — say 500MiB, or history: off to keep nothing")
    return size


class History(ConfigModel):
    """How much of the past series.db keeps."""

    raw: Duration = 30 * 86_400_000
    """Samples as they were delivered; what a rule's window reads is kept as long as it reads it."""
    coarse: Duration = 2 * 365 * 86_400_000
    """Means of five minutes, with the least and the greatest."""
    max: Annotated[int, BeforeValidator(_parse_size)] = 2 * 2**30
    """Bytes; the oldest goes first."""


class Defaults(ConfigModel):
    """What the rules of one file say unless they say it themselves."""

    target: str | None = None
    """The target that they speak for."""
    if_missing: Missing | None = None
    """What to do when there is nothing to judge by."""
    notify: FrozenList[str] | None = None
    """Channels that are told."""
    only: Only | None = None
    """When they are awake."""
    forget: Duration | None = None
    """When a label set that is gone is forgotten."""
    labels: StaticLabels | None = None
    """Each rule adds its own to them."""
    for_: Annotated[Patience | None, BeforeValidator(parse_patience)] = Field(default=None, alias="for")
    """How long it must be bad, in each threshold that does not say it."""
    clear_for: Duration | None = None
    """How long it must be well again, in each threshold that does not say it."""


@dataclass(frozen=True, slots=True)
class SilentChannel:
    """Stands for a channel on which this process cannot tell anything: what is told there waits in the journal."""

    from_: Severity


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the files say, checked. Mappings keep the order of the files."""

    sources: Mapping[str, AnySource]
    channels: Mapping[str, AnyNotifier]
    state: Path
    """Absolute folder of the journal and the series."""
    web: Web
    reload: Reload
    history: History | None
    """None: nothing outlives a restart."""
    targets: Mapping[str, Target]
    kpis: Mapping[str, Kpi]
    rules: Mapping[str, Rule]
    """With the defaults of their files filled in."""
    plans: Mapping[str, Plan]
    checks: tuple[Check, ...]
    """One per rule and level, in file order, limits in numbers."""
    fingerprint: str
    """SHA-256 over what the files say, comments, layout and secrets left out."""
    files: tuple[Path, ...]
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why."""
    warnings: tuple[Problem, ...] = ()
    """What is allowed but probably not meant."""
    prometheus_alerts: Mapping[str, PrometheusAlert] = field(default_factory=dict)
    """By rule: what those from Prometheus's files say to people."""
    recordings: RecordingRules = field(default_factory=dict)
    silent_channels: Mapping[str, str] = field(default_factory=dict)
    """Channels that cannot be used by this process, each with the reason; only for who asked to go on without."""
    unread_sources: Mapping[str, str] = field(default_factory=dict)
    """The same for sources; these are not among `sources`."""

    def parse_expr(self, text: str) -> Expr:
        """An expression of this configuration, with all that is recorded filled in. Raises PromqlError."""
        return expand_recordings(parse(text), self.recordings)
