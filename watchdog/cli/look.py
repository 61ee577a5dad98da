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
from watchdog.journal import Journal, Lock, OutdatedError, incidents, outbox, runs
from watchdog.model import WatchdogError
from watchdog.shown import rows, when
from watchdog.units import show_duration

_NAME = 40
"""Longer names push what stands behind them out of line, instead of everything else."""


def ask_status(loaded: Config) -> Any:
    """What the running watchdog says of itself."""
    host = "127.0.0.1" if loaded.web.host in ("0.0.0.0", "::", "") else loaded.web.host  # noqa: S104 – where to ask
    where = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(f"http://{where}:{loaded.web.port}/api/status", timeout=5) as page:
            return json.load(page)
    except (OSError, urllib.error.URLError, ValueError):
        raise WatchdogError(f"no watchdog answers at {where}:{loaded.web.port} — is the service running?") from None


def usable(folder: Path) -> Config:
    """The configuration; of broken files what is well, and a word about it: at night somebody must get at the journal.

    Raises ConfigError when watchdog.yaml itself cannot be read.
    """
    try:
        return config.load(folder, environ=os.environ)
    except config.ConfigError as error:
        salvaged = config.salvage(folder, environ=os.environ)
        count = len(error.problems)
        print(
            f"note: the files on disk have {count} mistake{'' if count == 1 else 's'}: trading-watchdog check",
            file=sys.stderr,
        )
        return salvaged


def status(options: argparse.Namespace) -> int:
    known = ask_status(usable(options.config))
    if options.json:
        print(json.dumps(known))
        return 0
    listed = list(rows(known))
    wide = max((len(row.name) for row in listed if len(row.name) <= _NAME), default=0)
    for row in listed:
        print(f"{row.kind:<8}{row.name:<{wide}}  {row.text}")
    return 0


def opened(folder: Path) -> tuple[Config, Journal]:
    """The configuration and its journal; one of an older version is brought up to date unless somebody uses it."""
    loaded = usable(folder)
    path = loaded.state / "journal.db"
    try:
        return loaded, Journal(path, migrate=False)
    except OutdatedError:
        lock = Lock(loaded.state)
        if not lock.take():
            raise
        try:
            return loaded, Journal(path)
        finally:
            lock.release()


def list_incidents(options: argparse.Namespace) -> int:
    _, journal = opened(options.config)
    listed = incidents.listing(journal, options.id)
    if options.id is not None and not listed:
        raise WatchdogError(incidents.unknown(journal, options.id))
    if options.json:
        print(json.dumps([_incident_json(journal, one, options.id is not None) for one in listed]))
        return 0
    if not listed:
        print("no incidents")
    for one in listed:
        end = f"closed after {show_duration(one.closed - one.opened)}" if one.closed else "open"
        print(f"{one.id:>4}  {when(one.opened)}  {one.target}  {one.severity}  {one.title}  [{end}]")
        for run in runs.of_incident(journal, one.id):
            print(f"      plan {run.plan}: {run.outcome or run.status}{f' ({run.reason})' if run.reason else ''}")
    if options.id is not None:
        for event in incidents.events(journal, options.id):
            print(f"      {when(event['t'])}  {event['text']}")
    return 0


def _incident_json(journal: Journal, one: incidents.Incident, timeline: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        "id": one.id,
        "target": one.target,
        "opened": one.opened,
        "closed": one.closed,
        "severity": one.severity,
        "title": one.title,
        "told": outbox.told(journal, one.id),
        "trips": [
            {"rule": trip.rule, "level": trip.level, "t": trip.t, "cleared": trip.cleared, "reason": trip.reason}
            for trip in incidents.trips(journal, one.id)
        ],
        "runs": [run_json(journal, run) for run in runs.of_incident(journal, one.id)],
    }
    if timeline:
        known["events"] = [dict(event) for event in incidents.events(journal, one.id)]
    return known


def run_json(journal: Journal, run: runs.Run) -> dict[str, Any]:
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
            for step in runs.steps(journal, run.id)
        ],
    }
