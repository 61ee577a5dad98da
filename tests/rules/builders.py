"""A rule of one threshold, and a reading for it to judge."""

from __future__ import annotations

from typing import Any

from watchdog.core.model import Labels
from watchdog.rules import BaselineState, Check, Kpi, Reading, Rule, ThresholdLevel, compile_check

NOW = 1_700_000_000_000
BTC: Labels = (("pair", "BTC"),)
ETH: Labels = (("pair", "ETH"),)


def make_check(
    crit: dict[str, Any] | None,
    kpi: Kpi | None = None,
    normal: BaselineState | None = None,
    level: ThresholdLevel = "crit",
    **keys: Any,
) -> Check:
    named: dict[str, Any] = {} if kpi is None and "expr" in (crit or {}) else {"kpi": "k"}
    rule = Rule.model_validate({"name": "r", "target": "bot", "crit": crit, **named, **keys})
    shown = kpi or (Kpi(expr="x") if named else None)
    found = compile_check(rule, level, shown) if normal is None else compile_check(rule, level, shown, normal)
    assert found is not None
    return found


def make_reading(values: dict[Labels, float] | float, *, age: int = 0, **keys: Any) -> Reading:
    given = {(): float(values)} if isinstance(values, int | float) else values
    return Reading(**{"values": given, "newest_sample": NOW - age, "covered": 0, "window": 0, "max_age": 3_000, **keys})
