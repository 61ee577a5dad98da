"""Replay: points (rules × seconds) per CPU-second, beside Prometheus answering range queries of the same expressions."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from benchmarks import rivals
from benchmarks.data import DAY, HOUR, Series
from benchmarks.measure import Effort, nothing, rate
from benchmarks.table import Row
from watchdog import config
from watchdog.promql import Page, Pages
from watchdog.replay import replay

_START = 1_700_000_000_000
YEAR = 365 * DAY


class _Case(NamedTuple):
    what: str
    exprs: tuple[str, ...]
    goal: float
    day: bool = False
    irregular: bool = False


CASES = (
    _Case("threshold with hold + 5 min mean", ("equity", "avg_over_time(equity[5m])"), 100e6),
    _Case("… irregular timestamps", ("equity", "avg_over_time(equity[5m])"), 10e6, irregular=True),
    _Case("current drawdown from the 24 h peak", ("1 - equity / max_over_time(equity[24h])",), 100e6, day=True),
    _Case("maximum drawdown over 24 h", ("max_drawdown_over_time(equity[24h])",), 20e6, day=True),
)


def rows(effort: Effort, say: Callable[[str], None]) -> list[Row]:
    """All cases; those over a day, and the year, only in the full run."""
    found = []
    with TemporaryDirectory(prefix="benchmarks-") as name, rivals.found(Path(name), say, only_prometheus=True) as them:
        walk = _walk(DAY + HOUR if effort.full else 2 * HOUR)
        for rival in them:
            say(f"{rival.name} takes the samples")
            rival.push([[Series("equity", (), walk)]])
        for case in CASES:
            if case.day and not effort.full:
                continue
            say(case.what)
            theirs = {}
            # What is irregular to us costs them the same; what only we can say they are not asked.
            if not case.irregular and "max_drawdown" not in case.exprs[0]:
                theirs = {rival.name: rival.ranged(case.exprs, effort.seconds) for rival in them}
            found.append(Row(f"replay: {case.what}", ours(case, effort.seconds, full=effort.full), "", theirs, True, case.goal))
    if effort.full:
        say("a year")
        found.append(Row("replay: a year of 1 s samples: memory (RSS)", year(), " MB", {}, False, 1_000))
    return found


def ours(case: _Case, seconds: float, *, full: bool) -> float:
    length = 5 * DAY if full else 2 * HOUR
    with TemporaryDirectory(prefix="benchmarks-") as name:
        loaded = _rules(Path(name), case.exprs)
        pages = _pages(length, irregular=case.irregular)

        def once() -> int:
            assert not replay(loaded, pages).trips
            return length * len(case.exprs)

        return rate(nothing, once, seconds)


def year() -> float:
    """MB that a process needs at most which replays a year of one series; measured from outside of this one."""
    argv = [sys.executable, "-c", "from benchmarks.replay import main; main()"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True)
    return float(said.stdout)


def main() -> None:
    """Replays the year and says how much memory that took."""
    with TemporaryDirectory(prefix="benchmarks-") as name:
        replay(_rules(Path(name), CASES[0].exprs), _pages(YEAR, irregular=False))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def _walk(length: int) -> np.ndarray:
    return np.asarray(1e4 * np.exp(np.random.default_rng(3).normal(0.0, 1e-5, length).cumsum()))


def _pages(length: int, *, irregular: bool) -> Pages:
    t = _START + 1_000 * np.arange(length, dtype=np.int64)
    if irregular:
        t += np.random.default_rng(4).integers(-400, 400, length)
    return Pages([Page(t, _walk(length)[None, :], [(("__name__", "equity"),)], int(t[0]))])


def _rules(folder: Path, exprs: tuple[str, ...]) -> config.Config:
    kpis = "".join(f"  kpi-{i}: {{expr: '{expr}'}}\n" for i, expr in enumerate(exprs))
    listed = "".join(f"  - {{name: r{i}, kpi: kpi-{i}, crit: {{above: 1000000000, for: 30s}}}}\n" for i in range(len(exprs)))
    path = folder / "rules.yaml"
    path.write_text(f"targets: {{bot: {{}}}}\ndefaults: {{target: bot}}\nkpis:\n{kpis}rules:\n{listed}")
    loaded, problems = config.check([path], environ={})
    assert loaded is not None, problems
    return loaded
