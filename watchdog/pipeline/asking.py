"""What the templates of Prometheus's alerts may ask."""

from __future__ import annotations

import numpy as np

from watchdog.config import Config
from watchdog.config.prometheus.helpers import TemplateError
from watchdog.config.prometheus.templates import LabelMap
from watchdog.model import Millis
from watchdog.promql import Pages, PromqlError, evaluate


def ask(config: Config, series: Pages, text: str, now: Millis) -> list[dict[str, object]]:
    """What ``query`` returns. Raises TemplateError."""
    try:
        result = evaluate(config.expr(text), series, np.array([now]))
    except PromqlError as error:
        raise TemplateError(f"error calling query: {error}") from None
    return [{"Labels": LabelMap(result.keys[row]), "Value": float(result.values[row, 0])}
            for row in np.flatnonzero(result.present[:, 0])]  # fmt: skip
