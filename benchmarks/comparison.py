"""Evaluations per CPU-second, ours and theirs, one case after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import competitors
from benchmarks.cases import make_cases
from benchmarks.evaluator import RULE_COUNT, EvaluatorBenchmark, measure_core_share, measure_pipeline
from benchmarks.measure import Effort
from benchmarks.table import TableRow

CORE_SHARE_TITLE = f"{RULE_COUNT:,} rules at 1 s, share of a core"


def measure_rows(effort: Effort, log: Callable[[str], None]) -> list[TableRow]:
    """All cases. Theirs are measured right before ours, on the same series."""
    listed = make_cases(day=effort.full)
    ours = EvaluatorBenchmark(effort.seconds)
    found = []
    with (
        TemporaryDirectory(prefix="benchmarks-") as name,
        competitors.running_competitors(Path(name), log, only_prometheus=not effort.full) as them,
    ):
        for rival in them:
            log(f"{rival.name} takes the samples")
            rival.push_samples({id(case.history): case.history for case in listed}.values())
        for number, case in enumerate(listed):
            log(case.title)
            theirs = {rival.name: rival.measure_rules(case, effort.seconds) for rival in them}
            wanted = ("Prometheus", case.goal / case.prometheus_reference)
            found.append(TableRow(case.title, ours.measure_fast(case), "", theirs, True, case.goal, wanted))
            if case.checks > 1 or number == 0:
                found.append(TableRow("… with every verdict written out", ours.measure_with_verdicts(case), "", theirs))
            if case.checks > 1:
                found.append(TableRow("… with the limit in the expression", ours.measure_filtered(case), "", theirs))
            if number == 0:
                found.append(
                    TableRow("… through the whole pipeline", measure_pipeline(case, effort.seconds), "", theirs)
                )
                log(CORE_SHARE_TITLE)
                found.append(
                    TableRow(CORE_SHARE_TITLE, measure_core_share(effort.seconds), "%", more_is_better=False, goal=15.0)
                )
    return found
