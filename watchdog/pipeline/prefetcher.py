"""Lets an engine elsewhere fetch ahead of a round, without ever waiting long for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.promql import Evaluator, Expr

_MAX_WAIT = 1.0
"""s that a round waits; what has not come by then is there for a later one."""


class Prefetcher:
    """A fetch that hangs or breaks costs its own answers: rounds, halts and the sign of life to systemd go on."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._under_way: dict[str, asyncio.Task[None]] = {}
        """One for each key; the next one begins after it."""
        self._error: str | None = None

    async def prefetch(self, key: str, expressions: Collection[Expr], now: Millis) -> None:
        """Raises nothing."""
        if key not in self._under_way:
            task = asyncio.create_task(self._fetch(key, expressions, now), name=f"prefetch {key}")
            self._under_way[key] = task
            await asyncio.wait({task}, timeout=_MAX_WAIT)

    async def _fetch(self, key: str, expressions: Collection[Expr], now: Millis) -> None:
        error = None
        try:
            await self._evaluator.prefetch(expressions, now)
        except Exception as bug:  # a mistake of the engine's
            error = repr(bug)
            if error != self._error:
                log.exception("what rounds ask could not be fetched")
        finally:
            self._under_way.pop(key, None)
        self._error = error
