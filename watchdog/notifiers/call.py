"""One call of a notifier, whichever way its client library works, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from watchdog.core.offload import DeadlineExceededError

SEND_TIMEOUT = 30.0
"""Seconds that one delivery may take."""


async def call_notifier(
    offload: Callable[..., Awaitable[Any]], key: str, verb: Callable[..., Any], *args: Any
) -> str | None:
    """`key`: what may be under way once, see `offload`. Returns the handle. Raises what the notifier does, and
    DeadlineExceededError."""
    if inspect.iscoroutinefunction(verb):
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                answer = await verb(*args)
        except TimeoutError:
            raise DeadlineExceededError(key) from None
    else:
        answer = await offload(key, SEND_TIMEOUT, verb, *args)
    return None if answer is None else str(answer)
