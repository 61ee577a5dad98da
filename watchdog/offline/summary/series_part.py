"""What the samples tell of a period: KPIs beside their baselines, the account, strategies, the worst trade, who was reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from watchdog.chat.chart import list_epochs
from watchdog.config import Config
from watchdog.core.model import Labels, Millis
from watchdog.core.units import Unit
from watchdog.journal.storage import Journal
from watchdog.offline.history import loader
from watchdog.offline.history.loader import HistoryError
from watchdog.offline.history.query import MAX_SAMPLES
from watchdog.offline.report import build
from watchdog.offline.report.build import chart_range, deviation_start
from watchdog.offline.report.data import baseline_at
from watchdog.offline.summary.data import (
    HistoryFacts,
    IncidentFacts,
    KpiFacts,
    Money,
    Strategy,
    SummaryPeriod,
    Uptime,
    WorstTrade,
)
from watchdog.promql import Expr, PromqlError, evaluate, metric_names, required_lookback
from watchdog.rules import Kpi
from watchdog.rules.kpi_history import evaluate_history, farthest_from_baseline
from watchdog.tsdb.labels import METRIC_NAME_LABEL, SOURCE_LABEL, TARGET_LABEL
from watchdog.tsdb.page import Bools, Floats, Ints, PageList

EQUITY, STRATEGY_RETURN, LOSSES = "equity", "strategy_return", "trade_loss_sum_total"
"""Metrics by the names that the shipped rules read."""
_UP = "up"
"""The metric that the daemon writes at each read of a source."""
_KPI_TIMES = 289
"""At which a KPI is looked at: each five minutes of a day."""
_MARGIN: Millis = 600_000
"""ms ahead of the period that an instant value may be old."""
_SLOT: Millis = 10_000
_MIN_GAP: Millis = 60_000
"""ms without a read of any source, from which on nobody watched."""
_CHUNK: Millis = 86_400_000
MAX_DETECTED = 5
"""Incidents of which it is looked up how long it had been bad."""

IsLate = Callable[[], bool]


def read_history(
    config: Config, journal: Journal, path: Path, period: SummaryPeriod, sources: Collection[str], is_late: IsLate
) -> HistoryFacts:
    """`path`: of the series.db. `sources`: those that are read now. What does not fit into the time or the memory is left out, and
    said to be."""
    lacks: list[str] = []
    money: list[Money] = []
    strategies: list[Strategy] = []
    trades: list[WorstTrade] = []
    uptime: Uptime | None = None
    with _noting(lacks):
        uptime = _read_uptime(path, period, sources)
    with _noting(lacks):
        money += _read_money(config, path, period)
    with _noting(lacks):
        strategies += _read_strategies(config, path, period)
    with _noting(lacks):
        trades += _read_worst_trades(config, path, period)
    kpis = list(_read_kpis(config, journal, path, period, is_late, lacks))
    return HistoryFacts(kpis, money, strategies, trades, uptime, tuple(dict.fromkeys(lacks)))


@contextmanager
def _noting(lacks: list[str], what: str = "") -> Iterator[None]:
    """What cannot be read of the samples is noted, and the rest is told all the same."""
    try:
        yield
    except (HistoryError, PromqlError) as error:
        lacks.append(f"{what}: {error}" if what else str(error))


def load_for(
    config: Config, path: Path, expressions: Sequence[Expr], since: Millis, until: Millis, more: Collection[str] = ()
) -> PageList:
    """What these expressions read from `since` to `until`. Raises HistoryError where that is too much."""
    metrics = set(more).union(*(metric_names(expr) for expr in expressions))
    longest = max((span for expr in expressions for span in required_lookback(expr).values()), default=0)
    return loader.load(
        [str(path)],
        metrics=metrics,
        within=(since - max(longest, _MARGIN), until),
        target_by_source=config.target_by_source,
        max_samples=MAX_SAMPLES,
    )


# ─ KPIs ─


def _read_kpis(
    config: Config, journal: Journal, path: Path, period: SummaryPeriod, is_late: IsLate, lacks: list[str]
) -> Iterator[KpiFacts]:
    """Those that rules judge, for each of their targets where it makes a difference whose it is."""
    judged: dict[tuple[str, str], str] = {}
    for (_, target), rule in config.rules_by_target.items():
        if rule.kpi is not None:
            judged.setdefault((rule.kpi, target if config.is_scoped(rule.kpi) else ""), target)
    skipped = 0
    for (name, whose), target in judged.items():
        kpi = config.kpi(name, target)
        if kpi is None:
            continue
        if is_late():
            skipped += 1
            continue
        with _noting(lacks, name):
            texts = [text for text in (kpi.expr, kpi.needs) if text is not None]
            parsed = [config.parse_expr(config.expr_of(text, target)) for text in texts]
            pages = load_for(config, path, parsed, period.since, period.until)
            times, epochs = _times(period, pages), list_epochs(journal, target, period.until)
            values = _evaluate(kpi, target, config, pages, times, epochs)
            baseline, _ = baseline_at(name, target, kpi, journal, period.until)
            known = values[np.isfinite(values)]
            now = float(farthest_from_baseline(values, baseline)[-1]) if len(values) else np.nan
            yield KpiFacts(
                whose,
                name,
                kpi.unit,
                now if np.isfinite(now) else None,
                float(known.min()) if known.size else None,
                float(known.max()) if known.size else None,
                baseline,
            )
    if skipped:
        lacks.append(f"{skipped} KPI{'' if skipped == 1 else 's'}: there was not enough time")


# ─ money ─


def _evaluate(kpi: Kpi, target: str, config: Config, pages: PageList, times: Ints, epochs: Sequence[Millis]) -> Floats:
    """[series, times]; nothing where there is too little evidence to judge by."""
    expr = config.parse_expr(config.expr_of(kpi.expr, target))
    is_plain = kpi.needs is None and kpi.since is None
    values = evaluate_history(kpi, expr, pages, times, epochs, only_covered=is_plain).values
    if kpi.needs is not None:
        needs = evaluate(config.parse_expr(config.expr_of(kpi.needs, target)), pages, times)
        values[:, ~needs.present.any(axis=0)] = np.nan
    return values


def _values(
    config: Config, path: Path, metric: str, target: str, period: SummaryPeriod
) -> tuple[list[Labels], Floats, Bools]:
    """Keys, and [keys, times] of the period: values, and where there are any."""
    expr = config.parse_expr(config.expr_of(metric, target))
    pages = load_for(config, path, [expr], period.since, period.until)
    result = evaluate(expr, pages, _times(period, pages))
    return list(result.keys), result.values, result.present & np.isfinite(result.values)


def _own_labels(key: Labels) -> Labels:
    return tuple(pair for pair in key if pair[0] not in (METRIC_NAME_LABEL, SOURCE_LABEL, TARGET_LABEL))


def _unit_of(config: Config, metric: str, target: str) -> Unit:
    """That of a KPI which is this metric and no more."""
    kpis = (config.kpi(name, target) or kpi for name, kpi in config.kpis.items())
    return next((kpi.unit for kpi in kpis if kpi.expr == metric), "currency")


def _targets(config: Config) -> list[str]:
    """One without a name where nobody says whose series are whose."""
    return list(config.targets) if config.has_own_sources else [""]


def _read_money(config: Config, path: Path, period: SummaryPeriod) -> Iterator[Money]:
    """From the first to the last time at which all of an account was seen: a part that is not there is no loss."""
    for target in _targets(config):
        _, values, there = _values(config, path, EQUITY, target, period)
        if there.any():
            parts = there.sum(axis=0)
            whole = np.where(there, values, 0.0).sum(axis=0)[parts == parts.max()]
            yield Money(target, _money_unit(config, target), float(whole[0]), float(whole[-1]))


def _read_strategies(config: Config, path: Path, period: SummaryPeriod) -> Iterator[Strategy]:
    for target in _targets(config):
        unit = _unit_of(config, STRATEGY_RETURN, target)
        for key, values, there in zip(*_values(config, path, STRATEGY_RETURN, target, period), strict=True):
            if there.any():
                name = " ".join(value for _, value in _own_labels(key))
                yield Strategy(target, name, "ratio" if unit == "currency" else unit, float(values[there][-1]))


def _read_worst_trades(config: Config, path: Path, period: SummaryPeriod) -> Iterator[WorstTrade]:
    for target in _targets(config):
        expr = config.parse_expr(config.expr_of(LOSSES, target))
        pages = load_for(config, path, [expr], period.since, period.until)
        mine = set(evaluate(expr, pages, _times(period, pages)).keys)
        best: WorstTrade | None = None
        for page in pages.pages:
            inside = page.t >= period.since
            for key, row in zip(page.keys, page.v, strict=True):
                if key not in mine:
                    continue
                known = np.isfinite(row) & inside
                t, v = page.t[known], row[known]
                if t.size < 2:
                    continue
                lost = np.diff(v) * _follows(t)
                at = int(np.argmax(lost))
                if lost[at] > 0 and (best is None or lost[at] > best.lost):
                    unit = _money_unit(config, target)
                    best = WorstTrade(target, _own_labels(key), unit, float(lost[at]), int(t[at + 1]))
        if best is not None:
            yield best


def _money_unit(config: Config, target: str) -> Unit:
    unit = _unit_of(config, EQUITY, target)
    return "currency" if unit == "count" else unit


def _times(period: SummaryPeriod, pages: PageList) -> Ints:
    """At which values are looked at: from the first sample of the period to its end."""
    first = min((int(page.t[0]) for page in pages.pages if page.t.size), default=period.since)
    return np.unique(
        np.linspace(max(period.since, min(first, period.until)), period.until, _KPI_TIMES).astype(np.int64)
    )


def _follows(t: Ints) -> Bools:
    """Which samples come as soon after the one before as they usually do: what was lost over a gap is no single trade."""
    gaps = np.diff(t)
    return np.asarray(gaps <= max(_MIN_GAP, 3 * int(np.median(gaps))))


# ─ who was reached ─


def _read_uptime(path: Path, period: SummaryPeriod, sources: Collection[str]) -> Uptime | None:
    """From the note of each read that every source leaves. Times before anything was watched at all count for nothing."""
    slots = np.zeros((period.until - period.since) // _SLOT + 1, np.bool_)
    reads: dict[str, int] = {}
    good: dict[str, int] = {}
    spacings: list[int] = []
    begin: Millis | None = None
    for after in range(period.since - 1, period.until, _CHUNK):
        within = (after, min(after + _CHUNK, period.until))
        for page in loader.load([str(path)], metrics=[_UP], within=within, max_samples=MAX_SAMPLES).pages:
            begin = min(begin or period.until, int(np.min(page.watched_since)))
            if page.t.size > 1:
                spacings.append(int(np.median(np.diff(page.t))))
            slots[(page.t - period.since) // _SLOT] = True
            for key, row in zip(page.keys, page.v, strict=True):
                labels = dict(key)
                if labels[METRIC_NAME_LABEL] != _UP:  # a file that is no series.db is read whole
                    continue
                source = labels.get(SOURCE_LABEL, "")
                known = row[np.isfinite(row)]
                reads[source] = reads.get(source, 0) + known.size
                good[source] = good.get(source, 0) + int((known > 0).sum())
    if begin is None:
        return None
    first = max(0, (begin - period.since) // _SLOT)
    watched = np.flatnonzero(slots[first:])
    edges = np.diff(np.concatenate(([-1], watched, [slots.size - first])))
    least_gap = max(_MIN_GAP, 3 * min(spacings, default=0)) // _SLOT
    lost = int(edges[edges > least_gap].sum())
    share = 1 - min(lost / max(1, slots.size - first), 1.0)
    return Uptime(share, {name: good[name] / reads[name] for name in sources if reads.get(name)})


# ─ how long it had been bad ─


def with_detection(
    config: Config, journal: Journal, path: Path, incidents: list[IncidentFacts], now: Millis, is_late: IsLate
) -> list[IncidentFacts]:
    """The same; the newest critical ones with how long it had been bad when they were opened, where the samples tell."""
    chosen = [one.incident.id for one in incidents if one.incident.severity == "crit" and one.trips][-MAX_DETECTED:]
    return [
        dataclasses.replace(one, detected_after=_detected_after(config, journal, path, one, now))
        if one.incident.id in chosen and not is_late()
        else one
        for one in incidents
    ]


def _detected_after(config: Config, journal: Journal, path: Path, one: IncidentFacts, now: Millis) -> Millis | None:
    key = (one.trips[0].rule, one.incident.target)
    if key not in config.rules_by_target:
        return None
    rule = config.rules_by_target[key]
    kpi = config.kpi(rule.kpi, rule.target)
    if kpi is None:
        return None
    try:
        parsed = [config.parse_expr(config.expr_of(kpi.expr, rule.target))]
        pages = load_for(config, path, parsed, *chart_range(one.incident, now))
        data = build.collect_data(
            journal, one.incident, dataclasses.replace(config, rules_by_target={key: rule}), pages, now
        )
    except (HistoryError, PromqlError):
        return None
    began = deviation_start(data)
    return None if began is None else max(0, one.incident.opened - began)
