"""Which channels show pictures, and whether there are any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from watchdog.core.model import Chart
from watchdog.pictures import plots

DrawFunction = Callable[[Chart, float], Awaitable[bytes | None]]
"""(chart, seconds) → a PNG; None: there is none within that time. Never raises."""


async def draw_nothing(_: Chart, __: float) -> bytes | None:
    return None


def shows_pictures(channel: Any) -> bool:
    """Whether it takes `Message.picture`."""
    return bool(getattr(channel, "shows_pictures", False))


def describe_missing_pictures(channels: Mapping[str, Any]) -> str | None:
    """Why messages go out without pictures where they could have some; None: they have, or no channel shows any."""
    missing = plots.describe_missing() if any(map(shows_pictures, channels.values())) else None
    return None if missing is None else f"messages go out without pictures: {missing}"
