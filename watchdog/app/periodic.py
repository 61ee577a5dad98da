"""What is done every so often, by the event loop's own clock, which nobody sets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from watchdog.core.telemetry import log


async def run_periodically(
    seconds: float,
    function: Callable[[], Awaitable[object]],
    *,
    at_once: bool = False,
    note: Callable[[Exception | None], None] = lambda _: None,
) -> None:
    """Until cancelled: one call after another, each so long after the last one began; those that are missed are passed over.

    A call that raises is logged, and the next one is made. `at_once`: the first one is made now. `note` is told how each has ended,
    and raises nothing.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + (0 if at_once else seconds)
    while True:
        await asyncio.sleep(due - loop.time())
        try:
            await function()
            note(None)
        except Exception as error:
            log.exception("%s", getattr(function, "__qualname__", function))
            note(error)
        due = max(due + seconds, loop.time() - (loop.time() - due) % seconds + seconds)
