"""What every medium needs done to plain text before its own markup. What it holds is seen already: see `Message`."""

from __future__ import annotations

import socket
from collections.abc import Callable

from watchdog.core.chat import STATE_SYMBOLS
from watchdog.core.model import Message, Severity

SEVERITY_SYMBOLS: dict[Severity, str] = {"info": "ℹ️", "warn": "⚠️", "crit": "🚨"}


def title_line(message: Message) -> str:
    """Symbol and title, on one line. The title of a head has a symbol of its own."""
    if message.title.startswith(STATE_SYMBOLS):
        return message.title.rstrip()
    return f"{SEVERITY_SYMBOLS[message.severity]} {message.title}".rstrip()


def describe_place(incident: int | None) -> str:
    """On which host, and how to ask for more."""
    where = f"on {socket.gethostname()}"
    return where if incident is None else f"incident {incident} {where}: trading-watchdog incidents {incident}"


def utf16_length(text: str) -> int:
    """Length as chat services count it: an emoji counts two."""
    return len(text.encode("utf-16-le")) // 2


def truncate(text: str, limit: int, measure: Callable[[str], int]) -> str:
    """`text`, or its beginning and the number of characters left out, within `limit`.

    `measure` is the room a piece of plain text takes once it is marked up: cut first and mark up then, and no
    entity or tag is ever cut in half.
    """
    if measure(text) <= limit:
        return text
    limit -= measure(_omission_note(len(text)))
    kept = 0
    for character in text:
        limit -= measure(character)
        if limit < 0:
            break
        kept += 1
    kept = len(text[:kept].rstrip())
    return text[:kept] + _omission_note(len(text) - kept)


def _omission_note(number: int) -> str:
    return f"… ({number} characters left out)"
