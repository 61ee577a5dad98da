"""Replay: points (rules × seconds) per CPU-second, beside Prometheus answering range queries of the same expressions."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from benchmarks import rivals
from benchmarks.data import DAY, HOUR, Series
from benchmarks.measure import Effort, rate
from benchmarks.table import Row
from watchdog import config
from watchdog.promql import Page, Pages, evaluate, parse
from watchdog.replay import replay

_START = 1_700_000_000_000
YEAR = 365 * DAY


class _Case(NamedTuple):
    what: str
    exprs: tuple[str, ...]
    goal: float | None
    day: bool = False
    irregular: bool = False
    at_limit: bool = False
    """A value that crosses its limit all the time: no stretch of it can be passed over."""


_MEAN = ("equity", "avg_over_time(equity[5m])")
_NOW = ("1 - equity / max_over_time(equity[24h])",)
_WORST = ("max_drawdown_over_time(equity[24h])",)
CASES = (
    _Case("threshold with hold + 5 min mean", _MEAN, 100e6),
    _Case("… at the limit all the time", _MEAN, None, at_limit=True),
    _Case("… irregular timestamps", _MEAN, 10e6, irregular=True),
    _Case("… irregular, and at the limit all the time", _MEAN, None, irregular=True, at_limit=True),
    _Case("current drawdown from the 24 h peak", _NOW, 100e6, day=True),
    _Case("… at the limit all the time", _NOW, None, day=True, at_limit=True),
    _Case("maximum drawdown over 24 h", _WORST, 20e6, day=True),
    _Case("… at the limit all the time", _WORST, None, day=True, at_limit=True),
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
            # What is irregular or at its limit costs them the same; what only we can say they are not asked.
            if not (case.irregular or case.at_limit) and case.exprs != _WORST:
                theirs = {rival.name: rival.ranged(case.exprs, effort.seconds) for rival in them}
            found.append(
                Row(f"replay: {case.what}", ours(case, effort.seconds, full=effort.full), "", theirs, True, case.goal)
            )
    if effort.full:
        say("a year")
        found.append(Row("replay: a year of 1 s samples: memory (RSS)", year(), " MB", {}, False, 1_000))
    return found


def ours(case: _Case, seconds: float, *, full: bool) -> float:
    length = (5 if case.at_limit else 30) * DAY if full else 2 * HOUR
    with TemporaryDirectory(prefix="benchmarks-") as name:
        pages = _pages(length, case)
        limits = ["1000000000"] * len(case.exprs)
        if case.at_limit:
            limits = [
                repr(float(np.median(evaluate(parse(expr), pages, pages.pages[0].t[-HOUR:]).values)))
                for expr in case.exprs
            ]
        loaded = _rules(Path(name), case.exprs, limits, "60d" if case.at_limit else "30s")

        def forget() -> None:
            """What the last replay found out about these samples."""
            page = pages.pages[0]
            page.paced, page.looked = None, []

        def once() -> int:
            assert not replay(loaded, pages).trips
            return length * len(case.exprs)

        return rate(forget, once, seconds)


def year() -> float:
    """MB that a process needs at most which replays a year of one series; measured from outside of this one."""
    argv = [sys.executable, "-c", "from benchmarks.replay import main; main()"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True)
    return float(said.stdout)


def main() -> None:
    """Replays the year and says how much memory that took."""
    with TemporaryDirectory(prefix="benchmarks-") as name:
        replay(_rules(Path(name), _MEAN, ["1000000000"] * 2, "30s"), _pages(YEAR, CASES[0]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def _walk(length: int) -> np.ndarray:
    return np.asarray(1e4 * np.exp(np.random.default_rng(3).normal(0.0, 1e-5, length).cumsum()))


def _pages(length: int, case: _Case) -> Pages:
    t = _START + 1_000 * np.arange(length, dtype=np.int64)
    if case.irregular:
        t += np.random.default_rng(4).integers(-400, 400, length)
    values = 1e4 + np.random.default_rng(5).normal(0.0, 10.0, length) if case.at_limit else _walk(length)
    return Pages([Page(t, values[None, :], [(("__name__", "equity"),)], int(t[0]))])


def _rules(folder: Path, exprs: tuple[str, ...], limits: Sequence[str], hold: str) -> config.Config:
    kpis = "".join(f"  kpi-{i}: {{expr: '{expr}'}}\n" for i, expr in enumerate(exprs))
    listed = "".join(
        f"  - {{name: r{i}, kpi: kpi-{i}, crit: {{above: {limit}, for: {hold}}}}}\n" for i, limit in enumerate(limits)
    )
    path = folder / "rules.yaml"
    path.write_text(f"targets: {{bot: {{}}}}\ndefaults: {{target: bot}}\nkpis:\n{kpis}rules:\n{listed}")
    loaded, problems = config.check([path], environ={})
    assert loaded is not None, problems
    return loaded
