"""Random expressions over random series: a real Prometheus and this engine say the same.

Debian's Prometheus is 2.42; ours is Prometheus 3. Where they are known to differ the reference is told openly:

- 2.x closes ranges on the left, 3 opens them. Samples lie on odd milliseconds and are asked for on even ones, and
  subqueries off their steps, so that no edge is ever hit.
- 2.x cuts a counter's extrapolation at its zero first and looks at the distance to the window's edge afterwards, 3 the
  other way round: `as_2_42` puts the old order into our engine while it is compared.
- The standard deviation of one infinite or NaN member is 0 in 2.x and NaN in 3: the same switch.
- 2.x sums plainly, 3 and we compensate; `deriv` and `predict_linear` subtract great sums in both, and distances from the
  mean in ours. What cancels out is compared with an absolute tolerance of 1e-12, expressions with a regression or
  the variance of a time in them with a relative one of 1e-6 instead of 1e-9.
- The last place of a sum or a mean decides where something jumps: `avg_over_time(x[5m]) == 5`. Where they differ, ours is
  asked again with sums and means moved by 4e-15 either way, and theirs must lie between; such cases are few, and counted.
- Not asked: `timestamp` with both @ and an offset (Prometheus forgets the offset), the name after `atan2` (2.x keeps it),
  variances of numbers whose squares overflow.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.promql import prometheus_server as prometheus
from tests.promql.random_promql import LENGTH, START, ExpressionGenerator, random_series
from watchdog.core.model import Labels
from watchdog.promql import PromqlError, evaluate, parse
from watchdog.promql.eval import aggregations
from watchdog.promql.functions import numeric
from watchdog.promql.functions.function import RangeFunction
from watchdog.promql.functions.registry import FUNCTIONS
from watchdog.promql.functions.windows import Window
from watchdog.tsdb.page import Floats, PageList, page_from_samples

CASE_COUNT = int(os.environ.get("WATCHDOG_DIFFERENTIAL", "6000"))
"""Expressions; tens of thousands on demand."""
SEED = int(os.environ.get("WATCHDOG_DIFFERENTIAL_SEED", "7"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(prometheus.unavailable_reason() is not None, reason=prometheus.unavailable_reason() or ""),
]


def _extrapolated_2_42(window: Window, *, per_second: bool) -> Floats | None:
    """`rate` and `increase` with the zero cut first."""
    t, v = window.t, window.v
    if t.size < 2:
        return None
    result = v[:, -1] - v[:, 0] + np.where(v[:, 1:] < v[:, :-1], v[:, :-1], 0.0).sum(axis=1)
    sampled = (t[-1] - t[0]) / 1_000
    distance = sampled / (t.size - 1)
    to_start = np.full(len(v), (t[0] - window.start) / 1_000)
    to_zero = sampled * v[:, 0] / np.where(result > 0, result, 1.0)
    to_start = np.where((result > 0) & (v[:, 0] >= 0) & (to_zero < to_start), to_zero, to_start)
    to_end = (window.end - t[-1]) / 1_000
    stretched = sampled + np.where(to_start < distance * 1.1, to_start, distance / 2)
    stretched = stretched + (to_end if to_end < distance * 1.1 else distance / 2)
    factor = stretched / sampled / ((window.end - window.start) / 1_000 if per_second else 1)
    return np.asarray(result * factor)


@pytest.fixture
def emulate_prometheus_2_42(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our engine with what 2.42 does otherwise."""
    for name, per_second in (("rate", True), ("increase", False)):
        row = RangeFunction(kernel=partial(_extrapolated_2_42, per_second=per_second))
        monkeypatch.setitem(FUNCTIONS, name, row)

    def stdvar(w: Floats) -> Floats:
        return np.zeros(len(w)) if w.shape[1] == 1 else numeric.row_variance(w)

    monkeypatch.setitem(aggregations.AGGREGATION_KERNELS, "stdvar", stdvar)
    monkeypatch.setitem(aggregations.AGGREGATION_KERNELS, "stddev", lambda w: np.sqrt(stdvar(w)))


def _evaluate_ours(text: str, pages: PageList, at: int) -> dict[Labels, float]:
    result = evaluate(parse(text), pages, np.array([at], np.int64))
    return {result.keys[row]: float(result.values[row, 0]) for row in np.flatnonzero(result.present[:, 0])}


