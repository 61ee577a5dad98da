"""Replay as one picture: a row for each rule, labelled incidents behind, KPIs of what tripped below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from watchdog.offline.replay.engine import ReplayReport
from watchdog.offline.replay.scoring import LabelledIncident
from watchdog.pictures import plots

_COLOURS = {"warn": "#e8a33d", "crit": "#c8372d"}
_LABEL_COLOUR, _NO_DATA_COLOUR, _PLAN_COLOUR = "#4a78b5", "#dddddd", "#5b2a86"
_MAX_KPIS = 4
"""KPIs that are drawn below at most."""


def draw_replay(report: ReplayReport, labels: Sequence[LabelledIncident], path: Path) -> None:
    """Writes a PNG. Raises WatchdogError where matplotlib is missing or the file cannot be written."""
    rules = list(
        dict.fromkeys(check.rule for check in report.checks if (check.rule, check.target) not in report.unjudged)
    )
    tripped = {trip.rule for trip in report.trips}
    kpis = list(dict.fromkeys(check.query for check in report.checks if check.rule in tripped))[:_MAX_KPIS]
    tall = 1.3 + 0.32 * len(rules)
    figure = plots.new_figure(12, tall + 1.9 * len(kpis) + 0.6)
    rows = figure.subplots(1 + len(kpis), 1, sharex=True, squeeze=False, height_ratios=[tall, *[1.9] * len(kpis)])[:, 0]
    for axes in rows:
        for label in labels:
            axes.axvspan(*_date_range(label.start, label.end), color=_LABEL_COLOUR, alpha=0.18, linewidth=0)
        for plan in report.plans:
            axes.axvline(
                *plots.to_datetimes([plan.t]), color=_PLAN_COLOUR, linewidth=1, linestyle=":" if plan.refused else "-"
            )
    _draw_lanes(rows[0], report, rules, labels)
    for axes, kpi in zip(rows[1:], kpis, strict=True):
        _draw_kpi(axes, report, kpi)
    rows[0].set_xlim(*_date_range(report.start, max(report.end, report.start + 1)))
    rows[-1].set_xlabel("UTC", fontsize=8)
    figure.autofmt_xdate(rotation=0, ha="center")
    plots.save_figure(figure, path)


def _draw_lanes(axes: Any, report: ReplayReport, rules: Sequence[str], labels: Sequence[LabelledIncident]) -> None:
    lane = {rule: len(rules) - 1 - n for n, rule in enumerate(rules)}
    for check in report.checks:
        if check.rule in lane:
            for start, end in report.no_data[check.rule, check.level]:
                _draw_bar(axes, lane[check.rule], start, end, _NO_DATA_COLOUR, 0.25)
    for trip in sorted(report.trips, key=lambda trip: trip.level, reverse=True):  # crit is drawn over warn
        _draw_bar(
            axes, lane[trip.rule], trip.start, report.end if trip.end is None else trip.end, _COLOURS[trip.level], 0.7
        )
    top = len(rules) - 0.35
    for label in labels:
        axes.text(
            *plots.to_datetimes([label.start]), top, label.name, fontsize=8, color=_LABEL_COLOUR, parse_math=False
        )
    for n, plan in enumerate(report.plans):  # at different heights: plans may start close together
        axes.text(
            *plots.to_datetimes([plan.t]),
            -0.62 - 0.42 * (n % 3),
            f" {plan.plan}{' refused' if plan.refused else ''}",
            fontsize=8,
            color=_PLAN_COLOUR,
            va="top",
            parse_math=False,
        )
    axes.set_yticks(list(lane.values()), list(lane), fontsize=8)
    axes.set_ylim(-2.0, len(rules) + 0.1)
    axes.set_title(
        "red: crit fires   amber: warn fires   grey: nothing to judge by   blue: labelled incident   "
        "violet: a plan starts (dotted: is refused)",
        fontsize=8,
    )
    axes.grid(axis="x", alpha=0.3)


def _draw_kpi(axes: Any, report: ReplayReport, query: str) -> None:
    t, v = report.kpi_lines[query]
    checks = [check for check in report.checks if check.query == query]
    axes.plot(plots.to_datetimes(t), v, color="#333333", linewidth=1.1)
    for check in checks:
        if check.operator is not None:
            axes.axhline(check.limit, color=_COLOURS[check.level], linewidth=0.9, linestyle="--")
    of = f" {checks[0].target}" if len({check.target for check in report.checks}) > 1 else ""
    axes.set_ylabel(f"{checks[0].kpi}{of}", fontsize=8, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _draw_bar(axes: Any, lane: int, start: int, end: int, colour: str, height: float) -> None:
    left, right = _date_range(start, end)
    axes.fill_between(np.array([left, right]), lane - height / 2, lane + height / 2, color=colour, linewidth=0)


def _date_range(start: int, end: int) -> tuple[Any, Any]:
    left, right = plots.to_datetimes([start, end])
    return left, right
