"""The daemon as people run it, beside Prometheus with Alertmanager where they are installed: reaction, start, footprint."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from urllib.parse import urlencode

import psutil

from benchmarks.alerting_stack import AlertingStack
from benchmarks.measure import (
    COMPETITOR_TIMEOUT,
    Effort,
    MeasurementError,
    Memory,
    cpu_seconds,
    describe_failure,
    fetch,
    memory_usage,
    running_process,
    wait_until,
)
from benchmarks.metrics_server import ROOT, SERIES_COUNT, MetricsServer
from benchmarks.table import TableRow

RULE_COUNT = 20
POLL_INTERVAL = 1_000.0
"""ms between two reads of the page, on both sides."""
COMPETITOR = "Prometheus + Alertmanager"
T = TypeVar("T")
_GOLDEN = 0.618_033_988_75
"""Multiples of it are spread evenly over the tick, whatever their number."""


def expressions() -> list[str]:
    """What is judged besides the breach: plain thresholds, means over 5 min and drawdowns over 1 h."""
    found = []
    for i in range(RULE_COUNT - 1):
        gauge = f'bot_gauge{{symbol="SYM{i:02d}"}}'
        if i % 4 == 2:
            found.append(f"avg_over_time({gauge}[5m])")
        elif i % 4 == 3:
            found.append(f"1 - {gauge} / max_over_time({gauge}[1h])")
        else:
            found.append(gauge)
    return found


class DaemonUnderTest:
    """A running daemon with 20 rules. Its action is a `command` step that writes down when it began."""

    def __init__(self, folder: Path, url: str = "", *, source: str = "") -> None:
        """`source`: the entry of its source, in place of the page at `url`."""
        source = source or f'{{type: scrape, url: "{url}", every: 1s}}'
        self.folder = folder
        self._action_file = folder / "acted"
        self._log = folder / "log"
        (folder / "rules").mkdir(parents=True)
        (folder / "watchdog.yaml").write_text(
            f'sources: {{bot: {source}}}\nstate: state\nweb: {{listen: "127.0.0.1:0"}}\n'
        )
        names = [f"kpi-{i}" for i in range(RULE_COUNT - 1)]
        kpis = [f"  {name}: {{expr: '{expr}'}}" for name, expr in zip(names, expressions(), strict=True)]
        listed = [f"  - {{name: {name}, kpi: {name}, target: bot, crit: {{above: 1000}}}}" for name in names]
        (folder / "rules" / "all.yaml").write_text(
            "\n".join(
                [
                    f"targets: {{bot: {{run_as: {pwd.getpwuid(os.geteuid()).pw_name}}}}}",  # there is no repository to look at
                    "kpis:",
                    *kpis,
                    "  breach: {expr: breach}",
                    "rules:",
                    *listed,
                    "  - {name: breach, kpi: breach, target: bot, crit: {above: 0.5, plan: act}}",
                    "plans:",
                    "  act:",
                    "    kind: halt",
                    "    levels:",
                    "      - name: stamp",
                    f"        steps: [{{do: command, run: [sh, -c, 'exec date +%s%N >> {self._action_file}']}}]",
                    "        verify: {that: [alive == 1], give_up: 30s}",
                    "",
                ]
            )
        )

    @contextlib.contextmanager
    def started(self) -> Iterator[psutil.Popen]:
        argv = [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)]
        with running_process(argv, self._log, ROOT, self.folder.parent / "compiled") as process:
            try:
                yield process
            except MeasurementError as late:
                raise MeasurementError(f"{late}; the daemon says: {self._log.read_text()[-2_000:]}") from None

    def wait_until_ready(self) -> None:
        """Waits until it answers and has seen the bot."""
        wait_until(lambda: 'watchdog_source_up{source="bot"} 1.0' in self._metrics(), 120, "the daemon sees the bot")

    def acted_at(self, after: float) -> float | None:
        """When the action last began, in monotonic seconds; None when that was before `after`."""
        with contextlib.suppress(OSError, IndexError):
            wall = int(self._action_file.read_text().split()[-1])
            at = wall / 1e9 - (time.time() - time.monotonic())
            return at if at > after else None
        return None

    def is_resolved(self) -> bool:
        """Whether the incident is over, and a new one may come."""
        return "watchdog_incidents_open 0.0" in self._metrics()

    def _metrics(self) -> str:
        return self.ask("/metrics")

    def ask(self, path: str) -> str:
        """One of its own pages; empty when it is not told."""
        return fetch(f"{self.url}{path}") or "" if self.url else ""

    @property
    def url(self) -> str:
        """Where it serves its pages: the port is any that was free, and stands in the log. Empty until it does."""
        found = re.search(r"(http://127\.0\.0\.1:\d+)/metrics$", self._log.read_text(), re.MULTILINE)
        return "" if found is None else found[1]


class _Rival:
    """Prometheus with Alertmanager where they are installed, until they fail: then rows say why, and ours goes on."""

    def __init__(self, stack: AlertingStack | None, log: Callable[[str], None]) -> None:
        self._stack, self._log = stack, log
        self._failure = ""

    @property
    def failures(self) -> dict[str, str]:
        return {COMPETITOR: self._failure} if self._failure else {}

    def attempt(self, call: Callable[[AlertingStack], T]) -> T | None:
        """What `call` returns; None where they are not installed, or have failed."""
        if self._stack is None or self._failure:
            return None
        try:
            return call(self._stack)
        except Exception as error:
            self._failure = describe_failure(error)
            self._log(f"{COMPETITOR} is left out from here on: {self._failure}")
            return None

    def values(self, value: Callable[[list[float]], float], measured: list[float]) -> dict[str, float]:
        """For a row; nothing where they failed on the way."""
        return {COMPETITOR: value(measured)} if measured and not self._failure else {}


def measure_rows(effort: Effort, log: Callable[[str], None]) -> list[TableRow]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="benchmarks-")))
        pair = AlertingStack.find(folder / "pair", expressions())
        rival = _Rival(pair, log)
        if pair is None:
            log(
                "prometheus and prometheus-alertmanager are not both on PATH: reaction, start and footprint of ours alone"
            )
        else:
            stack.callback(pair.close)
        page = MetricsServer()
        stack.callback(page.close)
        log(f"footprint: {effort.footprint:g} s")
        first = DaemonUnderTest(folder / "first", page.url)
        with first.started():
            first.wait_until_ready()  # who compiles is larger and slower than who finds it compiled
        with _running_both(folder / "running", page.url, rival) as (ours, processes):
            footprint = _attempt_rows("footprint", partial(_measure_footprint, processes, rival, effort.footprint))
            log(f"reaction: {effort.rounds} breaches")
            reaction = _attempt_rows("reaction", partial(_measure_reaction, ours, rival, page, effort.rounds))
            log("reaction while queries are asked")
            reaction += _attempt_rows(
                "reaction while queries are asked", partial(_measure_busy_reaction, ours, page, effort.rounds)
            )
        log(f"start: {effort.starts} ×")
        start = _attempt_rows("start", partial(_measure_start, folder, page, rival, effort.starts))
        return [*reaction, *start, *footprint]


def _attempt_rows(title: str, measure: Callable[[], list[TableRow]]) -> list[TableRow]:
    """What is measured together, or a row that says why it was not."""
    try:
        return measure()
    except Exception as error:
        return [TableRow(title, None, failures={"ours": describe_failure(error)})]


@contextlib.contextmanager
def _running_both(
    folder: Path, url: str, rival: _Rival
) -> Iterator[tuple[DaemonUnderTest, dict[str, list[psutil.Popen]]]]:
    """Ours and theirs, watching one page."""
    with contextlib.ExitStack() as stack:
        ours = DaemonUnderTest(folder, url)
        processes = {"ours": [stack.enter_context(ours.started())]}
        theirs = rival.attempt(lambda pair: stack.enter_context(pair.running(url)))
        rival.attempt(
            lambda pair: wait_until(
                pair.is_ready, COMPETITOR_TIMEOUT, "Prometheus sees the bot, and Alertmanager is ready"
            )
        )
        if theirs is not None and not rival.failures:
            processes[COMPETITOR] = theirs
        ours.wait_until_ready()
        yield ours, processes


def _measure_footprint(processes: dict[str, list[psutil.Popen]], rival: _Rival, seconds: float) -> list[TableRow]:
    """CPU and memory while nothing happens: both at the same time, nobody asking them anything."""
    time.sleep(2)
    before = {who: cpu_seconds(each) for who, each in processes.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    rival.attempt(lambda pair: pair.require_alive())
    processes = {who: each for who, each in processes.items() if who not in rival.failures}
    cpu = {who: (cpu_seconds(each) - before[who]) / passed * 100 for who, each in processes.items()}
    memory: dict[str, Memory] = {who: memory_usage(each) for who, each in processes.items()}

    def row(what: str, unit: str, of: dict[str, float], goal: float | None) -> TableRow:
        theirs = {who: value for who, value in of.items() if who != "ours"}
        return TableRow(
            f"{RULE_COUNT} rules, {SERIES_COUNT} series at 1 s: {what}",
            of["ours"],
            unit,
            theirs,
            False,
            goal,
            failures=rival.failures,
        )

    return [
        row("CPU", "%", cpu, 0.6),
        row("memory (RSS)", "MB", {who: each.rss for who, each in memory.items()}, 60.0),
        row("memory (PSS)", "MB", {who: each.pss for who, each in memory.items()}, None),
    ]


def _measure_reaction(ours: DaemonUnderTest, rival: _Rival, page: MetricsServer, rounds: int) -> list[TableRow]:
    """Breaches that come at every phase of the tick; the same breach for both sides."""
    mine: list[float] = []
    shown: list[float] = []
    theirs: list[float] = []
    began = time.monotonic()
    for number in range(rounds):
        wait_until(ours.is_resolved, 60, "the incident is over")
        rival.attempt(lambda pair: wait_until(pair.is_resolved, COMPETITOR_TIMEOUT, "the alert is over"))
        phase = (number + 0.5) * _GOLDEN
        time.sleep((phase - (time.monotonic() - began)) % 1.0)
        at = page.set_breach(True)
        wait_until(lambda at=at: ours.acted_at(at) is not None, 60, "the daemon acts")  # type: ignore[misc]
        acted = ours.acted_at(at)
        assert acted is not None
        mine.append((acted - at) * 1e3)
        shown.append((acted - page.breach_read_at["trading-watchdog"]) * 1e3)
        if (called := rival.attempt(partial(_wait_for_webhook, at))) is not None:
            theirs.append((called - at) * 1e3)
        page.set_breach(False)

    def row(
        what: str, ours: list[float], theirs: list[float], of: Callable[[list[float]], float], goal: float | None
    ) -> TableRow:
        spread = (min(ours), max(ours)) if of is statistics.median else None
        values = rival.values(of, theirs)
        failures = {} if ours is shown else rival.failures
        return TableRow(what, of(ours), "ms", values, False, goal, spread=spread, failures=failures)

    return [
        row("breach → action, polling at 1 s: median", mine, theirs, statistics.median, POLL_INTERVAL / 2 + 30),
        row("breach → action, polling at 1 s: worst", mine, theirs, max, POLL_INTERVAL + 30),
        row("… of it from the read of the page to the action: median", shown, [], statistics.median, None),
        row("… of it from the read of the page to the action: worst", shown, [], max, 30),
    ]


_QUERIES = (
    'sum(quantile_over_time(0.5, {__name__=~".+"}[10m:100ms]))',
    'count_values("v", {__name__=~".+"})',
    'max_over_time(max_over_time({__name__=~".+"}[1h:1s])[1h:1s])',
)


def _measure_busy_reaction(ours: DaemonUnderTest, page: MetricsServer, rounds: int) -> list[TableRow]:
    """The same, of ours, while eight readers ask what is expensive, over and over."""
    stop = threading.Event()

    def ask(number: int) -> None:
        while not stop.is_set():
            query = urlencode({"expr": _QUERIES[number % len(_QUERIES)], "from": "now-15s", "step": "100ms"})
            ours.ask(f"/api/query?{query}")
            number += 1
            stop.wait(0.05)

    readers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for each in readers:
        each.start()
    try:
        rival = _Rival(None, print)
        rows = _measure_reaction(ours, rival, page, rounds)[:2]
    finally:
        stop.set()
        for each in readers:
            each.join()
    titles = ("… while 8 readers ask expensive queries: median", "… while 8 readers ask expensive queries: worst")
    return [replace(row, title=title, goal=None) for row, title in zip(rows, titles, strict=True)]


def _wait_for_webhook(after: float, pair: AlertingStack) -> float:
    """When it was called, in monotonic seconds."""
    wait_until(lambda: pair.acted_at(after) is not None, COMPETITOR_TIMEOUT, "the webhook is called")
    return pair.acted_at(after) or after


def _measure_start(folder: Path, page: MetricsServer, rival: _Rival, starts: int) -> list[TableRow]:
    """A breach that is already there when the process starts; every time with an empty state."""
    page.set_breach(True)
    mine, theirs = [], []
    for number in range(starts):
        ours = DaemonUnderTest(folder / f"start-{number}", page.url)
        began = time.monotonic()
        with ours.started():
            wait_until(lambda ours=ours, began=began: ours.acted_at(began) is not None, 120, "the daemon acts")  # type: ignore[misc]
            mine.append(((ours.acted_at(began) or began) - began) * 1e3)
        if (taken := rival.attempt(partial(_measure_their_start, page.url))) is not None:
            theirs.append(taken)
    return [
        TableRow(
            "process start → action on a breach that is there",
            statistics.median(mine),
            "ms",
            rival.values(statistics.median, theirs),
            False,
            700.0,
            spread=(min(mine), max(mine)),
            failures=rival.failures,
        )
    ]


def _measure_their_start(url: str, pair: AlertingStack) -> float:
    """ms."""
    pair.reset()
    began = time.monotonic()
    with pair.running(url):
        return (_wait_for_webhook(began, pair) - began) * 1e3
