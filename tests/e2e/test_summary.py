"""A real daemon tells how it goes: a summary that it has missed, once, over kill -9."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.harness import wait_until
from tests.e2e.page_daemon import PageDaemon

RULES = "targets: {bot: {}}\nkpis: {x: {expr: x}}\nrules: [{name: high, kpi: x, target: bot, crit: {above: 3}}]\n"


def told(folder: Path) -> list[tuple[str, list[str]]]:
    with contextlib.closing(sqlite3.connect(folder / "state" / "journal.db", timeout=30)) as db:
        rows = db.execute("SELECT title, lines FROM message WHERE title LIKE '%summary%' ORDER BY id").fetchall()
    return [(title, json.loads(lines)) for title, lines in rows]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Which whoever the daemon becomes, when it is begun by root, may read."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_a_missed_summary_is_told_once_over_kill_9(folder: Path) -> None:
    at = datetime.fromtimestamp(time.time() - 120, UTC).strftime("%H:%M")
    daemon = PageDaemon(folder, RULES, "x 1\n", f'summary: {{daily: {{at: "{at}"}}}}')
    with daemon.running() as process:
        wait_until(lambda: _has_mark(folder), "it is noted what is due")
        assert told(folder) == []
        process.kill()
    with contextlib.closing(sqlite3.connect(folder / "state" / "journal.db", timeout=30)) as db, db:
        db.execute("UPDATE summary SET due = due - 86400000")  # as if it had been down since yesterday
    with daemon.running() as process:
        daemon.page = "x 5\n"
        wait_until(lambda: daemon.is_firing("high"), "the rule trips")
        wait_until(lambda: told(folder), "the summary is told")
        process.kill()

    ((title, lines),) = told(folder)
    assert title == "Daily summary: bot is not well, 1 incident"
    assert lines[0].startswith("bot: incident 1 for ")
    assert any(line.startswith("x 5") for line in lines)
    assert any(line.startswith("watched ") for line in lines)
    with daemon.running():
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 12, "it has looked for what is due")
        code, printed = daemon.cli("summary", "--daily")
    assert len(told(folder)) == 1
    assert code == 0
    assert printed.startswith("Daily summary: bot is not well, 1 incident\n  bot: incident 1 for ")


def _has_mark(folder: Path) -> bool:
    with contextlib.closing(sqlite3.connect(folder / "state" / "journal.db", timeout=30)) as db:
        return bool(db.execute("SELECT count(*) FROM summary").fetchone()[0])
