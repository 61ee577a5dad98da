"""A channel that hears what a test says, and keeps what it was told."""

from __future__ import annotations

import asyncio
from typing import Any

from watchdog.core.chat import ChatEvent, ReceiveFunction
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message


class FakeChat:
    """A `ListeningNotifier` and `EditingNotifier`. Whoever says something waits until it is taken in."""

    listen_to_people = True

    def __init__(self, service: str = "telegram", chat: str = "-100", from_: str = "info") -> None:
        self.type, self.chat, self.from_ = service, chat, from_
        self.sent: list[Message] = []
        self.edits: list[tuple[str, Message]] = []
        self.acknowledged: list[tuple[str, str]] = []
        """(key, text)"""
        self.failures: list[Exception] = []
        """What the next calls of `listen` come to, one after the other."""
        self.listens = 0
        self.acknowledges: Any = None
        """An event that `acknowledge` waits for."""
        self._receive: ReceiveFunction | None = None
        self.is_listening = asyncio.Event()

    def send(self, message: Message) -> str:
        self.sent.append(message)
        return f"m{len(self.sent)}"

    def edit(self, handle: str, message: Message) -> None:
        self.edits.append((handle, message))

    async def listen(self, receive: ReceiveFunction) -> None:
        self.listens += 1
        if self.failures:
            raise self.failures.pop(0)
        self._receive = receive
        self.is_listening.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._receive = None
            self.is_listening.clear()

    async def acknowledge(self, event: ChatEvent, text: str) -> None:
        if self.acknowledges is not None:
            await self.acknowledges.wait()
        self.acknowledged.append((event.key, text))

    async def say(self, event: ChatEvent) -> None:
        if self._receive is None:
            raise NotifyError("nobody listens")
        await self._receive(event)
