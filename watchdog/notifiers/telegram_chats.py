"""Which chat is meant, and which message of it: a basic group that becomes a supergroup gets another number, and counts its
messages anew."""

from __future__ import annotations

import re

_FIRST_SUPERGROUP = -1_000_000_000_000
"""The numbers of basic groups lie between this one and 0."""

_successors: dict[tuple[str, int | str], int] = {}
"""(API, chat) → the supergroup that it became. Of this process: each learns it anew, with the first message."""


def find_current(api: str, chat: int | str) -> int | str:
    """The chat that is meant: what Telegram said in this process that it became, or itself."""
    if isinstance(chat, str) and not chat.startswith("@"):
        chat = int(chat)
    while (api, chat) in _successors:
        chat = _successors[api, chat]
    return chat


def note_successor(api: str, chat: int | str, new_chat: int) -> bool:
    """False when it leads nowhere: back to where we are."""
    if find_current(api, new_chat) == chat:
        return False
    _successors[api, chat] = new_chat
    return True


def format_handle(message: int, chat: int | str) -> str:
    """The id alone, and of a basic group with its chat, ``57@-4711``: once that is a supergroup, 57 is another message."""
    is_basic = isinstance(chat, int) and _FIRST_SUPERGROUP < chat < 0
    return f"{message}@{chat}" if is_basic else str(message)


def parse_handle(handle: str | None, chat: int | str) -> int | None:
    """Id of the message in that chat; None when it is of another, or not a handle of ours."""
    match = re.fullmatch(r"([0-9]{1,18})(?:@(-[0-9]{1,18}))?", handle or "", re.ASCII)
    return None if match is None or match[2] not in (None, str(chat)) else int(match[1])
