"""What the pages of sources that are told show to be typed, or run, brings them what it says."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import CHECKOUT
from tests.support.ports import free_port
from tests.support.senders import Heard, Web, describe, web
from watchdog.promql import parse
from watchdog.sources import HeartbeatSource, PushSource, StatsdSource

__all__ = ["web"]

NOW = 1_700_000_000_000


def blocks(page: str, *languages: str) -> list[str]:
    text = (CHECKOUT / f"docs/sources/{page}.md").read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


@pytest.fixture
def environ(web: Web, tmp_path: Path) -> dict[str, str]:
    """What the pages lean on; the token is made as they show it."""
    (command,) = blocks("push", "")
    command = command.replace("-o trading-watchdog ", "")
    run(["bash", "-euc", command.replace("/etc/trading-watchdog/bot.token", str(web.token_file))], {})
    token = web.token_file.read_text().strip()
    assert len(token) == 48
    assert web.token_file.stat().st_mode & 0o777 == 0o600
    return {"TOKEN": token, "WATCHDOG": f"http://127.0.0.1:{web.port}", "HOME": str(tmp_path)}


def run(words: list[str], environ: dict[str, str]) -> None:
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(words, env={**path, **environ}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), words


def test_what_is_pushed_as_shown_is_taken(web: Web, environ: dict[str, str]) -> None:
    heard = Heard()
    receiver = PushSource(type="push", token_file=str(web.token_file)).receive("bot", {}, heard, lambda: NOW)
    (shown,) = blocks("push", "sh")
    first, second = shown.splitlines()

    run(["bash", "-euc", first], environ)
    assert heard.values == {"equity": 10_250.5, "open_positions": 3.0}
    run(["bash", "-euc", second], environ)
    assert heard.values['position{symbol="BTC"}'] == 0.4
    (program,) = blocks("push", "python")
    run([sys.executable, "-c", program], environ)
    assert len(heard.made) == 3
    (lines,) = blocks("push", "json")
    assert web.push("bot", lines, token=environ["TOKEN"]) == (204, "")
    assert {'position{symbol="BTC"}', "halted"} <= {describe(sample) for sample in heard.made[-1][0]}
    receiver.close()


def test_what_is_sent_as_shown_is_added_up() -> None:
    port, heard = free_port(socket.SOCK_DGRAM), Heard()
    receiver = StatsdSource(type="statsd", listen=f"127.0.0.1:{port}").receive("bot", {}, heard, lambda: NOW)
    (shown,), (program,) = blocks("statsd", "bash"), blocks("statsd", "python")

    run(["bash", "-euc", shown.replace("8125", str(port))], {})
    run([sys.executable, "-c", program.replace("8125", str(port))], {})

    heard.wait_until(lambda heard: heard.values.get('bot_orders{side="buy"}') == 2.0)
    assert heard.values["bot_equity"] == 10_250.5
    receiver.close()


def test_a_job_that_calls_as_shown_is_heard(web: Web, environ: dict[str, str]) -> None:
    heard = Heard()
    source = HeartbeatSource(type="heartbeat", token_file=str(web.token_file))
    receiver = source.receive("retrain", {}, heard, lambda: NOW)
    (shown,) = blocks("heartbeat", "sh")

    run(["bash", "-uc", shown], environ)
    run([sys.executable, "-c", *blocks("heartbeat", "python")], environ)

    assert heard.values['heartbeat_calls_total{kind="start"}'] == 2.0
    assert heard.values['heartbeat_calls_total{kind="success"}'] == 2.0
    for expression in blocks("heartbeat", "promql")[0].splitlines():
        parse(expression)
    receiver.close()
