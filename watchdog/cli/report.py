"""`report`: one incident, told whole."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from watchdog.cli.arguments import Commands, add_command, add_config_option, add_history_option
from watchdog.cli.common import open_journal
from watchdog.cli.output import print_json, print_line, print_lines
from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.journal import incidents
from watchdog.offline.history import loader
from watchdog.offline.report import build
from watchdog.tsdb.page import PageList
from watchdog.tsdb.schema import SERIES_FILE


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
    loaded, journal = open_journal(options.config)
    now = time.time_ns() // 1_000_000
    data = build.collect_data(journal, options.incident, loaded, None, now)
    if data is None:
        raise WatchdogError(incidents.describe_unknown(options.incident, journal.incidents.list_incidents()))
    pages = _load_samples(loaded, options.history)
    if pages is not None:
        data = build.collect_data(journal, options.incident, loaded, pages, now) or data
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
        with path.open("a", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise WatchdogError(f"{path}: {error.strerror} — check the path") from None


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
        line["values"] = [value if value == value else None for value in line["values"].tolist()]
    known["events"] = [{"t": event.t, "kind": event.kind, "text": event.text} for event in data.events]
    known["took"] = build.durations(data)
    return known
