"""What the templates of Prometheus's alerts may ask; and what is said of a KPI that nobody can answer."""

from __future__ import annotations

import numpy as np

from watchdog.config import Config
from watchdog.model import Millis
from watchdog.promql import Pages, PromqlError, evaluate
from watchdog.rules import Reading
from watchdog.telemetry import log


def ask(config: Config, series: Pages, text: str, now: Millis) -> list[dict[str, object]]:
    """What ``query`` returns. Raises TemplateError."""
    from watchdog.config.prometheus.helpers import TemplateError  # only templates of theirs ask
    from watchdog.config.prometheus.templates import LabelMap

    try:
        result = evaluate(config.expr(text), series, np.array([now]))
    except PromqlError as error:
        raise TemplateError(f"error calling query: {error}") from None
    return [
        {"Labels": LabelMap(result.keys[row]), "Value": float(result.values[row, 0])}
        for row in np.flatnonzero(result.present[:, 0])
    ]


def broken(kpi: str, why: Exception, before: Reading | None) -> str:
    """Why it cannot be evaluated. A mistake of ours is logged, once; `before` is what was read last."""
    if isinstance(why, PromqlError):  # what only the samples tell: two series that match one, for instance
        return f"{kpi} cannot be evaluated: {why}"
    text = f"{kpi} cannot be evaluated: internal error: {why!r}"
    if before is None or before.error != text:
        log.error("%s", text, exc_info=why)
    return text
