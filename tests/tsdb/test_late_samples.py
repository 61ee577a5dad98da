"""An hour in which nobody watched: what happened in it stands in the history at its own time, and trips nothing now."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from watchdog.core.model import Millis, Sample
from watchdog.promql.embedded import EmbeddedEvaluator
from watchdog.promql.parse.parser import parse
from watchdog.sources import AnySource
from watchdog.tsdb import block_reader
from watchdog.tsdb.archive import RetentionLimits, SeriesArchive
from watchdog.tsdb.head import Head
from watchdog.tsdb.late_samples import LateSamples
from watchdog.tsdb.write_buffer import StateSnapshot, WriteBuffer

START = 1_767_225_600_000
HOUR, MINUTE = 3_600_000, 60_000
LIMITS = RetentionLimits(30 * 24 * HOUR, 730 * 24 * HOUR, 2**31)
SOURCES: dict[str, dict[str, Any]] = {
    "jsonl": {"time": "t", "values": {"errors_total": {"count": "kind == 'error'", "labels": {"kind": "kind"}}}},
    "log": {
        "time": r'"t": "(?P<time>[^"]+)"',
        "event_start": "^",
        "values": {"errors_total": {"count": '"(?P<kind>error)"', "labels": {"kind": "kind"}}},
    },
}


class Life:
    """One run of a watchdog, without a clock or a loop."""

    def __init__(self, folder: Path, kind: str, lookback: Millis, now: Millis) -> None:
        self.path = folder / "bot.log"
        self.source: Any = TypeAdapter(AnySource).validate_python(
            {"type": kind, "files": str(self.path), **SOURCES[kind]}
        )
        self.head = Head({"errors_total": lookback})
        self.archive = SeriesArchive(folder / "series.db", LIMITS, self.head.retention_of)
        states = self.archive.restore(self.head, ["bot"], now)
        self.buffer = WriteBuffer(self.head, now)
        self.state = json.loads(states["bot"].text) if states else {}
        self.cache: dict[str, Any] = {}

    def bot_says(self, kind: str, t: Millis, times: int = 1) -> None:
        line = json.dumps({"t": datetime.fromtimestamp(t / 1_000, UTC).isoformat(), "kind": kind})
        with self.path.open("a") as file:
            file.write(f"{line}\n" * times)

    def read(self, now: Millis) -> None:
        self.head.ingest("bot", now, self.source.read(self.state, self.cache, now))

    def write(self, now: Millis) -> None:
        batch = self.buffer.collect(now, {"bot": StateSnapshot(self.source.identity, json.dumps(self.state))})
        assert self.archive.write(batch)
        self.buffer.mark_written(batch)

    def value(self, text: str, now: Millis) -> float:
        (value,) = EmbeddedEvaluator(self.head).at(now).query(parse(text)).values()
        return value


def history(folder: Path) -> dict[Millis, float]:
    with contextlib.closing(sqlite3.connect(folder / "series.db")) as db:
        ids = [each.id for each in block_reader.list_series(db, ["errors_total"])]
        read = list(block_reader.read_samples(db, ids, 0, block_reader.TIME_MAX))
    return {t: v for _, times, rows in read for t, v in zip(times.tolist(), rows[0].tolist(), strict=True) if v == v}


@pytest.mark.parametrize("lookback", [5 * MINUTE, 24 * HOUR], ids=["5m", "1d"])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_burst_that_was_slept_through_is_history_at_its_time_and_no_burst_now(
    tmp_path: Path, kind: str, lookback: Millis
) -> None:
    before = Life(tmp_path, kind, lookback, START)
    before.path.touch()
    before.read(START)
    before.bot_says("error", START + 500)
    before.read(START + 1_000)
    before.write(START + 1_000)
    before.archive.close()
    burst = START + 20 * MINUTE
    before.bot_says("error", burst, 500)
    for minute in range(21, 61):
        before.bot_says("well", START + minute * MINUTE)

    now = START + HOUR + 2_000
    after = Life(tmp_path, kind, lookback, now)
    for second in range(3):
        after.read(now + second * 1_000)
    after.write(now + 3_000)
    after.archive.close()

    now += 3_000
    assert after.value("increase(errors_total[5m])", now) == 0
    assert after.value("errors_total", now) == 501
    told = history(tmp_path)
    assert max((v for t, v in told.items() if t < burst), default=math.nan) == 1
    assert min(v for t, v in told.items() if t > burst + 2 * MINUTE) == 501
    assert len([t for t in told if burst < t < now - 10 * MINUTE]) >= 25


def test_what_is_said_again_is_kept_once_and_until_it_is_written() -> None:
    head = Head({})
    buffer = WriteBuffer(head, START)
    for second in range(3):
        now = START + second * 1_000
        head.ingest("bot", now, [Sample("equity", (), START - HOUR, 5.0), Sample("other", (), now, 1.0)])
    batch = buffer.collect(START + 3_000)
    assert [(len(each.keys), each.t.tolist(), each.v.tolist()) for each in batch.late] == [(1, [START - HOUR], [[5.0]])]
    assert len(buffer.collect(START + 3_000).late) == 1, "it was not written"
    buffer.mark_written(batch)
    assert not buffer.collect(START + 4_000).late


def test_nobody_keeps_them_where_no_history_is_written() -> None:
    head = Head({})
    head.ingest("bot", START, [Sample("equity", (), START - HOUR, 5.0)])
    assert head.late_samples is None
    assert LateSamples().waiting == []
