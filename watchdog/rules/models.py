"""What people write: KPIs with their baselines, rules with their thresholds. Strict and frozen; nothing is judged here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from watchdog.core.model import ConfigModel, Duration, FrozenList, Millis
from watchdog.core.schedule import Zone, parse_between, parse_days
from watchdog.core.units import UNITS, format_duration, parse_duration, parse_quantity, parse_unit
from watchdog.tsdb.labels import is_label_name

ThresholdLevel = Literal["warn", "crit"]
THRESHOLD_LEVELS: tuple[ThresholdLevel, ...] = ("warn", "crit")
RawLimit = str | int | float
"""A limit or a quantity as it stands in the file; its unit is checked against the KPI."""

Unit = Annotated[
    str,
    BeforeValidator(parse_unit),
    WithJsonSchema({"anyOf": [{"enum": list(UNITS)}, {"type": "string", "pattern": "^[A-Z]{3,5}$"}]}),
]


class Learn(ConfigModel):
    """A baseline that is learned: the KPI's own values over a window, as long as all is well."""

    learn: Duration
    """Length of the window."""
    offset: Duration = 0
    """How long ago the window ends: what has just begun to drift does not count as normal."""
    min_samples: int = Field(default=1_000, ge=1, le=2_000)
    """With fewer values in the window nothing is learned. At most 2000 are taken in a window, one a second at most."""
    stat: Literal["median", "mean"] = "median"
    """`median`: a few odd hours do not matter; `mean`."""

    @model_validator(mode="after")
    def _can_be_met(self) -> Learn:
        if (most := self.learn // self.step) < self.min_samples:
            raise ValueError(
                f"learn: {format_duration(self.learn)} holds {most} values, fewer than min_samples "
                f"{self.min_samples} — lower min_samples or learn for longer"
            )
        return self

    @property
    def step(self) -> Millis:
        """From one value that is taken to the next."""
        return max(1_000, self.learn // 2_000)


class Kpi(ConfigModel):
    """A named PromQL expression with what is needed to judge it."""

    expr: str
    """PromQL over the series of the sources."""
    needs: str | None = None
    """PromQL that must be true for the KPI to be believed; less evidence is no data. Without it every window that the
    expression reads must be covered whole."""
    unit: Unit = "count"
    """What the number means; limits and baselines are checked against it."""
    baseline: RawLimit | Learn | None = None
    """What the KPI is when all is well: a number, `captured`, or `{learn: 7d}`."""
    since: Literal["resume"] | None = None
    """`resume`: samples from before the target's last `resume` are forgotten."""
    born: Literal["zero"] | None = None
    """`zero`: a counter's series that its source did not bring with the read before was 0 then, so that what it begins with is
    an increase."""
    help: str | None = None
    """One line for people."""

    @property
    def has_dynamic_baseline(self) -> bool:
        """The baseline is no number in the file: it is captured or learned."""
        return isinstance(self.baseline, Learn) or self.baseline == "captured"

    def pinned_baseline(self) -> float | None:
        """The pinned baseline as a raw number, None when there is none. Raises ValueError when its unit does not fit."""
        if self.baseline is None or self.has_dynamic_baseline:
            return None
        if isinstance(self.baseline, str) and self.baseline.strip().isalpha():
            near = get_close_matches(self.baseline, ("captured", "learn"), 1)
            cure = "did you mean captured?" if near == ["captured"] else "say a number, captured, or {learn: 7d}"
            raise ValueError(f"{self.baseline!r} is no baseline — {cure}")
        return parse_quantity(self.baseline, self.unit)


class Patience(NamedTuple):
    """How long, or how often, a threshold must be crossed: a duration, or `n` of the last `m` evaluations."""

    duration: Millis = 0
    n: int = 0
    m: int = 0

    def describe(self) -> str:
        return f"{self.n} of {self.m} evaluations" if self.m else format_duration(self.duration)


def parse_patience(value: object) -> object:
    """``5m`` or ``3 of 5``. Raises ValueError with the cure."""
    if isinstance(value, Patience):
        return value
    if isinstance(value, list | tuple) and len(value) == 3:
        return Patience(*value)  # read back from the journal
    counts = re.fullmatch(r"\s*([0-9]{1,6})\s+of\s+([0-9]{1,6})\s*", str(value))
    if counts is None:
        return Patience(duration=parse_duration(value))
    n, m = int(counts[1]), int(counts[2])
    if not 1 <= n <= m <= 1_000:
        raise ValueError(f"{value!r}: say N of M with 1 ≤ N ≤ M ≤ 1000")
    return Patience(n=n, m=m)


Operator = Literal["above", "below", "at_least", "at_most", "outside", "equals", "expr"]
OPERATORS: tuple[Operator, ...] = ("above", "below", "at_least", "at_most", "outside", "equals", "expr")


class _Limits(ConfigModel):
    """One limit, said by its operator."""

    above: RawLimit | None = None
    """Bad when the value is greater."""
    below: RawLimit | None = None
    """Bad when the value is smaller."""
    at_least: RawLimit | None = None
    """Bad when the value is this or greater."""
    at_most: RawLimit | None = None
    """Bad when the value is this or smaller."""
    outside: FrozenList[RawLimit] | None = None
    """`[a, b]`: bad when the value is smaller than `a` or greater than `b`."""
    equals: RawLimit | None = None
    """Bad when the value is exactly this."""


class Threshold(_Limits):
    """When a KPI is bad, how patiently, and when it is well again."""

    expr: str | None = None
    """A whole PromQL condition: bad for each label set that it returns."""
    for_: Annotated[Patience, BeforeValidator(parse_patience)] = Field(default=Patience(), alias="for")
    """How long it must be bad: a duration, or `3 of 5` evaluations. A crit that starts a repair must say it."""
    clear: RawLimit | FrozenList[RawLimit] | None = None
    """Recovery threshold; the limit itself when not said. Of `outside` a pair."""
    clear_for: Duration = 0
    """How long it must be on the good side of `clear`."""
    ceiling: RawLimit | FrozenList[RawLimit] | None = None
    """Absolute limit beside a relative one: whichever is stricter counts. Beside `below` and `at_most` it is a floor,
    of `outside` a pair."""
    plan: str | None = None
    """Plan that is started when the threshold trips (crit only)."""

    @model_validator(mode="after")
    def _one_operator(self) -> Threshold:
        operators = [name for name in OPERATORS if getattr(self, name) is not None]
        if len(operators) != 1:
            found = " and ".join(operators) or "none"
            raise ValueError(f"a threshold needs exactly one of {', '.join(OPERATORS)}; found {found}")
        if self.outside is not None and len(self.outside) != 2:
            raise ValueError("outside takes two limits — say outside: [10%, 30%]")
        for key in ("clear", "ceiling"):
            value = getattr(self, key)
            if value is None:
                continue
            if self.operator in ("equals", "expr"):
                raise ValueError(f"{key} means nothing beside {self.operator} — leave it away")
            if (self.outside is not None) != (isinstance(value, tuple) and len(value) == 2):
                raise ValueError(f"{key} is a pair of limits beside outside, and one limit beside the others")
        return self

    @property
    def operator(self) -> Operator:
        return next(name for name in OPERATORS if getattr(self, name) is not None)


class Missing(ConfigModel):
    """What to do when there is nothing to judge by."""

    after: Duration = 120_000
    """How long data must be missing."""
    then: Literal["hold", "ok", "warn", "crit"] = "hold"
    """`hold`: keep the state; `ok`: a rule that is not firing counts as ok; `warn`, `crit`: missing data trips it."""


class Only(ConfigModel):
    """When the rule is awake: while all that is said here is so. Else its state is held and its timers stand still."""

    when: str | None = None
    """PromQL that must return something. While it cannot be read the rule is awake."""
    between: Annotated[str | None, BeforeValidator(parse_between)] = None
    """Hours of the day, `"09:30-16:00"`; `"22:00-06:00"` goes over midnight and belongs to the day it begins on."""
    days: Annotated[FrozenList[str] | None, BeforeValidator(parse_days)] = None
    """Days of the week: `[mon-fri]`, `[sat, sun]`."""
    timezone: Zone = "UTC"
    """Whose clock `between` and `days` mean: `Europe/Berlin`."""

    @model_validator(mode="after")
    def _says_when(self) -> Only:
        if self.when is None and self.between is None and self.days is None:
            raise ValueError("only needs when, between or days")
        return self


RESERVED_LABELS = ("alertname", "alertstate", "severity")


def _parse_labels(value: object) -> object:
    for name in value if isinstance(value, Mapping) else ():
        if not is_label_name(str(name)) or str(name).startswith("__"):
            raise ValueError(f"{str(name)!r} is no label name — use letters, digits and _")
        if name in RESERVED_LABELS:
            raise ValueError(
                f"the label {name} is ours: the rule's name, state and level stand there — use another name"
            )
    return value


StaticLabels = Annotated[dict[str, str], BeforeValidator(_parse_labels)]


class ThresholdOverride(_Limits):
    """What of a threshold is otherwise for one target."""

    for_: Annotated[Patience | None, BeforeValidator(parse_patience)] = Field(default=None, alias="for")
    """How long it must be bad."""
    clear: RawLimit | FrozenList[RawLimit] | None = None
    """Recovery threshold."""
    clear_for: Duration | None = None
    """How long it must be on the good side of `clear`."""
    ceiling: RawLimit | FrozenList[RawLimit] | None = None
    """Absolute limit beside a relative one."""
    plan: str | None = None
    """Plan that is started when the threshold trips (crit only)."""


class TargetLimits(ConfigModel):
    """What of a rule is otherwise for one target."""

    warn: ThresholdOverride | None = None
    """Beside what the rule's `warn` says."""
    crit: ThresholdOverride | None = None
    """Beside what the rule's `crit` says."""


ALL_TARGETS = "all"


def _parse_targets(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Rule(ConfigModel):
    """Thresholds on one KPI, for one target or several."""

    name: str
    """Unique over all files; states are carried over a reload by it."""
    kpi: str | None = None
    """KPI that is judged and shown; may be left away when every threshold says `expr`."""
    targets: Annotated[
        FrozenList[str],
        BeforeValidator(_parse_targets),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
    ] = Field(alias="target", min_length=1)
    """The target that it speaks for, a list of them, or `all`; may stand in the file's `defaults`. Each has a state, an
    incident, a latch and a plan of its own."""
    limits: dict[str, TargetLimits] = Field(default_factory=dict)
    """Where a target needs another number: `{beta: {crit: {at_least: 15%}}}`."""
    warn: Threshold | None = None
    """What people are told of."""
    crit: Threshold | None = None
    """What people are told of, and what may start a plan."""
    if_missing: Missing = Missing()
    """What to do when there is nothing to judge by."""
    only: Only | None = None
    """When the rule is awake; always when not said."""
    each: FrozenList[str] | None = None
    """Labels that tell one state from another, when the KPI returns several series."""
    forget: Duration = 86_400_000
    """A label set without a value for so long, while others have one, leaves with a message."""
    labels: StaticLabels = Field(default_factory=dict)
    """Told with the rule, and exported with its alerts."""
    summary: str | None = None
    """One line for people; `{{ value }}`, `{{ limit }}`, `{{ baseline }}`, `{{ labels.x }}` … are filled in."""
    runbook: str | None = None
    """Where it stands what a person does then."""
    notify: FrozenList[str] | None = None
    """Channels that are told; every channel when not said."""

    @model_validator(mode="after")
    def _something_to_judge(self) -> Rule:
        thresholds = [threshold for threshold in (self.warn, self.crit) if threshold is not None]
        if not thresholds:
            raise ValueError("a rule needs warn, crit or both")
        if self.kpi is None and any(threshold.expr is None for threshold in thresholds):
            raise ValueError("a rule needs a kpi, or an expr in each of its thresholds")
        if self.warn is not None and self.warn.plan is not None:
            raise ValueError("a plan is started by crit only: move plan to crit")
        return self

    def for_target(self, name: str) -> Rule:
        """The same, for one of its targets."""
        return self.model_copy(update={"targets": (name,), "limits": {}})

    @property
    def target(self) -> str:
        """Of a rule of a `Config`'s `rules_by_target`, which speaks for one."""
        (target,) = self.targets
        return target

    def threshold(self, level: ThresholdLevel) -> Threshold | None:
        return self.warn if level == "warn" else self.crit

    @property
    def value_name(self) -> str:
        """What the judged number is called: the KPI, or the rule itself when it has none."""
        return self.kpi or self.name


def query_name(rule: Rule, level: ThresholdLevel, *, scoped: bool = False) -> str:
    """Under which name in `Config.queries` the level's values stand. `scoped`: each target has a query of its own."""
    return scoped_query(_query_name(rule, level), rule.target, scoped=scoped)


def scoped_query(name: str, target: str, *, scoped: bool) -> str:
    return f"{name}@{target}" if scoped else name


def _query_name(rule: Rule, level: ThresholdLevel) -> str:
    threshold = rule.threshold(level)
    if threshold is None and rule.kpi is None:
        threshold = rule.warn or rule.crit
    if threshold is None or threshold.expr is None:
        assert rule.kpi is not None
        return rule.kpi
    return f"{rule.value_name}: {threshold.expr}"


def condition_kpi(expr: str, base: Kpi | None) -> Kpi:
    """An `expr:` as a KPI without a name of its own: its evidence and memory are those of the KPI that its rule shows."""
    return (
        Kpi(expr=expr)
        if base is None
        else Kpi(expr=expr, needs=base.needs, since=base.since, born=base.born, unit=base.unit)
    )
