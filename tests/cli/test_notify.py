"""`notify`: a sample on a channel, without a daemon; what came back, and what cures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.alertmanagers import FakeAlertmanager
from tests.support.fake_chats import HANG, FakeSlack, FakeTelegram
from tests.support.fake_webhook import FakeWebhook
from watchdog.cli import notify
from watchdog.cli.command_line import main

MAIN = """\
sources: {{host: {{type: host, disks: [/]}}}}
channels:
  am: {{type: alertmanager, url: "{am}", token_file: am.token}}
  hook: {{type: apprise, url: "{hook}"}}
  chat: {{type: slack, token: "{token}", channel: C0123456, api: "{slack}"}}
  group: {{type: telegram, token: "{bot}", chat: {chat}, api: "{telegram}"}}
  unset: {{type: slack, token: "${{NOT_SET_ANYWHERE}}", channel: C0123456}}
state: state
"""


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.am, self.hook, self.slack, self.telegram = FakeAlertmanager(), FakeWebhook(), FakeSlack(), FakeTelegram()
        self.servers = {"am": self.am, "hook": self.hook, "chat": self.slack, "group": self.telegram}
        (folder / "rules").mkdir()
        (folder / "am.token").write_text(self.am.token)
        (folder / "am.token").chmod(0o600)
        (folder / "watchdog.yaml").write_text(
            MAIN.format(
                am=self.am.url,
                hook=self.hook.apprise_url,
                token=self.slack.token,
                slack=self.slack.api_url,
                bot=self.telegram.token,
                chat=self.telegram.chat_id,
                telegram=self.telegram.api_url,
            )
        )

    def run(self, *args: str) -> int:
        return main(["notify", *args, "--config", str(self.folder)])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for server in made.servers.values():
        server.close()


@pytest.mark.parametrize("name", ["am", "hook", "chat", "group"])
def test_a_sample_goes_out_without_a_daemon_and_says_that_it_is_one(
    name: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run(name) == 0

    assert capsys.readouterr().out.startswith(f"{name}: the sample was taken")
    (request,) = world.servers[name].requests
    assert b"sample" in request.body
    assert b"nothing" in request.body
    assert not (world.folder / "state" / "journal.db").exists()


@pytest.mark.parametrize("name", ["am", "hook", "chat", "group"])
def test_what_came_back_is_told_with_the_cure_and_without_a_secret(
    name: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    server = world.servers[name]
    echo = getattr(server, "token", FakeWebhook.path)
    server.queue_response(403, {"ok": False, "error": "no_permission", "description": echo, "message": echo})

    assert world.run(name) == 1

    said = capsys.readouterr()
    assert said.err.startswith(f"{name}: not delivered: ")
    assert " — " in said.err
    assert "hush" not in said.err + said.out


def test_json_says_the_same(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.run("am", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "channel": "am",
        "ok": True,
        "handle": None,
        "error": None,
        "permanent": False,
        "retry_after": None,
    }
    world.am.queue_response(429, "", {"Retry-After": "90"})

    assert world.run("am", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["permanent"], answer["retry_after"]) == (False, False, 90.0)


def test_how_long_a_service_wants_to_be_left_alone_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.slack.queue_response(429, "", {"Retry-After": "90"})

    assert world.run("chat") == 1

    assert "it asks to wait 1 m 30 s" in capsys.readouterr().err


def test_it_may_claim_to_be_critical(world: World) -> None:
    world.run("am", "--severity", "crit")

    assert world.am.alert(severity="critical")


def test_a_channel_that_there_is_not_is_named_with_what_there_is(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run("chatt") == 1

    assert "chat" in capsys.readouterr().err.partition("chatt")[2]


def test_a_channel_that_lacks_its_secret_says_which(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.run("unset") == 1

    assert "NOT_SET_ANYWHERE" in capsys.readouterr().err


def test_broken_rules_do_not_keep_a_channel_from_being_tried(world: World) -> None:
    (world.folder / "rules" / "broken.yaml").write_text("rules: [{name: x")

    assert world.run("am") == 0


def test_wrong_usage_ends_with_2(world: World) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["notify"])

    assert ended.value.code == 2


def test_a_service_that_hangs_does_not_keep_the_command(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "DEADLINE", -0.7)
    world.am.responses.append(HANG)

    assert world.run("am") == 1

    assert "no answer within" in capsys.readouterr().err


@pytest.mark.slow
def test_as_a_command_of_its_own(world: World) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "watchdog", "notify", "hook", "--config", str(world.folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(world.folder)},
        timeout=180,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(world.hook.messages) == 1
