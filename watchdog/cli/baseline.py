"""`baseline capture | show | diff`: what KPIs are when all is well, and how far they are from it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.cli.common import open_journal, send_request
from watchdog.cli.daemon_api import fetch_status
from watchdog.cli.output import print_json, print_line
from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.core.units import format_duration, format_value, parse_duration
from watchdog.journal.baselines import Baseline
from watchdog.journal.lock import StateLock
from watchdog.journal.storage import Journal
from watchdog.pipeline.baseline_tracker import expression_digest
from watchdog.rules import Kpi, Learn, baseline_mismatch, learn_baseline, scoped_query
from watchdog.web.status_rows import format_time

_ANSWER_TIMEOUT_S = 30
"""s after the end of a capture before nobody is thought to answer."""


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "baseline",
        show_all,
        "What KPIs are when all is well: capture it, show it, compare with now.",
        as_json=False,
    )
    what = command.add_subparsers(required=True, metavar="WHAT")

    command = add_command(what, "capture", capture, "Ask the running watchdog to take what is so now for normal.")
    add_config_option(command)
    command.add_argument("kpis", nargs="*", metavar="KPI", help="default: all that say baseline: captured")
    command.add_argument(
        "--for",
        dest="span",
        metavar="DURATION",
        default="1m",
        help="gather for so long, from now on (default: %(default)s; 0s: one look)",
    )

    add_config_option(add_command(what, "show", show_all, "The baselines in force, and where they come from."))
    add_config_option(
        add_command(
            what,
            "diff",
            diff,
            "What is so now beside what is normal; 1 when something is more than 20 times off.",
        )
    )


def capture(options: argparse.Namespace) -> int:
    """Asks the running daemon, and waits until all is captured or given up."""
    try:
        span = parse_duration(options.span)
    except ValueError as error:
        raise WatchdogError(str(error)) from None
    loaded, journal = open_journal(options.config)
    lock = StateLock(loaded.state)
    if lock.acquire():
        lock.release()
        raise WatchdogError("no watchdog runs — start it first: it is the one that reads the KPIs")
    seen = journal.timeline.last_event_id()
    ok, text = send_request(journal, "capture", {"kpis": options.kpis, "for": span})
    if not ok:
        raise WatchdogError(text)
    waiting = set(text.split(", "))
    if not options.json:
        print_line(f"capturing {text}" + (f" for {format_duration(span)}" if span else ""), flush=True)
    results: dict[str, str] = {}
    deadline = time.monotonic() + span / 1_000 + _ANSWER_TIMEOUT_S
    while waiting and time.monotonic() < deadline:
        for event in journal.timeline.list_events_after(seen, kind="baseline"):
            seen = event.id
            name, _, result = event.text.partition(": ")
            if name in waiting:
                waiting.discard(name)
                results[name] = result
                if not options.json:
                    print_line(event.text, flush=True)
        time.sleep(0.2)
    if waiting:
        raise WatchdogError(
            f"nothing was heard of {', '.join(sorted(waiting))} — was the watchdog stopped or reloaded?"
        )
    if options.json:
        print_json(results)
    return 0 if all(words.startswith("captured") for words in results.values()) else 1


def show_all(options: argparse.Namespace) -> int:
    """What is in force, where it comes from, and since when."""
    loaded, journal = open_journal(options.config)
    rows = {}
    for name, kpi in loaded.kpis.items():
        if kpi.baseline is not None:
            users = list(
                dict.fromkeys(target for (_, target), rule in loaded.rules_by_target.items() if rule.kpi == name)
            )
            for target in users or [next(iter(loaded.targets), "")]:
                row = _baseline_row(name, target, loaded.kpi(name, target) or kpi, journal)
                rows[scoped_query(name, target, scoped=len(users) > 1)] = row
    if options.json:
        print_json(rows)
        return 0
    if not rows:
        print_line("no KPI has a baseline")
    for name, row in rows.items():
        print_line(f"{name:<24} {row['text']:<14} {row['from']}")
    return 0


def _baseline_row(name: str, target: str, kpi: Kpi, journal: Journal) -> dict[str, Any]:
    if not kpi.has_dynamic_baseline:
        return {
            "value": kpi.pinned_baseline(),
            "text": format_value(kpi.pinned_baseline(), kpi.unit),
            "from": "pinned in the file",
        }
    kind = "learned" if isinstance(kpi.baseline, Learn) else "captured"
    saved = [each for each in journal.baselines.list_baselines() if (each.kpi, each.kind) == (name, kind)]
    kept = next((each for whose in (target, "") for each in saved if each.target == whose), None)
    if kept is not None and kept.asked == expression_digest(kpi):
        return {
            "value": kept.value,
            "text": format_value(kept.value, kpi.unit),
            "from": _format_origin(kept),
            "t": kept.t,
            "samples": kept.samples,
            "who": kept.who,
            "revision": kept.revision,
        }
    why = "not captured yet" if kept is None else "captured of another expression: capture it anew"
    if isinstance(kpi.baseline, Learn):
        points = journal.baselines.list_points(name, expression_digest(kpi), target)
        why = learn_baseline(kpi.baseline, points, time.time_ns() // 1_000_000).reason
    return {"value": None, "text": "none", "from": why}


def _format_origin(kept: Baseline) -> str:
    count = "1 sample" if kept.samples == 1 else f"{kept.samples} samples"
    over = f" over {format_duration(kept.span)}" if kept.span else ""
    by = f" by {kept.who}" if kept.who else ""
    at = f" at {kept.revision[:10]}" if kept.revision else ""
    return f"{kept.kind} {format_time(kept.t)}{by}, {count}{over}{at}"


def diff(options: argparse.Namespace) -> int:
    """What is so now beside what is normal. 1 when something is more than twenty times off."""
    loaded, _ = open_journal(options.config)
    known = fetch_status(loaded, options.config)["kpis"]
    rows = {name: row for name, row in known.items() if row["baseline"] is not None}
    if options.json:
        print_json(rows)
    else:
        for name, row in rows.items():
            now = (
                ", ".join(
                    f"{each['text']}{_format_deviation(loaded, name, each['value'], row['baseline_value'])}"
                    for each in row["values"]
                )
                or "no data"
            )
            print_line(
                f"{name:<24} baseline {row['baseline']:<14} now {now}"
                + (f"  ({row['warning']})" if row["warning"] else "")
            )
        if not rows:
            print_line("no KPI has a baseline")
    return 1 if any(_is_far_off(row) for row in rows.values()) else 0


def _is_far_off(row: dict[str, Any]) -> bool:
    values = [each["value"] for each in row["values"] if each["value"] is not None]
    return baseline_mismatch(values, row["baseline_value"]) is not None


def _format_deviation(loaded: Config, name: str, value: float | None, baseline: float | None) -> str:
    """``, +3.2 pp`` on a share, ``, 1.3 ×`` elsewhere."""
    if value is None or baseline is None:
        return ""
    kpi, _, target = name.partition("@")
    unit = (loaded.kpi(kpi, target) or loaded.kpis[kpi]).unit
    if unit in ("ratio", "percent"):
        points = (value - baseline) * (100 if unit == "ratio" else 1)
        return f", {points:+.1f} pp"
    return f", {format_value(value / baseline, 'count')} ×" if baseline else ""
