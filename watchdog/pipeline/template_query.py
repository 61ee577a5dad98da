"""What the templates of Prometheus's alerts may ask; and what is said of a KPI that nobody can answer."""

from __future__ import annotations

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.promql import Evaluator, PromqlError
from watchdog.rules import Reading


def run_template_query(
    config: Config, evaluator: Evaluator, text: str, target: str, now: Millis
) -> list[dict[str, object]]:
    """What ``query`` returns for a rule of a target. Raises TemplateError."""
    from watchdog.prometheus_rules.helpers import TemplateError  # only templates of theirs ask
    from watchdog.prometheus_rules.template import LabelMap

    try:
        values = evaluator.at(now).query(config.parse_expr(config.expr_of(text, target)))
    except PromqlError as error:
        raise TemplateError(f"error calling query: {error}") from None
    return [{"Labels": LabelMap(labels), "Value": value} for labels, value in values.items()]


def describe_evaluation_error(kpi: str, error: Exception, previous: Reading | None) -> str:
    """Why it cannot be evaluated. A mistake of ours is logged, once; `previous` is what was read last."""
    if isinstance(error, PromqlError):  # what only the samples tell: two series that match one, for instance
        return f"{kpi} cannot be evaluated: {error}"
    text = f"{kpi} cannot be evaluated: internal error: {error!r}"
    if previous is None or previous.error != text:
        log.error("%s", text, exc_info=error)
    return text
