"""Who it is that says something in a chat, what they may do, and how often a stranger is told no."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from watchdog.core.chat import ChatEvent, Person, Right
from watchdog.core.model import Millis

RIGHTS: tuple[Right, ...] = ("see", "ack", "act")
"""Each includes the one before."""
SERVICES = ("slack", "telegram")
"""Keys of a person that say how a service knows them; named as the `type` of its channels."""

_HOUR = 3_600_000
_NOS_PER_CHANNEL = 10
"""An hour; to each stranger one of them."""
_SLACK_ID = re.compile(r"[CDG][A-Z0-9]{5,}")


def find_person(people: Mapping[str, Person], service: str, user: str) -> str | None:
    """Who of `people` a service knows by that id; None: nobody.

    `service`: the `type` of the channel, so that the number of one service is never somebody of another.
    """
    if service not in SERVICES or not user:
        return None
    return next((name for name, person in people.items() if _id_of(person, service) == user), None)


def _id_of(person: Person, service: str) -> str | None:
    known = getattr(person, service)
    return None if known is None else str(known)


def may(person: Person | None, right: Right) -> bool:
    return person is not None and RIGHTS.index(person.may) >= RIGHTS.index(right)


def is_said_in_its_chat(channel: Any, event: ChatEvent) -> bool:
    """Whether it was said where the channel's configuration says, and not in another chat, or to the bot alone.

    A channel that is configured by a name, which no event has, answers for that itself; so does one whose event says no chat.
    """
    if not event.chat:
        return True
    if channel.type == "slack":
        own = getattr(channel, "channel", None)
        return own is None or not _SLACK_ID.fullmatch(own) or own == event.chat
    own = str(getattr(channel, "chat", ""))
    return not own.lstrip("-").isdigit() or own == event.chat


class PoliteNos:
    """How often strangers are told no: a stranger cannot make us chatter."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], Millis] = {}
        """(channel, user) → when; of the last hour."""

    def may_tell(self, channel: str, user: str, now: Millis) -> bool:
        """Whether this one is told; it is then noted as told."""
        self._told = {key: t for key, t in self._told.items() if abs(now - t) < _HOUR}
        if (channel, user) in self._told or sum(key[0] == channel for key in self._told) >= _NOS_PER_CHANNEL:
            return False
        self._told[channel, user] = now
        return True
