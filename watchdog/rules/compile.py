"""One threshold with its limits in numbers: what `judge` compares and the state machine is patient about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from watchdog.core.model import Millis
from watchdog.core.units import format_value, is_relative, parse_limit
from watchdog.rules.models import (
    Kpi,
    Learn,
    Missing,
    Operator,
    Patience,
    RawLimit,
    Rule,
    Threshold,
    ThresholdLevel,
    Unit,
    query_name,
    scoped_query,
)


class BaselineState(NamedTuple):
    """What is known of a baseline that no file says: captured or learned."""

    value: float | None
    reason: str
    """Without a value: why there is none yet, such as ``learning 3 d of 7 d``."""


BASELINE_UNKNOWN = BaselineState(None, "its baseline is not known yet")


@dataclass(frozen=True, slots=True)
class Check:
    """One level of one rule, compiled."""

    rule: str
    level: ThresholdLevel
    target: str
    kpi: str
    """What the number is called: the KPI, or the rule itself when it has none."""
    unit: Unit
    operator: Operator | None
    """None: the rule says nothing for this level, but missing data trips it."""
    limit: float
    """Of `outside` the upper one. NaN while `limit_unknown`."""
    clear: float
    baseline: float | None
    patience: Patience
    clear_for: Millis
    missing: Missing
    requires_full_window: bool
    each: tuple[str, ...] | None
    plan: str | None
    query: str = ""
    """Name of what is evaluated, in `Config.queries`."""
    condition: str = ""
    """Of `expr`: its text, as it stands in the file."""
    display_query: str = ""
    """Beside an `expr` in a rule with a KPI: the name of that KPI's query, whose value is shown."""
    low_limit: float = -math.inf
    """The lower limit of `outside`, …"""
    clear_low: float = -math.inf
    """… and the lower one that it must be back above."""
    forget_after: Millis = 86_400_000
    limit_unknown: str | None = None
    """Why the relative limit is not known yet; the ceiling, when there is one, counts already."""

    def is_bad(self, value: Any) -> Any:
        """Whether a value is beyond the limit; for an array of values an array of answers."""
        return self._is_beyond(value, self.low_limit, self.limit)

    def is_uncleared(self, value: Any) -> Any:
        """Whether a value is on the bad side of the recovery threshold."""
        return self._is_beyond(value, self.clear_low, self.clear)

    def _is_beyond(self, value: Any, low: float, limit: float) -> Any:
        match self.operator:
            case "above":
                return value > limit
            case "below":
                return value < limit
            case "at_least":
                return value >= limit
            case "at_most":
                return value <= limit
            case "outside":
                return (value < low) | (value > limit)
            case "equals":
                return value == limit
            case "expr":
                return value == value  # what the condition returned is bad, whatever its number
        return value != value


class ThresholdError(ValueError):
    """A limit that does not fit, with the level and key it stands under."""

    def __init__(self, level: ThresholdLevel, key: str, what: str) -> None:
        super().__init__(what)
        self.level = level
        self.key = key


def compile_check(
    rule: Rule,
    level: ThresholdLevel,
    kpi: Kpi | None,
    baseline_state: BaselineState = BASELINE_UNKNOWN,
    *,
    scoped: bool = False,
) -> Check | None:
    """The check of one level, or None when the rule has nothing to say there.

    `rule`: of one target. `kpi`: the one that it shows, as that target has it. `baseline_state`: its baseline, when that is
    captured or learned. `scoped`: the query is the target's own.
    Raises ThresholdError, which names the key, when a limit does not fit the KPI.
    """
    threshold = rule.threshold(level)
    if threshold is None and rule.if_missing.then != level:
        return None
    kpi = kpi or Kpi(expr="")
    limits = _Limits() if threshold is None else _compile_limits(threshold, level, kpi, baseline_state)
    return Check(
        rule=rule.name,
        level=level,
        target=rule.target,
        kpi=rule.value_name,
        unit=kpi.unit,
        operator=threshold.operator if threshold else None,
        limit=limits.limit,
        clear=limits.clear,
        baseline=_baseline_value(kpi, baseline_state),
        patience=threshold.for_ if threshold else Patience(),
        clear_for=threshold.clear_for if threshold else 0,
        missing=rule.if_missing,
        requires_full_window=kpi.needs is None and kpi.since is None,
        each=rule.each,
        plan=threshold.plan if threshold else None,
        query=query_name(rule, level, scoped=scoped),
        condition=(threshold.expr or "") if threshold else "",
        display_query=scoped_query(rule.kpi, rule.target, scoped=scoped)
        if threshold and threshold.expr and rule.kpi
        else "",
        low_limit=limits.low_limit,
        clear_low=limits.clear_low,
        forget_after=rule.forget,
        limit_unknown=limits.limit_unknown,
    )


class _Limits(NamedTuple):
    limit: float = 0.0
    clear: float = 0.0
    low_limit: float = -math.inf
    clear_low: float = -math.inf
    limit_unknown: str | None = None


