"""series.db: what outlives a restart, bit for bit; what becomes of it with time; and what a broken file may cost."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from tests.support.series_builders import parse_labels
from watchdog.core.model import Labels, Millis, Sample
from watchdog.promql import evaluate, parse
from watchdog.tsdb import block_reader, retention
from watchdog.tsdb.archive import RetentionLimits, SeriesArchive
from watchdog.tsdb.codec import (
    CorruptDataError,
    pack_samples,
    pack_times,
    pack_values,
    unpack_samples,
    unpack_times,
    unpack_values,
)
from watchdog.tsdb.head import Head
from watchdog.tsdb.page import ABSENT, STALE
from watchdog.tsdb.write_buffer import WriteBuffer

S, M, H, D = 1_000, 60_000, 3_600_000, 86_400_000
T = 1_767_225_600_000
LIMITS = RetentionLimits(30 * D, 730 * D, 2**31)
ODD_VALUES = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e15, 123456.78, -3.5, 2.0**53]


class ArchiveHarness:
    """A store and its file, as the daemon has them."""

    def __init__(self, folder: Path, windows: dict[str, int], now: int, limits: RetentionLimits = LIMITS) -> None:
        self.store = Head(windows)
        self.archive = SeriesArchive(folder / "series.db", limits, self.store.retention_of)
        self.archive.restore(self.store, ["bot", "host"], now)
        self.write_buffer = WriteBuffer(self.store, now)

    def keep_values(self, now: int, **values: float) -> None:
        self.store.ingest("bot", now, [Sample(name, (), now, v) for name, v in values.items()])

    def save_archive(self, now: int) -> bool:
        batch = self.write_buffer.collect(now)
        written = self.archive.write(batch)
        if written:
            self.write_buffer.mark_written(batch)
        return written

    def run_period(self, start: int, end: int, step: int = S, **values: float) -> None:
        """From `start`, inclusive, to `end`: a read each step, a save each minute."""
        for now in range(start, end, step):
            self.keep_values(now, **(values or {"m": (now // S) % 1_000}))
            if now % M == 0:
                assert self.save_archive(now)


def read_archive(folder: Path, name: str = "m", after: int = 0, until: int = 2 * T, **how: str) -> dict[int, float]:
    """What the file holds of a metric."""
    db = sqlite3.connect(f"file:{folder / 'series.db'}?mode=ro", uri=True)
    try:
        ids = [one.id for one in block_reader.list_series(db, [name])]
        found = list(block_reader.read_samples(db, ids, after, until, **how))  # type: ignore[arg-type]
    finally:
        db.close()
    return {at: value for _, t, v in found for at, value in zip(t.tolist(), v[0].tolist(), strict=True)}


# ─ codec ─


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from(ODD_VALUES), st.floats(width=64), st.integers(-(2**40), 2**40).map(float)),
        max_size=50,
    )
)
def test_values_come_back_bit_for_bit(numbers: list[float]) -> None:
    v = np.array(numbers, np.float64)

    assert unpack_values(pack_values(v), v.size).tobytes() == v.tobytes()


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 6))
def test_any_bits_come_back_those_of_nan_included(bits: list[int], places: int) -> None:
    v = np.array(bits, np.uint64).view(np.float64)
    decimal = np.round(np.array([b % 10**6 for b in bits], np.float64) / 10**places, places)

    assert unpack_values(pack_values(v), v.size).tobytes() == v.tobytes()
    assert unpack_values(pack_values(decimal), v.size).tobytes() == decimal.tobytes()


def test_the_marks_of_what_is_gone_and_absent_come_back() -> None:
    v = np.array([[1.0, STALE, ABSENT, math.nan], [ABSENT, ABSENT, ABSENT, 2.5]], np.float64)
    t = np.array([T, T + 7, T + 8, 2 * T])

    ids, times, values = unpack_samples(pack_samples(np.array([9, 300]), t, v), 2, 4)

    assert (ids.tolist(), times.tolist(), values.tobytes()) == ([9, 300], t.tolist(), v.tobytes())
    assert unpack_values(pack_values(v[0]), 4).tobytes() == v[0].tobytes()


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62 - 1), max_size=50))
def test_times_come_back(times: list[int]) -> None:
    t = np.array(times, np.int64)

    assert unpack_times(pack_times(t), t.size).tolist() == times


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=60), st.integers(0, 20))
def test_bytes_of_something_else_are_refused_and_nothing_else_happens(data: bytes, n: int) -> None:
    for unpack in (lambda: unpack_times(data, n), lambda: unpack_values(data, n), lambda: unpack_samples(data, 2, n)):
        with contextlib.suppress(CorruptDataError):
            unpack()


# ─ a restart ─

EXPRESSIONS = [
    "m",
    "up",
    "avg_over_time(m[10m])",
    "rate(m[5m])",
    "max_over_time(m[1h])",
    "changes(gone[30m])",
    "gone",
    "count_over_time(m[1h])",
    "count({source='bot'})",
    "absent(gone)",
    "late",
]


def _run_random(dog: ArchiveHarness, start: int, end: int, seed: int, *, saves: bool = True) -> None:
    rng = random.Random(seed)
    for now in range(start, end, 5 * S):
        chance, value, v = rng.random(), rng.normalvariate(0, 1), rng.randrange(100)
        if chance < 0.02:
            dog.store.mark_source_down("bot", now)
            continue
        read = [Sample("m", parse_labels("x=1"), now, value), Sample("m", parse_labels("x=2"), now - 700, v)]
        read += [Sample("gone", (), now, v)] if (now // (7 * M)) % 2 else []
        read += [Sample("late", (), now - now % (20 * S), v)]
        dog.store.ingest("bot", now, read)
        if now % M == 0 and saves:
            assert dog.save_archive(now)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_windows_without_downtime_say_after_a_restart_what_they_would_have_said(tmp_path: Path, seed: int) -> None:
    windows = {"m": H, "gone": H, "": 6 * M}
    first = ArchiveHarness(tmp_path, windows, T)
    _run_random(first, T, T + 75 * M, seed)
    stop = T + 75 * M
    first.save_archive(stop)
    first.archive.close()

    second = ArchiveHarness(tmp_path, windows, stop)
    times = np.arange(stop - 50 * S, stop - 5 * S + 1, S)  # until the last read, when nobody was down yet
    for text in EXPRESSIONS:
        before, after = (evaluate(parse(text), dog.store, times) for dog in (first, second))
        assert _result_bits(before) == _result_bits(after), text
        assert before.newest.tolist() == after.newest.tolist(), text
    # the reads that follow meet the same state in both: one was never restarted
    for dog in (first, second):
        _run_random(dog, stop, stop + 65 * M, seed + 10, saves=dog is second)
    times = np.arange(stop + 64 * M + 10 * S, stop + 65 * M, 3 * S)  # windows begin after the restart
    for text in EXPRESSIONS:
        before, after = (evaluate(parse(text), dog.store, times) for dog in (first, second))
        assert _result_bits(before) == _result_bits(after), text
        assert before.covered_ms.tolist() == after.covered_ms.tolist(), text


def _result_bits(result: object) -> dict[Labels, tuple[bytes, bytes]]:
    from watchdog.promql import QueryResult

    assert isinstance(result, QueryResult)
    return {key: (result.values[row].tobytes(), result.present[row].tobytes()) for row, key in enumerate(result.keys)}


def test_a_second_restart_finds_what_the_first_one_put_back(tmp_path: Path) -> None:
    expected: dict[int, float] = {}
    for i in range(3):
        start = T + i * 10 * M
        dog = ArchiveHarness(tmp_path, {"m": H}, start)
        dog.run_period(start, start + 5 * M, v=1, m=i)
        dog.save_archive(start + 5 * M)
        dog.archive.close()
        expected |= dict.fromkeys(range(start, start + 5 * M, S), float(i))

    there = {at: v for at, v in read_archive(tmp_path).items() if v == v}

    assert there == expected


def test_a_short_downtime_leaves_long_windows_covered_and_short_ones_not(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {"m": 2 * H}, T)
    dog.run_period(T, T + 2 * H, 10 * S)
    dog.save_archive(T + 2 * H)
    dog.archive.close()

    back = T + 2 * H + M
    dog = ArchiveHarness(tmp_path, {"m": 2 * H}, back)
    assert _coverage(dog, "avg_over_time(m[1h])", back - S) == (H, H)
    dog.keep_values(back, m=1.0)

    assert _coverage(dog, "avg_over_time(m[1h])", back) == (H, H)
    down = M + 10 * S  # from the last read to the first one
    assert _coverage(dog, "avg_over_time(m[10m])", back) == (10 * M - down, 10 * M)
    dog.run_period(back, back + 10 * M, 10 * S)
    assert _coverage(dog, "avg_over_time(m[10m])", back + 9 * M) == (10 * M - M, 10 * M)
    assert _coverage(dog, "avg_over_time(m[9m])", back + 9 * M) == (9 * M, 9 * M)


def test_a_long_downtime_is_covered_by_nothing(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {"m": D}, T)
    dog.run_period(T, T + 3 * H, 20 * S)
    dog.save_archive(T + 3 * H)
    dog.archive.close()

    dog = ArchiveHarness(tmp_path, {"m": D}, T + 9 * H)
    assert evaluate_at(dog, "m", T + 9 * H) == {}  # what was so six hours ago is not the present
    dog.run_period(T + 9 * H, T + 10 * H, 20 * S)

    have, need = _coverage(dog, "avg_over_time(m[10h])", T + 10 * H)
    assert need == 10 * H
    assert 4 * H - M <= have <= 4 * H
    assert _coverage(dog, "avg_over_time(m[1h])", T + 9 * H + 50 * M)[0] == 50 * M


def test_a_series_is_gone_while_nobody_watches_in_memory_and_in_the_file(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    dog.run_period(T, T + 3 * M)
    dog.save_archive(T + 3 * M)
    dog.archive.close()
    dog = ArchiveHarness(tmp_path, {}, T + 4 * M)

    assert evaluate_at(dog, "m", T + 3 * M - S) == {parse_labels("source=bot"): (T + 3 * M - S) // S % 1_000}
    assert evaluate_at(dog, "m", T + 3 * M + S) == {}

    dog.run_period(T + 4 * M, T + 5 * M)
    dog.save_archive(T + 5 * M)
    gone = [t for t, v in read_archive(tmp_path).items() if v != v]
    assert gone == [T + 3 * M - S + 1]


def test_peaks_of_the_journal_and_the_samples_of_the_file_go_together(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {"equity": 30 * D}, T)
    dog.run_period(T, T + 10 * M, equity=100.0)
    dog.save_archive(T + 10 * M)
    dog.archive.close()

    dog = ArchiveHarness(tmp_path, {"equity": 30 * D}, T + 11 * M)
    dog.store.preload("bot", "equity", (), [(T - D, 150.0), (T + 5 * M, 100.0)], T - D)

    assert evaluate_at(dog, "max_over_time(equity[2d])", T + 10 * M) == {parse_labels("source=bot"): 150}
    assert evaluate_at(dog, "count_over_time(equity[9m])", T + 9 * M) == {parse_labels("source=bot"): 540}
    assert _coverage(dog, "max_over_time(equity[2d])", T + 10 * M - S)[0] == 10 * M - S


def evaluate_at(dog: ArchiveHarness, text: str, t: int) -> dict[Labels, float]:
    return evaluate(parse(text), dog.store, np.array([t])).vector_at(0)


def _coverage(dog: ArchiveHarness, text: str, t: int) -> tuple[int, int]:
    result = evaluate(parse(text), dog.store, np.array([t]))
    return int(result.covered_ms[0]), int(result.window_ms[0])


# ─ with time ─


def test_an_hour_of_samples_becomes_one_block_a_series_and_says_the_same(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    dog.run_period(T, T + 61 * M + S)
    dog.save_archive(T + 62 * M)

    db = sqlite3.connect(tmp_path / "series.db")
    blocks, times, fresh = (
        db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("block", "times", "fresh")
    )
    db.close()
    assert (blocks, times) == (2, 1)  # m and up share their times
    assert fresh <= 3
    assert read_archive(tmp_path) == {t: float(t // S % 1_000) for t in range(T, T + 61 * M + S, S)}


@pytest.mark.slow
def test_many_series_become_blocks_in_turns_and_none_is_forgotten(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    for now in range(T, T + 66 * M, M):
        dog.store.ingest("bot", now, [Sample("m", parse_labels(f"i={i}"), now, float(i)) for i in range(1_500)])
        assert dog.save_archive(now)

    db = sqlite3.connect(tmp_path / "series.db")
    blocks, waiting = (
        db.execute(sql).fetchone()[0]
        for sql in ("SELECT count(*) FROM block", "SELECT count(*) FROM fresh GROUP BY part ORDER BY 1 DESC")
    )
    ids = [one.id for one in block_reader.list_series(db, ["m"])]
    found = list(block_reader.read_samples(db, ids, 0, 2 * T))
    db.close()
    assert blocks == 1_501  # and up
    assert waiting < 60
    assert sorted(id_ for alike, t, _ in found for id_ in alike if t.size == 66) == ids


def test_old_samples_become_means_with_the_least_and_the_greatest(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T, RetentionLimits(2 * H, 10 * D, 2**31))
    for now in range(T + 30 * S, T + 40 * H, 30 * S):
        dog.keep_values(now, m=now // S % 7)
        if now % (5 * M) == 0:
            assert dog.save_archive(now)
    end = now
    expected: dict[int, list[float]] = {}
    for t in range(T + 30 * S, T + 40 * H, 30 * S):
        expected.setdefault(-(-t // retention.DOWNSAMPLE_STEP) * retention.DOWNSAMPLE_STEP, []).append(t // S % 7)

    means, least, most = (read_archive(tmp_path, statistic=what) for what in ("mean", "min", "max"))

    raw = {t for t in means if means[t] == t // S % 7 and least[t] == most[t] and t > end - 30 * H}
    coarse = sorted(means.keys() - raw)
    assert len(coarse) > 12 * 10
    assert coarse[-1] < end - 2 * H
    assert set(range(end - 2 * H, end - 5 * M, 30 * S)) <= means.keys()  # what is young is whole
    for t in coarse:
        values = expected[t]
        assert (means[t], least[t], most[t]) == pytest.approx((sum(values) / len(values), min(values), max(values)))


def test_what_a_rule_reads_is_not_made_coarse(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {"long": 5 * D}, T, RetentionLimits(H, 12 * H, 2**31))
    for now in range(T, T + 2 * D, 5 * M):
        dog.keep_values(now, long=float(now // M), short=float(now // M))
        assert dog.save_archive(now)

    assert read_archive(tmp_path, "long") == {t: float(t // M) for t in range(T, T + 2 * D, 5 * M)}
    assert min(read_archive(tmp_path, "short")) > T + H


def test_a_window_does_not_count_as_covered_by_means(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T, RetentionLimits(H, 10 * D, 2**31))
    for now in range(T, T + 2 * D, 5 * M):
        dog.keep_values(now, m=1.0)
        assert dog.save_archive(now)
    dog.archive.close()

    dog = ArchiveHarness(tmp_path, {"m": 2 * D}, T + 2 * D)

    whole = min(t for page in dog.store.pages for t in page.t.tolist())
    assert whole > T + 12 * H
    assert whole - 5 * M <= T + 2 * D - _coverage(dog, "avg_over_time(m[47h])", T + 2 * D)[0] <= whole


@pytest.mark.parametrize("t", [[1, 2, 300_000], [300_001], [-1, 0, 1]])
def test_five_minutes_end_where_a_look_back_of_five_minutes_finds_them(t: list[int]) -> None:
    at, _ = retention.downsampled_statistics(np.array(t), np.ones(len(t)))

    assert all(any(0 <= end - one < retention.DOWNSAMPLE_STEP for end in at) for one in t)


def test_nan_counts_in_no_mean_and_alone_it_stays_nan() -> None:
    _, (mean, least, most, n) = retention.downsampled_statistics(
        np.array([1, 2, 400_000]), np.array([math.nan, 3.0, math.nan])
    )

    assert (mean[0], least[0], most[0], n[0]) == (3, 3, 3, 1)
    assert np.isnan([mean[1], least[1], most[1]]).all()
    assert n[1] == 0


@pytest.mark.slow
def test_the_oldest_goes_first_when_the_file_grows_too_large(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    most = 2**20
    dog = ArchiveHarness(tmp_path, {}, T, RetentionLimits(30 * D, 30 * D, most))
    for now in range(T, T + 5 * H, 30 * S):
        dog.store.ingest("bot", now, [Sample(f"m{i}", (), now, v) for i, v in enumerate(rng.random(300))])
        if now % M == 0:
            assert dog.save_archive(now)

    assert dog.archive.used_bytes <= most
    assert dog.archive.oldest is not None
    assert dog.archive.oldest > T + H
    kept = read_archive(tmp_path, "m7")
    assert max(kept) >= now - M
    assert min(kept) >= dog.archive.oldest - H
    db = sqlite3.connect(tmp_path / "series.db")
    orphans = "SELECT count(*) FROM times WHERE id NOT IN (SELECT times FROM block)"
    assert db.execute(orphans).fetchone() == (0,)
    db.close()


# ─ what may go wrong ─


def _corrupt(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "garbage":
            path.write_bytes(os.urandom(20_000))
        case "cut":
            path.write_bytes(data[: len(data) // 2 // 4096 * 4096 + 100])
        case "empty pages":
            path.write_bytes(data[:4096] + bytes(len(data) - 4096))
        case "foreign":
            path.unlink()
            db = sqlite3.connect(path)
            db.execute("CREATE TABLE theirs (x)")
            db.commit()
            db.close()
        case "newer":
            db = sqlite3.connect(path)
            db.execute("PRAGMA user_version = 99")
            db.close()
        case "block":
            db = sqlite3.connect(path)
            db.execute("UPDATE fresh SET data = substr(data, 1, 20)")
            db.commit()
            db.close()


@pytest.mark.parametrize("how", ["garbage", "cut", "empty pages", "foreign", "newer", "block"])
def test_a_file_that_cannot_be_read_is_set_aside_said_so_and_begun_anew(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    dog.run_period(T, T + 3 * M)
    dog.archive.close()
    spoilt = tmp_path / "series.db"
    _corrupt(spoilt, how)
    content = spoilt.read_bytes()

    now = T + 10 * M
    dog = ArchiveHarness(tmp_path, {"m": H}, now)
    (text,) = dog.archive.take_reports()

    (aside,) = tmp_path.glob("series.db.corrupt-*")
    assert aside.name == "series.db.corrupt-20260101T001000Z"
    assert aside.read_bytes() == content
    assert aside.name in text
    assert aside.name in caplog.text
    assert dog.archive.take_reports() == []
    dog.run_period(now, now + 2 * M)
    assert dog.save_archive(now + 2 * M)
    assert min(read_archive(tmp_path)) == now
    assert _coverage(dog, "avg_over_time(m[10m])", now + 2 * M)[0] == 2 * M  # nothing is claimed of the past


def test_damage_that_is_met_while_writing_sets_the_file_aside_too(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    dog.run_period(T, T + 2 * M)
    dog.archive.close()
    for end in ("-wal", "-shm"):
        assert not (tmp_path / f"series.db{end}").exists()
    _corrupt(tmp_path / "series.db", "garbage")

    for now in range(T + 2 * M, T + 4 * M, S):
        dog.keep_values(now, m=1.0)
    written = [dog.save_archive(T + 4 * M), dog.save_archive(T + 4 * M + S)]

    assert written == [False, True]
    assert len(dog.archive.take_reports()) == 1
    assert max(read_archive(tmp_path)) == T + 4 * M - S


def test_a_disk_that_spoils_every_file_is_not_filled_with_them(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    for i in range(8):
        dog.archive.close()
        (tmp_path / "series.db").write_bytes(b"x" * 5_000)
        dog.keep_values(T + i * M, m=1.0)
        dog.save_archive(T + i * M)

    assert len(list(tmp_path.glob("*.corrupt-*"))) == 3


def test_a_file_that_is_deleted_is_made_anew_and_claims_nothing_of_what_went_with_it(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {"m": H}, T)
    dog.run_period(T, T + 20 * M)
    dog.save_archive(T + 20 * M)
    (tmp_path / "series.db").unlink()  # its -wal and -shm stay behind
    dog.run_period(T + 20 * M, T + 30 * M)
    dog.save_archive(T + 30 * M)
    dog.archive.close()

    assert min(read_archive(tmp_path)) == T + 20 * M
    dog = ArchiveHarness(tmp_path, {"m": H}, T + 30 * M)
    assert _coverage(dog, "avg_over_time(m[25m])", T + 30 * M - S)[0] == 10 * M - S
    assert list(tmp_path.glob("*.corrupt-*")) == []


def test_a_full_disk_pauses_the_history_with_one_line_and_nothing_is_lost_within_five_minutes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    caplog.set_level("INFO")
    dog.run_period(T, T + 2 * M)
    real = retention.compact

    def full(db: sqlite3.Connection, now: Millis) -> None:
        db.execute("PRAGMA max_page_count = 1")  # SQLite itself says that the disk is full
        db.execute("CREATE TABLE too_much (x)")

    retention.compact = full
    try:
        for now in range(T + 2 * M, T + 6 * M, S):
            dog.keep_values(now, m=(now // S) % 1_000)
            if now % M == 0:
                assert not dog.save_archive(now)
                assert dog.archive.status()["paused"] == "database or disk is full"
    finally:
        retention.compact = real
    dog.run_period(T + 6 * M, T + 8 * M)
    dog.save_archive(T + 8 * M)

    assert [t for t, v in read_archive(tmp_path).items() if v == v] == list(range(T, T + 8 * M, S))
    said = [record.message for record in caplog.records]
    assert len([text for text in said if "history pauses" in text and "full" in text]) == 1
    assert said[-1] == "history goes on"
    assert dog.archive.status()["paused"] is None


def test_a_pause_that_is_too_long_is_a_gap_and_not_covered(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    dog.run_period(T, T + 5 * M)
    dog.save_archive(T + 5 * M)
    for now in range(T + 5 * M, T + 30 * M, S):
        dog.keep_values(now, m=1.0)
    dog.save_archive(T + 30 * M)
    dog.archive.close()

    dog = ArchiveHarness(tmp_path, {"m": H}, T + 30 * M)

    assert _coverage(dog, "avg_over_time(m[30m])", T + 30 * M - S)[0] == 10 * M - 2 * S


def test_a_clock_that_is_set_back_loses_nothing_that_follows(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {"m": H}, T)
    dog.run_period(T, T + 30 * M, m=1.0)
    dog.run_period(T + 10 * M, T + 40 * M, m=2.0)
    dog.save_archive(T + 40 * M)

    found = read_archive(tmp_path)

    assert {found[t] for t in range(T, T + 10 * M, S)} == {1.0}
    assert {found[t] for t in range(T + 10 * M, T + 40 * M, S)} == {2.0}


@pytest.mark.slow
def test_kill_nine_at_any_moment_leaves_each_write_whole_or_absent(tmp_path: Path) -> None:
    """A process writes as fast as it can, and says what is written; it is killed again and again."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.tsdb.test_archive import ArchiveHarness, M, S
