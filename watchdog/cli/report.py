"""`report`: one incident, told whole."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time

from watchdog import history, report
from watchdog.cli.look import opened
from watchdog.config import Config
from watchdog.journal import incidents
from watchdog.model import WatchdogError
from watchdog.promql import Pages


def tell(options: argparse.Namespace) -> int:
    loaded, journal = opened(options.config)
    now = time.time_ns() // 1_000_000
    facts = report.gather(journal, options.incident, loaded, None, now)
    if facts is None:
        raise WatchdogError(incidents.unknown(journal, options.incident))
    pages = _samples(loaded, options.history)
    if pages is not None:
        facts = report.gather(journal, options.incident, loaded, pages, now) or facts
    if options.json:
        print(json.dumps(_as_json(facts)))
        return 0
    picture = None
    if options.format == "html" and facts.lines:
        try:
            picture = report.draw(facts)
        except WatchdogError as error:  # matplotlib is an extra; a report without a picture is one all the same
            print(f"trading-watchdog: {error}", file=sys.stderr)
    title, blocks = report.report(facts, picture)
    text = report.page(title, blocks) if options.format == "html" else report.markdown(blocks)
    if options.output is None:
        print(text, end="")
        return 0
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WatchdogError(f"{options.output}: {error.strerror} — check the path") from None
    return 0


def _samples(config: Config, given: list[str] | None) -> Pages | None:
    """The samples of that time: from what was named, else from the daemon's own history. None where nothing is kept."""
    own = config.state / "series.db"
    if given is None and not own.is_file():
        return None
    try:
        return history.load(given or [str(own)])
    except history.HistoryError as error:
        if given is not None:
            raise
        print(f"trading-watchdog: {error}", file=sys.stderr)
        return None


def _as_json(facts: report.Facts) -> dict[str, object]:
    known = dataclasses.asdict(facts)
    for line in known["lines"]:
        line["times"] = line["times"].tolist()
        line["values"] = [value if value == value else None for value in line["values"].tolist()]
    known["events"] = [event._asdict() for event in facts.events]
    known["took"] = report.took(facts)
    return known
