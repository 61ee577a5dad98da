"""PromQL over our own series, on numpy.

```
text ─parse→ Expr ─evaluate(series, times)→ Result
                  ─Live(series).at(now).read→ Instant      the same, said of one time to many expressions
```
One file each for the parser front, selectors, functions, operators and aggregations; `pages` is what series look like
from here, `shape` what can be told of an expression without samples. Semantics are those of Prometheus 3.
"""

from __future__ import annotations

from watchdog.promql.engine import Result, evaluate
from watchdog.promql.errors import PromqlError
from watchdog.promql.live import Instant, Live, Tick, Values
from watchdog.promql.nodes import LOOKBACK, Expr
from watchdog.promql.pages import Page, Pages, Series, page_of
from watchdog.promql.parser import parse
from watchdog.promql.reach import bounds, never
from watchdog.promql.recorded import Recording, Recordings, expand
from watchdog.promql.shape import can_be_many, extremes, has_labels, metric_names, tells_absence, windows

__all__ = [
    "LOOKBACK",
    "Expr",
    "Instant",
    "Live",
    "Page",
    "Pages",
    "PromqlError",
    "Recording",
    "Recordings",
    "Result",
    "Series",
    "Tick",
    "Values",
    "bounds",
    "can_be_many",
    "evaluate",
    "expand",
    "extremes",
    "has_labels",
    "metric_names",
    "never",
    "page_of",
    "parse",
    "tells_absence",
    "windows",
]
