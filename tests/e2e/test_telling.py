"""A real daemon and real client libraries: what a chat refuses or delays, what a silence keeps back, over kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.e2e.harness import wait_until
from tests.support.fake_chats import FakeSlack, FakeTelegram, Json, Request, Response, telegram_error
from tests.support.ports import free_port

MAIN = """\
sources:
  bot: {{type: textfile, folder: {folder}/values, every: 1s}}
channels:
  telegram: {{type: telegram, token: "{telegram.token}", chat: {chat}, api: "{telegram.api_url}", from: warn}}
  slack: {{type: slack, token: "{slack.token}", channel: {slack.channel}, api: "{slack.api_url}", from: crit}}
state: state
web: {{listen: "127.0.0.1:{web}"}}
"""
RULES = """\
targets: {bot: {}, other: {}}
kpis: {x: {expr: x}, y: {expr: y}}
rules:
  - {name: high, kpi: x, target: bot, warn: {above: 3}, crit: {above: 7}}
  - {name: why, kpi: y, target: other, crit: {above: 5}}
"""


class PickyTelegram(FakeTelegram):
    """Refuses what `refusal` says, by what stands in it."""

    refusal: tuple[str, Response] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[str] = []
        self.echo: Json = {}
        """Fields of each answer that are not as Telegram has them."""

    def respond(self, request: Request) -> Response:
        text = request.body.decode()
        self.tried.append(text)
        if self.refusal is not None and self.refusal[0] in text:
            return self.refusal[1]
        answer = super().respond(request)
        if self.echo and isinstance(answer.body, dict) and isinstance(result := answer.body.get("result"), dict):
            return answer._replace(body=answer.body | {"result": result | self.echo})
        return answer


class Watchdog:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.telegram, self.slack, self.web = PickyTelegram(), FakeSlack(), free_port()
        for name in ("rules", "values"):
            (folder / name).mkdir()
        (folder / "rules" / "rules.yaml").write_text(RULES)
        self.configure(self.telegram.chat_id)
        self.show(x=1, y=1)
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, chat: int) -> None:
        text = MAIN.format(folder=self.folder, telegram=self.telegram, slack=self.slack, chat=chat, web=self.web)
        (self.folder / "watchdog.yaml").write_text(text)

    def show(self, **values: float) -> None:
        file = self.folder / "values" / "bot.prom"
        new = file.with_suffix(".new")
        new.write_text("".join(f"{name} {value}\n" for name, value in values.items()))
        new.replace(file)

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "watchdog", *args, "--config", str(self.folder)]

    def start(self) -> None:
        before = self.log().count("watching:")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command("run"), stderr=log, env=os.environ)
        wait_until(lambda: self.log().count("watching:") > before, "it watches")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def run(self, *args: str) -> str:
        done = subprocess.run(self.command(*args), capture_output=True, text=True, timeout=180)
        return done.stdout + done.stderr

    def log(self) -> str:
        file = self.folder / "log"
        return file.read_text() if file.exists() else ""

    def told(self, what: str) -> tuple[int, int]:
        """How often, by Telegram and by Slack."""
        return (
            sum(what in message["shown"] for message in self.telegram.messages),
            sum(what in message["text"] for message in self.slack.messages),
        )

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.telegram.close()
        self.slack.close()


@pytest.fixture
def watchdog(tmp_path: Path) -> Iterator[Watchdog]:
    with ExitStack() as stack:
        yield stack.enter_context(closing(Watchdog(tmp_path)))


def test_a_chat_that_wants_to_be_left_alone_for_hours_gets_what_is_critical(watchdog: Watchdog) -> None:
    flood = telegram_error(429, "Too Many Requests: retry after 35000", retry_after=35_000)
    watchdog.telegram.refusal = "x+5", flood
    watchdog.start()
    watchdog.show(x=5, y=1)
    wait_until(lambda: any("x+5" in text for text in watchdog.telegram.tried), "the warning was tried")
    watchdog.show(x=9, y=9)

    wait_until(lambda: watchdog.told("x 9 above 7") == (1, 1), "the same incident's")
    wait_until(lambda: watchdog.told("y 9 above 5") == (1, 1), "another's")
    assert watchdog.process is not None
    assert watchdog.process.poll() is None


def test_after_the_address_is_corrected_the_open_incident_is_told_in_one_message_over_a_kill(
    watchdog: Watchdog,
) -> None:
    watchdog.configure(-1)
    watchdog.start()
    watchdog.show(x=5, y=1)
    wait_until(lambda: watchdog.told("channel telegram does not deliver") == (0, 1), "told elsewhere")
    watchdog.show(x=9, y=1)
    wait_until(lambda: len(watchdog.telegram.tried) >= 2 and watchdog.told("x 9 above 7") == (0, 1), "refused, too")
    shown = wait_until(lambda: [line for line in watchdog.run("status").splitlines() if line.startswith("channel")])
    assert "chat not found — check chat" in shown[0]
    assert "refused by channel telegram" in watchdog.run("incidents", "1")
    watchdog.kill()
    watchdog.start()
    watchdog.configure(watchdog.telegram.chat_id)

    wait_until(lambda: watchdog.told("x 9 above 7") == (1, 1), "the present state")
    wait_until(lambda: watchdog.told("channel telegram delivers again") == (0, 1), "and that it is cured")
    assert len(watchdog.telegram.messages) == 1


def test_a_group_that_became_a_supergroup_hears_at_once_and_all_are_told_its_number_once_over_a_kill(
    watchdog: Watchdog,
) -> None:
    watchdog.configure(-4711)
    watchdog.telegram.former_chats[-4711] = watchdog.telegram.chat_id
    watchdog.start()
    watchdog.show(x=9, y=1)
    wait_until(lambda: watchdog.told("x 9 above 7") == (1, 1), "as if nothing had happened")
    notice = f"channel telegram: the group -4711 became the supergroup {watchdog.telegram.chat_id}"
    wait_until(lambda: watchdog.told(notice) == (1, 1), "with its number")
    wait_until(lambda: "unsent" not in watchdog.run("status"), "it is written down")
    watchdog.kill()
    watchdog.start()
    watchdog.show(x=1, y=1)
    wait_until(lambda: watchdog.told("closed after") == (1, 1), "by another process")

    assert watchdog.told(f"say chat: {watchdog.telegram.chat_id}") == (1, 1)


def test_what_telegram_says_is_ok_is_sent_once_whatever_else_its_answer_holds(watchdog: Watchdog) -> None:
    watchdog.telegram.echo = {"link_preview_options": '{"is_disabled": true}', "chat": None, "date": "now"}
    watchdog.start()
    watchdog.show(x=9, y=1)
    wait_until(lambda: watchdog.told("x 9 above 7") == (1, 1), "it trips")
    watchdog.show(x=1, y=1)
    wait_until(lambda: watchdog.told("closed after") == (1, 1), "and ends")

    assert (len(watchdog.telegram.messages), len(watchdog.slack.messages)) == (2, 2)
    assert "will try again" not in watchdog.log()


def test_what_fires_at_the_end_of_a_silence_is_told_exactly_once_over_a_kill(watchdog: Watchdog) -> None:
    watchdog.start()
    wait_until(lambda: watchdog.run("silence", "high", "--for", "60s", "--reason", "known").startswith("high is not"))
    watchdog.show(x=9, y=1)
    wait_until(lambda: "tripped" in watchdog.log(), "it trips")
    watchdog.kill()
    assert watchdog.told("x 9") == (0, 0)
    watchdog.start()
    wait_until(lambda: watchdog.told("silence on high ended: its time is over") == (1, 1), "its end")
    wait_until(lambda: '"undelivered": []' in watchdog.run("incidents", "1", "--json"), "it is written down")
    watchdog.kill()
    watchdog.start()
    watchdog.show(x=1, y=1)
    wait_until(lambda: watchdog.told("closed after") == (1, 1), "the end of the incident")

    assert watchdog.told("silence on high ended: its time is over") == (1, 1)
