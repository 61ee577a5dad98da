"""What the engine refuses, in words for the person who wrote the expression."""

from __future__ import annotations

from watchdog.core.errors import WatchdogError


class PromqlError(WatchdogError):
    """An expression that cannot be read or evaluated: what is wrong with it and, where known, the cure."""


def unsupported_error(feature: str, hint: str = "") -> PromqlError:
    """`feature` is PromQL, but not ours. Said by name and at load, never at three in the morning."""
    hint = (
        hint
        or "rewrite the expression without it, or let a Prometheus evaluate it (engine: {type: prometheus, url: …})"
    )
    return PromqlError(f"{feature} is not supported by the embedded engine — {hint}")
