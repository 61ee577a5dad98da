"""What a KPI and a rule are, and what one evaluation says: `judge`. Pure: data and time are arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from watchdog.model import Duration, Labels, Millis, Part, Seq, Verdict
from watchdog.units import Unit, parse_duration, parse_limit, parse_quantity, show, show_duration

Level = Literal["warn", "crit"]
Written = str | int | float
"""A limit or a quantity as it stands in the file; its unit is checked against the KPI."""


class Kpi(Part):
    """A named PromQL expression with what is needed to judge it."""

    expr: str
    """PromQL over the series of the sources."""
    needs: str | None = None
    """PromQL that must be true for the KPI to be believed; less evidence is no data. Without it every window that the
    expression reads must be covered whole."""
    unit: Unit = "count"
    """What the number means; limits and baselines are checked against it."""
    baseline: Written | None = None
    """What the KPI is when all is well."""
    since: Literal["resume"] | None = None
    """`resume`: samples from before the target's last `resume` are forgotten."""
    help: str | None = None
    """One line for people."""

    def normal(self) -> float | None:
        """The baseline as a raw number. Raises ValueError when its unit does not fit."""
        return None if self.baseline is None else parse_quantity(self.baseline, self.unit)


class Patience(NamedTuple):
    """How long, or how often, a threshold must be crossed: a duration, or `n` of the last `m` evaluations."""

    hold: Millis = 0
    n: int = 0
    m: int = 0

    def say(self) -> str:
        return f"{self.n} of {self.m} evaluations" if self.m else show_duration(self.hold)


def parse_patience(value: object) -> object:
    """``5m`` or ``3 of 5``. Raises ValueError with the cure."""
    if isinstance(value, Patience):
        return value
    if isinstance(value, list | tuple) and len(value) == 3:
        return Patience(*value)  # read back from the journal
    counts = re.fullmatch(r"\s*(\d+)\s+of\s+(\d+)\s*", str(value))
    if counts is None:
        return Patience(hold=parse_duration(value))
    n, m = int(counts[1]), int(counts[2])
    if not 1 <= n <= m <= 1_000:
        raise ValueError(f"{value!r}: say N of M with 1 ≤ N ≤ M ≤ 1000")
    return Patience(n=n, m=m)


OPERATORS = ("above", "below", "at_least", "at_most")


class Threshold(Part):
    """When a KPI is bad, how patiently, and when it is well again."""

    above: Written | None = None
    """Bad when the value is greater."""
    below: Written | None = None
    """Bad when the value is smaller."""
    at_least: Written | None = None
    """Bad when the value is this or greater."""
    at_most: Written | None = None
    """Bad when the value is this or smaller."""
    for_: Annotated[Patience, BeforeValidator(parse_patience)] = Field(default=Patience(), alias="for")
    """How long it must be bad: a duration, or `3 of 5` evaluations. A crit that starts a repair must say it."""
    clear: Written | None = None
    """Recovery threshold; the limit itself when not said."""
    clear_for: Duration = 0
    """How long it must be on the good side of `clear`."""
    ceiling: Written | None = None
    """Absolute limit beside a relative one: whichever is stricter counts."""
    plan: str | None = None
    """Plan that is started when the threshold trips (crit only)."""

    @model_validator(mode="after")
    def _one_operator(self) -> Threshold:
        said = [name for name in OPERATORS if getattr(self, name) is not None]
        if len(said) != 1:
            found = " and ".join(said) or "none"
            raise ValueError(f"a threshold needs exactly one of {', '.join(OPERATORS)}; found {found}")
        return self

    @property
    def operator(self) -> str:
        return next(name for name in OPERATORS if getattr(self, name) is not None)


class Missing(Part):
    """What to do when there is nothing to judge by."""

    after: Duration = 120_000
    """How long data must be missing."""
    then: Literal["hold", "ok", "warn", "crit"] = "hold"
    """`hold`: keep the state; `ok`: a rule that is not firing counts as ok; `warn`, `crit`: missing data trips it."""


class Only(Part):
    """When the rule is awake."""

    when: str
    """PromQL; while it is not true the rule sleeps: its state is held and its timers stand still."""


