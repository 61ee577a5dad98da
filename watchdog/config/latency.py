"""How long it takes at worst from a value beyond its limit to what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from watchdog.config.lint import may_read, selectors
from watchdog.config.models import Config
from watchdog.core.model import Millis
from watchdog.core.protocols import Source
from watchdog.core.units import format_duration
from watchdog.promql import Expr, PromqlError, parse
from watchdog.rules import Check
from watchdog.sources.max_age import max_age_of

ROUND_INTERVAL: Millis = 1_000
"""From one round to the next; new samples are judged as they come."""


class Delay(NamedTuple):
    """The worst case of one threshold, ms. A read takes its own time on top, at most its `timeout`."""

    rule: str
    level: str
    plan: str | None
    read: Millis | None
    """A value goes bad right after a read: so long until the next. None: no source is known."""
    patience: Millis
    """`for`, and the tick that notices that it is over; or the N - 1 further reads of N of M."""
    missing: Millis | None
    """From the last sample, when missing data trips this level: until it is no longer believed, `after`, and two ticks."""

    judged: bool = True
    """False: no value trips this level, only missing data does."""
    target: str = ""

    @property
    def worst(self) -> Millis | None:
        """From a value that is beyond the limit."""
        return None if self.read is None or not self.judged else self.read + self.patience

    def describe(self) -> str:
        """``within 5 m 2 s (next read 1 s + patience 5 m 1 s)``."""
        if self.read is None:
            return "how soon is not known without sources"
        if not self.judged:
            return f"without data within {format_duration(self.missing or 0)}"
        hold = f" + patience {format_duration(self.patience)}" if self.patience else ""
        text = f"within {format_duration(self.read + self.patience)} (next read {format_duration(self.read)}{hold})"
        return text if self.missing is None else f"{text}, without data within {format_duration(self.missing)}"


def worst_delays(config: Config, delivered: Mapping[str, Collection[str]] | None = None) -> list[Delay]:
    """One per check, in its order. `delivered`: source → metrics, when the sources were asked; else the slowest counts
    wherever an expression does not name its source."""
    kpis = config.queries()
    reads: dict[str, list[Source]] = {}
    for name, kpi in kpis.items():
        try:
            exprs = [parse(text) for text in (kpi.expr, kpi.needs) if text is not None]
            reads[name] = _find_sources(exprs, config.sources, delivered, config.target_by_source)
        except PromqlError:
            reads[name] = []
    return [_delay(check, reads.get(check.query, [])) for check in config.checks]


def _find_sources(
    exprs: list[Expr],
    sources: Mapping[str, Source],
    delivered: Mapping[str, Collection[str]] | None,
    target_by_source: Mapping[str, str] | None,
) -> list[Source]:
    """Those that are read; all of them where it cannot be told."""
    found: set[str] = set()
    for selector in (each for expr in exprs for each in selectors(expr)):
        readable = {name for name in sources if may_read(selector, name, target_by_source)}
        if delivered is not None and selector.name is not None:
            readable = {name for name in readable if selector.name in delivered.get(name, ())}
        found |= readable
    return [source for name, source in sources.items() if name in found or not found]


def _delay(check: Check, sources: Collection[Source]) -> Delay:
    read = max((source.every for source in sources), default=None)
    patience = check.patience
    by_time = patience.duration + ROUND_INTERVAL if patience.duration else 0
    held = (patience.n - 1) * (read or 0) if patience.m else by_time
    trips = check.missing.then == check.level and read is not None
    believed = max(map(max_age_of, sources), default=0)
    missing = believed + check.missing.after + 2 * ROUND_INTERVAL if trips else None
    return Delay(check.rule, check.level, check.plan, read, held, missing, check.operator is not None, check.target)
