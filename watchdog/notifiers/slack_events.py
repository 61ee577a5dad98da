"""What Slack's envelopes say, as far as a person said it to us. Pure; nothing in an envelope is trusted, and what is not known is
passed over (https://docs.slack.dev/apis/events-api/using-socket-mode)."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from watchdog.core.chat import ChatEvent
from watchdog.core.model import Millis
from watchdog.notifiers.listening import MAX_NAME, MAX_TEXT, Heard, clean_text, command_text

EVENT_SCOPES = {"app_mention": "app_mentions:read", "message.im": "im:history"}
"""The events that we ask for, and the scope that each needs; `docs/slack-manifest.yaml` holds them."""

_TS = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?")
_MENTION = re.compile(r"\s*<@[A-Z0-9]{1,40}(?:\|[^<>]{0,100})?>[:,]?")
_LINK = re.compile(r"<(?:https?://|mailto:)([^<>|]{1,2000})(?:\|([^<>]{0,2000}))?>")


def read_envelope(kind: str, payload: Mapping[str, Any]) -> Heard | str:
    """Who said what where, or why it is nothing for us. `kind`: the envelope's type."""
    if kind == "interactive":
        return _read_button(payload)
    if kind == "slash_commands":
        return _read_slash_command(payload)
    if kind == "events_api":
        return _read_event(_part(payload, "event"))
    return "neither a button nor a command nor a message"


def is_direct(chat: str) -> bool:
    """Whether an event's `chat` is between the bot and a person."""
    return chat[:1] in ("D", "U", "W")


def _read_button(payload: Mapping[str, Any]) -> Heard | str:
    if payload.get("type") != "block_actions":
        return "neither a button nor a command nor a message"
    actions = payload.get("actions")
    action = next((one for one in actions if isinstance(one, dict)), {}) if isinstance(actions, list) else {}
    sender, container, message = _part(payload, "user"), _part(payload, "container"), _part(payload, "message")
    user, pressed = _text(sender, "id"), _text(action, "action_ts")
    handle = _text(container, "message_ts") or _text(message, "ts")
    value = action.get("value")
    if not isinstance(value, str) or not value.strip() or not user or not handle or _millis(pressed) is None:
        return "a button of no message of ours"
    channel = _part(payload, "channel")
    thread = _text(container, "thread_ts") or _text(message, "thread_ts")
    event = ChatEvent(
        f"action:{pressed}:{user}:{handle}:{_text(action, 'action_id')}",
        user,
        _text(sender, "username") or _text(sender, "name"),
        _text(channel, "id") or _text(container, "channel_id"),
        command_text(value),
        _millis(pressed) or 0,
        is_button=True,
        message=handle,
        reply_to=thread if thread != handle and thread else None,
    )
    return Heard(event, (event.chat,), is_direct(event.chat))


def _read_slash_command(payload: Mapping[str, Any]) -> Heard | str:
    user, trigger = _text(payload, "user_id"), _text(payload, "trigger_id")
    chat, text = _text(payload, "channel_id"), payload.get("text")
    if not user or not trigger or not chat or not isinstance(text, str | None):
        return "a command without its sender"
    # Typed in a direct message with whomever: it is seen by nobody else, and answered in the one with the bot.
    place = user if is_direct(chat) else chat
    event = ChatEvent(
        f"command:{trigger}", user, _text(payload, "user_name"), place, command_text(_plain(text or "")), 0
    )
    return Heard(event, (chat,), place is user)


def _read_event(event: Mapping[str, Any]) -> Heard | str:
    kind, user, chat, ts = event.get("type"), _text(event, "user"), _text(event, "channel"), _text(event, "ts")
    direct = kind == "message" and event.get("channel_type") == "im"
    if kind != "app_mention" and not direct:
        return "neither a button nor a command nor a message"
    if (
        not user
        or event.get("bot_id") is not None
        or event.get("subtype") is not None
        or event.get("edited") is not None
    ):
        return "said by no person"
    t, text = _millis(ts), event.get("text")
    if t is None or not chat or not isinstance(text, str):
        return "a message without its time"
    said = _MENTION.sub("", text[: 4 * MAX_TEXT], count=1) if _MENTION.match(text) else text
    reply_to = None if direct else _text(event, "thread_ts") or ts
    heard = ChatEvent(f"message:{chat}:{ts}", user, "", chat, command_text(_plain(said)), t, reply_to=reply_to)
    return Heard(heard, (chat,), direct)


def _plain(text: str) -> str:
    """As it was typed: Slack makes links of what looks like one, and escapes its own three signs."""
    return html.unescape(_LINK.sub(lambda link: link[2] or link[1], text[: 4 * MAX_TEXT]))


def _millis(ts: str) -> Millis | None:
    """Of a time as Slack writes it, in seconds."""
    found = _TS.fullmatch(ts)
    return None if found is None else max(1, int(found[1]) * 1_000 + int(((found[2] or "") + "000")[:3]))


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return clean_text(found, MAX_NAME) if isinstance(found, str) else ""
