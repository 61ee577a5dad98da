"""Rules that trip often for nothing, and what replay says of a limit at which they would not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.units import format_value
from watchdog.journal.storage import Journal
from watchdog.offline.baselines import with_baselines
from watchdog.offline.history.loader import HistoryError
from watchdog.offline.replay.engine import ReplayTrip, replay
from watchdog.offline.summary.data import IncidentFacts, NoisyRule
from watchdog.offline.summary.series_part import load_for
from watchdog.promql import PromqlError
from watchdog.rules import Check
from watchdog.tsdb.page import PageList

MIN_NOISE = 3
"""Trips for nothing in a week, from which on a rule is called noisy."""
MAX_NOISY = 3
_SHIFTS = (0.1, 0.25, 0.5, 1.0)
"""How far the limit is moved away from the baseline, as shares of its distance from there."""
_ENOUGH = 0.25
"""A limit is better when no more than this share of the trips for nothing is left, …"""
NOT_LOOKED_AT = "a better limit was not looked for"


def find_noisy(incidents: Sequence[IncidentFacts], since: Millis) -> list[NoisyRule]:
    """Noisiest first, of the trips since then."""
    counts: dict[tuple[str, str, str], list[int]] = {}
    for one in incidents:
        for trip in one.trips:
            if trip.t >= since:
                found = counts.setdefault((trip.rule, one.incident.target, trip.level), [0, 0])
                found[0] += 1
                found[1] += one.came_to_nothing
    noisy = [NoisyRule(*key, trips, nothing, NOT_LOOKED_AT) for key, (trips, nothing) in counts.items()]
    return sorted((one for one in noisy if one.came_to_nothing >= MIN_NOISE), key=lambda one: -one.came_to_nothing)[
        :MAX_NOISY
    ]


def advise(
    config: Config,
    journal: Journal,
    path: Path,
    noisy: Sequence[NoisyRule],
    incidents: Sequence[IncidentFacts],
    since: Millis,
    until: Millis,
    is_late: Callable[[], bool],
) -> Iterator[NoisyRule]:
    """The same, each with what a few other limits would have done from `since` to `until`."""
    known = with_baselines(config, journal.baselines.list_baselines())
    for one in noisy:
        key = (one.rule, one.target, one.level)
        check = next((check for check in known.checks if (check.rule, check.target, check.level) == key), None)
        if check is None:
            yield one._replace(advice="its rule is not configured any more")
            continue
        meant = [
            (each.incident.opened, each.incident.closed or until)
            for each in incidents
            if each.incident.target == one.target
            and not each.came_to_nothing
            and any(trip.rule == one.rule for trip in each.trips)
        ]
        try:
            advice = _advise(known, path, check, meant, since, until, is_late)
        except (HistoryError, PromqlError) as error:
            advice = f"{NOT_LOOKED_AT}: {error}"
        yield one._replace(advice=advice)


def _advise(
    config: Config,
    path: Path,
    check: Check,
    meant: Sequence[tuple[Millis, Millis]],
    since: Millis,
    until: Millis,
    is_late: Callable[[], bool],
) -> str:
    if check.operator not in ("above", "at_least", "below", "at_most") or not math.isfinite(check.limit):
        return f"{NOT_LOOKED_AT}: its threshold is no single limit"
    if is_late():
        return f"{NOT_LOOKED_AT}: there was not enough time"
    pages = _load(config, path, check, since, until)
    now = _trips(config, pages, check, since, until)
    if not now:
        return f"{NOT_LOOKED_AT}: its samples of that time are not kept"
    seen = [span for span in meant if _overlaps(now, span, until)]
    useless = _count_useless(now, meant, until)
    best = None
    for limit in candidate_limits(check):
        if is_late():
            return f"{NOT_LOOKED_AT} to the end: there was not enough time"
        trips = _trips(config, pages, with_limit(check, limit), since, until)
        if not all(_overlaps(trips, span, until) for span in seen):
            break
        left = _count_useless(trips, meant, until)
        if left < (useless if best is None else best[2]):
            best = (limit, len(trips), left)
        if left <= useless * _ENOUGH:
            break
    if best is None:
        return "replay: no limit near it is better"
    limit, count, left = best
    kept = ", and miss nothing that mattered" if seen else ""
    word = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}[check.operator]
    outcome = f"trip {count} time{'' if count == 1 else 's'}, {left} for nothing" if count else "not have tripped"
    instead = f"{word} {format_value(limit, check.unit)} instead of {format_value(check.limit, check.unit)}"
    return f"replay: {instead} would {outcome}{kept}"


def candidate_limits(check: Check) -> list[float]:
    """A few limits farther from the baseline (from zero where there is none), the nearest first."""
    away = 1.0 if check.operator in ("above", "at_least") else -1.0
    span = abs(check.limit - check.baseline) if check.baseline is not None else abs(check.limit)
    if not span:
        return []
    limits = [_round(check.limit + away * share * span) for share in _SHIFTS]
    return [limit for limit in dict.fromkeys(limits) if (limit - check.limit) * away > 0]


def _round(limit: float) -> float:
    """As people would write it: three figures."""
    return float(f"{limit:.3g}")


def with_limit(check: Check, limit: float) -> Check:
    """It recovers as far from its limit as before."""
    return dataclasses.replace(check, limit=limit, clear=check.clear + limit - check.limit)


def _load(config: Config, path: Path, check: Check, since: Millis, until: Millis) -> PageList:
    kpi, rule = config.queries()[check.query], config.rule(check.rule, check.target)
    texts = [kpi.expr, *([] if kpi.needs is None else [kpi.needs])]
    texts += [config.expr_of(rule.only.when, check.target)] if rule.only is not None and rule.only.when else []
    return load_for(config, path, [config.parse_expr(text) for text in texts], since, until, more=["up"])


def _trips(config: Config, pages: PageList, check: Check, since: Millis, until: Millis) -> list[ReplayTrip]:
    if not any(page.t.size for page in pages.pages):
        return []
    alone = dataclasses.replace(config, checks=(dataclasses.replace(check, plan=None),))
    return replay(alone, pages, start=since, end=until).trips


def _overlaps(trips: Sequence[ReplayTrip], span: tuple[Millis, Millis], until: Millis) -> bool:
    return any(trip.start <= span[1] and (until if trip.end is None else trip.end) >= span[0] for trip in trips)


def _count_useless(trips: Sequence[ReplayTrip], meant: Sequence[tuple[Millis, Millis]], until: Millis) -> int:
    return sum(not any(_overlaps([trip], span, until) for span in meant) for trip in trips)
