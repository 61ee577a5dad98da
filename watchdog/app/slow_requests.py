"""What people ask for that takes its time: answered beside everything else, one of a kind at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from watchdog.app.requests import TOO_OLD, is_too_old
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.requests import Request
from watchdog.journal.storage import Journal

SlowAnswer = Callable[[Request], Awaitable[tuple[bool, str]]]
"""(granted, what to tell the person). JournalUnavailableError: it is asked again at the next tick."""


class SlowRequests:
    """Who asks waits no longer than they want."""

    def __init__(self, answers: Mapping[str, SlowAnswer], journal: Journal, clock: Callable[[], Millis]) -> None:
        """`answers`: by the kind of the request."""
        self._answers = answers
        self._journal = journal
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def answer_soon(self, request: Request) -> bool:
        """Whether it is one of these. While another of its kind is answered it waits, and is to be handed in again."""
        if request.kind not in self._answers:
            return False
        under_way = self._tasks.get(request.kind)
        if under_way is None or under_way.done():
            self._tasks[request.kind] = asyncio.create_task(self._answer(request), name=f"request {request.kind}")
        return True

    @property
    def failed_tasks(self) -> list[asyncio.Task[None]]:
        """Those that broke half-way."""
        return [task for task in self._tasks.values() if task.done() and (task.cancelled() or task.exception())]

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _answer(self, request: Request) -> None:
        try:
            old = is_too_old(request, self._clock())
            ok, text = (False, TOO_OLD) if old else await self._answers[request.kind](request)
            with self._journal.transaction() as tx:
                tx.requests.answer_request(request.id, ok, text, self._clock())
        except JournalUnavailableError as error:
            log.warning("request %s is not answered yet: %s", request.kind, error)