def _baseline_value(kpi: Kpi, baseline_state: BaselineState) -> float | None:
    try:
        return baseline_state.value if kpi.has_dynamic_baseline else kpi.pinned_baseline()
    except ValueError:
        return None  # reported at the KPI itself, once


def _compile_limits(threshold: Threshold, level: ThresholdLevel, kpi: Kpi, baseline_state: BaselineState) -> _Limits:
    if threshold.operator == "expr":
        return _Limits()
    baseline = _baseline_value(kpi, baseline_state)

    def number(key: str, written: RawLimit) -> float:
        """NaN when it leans on a baseline that is not known yet, or does not go with it."""
        try:
            limit = parse_limit(written, kpi.unit, baseline, dynamic_baseline=kpi.has_dynamic_baseline)
        except ValueError as error:
            raise ThresholdError(level, key, str(error)) from None
        return limit.value(baseline) if baseline is not None or not limit.factor else math.nan

    key: str = threshold.operator
    _check_ceiling(threshold, level, kpi)
    if threshold.outside is not None:
        low, high = (number(key, written) for written in threshold.outside)
        if low >= high:
            raise ThresholdError(
                level,
                key,
                f"outside is {format_value(low, kpi.unit)} to {format_value(high, kpi.unit)} — the smaller limit comes first",
            )
    else:
        low, high = -math.inf, number(key, getattr(threshold, key))
    limit_unknown = None
    if math.isnan(high) or math.isnan(low):
        limit_unknown = (
            baseline_state.reason if baseline is None else f"{_written_limit(threshold)} needs a baseline above zero"
        )
    up, pair = key in ("above", "at_least"), threshold.outside is not None
    floors, ceilings = _floor_and_ceiling(threshold.ceiling, pair, up)
    if ceilings is not None:
        high = _stricter(min, high, number("ceiling", ceilings))
    if floors is not None:
        at = number("ceiling", floors)
        low, high = (_stricter(max, low, at), high) if pair else (low, _stricter(max, high, at))
    if limit_unknown is not None and threshold.ceiling is None:
        return _Limits(math.nan, math.nan, math.nan, math.nan, limit_unknown)
    clear, clear_low = high, low
    inner, outer = _floor_and_ceiling(threshold.clear, pair, up)
    if outer is not None:
        clear = _check_recovery_threshold(level, kpi, threshold, number("clear", outer), high, is_upper=True)
    if inner is not None:
        at = number("clear", inner)
        if pair:
            clear_low = _check_recovery_threshold(level, kpi, threshold, at, low, is_upper=False)
        else:
            clear = _check_recovery_threshold(level, kpi, threshold, at, high, is_upper=False)
    return _Limits(high, clear, low, clear_low, limit_unknown)


def _floor_and_ceiling(written: Any, pair: bool, up: bool) -> tuple[RawLimit | None, RawLimit | None]:
    """(what bounds from below, what bounds from above)."""
    if pair:
        return (None, None) if written is None else written
    return (None, written) if up else (written, None)


def _stricter(choose: Any, relative: float, absolute: float) -> float:
    return absolute if math.isnan(relative) else float(choose(relative, absolute))


def _check_recovery_threshold(
    level: ThresholdLevel, kpi: Kpi, threshold: Threshold, clear: float, limit: float, *, is_upper: bool
) -> float:
    """The recovery threshold; one that a moving baseline has pushed to the far side of the limit is the limit."""
    if math.isnan(clear):
        return limit
    if clear > limit if is_upper else clear < limit:
        if kpi.has_dynamic_baseline:
            return limit
        raise ThresholdError(
            level,
            "clear",
            f"clear is on the bad side of {threshold.operator}: it must be "
            f"{'at most' if is_upper else 'at least'} {format_value(limit, kpi.unit)}",
        )
    return clear


def _check_ceiling(threshold: Threshold, level: ThresholdLevel, kpi: Kpi) -> None:
    """A ceiling is absolute; a learned baseline, which drifts with what it watches, needs one."""
    ceilings = threshold.ceiling if isinstance(threshold.ceiling, tuple) else (threshold.ceiling,)
    if any(is_relative(written) for written in ceilings):
        raise ThresholdError(level, "ceiling", "a ceiling is absolute — say one that leans on no baseline")
    written_limit = getattr(threshold, threshold.operator)
    relative = any(
        is_relative(written) for written in (written_limit if isinstance(written_limit, tuple) else (written_limit,))
    )
    if relative and isinstance(kpi.baseline, Learn) and threshold.ceiling is None:
        raise ThresholdError(
            level,
            threshold.operator,
            f"{_written_limit(threshold)!r} leans on a learned baseline, which may "
            "drift with what it watches — add a ceiling: beside it, an absolute limit",
        )


def _written_limit(threshold: Threshold) -> str:
    limit = getattr(threshold, threshold.operator)
    return ", ".join(map(str, limit)) if isinstance(limit, tuple) else str(limit)