def _close(mine: float, theirs: float, relative: float) -> bool:
    if math.isnan(mine) or math.isnan(theirs):
        return math.isnan(mine) and math.isnan(theirs)
    return math.isclose(mine, theirs, rel_tol=relative, abs_tol=1e-12)


def _describe_difference(text: str, mine: dict[Labels, float], theirs: dict[Labels, float]) -> str | None:
    great = "deriv" in text or "predict_linear" in text or ("std" in text and "time" in text)
    relative = 1e-6 if great else 1e-9
    if mine.keys() != theirs.keys():
        return f"only ours: {sorted(mine.keys() - theirs.keys())}, only theirs: {sorted(theirs.keys() - mine.keys())}"
    wrong = {key: (mine[key], theirs[key]) for key in mine if not _close(mine[key], theirs[key], relative)}
    return f"ours, theirs: {wrong}" if wrong else None


def _is_rounding_jump(
    text: str, pages: PageList, at: int, theirs: dict[Labels, float], monkeypatch: pytest.MonkeyPatch
) -> bool:
    def moved(kernel: Callable[..., Floats | None], by: float) -> Callable[..., Floats | None]:
        def asked(*args: object) -> Floats | None:
            got = kernel(*args)
            return None if got is None else got + by * np.maximum(np.abs(got), 1)  # a mean of 0 is 1e-17 there

        return asked

    said = [_evaluate_ours(text, pages, at)]
    for by, across in ((-4e-15, 0.0), (4e-15, 0.0), (0.0, -4e-15), (0.0, 4e-15)):
        with monkeypatch.context() as patch:
            for name, row in list(FUNCTIONS.items()):
                if name.startswith(
                    ("avg", "sum", "std", "quantile", "rate", "increase", "delta", "deriv", "predict")
                ) and isinstance(row, RangeFunction):
                    patch.setitem(FUNCTIONS, name, replace(row, kernel=moved(row.kernel, by), batch_kernel=None))
            for name in ("sum", "avg", "stddev", "stdvar"):
                patch.setitem(
                    aggregations.AGGREGATION_KERNELS, name, moved(aggregations.AGGREGATION_KERNELS[name], across)
                )
            with contextlib.suppress(PromqlError):
                said.append(_evaluate_ours(text, pages, at))
    always, ever = set.intersection(*map(set, said)), set.union(*map(set, said))
    if not always <= theirs.keys() <= ever:
        return False
    return all(_near(value, [answer[key] for answer in said if key in answer]) for key, value in theirs.items())


def _near(theirs: float, ours: list[float]) -> bool:
    """As good as one of them, or between them."""
    return min(ours) <= theirs <= max(ours) or any(_close(mine, theirs, 1e-9) for mine in ours)


def test_prometheus_and_we_agree(
    emulate_prometheus_2_42: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(SEED)
    samples = random_series(random)
    pages = PageList([page_from_samples({key: points.items() for key, points in samples.items()}, START)])
    words, counts, wrong = ExpressionGenerator(random), Counter[str](), []
    with prometheus.running_server(samples, tmp_path) as server:
        for _ in range(CASE_COUNT):
            text = words.expression(random.choice((1, 2, 2, 3)))
            at = START + random.randrange(60_000, LENGTH + 300_000, 2)
            at += 2 if at % 1_000 == 0 else 0
            said, theirs = "", {}
            try:
                theirs = server.query(text, at)
            except prometheus.QueryError as error:
                said = str(error)
            try:
                mine = _evaluate_ours(text, pages, at)
            except PromqlError as error:
                counts["refused by both"] += bool(said)
                if not said:
                    wrong.append(f"{text} at {at}: only we refuse it: {error}")
                continue
            if said:
                wrong.append(f"{text} at {at}: only Prometheus refuses it: {said}")
                continue
            counts["agreed"] += 1
            counts["with values"] += bool(theirs)
            if (difference := _describe_difference(text, mine, theirs)) is not None:
                counts["agreed"] -= 1
                if _is_rounding_jump(text, pages, at, theirs, monkeypatch):
                    counts["at a jump"] += 1
                    continue
                wrong.append(f"{text} at {at}: {difference}")
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{counts['agreed']} of {CASE_COUNT} random expressions agreed with Prometheus"
            f" ({counts['with values']} with values), {counts['at a jump']} but for the last place of a sum,"
            f" {counts['refused by both']} were refused by both"
        )
    assert not wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong[:20])
    assert counts["at a jump"] < CASE_COUNT / 500
    assert counts["with values"] > CASE_COUNT / 3
