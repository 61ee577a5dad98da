"""What the files amount to: the configuration that the daemon runs with."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from watchdog.config.summary import Summary
from watchdog.core.chat import Person
from watchdog.core.model import ConfigModel, Duration, FrozenList, Millis, Severity
from watchdog.core.target import Escalation, Target, has_own_sources
from watchdog.core.units import parse_quantity
from watchdog.documents.problems import Problem
from watchdog.notifiers import AnyNotifier
from watchdog.plans.models import Plan
from watchdog.promql import Expr, RecordingRules, expand_recordings, own_or_shared, parse, restrict_selectors
from watchdog.rules import (
    THRESHOLD_LEVELS,
    Check,
    Kpi,
    Missing,
    Only,
    Patience,
    Rule,
    StaticLabels,
    condition_kpi,
    parse_patience,
    query_name,
    scoped_query,
)
from watchdog.sources import AnySource

if TYPE_CHECKING:
    from watchdog.prometheus_rules.alert import PrometheusAlert

DEFAULT_STATE_FOLDER = "/var/lib/trading-watchdog"
DEFAULT_REMINDER: Millis = 3_600_000
MIN_REMINDER: Millis = 60_000


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

    target: str | FrozenList[str] | None = None
    """The target that they speak for, a list of them, or `all`."""
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
    standby: bool = False


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
    """By name, as the first target that has its variables has it: ask `kpi` for another's."""
    rules: Mapping[str, Rule]
    """By name, with the defaults of their files filled in; likewise: ask `rule`, or go through `rules_by_target`."""
    plans: Mapping[str, Plan]
    """By name, likewise: ask `plan`."""
    checks: tuple[Check, ...]
    """One per rule, target and level, in file order, limits in numbers."""
    fingerprint: str
    """SHA-256 over what the files say, comments, layout and secrets left out."""
    files: tuple[Path, ...]
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why."""
    warnings: tuple[Problem, ...] = ()
    """What is allowed but probably not meant."""
    remind: Millis | None = DEFAULT_REMINDER
    """ms after which people are told that an incident is still critical, twice as long each time; None: never."""
    people: Mapping[str, Person] = field(default_factory=dict)
    """Who may answer in the chats."""
    summary: Summary | None = None
    """When and where people are told how it goes; None: only when they ask."""
    escalate: Escalation | None = None
    """Who is told when nobody acknowledges a critical incident; a target may say otherwise: ask `escalation_of`."""
    prometheus_alerts: Mapping[str, PrometheusAlert] = field(default_factory=dict)
    """By rule: what those from Prometheus's files say to people."""
    recordings: RecordingRules = field(default_factory=dict)
    silent_channels: Mapping[str, str] = field(default_factory=dict)
    """Channels that cannot be used by this process, each with the reason; only for who asked to go on without."""
    unread_sources: Mapping[str, str] = field(default_factory=dict)
    """The same for sources; these are not among `sources`."""
    rules_by_target: Mapping[tuple[str, str], Rule] = field(default_factory=dict)
    """(rule, target) → what the rule is for that target, in file order."""
    variants: Mapping[tuple[str, str, str], Any] = field(default_factory=dict)
    """(`kpis` or `plans`, name, target) → what it is there, of those in which variables stand. Missing: the target lacks one."""
    varying: frozenset[tuple[str, str]] = frozenset()
    """(`kpis` or `plans`, name) of those."""
    places: Mapping[tuple[str, str], str] = field(default_factory=dict, compare=False)
    """(section, name) → the file that says so, as it is called from the folder of the configuration."""

    def escalation_of(self, target: str) -> Escalation | None:
        """None: nobody is told."""
        known = self.targets.get(target)
        said = None if known is None else known.escalate
        return self.escalate if said is None else said if isinstance(said, Escalation) else None

    def told_channels(self, target: str | None, channels: Collection[str] | None) -> list[str]:
        """The channels that hear of a target where `channels` are named for it; None: none are. In the order of the files."""
        known = self.targets.get(target or "")
        named = known.notify if channels is None and known is not None else channels
        if named is not None:
            return [name for name in dict.fromkeys(named) if name in self.channels]
        return [name for name, channel in self.channels.items() if not channel.standby]

    def rule(self, name: str, target: str) -> Rule:
        """What a rule is for one of its targets. Raises KeyError."""
        return self.rules_by_target[name, target]

    def rules_of(self, target: str) -> list[Rule]:
        return [rule for (_, of), rule in self.rules_by_target.items() if of == target]

    def targets_of(self, rule: str) -> list[str]:
        """The targets that a rule speaks for."""
        return [target for name, target in self.rules_by_target if name == rule]

    def kpi(self, name: str | None, target: str) -> Kpi | None:
        """What a KPI is for a target; None: there is none, or the target lacks a variable that stands in it."""
        found: Kpi | None = self._variant("kpis", name, target, self.kpis)
        return found

    def plan(self, name: str | None, target: str) -> Plan | None:
        """What a plan is for a target; None: likewise."""
        found: Plan | None = self._variant("plans", name, target, self.plans)
        return found

    def _variant(self, section: str, name: str | None, target: str, known: Mapping[str, Any]) -> Any:
        if name is None or (section, name) not in self.varying:
            return known.get(name or "")
        return self.variants.get((section, name, target))

    @property
    def target_by_source(self) -> dict[str, str] | None:
        """Source → the target whose own it is. None: no target says so, and everything is everybody's."""
        if not self.has_own_sources:
            return None
        return {source: name for name, target in self.targets.items() for source in target.sources or ()}

    def sources_of(self, target: str) -> frozenset[str]:
        """The sources that are the target's own or nobody's."""
        owners = self.target_by_source or {}
        return frozenset(source for source in self.sources if owners.get(source, target) == target)

    @property
    def has_own_sources(self) -> bool:
        """Whether any target says what is its own; then each sees that and what is nobody's."""
        return has_own_sources(self.targets.values())

    def is_scoped(self, kpi: str | None) -> bool:
        """Whether each target has a query of its own where a rule shows this KPI."""
        return self.has_own_sources or ("kpis", kpi or "") in self.varying

    def queries(self) -> dict[str, Kpi]:
        """Everything that is evaluated to judge: KPIs, and each `expr:` as a KPI without a name of its own; with expressions as
        they are asked, and under names that say of which target where that makes a difference."""
        found = {name: kpi for name, kpi in self.kpis.items() if not self.is_scoped(name)}
        for name in self.kpis if self.targets else ():
            target = next(iter(self.targets))  # of one that no rule judges people may still want to know the value
            if self.is_scoped(name) and (kpi := self.kpi(name, target)) is not None:
                found[scoped_query(name, target, scoped=True)] = self._as_asked(kpi, target)
        for (_, target), rule in self.rules_by_target.items():
            scoped, kpi = self.is_scoped(rule.kpi), self.kpi(rule.kpi, target)
            if rule.kpi is not None and kpi is not None:
                name = scoped_query(rule.kpi, target, scoped=scoped)
                found.setdefault(name, self._as_asked(kpi, target))
            for level in THRESHOLD_LEVELS:
                threshold = rule.threshold(level)
                if threshold is not None and threshold.expr is not None:
                    condition = condition_kpi(threshold.expr, kpi)
                    found.setdefault(query_name(rule, level, scoped=scoped), self._as_asked(condition, target))
        return found

    def as_asked(self, name: str, target: str) -> tuple[Rule, Kpi | None]:
        """A rule and its KPI, with every expression as it is asked for the target."""
        rule, kpi = self.rule(name, target), self.kpi(self.rule(name, target).kpi, target)
        changes: dict[str, Any] = {}
        for level in THRESHOLD_LEVELS:
            threshold = rule.threshold(level)
            if threshold is not None and threshold.expr is not None:
                changes[level] = threshold.model_copy(update={"expr": self.expr_of(threshold.expr, target)})
        if rule.only is not None and rule.only.when is not None:
            changes["only"] = rule.only.model_copy(update={"when": self.expr_of(rule.only.when, target)})
        return rule.model_copy(update=changes) if changes else rule, None if kpi is None else self._as_asked(
            kpi, target
        )

    def _as_asked(self, kpi: Kpi, target: str) -> Kpi:
        if not self.has_own_sources:
            return kpi
        needs = None if kpi.needs is None else self.expr_of(kpi.needs, target)
        return kpi.model_copy(update={"expr": self.expr_of(kpi.expr, target), "needs": needs})

    def expr_of(self, text: str, target: str) -> str:
        """An expression as it is asked for a target: it sees its own series and those that are nobody's. Of what cannot be
        read, the text itself."""
        return restrict_selectors(text, own_or_shared(target)) if self.has_own_sources else text

    def parse_expr(self, text: str) -> Expr:
        """An expression of this configuration, with all that is recorded filled in. Raises PromqlError."""
        return expand_recordings(parse(text), self.recordings)
