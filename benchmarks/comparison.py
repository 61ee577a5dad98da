"""Evaluations per CPU-second, ours and theirs, one case after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import competitors
from benchmarks.cases import make_cases
from benchmarks.competitors import Figures
from benchmarks.evaluator import RULE_COUNT, EvaluatorBenchmark, measure_core_share, measure_pipeline
from benchmarks.measure import Effort
from benchmarks.table import TableRow, measure_row

CORE_SHARE_TITLE = f"{RULE_COUNT:,} rules at 1 s, share of a core"


def measure_rows(effort: Effort, log: Callable[[str], None]) -> Iterator[TableRow]:
    """All cases. Theirs are measured right before ours, on the same series."""
    listed = make_cases(day=effort.full)
    ours = EvaluatorBenchmark(effort.seconds)
    with (
        TemporaryDirectory(prefix="benchmarks-") as name,
        competitors.running_competitors(Path(name), log, only_prometheus=not effort.full) as them,
    ):
        them.push_samples({id(case.history): case.history for case in listed}.values())
        for number, case in enumerate(listed):
            log(case.title)
            theirs = them.measure(lambda rival, case=case: rival.measure_rules(case, effort.seconds))  # type: ignore[misc]

            def row(title: str, measure: Callable[[], float], theirs: Figures = theirs, **goals: Any) -> TableRow:
                return measure_row(title, measure, competitors=theirs.values, failures=theirs.failures, **goals)

            wanted = ("Prometheus", case.goal / case.prometheus_reference)
            yield row(case.title, partial(ours.measure_fast, case), goal=case.goal, target_ratio=wanted)
            if case.checks > 1 or number == 0:
                yield row("… with every verdict written out", partial(ours.measure_with_verdicts, case))
            if case.checks > 1:
                yield row("… with the limit in the expression", partial(ours.measure_filtered, case))
            if number == 0:
                yield row("… through the whole pipeline", partial(measure_pipeline, case, effort.seconds))
                log(CORE_SHARE_TITLE)
                share = partial(measure_core_share, effort.seconds)
                yield measure_row(CORE_SHARE_TITLE, share, unit="%", more_is_better=False, goal=15.0)
