"""What a KPI and a rule are, and what one evaluation says. Pure: data and time are arguments.

```
models (what people write) ─check→ Check (limits in numbers) ─judge(reading)→ verdicts
```
`baseline` learns what is normal, `state_machine` lets verdicts fire and recover, `summary` fills in a rule's line for people.
"""

from __future__ import annotations

from watchdog.core.schedule import in_schedule, in_schedule_at
from watchdog.rules.baseline import baseline_mismatch, central_value, learn_baseline, trusted_values, unit_mismatch
from watchdog.rules.compile import BASELINE_UNKNOWN, BaselineState, Check, ThresholdError, compile_check
from watchdog.rules.judge import (
    KIND_ABSENT,
    KIND_BAD,
    KIND_NOT_FINITE,
    KIND_OK,
    MAX_LABEL_SETS,
    Reading,
    clearly_ok,
    judge,
    same_kind,
    verdict_kinds,
)
from watchdog.rules.models import (
    ALL_TARGETS,
    OPERATORS,
    THRESHOLD_LEVELS,
    Kpi,
    Learn,
    Missing,
    Only,
    Operator,
    Patience,
    Rule,
    StaticLabels,
    Threshold,
    ThresholdLevel,
    condition_kpi,
    parse_patience,
    query_name,
    scoped_query,
)
from watchdog.rules.replaced import is_identity_label, judge_replaced, label_sets, note_siblings
from watchdog.rules.summary import PLACEHOLDERS, format_labels, render_summary, unknown_placeholders

__all__ = [
    "ALL_TARGETS",
    "BASELINE_UNKNOWN",
    "KIND_ABSENT",
    "KIND_BAD",
    "KIND_NOT_FINITE",
    "KIND_OK",
    "MAX_LABEL_SETS",
    "OPERATORS",
    "PLACEHOLDERS",
    "THRESHOLD_LEVELS",
    "BaselineState",
    "Check",
    "Kpi",
    "Learn",
    "Missing",
    "Only",
    "Operator",
    "Patience",
    "Reading",
    "Rule",
    "StaticLabels",
    "Threshold",
    "ThresholdError",
    "ThresholdLevel",
    "baseline_mismatch",
    "central_value",
    "clearly_ok",
    "compile_check",
    "condition_kpi",
    "format_labels",
    "in_schedule",
    "in_schedule_at",
    "is_identity_label",
    "judge",
    "judge_replaced",
    "label_sets",
    "learn_baseline",
    "note_siblings",
    "parse_patience",
    "query_name",
    "render_summary",
    "same_kind",
    "scoped_query",
    "trusted_values",
    "unit_mismatch",
    "unknown_placeholders",
    "verdict_kinds",
]
