"""What channels that hear people share: whose a word is, how much of it is taken, and how hearing goes on when it fails.

What is said is told to the service as taken in only when whoever receives it has returned.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from watchdog.core.chat import ChatEvent, ReceiveFunction
from watchdog.core.errors import NotifyError
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalUnavailableError

MAX_TEXT = 1_000
"""Characters of what somebody says that are taken in."""
MAX_NAME = 100
"""Characters of a name, or of an id of the service's."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between tries to hear again, until it is said that nothing is heard."""
MAX_WAITS = 30
"""How often what was said to a channel that has just ceased to listen is asked for once more."""


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
    """Who takes in what is said where: the channels of one credential."""

    def __init__(self) -> None:
        self._receivers: list[tuple[str, ReceiveFunction]] = []
        self._away: dict[str, int] = {}
        """Chat of a channel that listens no more → how often it is still waited for."""
        self._moved: dict[str, str] = {}
        self._dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._receivers)

    def join(self, chat: str, receive: ReceiveFunction) -> None:
        self._receivers.append((chat, receive))
        self._away.pop(chat.lower(), None)

    def leave(self, chat: str, receive: ReceiveFunction) -> None:
        """It may come again in a moment: at a reload, or after an error."""
        self._receivers.remove((chat, receive))
        self._away[chat.lower()] = MAX_WAITS

    def move(self, old: str, new: str) -> None:
        """The chat has another number from now on."""
        self._moved[new] = old

    async def take(self, service: str, heard: Heard | str) -> bool:
        """Gives it to whoever listens there; what is nobody's is left out. False: it is to come again."""
        if isinstance(heard, str):
            self._drop(service, heard)
            return True
        places = [place.lower() for place in (*heard.places, *(self._moved.get(one, "") for one in heard.places))]
        found = next((each for each in self._receivers if each[0].lower() in places), None)
        if found is not None:
            event = heard.event._replace(chat=found[0])
        elif (waiting := next((place for place in places if self._away.get(place)), None)) is not None:
            self._away[waiting] -= 1
            return False
        elif heard.is_direct and self._receivers:
            found, event = self._receivers[0], heard.event
        else:
            self._drop(service, "said in another chat")
            return True
        try:
            await found[1](event)
        except JournalUnavailableError:
            return False
        return True

    def _drop(self, service: str, why: str) -> None:
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


class _Shared:
    """What channels of one credential hear by."""

    def __init__(self) -> None:
        self.routes = Routes()
        self.task: asyncio.Task[None] | None = None


_shared: dict[tuple[object, ...], _Shared] = {}
"""(loop, service, API, token) → as long as somebody listens."""


async def listen_together(
    credential: tuple[str, ...], chat: str, receive: ReceiveFunction, run: Callable[[Routes], Awaitable[None]]
) -> None:
    """Until cancelled, or until `run` raises, which all channels of that credential hear. A service says each thing once, however
    many of them there are: `run` runs once for all of them."""
    key = (id(asyncio.get_running_loop()), *credential)
    shared = _shared.setdefault(key, _Shared())
    shared.routes.join(chat, receive)
    if shared.task is None:
        shared.task = asyncio.ensure_future(run(shared.routes))
    task = shared.task
    try:
        await asyncio.wait({task})
        if shared.task is task:
            shared.task = None
        if (error := task.exception()) is None:
            return
        if isinstance(error, NotifyError):  # one for each
            raise NotifyError(str(error), permanent=error.permanent, retry_after=error.retry_after)
        raise error
    finally:
        shared.routes.leave(chat, receive)
        if not shared.routes:
            if _shared.get(key) is shared:
                del _shared[key]
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
