"""Draws docs/chart.png: the outcome of the incident of a real run of the demo, as it would come to a phone."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

from watchdog import config
from watchdog.chat.chart import LocalTime, make_chart, plan_chart
from watchdog.core.model import Chart
from watchdog.journal import open_journal
from watchdog.offline.demo import run_demo
from watchdog.offline.history import series_db
from watchdog.pictures.kpi_chart import draw_chart
from watchdog.tsdb.page import PageList
from watchdog.tsdb.schema import SERIES_FILE

PICTURE = Path(__file__).parents[2] / "docs" / "chart.png"


def draw_outcome(folder: Path) -> bytes:
    """`folder`: of a demo that was kept."""
    known = config.load(folder, environ=os.environ)
    with contextlib.closing(open_journal(known.state)) as journal:
        incident = journal.incidents.list_incidents()[0]
        pages = PageList(series_db.read_pages(known.state / SERIES_FILE))
        begin = min(int(page.t[0]) for page in pages.pages)
        until = incident.closed or max(int(page.t[-1]) for page in pages.pages)
        trip = journal.incidents.list_trips(incident.id)[0]
        kpi = known.rule(trip.rule, incident.target).kpi
        chart = Chart(kpi or "", incident.target, trip.labels, incident.id, until - begin, until)
        plan = plan_chart(chart, known, known.checks, journal, until)
        assert plan is not None
        local = time.localtime(until / 1_000)
        return draw_chart(make_chart(plan, pages, LocalTime(local.tm_zone, local.tm_gmtoff * 1_000)))


def main() -> None:
    """`FOLDER`: of a demo that was kept; without one, the demo runs."""
    if len(sys.argv) > 1:
        PICTURE.write_bytes(draw_outcome(Path(sys.argv[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        if run_demo(as_json=False, keep=Path(folder)):
            sys.exit("the demo did not end as it should")
        PICTURE.write_bytes(draw_outcome(Path(folder)))


if __name__ == "__main__":
    main()
