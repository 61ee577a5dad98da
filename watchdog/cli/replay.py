"""`replay`: what rules would have done over the past."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from watchdog import config, history
from watchdog.config import Config, ConfigError
from watchdog.history.ask import duration, moment
from watchdog.model import Labels, Millis, WatchdogError
from watchdog.pipeline import longest_windows
from watchdog.promql import Pages
from watchdog.replay import Report, Trip, replay
from watchdog.replay.labels import Label, Score, labels, score
from watchdog.shown import when
from watchdog.units import show_duration

_BAR = 30
_SERVER_STEP: Millis = 15_000
_LONGEST: Millis = 400 * 86_400_000


def run(options: argparse.Namespace) -> int:
    checked, problems = config.check(options.rules, environ=os.environ)
    if checked is None:
        raise ConfigError(problems)
    every = None if options.every is None else duration(options.every)
    pages, end = _history(options, checked, every)
    start = None if options.start is None else moment(options.start, end)
    over = moment(options.end, end) if options.end is not None else end
    if start is not None and over < start:
        raise WatchdogError("--to lies before --from — swap them")
    report = replay(checked, pages, start=start, end=over, every=every, drawn=options.png is not None, progress=_bar())
    known = [] if options.incidents is None else labels(options.incidents, report.end)
    thresholds = [(check.rule, check.level) for check in checked.checks if check.operator is not None]
    scores = [] if options.incidents is None else score(report.trips, known, thresholds, report.end)
    if options.png is not None:
        from watchdog.replay.picture import draw  # matplotlib takes its time

        draw(report, known, options.png)
    if options.json:
        print(json.dumps(_json(report, known, scores)))
    else:
        _print(report, known, scores)
    return 0


def _history(options: argparse.Namespace, checked: Config, every: Millis | None) -> tuple[Pages, Millis]:
    """The history, and when it ends."""
    now = time.time_ns() // 1_000_000
    read = longest_windows(checked)
    span = None
    if options.start is not None:
        before = min(max(read.values(), default=0), _LONGEST)
        span = history.Span(
            moment(options.start, now) - before, moment(options.end or "now", now), every or _SERVER_STEP
        )
    within = history.EVER
    if options.start is not None and (last := history.end_of(options.history)) is not None:
        within = (moment(options.start, last) - max(read.values(), default=0), last)
    pages = history.load(options.history, metrics=read, span=span, within=within)
    return pages, history.span_of(pages)[1]


def _bar() -> Callable[[float], None]:
    """Draws how far it has come, on a terminal, once it takes longer than a moment."""
    if not sys.stderr.isatty():
        return lambda _: None
    began = drawn = time.monotonic()

    def progress(share: float) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - began > 1 and (now - drawn > 0.1 or share >= 1):
            drawn = now
            full = round(min(share, 1) * _BAR)
            print(f"\r[{'#' * full}{' ' * (_BAR - full)}] {min(share, 1):4.0%}", end="", file=sys.stderr, flush=True)
            if share >= 1:
                print(f"\r{' ' * (_BAR + 8)}\r", end="", file=sys.stderr, flush=True)

    return progress


def _print(report: Report, known: Sequence[Label], scores: Sequence[Score]) -> None:
    print(
        f"{when(report.start)} to {when(report.end)}, {show_duration(report.end - report.start)}, "
        f"{len({check.rule for check in report.checks})} rules"
    )
    for rule, why in report.unjudged.items():
        print(f"never judged: {rule} ({why})")
    if not report.trips:
        print("no trips")
    else:
        _trips(report)
        _totals(report)
    if known:
        _scores(known, scores)


def _trips(report: Report) -> None:
    rows = [("tripped", "for", "level", "rule", "why")]
    rows += [
        (when(trip.start), _lasted(trip, report.end), trip.level, trip.rule + _labelled(trip.labels), trip.reason)
        for trip in report.trips
    ]
    _table(rows)
    if report.plans:
        print()
        _table(
            [
                ("plan", "at", "for", ""),
                *(
                    (one.plan, when(one.t), one.rule, "starts" if one.refused is None else f"refused: {one.refused}")
                    for one in report.plans
                ),
            ]
        )


def _totals(report: Report) -> None:
    print()
    rows = [("rule", "level", "trips", "a week", "fired", "longest")]
    for rule, level, mine in _by_threshold(report):
        if mine:
            spans = [(report.end if trip.end is None else trip.end) - trip.start for trip in mine]
            rows.append(
                (
                    rule,
                    level,
                    str(len(mine)),
                    f"{len(mine) / report.weeks:.3g}",
                    show_duration(sum(spans)),
                    show_duration(max(spans)),
                )
            )
    _table(rows)


def _scores(known: Sequence[Label], scores: Sequence[Score]) -> None:
    print(f"\n{len(known)} labelled incident{'' if len(known) == 1 else 's'}")
    rows = [("rule", "level", "hits", "misses", "false alarms", "delay")]
    rows += [
        (
            one.rule,
            one.level,
            str(one.hits),
            str(one.misses),
            str(one.false_alarms),
            "-" if one.delay is None else show_duration(one.delay),
        )
        for one in scores
        if one.hits or one.false_alarms or one.rule == "any"
    ]
    _table(rows)
    for name in scores[-1].missed:
        print(f"missed by all: {name}")


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _lasted(trip: Trip, end: Millis) -> str:
    return f"{show_duration(end - trip.start)}+" if trip.end is None else show_duration(trip.end - trip.start)


def _labelled(labels: Labels) -> str:
    shown = ",".join(f"{name}={text}" for name, text in labels if name != "source")
    return f"{{{shown}}}" if shown else ""


def _by_threshold(report: Report) -> list[tuple[str, str, list[Trip]]]:
    return [
        (check.rule, check.level, [t for t in report.trips if (t.rule, t.level) == (check.rule, check.level)])
        for check in report.checks
    ]


def _json(report: Report, known: Sequence[Label], scores: Sequence[Score]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "from": report.start,
        "to": report.end,
        "rules": [
            {
                "rule": rule,
                "level": level,
                "trips": len(mine),
                "per_week": len(mine) / report.weeks,
                "fired_ms": sum((report.end if t.end is None else t.end) - t.start for t in mine),
                "never_judged": report.unjudged.get(rule),
            }
            for rule, level, mine in _by_threshold(report)
        ],
        "trips": [
            {
                "rule": t.rule,
                "level": t.level,
                "target": t.target,
                "labels": dict(t.labels),
                "start": t.start,
                "end": t.end,
                "reason": t.reason,
                "plan": t.plan,
            }
            for t in report.trips
        ],
        "plans": [
            {
                "t": one.t,
                "target": one.target,
                "plan": one.plan,
                "kind": one.kind,
                "rule": one.rule,
                "refused": one.refused,
            }
            for one in report.plans
        ],
    }
    if scores:
        told["incidents"] = [one._asdict() for one in known]
        told["scores"] = [
            {
                "rule": one.rule,
                "level": one.level,
                "hits": one.hits,
                "misses": one.misses,
                "false_alarms": one.false_alarms,
                "delays_ms": list(one.delays),
                "missed": list(one.missed),
            }
            for one in scores
        ]
    return told
