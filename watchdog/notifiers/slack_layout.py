"""How a message looks in Slack, within its limits, and what is left of it where Slack objects to its form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchdog.core.model import Button, Message
from watchdog.notifiers.slack_errors import LAYOUT_CODES, THREAD_CODES
from watchdog.notifiers.text import title_line, truncate, utf16_length

MAX_CHARACTERS = 3_000
"""Characters that Slack takes in one text."""
MAX_BLOCKS = 50
MAX_BUTTON_CHARACTERS = 75
_MAX_ANSWER_CHARACTERS = 2_000
_BUTTONS_IN_A_BLOCK = 25

Payload = dict[str, Any]


def render_message(message: Message, *, with_buttons: bool = True) -> Payload:
    """``blocks``, in which Slack looks for no markup (in a commit's subject an asterisk is an asterisk, and :tada: no picture),
    and ``text`` (what notifications show, and who knows no blocks), both within Slack's limits."""
    title = truncate(title_line(message), 300, _escaped_length)
    lines = truncate("\n".join(message.lines), MAX_CHARACTERS - _escaped_length(title) - 1, _escaped_length)
    elements: list[Payload] = [{"type": "text", "text": title, "style": {"bold": True}}]
    if lines:
        elements.append({"type": "text", "text": f"\n{lines}"})
    blocks: list[Payload] = [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}]
    blocks += _action_blocks(message.buttons if with_buttons else ())
    return {"text": escape(f"{title}\n{lines}".rstrip()), "blocks": blocks, "mrkdwn": False}


def simplify(body: Payload, code: str) -> Payload | None:
    """Without what Slack objects to with that code, where that is only form: better told plainly than not at all. None: it is all
    needed."""
    if code in THREAD_CODES and "thread_ts" in body:
        return {key: value for key, value in body.items() if key not in ("thread_ts", "reply_broadcast")}
    if code in LAYOUT_CODES and body.get("blocks"):
        shown = [block for block in body["blocks"] if block["type"] != "actions"]
        if len(shown) < len(body["blocks"]):
            return body | {"blocks": shown}
        if "ts" in body:  # an edit keeps the blocks of which nothing is said
            return body | {"blocks": []}
        return {key: value for key, value in body.items() if key != "blocks"}
    return None


def _action_blocks(buttons: Sequence[Button]) -> list[Payload]:
    """What Slack would refuse is left out: that costs the button, and not the message."""
    elements: list[Payload] = []
    for number, button in enumerate(buttons):
        if not 1 <= utf16_length(button.answer) <= _MAX_ANSWER_CHARACTERS:
            continue
        text = truncate(button.text.strip() or button.answer, MAX_BUTTON_CHARACTERS, utf16_length)
        element: Payload = {
            "type": "button",
            "action_id": f"answer-{number}",
            "text": {"type": "plain_text", "text": text, "emoji": True},
            "value": button.answer,
        }
        elements.append(element | ({"style": button.style} if button.style else {}))
    blocks = [
        {"type": "actions", "elements": elements[start : start + _BUTTONS_IN_A_BLOCK]}
        for start in range(0, len(elements), _BUTTONS_IN_A_BLOCK)
    ]
    return blocks[: MAX_BLOCKS - 1]


def escape(text: str) -> str:
    """In `text` these three stay Slack's own signs, markup or not."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escaped_length(text: str) -> int:
    return utf16_length(escape(text))
