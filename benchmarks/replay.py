"""Replay: points (rules × seconds) per CPU-second, beside Prometheus answering range queries of the same expressions."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from benchmarks import competitors
from benchmarks.cases import DAY, HOUR, SeriesHistory
from benchmarks.competitors import Figures
from benchmarks.measure import Effort, MeasurementError, measure_rate
from benchmarks.table import TableRow, measure_row
from watchdog import config
from watchdog.offline.replay.engine import replay
from watchdog.promql import evaluate, parse
from watchdog.tsdb.page import PageList, SeriesPage

_START = 1_700_000_000_000
YEAR = 365 * DAY


class _ReplayCase(NamedTuple):
    title: str
    exprs: tuple[str, ...]
    goal: float | None
    day: bool = False
    irregular: bool = False
    at_limit: bool = False
    """A value that crosses its limit all the time: no stretch of it can be passed over."""


_THRESHOLD_AND_MEAN = ("equity", "avg_over_time(equity[5m])")
_CURRENT_DRAWDOWN = ("1 - equity / max_over_time(equity[24h])",)
_MAX_DRAWDOWN = ("max_drawdown_over_time(equity[24h])",)
CASES = (
    _ReplayCase("threshold with hold + 5 min mean", _THRESHOLD_AND_MEAN, 100e6),
    _ReplayCase("… at the limit all the time", _THRESHOLD_AND_MEAN, None, at_limit=True),
    _ReplayCase("… irregular timestamps", _THRESHOLD_AND_MEAN, 10e6, irregular=True),
    _ReplayCase("… irregular, and at the limit all the time", _THRESHOLD_AND_MEAN, None, irregular=True, at_limit=True),
    _ReplayCase("current drawdown from the 24 h peak", _CURRENT_DRAWDOWN, 100e6, day=True),
    _ReplayCase("… at the limit all the time", _CURRENT_DRAWDOWN, None, day=True, at_limit=True),
    _ReplayCase("maximum drawdown over 24 h", _MAX_DRAWDOWN, 20e6, day=True),
    _ReplayCase("… at the limit all the time", _MAX_DRAWDOWN, None, day=True, at_limit=True),
)


def measure_rows(effort: Effort, log: Callable[[str], None]) -> Iterator[TableRow]:
    """All cases; those over a day, and the year, only in the full run."""
    with (
        TemporaryDirectory(prefix="benchmarks-") as name,
        competitors.running_competitors(Path(name), log, only_prometheus=True) as them,
    ):
        walk = _random_walk(DAY + HOUR if effort.full else 2 * HOUR)
        them.push_samples([[SeriesHistory("equity", (), walk)]])
        for case in CASES:
            if case.day and not effort.full:
                continue
            log(case.title)
            theirs = Figures()
            # What is irregular or at its limit costs them the same; what only we can say they are not asked.
            if not (case.irregular or case.at_limit) and case.exprs != _MAX_DRAWDOWN:
                theirs = them.measure(
                    lambda rival, case=case: rival.measure_range_queries(case.exprs, effort.seconds)  # type: ignore[misc]
                )
            yield measure_row(
                f"replay: {case.title}",
                partial(measure_ours, case, effort.seconds, full=effort.full),
                competitors=theirs.values,
                failures=theirs.failures,
                goal=case.goal,
            )
    if effort.full:
        log("a year")
        yield measure_row(
            "replay: a year of 1 s samples: memory (RSS)",
            measure_year_memory,
            unit="MB",
            more_is_better=False,
            goal=1_000,
        )


def measure_ours(case: _ReplayCase, seconds: float, *, full: bool) -> float:
    length = (5 if case.at_limit else 30) * DAY if full else 2 * HOUR
    with TemporaryDirectory(prefix="benchmarks-") as name:
        pages = _make_pages(length, case)
        limits = ["1000000000"] * len(case.exprs)
        if case.at_limit:
            limits = [
                repr(float(np.median(evaluate(parse(expr), pages, pages.pages[0].t[-HOUR:]).values)))
                for expr in case.exprs
            ]
        loaded = _load_rules(Path(name), case.exprs, limits, "60d" if case.at_limit else "30s")

        def forget() -> None:
            """What the last replay found out about these samples."""
            page = pages.pages[0]
            page.spacing_cache, page.lookup_cache = None, []

        def once() -> int:
            assert not replay(loaded, pages).trips
            return length * len(case.exprs)

        return measure_rate(forget, once, seconds)


def measure_year_memory() -> float:
    """MB that a process needs at most which replays a year of one series; measured from outside of this one."""
    program = f"from {__name__} import {replay_year.__name__} as main; main()"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise MeasurementError(f"the process ended with code {said.returncode}: {said.stderr.strip()[-300:]}")
    return float(said.stdout)


def replay_year() -> None:
    """Replays the year and says how much memory that took."""
    with TemporaryDirectory(prefix="benchmarks-") as name:
        replay(_load_rules(Path(name), _THRESHOLD_AND_MEAN, ["1000000000"] * 2, "30s"), _make_pages(YEAR, CASES[0]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def _random_walk(length: int) -> np.ndarray:
    return np.asarray(1e4 * np.exp(np.random.default_rng(3).normal(0.0, 1e-5, length).cumsum()))


def _make_pages(length: int, case: _ReplayCase) -> PageList:
    t = _START + 1_000 * np.arange(length, dtype=np.int64)
    if case.irregular:
        t += np.random.default_rng(4).integers(-400, 400, length)
    values = 1e4 + np.random.default_rng(5).normal(0.0, 10.0, length) if case.at_limit else _random_walk(length)
    return PageList([SeriesPage(t, values[None, :], [(("__name__", "equity"),)], int(t[0]))])


def _load_rules(folder: Path, exprs: tuple[str, ...], limits: Sequence[str], hold: str) -> config.Config:
    kpis = "".join(f"  kpi-{i}: {{expr: '{expr}'}}\n" for i, expr in enumerate(exprs))
    listed = "".join(
        f"  - {{name: r{i}, kpi: kpi-{i}, crit: {{above: {limit}, for: {hold}}}}}\n" for i, limit in enumerate(limits)
    )
    path = folder / "rules.yaml"
    path.write_text(f"targets: {{bot: {{}}}}\ndefaults: {{target: bot}}\nkpis:\n{kpis}rules:\n{listed}")
    loaded, problems = config.check_files([path], environ={})
    assert loaded is not None, problems
    return loaded
