"""A night in a folder full of secrets: none of them is in what is kept, told or printed, and what is kept is ours alone."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

from tests.e2e.harness import E2EHarness, wait_until
from tests.support.fake_chats import FakeSlack

SECRETS = ("hunter2", "s3cr3t-word", "correct horse", "987654321", "TheOldOne")
SETTINGS = (
    '{"exchange": {"key": "hunter2", "secret": "s3cr3t-word", "pin": 987654321}, "stake": 100, "pairs": ["BTC/USDT"]}\n'
)
FILES = {
    "settings.json": SETTINGS,
    "chat.yaml": "telegram: {token: TheOldOne, passphrase: correct horse, enabled: true}\n",
    ".env": "API_KEY=TheOldOne\nAPI_SECRET='s3cr3t-word'\nDRY_RUN=false\n",
    "tuned.py": "TUNED = {'stake': 5, 'api_key': 'hunter2', 'password': 'correct horse'}\n",
}
STEPS = """[
        {do: flag, file: settings.json, set: {stake: 50, exchange.secret: ''}},
        {do: flag, file: chat.yaml, set: {telegram.enabled: false, telegram.token: ''}},
        {do: flag, file: .env, set: {API_KEY: '', DRY_RUN: true}},
        {do: flag, file: tuned.py, set: {TUNED.stake: 1}},
        {do: command, run: [cat, settings.json]},
        {do: flag, file: config.py, set: {FEATURE_V2: false}},"""


def test_no_secret_of_the_bot_leaves_its_files(harness: E2EHarness) -> None:
    slack = FakeSlack()
    try:
        channel = (
            f'  slack: {{type: slack, token: "{slack.token}", channel: {slack.channel}, api: "{slack.api_url}"}}\n'
        )
        harness.write_config(extra_main=f"channels:\n{channel}")
        rules = harness.folder / "rules" / "toy.yaml"
        feature = "[{do: flag, file: config.py, set: {FEATURE_V2: false}},"
        assert feature in rules.read_text()
        rules.write_text(rules.read_text().replace(feature, STEPS))
        for name, text in FILES.items():
            harness.write_repo_file(name, text)
        harness.commit("settings")
        state = harness.folder / "state"
        state.mkdir(mode=0o755)
        (state / "backups").mkdir(mode=0o755)
        harness.start_watchdog()
        harness.wait_until_healthy()
        harness.write_repo_file(
            "settings.json", SETTINGS.replace('"stake": 100', '"stake": 300').replace("hunter2", "TheOldOne")
        )
        harness.deploy_v2("ERRORS = 0.5\n")

        wait_until(
            lambda: any(run["outcome"] == "proven" for run in harness.list_runs()), why="the version was the cause"
        )

        printed = [print_all(harness, *words) for words in (
            ("incidents",), ("incidents", "1"), ("incidents", "1", "--json"), ("status",), ("status", "--json"),
            ("report", "1"), ("report", "1", "--json"), ("report", "1", "--format", "html"),
            ("rollback", "ladder", "--dry-run"), ("drill", "ladder"), ("drill", "ladder", "--json"),
        )]  # fmt: skip
        told = [*printed, harness.watchdog_log(), *(str(request.body) for request in slack.requests), *columns(state)]
        assert {secret: text for secret in SECRETS for text in told if secret in text} == {}
        assert any("stake" in text and "100" in text for text in printed)  # what differs is shown
        assert modes(state) == {"folders": {0o700}, "files": {0o600}}
        saved = [path.read_text() for path in (state / "backups").rglob("*") if path.is_file()]
        assert any("TheOldOne" in text for text in saved)  # what undoes it is whole
    finally:
        slack.close()


def print_all(harness: E2EHarness, *words: str) -> str:
    done = harness.run_cli(*words)
    assert done.stdout, done.stderr
    return done.stdout + done.stderr


def columns(state: Path) -> list[str]:
    """All text of all tables of the journal and of the history."""
    found = []
    for path in (state / "journal.db", state / "series.db"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            found += [
                json.dumps(row, default=repr) for table in tables for row in database.execute(f"SELECT * FROM {table}")
            ]
    assert any("settings.json" in row for row in found)
    return found


def modes(state: Path) -> dict[str, set[int]]:
    paths = [state, *state.rglob("*")]
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "series.db", "lock", "journal.reserve"} <= {
        p.name for p in paths
    }
    return {
        "folders": {path.stat().st_mode & 0o777 for path in paths if path.is_dir()},
        "files": {path.stat().st_mode & 0o777 for path in paths if path.is_file()},
    }