from watchdog.core.model import Sample
start = int(sys.argv[1])
dog = ArchiveHarness(Path({str(tmp_path)!r}), {{}}, start)
for now in range(start, start + 4000 * M, 10 * S):
    dog.store.ingest("bot", now, [Sample(f"m{{i}}", (), now, float(now // S % 1000 + i)) for i in range(20)])
    if now % M == 0:
        dog.save_archive(now)
        print(now, flush=True)
"""
    rng = random.Random(4)
    start, said = T, 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program, str(start)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(rng.randrange(1, 80)):
                said = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split()
        said = int(rest[-1]) if rest and rest[-1].isdigit() and len(rest[-1]) == 13 else said
        for i in (0, 19):
            found = read_archive(tmp_path, f"m{i}", after=start - 1)
            assert set(range(start, said + 1, 10 * S)) <= set(found)
            assert all(v != v or v == t // S % 1_000 + i for t, v in found.items())
        start = (said // H + 2) * H
    assert list(tmp_path.glob("*.corrupt-*")) == []


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=40))
def test_a_file_with_bytes_changed_at_random_is_never_our_death(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    dog = ArchiveHarness(tmp_path, {}, T)
    dog.run_period(T, T + 90 * M, 30 * S)
    dog.archive.close()
    path = tmp_path / "series.db"
    data = bytearray(path.read_bytes())
    for place, byte in changes:
        data[place % len(data)] = byte
    path.write_bytes(data)

    dog = ArchiveHarness(tmp_path, {"m": D}, T + 2 * H)
    for now in range(T + 2 * H, T + 4 * H, M):
        dog.keep_values(now, m=1.0)
        dog.save_archive(now)
    dog.archive.close()


# ─ series that come and go ─


def count_series(folder: Path) -> int:
    db = sqlite3.connect(f"file:{folder / 'series.db'}?mode=ro", uri=True)
    try:
        return int(db.execute("SELECT count(*) FROM series").fetchone()[0])
    finally:
        db.close()


def keep_order(dog: ArchiveHarness, now: int, *orders: int) -> None:
    dog.store.ingest("bot", now, [Sample("trades", (("order", str(each)),), now, 1.0) for each in orders])


@pytest.mark.slow
def test_names_of_which_no_sample_is_left_leave_the_file(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T, RetentionLimits(raw=D, coarse=2 * D, max_bytes=2**30))
    for minute in range(300):
        keep_order(dog, T + minute * M, *range(minute * 10, minute * 10 + 10))
        assert dog.save_archive(T + minute * M)
    assert count_series(tmp_path) > 2_900
    for hour in range(6, 24 * 8):
        keep_order(dog, T + hour * H, 1)
        assert dog.save_archive(T + hour * H)
    assert count_series(tmp_path) < 2 * block_reader.SERIES_PER_PART


@pytest.mark.slow
def test_a_file_at_its_limit_loses_names_with_their_samples(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T, RetentionLimits(raw=30 * D, coarse=60 * D, max_bytes=600_000))
    for minute in range(12 * 60):
        long = "x" * 500
        samples = [
            Sample("trades", (("order", f"{minute}-{n}"), ("text", long)), T + minute * M, 1.0) for n in range(20)
        ]
        dog.store.ingest("bot", T + minute * M, samples)
        assert dog.save_archive(T + minute * M)
    assert dog.archive.used_bytes < 1_500_000
    assert read_archive(tmp_path, "trades", T + 11 * H)


def test_ids_of_series_that_are_gone_are_not_remembered(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    for minute in range(60):
        keep_order(dog, T + minute * M, *range(minute * 100, minute * 100 + 100))
        assert dog.save_archive(T + minute * M)
    assert len(dog.archive._ids) < 1_000


def test_at_boot_those_that_have_been_there_longest_come_back_first(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    for minute in range(3):
        keep_order(dog, T + minute * M, 1, 2, *range(minute * 100 + 10, minute * 100 + 50))
        assert dog.save_archive(T + minute * M)
    store = Head({})
    SeriesArchive(tmp_path / "series.db", LIMITS, store.retention_of).restore(store, ["bot"], T + 3 * M, lambda _: 10)
    found = {dict(labels).get("order") for labels, _, _ in store.latest_samples()}
    assert len(found) <= 10
    assert {"1", "2"} <= found
