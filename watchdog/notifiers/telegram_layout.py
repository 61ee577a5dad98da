"""How a message looks in Telegram, within its limits, and what is left of it where Telegram objects to its form."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

from watchdog.core.model import Button, Message
from watchdog.notifiers.text import title_line, truncate, utf16_length

MAX_MESSAGE_CHARACTERS = 4_096
"""Characters that Telegram takes in one message, markup not counted."""
MAX_CAPTION_CHARACTERS = 1_024
MAX_BUTTON_CHARACTERS = 64
_MAX_ANSWER_BYTES = 64
_MAX_BUTTONS = 100
_BUTTONS_IN_A_ROW = 2
_GENERAL_TOPIC = 1
"""The topic that every forum has: messages go there when none is said, and Telegram refuses its number."""


class Draft(NamedTuple):
    """A message as it is sent next."""

    title: str
    lines: str
    """Both plain text."""
    keyboard: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Rows of (what a button shows, what pressing it says)."""
    topic: int | None = None
    """Of a forum group; None: *General*."""
    is_marked_up: bool = True
    is_reply: bool = True

    @property
    def text(self) -> str:
        if not self.is_marked_up:
            return f"{self.title}\n{self.lines}".rstrip()
        return f"<b>{html.escape(self.title, quote=False)}</b>\n{html.escape(self.lines, quote=False)}".rstrip()


def draft_message(message: Message, topic: int | None) -> Draft:
    title, lines = render_message(message)
    return Draft(title, lines, _keyboard(message.buttons), None if topic == _GENERAL_TOPIC else topic)


def render_message(message: Message) -> tuple[str, str]:
    """Title and the lines below it: plain text that fits once Telegram has taken the markup out."""
    title = truncate(title_line(message), 300, utf16_length)
    lines = "\n".join(message.lines)
    return title, truncate(lines, MAX_MESSAGE_CHARACTERS - utf16_length(title) - 1, utf16_length)


def render_caption(message: Message) -> str:
    return truncate(title_line(message), MAX_CAPTION_CHARACTERS, utf16_length)


def simplify(draft: Draft, description: str) -> Draft | None:
    """Without that to which Telegram objects in those words: rather plainly, or elsewhere, than not at all. None: it is all
    needed."""
    said = description.lower()
    if draft.is_marked_up and "parse entities" in said:
        return draft._replace(is_marked_up=False)
    if draft.keyboard and any(word in said for word in ("button", "keyboard", "reply_markup", "reply markup")):
        return draft._replace(keyboard=())
    if draft.topic is not None and ("thread not found" in said or "topic" in said):
        return draft._replace(topic=None)
    if draft.is_reply and "repl" in said and "not found" in said:
        return draft._replace(is_reply=False)
    return None


def _keyboard(buttons: Sequence[Button]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """What Telegram would refuse is left out: that costs the button, and not the message."""
    shown = [
        (truncate(each.text.strip() or each.answer, MAX_BUTTON_CHARACTERS, utf16_length), each.answer)
        for each in buttons
        if 1 <= len(each.answer.encode()) <= _MAX_ANSWER_BYTES
    ][:_MAX_BUTTONS]
    return tuple(tuple(shown[start : start + _BUTTONS_IN_A_ROW]) for start in range(0, len(shown), _BUTTONS_IN_A_ROW))
