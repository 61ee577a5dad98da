"""One threshold with its limits in numbers: what `judge` compares and the state machine is patient about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from watchdog.model import Millis
from watchdog.rules.models import Kpi, Learn, Level, Missing, Operator, Patience, Rule, Threshold, Unit, Written, reads
from watchdog.units import is_relative, parse_limit, show


class Normal(NamedTuple):
    """What is known of a baseline that no file says: captured or learned."""

    value: float | None
    why: str
    """Without a value: why there is none yet, such as ``learning 3 d of 7 d``."""


NOT_YET = Normal(None, "its baseline is not known yet")


@dataclass(frozen=True, slots=True)
class Check:
    """One level of one rule, compiled."""

    rule: str
    level: Level
    target: str
    kpi: str
    """What the number is called: the KPI, or the rule itself when it has none."""
    unit: Unit
    operator: Operator | None
    """None: the rule says nothing for this level, but missing data trips it."""
    limit: float
    """Of `outside` the upper one. NaN while `waits`."""
    clear: float
    baseline: float | None
    patience: Patience
    clear_for: Millis
    missing: Missing
    demands_cover: bool
    each: tuple[str, ...] | None
    plan: str | None
    reads: str = ""
    """Name of what is evaluated, in `questions`; the KPI's own but for `expr`."""
    low: float = -math.inf
    """The lower limit of `outside`, …"""
    clear_low: float = -math.inf
    """… and the lower one that it must be back above."""
    forget: Millis = 86_400_000
    waits: str | None = None
    """Why the relative limit is not known yet; the ceiling, when there is one, counts already."""

    def bad(self, value: Any) -> Any:
        """Whether a value is beyond the limit; for an array of values an array of answers."""
        return self._beyond(value, self.low, self.limit)

    def uncleared(self, value: Any) -> Any:
        """Whether a value is on the bad side of the recovery threshold."""
        return self._beyond(value, self.clear_low, self.clear)

    def _beyond(self, value: Any, low: float, limit: float) -> Any:
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

    def __init__(self, level: Level, key: str, what: str) -> None:
        super().__init__(what)
        self.level = level
        self.key = key


def check(rule: Rule, level: Level, kpi: Kpi | None, normal: Normal = NOT_YET) -> Check | None:
    """The check of one level, or None when the rule has nothing to say there.

    `kpi`: the one that the rule shows. `normal`: its baseline, when that is captured or learned.
    Raises ThresholdError, which names the key, when a limit does not fit the KPI.
    """
    threshold = rule.threshold(level)
    if threshold is None and rule.if_missing.then != level:
        return None
    kpi = kpi or Kpi(expr="")
    limits = _Limits() if threshold is None else _limits(threshold, level, kpi, normal)
    return Check(
        rule=rule.name,
        level=level,
        target=rule.target,
        kpi=rule.shown,
        unit=kpi.unit,
        operator=threshold.operator if threshold else None,
        limit=limits.limit,
        clear=limits.clear,
        baseline=_baseline(kpi, normal),
        patience=threshold.for_ if threshold else Patience(),
        clear_for=threshold.clear_for if threshold else 0,
        missing=rule.if_missing,
        demands_cover=kpi.needs is None and kpi.since is None,
        each=rule.each,
        plan=threshold.plan if threshold else None,
        reads=reads(rule, level),
        low=limits.low,
        clear_low=limits.clear_low,
        forget=rule.forget,
        waits=limits.waits,
    )


class _Limits(NamedTuple):
    limit: float = 0.0
    clear: float = 0.0
    low: float = -math.inf
    clear_low: float = -math.inf
    waits: str | None = None


def _baseline(kpi: Kpi, normal: Normal) -> float | None:
    try:
        return normal.value if kpi.moving else kpi.normal()
    except ValueError:
        return None  # reported at the KPI itself, once


