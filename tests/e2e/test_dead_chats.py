"""Chats that take a connection and never answer delay neither a halt, nor an answer, nor a chat that works."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

from tests.e2e.harness import wait_until
from tests.e2e.test_told import MAIN, RULES, Watchdog
from tests.support.fake_chats import FakeSlack


def test_dead_chats_delay_no_halt_no_answer_and_no_chat_that_works(tmp_path: Path) -> None:
    works = FakeSlack()
    with contextlib.closing(works), socket.create_server(("127.0.0.1", 0)) as dead:
        dead.listen(128)  # the kernel takes connections in; nobody reads of them
        address = f"http://127.0.0.1:{dead.getsockname()[1]}/"
        silent = "".join(
            f'  dead{n}: {{type: slack, token: xoxb-12345678, channel: C0, from: info, api: "{address}"}}\n'
            for n in range(24)
        )
        watchdog = Watchdog(tmp_path)
        main = MAIN.format(udp=watchdog.udp, web=watchdog.web)
        (tmp_path / "watchdog.yaml").write_text(
            f'{main}channels:\n{silent}  works: {{type: slack, token: xoxb-12345678, channel: C1, api: "{works.api_url}"}}\n'
        )
        (tmp_path / "rules" / "rules.yaml").write_text(RULES.format(folder=tmp_path))
        with watchdog.running():
            watchdog.push({"equity": 1_000})
            began = time.monotonic()
            wait_until(lambda: watchdog.push({"equity": 1}) and (tmp_path / "stopped").exists(), "the halt")
            halted = time.monotonic() - began
            wait_until(lambda: len(works.requests) > 0, "the chat that works is told")
            told = time.monotonic() - began
            assert watchdog.ask("/api/status").startswith("200")

    # A dead one gives up after ten seconds: four at a time, the last would be told after a minute.
    assert halted < 40
    assert told < 40
