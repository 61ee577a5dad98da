"""Somebody who takes in what is said in chats, as the daemon does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from watchdog.core.chat import ChatEvent, ReceiveFunction
from watchdog.journal.errors import JournalUnavailableError

PATIENCE = 60
"""Seconds after which a test gives up: others keep the machine busy."""


class Receiver:
    """Takes in what comes, each event once, in a journal that may be out of reach."""

    def __init__(self) -> None:
        self.offered: list[ChatEvent] = []
        """All that came, taken or not."""
        self.taken: dict[str, ChatEvent] = {}
        self.is_available = True
        self._came: asyncio.Queue[ChatEvent] = asyncio.Queue()

    async def __call__(self, event: ChatEvent) -> None:
        self.offered.append(event)
        try:
            if not self.is_available:
                raise JournalUnavailableError("the journal is busy", "busy")
            self.taken.setdefault(event.key, event)
        finally:
            self._came.put_nowait(event)

    async def next(self) -> ChatEvent:
        """The next that comes, taken or not."""
        async with asyncio.timeout(PATIENCE):
            return await self._came.get()


@asynccontextmanager
async def listening(channel: Any, receive: ReceiveFunction) -> AsyncIterator[asyncio.Task[None]]:
    """As long as it is entered; what ends it on its own is raised at the end."""
    task = asyncio.create_task(channel.listen(receive))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def listen_to_the_end(channel: Any, receive: ReceiveFunction) -> None:
    """Until it ends by itself, with what it raises."""
    async with asyncio.timeout(PATIENCE):
        await channel.listen(receive)
