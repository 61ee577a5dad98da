"""What one evaluation says: `judge`. Pure: data and time are arguments."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.core.model import Labels, Millis, Outcome, Verdict
from watchdog.core.units import format_duration, format_durations_apart, format_value
from watchdog.rules.compile import Check
from watchdog.rules.summary import format_value_and_limit


class Reading(NamedTuple):
    """What the evaluator said about one KPI at one time."""

    values: Mapping[Labels, float]
    newest_sample: Millis = 0
    """Oldest of the newest sample times read; 0 = none."""
    covered: Millis = 0
    window: Millis = 0
    """How much of the longest window is covered by samples, and how long it is."""
    evidence: Mapping[Labels, float] | None = None
    """What `needs` returned: a label set without a partner here lacks evidence. None: the KPI has no `needs`."""
    max_age: Millis = 0
    error: str | None = None
    kpi_values: Mapping[Labels, float] | None = None
    """Beside an `expr`: the values of the KPI that its rule shows."""
    valid_until: Millis = 0
    """As long as no samples come, the same is read up to this time, exclusively."""
    cut: str | None = None
    """Why not all is there that should have been read; None: it is."""

    def stale_reason(self, name: str, now: Millis) -> str | None:
        """Why nobody can see at `now` what the KPI of that name is; None when one can."""
        if self.error is not None:
            return self.error
        if self.cut is not None:
            return self.cut
        if not self.newest_sample:
            return f"{name} has no samples"
        if (age := now - self.newest_sample) > self.max_age:
            return f"the newest sample of {name} is {format_duration(age)} old"
        return None


MAX_LABEL_SETS = 2_000
"""Label sets of a rule that are judged each for itself. What comes beyond is one, under no labels: `bad` as soon as any of it is,
since what is bad is never passed over, else `nodata`. So a bot that makes up labels fills no journal."""


def judge(check: Check, reading: Reading, now: Millis, known: Collection[Labels] = ()) -> list[Verdict]:
    """One verdict per label set; for a `known` label set that is gone, `nodata`. At least one verdict, always.

    An `expr` returns only what is bad: a `known` label set that it does not return is well. What stands for all label sets
    while there is none (no labels) is well and `gone` once there are some.
    """

    def missing(outcome: Literal["nodata", "error"], reason: str, which: Collection[Labels]) -> list[Verdict]:
        return [_verdict(check, labels, outcome, reason) for labels in which or [()]]

    if reading.error is not None:
        return missing("error", reading.error, known)
    if reading.cut is not None:  # what is missing may be what is bad, and what is there may be well without it
        return missing("nodata", reading.cut, known)
    is_expr = check.operator == "expr"
    if not reading.newest_sample and not (
        is_expr and reading.values
    ):  # absent() and its like speak where there is no sample
        return missing("nodata", f"{check.kpi} has no samples", known)
    if reading.newest_sample and (age := now - reading.newest_sample) > reading.max_age:
        old, believed = format_durations_apart(age, reading.max_age)
        return missing("nodata", f"newest sample of {check.kpi} is {old} old, at most {believed} is believed", known)
    if reading.newest_sample and check.requires_full_window and reading.covered < reading.window:
        covered, window = format_durations_apart(reading.covered, reading.window)
        return missing("nodata", f"{check.kpi} has {covered} of {window}", known)
    verdicts: dict[Labels, Verdict] = {}
    own = _label_sets_with_room(check, reading, known)
    for labels, value in reading.values.items():
        key = _state_labels(check, labels)
        if own is None or key in own:
            verdict = _judge_one(check, reading, key, labels, value)
        else:
            key, verdict = (), _judge_one(check, reading, (), labels, value)
            if verdict.outcome == "bad":
                verdict = verdict._replace(reason=f"{_TOO_MANY_LABEL_SETS.format(check.rule)}: {verdict.reason}")
            else:
                verdict = _verdict(check, (), "nodata", _TOO_MANY_LABEL_SETS.format(check.rule))
        if key not in verdicts or _severity(verdict) > _severity(verdicts[key]):
            verdicts[key] = verdict  # several series under one `each` state: the worst of them speaks
    if is_expr:
        rest = [labels for labels in known if labels not in verdicts]
        unlabelled_is_gone = len(verdicts) + len(rest) > 1
        for labels in rest if verdicts or rest else [()]:
            verdict = _expr_ok_verdict(check, reading, labels)
            is_gone = unlabelled_is_gone and labels == () and verdict.outcome == "ok"
            verdicts[labels] = verdict._replace(gone=is_gone)
        return [*verdicts.values()]
    if verdicts and () in known and () not in verdicts:
        # Where nothing had a label set yet, the missing data itself was judged; now there are series to judge.
        verdicts[()] = _verdict(
            check, (), "ok", f"{check.kpi} has data", cleared=True, evidence=reading.newest_sample, gone=True
        )
    gone = [labels for labels in known if labels not in verdicts]
    if not verdicts:
        return missing("nodata", f"{check.kpi} has no value", gone)
    gone_verdicts = [_verdict(check, labels, "nodata", f"{check.kpi} has no value", gone=True) for labels in gone]
    return [*verdicts.values(), *gone_verdicts]


def _verdict(
    check: Check,
    labels: Labels,
    outcome: Outcome,
    reason: str,
    value: float | None = None,
    limit: float | None = None,
    cleared: bool = False,
    evidence: Millis = 0,
    gone: bool = False,
    max_age: Millis = 0,
) -> Verdict:
    return Verdict(
        check.rule, check.level, labels, outcome, reason, value, limit, cleared, evidence, gone, check.target, max_age
    )


_TOO_MANY_LABEL_SETS = f"{{}} has more than {MAX_LABEL_SETS} label sets: the others have no state of their own"


def _state_labels(check: Check, labels: Labels) -> Labels:
    return labels if check.each is None else tuple(pair for pair in labels if pair[0] in check.each)


def _label_sets_with_room(check: Check, reading: Reading, known: Collection[Labels]) -> set[Labels] | None:
    """The label sets that are judged each for itself: the known ones, then the first new ones; None: all are."""
    if len(reading.values) + len(known) <= MAX_LABEL_SETS:
        return None
    own = set(known)
    for labels in reading.values:
        if len(own) >= MAX_LABEL_SETS:
            break
        own.add(_state_labels(check, labels))
    return own


def clearly_ok(check: Check, reading: Reading, now: Millis, low: float, high: float) -> bool:
    """Whether `judge` would find nothing but ok, told from the least and the greatest value; both are NaN when one of the
    values is NaN or there is none. False: ask `judge`."""
    if (
        reading.error is not None
        or reading.cut is not None
        or not reading.newest_sample
        or now - reading.newest_sample > reading.max_age
    ):
        return False
    if check.requires_full_window and reading.covered < reading.window:
        return False
    if reading.evidence is not None and not all(_has_evidence(labels, reading.evidence) for labels in reading.values):
        return False
    operator = check.operator
    if operator == "expr":
        return not reading.values and reading.evidence is None
    if operator == "above" or operator == "at_least":
        return -math.inf < low and high < check.limit
    if operator == "below" or operator == "at_most":
        return check.limit < low and high < math.inf
    if operator == "outside":
        return check.low_limit < low and high < check.limit and -math.inf < low and high < math.inf
    return operator is None and -math.inf < low and high < math.inf


_RANK = {"ok": 0, "nodata": 1, "error": 2, "bad": 3}


def _severity(verdict: Verdict) -> tuple[int, bool]:
    return _RANK[verdict.outcome], not verdict.cleared


def _judge_one(check: Check, reading: Reading, key: Labels, labels: Labels, value: float) -> Verdict:
    if reading.evidence is not None and not _has_evidence(labels, reading.evidence):
        return _verdict(check, key, "nodata", f"{check.kpi} lacks the evidence it needs", value)
    if not math.isfinite(value):
        return _verdict(check, key, "nodata", f"{check.kpi} is {format_value(value, check.unit)}")
    if check.operator is None:
        return _verdict(
            check,
            key,
            "ok",
            f"{check.kpi} is {format_value(value, check.unit)}",
            value,
            None,
            True,
            reading.newest_sample,
            max_age=reading.max_age,
        )
    if check.operator == "expr":
        shown_value = value if reading.kpi_values is None else _value_for(labels, reading.kpi_values)
        reason = f"{check.kpi} {format_value(shown_value, check.unit)}: {_condition_text(check)}"
        seen = reading.newest_sample
        return _verdict(check, key, "bad", reason, shown_value, None, False, seen, max_age=reading.max_age)
    if check.limit_unknown is not None and math.isnan(check.limit):
        return _verdict(check, key, "nodata", f"{check.kpi}: {check.limit_unknown}", value)
    bad = check.is_bad(value)
    limit = (
        check.low_limit if check.operator == "outside" and value < (check.low_limit + check.limit) / 2 else check.limit
    )
    return _verdict(
        check,
        key,
        "bad" if bad else "ok",
        _reason(check, value, bad),
        value,
        limit,
        not bad and not check.is_uncleared(value),
        reading.newest_sample,
        max_age=reading.max_age,
    )


_OPERATOR_PHRASES = {"equals": "equal to", "at_least": "at least", "at_most": "at most"}


def _reason(check: Check, value: float, bad: bool) -> str:
    phrase = _OPERATOR_PHRASES.get(check.operator or "", check.operator)
    beside = "" if check.baseline is None else f" (baseline {format_value(check.baseline, check.unit)})"
    beside = beside if check.limit_unknown is None else f" (its ceiling; {check.limit_unknown})"
    shown, limit = format_value_and_limit(check, value)
    return f"{check.kpi} {shown} is {'' if bad else 'not '}{phrase} {limit}{beside}"


def _expr_ok_verdict(check: Check, reading: Reading, labels: Labels) -> Verdict:
    """What an `expr` that says nothing of a label set says about it."""
    if reading.evidence is not None and not _has_evidence(labels, reading.evidence):
        return _verdict(check, labels, "nodata", f"{check.kpi} lacks the evidence it needs")
    if not reading.newest_sample:
        return _verdict(check, labels, "nodata", f"{check.kpi} has no samples")
    shown_value = None if reading.kpi_values is None else _value_for(labels, reading.kpi_values)
    value_text = "" if shown_value is None else f" {format_value(shown_value, check.unit)}"
    return _verdict(
        check,
        labels,
        "ok",
        f"{check.kpi}{value_text}: not {_condition_text(check)}",
        shown_value,
        None,
        True,
        reading.newest_sample,
        max_age=reading.max_age,
    )


def _value_for(labels: Labels, values: Mapping[Labels, float]) -> float | None:
    """The value beside a label set: its own, or the only one there is."""
    return values.get(labels, next(iter(values.values())) if len(values) == 1 else None)


def _condition_text(check: Check) -> str:
    text = " ".join(check.condition.split())
    return text if len(text) <= 120 else f"{text[:119]}…"


def _has_evidence(labels: Labels, evidence: Mapping[Labels, float]) -> bool:
    """Whether some series of `needs` speaks for these labels: every label that both have is equal."""
    mine = dict(labels)
    return any(all(mine.get(name, text) == text for name, text in other) for other in evidence)


KIND_ABSENT, KIND_NOT_FINITE, KIND_BAD, KIND_UNCLEARED, KIND_OK = range(5)
"""The kinds of verdicts: the series is not there, its value is none, is bad, has not recovered, is well."""


def verdict_kinds(
    check: Check, values: npt.NDArray[np.float64], present: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int8]:
    """Of which kind the verdicts on many values are, [keys, times].

    While the kind stays the same and data stays fresh, nothing but timers moves.
    """
    with np.errstate(invalid="ignore"):
        bad: Any = check.is_bad(values)
        uncleared: Any = check.is_uncleared(values)
    found: npt.NDArray[np.int8] = KIND_OK - np.maximum(
        np.asarray(uncleared, np.int8), (KIND_OK - KIND_BAD) * np.asarray(bad, np.int8)
    )
    found[~np.isfinite(values)] = KIND_NOT_FINITE
    found[~present] = KIND_ABSENT
    return found


def same_kind(check: Check, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether all finite values from `low` to `high` are of one kind: that of `low`."""
    everywhere = np.ones(low.shape, np.bool_)
    same: npt.NDArray[np.bool_] = verdict_kinds(check, low, everywhere) == verdict_kinds(check, high, everywhere)
    if check.operator == "equals":
        for limit in (check.limit, check.clear):
            same &= (low == high) | (high < limit) | (low > limit)
    elif check.operator == "outside":  # from below the one limit to above the other
        same &= ~check.is_uncleared(low) | (high < check.clear_low) | (low > check.clear)
        same &= ~check.is_bad(low) | (high < check.low_limit) | (low > check.limit)
    return same
