"""A whole daemon, and people who talk to it: what they say is done at once, whatever another channel does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.listening import FakeChat
from tests.support.ports import free_port
from watchdog.app import daemon as daemon_module
from watchdog.app import reload
from watchdog.app.daemon import Daemon
from watchdog.core.chat import ChatEvent, ReceiveFunction
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.notifiers import TelegramNotifier
from watchdog.sources import ScrapeSource
from watchdog.worker.client import WorkerExecutor

PATIENCE = 90.0
RULES = """\
targets: {bot: {repo: BOT}}
kpis: {value: {expr: value}}
rules: [{name: high, kpi: value, target: bot, crit: {above: 1, plan: halt}}]
plans:
  halt:
    kind: halt
    levels:
      - {name: off, steps: [{do: flag, file: config.py, set: {TRADING: false}}], verify: {that: [value == 1], give_up: 1s}}
"""


class Service:
    """What stands behind each channel of the configuration, by its chat."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chats = {-1: FakeChat(chat="-1"), -2: FakeChat(chat="-2")}
        self.port = free_port()
        service = self

        async def listen(notifier: TelegramNotifier, receive: ReceiveFunction) -> None:
            await service.chats[int(notifier.chat)].listen(receive)

        async def acknowledge(notifier: TelegramNotifier, event: ChatEvent, text: str) -> None:
            await service.chats[int(notifier.chat)].acknowledge(event, text)

        async def send(notifier: TelegramNotifier, message: Message) -> str:
            chat = service.chats[int(notifier.chat)]
            if chat.acknowledges is not None:
                await chat.acknowledges.wait()
            return chat.send(message)

        monkeypatch.setattr(TelegramNotifier, "listen_to_people", property(lambda _: True), raising=False)
        monkeypatch.setattr(TelegramNotifier, "listen", listen, raising=False)
        monkeypatch.setattr(TelegramNotifier, "acknowledge", acknowledge, raising=False)
        monkeypatch.setattr(TelegramNotifier, "send", send)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    def read(_: ScrapeSource, state: SourceState, cache: SourceCache, now: int) -> list[object]:
        assert (state, cache) == ({}, {})
        return []

    monkeypatch.setattr(ScrapeSource, "read", read)
    monkeypatch.setattr(daemon_module, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(reload, "SETTLE_TIME", 0.01)
    return Service(monkeypatch)


def write_main(folder: Path, service: Service, chat: int = -1, more: str = "") -> None:
    (folder / "watchdog.yaml").write_text(
        'sources: {well: {type: scrape, url: "http://well/", every: 1s}}\n'
        "channels:\n"
        f'  tg: {{type: telegram, token: "1:abc", chat: {chat}, from: info}}\n{more}'
        "people: {ann: {telegram: 11, may: act}}\n"
        f"state: {folder}/state\nhistory: off\nweb: {{listen: 127.0.0.1:{service.port}}}\n"
    )


def write_files(folder: Path, service: Service, more: str = "") -> None:
    write_main(folder, service, more=more)
    (folder / "rules").mkdir()
    (folder / "rules" / "bot.yaml").write_text(RULES.replace("BOT", str(folder / "bot")))
    (folder / "bot").mkdir()
    (folder / "bot" / "config.py").write_text("TRADING = True\n")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


def said(daemon: Daemon, key: str, text: str, chat: int = -1) -> ChatEvent:
    return ChatEvent(key, "11", "Ann", str(chat), text, daemon.clock())


@pytest.mark.slow
def test_a_halt_by_a_word_makes_safe_though_another_chat_hangs(tmp_path: Path, service: Service) -> None:
    write_files(tmp_path, service, '  hung: {type: telegram, token: "2:abc", chat: -2, from: info}\n')
    well, hung = service.chats[-1], service.chats[-2]

    async def main() -> None:
        hung.acknowledges = asyncio.Event()
        daemon = Daemon(tmp_path, {})
        await daemon.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await well.is_listening.wait()
                await hung.is_listening.wait()
            for number in range(60):
                await hung.say(said(daemon, f"h{number}", "help", -2))
            await well.say(said(daemon, "k1", "halt bot it burns"))
            await until(lambda: "False" in (tmp_path / "bot" / "config.py").read_text())
            await until(lambda: daemon.journal.runs.get_run(1).ended)
            assert daemon.journal.runs.get_run(1).by == "person ann (chat tg): it burns"
            await until(lambda: well.acknowledged)
            assert well.acknowledged == [("k1", "halt bot: begins (run 1)")]
            assert not hung.acknowledged
            assert not hung.sent
            await until(lambda: any("ann (chat tg): it burns" in " ".join(one.lines) for one in well.sent))
        finally:
            hung.acknowledges.set()
            await daemon.stop()

    asyncio.run(main())


def test_a_reload_listens_where_the_channel_is_now_and_status_says_who_is_not_heard(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerExecutor, "warm_up_soon", lambda *_: None)  # nothing acts here
    write_files(tmp_path, service)
    first, second = service.chats[-1], service.chats[-2]
    second.failures = [NotifyError("bad token — make a new one", permanent=True)]

    async def main() -> None:
        daemon = Daemon(tmp_path, {})
        await daemon.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await first.is_listening.wait()
            write_main(tmp_path, service, -2)
            await until(lambda: daemon.chat_desk.listeners.errors() == {"tg": "bad token — make a new one"})
            assert not first.is_listening.is_set()
            status = await asyncio.to_thread(daemon._status_threadsafe)
            assert status["channels"]["tg"]["unheard"] == "bad token — make a new one"  # type: ignore[index]
            assert not [task for task in daemon.chat_desk.tasks if task.done()]
            (tmp_path / "rules" / "bot.yaml").write_text(RULES.replace("BOT", str(tmp_path / "bot")) + "\n# cured\n")
            daemon.reload()
            async with asyncio.timeout(PATIENCE):
                await second.is_listening.wait()
            await second.say(said(daemon, "k1", "status", -2))
            await until(lambda: second.acknowledged)
        finally:
            await daemon.stop()

    asyncio.run(main())


def test_who_acts_for_one_run_alone_hears_nobody(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerExecutor, "warm_up_soon", lambda *_: None)
    write_files(tmp_path, service)

    async def main() -> None:
        daemon = Daemon(tmp_path, {}, automatic_plans=False)
        await daemon.start(web=False)
        await daemon.stop()

    asyncio.run(main())

    assert service.chats[-1].listens == 0
