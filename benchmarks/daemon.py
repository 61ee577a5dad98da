"""The daemon as people run it, beside Prometheus with Alertmanager where they are installed: reaction, start, footprint."""

from __future__ import annotations

import contextlib
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.alerting import Pair
from benchmarks.bot import ROOT, SERIES, Page
from benchmarks.measure import Effort, Memory, cpu_of, fetch, memory_of, running, until
from benchmarks.table import Row

RULES = 20
TICK = 1_000.0
"""ms between two reads of the page, on both sides."""
THEM = "Prometheus + Alertmanager"
_GOLDEN = 0.618_033_988_75
"""Multiples of it are spread evenly over the tick, whatever their number."""


def expressions() -> list[str]:
    """What is judged besides the breach: plain thresholds, means over 5 min and drawdowns over 1 h."""
    found = []
    for i in range(RULES - 1):
        gauge = f'bot_gauge{{symbol="SYM{i:02d}"}}'
        if i % 4 == 2:
            found.append(f"avg_over_time({gauge}[5m])")
        elif i % 4 == 3:
            found.append(f"1 - {gauge} / max_over_time({gauge}[1h])")
        else:
            found.append(gauge)
    return found


class Ours:
    """A running daemon with 20 rules. Its action is a `command` step that writes down when it began."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self._stamp = folder / "acted"
        self._log = folder / "log"
        (folder / "rules").mkdir(parents=True)
        (folder / "watchdog.yaml").write_text(
            f'sources: {{bot: {{type: scrape, url: "{url}", every: 1s}}}}\n'
            f'state: state\nweb: {{listen: "127.0.0.1:0"}}\n'
        )
        names = [f"kpi-{i}" for i in range(RULES - 1)]
        kpis = [f"  {name}: {{expr: '{expr}'}}" for name, expr in zip(names, expressions(), strict=True)]
        listed = [f"  - {{name: {name}, kpi: {name}, target: bot, crit: {{above: 1000}}}}" for name in names]
        (folder / "rules" / "all.yaml").write_text(
            "\n".join(
                [
                    "targets: {bot: {}}",
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
                    f"        steps: [{{do: command, run: [sh, -c, 'exec date +%s%N >> {self._stamp}']}}]",
                    "        verify: {that: [alive == 1], give_up: 30s}",
                    "",
                ]
            )
        )

    @contextlib.contextmanager
    def started(self) -> Iterator[psutil.Popen]:
        argv = [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)]
        with running(argv, self._log, ROOT, self.folder.parent / "compiled") as process:
            try:
                yield process
            except SystemExit as late:
                raise SystemExit(f"{late}; the daemon says:\n{self._log.read_text()[-2_000:]}") from None

    def ready(self) -> None:
        """Waits until it answers and has seen the bot."""
        until(lambda: 'watchdog_source_up{source="bot"} 1.0' in self._metrics(), 30, "the daemon sees the bot")

    def acted(self, after: float) -> float | None:
        """When the action last began, in monotonic seconds; None when that was before `after`."""
        with contextlib.suppress(OSError, IndexError):
            wall = int(self._stamp.read_text().split()[-1])
            at = wall / 1e9 - (time.time() - time.monotonic())
            return at if at > after else None
        return None

    def calm(self) -> bool:
        """Whether the incident is over, and a new one may come."""
        return "watchdog_incidents_open 0.0" in self._metrics()

    def _metrics(self) -> str:
        """Its own page; the port is any that was free, and stands in the log."""
        found = re.search(r"http://127\.0\.0\.1:\d+/metrics$", self._log.read_text(), re.MULTILINE)
        return "" if found is None else fetch(found[0]) or ""


def rows(effort: Effort, say: Callable[[str], None]) -> list[Row]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="benchmarks-")))
        pair = Pair.find(folder / "pair", expressions())
        if pair is None:
            say(
                "prometheus and prometheus-alertmanager are not both on PATH: reaction, start and footprint of ours alone"
            )
        else:
            stack.callback(pair.close)
        page = Page()
        stack.callback(page.close)
        say(f"footprint: {effort.footprint:g} s")
        first = Ours(folder / "first", page.url)
        with first.started():
            first.ready()  # who compiles is larger and slower than who finds it compiled
        with _both(folder / "running", page.url, pair) as (ours, processes):
            found = _footprint(processes, effort.footprint)
            say(f"reaction: {effort.rounds} breaches")
            reaction = _reaction(ours, pair, page, effort.rounds)
        say(f"start: {effort.starts} ×")
        return [*reaction, _start(folder, page, pair, effort.starts), *found]


@contextlib.contextmanager
def _both(folder: Path, url: str, pair: Pair | None) -> Iterator[tuple[Ours, dict[str, list[psutil.Popen]]]]:
    """Ours and theirs, watching one page."""
    with contextlib.ExitStack() as stack:
        ours = Ours(folder, url)
        processes = {"ours": [stack.enter_context(ours.started())]}
        if pair is not None:
            processes[THEM] = stack.enter_context(pair.started(url))
            until(pair.ready, 60, "Prometheus sees the bot")
        ours.ready()
        yield ours, processes


def _footprint(processes: dict[str, list[psutil.Popen]], seconds: float) -> list[Row]:
    """CPU and memory while nothing happens: both at the same time, nobody asking them anything."""
    time.sleep(2)
    before = {who: cpu_of(each) for who, each in processes.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    cpu = {who: (cpu_of(each) - before[who]) / passed * 100 for who, each in processes.items()}
    memory: dict[str, Memory] = {who: memory_of(each) for who, each in processes.items()}

    def row(what: str, unit: str, of: dict[str, float], goal: float | None) -> Row:
        theirs = {who: value for who, value in of.items() if who != "ours"}
        return Row(f"{RULES} rules, {SERIES} series at 1 s: {what}", of["ours"], unit, theirs, False, goal)

    return [
        row("CPU", "%", cpu, 0.6),
        row("memory (RSS)", "MB", {who: each.rss for who, each in memory.items()}, 60.0),
        row("memory (PSS)", "MB", {who: each.pss for who, each in memory.items()}, None),
    ]


def _reaction(ours: Ours, pair: Pair | None, page: Page, rounds: int) -> list[Row]:
    """Breaches that come at every phase of the tick; the same breach for both sides."""
    mine: list[float] = []
    shown: list[float] = []
    theirs: list[float] = []
    began = time.monotonic()
    for number in range(rounds):
        until(ours.calm, 60, "the incident is over")
        if pair is not None:
            until(pair.calm, 60, "the alert is over")
        phase = (number + 0.5) * _GOLDEN
        time.sleep((phase - (time.monotonic() - began)) % 1.0)
        at = page.flip(True)
        until(lambda at=at: ours.acted(at) is not None, 60, "the daemon acts")  # type: ignore[misc]
        acted = ours.acted(at)
        assert acted is not None
        mine.append((acted - at) * 1e3)
        shown.append((acted - page.shown["trading-watchdog"]) * 1e3)
        if pair is not None:
            until(lambda at=at: pair.acted(at) is not None, 60, "the webhook is called")  # type: ignore[misc]
            theirs.append(((pair.acted(at) or at) - at) * 1e3)
        page.flip(False)

    def row(
        what: str, ours: list[float], theirs: list[float], of: Callable[[list[float]], float], goal: float | None
    ) -> Row:
        spread = (min(ours), max(ours)) if of is statistics.median else None
        return Row(what, of(ours), "ms", {THEM: of(theirs)} if theirs else {}, False, goal, spread=spread)

    return [
        row("breach → action, polling at 1 s: median", mine, theirs, statistics.median, TICK / 2 + 30),
        row("breach → action, polling at 1 s: worst", mine, theirs, max, TICK + 30),
        row("… of it from the read of the page to the action: median", shown, [], statistics.median, None),
        row("… of it from the read of the page to the action: worst", shown, [], max, 30),
    ]


def _start(folder: Path, page: Page, pair: Pair | None, starts: int) -> Row:
    """A breach that is already there when the process starts; every time with an empty state."""
    page.flip(True)
    mine, theirs = [], []
    for number in range(starts):
        ours = Ours(folder / f"start-{number}", page.url)
        began = time.monotonic()
        with ours.started():
            until(lambda ours=ours, began=began: ours.acted(began) is not None, 30, "the daemon acts")  # type: ignore[misc]
            mine.append(((ours.acted(began) or began) - began) * 1e3)
        if pair is not None:
            pair.forget()
            began = time.monotonic()
            with pair.started(page.url):
                until(lambda began=began: pair.acted(began) is not None, 60, "the webhook is called")  # type: ignore[misc]
                theirs.append(((pair.acted(began) or began) - began) * 1e3)
    return Row(
        "process start → action on a breach that is there",
        statistics.median(mine),
        "ms",
        {THEM: statistics.median(theirs)} if theirs else {},
        False,
        700.0,
        spread=(min(mine), max(mine)),
    )
