"""Somebody wants to read the last minute in series.db: what is in memory alone is written down for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.requests import Request
from watchdog.journal.storage import Journal


class HistorySaver:
    """Beside everything else, one at a time: a disk may take its time, and who asks waits no longer than they want."""

    def __init__(self, write: Callable[[], Awaitable[bool]], journal: Journal, clock: Callable[[], Millis]) -> None:
        """`write` writes all that is new; True when it is written."""
        self._write = write
        self._journal = journal
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def answer_soon(self, request: Request) -> None:
        """As soon as it is written. While another is answered, this one waits, and is to be handed in again."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._answer(request), name="saving the last minute")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _answer(self, request: Request) -> None:
        now = self._clock()
        written = await self._write()
        text = str(now) if written else "it could not be written down, or none is kept (history: off)"
        try:
            with self._journal.transaction() as tx:
                tx.requests.answer_request(request.id, written, text, self._clock())
        except JournalUnavailableError as error:  # it is asked again at the next tick
            log.warning("whoever waits for the last minute is not answered yet: %s", error)
