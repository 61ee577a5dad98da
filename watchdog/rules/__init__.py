"""What a KPI and a rule are, and what one evaluation says. Pure: data and time are arguments.

```
models (what people write) ─check→ Check (limits in numbers) ─judge(reading)→ verdicts
```
`baseline` learns what is normal, `calendar` knows when `only:` sleeps, `summary` fills in a rule's line for people.
"""

from __future__ import annotations

from watchdog.hours import inside, inside_at
from watchdog.rules.baseline import believed, far_off, learned, middle
from watchdog.rules.check import NOT_YET, Check, Normal, ThresholdError, check
from watchdog.rules.judge import ABSENT, BAD, NO_NUMBER, WELL, Reading, judge, kinds, quiet, settled
from watchdog.rules.models import (
    OPERATORS,
    Kpi,
    Learn,
    Level,
    Missing,
    Only,
    Operator,
    Patience,
    Rule,
    StaticLabels,
    Threshold,
    parse_patience,
    questions,
    reads,
)
from watchdog.rules.summary import PLACEHOLDERS, fill, say_labels, unknown_placeholders

__all__ = [
    "ABSENT",
    "BAD",
    "NOT_YET",
    "NO_NUMBER",
    "OPERATORS",
    "PLACEHOLDERS",
    "WELL",
    "Check",
    "Kpi",
    "Learn",
    "Level",
    "Missing",
    "Normal",
    "Only",
    "Operator",
    "Patience",
    "Reading",
    "Rule",
    "StaticLabels",
    "Threshold",
    "ThresholdError",
    "believed",
    "check",
    "far_off",
    "fill",
    "inside",
    "inside_at",
    "judge",
    "kinds",
    "learned",
    "middle",
    "parse_patience",
    "questions",
    "quiet",
    "reads",
    "say_labels",
    "settled",
    "unknown_placeholders",
]
