"""What channels that hear people share: whose a word is, how much of it is taken, and how hearing goes on when it fails.

`keep_listening` runs them all. What is said is told to the service as taken in only when whoever receives it has returned.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from watchdog.core.chat import ChatEvent, ReceiveFunction
from watchdog.core.errors import NotifyError
from watchdog.core.model import Millis
from watchdog.core.telemetry import log

MAX_TEXT = 1_000
"""Characters of what somebody says that are taken in."""
MAX_NAME = 100
"""Characters of a name, or of an id of the service's."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between tries to hear again, until it is said that nothing is heard."""
LONG_PAUSES = (30.0, 60.0)
"""The same from then on."""
PERMANENT_PAUSE = 900.0
"""Seconds after which even what was refused for good is tried once more: a token may have been renewed."""
SETTLED = 60.0
"""Seconds after which one that goes on is believed to hear."""

NO_OTHERS: Mapping[str, ReceiveFunction] = MappingProxyType({})
"""One channel alone has its bot."""
Report = Callable[[Sequence[str], NotifyError | None], None]
"""(channels, why they hear nothing; None: they hear again)"""


class Heard(NamedTuple):
    """What a service delivered, as far as a person said it."""

    event: ChatEvent
    places: tuple[str, ...]
    """What the chat may be called in a configuration."""
    is_direct: bool
    """To the bot alone."""


def clean_text(value: object, limit: int = MAX_TEXT) -> str:
    """Text of somebody's that can be stored: bounded, without halves of characters. Empty: it is no text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 1 << 63 else ""
    if not isinstance(value, str):
        return ""
    return value[:limit].encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()


def command_text(text: str) -> str:
    """A command without its slash; who says nothing wants to know what there is to say."""
    return clean_text(text.strip().removeprefix("/")) or "help"


class Routes:
    """Who takes in what is said where."""

    def __init__(self, chat: str, receive: ReceiveFunction, others: Mapping[str, ReceiveFunction]) -> None:
        self._receive = receive
        self._by_chat = {**{name.lower(): other for name, other in others.items()}, chat.lower(): receive}
        self._dropped: Counter[str] = Counter()

    def find(self, heard: Heard) -> ReceiveFunction | None:
        """None: it was said where nobody listens."""
        for place in heard.places:
            if (receive := self._by_chat.get(place.lower())) is not None:
                return receive
        return self._receive if heard.is_direct else None

    def move(self, old: str, new: str) -> None:
        """The chat has another number from now on."""
        if (receive := self._by_chat.get(old.lower())) is not None:
            self._by_chat.setdefault(new.lower(), receive)

    def drop(self, service: str, why: str) -> None:
        """Something was left out. Counted; the log hears of the first, the tenth, the hundredth …"""
        self._dropped[why] += 1
        if (count := self._dropped[why]) == 10 ** (len(str(count)) - 1):
            log.info("%s: what was said is left out: %s (%d so far)", service, why, count)


class Patience:
    """How long it is tried again before it is said that nothing is heard."""

    def __init__(self) -> None:
        self._pauses: Iterator[float] = iter(PAUSES)

    def next_pause(self, error: NotifyError) -> float:
        """Seconds until the next try. Raises the error when that cannot help, or did not for a minute."""
        pause = None if error.permanent else next(self._pauses, None)
        if pause is None:
            raise error
        return max(pause, error.retry_after or 0)

    def renew(self) -> None:
        """All is well."""
        self._pauses = iter(PAUSES)


async def listen_with_token(load_token: Callable[[], str], listen: Callable[[str], Awaitable[None]]) -> None:
    """Until cancelled. A token that was refused is no reason to give up when its file holds another by now."""
    while True:
        token = load_token()
        try:
            await listen(token)
        except NotifyError as error:
            if not error.permanent or load_token() == token:
                raise


async def keep_listening(
    channels: Mapping[str, Any],
    receive: Callable[[str, ChatEvent], Awaitable[None]],
    clock: Callable[[], Millis],
    report: Report,
) -> None:
    """Until cancelled, on all of these `ListeningNotifier`s that are to listen. Raises what `receive` raises, but for a journal
    that is not available: then the service delivers again.

    `receive` gets the name of the channel, and no event without a time; `report` hears once why some hear nothing, and once
    that they hear again.
    """
    tasks = [
        asyncio.create_task(_keep_group_listening(group, receive, clock, report)) for group in _group(channels).values()
    ]
    if not tasks:
        await asyncio.Event().wait()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await _cancel(tasks)


def _group(channels: Mapping[str, Any]) -> dict[Hashable, dict[str, Any]]:
    groups: dict[Hashable, dict[str, Any]] = {}
    for name, channel in channels.items():
        if getattr(channel, "listen_to_people", False):
            groups.setdefault(channel.listening_identity, {})[name] = channel
    return groups


async def _keep_group_listening(
    group: Mapping[str, Any],
    receive: Callable[[str, ChatEvent], Awaitable[None]],
    clock: Callable[[], Millis],
    report: Report,
) -> None:
    """Channels with one credential."""

    async def take(name: str, event: ChatEvent) -> None:
        await receive(name, event if event.t else event._replace(t=clock()))

    takers = {name: partial(take, name) for name in group}
    first, *others = group
    further: dict[str, ReceiveFunction] = {}
    for name in others:
        further.setdefault(group[name].listening_chat, takers[name])
    names, told, pauses = tuple(group), "", iter(LONG_PAUSES)
    while True:
        listening = asyncio.ensure_future(group[first].listen(takers[first], further))
        try:
            await asyncio.wait({listening}, timeout=SETTLED)
            if not listening.done():
                pauses = iter(LONG_PAUSES)
                if told:
                    told = ""
                    report(names, None)
            await listening
        except NotifyError as error:
            if str(error) != told:
                told = str(error)
                report(names, error)
            pause = PERMANENT_PAUSE if error.permanent else next(pauses, LONG_PAUSES[-1])
            await asyncio.sleep(max(pause, error.retry_after or 0))
        finally:
            await _cancel([listening])


async def _cancel(tasks: Iterable[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
