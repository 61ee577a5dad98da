"""What a source remembers is saved with the samples that it stands for: nothing is lost, and nothing counts twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sources import LineCounter
from watchdog.app.sampling import Sampler, _read
from watchdog.app.series_writer import SeriesWriter
from watchdog.config import Config, load
from watchdog.core.errors import SourceError
from watchdog.core.model import Millis, Sample
from watchdog.core.telemetry import Telemetry
from watchdog.sources.series_limits import Cut, SeriesLimiter
from watchdog.tsdb import block_reader
from watchdog.tsdb.archive import RetentionLimits, SeriesArchive
from watchdog.tsdb.head import Head
from watchdog.tsdb.write_buffer import StateSnapshot, WriteBuffer

START = 1_767_225_600_000
LIMITS = RetentionLimits(30 * 86_400_000, 730 * 86_400_000, 2**31)
LIFE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.app.test_source_state import live
live(*sys.argv[1:])
"""


def saved_samples(path: Path) -> list[float]:
    """Of `lines_total`, in order of time; without the notes that it was gone."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        ids = [one.id for one in block_reader.list_series(db, ["lines_total"])]
        read = list(block_reader.read_samples(db, ids, 0, block_reader.TIME_MAX))
    return [value for _, _, v in read for value in v[0].tolist() if not math.isnan(value)]


def saved_state(path: Path) -> dict[str, Any]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT state FROM source_state WHERE source = 'log'").fetchall()
    return dict(json.loads(rows[0][0])) if rows else {}


class Life:
    """One run of a watchdog that counts lines, without a clock or a loop."""

    def __init__(self, folder: Path, now: Millis) -> None:
        self.source = LineCounter(folder / "log")
        self.head = Head({})
        self.archive = SeriesArchive(folder / "series.db", LIMITS, self.head.retention_of)
        self.states = self.archive.restore(self.head, ["log"], now)
        self.buffer = WriteBuffer(self.head, now)

    def read(self, now: Millis) -> None:
        known = self.states.get("log")
        try:
            limiter = SeriesLimiter.of(self.source, self.head.retention_of)
            samples, _, text, _ = _read(self.source, limiter.admit, "{}" if known is None else known.text, {}, now)
        except SourceError:
            self.head.mark_source_down("log", now)
            return
        self.head.ingest("log", now, samples)
        self.states["log"] = StateSnapshot(self.source.identity, text)

    def flush(self, now: Millis) -> None:
        batch = self.buffer.collect(now, self.states)
        assert self.archive.write(batch)
        self.buffer.mark_written(batch)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["lines", "half", "read", "read", "flush", "crash", "collect and crash"]), max_size=40))
def test_whatever_happens_in_whatever_order_each_line_counts_once(acts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, now, written = Path(name), START, 0
        (folder / "log").touch()
        life = Life(folder, now)

        def append(text: bytes) -> None:
            with (folder / "log").open("ab") as file:
                file.write(text)

        for number, act in enumerate(acts):
            now += 1_000
            if act == "lines":
                append(b"x\n" * (number + 1))
                written += number + 1
            elif act == "half":
                append(b"begun ")
            elif act == "read":
                life.read(now)
            elif act == "flush":
                life.flush(now)
            else:
                if act == "collect and crash":
                    life.buffer.collect(now, life.states)
                life.archive.close()
                life = Life(folder, now)
                saved = saved_samples(folder / "series.db")
                known = json.loads(life.states["log"].text) if life.states else {"lines": 0}
                assert known["lines"] == (saved[-1] if saved else 0)
                assert saved == sorted(saved)
        append(b"\n")
        life.read(now + 1_000)
        life.flush(now + 1_000)
        life.archive.close()

        ended = (folder / "log").read_bytes().count(b"\n")
        assert ended == written + 1
        assert saved_samples(folder / "series.db")[-1] == saved_state(folder / "series.db")["lines"] == ended


def _config(folder: Path) -> Config:
    return replace(load(folder, environ={}), sources={"log": LineCounter(folder / "log", every=5)})  # type: ignore[dict-item]


def live(folder: str, until: str) -> None:
    """What the test kills: samples as fast as it can and writes all the time, until it has counted so many lines."""
    asyncio.run(_live(Path(folder), float(until)))


async def _live(folder: Path, until: float) -> None:
    config, telemetry, head = _config(folder), Telemetry("test"), Head({})
    writer = SeriesWriter(config, telemetry, print)
    writer.restore(head, _wall_clock())
    newest: list[float] = []

    class Sink:
        def add_samples(self, source: str, samples: Sequence[Sample], now: Millis) -> None:
            head.ingest(source, now, samples)
            newest[:] = [samples[0].v]

        def note_cut(self, source: str, cut: Cut | None, now: Millis) -> None:
            """Nothing is."""

        def mark_source_down(self, source: str, now: Millis, reason: str = "") -> None:
            head.mark_source_down(source, now)

    async def judge(source: str) -> None:
        """Nobody asks here."""

    sampler = Sampler(Sink(), telemetry, _wall_clock, judge, writer.restored_states)
    sampler.apply(config.sources)
    while newest != [until]:
        await writer.write(_wall_clock(), sampler.states())
        sys.stdout.write(f"written {newest}\n")
        sys.stdout.flush()
    await sampler.stop()
    await writer.stop(_wall_clock(), sampler.states())
    sampler.close()


def _wall_clock() -> Millis:
    return time.time_ns() // 1_000_000


@pytest.mark.slow
def test_kill_nine_at_any_moment_neither_loses_a_line_nor_counts_one_twice(tmp_path: Path) -> None:
    rng = random.Random(5)
    (tmp_path / "watchdog.yaml").write_text(f"state: {tmp_path}\n")
    (tmp_path / "rules").mkdir()
    database, log, written = tmp_path / "series.db", tmp_path / "log", 0
    log.touch()

    def life(until: float) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", LIFE, str(tmp_path), str(until)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    for _ in range(5):
        with life(-1.0) as watchdog, log.open("ab", buffering=0) as file:
            assert watchdog.stdout is not None
            for _ in range(rng.randrange(1, 60)):
                for piece in (b"half a ", b"line\n", b"a line\nand another\n", b"", b"\n"):
                    file.write(piece)
                    written += piece.count(b"\n")
                    if rng.random() < 0.3:
                        assert watchdog.stdout.readline().startswith("written")
            watchdog.send_signal(signal.SIGKILL)
        saved = saved_samples(database)
        assert saved == sorted(saved)
        assert saved_state(database).get("lines", 0) == (saved[-1] if saved else 0) <= written

    with life(float(written)) as watchdog:
        watchdog.communicate(timeout=180)
    assert watchdog.returncode == 0
    assert saved_samples(database)[-1] == saved_state(database)["lines"] == written
    assert list(tmp_path.glob("*.corrupt-*")) == []


# ─ the file ─


def test_a_file_without_states_is_read_and_one_with_states_is_the_same_to_who_does_not_know_of_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n")
    life = Life(tmp_path, START)
    life.read(START)
    life.flush(START)
    life.archive.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "series.db")) as db:
        version = db.execute("PRAGMA user_version").fetchone()
        db.execute("DROP TABLE source_state")  # as the version before left it
        db.commit()

    life = Life(tmp_path, START + 60_000)

    assert version == (1,)
    assert life.states == {}
    assert saved_samples(tmp_path / "series.db") == [2.0]
    life.read(START + 60_000)
    life.flush(START + 60_000)
    assert saved_state(tmp_path / "series.db") == {"offset": 8, "lines": 2}


@pytest.mark.parametrize("text", ["", "[]", "{", "7", "\0"])
def test_a_state_that_is_none_sets_the_file_aside_and_everything_begins_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    life = Life(tmp_path, START)
    life.read(START)
    life.flush(START)
    life.archive.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "series.db")) as db:
        db.execute("UPDATE source_state SET state = ?", (text,))
        db.commit()

    life = Life(tmp_path, START + 60_000)

    assert life.states == {}
    assert len(list(tmp_path.glob("series.db.corrupt-*"))) == 1


def test_a_file_that_is_begun_anew_while_we_run_gets_the_state_with_the_next_samples(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    life = Life(tmp_path, START)
    life.read(START)
    life.flush(START)
    (tmp_path / "series.db").unlink()
    life.read(START + 1_000)
    life.flush(START + 60_000)
    life.archive.close()

    assert json.loads(Life(tmp_path, START + 61_000).states["log"].text) == {"offset": 4, "lines": 1}


def test_what_could_not_be_written_leaves_the_state_that_belongs_to_what_was(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    life = Life(tmp_path, START)
    life.read(START)
    life.flush(START)
    with (tmp_path / "log").open("ab") as file:
        file.write(b"two\n")
    life.read(START + 1_000)
    with contextlib.closing(sqlite3.connect(tmp_path / "series.db", isolation_level=None)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON source_state BEGIN SELECT RAISE(FAIL, 'no room'); END")
        assert not life.archive.write(life.buffer.collect(START + 60_000, life.states))
        other.execute("DROP TRIGGER full")

    assert saved_samples(tmp_path / "series.db") == [1.0]
    assert saved_state(tmp_path / "series.db")["lines"] == 1
    life.flush(START + 61_000)
    assert (saved_samples(tmp_path / "series.db"), saved_state(tmp_path / "series.db")["lines"]) == ([1.0, 2.0], 2)
