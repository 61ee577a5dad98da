"""A daemon edits the first messages of its incidents."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from watchdog.app.daemon import Daemon
from watchdog.core.model import Message
from watchdog.notifiers import SlackNotifier


def test_a_daemon_keeps_the_first_message_of_an_incident_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, str] = {}

    def send(self: SlackNotifier, message: Message) -> str:
        shown[handle := str(len(shown) + 1)] = message.title
        return handle

    def edit(self: SlackNotifier, handle: str, message: Message) -> None:
        shown[handle] = message.title

    monkeypatch.setattr(SlackNotifier, "send", send)
    monkeypatch.setattr(SlackNotifier, "edit", edit, raising=False)
    (tmp_path / "watchdog.yaml").write_text(
        "channels: {chat: {type: slack, token: xoxb-12345678, channel: C0123456}}\nstate: state\n"
    )

    async def main() -> None:
        daemon = Daemon(tmp_path, {})
        await daemon.start(web=False)
        try:
            with daemon.journal.transaction() as tx:
                number = tx.incidents.open_incident("bot", "crit", "loss: loss 12 % is above 10 %", daemon.clock())
                tx.messages.enqueue(Message("crit", "bot: loss", (), number, about=()), ["chat"], daemon.clock())
            daemon.outbox.notify_pending()
            async with asyncio.timeout(90):
                while not shown:
                    await asyncio.sleep(0.02)
                assert shown["1"] == "🔴 bot: loss 12 % above 10 % — tripped"
                with daemon.journal.transaction() as tx:  # nobody tells the outbox
                    tx.incidents.rename_incident(number, "loss: loss 15 % is above 10 %")
                while "15 %" not in shown["1"]:
                    await asyncio.sleep(0.02)
        finally:
            await daemon.stop()

    asyncio.run(main())
