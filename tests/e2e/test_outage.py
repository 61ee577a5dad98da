"""A journal that takes nothing for a while: people are paged past it, and all goes on when it takes something again."""

from __future__ import annotations

import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.night import Night, until
from tests.notifiers.fakes import FakeSlack

BAD = "ERRORS = 0.5\nERRORS_OFF = 0.01\n"


@pytest.fixture
def slack(night: Night) -> Iterator[FakeSlack]:
    """Where the night's critical messages go."""
    chat = FakeSlack()
    night.configure(
        more=f'channels:\n  slack: {{type: slack, token: "{chat.token}", channel: {chat.channel}, '
        f'api: "{chat.api}", from: crit}}\n'
    )
    yield chat
    chat.close()


def health(night: Night) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{night.web}/healthz", timeout=5) as page:
            return str(page.read().decode())
    except urllib.error.HTTPError as refusal:
        return refusal.read().decode()


def test_a_journal_held_by_somebodys_shell_pages_and_the_plan_runs_as_soon_as_it_is_let_go(
    night: Night, slack: FakeSlack
) -> None:
    dog = night.watch()
    night.healthy()
    shell = sqlite3.connect(night.folder / "state" / "journal.db", isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")

    night.deploy_v2(BAD)
    until(lambda: any("journal takes nothing" in message["text"] for message in slack.messages))
    until(lambda: "database is locked" in health(night))
    assert night.runs() == []
    assert len(slack.messages) == 1

    shell.execute("ROLLBACK")
    shell.close()
    until(lambda: [run["outcome"] for run in night.runs()] == ["proven"])
    assert dog.poll() is None
    assert "Traceback" not in night.log()
    until(lambda: any("can be written again" in message["text"] for message in slack.messages))
    assert health(night).strip() == "ok"


def test_a_journal_that_is_moved_away_pages_before_the_watchdog_stops(night: Night, slack: FakeSlack) -> None:
    dog = night.watch()
    night.healthy()

    (night.folder / "state" / "journal.db").rename(night.folder / "elsewhere.db")

    assert dog.wait(30) != 0
    assert ["the watchdog stops" in message["text"] for message in slack.messages] == [True]
    assert "put it back, and start again" in night.log()
