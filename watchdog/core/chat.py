"""What is said in a chat, in both directions: nouns that every channel and everything behind it shares.
`core.model.Message`, with its `Button`s and `Chart`, goes out; a `ChatEvent` comes in, of a `Person`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import AfterValidator, model_validator

from watchdog.core.model import ConfigModel, Message, Millis
from watchdog.core.protocols import Notifier

Right = Literal["see", "ack", "act"]
"""What a person may do: ask how things are; also say that somebody is on it, silence and hold; also everything else.
Each includes the one before."""

_SLACK_ID = re.compile(r"[UW][A-Z0-9]{2,30}")


def _validate_slack_id(text: str) -> str:
    if not _SLACK_ID.fullmatch(text):
        raise ValueError("a person's Slack id reads like U0123ABCD: in Slack, profile, ⋮, Copy member ID")
    return text


class Person(ConfigModel):
    """Who may answer in the chats, under the name that the journal and the messages call them by."""

    slack: Annotated[str, AfterValidator(_validate_slack_id)] | None = None
    """The member id (`U0123ABCD`), which nobody can take; not the name."""
    telegram: int | None = None
    """The number that Telegram knows them by."""
    may: Right = "ack"
    """`see`: ask; `ack` (when not said): also acknowledge, silence and hold; `act`: also approve, resume, run plans and halt."""

    @model_validator(mode="after")
    def _validate_reach(self) -> Person:
        if self.slack is None and self.telegram is None:
            raise ValueError("say how the person is known: slack: U0123ABCD, or telegram: 123456, or both")
        return self


class ChatEvent(NamedTuple):
    """One thing that somebody said or pressed, as a channel has taken it in. Nothing in it is trusted."""

    key: str
    """What the service calls this delivery: the same when it is delivered once more, and never that of another."""
    user: str
    """The service's id of who says it; of Telegram the number in digits."""
    user_name: str
    """What they call themselves: for the log, and nothing else."""
    chat: str
    """The service's id of where it was said."""
    text: str
    """A command without its slash, and its words: ``ack 17 on it``. Of a button, its `Button.answer`."""
    t: Millis
    """When it was said, by the service's clock, at the earliest. 0, as it comes from a channel: the service does not say it, and
    it came without delay: see `with_time`."""
    is_button: bool = False
    message: str | None = None
    """The handle of the message under which the button stood."""
    reply_to: str | None = None
    """The handle to answer under, where that is not `message`."""

    def with_time(self, now: Millis) -> ChatEvent:
        """Said when it came, where the service does not say when."""
        return self if self.t else self._replace(t=now)


ReceiveFunction = Callable[[ChatEvent], Awaitable[None]]
"""Takes in what was said: returns once the journal has it. The service is told so only afterwards. Raises
JournalUnavailableError: then it is not taken, and the service is to deliver it again."""


class IncidentHead(NamedTuple):
    """What the first message of an incident says now."""

    message: Message
    is_final: bool
    """It will say nothing else any more."""


STATE_SYMBOLS = ("🔴", "🟠", "🟡", "✋", "🔒", "✅", "⚪")
"""What the title of a head begins with: fires at crit, fires at warn, is being proven, waits for a person, is latched, has
recovered, has ended otherwise."""


@runtime_checkable
class EditingNotifier(Notifier, Protocol):
    """Can change what it has said. Where some of a kind cannot (an incoming webhook), `can_edit` of it is False."""

    def edit(self, handle: str, message: Message) -> Any:
        """The message that `send` returned that handle for says this now. Well done also when it says it
        already. May be a coroutine; raises NotifyError only: permanent when there is no such message any more."""
        ...


@runtime_checkable
class ListeningNotifier(Notifier, Protocol):
    """Hears what people answer."""

    @property
    def listen_to_people(self) -> bool:
        """Whether it is to: where its own entry has all that it needs."""
        ...

    async def listen(self, receive: ReceiveFunction) -> None:
        """Takes in what is said in its chat, or to the bot alone, until it is cancelled. Channels with one credential share a
        connection. Raises NotifyError when it cannot listen: it is called again after a while, or at the next reload when that
        is permanent. Whatever else `receive` raises goes through."""
        ...

    async def acknowledge(self, event: ChatEvent, text: str) -> None:
        """Tells who pressed a button or said a command, and as far as the service can nobody else, what became of it, in one
        line. Best effort: raises NotifyError, and nothing depends on it."""
        ...


def find_editor(channel: object) -> EditingNotifier | None:
    """The channel, when it can change what it has said."""
    return channel if isinstance(channel, EditingNotifier) and getattr(channel, "can_edit", True) else None