def _limits(threshold: Threshold, level: Level, kpi: Kpi, normal: Normal) -> _Limits:
    if threshold.operator == "expr":
        return _Limits()
    baseline = _baseline(kpi, normal)

    def number(key: str, written: Written) -> float:
        """NaN when it leans on a baseline that is not known yet, or does not go with it."""
        try:
            limit = parse_limit(written, kpi.unit, baseline, moving=kpi.moving)
        except ValueError as error:
            raise ThresholdError(level, key, str(error)) from None
        return limit.value(baseline) if baseline is not None or not limit.factor else math.nan

    key: str = threshold.operator
    _settle(threshold, level, kpi)
    if threshold.outside is not None:
        low, high = (number(key, written) for written in threshold.outside)
        if low >= high:
            raise ThresholdError(
                level,
                key,
                f"outside is {show(low, kpi.unit)} to {show(high, kpi.unit)} — the smaller limit comes first",
            )
    else:
        low, high = -math.inf, number(key, getattr(threshold, key))
    waits = None
    if math.isnan(high) or math.isnan(low):
        waits = normal.why if baseline is None else f"{_words(threshold)} needs a baseline above zero"
    up, pair = key in ("above", "at_least"), threshold.outside is not None
    floors, ceilings = _pair(threshold.ceiling, pair, up)
    if ceilings is not None:
        high = _stricter(min, high, number("ceiling", ceilings))
    if floors is not None:
        at = number("ceiling", floors)
        low, high = (_stricter(max, low, at), high) if pair else (low, _stricter(max, high, at))
    if waits is not None and threshold.ceiling is None:
        return _Limits(math.nan, math.nan, math.nan, math.nan, waits)
    clear, clear_low = high, low
    inner, outer = _pair(threshold.clear, pair, up)
    if outer is not None:
        clear = _inside(level, kpi, threshold, number("clear", outer), high, most=True)
    if inner is not None:
        at = number("clear", inner)
        if pair:
            clear_low = _inside(level, kpi, threshold, at, low, most=False)
        else:
            clear = _inside(level, kpi, threshold, at, high, most=False)
    return _Limits(high, clear, low, clear_low, waits)


def _pair(written: Any, pair: bool, up: bool) -> tuple[Written | None, Written | None]:
    """(what bounds from below, what bounds from above)."""
    if pair:
        return (None, None) if written is None else written
    return (None, written) if up else (written, None)


def _stricter(choose: Any, relative: float, absolute: float) -> float:
    return absolute if math.isnan(relative) else float(choose(relative, absolute))


def _inside(level: Level, kpi: Kpi, threshold: Threshold, clear: float, limit: float, *, most: bool) -> float:
    """The recovery threshold; one that a moving baseline has pushed to the far side of the limit is the limit."""
    if math.isnan(clear):
        return limit
    if clear > limit if most else clear < limit:
        if kpi.moving:
            return limit
        raise ThresholdError(
            level,
            "clear",
            f"clear is on the bad side of {threshold.operator}: it must be "
            f"{'at most' if most else 'at least'} {show(limit, kpi.unit)}",
        )
    return clear


def _settle(threshold: Threshold, level: Level, kpi: Kpi) -> None:
    """A ceiling is absolute; a learned baseline, which drifts with what it watches, needs one."""
    ceilings = threshold.ceiling if isinstance(threshold.ceiling, tuple) else (threshold.ceiling,)
    if any(is_relative(written) for written in ceilings):
        raise ThresholdError(level, "ceiling", "a ceiling is absolute — say one that leans on no baseline")
    said = getattr(threshold, threshold.operator)
    relative = any(is_relative(written) for written in (said if isinstance(said, tuple) else (said,)))
    if relative and isinstance(kpi.baseline, Learn) and threshold.ceiling is None:
        raise ThresholdError(
            level,
            threshold.operator,
            f"{_words(threshold)!r} leans on a learned baseline, which may "
            "drift with what it watches — add a ceiling: beside it, an absolute limit",
        )


def _words(threshold: Threshold) -> str:
    said = getattr(threshold, threshold.operator)
    return ", ".join(map(str, said)) if isinstance(said, tuple) else str(said)
