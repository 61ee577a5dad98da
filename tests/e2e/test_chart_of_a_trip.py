"""A daemon whose rule trips sends the text with its picture; nothing of matplotlib is in it, and where drawing hangs only the
picture is missing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from watchdog.app.daemon import Daemon
from watchdog.core.model import Message, Sample
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.notifiers import SlackNotifier
from watchdog.pictures.drawer import ChartDrawer
from watchdog.sources import ScrapeSource

LONG = 90.0
MAIN = """\
sources: {{bot: {{type: scrape, url: "http://bot/", every: 50ms}}}}
channels: {{phone: {{type: slack, token: xoxb-12345678, channel: C0123456}}}}
state: {folder}/state
web: {{listen: "127.0.0.1:0"}}
"""
RULES = """\
targets: {bot: {}}
kpis: {errors: {expr: error_ratio, unit: ratio}}
rules: [{name: errors, kpi: errors, target: bot, warn: {above: 10%}, crit: {above: 20%}}]
"""
HANGS = "import time\ntime.sleep(1000)"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """What goes to the phone."""
    messages: list[Message] = []

    async def send(_: SlackNotifier, message: Message) -> str:
        messages.append(message)
        return str(len(messages))

    monkeypatch.setattr(SlackNotifier, "send", send)
    return messages


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.02)


def run_daemon(
    folder: Path, sent: list[Message], monkeypatch: pytest.MonkeyPatch, drawer: ChartDrawer
) -> list[Message]:
    value = [0.01]

    def read(_: ScrapeSource, __: SourceState, ___: SourceCache, now: int) -> list[Sample]:
        return [Sample("error_ratio", (), now, value[0])]

    monkeypatch.setattr(ScrapeSource, "read", read)
    (folder / "watchdog.yaml").write_text(MAIN.format(folder=folder))
    (folder / "rules").mkdir()
    (folder / "rules" / "bot.yaml").write_text(RULES)

    async def live() -> None:
        daemon = Daemon(folder, {})
        daemon.charts._drawer = drawer
        await daemon.start(web=False)
        await until(lambda: daemon.telemetry.newest_samples)
        value[0] = 0.3
        await until(lambda: [one for one in sent if one.severity == "crit"])
        value[0] = 0.01
        await until(lambda: any("closed" in one.title for one in sent))
        await daemon.stop()

    asyncio.run(live())
    return sent


def test_the_trip_and_the_outcome_come_with_a_picture(
    tmp_path: Path, sent: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.notifiers.outbox._DRAWING_TIMEOUT", LONG)
    monkeypatch.setattr("watchdog.notifiers.outbox._DRAWING_TIMEOUT_URGENT", LONG)

    told = run_daemon(tmp_path, sent, monkeypatch, ChartDrawer(LONG))

    shown = {one.title: one.picture for one in told if one.chart is not None}
    assert len(shown) == 2
    assert all(picture is not None and picture.startswith(b"\x89PNG") for picture in shown.values())


def test_where_drawing_hangs_only_the_picture_is_missing(
    tmp_path: Path, sent: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.notifiers.outbox._DRAWING_TIMEOUT", 0.2)
    monkeypatch.setattr("watchdog.notifiers.outbox._DRAWING_TIMEOUT_URGENT", 0.2)
    drawer = ChartDrawer(LONG)
    program = tmp_path / "hangs"
    program.write_text(f"#!{sys.executable}\n{HANGS}")
    program.chmod(0o755)

    def start() -> object:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "executable", str(program))
            return begin()

    begin = drawer._start
    monkeypatch.setattr(drawer, "_start", start)

    told = run_daemon(tmp_path, sent, monkeypatch, drawer)

    assert [one.picture for one in told if one.chart is not None] == [None, None]
    assert drawer._running is None  # it was ended with the daemon


IMPORTS = """
import sys
import watchdog.app.daemon
print(*[name for name in sys.modules if name.split(".")[0] in ("matplotlib", "PIL")])
"""


def test_the_daemon_carries_nothing_of_matplotlib() -> None:
    argv = [sys.executable, "-c", IMPORTS]
    assert subprocess.run(argv, capture_output=True, text=True, timeout=LONG, check=True).stdout.split() == []
