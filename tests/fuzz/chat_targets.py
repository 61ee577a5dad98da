"""What people say in chats, as a service delivers it: all of it is somebody's words."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.support.fake_socket_mode import command, mention
from tests.support.fake_socket_mode import direct as slack_direct
from tests.support.fake_socket_mode import press as slack_press
from tests.support.fake_telegram_updates import direct, message, press
from watchdog.notifiers.listening import MAX_TEXT, Heard
from watchdog.notifiers.slack_events import read_envelope
from watchdog.notifiers.telegram_updates import read_migration, read_update


def read_chat(data: bytes) -> None:
    """An update of Telegram's, or an envelope of Slack's: read, or left out with a reason."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict):
        return
    read_migration(value)
    answers = [read_update(value, "our_watchdog_bot", pressed) for pressed in (None, 0)]
    answers += [read_envelope(kind, value) for kind in ("interactive", "slash_commands", "events_api", "other")]
    for heard in answers:
        if not isinstance(heard, Heard):
            assert heard
            continue
        event = heard.event
        assert event.user
        assert event.chat
        assert 0 < len(event.text) <= MAX_TEXT
        assert event.t >= 0
        assert len(event.key) < 600
        for text in (event.key, event.user, event.user_name, event.chat, event.text, event.message, event.reply_to):
            (text or "").encode()  # it can be stored


def chat_seeds() -> Iterator[bytes]:
    for payload in (slack_press(), command(), mention(), slack_direct()):
        yield json.dumps(payload).encode()
    for number, update in enumerate((message("/ack 17 on it"), direct("status"), press("resume 3"))):
        yield json.dumps({"update_id": number, **update}).encode()
    yield json.dumps({"update_id": 9, **message("/ack \ud83d", migrate_to_chat_id=-1000000000088)}).encode()
