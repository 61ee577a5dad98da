"""A thousand sources at 1 s in one daemon: what it costs, and how late the worst of them is read.

`python -m benchmarks.many_sources [--sources N] [--seconds S]` prints the figures alone; `--threads URL` is the rival: the
same reads by `requests` in a pool of threads.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import os
import pwd
import resource
import sys
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from benchmarks.fleet_server import Fleet, running_fleet
from benchmarks.measure import (
    QUICK_EFFORT,
    Effort,
    MeasurementError,
    cpu_seconds,
    describe_failure,
    memory_usage,
    running_process,
)
from benchmarks.metrics_server import ROOT
from benchmarks.table import TableRow, format_plain

SOURCES = 1_000
THREADS = "requests in 64 threads"
_THREADS = 64
_SETTLING = 8.0
"""s for the start, the first connections, and what is worked out once."""
_RULES = """\
targets: {{bots: {{run_as: {user}}}}}
kpis:
  equity: {{expr: equity}}
  worst: {{expr: 'min(equity)'}}
rules:
{shared}{own}
"""
_ENTRIES = {
    "http_json": '{{type: http_json, url: "{url}/json/{number}", every: 1s, values: {{equity: account.equity, '
    "pnl_today: account.pnl_today, open_orders: orders.open, open_positions: 'length(positions)'}}}}",
    "scrape": '{{type: scrape, url: "{url}/page/{number}", every: 1s}}',
}


class Reads(NamedTuple):
    """How a second's work was done."""

    cores: float
    """Share of one core."""
    worst: float
    """s from when a source was due until it was asked, at most."""
    late: float
    """The same, of 99 in 100."""
    per_second: float
    memory: float
    """MB of RSS."""


def due_phase(name: str) -> float:
    """Where in the second a source is read; every reader here keeps to it."""
    return zlib.crc32(name.encode()) / 2**32


def lateness(phase: float, reads: list[float], begin: float, end: float) -> list[float]:
    """For each time within that was due: how long after it the next read came. `reads` ascend."""
    first = int(begin - phase) + 1
    found = []
    while (due := first + phase) < end - 1:
        place = bisect.bisect_left(reads, due - 0.005)  # clocks of two processes, and timers that fire a little early
        found.append((reads[place] if place < len(reads) else end) - due)
        first += 1
    return found


_SHARED = """\
  - {name: equity, kpi: equity, target: bots, crit: {below: 1}}
  - {name: worst, kpi: worst, target: bots, crit: {below: 1}}
"""


def write_daemon(folder: Path, type_: str, fleet: Fleet, sources: int, own_rules: int, shared: bool = True) -> None:
    """A configuration of so many; `own_rules`: how many of them have a rule of their own."""
    (folder / "rules").mkdir(parents=True)
    entries = "".join(f"  bot-{n}: {_ENTRIES[type_].format(url=fleet.url, number=n)}\n" for n in range(sources))
    (folder / "watchdog.yaml").write_text(f'sources:\n{entries}state: state\nweb: {{listen: "127.0.0.1:0"}}\n')
    own = "".join(
        f"  - {{name: pnl-{n}, kpi: pnl-{n}, target: bots, crit: {{below: -1000}}}}\n" for n in range(own_rules)
    )
    kpis = "".join(f"  pnl-{n}: {{expr: 'pnl_today{{source=\"bot-{n}\"}}'}}\n" for n in range(own_rules))
    text = _RULES.format(user=pwd.getpwuid(os.geteuid()).pw_name, own=own, shared=_SHARED if shared else "")
    (folder / "rules" / "all.yaml").write_text(text.replace("rules:\n", f"{kpis}rules:\n", 1))


@contextlib.contextmanager
def running_daemon(folder: Path) -> Iterator[psutil.Process]:
    argv = [sys.executable, "-m", "watchdog", "run", "--config", str(folder)]
    with running_process(argv, folder / "log", ROOT, folder.parent / "compiled") as process:
        try:
            yield process
        except MeasurementError as late:
            raise MeasurementError(f"{late}; it says: {(folder / 'log').read_text()[-2_000:]}") from None


