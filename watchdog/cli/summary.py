"""`summary`: how it goes, as people are told once a day or once a week."""

from __future__ import annotations

import argparse
import time

from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.cli.common import open_journal, send_request
from watchdog.cli.daemon_api import DaemonFaultError, find_status
from watchdog.cli.output import print_json, print_line
from watchdog.core.errors import WatchdogError
from watchdog.journal.requests import SAVE_HISTORY
from watchdog.tsdb.schema import SERIES_FILE

_SECONDS = 120.0
"""After which nothing more is begun: a person waits."""
_DAY = 86_400_000


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "summary",
        run,
        "How it goes: targets, incidents, KPIs, P&L, uptime, noisy rules. Nobody else is told.",
    )
    length = command.add_mutually_exclusive_group()
    length.add_argument("--daily", dest="kind", action="store_const", const="daily", help="of the last day (default)")
    length.add_argument("--weekly", dest="kind", action="store_const", const="weekly", help="of the last seven days")
    command.set_defaults(kind="daily")
    add_config_option(command)


def run(options: argparse.Namespace) -> int:
    from watchdog.offline.summary.data import SummaryPeriod
    from watchdog.offline.summary.make import make_summaries

    loaded, journal = open_journal(options.config)
    try:
        status = find_status(loaded, options.config)
        if status is not None and loaded.history is not None:  # the newest samples are in its memory
            send_request(journal, SAVE_HISTORY, {})
    except DaemonFaultError as error:
        status = {"sources": {}}
        print_line(f"note: {error}", is_error=True)
    except WatchdogError as error:
        if status is None:
            raise
        print_line(f"note: the newest samples are missing: {error}", is_error=True)
    until = time.time_ns() // 1_000_000
    zone = "UTC" if loaded.summary is None else loaded.summary.timezone
    span = _DAY if options.kind == "daily" else 7 * _DAY
    last = time.monotonic() + _SECONDS
    made = make_summaries(
        loaded,
        journal,
        loaded.state / SERIES_FILE,
        None if status is None else status["sources"],
        SummaryPeriod(options.kind, until - span, until, zone),
        lambda: time.monotonic() > last,
    )
    message = list(made)[-1]
    if options.json:
        print_json({"title": message.title, "lines": list(message.lines)})
        return 0
    print_line(message.title)
    for line in message.lines:
        print_line(f"  {line}")
    return 0
