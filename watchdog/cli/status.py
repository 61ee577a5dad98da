"""`status` and `incidents`: what is so now, and what was."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from watchdog import config
from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.core.units import format_duration
from watchdog.journal import incidents, runs
from watchdog.journal import open_journal as open_journal_in
from watchdog.journal.errors import JournalOutdatedError
from watchdog.journal.lock import StateLock
from watchdog.journal.storage import Journal
from watchdog.web.status_rows import build_status_rows, format_time

_MAX_NAME_WIDTH = 40
"""Longer names push what stands behind them out of line, instead of everything else."""


def fetch_status(loaded: Config) -> Any:
    """What the running watchdog says of itself."""
    host = "127.0.0.1" if loaded.web.host in ("0.0.0.0", "::", "") else loaded.web.host  # noqa: S104 – where to ask
    where = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(f"http://{where}:{loaded.web.port}/api/status", timeout=5) as page:
            return json.load(page)
    except (OSError, urllib.error.URLError, ValueError):
        raise WatchdogError(f"no watchdog answers at {where}:{loaded.web.port} — is the service running?") from None


def load_or_salvage(folder: Path) -> Config:
    """The configuration; of broken files what is well, and a word about it: at night somebody must get at the journal.

    Raises ConfigError when watchdog.yaml itself cannot be read.
    """
    try:
        return config.load(folder, environ=os.environ)
    except config.ConfigError as error:
        salvaged = config.load_partial(folder, environ=os.environ)
        count = len(error.problems)
        print(
            f"note: the files on disk have {count} mistake{'' if count == 1 else 's'}: trading-watchdog check",
            file=sys.stderr,
        )
        return salvaged


def status(options: argparse.Namespace) -> int:
    known = fetch_status(load_or_salvage(options.config))
    if options.json:
        print(json.dumps(known))
        return 0
    listed = list(build_status_rows(known))
    wide = max((len(row.name) for row in listed if len(row.name) <= _MAX_NAME_WIDTH), default=0)
    for row in listed:
        print(f"{row.kind:<8}{row.name:<{wide}}  {row.text}")
    return 0


def open_journal(folder: Path) -> tuple[Config, Journal]:
    """The configuration and its journal; one of an older version is brought up to date unless somebody uses it."""
    loaded = load_or_salvage(folder)
    try:
        return loaded, open_journal_in(loaded.state, migrate=False)
    except JournalOutdatedError:
        lock = StateLock(loaded.state)
        if not lock.acquire():
            raise
        try:
            return loaded, open_journal_in(loaded.state)
        finally:
            lock.release()


def list_incidents(options: argparse.Namespace) -> int:
    _, journal = open_journal(options.config)
    if options.id is None:
        listed = journal.incidents.list_incidents()
    elif (known := journal.incidents.find_incident(options.id)) is not None:
        listed = [known]
    else:
        raise WatchdogError(incidents.describe_unknown(options.id, journal.incidents.list_incidents()))
    if options.json:
        print(json.dumps([_incident_json(journal, one, options.id is not None) for one in listed]))
        return 0
    if not listed:
        print("no incidents")
    for one in listed:
        end = f"closed after {format_duration(one.closed - one.opened)}" if one.closed else "open"
        print(f"{one.id:>4}  {format_time(one.opened)}  {one.target}  {one.severity}  {one.title}  [{end}]")
        for run in journal.runs.list_for_incident(one.id):
            print(f"      plan {run.plan}: {run.outcome or run.status}{f' ({run.reason})' if run.reason else ''}")
    if options.id is not None:
        for event in journal.timeline.list_events(options.id):
            print(f"      {format_time(event.t)}  {event.text}")
    return 0


def _incident_json(journal: Journal, one: incidents.Incident, timeline: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        "id": one.id,
        "target": one.target,
        "opened": one.opened,
        "closed": one.closed,
        "severity": one.severity,
        "title": one.title,
        "told": journal.messages.count_sent(one.id),
        "trips": [
            {"rule": trip.rule, "level": trip.level, "t": trip.t, "cleared": trip.cleared, "reason": trip.reason}
            for trip in journal.incidents.list_trips(one.id)
        ],
        "runs": [run_as_json(journal, run) for run in journal.runs.list_for_incident(one.id)],
    }
    if timeline:
        known["events"] = [
            {"t": event.t, "kind": event.kind, "text": event.text} for event in journal.timeline.list_events(one.id)
        ]
    return known


def run_as_json(journal: Journal, run: runs.PlanRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "plan": run.plan,
        "kind": run.kind,
        "by": run.by,
        "status": run.status,
        "outcome": run.outcome,
        "reason": run.reason,
        "level": run.level,
        "queued": run.queued,
        "ended": run.ended,
        "steps": [
            {
                "phase": step.phase,
                "level": step.level,
                "say": step.say,
                "status": step.status,
                "detail": step.detail,
                "started": step.started,
                "ended": step.ended,
                "before": step.before,
            }
            for step in journal.runs.list_steps(run.id)
        ],
    }
