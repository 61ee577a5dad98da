"""`report`: one incident, told whole."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from watchdog.cli.arguments import Commands, add_command, add_config_option, add_history_option
from watchdog.cli.common import open_executor, open_journal, send_request
from watchdog.cli.output import print_json, print_line, print_lines
from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.core.executor import call_deadline
from watchdog.core.model import Millis
from watchdog.journal import incidents
from watchdog.journal.incidents import Incident
from watchdog.journal.lock import StateLock
from watchdog.journal.requests import SAVE_HISTORY
from watchdog.journal.storage import Journal
from watchdog.offline.history import loader
from watchdog.offline.report import build
from watchdog.rollback.recover_stages import find_cure
from watchdog.rollback.standing import StandingChange, find_standing
from watchdog.tsdb.page import PageList
from watchdog.tsdb.schema import SERIES_FILE

_LOOK_TIMEOUT = 30.0
"""s that looking at the target may take."""


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "report",
        print_report,
        "Tell one incident whole: seen, decided, done, proven, how long it took, what is open.",
    )
    command.add_argument("incident", type=int, metavar="INCIDENT", help="its number, as `incidents` lists it")
    command.add_argument(
        "--format", choices=("md", "html"), default="md", help="Markdown, or one HTML page with pictures"
    )
    command.add_argument("--output", "-o", type=Path, metavar="FILE", help="write there instead of printing")
    add_history_option(command, text="where the samples of that time are, when not in the watchdog's own history")
    add_config_option(command)


def print_report(options: argparse.Namespace) -> int:
    with _open_output(options.output) as output:
        return _print_report(options, output)


def _print_report(options: argparse.Namespace, output: TextIO | None) -> int:
    loaded, journal = open_journal(options.config, acts=True)
    incident = journal.incidents.find_incident(options.incident)
    if incident is None:
        raise WatchdogError(incidents.describe_unknown(options.incident, journal.incidents.list_incidents()))
    now = time.time_ns() // 1_000_000
    known_until, lacks = (None, "") if options.history else _ask_for_newest_samples(loaded, journal, incident, now)
    data = build.collect_data(
        journal,
        incident,
        loaded,
        _load_samples(loaded, options.history),
        now,
        known_until=known_until,
        standing=_look_at_target(loaded, journal, incident),
        lacks=[lacks] if lacks else [],
    )
    if options.json:
        print_json(_report_json(data))
        return 0
    chart = None
    if options.format == "html" and data.lines:
        try:
            chart = build.draw_chart(data)
        except WatchdogError as error:  # matplotlib is an extra; a report without a picture is one all the same
            print_line(f"trading-watchdog: {error}", is_error=True)
    title, blocks = build.build_report(data, chart)
    text = build.render_html(title, blocks) if options.format == "html" else build.render_markdown(blocks)
    if output is None:
        print_lines(text)
        return 0
    if output.seekable() and output.tell() > 0:  # neither a pipe nor /dev/null
        output.truncate(0)
    output.write(text)
    return 0


@contextlib.contextmanager
def _open_output(path: Path | None) -> Iterator[TextIO | None]:
    """Opened while we are whoever asked: root lets go on the way to the journal. What stands there stays until it is written."""
    if path is None:
        yield None
        return
    try:
        with open(path, "a", encoding="utf-8", opener=_open_private) as file:
            yield file
    except OSError as error:
        raise WatchdogError(f"{path}: {error.strerror} — check the path") from None


def _open_private(path: str, flags: int) -> int:
    """A new file is its owner's alone, for what a report tells of a bot is; one that is there keeps its mode."""
    return os.open(path, flags, 0o600)


def _ask_for_newest_samples(
    loaded: Config, journal: Journal, incident: Incident, now: Millis
) -> tuple[Millis | None, str]:
    """Has the running watchdog write down what it alone has of the time of the report.

    Returns up to when no sample is missing in series.db, None where that is as far as it goes; and why it may go no further.
    """
    if _is_written_down(loaded, build.chart_range(incident, now)[1]):
        return None, ""
    lock = StateLock(loaded.state)
    if lock.acquire():
        lock.release()
        return None, "What the watchdog did not write down: none runs."
    try:
        written, text = send_request(journal, SAVE_HISTORY, {})
    except WatchdogError as error:  # also of a journal that takes nothing now
        written, text = False, str(error)
    return (int(text), "") if written else (None, f"What the running watchdog alone has ({text}).")


def _is_written_down(loaded: Config, until: Millis) -> bool:
    try:
        return (loader.last_sample_time([str(loaded.state / SERIES_FILE)]) or 0) >= until
    except loader.HistoryError:
        return False


def _look_at_target(loaded: Config, journal: Journal, incident: Incident) -> list[StandingChange]:
    """What the incident has left so; as the target's owner, and not for long."""
    target = loaded.targets.get(incident.target)
    token = call_deadline.set(time.monotonic() + _LOOK_TIMEOUT)
    try:
        with open_executor() as executor:
            standing = find_standing(journal, incident.target, target, executor, incident.id)
    finally:
        call_deadline.reset(token)
    cure = find_cure(journal, loaded.plan, incident.target, target, time.time_ns() // 1_000_000)
    return [one._replace(by_hand=cure(one)) for one in standing]


def _load_samples(config: Config, given: list[str] | None) -> PageList | None:
    """The samples of that time: from what was named, else from the daemon's own history. None where nothing is kept."""
    own = config.state / SERIES_FILE
    if given is None and not own.is_file():
        return None
    try:
        return loader.load(given or [str(own)], target_by_source=config.target_by_source)
    except loader.HistoryError as error:
        if given is not None:
            raise
        print_line(f"trading-watchdog: {error}", is_error=True)
        return None


def _report_json(data: build.IncidentData) -> dict[str, object]:
    known = dataclasses.asdict(data)
    for line in known["lines"]:
        line["times"] = line["times"].tolist()
        for name in ("values", "low", "high"):
            line[name] = [value if value == value else None for value in line[name].tolist()]
    known["events"] = [{"t": event.t, "kind": event.kind, "text": event.text} for event in data.events]
    known["standing"] = [one._asdict() for one in data.standing]
    known["took"] = build.durations(data)
    return known
