"""PromQL over our own series, on numpy.

```
text ─parse→ Expr ─evaluate(series, times)→ QueryResult
                  ─Evaluator.at(now).evaluate→ InstantResult      the same, said of one time to many expressions
```
`parse` turns text into nodes and tells what can be told without samples, `functions` holds one row for each function, `eval`
walks the nodes over arrays of times, `fast` has the shorter ways to the same bits. Semantics are those of Prometheus 3.
"""

from __future__ import annotations

from watchdog.promql.embedded import EmbeddedEvaluator
from watchdog.promql.errors import PromqlError
from watchdog.promql.eval.engine import QueryResult, evaluate
from watchdog.promql.eval.limits import EvaluationLimits
from watchdog.promql.evaluator import EvaluationRound, Evaluator, InstantResult, InstantVector
from watchdog.promql.parse.analysis import (
    SelectedMetric,
    counter_metrics,
    detects_absence,
    may_have_labels,
    may_return_multiple_series,
    metric_names,
    metrics_read_for_extremes,
    reads_beyond,
    reads_clock,
    required_lookback,
    required_metrics,
    result_labels,
    selected_metrics,
)
from watchdog.promql.parse.expand_recordings import RecordingRule, RecordingRules, expand_recordings
from watchdog.promql.parse.nodes import Expr
from watchdog.promql.parse.parser import parse
from watchdog.promql.parse.restrict import own_or_shared, restrict_selectors
from watchdog.promql.parse.value_bounds import is_never_true, value_bounds

__all__ = [
    "EmbeddedEvaluator",
    "EvaluationLimits",
    "EvaluationRound",
    "Evaluator",
    "Expr",
    "InstantResult",
    "InstantVector",
    "PromqlError",
    "QueryResult",
    "RecordingRule",
    "RecordingRules",
    "SelectedMetric",
    "counter_metrics",
    "detects_absence",
    "evaluate",
    "expand_recordings",
    "is_never_true",
    "may_have_labels",
    "may_return_multiple_series",
    "metric_names",
    "metrics_read_for_extremes",
    "own_or_shared",
    "parse",
    "reads_beyond",
    "reads_clock",
    "required_lookback",
    "required_metrics",
    "restrict_selectors",
    "result_labels",
    "selected_metrics",
    "value_bounds",
]
