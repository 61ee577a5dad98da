"""`replay`: what rules would have done over the past."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from watchdog import config
from watchdog.cli.arguments import Commands, add_command, add_history_option
from watchdog.cli.output import print_json, print_line, print_table
from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.core.model import Labels, Millis
from watchdog.core.units import format_duration
from watchdog.documents.problems import ConfigError
from watchdog.offline.baselines import given_baselines, with_baselines
from watchdog.offline.history import loader
from watchdog.offline.history.query import parse_moment, parse_step
from watchdog.offline.replay.engine import ReplayReport, replay
from watchdog.offline.replay.outcome import ReplayTrip
from watchdog.offline.replay.scoring import LabelledIncident, Score, load_labels, score_labels
from watchdog.pipeline.config_expressions import longest_windows
from watchdog.tsdb.page import PageList
from watchdog.web.status_rows import format_time

_BAR_WIDTH = 30
_DEFAULT_SERVER_STEP: Millis = 15_000
_MAX_WINDOW: Millis = 400 * 86_400_000


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "replay",
        run,
        "What rules would have done over the past: trips, plans, and labelled incidents found.",
    )
    command.add_argument("rules", nargs="+", type=Path, metavar="RULES", help="rule files, or a folder of them")
    add_history_option(command, text="CSV, OpenMetrics text, a series.db, or a Prometheus's address", required=True)
    command.add_argument("--from", dest="start", metavar="TIME", help="first round (default: the first sample)")
    command.add_argument("--to", dest="end", metavar="TIME", help="last round (default: the last sample)")
    command.add_argument("--every", metavar="DURATION", help="a round each DURATION (default: as the watchdog does)")
    command.add_argument(
        "--exact", action="store_true", help="judge every round, and pass over none: slow, same result"
    )
    command.add_argument(
        "--baseline",
        dest="baselines",
        action="append",
        default=[],
        metavar="KPI=VALUE",
        help="a baseline that no file says, captured or learned; KPI@TARGET for one target's (may be said again)",
    )
    command.add_argument("--incidents", type=Path, metavar="FILE", help="labelled incidents: CSV with start,end[,name]")
    command.add_argument("--png", type=Path, metavar="FILE", help="draw a timeline, too")


def run(options: argparse.Namespace) -> int:
    checked, problems = config.check_files(options.rules, environ=os.environ)
    if checked is None:
        raise ConfigError(problems)
    if options.baselines:
        given = dict(text.partition("=")[::2] for text in options.baselines)
        checked = with_baselines(checked, given_baselines(checked, given))
    every = None if options.every is None else parse_step(options.every)
    pages, end = _load_history(options, checked, every)
    start = None if options.start is None else parse_moment(options.start, end)
    over = parse_moment(options.end, end) if options.end is not None else end
    if start is not None and over < start:
        raise WatchdogError("--to lies before --from — swap them")
    report = replay(
        checked,
        pages,
        start=start,
        end=over,
        every=every,
        exact=options.exact,
        with_lines=options.png is not None,
        progress=_progress_bar(),
    )
    known = [] if options.incidents is None else load_labels(options.incidents, report.end)
    thresholds = list(
        dict.fromkeys((check.rule, check.level) for check in checked.checks if check.operator is not None)
    )
    scores = [] if options.incidents is None else score_labels(report.trips, known, thresholds, report.end)
    if options.png is not None:
        from watchdog.offline.replay.chart import draw_replay  # matplotlib takes its time

        draw_replay(report, known, options.png)
    if options.json:
        print_json(_report_json(report, known, scores))
    else:
        _print_report(report, known, scores)
    return 0


def _load_history(options: argparse.Namespace, checked: Config, every: Millis | None) -> tuple[PageList, Millis]:
    """The history, and when it ends."""
    now = time.time_ns() // 1_000_000
    read = longest_windows(checked)
    span = None
    if options.start is not None:
        before = min(max(read.values(), default=0), _MAX_WINDOW)
        span = loader.QueryRange(
            parse_moment(options.start, now) - before,
            parse_moment(options.end or "now", now),
            every or _DEFAULT_SERVER_STEP,
        )
    within, last = loader.ALL_TIME, loader.last_sample_time(options.history)
    if options.start is not None and last is not None:
        within = (parse_moment(options.start, last) - max(read.values(), default=0), last)
    # In a file of ours `up` tells each read: the daemon judged at all of them.
    names = [*read, "up"] if read and last is not None else read
    pages = loader.load(
        options.history, metrics=names, span=span, within=within, target_by_source=checked.target_by_source
    )
    return pages, loader.time_span(pages)[1]


def _progress_bar() -> Callable[[float], None]:
    """Draws how far it has come, on a terminal, once it takes longer than a moment."""
    if not sys.stderr.isatty():
        return lambda _: None
    began = drawn = time.monotonic()

    def progress(share: float) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - began > 1 and (now - drawn > 0.1 or share >= 1):
            drawn = now
            full = round(min(share, 1) * _BAR_WIDTH)
            sys.stderr.write(f"\r[{'#' * full}{' ' * (_BAR_WIDTH - full)}] {min(share, 1):4.0%}")
            if share >= 1:
                sys.stderr.write(f"\r{' ' * (_BAR_WIDTH + 8)}\r")
            sys.stderr.flush()

    return progress


def _print_report(report: ReplayReport, labels: Sequence[LabelledIncident], scores: Sequence[Score]) -> None:
    print_line(
        f"{format_time(report.start)} to {format_time(report.end)}, {format_duration(report.end - report.start)}, "
        f"{len({check.rule for check in report.checks})} rules"
    )
    for (rule, target), why in report.unjudged.items():
        print_line(f"never judged: {_name(report, rule, target)} ({why})")
    if not report.trips:
        print_line("no trips")
    else:
        _print_trips(report)
        _print_totals(report)
    if labels:
        _print_scores(labels, scores)


def _print_trips(report: ReplayReport) -> None:
    rows = [("tripped", "for", "level", "rule", "why")]
    rows += [
        (
            format_time(trip.start),
            _format_length(trip, report.end),
            trip.level,
            _name(report, trip.rule, trip.target) + _format_labels(trip.labels),
            trip.reason,
        )
        for trip in report.trips
    ]
    print_table(rows)
    if report.plans:
        print_line()
        print_table(
            [
                ("plan", "at", "for", ""),
                *(
                    (
                        one.plan,
                        format_time(one.t),
                        _name(report, one.rule, one.target),
                        "starts" if one.refused is None else f"refused: {one.refused}",
                    )
                    for one in report.plans
                ),
            ]
        )


def _print_totals(report: ReplayReport) -> None:
    print_line()
    rows = [("rule", "level", "trips", "a week", "fired", "longest")]
    for rule, level, target, mine in _by_threshold(report):
        if mine:
            spans = [(report.end if trip.end is None else trip.end) - trip.start for trip in mine]
            rows.append(
                (
                    _name(report, rule, target),
                    level,
                    str(len(mine)),
                    f"{len(mine) / report.weeks:.3g}",
                    format_duration(sum(spans)),
                    format_duration(max(spans)),
                )
            )
    print_table(rows)


def _print_scores(labels: Sequence[LabelledIncident], scores: Sequence[Score]) -> None:
    print_line()
    print_line(f"{len(labels)} labelled incident{'' if len(labels) == 1 else 's'}")
    rows = [("rule", "level", "hits", "misses", "false alarms", "delay")]
    rows += [
        (
            one.rule,
            one.level,
            str(one.hits),
            str(one.misses),
            str(one.false_alarms),
            "-" if one.delay is None else format_duration(one.delay),
        )
        for one in scores
        if one.hits or one.false_alarms or one.rule == "any"
    ]
    print_table(rows)
    for name in scores[-1].missed:
        print_line(f"missed by all: {name}")


def _format_length(trip: ReplayTrip, end: Millis) -> str:
    return f"{format_duration(end - trip.start)}+" if trip.end is None else format_duration(trip.end - trip.start)


def _format_labels(labels: Labels) -> str:
    shown = ",".join(f"{name}={text}" for name, text in labels if name != "source")
    return f"{{{shown}}}" if shown else ""


def _name(report: ReplayReport, rule: str, target: str) -> str:
    """How people call it: the rule, and whose it is where there are several targets."""
    return f"{target}: {rule}" if len({check.target for check in report.checks}) > 1 else rule


def _by_threshold(report: ReplayReport) -> list[tuple[str, str, str, list[ReplayTrip]]]:
    keys = [(check.rule, check.level, check.target) for check in report.checks]
    return [(*key, [trip for trip in report.trips if (trip.rule, trip.level, trip.target) == key]) for key in keys]


def _report_json(report: ReplayReport, labels: Sequence[LabelledIncident], scores: Sequence[Score]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "from": report.start,
        "to": report.end,
        "rules": [
            {
                "rule": rule,
                "level": level,
                "target": target,
                "trips": len(mine),
                "per_week": len(mine) / report.weeks,
                "fired_ms": sum((report.end if t.end is None else t.end) - t.start for t in mine),
                "never_judged": report.unjudged.get((rule, target)),
            }
            for rule, level, target, mine in _by_threshold(report)
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
        result["incidents"] = [one._asdict() for one in labels]
        result["scores"] = [
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
    return result