class Rule(Part):
    """Thresholds on one KPI of one target."""

    name: str
    kpi: str
    target: str
    warn: Threshold | None = None
    crit: Threshold | None = None
    if_missing: Missing = Missing()
    only: Only | None = None
    each: Seq[str] | None = None
    """Labels that tell one state from another, when the KPI returns several series."""
    summary: str | None = None
    """One line for people; `{{ value }}`, `{{ limit }}`, `{{ baseline }}`, `{{ labels }}` are filled in."""
    runbook: str | None = None
    """Where it stands what a person does then."""
    notify: Seq[str] | None = None
    """Channels that are told; every channel when not said."""

    @model_validator(mode="after")
    def _something_to_judge(self) -> Rule:
        if self.warn is None and self.crit is None:
            raise ValueError("a rule needs warn, crit or both")
        if self.warn is not None and self.warn.plan is not None:
            raise ValueError("a plan is started by crit only: move plan to crit")
        return self


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold with its limits in numbers: what `judge` compares and the state machine is patient about."""

    rule: str
    level: Level
    target: str
    kpi: str
    unit: Unit
    operator: str | None
    """None: the rule says nothing for this level, but missing data trips it."""
    limit: float
    clear: float
    baseline: float | None
    patience: Patience
    clear_for: Millis
    missing: Missing
    demands_cover: bool
    each: tuple[str, ...] | None
    plan: str | None

    def beyond(self, value: float, limit: float) -> bool:
        match self.operator:
            case "above":
                return value > limit
            case "below":
                return value < limit
            case "at_least":
                return value >= limit
            case "at_most":
                return value <= limit
        return False


def check(rule: Rule, level: Level, kpi: Kpi) -> Check | None:
    """The check of one level, or None when the rule has nothing to say there.

    Raises ThresholdError, which names the key, when a limit does not fit the KPI.
    """
    threshold = rule.warn if level == "warn" else rule.crit
    if threshold is None and rule.if_missing.then != level:
        return None
    try:
        baseline = kpi.normal()
    except ValueError:
        baseline = None  # reported at the KPI itself, once
    limit = clear = 0.0
    if threshold is not None:
        up = threshold.operator in ("above", "at_least")

        def number(key: str) -> float:
            try:
                return parse_limit(getattr(threshold, key), kpi.unit, baseline).value(baseline)
            except ValueError as error:
                raise ThresholdError(level, key, str(error)) from None

        limit = number(threshold.operator)
        if threshold.ceiling is not None:
            limit = min(limit, number("ceiling")) if up else max(limit, number("ceiling"))
        clear = limit if threshold.clear is None else number("clear")
        if clear > limit if up else clear < limit:
            raise ThresholdError(level, "clear", f"clear is on the bad side of {threshold.operator}: it must be "
                                 f"{'at most' if up else 'at least'} {show(limit, kpi.unit)}")  # fmt: skip
    return Check(
        rule=rule.name, level=level, target=rule.target, kpi=rule.kpi, unit=kpi.unit,
        operator=threshold.operator if threshold else None, limit=limit, clear=clear, baseline=baseline,
        patience=threshold.for_ if threshold else Patience(), clear_for=threshold.clear_for if threshold else 0,
        missing=rule.if_missing, demands_cover=kpi.needs is None and kpi.since is None,
        each=rule.each, plan=threshold.plan if threshold else None,
    )  # fmt: skip


class ThresholdError(ValueError):
    """A limit that does not fit, with the level and key it stands under."""

    def __init__(self, level: Level, key: str, what: str) -> None:
        super().__init__(what)
        self.level = level
        self.key = key


@dataclass(frozen=True, slots=True)
class Reading:
    """What the evaluator said about one KPI at one time."""

    values: Mapping[Labels, float]
    newest: Millis = 0
    """Oldest of the newest sample times read; 0 = none."""
    have: Millis = 0
    need: Millis = 0
    """How much of the longest window is covered by samples, and how long it is."""
    evidence: Mapping[Labels, float] | None = None
    """What `needs` returned: a label set without a partner here lacks evidence. None: the KPI has no `needs`."""
    max_age: Millis = 0
    error: str | None = None


def judge(check: Check, reading: Reading, now: Millis, known: Collection[Labels] = ()) -> list[Verdict]:
    """One verdict per label set; for a `known` label set that is gone, `nodata`. At least one verdict, always."""

    def missing(outcome: Literal["nodata", "error"], reason: str, which: Collection[Labels]) -> list[Verdict]:
        return [Verdict(check.rule, check.level, labels, outcome, reason) for labels in which or [()]]

    if reading.error is not None:
        return missing("error", reading.error, known)
    if not reading.newest:
        return missing("nodata", f"{check.kpi} has no samples", known)
    if (age := now - reading.newest) > reading.max_age:
        return missing("nodata", f"newest sample of {check.kpi} is {show_duration(age)} old, "
                       f"at most {show_duration(reading.max_age)} is believed", known)  # fmt: skip
    if check.demands_cover and reading.have < reading.need:
        covered = f"{check.kpi} has {show_duration(reading.have)} of {show_duration(reading.need)}"
        return missing("nodata", covered, known)
    verdicts: dict[Labels, Verdict] = {}
    for labels, value in reading.values.items():
        key = labels if check.each is None else tuple(pair for pair in labels if pair[0] in check.each)
        verdict = _judge_one(check, reading, key, labels, value)
        if key not in verdicts or _weight(verdict) > _weight(verdicts[key]):
            verdicts[key] = verdict  # several series under one `each` state: the worst of them speaks
    if verdicts and () in known and () not in verdicts:
        # Where nothing had a label set yet, the missing data itself was judged; now there are series to judge.
        verdicts[()] = Verdict(check.rule, check.level, (), "ok", f"{check.kpi} has data", cleared=True,
                               evidence=reading.newest)  # fmt: skip
    gone = [labels for labels in known if labels not in verdicts]
    if gone or not verdicts:
        return [*verdicts.values(), *missing("nodata", f"{check.kpi} has no value", gone)]
    return list(verdicts.values())


_RANK = {"ok": 0, "nodata": 1, "error": 2, "bad": 3}


def _weight(verdict: Verdict) -> tuple[int, bool]:
    return _RANK[verdict.outcome], not verdict.cleared


def _judge_one(check: Check, reading: Reading, key: Labels, labels: Labels, value: float) -> Verdict:
    if reading.evidence is not None and not _has_evidence(labels, reading.evidence):
        return Verdict(check.rule, check.level, key, "nodata", f"{check.kpi} lacks the evidence it needs", value)
    if not math.isfinite(value):
        return Verdict(check.rule, check.level, key, "nodata", f"{check.kpi} is {value}")
    if check.operator is None:
        return Verdict(check.rule, check.level, key, "ok", f"{check.kpi} is {show(value, check.unit)}",
                       value, None, True, reading.newest)  # fmt: skip
    bad = check.beyond(value, check.limit)
    baseline = "" if check.baseline is None else f" (baseline {show(check.baseline, check.unit)})"
    words = check.operator.replace("_", " ")
    reason = f"{check.kpi} {show(value, check.unit)} is {'' if bad else 'not '}{words} {show(check.limit, check.unit)}{baseline}"
    return Verdict(check.rule, check.level, key, "bad" if bad else "ok", reason, value, check.limit,
                   not bad and not check.beyond(value, check.clear), reading.newest)  # fmt: skip


def _has_evidence(labels: Labels, evidence: Mapping[Labels, float]) -> bool:
    """Whether some series of `needs` speaks for these labels: every label that both have is equal."""
    mine = dict(labels)
    return any(all(mine.get(name, text) == text for name, text in other) for other in evidence)


def fill(summary: str, check: Check, verdict: Verdict) -> str:
    """The rule's summary with its placeholders filled in. Unknown placeholders were refused at load."""
    texts = {
        "value": show(verdict.value, check.unit),
        "limit": show(check.limit, check.unit),
        "baseline": "none" if check.baseline is None else show(check.baseline, check.unit),
        "labels": ", ".join(f"{name}={text}" for name, text in verdict.labels) or "none",
    }
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: texts[found[1]], summary)


PLACEHOLDERS = ("value", "limit", "baseline", "labels")


def unknown_placeholders(summary: str) -> list[str]:
    """What stands in ``{{ }}`` and means nothing; also an unclosed ``{{``."""
    found = re.findall(r"\{\{(.*?)\}\}", summary)
    rest = re.sub(r"\{\{.*?\}\}", "", summary)
    wrong = [text.strip() for text in found if text.strip() not in PLACEHOLDERS]
    return wrong + (["an unclosed {{"] if "{{" in rest else [])
