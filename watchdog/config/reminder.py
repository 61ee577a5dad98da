"""`remind:` of watchdog.yaml."""

from __future__ import annotations

from watchdog.config.model_errors import ConfigNode
from watchdog.config.models import DEFAULT_REMINDER, MIN_REMINDER
from watchdog.core.model import Millis
from watchdog.core.units import parse_duration


def parse_reminder(node: ConfigNode) -> Millis | None:
    """ms; None: never. A mistake is reported at its place."""
    if node.raw is None:
        return DEFAULT_REMINDER
    if node.raw == "off":
        return None
    try:
        pause = parse_duration(node.raw if isinstance(node.raw, str) else "")
    except ValueError:
        node.report(node.value_position(), "remind should be a duration, or off", "remind: 1h")
        return None
    if pause < MIN_REMINDER:
        node.report(
            node.value_position(), f"reminders every {node.raw} are too many, a minute apart is the least", "remind: 1h"
        )
    return pause
