"""Evaluations per CPU-second, ours and theirs, one case after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import rivals
from benchmarks.data import cases
from benchmarks.evaluator import RULES, Ours, share_of_a_core, whole_round
from benchmarks.measure import Effort
from benchmarks.table import Row

MANY = f"{RULES:,} rules at 1 s, share of a core"


def rows(effort: Effort, say: Callable[[str], None]) -> list[Row]:
    """All cases. Theirs are measured right before ours, on the same series."""
    listed = cases(day=effort.full)
    ours = Ours(effort.seconds)
    found = []
    with (
        TemporaryDirectory(prefix="benchmarks-") as name,
        rivals.found(Path(name), say, only_prometheus=not effort.full) as them,
    ):
        for rival in them:
            say(f"{rival.name} takes the samples")
            rival.push({id(case.history): case.history for case in listed}.values())
        for number, case in enumerate(listed):
            say(case.what)
            theirs = {rival.name: rival.judged(case, effort.seconds) for rival in them}
            wanted = ("Prometheus", case.goal / case.prometheus)
            found.append(Row(case.what, ours.judged(case), "", theirs, True, case.goal, wanted))
            if case.checks > 1 or number == 0:
                found.append(Row("… with every verdict written out", ours.written(case), "", theirs))
            if case.checks > 1:
                found.append(Row("… with the limit in the expression", ours.filtered(case), "", theirs))
            if number == 0:
                found.append(Row("… through the whole pipeline", whole_round(case, effort.seconds), "", theirs))
                say(MANY)
                found.append(Row(MANY, share_of_a_core(effort.seconds), "%", more_is_better=False, goal=15.0))
    return found
