"""`status` and `incidents`: what is so now, and what was."""

from __future__ import annotations

import argparse
from typing import Any

from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.cli.common import load_or_salvage, open_journal, run_as_json
from watchdog.cli.daemon_api import fetch_status
from watchdog.cli.output import print_json, print_line
from watchdog.core.errors import WatchdogError
from watchdog.core.units import format_duration
from watchdog.journal import incidents
from watchdog.journal.messages import UndeliveredMessage
from watchdog.journal.storage import Journal
from watchdog.web.status_rows import build_status_rows, format_time

_MAX_NAME_WIDTH = 40
"""Longer names push what stands behind them out of line, instead of everything else."""


def register(commands: Commands) -> None:
    add_config_option(
        add_command(commands, "status", status, "What is so now: sources, KPIs, rules, latches, plans at work.")
    )

    command = add_command(
        commands, "incidents", list_incidents, "Incidents, the newest first; with an ID, its timeline."
    )
    command.add_argument("id", nargs="?", type=int, metavar="ID")
    add_config_option(command)


def status(options: argparse.Namespace) -> int:
    known = fetch_status(load_or_salvage(options.config), options.config)
    if options.json:
        print_json(known)
        return 0
    listed = list(build_status_rows(known))
    wide = max((len(row.name) for row in listed if len(row.name) <= _MAX_NAME_WIDTH), default=0)
    for row in listed:
        print_line(f"{row.kind:<8}{row.name:<{wide}}  {row.text}")
    return 0


def list_incidents(options: argparse.Namespace) -> int:
    _, journal = open_journal(options.config)
    if options.id is None:
        listed = journal.incidents.list_incidents()
    elif (known := journal.incidents.find_incident(options.id)) is not None:
        listed = [known]
    else:
        raise WatchdogError(incidents.describe_unknown(options.id, journal.incidents.list_incidents()))
    if options.json:
        print_json([incident_as_json(journal, one, timeline=options.id is not None) for one in listed])
        return 0
    if not listed:
        print_line("no incidents")
    for one in listed:
        end = f"closed after {format_duration(one.closed - one.opened)}" if one.closed else "open"
        print_line(f"{one.id:>4}  {format_time(one.opened)}  {one.target}  {one.severity}  {one.title}  [{end}]")
        for run in journal.runs.list_for_incident(one.id):
            print_line(f"      plan {run.plan}: {run.outcome or run.status}{f' ({run.reason})' if run.reason else ''}")
    if options.id is not None:
        for event in journal.timeline.list_events(options.id):
            print_line(f"      {format_time(event.t)}  {event.text}")
        for letter in journal.messages.list_undelivered(options.id):
            print_line(f"      {format_time(letter.created)}  {_describe_undelivered(letter)}")
    return 0


def _describe_undelivered(letter: UndeliveredMessage) -> str:
    how = "refused" if letter.refused else "not delivered yet"
    why = f" ({letter.error})" if letter.error else ""
    return f"{how} by channel {letter.channel}{why}: {letter.title}"


def incident_as_json(journal: Journal, one: incidents.Incident, *, timeline: bool) -> dict[str, Any]:
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
        known["undelivered"] = [
            {
                "channel": letter.channel,
                "title": letter.title,
                "t": letter.created,
                "refused": letter.refused,
                "error": letter.error,
            }
            for letter in journal.messages.list_undelivered(one.id)
        ]
    return known
