"""PromQL over our own series, on numpy.

```
text ─parse→ Expr ─evaluate(series, times)→ Result
                  ─Live(series).at(now).read→ Instant      the same, said of one time to many expressions
```
One file each for the parser front, selectors, functions, operators and aggregations; `pages` is what series look like
from here, `shape` what can be told of an expression without samples. Semantics are those of Prometheus 3.
"""

from __future__ import annotations

from watchdog.promql.engine import QueryResult, evaluate
from watchdog.promql.errors import PromqlError
from watchdog.promql.live import EvaluationRound, Evaluator, InstantResult, InstantVector
from watchdog.promql.nodes import LOOKBACK_DELTA, Expr
from watchdog.promql.pages import PageList, Querier, SeriesPage, page_from_samples
from watchdog.promql.parser import parse
from watchdog.promql.reach import is_never_true, value_bounds
from watchdog.promql.recorded import RecordingRule, RecordingRules, expand_recordings
from watchdog.promql.shape import (
    detects_absence,
    may_have_labels,
    may_return_multiple_series,
    metric_names,
    metrics_read_for_extremes,
    required_lookback,
)

__all__ = [
    "LOOKBACK_DELTA",
    "EvaluationRound",
    "Evaluator",
    "Expr",
    "InstantResult",
    "InstantVector",
    "PageList",
    "PromqlError",
    "Querier",
    "QueryResult",
    "RecordingRule",
    "RecordingRules",
    "SeriesPage",
    "detects_absence",
    "evaluate",
    "expand_recordings",
    "is_never_true",
    "may_have_labels",
    "may_return_multiple_series",
    "metric_names",
    "metrics_read_for_extremes",
    "page_from_samples",
    "parse",
    "required_lookback",
    "value_bounds",
]