def watch(process: psutil.Process, fleet: Fleet, sources: int, seconds: float) -> Reads:
    """What the reader of the fleet does within so many seconds."""
    deadline = time.monotonic() + 120
    seen: set[int] = set()
    while len(seen) < sources:
        if time.monotonic() > deadline or process.status() == psutil.STATUS_ZOMBIE:
            raise MeasurementError(f"{len(seen)} of {sources} sources were ever read")
        time.sleep(0.5)
        seen |= {number for number, _ in fleet.take_reads()}
    time.sleep(_SETTLING)
    fleet.take_reads()
    began, before = time.time(), cpu_seconds([process])
    time.sleep(seconds)
    spent, ended = cpu_seconds([process]) - before, time.time()
    reads = defaultdict(list)
    count = 0
    for number, at in fleet.take_reads():
        reads[number].append(at)
        count += began <= at <= ended
    late = sorted(
        one for number in range(sources) for one in lateness(due_phase(f"bot-{number}"), reads[number], began, ended)
    )
    if not late:
        raise MeasurementError("nothing was due: measure for longer")
    memory = memory_usage([process]).rss
    return Reads(spent / (ended - began), late[-1], late[-(len(late) // 100) - 1], count / (ended - began), memory)


def measure_daemon(folder: Path, type_: str, fleet: Fleet, sources: int, seconds: float, own_rules: int = 0) -> Reads:
    write_daemon(folder, type_, fleet, sources, own_rules)
    with running_daemon(folder) as process:
        return watch(process, fleet, sources, seconds)


def measure_threads(folder: Path, fleet: Fleet, sources: int, seconds: float) -> Reads:
    """The rival, who judges nothing and keeps nothing."""
    folder.mkdir()
    argv = [sys.executable, "-m", "benchmarks.many_sources", "--threads", fleet.url, "--sources", str(sources)]
    with running_process(argv, folder / "log", ROOT, folder.parent / "compiled") as process:
        return watch(process, fleet, sources, seconds)


def read_by_threads(url: str, sources: int) -> None:
    """What anybody would write: threads that share the bots, a session and JMESPath. Never returns."""
    import jmespath
    import requests

    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8_192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    paths = [
        jmespath.compile(each) for each in ("account.equity", "account.pnl_today", "orders.open", "length(positions)")
    ]

    def read(mine: range) -> None:
        sessions = {number: requests.Session() for number in mine}
        due = {number: int(time.time()) + due_phase(f"bot-{number}") for number in mine}
        while True:
            number = min(mine, key=lambda each: due[each])
            time.sleep(max(due[number] - time.time(), 0))
            document = sessions[number].get(f"{url}/json/{number}", timeout=10).json()
            assert all(path.search(document) is not None for path in paths)
            due[number] += max(1, int(time.time() - due[number]) + 1)

    for number in range(_THREADS):
        threading.Thread(target=read, args=(range(number, sources, _THREADS),), daemon=True).start()
    threading.Event().wait()


def measure_rows(effort: Effort, log: Callable[[str], None], sources: int = SOURCES) -> Iterator[TableRow]:
    with running_fleet() as fleet, TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        failures: dict[str, str] = {}
        theirs = None
        log(f"{sources} bots: {THREADS}, {effort.footprint:g} s")
        try:
            theirs = measure_threads(folder / "threads", fleet, sources, effort.footprint)
        except Exception as error:
            failures[THREADS] = describe_failure(error)
            log(f"{THREADS} are left out: {failures[THREADS]}")
        for title, type_, own_rules in (
            ("http_json", "http_json", 0),
            ("http_json, a rule for each", "http_json", sources),
            ("scrape", "scrape", 0),
        ):
            log(f"{sources} sources: {title}, {effort.footprint:g} s")
            place = folder / title.replace(" ", "-")
            try:
                ours = measure_daemon(place, type_, fleet, sources, effort.footprint, own_rules)
            except Exception as error:
                yield TableRow(f"{sources:,} {title} at 1 s", None, failures={"ours": describe_failure(error)})
                continue
            row = partial(_row, f"{sources:,} {title} at 1 s", ours, theirs, failures)
            yield row("share of a core", "%", lambda one: one.cores * 100, 100.0 if type_ == "http_json" else None)
            yield row("worst lateness", "ms", lambda one: one.worst * 1e3, 1_000.0 if type_ == "http_json" else None)
            yield row("lateness of 99 in 100", "ms", lambda one: one.late * 1e3, None)
            yield row("reads in a second", "", lambda one: one.per_second, None)
            yield row("memory (RSS)", "MB", lambda one: one.memory, None)


def _row(
    title: str,
    ours: Reads,
    theirs: Reads | None,
    failures: dict[str, str],
    what: str,
    unit: str,
    of: Callable[[Reads], float],
    goal: float | None,
) -> TableRow:
    values = {} if theirs is None else {THREADS: of(theirs)}
    return TableRow(f"{title}: {what}", of(ours), unit, values, not unit, goal, failures=failures)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.many_sources", description="Many sources in one daemon.")
    parser.add_argument("--sources", type=int, default=SOURCES)
    parser.add_argument("--seconds", type=float, default=10.0, help="over which each is watched")
    parser.add_argument("--threads", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads is not None:
        read_by_threads(options.threads, options.sources)
    effort = QUICK_EFFORT._replace(footprint=options.seconds)
    print(format_plain([*measure_rows(effort, lambda text: print(text, file=sys.stderr), options.sources)]))


if __name__ == "__main__":
    main()
