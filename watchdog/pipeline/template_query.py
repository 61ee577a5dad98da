"""What the templates of Prometheus's alerts may ask; and what is said of a KPI that nobody can answer."""

from __future__ import annotations

import numpy as np

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.promql import PromqlError, evaluate
from watchdog.rules import Reading
from watchdog.tsdb.page import PageList


def run_template_query(config: Config, series: PageList, text: str, now: Millis) -> list[dict[str, object]]:
    """What ``query`` returns. Raises TemplateError."""
    from watchdog.prometheus_rules.helpers import TemplateError  # only templates of theirs ask
    from watchdog.prometheus_rules.template import LabelMap

    try:
        result = evaluate(config.parse_expr(text), series, np.array([now]))
    except PromqlError as error:
        raise TemplateError(f"error calling query: {error}") from None
    return [
        {"Labels": LabelMap(result.keys[row]), "Value": float(result.values[row, 0])}
        for row in np.flatnonzero(result.present[:, 0])
    ]


def describe_evaluation_error(kpi: str, error: Exception, previous: Reading | None) -> str:
    """Why it cannot be evaluated. A mistake of ours is logged, once; `before` is what was read last."""
    if isinstance(error, PromqlError):  # what only the samples tell: two series that match one, for instance
        return f"{kpi} cannot be evaluated: {error}"
    text = f"{kpi} cannot be evaluated: internal error: {error!r}"
    if previous is None or previous.error != text:
        log.error("%s", text, exc_info=error)
    return text
