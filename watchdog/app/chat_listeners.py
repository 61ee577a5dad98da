"""Hears what people answer, on each channel that can be listened to: one task each, none of which holds another up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from watchdog.core.chat import ChatEvent, ListeningNotifier
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message, NotifyFunction
from watchdog.core.telemetry import Telemetry, log
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.topics import listening_topic

_FIRST_PAUSE, _MAX_PAUSE = 1.0, 300.0
"""Seconds from one try to the next."""
_END_TIMEOUT = 5.0
"""Seconds that one that was cancelled may take to end."""
_WELL_AFTER = 60.0
"""Seconds of listening after which the next pause is a short one again."""


_HEARS_AFTER = 10.0
"""Seconds of listening without an error after which it is taken for heard."""
_TELL_AFTER = 60.0
"""Seconds of not being heard after which people are told."""


@dataclass(eq=False)
class _Listener:
    name: str
    notifier: ListeningNotifier
    error: str | None = None
    """Why it is not heard, …"""
    since: float = 0.0
    """… and since when, in seconds of the loop's clock."""
    is_told: bool = False
    """People know that it is not heard."""
    task: asyncio.Task[None] | None = None


class ChatListeners:
    """Of one daemon, on its loop."""

    def __init__(
        self,
        receive: Callable[[str, ChatEvent], Awaitable[None]],
        telemetry: Telemetry,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        notify: NotifyFunction = lambda _: None,
    ) -> None:
        """`receive`: (channel, what was said)."""
        self._notify = notify
        self._receive = receive
        self._telemetry = telemetry
        self._sleep = sleep
        self._listeners: dict[str, _Listener] = {}
        self._ended: set[asyncio.Task[None]] = set()

    def apply(self, channels: Mapping[str, Any]) -> None:
        """Listens to those that are to be; what has changed, or is not heard, is begun anew."""
        wanted = {
            name: one for name, one in channels.items() if isinstance(one, ListeningNotifier) and one.listen_to_people
        }
        told = {name for name, listener in self._listeners.items() if listener.is_told}
        for name, listener in list(self._listeners.items()):
            if name not in wanted or listener.notifier != wanted[name] or listener.error is not None:
                self._end(name)
        for name, notifier in wanted.items():
            if name not in self._listeners:
                self._listeners[name] = listener = _Listener(name, notifier)
                self._note(listener, None)
                listener.is_told = name in told  # that it is heard again is told once it is
                before = list(self._ended)  # of two that listen with one token each would throw the other out
                listener.task = asyncio.create_task(self._listen(listener, before), name=f"listening to {name}")

    def _end(self, name: str) -> None:
        task = self._listeners.pop(name).task
        self._telemetry.chat_listening.remove(name)
        if task is not None:
            task.cancel()
            self._ended.add(task)
            task.add_done_callback(self._ended.discard)

    async def stop(self) -> None:
        for name in list(self._listeners):
            self._end(name)
        if self._ended:
            await asyncio.wait(self._ended, timeout=_END_TIMEOUT)

    def errors(self) -> dict[str, str | None]:
        """Channel that is listened to → why it is not heard; None: it is."""
        return {name: listener.error for name, listener in self._listeners.items()}

    async def _listen(self, listener: _Listener, before: Collection[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before, timeout=_END_TIMEOUT)
        loop, pause, name = asyncio.get_running_loop(), _FIRST_PAUSE, listener.name
        while True:
            began, wait = loop.time(), 0.0
            hears = loop.call_later(_HEARS_AFTER, self._note, listener, None)
            try:
                await listener.notifier.listen(partial(self._heard, listener))
                why = "it has stopped listening by itself"
            except NotifyError as error:
                why, wait = str(error), error.retry_after or 0.0
                if error.permanent:
                    self._note(listener, why, tell_now=True)
                    log.error("channel %s: what people answer is not heard until the next reload: %s", name, why)
                    return
            except Exception as bug:  # a mistake in one notifier, or a journal that takes nothing
                why = f"{type(bug).__name__}: {bug}"
                log.warning("channel %s: listening", name, exc_info=True)
            finally:
                hears.cancel()
            self._note(listener, why)
            if loop.time() - began >= _WELL_AFTER:
                pause = _FIRST_PAUSE
            log.warning("channel %s: what people answer is not heard: %s", name, why)
            await self._sleep(max(pause, min(wait, _MAX_PAUSE)))
            pause = min(2 * pause, _MAX_PAUSE)

    async def _heard(self, listener: _Listener, event: ChatEvent) -> None:
        await self._receive(listener.name, event)
        self._note(listener, None)

    def _note(self, listener: _Listener, error: str | None, *, tell_now: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        if listener.error is None:
            listener.since = now
        listener.error = error
        if self._listeners.get(listener.name) is not listener:  # another of that name by now
            return
        self._telemetry.chat_listening.labels(listener.name).set(error is None)
        title, topic = f"channel {listener.name}: what people answer is not heard", (listening_topic(listener.name),)
        with contextlib.suppress(
            JournalUnavailableError
        ):  # it is told with the next error, or not at all once it is over
            if error is not None and not listener.is_told and (tell_now or now - listener.since >= _TELL_AFTER):
                what, _, cure = error.partition(" — ")
                self._notify(Message("warn", title, (what, *([cure] if cure else [])), opens=topic))
                listener.is_told = True
            elif error is None and listener.is_told:
                self._notify(Message("info", f"channel {listener.name}: what people answer is heard again", ends=topic))
                listener.is_told = False
