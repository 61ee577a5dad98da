"""A journal that takes nothing for a while: people are paged past it, and all goes on when it takes something again."""

from __future__ import annotations

import sqlite3
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
        with urllib.request.urlopen(f"http://127.0.0.1:{harness.web_port}/healthz", timeout=60) as page:
            return str(page.read().decode())
    except urllib.error.HTTPError as refusal:
        return refusal.read().decode()


def test_a_journal_held_by_somebodys_shell_pages_and_the_plan_runs_as_soon_as_it_is_let_go(
    harness: E2EHarness, slack: FakeSlack
) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    shell = sqlite3.connect(harness.folder / "state" / "journal.db", isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")

    harness.deploy_v2(BAD_MODEL)
    wait_until(lambda: any("journal takes nothing" in message["text"] for message in slack.messages))
    wait_until(lambda: "database is locked" in get_health(harness))
    assert harness.list_runs() == []
    assert len(slack.messages) == 1

    shell.execute("ROLLBACK")
    shell.close()
    wait_until(lambda: [run["outcome"] for run in harness.list_runs()] == ["proven"])
    assert dog.poll() is None
    assert "Traceback" not in harness.watchdog_log()
    wait_until(lambda: any("can be written again" in message["text"] for message in slack.messages))
    assert get_health(harness).strip() == "ok"


def test_a_journal_that_is_moved_away_pages_before_the_watchdog_stops(harness: E2EHarness, slack: FakeSlack) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()

    (harness.folder / "state" / "journal.db").rename(harness.folder / "elsewhere.db")

    assert dog.wait(90) != 0
    assert ["the watchdog stops" in message["text"] for message in slack.messages] == [True]
    assert "put it back, and start again" in harness.watchdog_log()


def test_a_journal_that_is_gone_frees_no_bot_that_was_halted(harness: E2EHarness, slack: FakeSlack) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    for file in (harness.folder / "state").glob("journal.db*"):
        file.unlink()
    assert dog.wait(90) != 0

    for _ in range(2):
        dog = harness.start_watchdog()
        harness.wait_until_healthy()
        wait_until(lambda: any("begins with an empty one" in message["text"] for message in slack.messages))
        dog.kill()
        dog.wait(30)

    texts = [message["text"] for message in slack.messages]
    assert sum("begins with an empty one" in text for text in texts) == 1
    assert not any("can be written again" in text for text in texts)
    shell = sqlite3.connect(harness.folder / "state" / "journal.db")
    assert [why for (why,) in shell.execute("SELECT latch_why FROM target WHERE latched IS NOT NULL")] == [
        "the journal is gone: nobody knows whether it was halted before"
    ]
    shell.close()
