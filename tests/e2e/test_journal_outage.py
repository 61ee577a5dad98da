"""A journal that takes nothing for a while: people are paged past it, and all goes on when it takes something again."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.harness import E2EHarness, wait_until
from tests.support.fake_chats import FakeSlack

BAD_MODEL = "ERRORS = 0.5\nERRORS_OFF = 0.01\n"


@pytest.fixture
def slack(harness: E2EHarness) -> Iterator[FakeSlack]:
    """Where the night's critical messages go."""
    chat = FakeSlack()
    harness.write_config(
        extra_main=f'channels:\n  slack: {{type: slack, token: "{chat.token}", channel: {chat.channel}, '
        f'api: "{chat.api_url}", from: crit}}\n'
    )
    yield chat
    chat.close()


def get_health(harness: E2EHarness) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{harness.web_port}/healthz", timeout=5) as page:
            return str(page.read().decode())
    except urllib.error.HTTPError as refusal:
        return refusal.read().decode()


OFD_LOCK = """
import fcntl, os, signal, struct, sys
index = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(index, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 120, 1, 0))  # F_OFD_SETLK: nobody's in /proc/locks
print("held", flush=True)
signal.pause()
"""
SHELL = """
import signal, sqlite3, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
shell = sqlite3.connect(sys.argv[1], isolation_level=None)
shell.execute("BEGIN IMMEDIATE")
shell.execute("DELETE FROM target")
print("held", flush=True)
signal.pause()
"""


def test_a_journal_held_by_somebodys_shell_holds_no_plan_up_and_the_shell_is_ended_without_a_trace(
    harness: E2EHarness, slack: FakeSlack
) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    journal = harness.folder / "state" / "journal.db"
    with subprocess.Popen([sys.executable, "-c", SHELL, journal], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "held\n"
        harness.deploy_v2(BAD_MODEL)

        assert shell.wait(60) == -signal.SIGKILL  # it was asked first, and does not listen
    wait_until(lambda: [run["outcome"] for run in harness.list_runs()] == ["proven"])
    assert dog.poll() is None
    assert "Traceback" not in harness.watchdog_log()
    assert f"process {shell.pid} kept the journal locked, and gets SIGKILL" in harness.watchdog_log()
    assert not any("journal takes nothing" in message["text"] for message in slack.messages)
    assert get_health(harness).strip() == "ok"


def test_a_journal_held_by_nobody_knows_whom_pages_and_the_plan_runs_as_soon_as_it_is_let_go(
    harness: E2EHarness, slack: FakeSlack
) -> None:
    """As when the kernel does not say who holds it: a network file system, another container."""
    harness.start_watchdog()
    harness.wait_until_healthy()
    journal = harness.folder / "state" / "journal.db"
    with subprocess.Popen(
        [sys.executable, "-c", OFD_LOCK, f"{journal}-shm"], stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "held\n"
        harness.deploy_v2(BAD_MODEL)
        wait_until(lambda: any("journal takes nothing" in message["text"] for message in slack.messages))
        wait_until(lambda: "database is locked" in get_health(harness))
        assert harness.list_runs() == []
        assert len(slack.messages) == 1
        shell.kill()
    wait_until(lambda: [run["outcome"] for run in harness.list_runs()] == ["proven"])
    assert "Traceback" not in harness.watchdog_log()
    wait_until(lambda: any("can be written again" in message["text"] for message in slack.messages))
    assert get_health(harness).strip() == "ok"


def test_a_journal_that_is_moved_away_pages_before_the_watchdog_stops(harness: E2EHarness, slack: FakeSlack) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()

    (harness.folder / "state" / "journal.db").rename(harness.folder / "elsewhere.db")

    assert dog.wait(30) != 0
    assert ["the watchdog stops" in message["text"] for message in slack.messages] == [True]
    assert "put it back, and start again" in harness.watchdog_log()
