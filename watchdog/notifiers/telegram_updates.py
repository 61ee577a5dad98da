"""What Telegram's updates say, as far as a person said it to us. Pure; nothing in an update is trusted, and what is not known is
passed over (https://core.telegram.org/bots/api#update)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from watchdog.core.chat import ChatEvent
from watchdog.core.model import Millis
from watchdog.notifiers.listening import MAX_NAME, Heard, clean_text, command_text
from watchdog.notifiers.telegram_chats import format_handle

UPDATE_TYPES = ("message", "callback_query")
"""What we ask for."""

_COMMAND = re.compile(r"/([A-Za-z0-9_]*)(?:@([A-Za-z0-9_]+))?(?=\s|$)")
_CALLBACK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CALLBACK_KEY = re.compile(r"update:[0-9]+ callback:(.+)")


def read_update_id(update: Mapping[str, Any]) -> int | None:
    return _int(update.get("update_id"))


def read_update(update: Mapping[str, Any], username: str, pressed: Millis | None) -> Heard | str:
    """Who said what where, or why it is nothing for us. `username`: the bot's own; `pressed`: when a button was pressed at the
    earliest, which Telegram does not say; None: nobody knows, so not before its message was shown."""
    number = read_update_id(update)
    query, message = update.get("callback_query"), update.get("message")
    if number is None:
        return "an update without a number"
    if isinstance(query, dict):
        return _read_button(number, query, pressed)
    if isinstance(message, dict):
        return _read_message(number, message, username)
    return "no message and no button"


def read_migration(update: Mapping[str, Any]) -> tuple[str, str] | None:
    """The numbers of a group and of the supergroup that it became."""
    message = update.get("message")
    if not isinstance(message, dict):
        return None
    old, new = _int(_part(message, "chat").get("id")), _int(message.get("migrate_to_chat_id"))
    return None if old is None or new is None else (str(old), str(new))


def callback_id(key: str) -> str | None:
    """What a button's press is answered by, out of the key of its event."""
    found = _CALLBACK_KEY.fullmatch(key)
    return found[1] if found else None


def _read_button(number: int, query: Mapping[str, Any], pressed: Millis | None) -> Heard | str:
    message, sender, identity = _part(query, "message"), _part(query, "from"), clean_text(query.get("id"), MAX_NAME)
    text, handle = query.get("data"), _int(message.get("message_id"))
    user = _person(sender)
    if user is None:
        return "said by no person"
    if not isinstance(text, str) or handle is None or not _CALLBACK_ID.fullmatch(identity):
        return "a button of no message of ours"
    shown = max(_int(message.get("date")) or 0, _int(message.get("edit_date")) or 0) * 1_000
    t = max(1, shown) if pressed is None else pressed
    key = f"update:{number} callback:{identity}"
    return _heard(key, user, sender, message, command_text(text), t, is_button=True, message=_handle(handle, message))


def _read_message(number: int, message: Mapping[str, Any], username: str) -> Heard | str:
    sender, text = _part(message, "from"), message.get("text")
    user = _person(sender)
    if user is None or message.get("sender_chat") is not None:  # an anonymous admin, or a channel
        return "said by no person"
    if any(message.get(name) is not None for name in ("forward_origin", "forward_date", "via_bot")):
        return "somebody else's words, forwarded"
    said = _read_command(text, username, is_direct=_is_direct(message)) if isinstance(text, str) else None
    date, handle = _int(message.get("date")), _int(message.get("message_id"))
    if said is None or date is None:
        return "no command"
    reply_to = None if handle is None or _is_direct(message) else _handle(handle, message)
    return _heard(f"update:{number}", user, sender, message, said, max(1, date * 1_000), reply_to=reply_to)


def _read_command(text: str, username: str, *, is_direct: bool) -> str | None:
    """None: it is none, or another bot's."""
    text = text.strip()
    if username and text.lower().startswith(f"@{username.lower()}"):
        rest = text[len(username) + 1 :]
        return command_text(rest.lstrip(":, \t\n")) if not rest or not (rest[0].isalnum() or rest[0] == "_") else None
    command = _COMMAND.match(text)
    if command is None:
        return command_text(text) if is_direct and text and not text.startswith("/") else None
    if command[2] is not None and command[2].lower() != username.lower():
        return None
    return command_text(command[1] + text[command.end() :])


def _heard(
    key: str, user: int, sender: Mapping[str, Any], place: Mapping[str, Any], text: str, t: Millis, **more: Any
) -> Heard | str:
    """`place`: the message that was said, or under which the button stands."""
    chat = _part(place, "chat")
    number, name = _int(chat.get("id")), clean_text(chat.get("username"), MAX_NAME)
    if number is None:
        return "said nowhere"
    names = (clean_text(sender.get(part), MAX_NAME) for part in ("first_name", "last_name"))
    shown = " ".join(filter(None, names)) or clean_text(sender.get("username"), MAX_NAME)
    places = (str(number), *((f"@{name}",) if name else ()))
    return Heard(ChatEvent(key, str(user), shown, str(number), text, t, **more), places, _is_direct(place))


def _handle(number: int, message: Mapping[str, Any]) -> str:
    """As messages are called: in a basic group with its chat, for the supergroup that it becomes counts them anew."""
    return format_handle(number, _int(_part(message, "chat").get("id")) or 0)


def _is_direct(message: Mapping[str, Any]) -> bool:
    return _part(message, "chat").get("type") == "private"


def _person(sender: Mapping[str, Any]) -> int | None:
    user = _int(sender.get("id"))
    return None if user is None or user <= 0 or sender.get("is_bot") not in (None, False) else user


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53 else None
