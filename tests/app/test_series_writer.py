"""The writer of series.db: what people must know of it is said, also when the journal takes nothing at first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from watchdog.app.series_writer import SeriesWriter
from watchdog.config import load
from watchdog.core.model import Message
from watchdog.core.telemetry import Telemetry
from watchdog.journal.errors import JournalUnavailableError
from watchdog.tsdb.head import Head

NOW = 1_700_000_000_000


def test_that_history_begins_anew_is_said_as_soon_as_the_journal_takes_it(tmp_path: Path) -> None:
    (tmp_path / "watchdog.yaml").write_text("sources: {host: {type: host}}\nstate: state\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "series.db").write_bytes(b"no database " * 100)
    said: list[str] = []
    held = True

    def notify(message: Message) -> None:
        if held:
            raise JournalUnavailableError("database is locked", "busy")
        said.append(message.title)

    writer = SeriesWriter(load(tmp_path, environ={}), Telemetry("test"), notify)
    writer.restore(Head({}), NOW)
    with pytest.raises(JournalUnavailableError):
        asyncio.run(writer.write(NOW))
    assert said == []

    held = False
    asyncio.run(writer.write(NOW + 1_000))
    asyncio.run(writer.write(NOW + 2_000))

    assert said == ["history begins anew"]
    asyncio.run(writer.stop(NOW + 3_000))
