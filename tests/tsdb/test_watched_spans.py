"""When a source counts as watched, what its windows are worth then, and a clock that is set."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tests.tsdb.test_archive import ArchiveHarness
from tests.tsdb.test_store import coverage, evaluate_at, evaluate_number, make_samples
from watchdog.offline.history import loader
from watchdog.promql import EmbeddedEvaluator, evaluate, parse
from watchdog.tsdb.head import Head
from watchdog.tsdb.watched_spans import LongestGap

S, M, H = 1_000, 60_000, 3_600_000
T = 1_767_225_600_000
GAP = LongestGap(3 * S, 8 * S)
"""Of a source that is read each second and may take five."""


def make_store(windows: dict[str, int] | None = None, gap: LongestGap | None = GAP) -> Head:
    store = Head(windows or {"m": H})
    if gap is not None:
        store.watched.longest_gaps = {"bot": gap}
    return store


def read(store: Head, start: int, end: int, step: int = S) -> None:
    for now in range(start, end, step):
        store.ingest("bot", now, make_samples(now, ("m", 1)))


def fail(store: Head, start: int, end: int) -> None:
    for now in range(start, end, S):
        store.mark_source_down("bot", now)


def test_a_page_that_was_down_for_long_was_watched_until_its_last_read_was_old() -> None:
    store = make_store()
    read(store, T, T + 30 * S)
    fail(store, T + 30 * S, T + 70 * S)
    read(store, T + 70 * S, T + 72 * S)

    assert store.watched.spans() == {"bot": [(T, T + 32 * S), (T + 70 * S, T + 71 * S)]}
    assert coverage("avg_over_time(m[20s])", store, T + 71 * S) == 1 * S
    assert coverage("avg_over_time(m[20s])", store, T + 88 * S) == 18 * S
    assert coverage("avg_over_time(m[20s])", store, T + 89 * S) == 20 * S  # of which a twentieth may be lacking
    assert coverage("avg_over_time(m[15m])", store, T + 72 * S) == 72 * S  # before that nobody watched at all


def test_a_read_that_fails_now_and_then_blinds_no_window() -> None:
    store = make_store()
    for i in range(60):
        (fail if i % 2 else read)(store, T + i * S, T + (i + 1) * S)

    assert coverage("avg_over_time(m[20s])", store, T + 59 * S) == 20 * S


def test_slow_reads_are_reads() -> None:
    store = make_store()
    read(store, T, T + 5 * M, 6 * S)

    assert coverage("avg_over_time(m[1m])", store, T + 294 * S) == M


def test_while_it_is_down_its_windows_lack_more_and_more() -> None:
    store = make_store()
    read(store, T, T + 60 * S)
    fail(store, T + 60 * S, T + 65 * S)

    assert [coverage("avg_over_time(m[20s])", store, T + t * S) for t in (61, 62, 64, 70)] == [
        20 * S, 20 * S, 18 * S, 12 * S,
    ]  # fmt: skip


def test_one_of_which_nothing_is_heard_at_all_is_not_watched_either() -> None:
    store = make_store()
    read(store, T, T + 60 * S)

    assert not store.watched.note_silences(T + 67 * S)
    assert store.watched.note_silences(T + 68 * S)
    assert coverage("avg_over_time(m[20s])", store, T + 70 * S) == 17 * S


def test_one_that_is_told_may_be_silent_for_as_long_as_it_is_up() -> None:
    store = make_store(gap=LongestGap(3 * S, None))
    read(store, T, T + S)
    assert not store.watched.note_silences(T + 30 * M)
    read(store, T + 30 * M, T + 30 * M + S)
    assert coverage("avg_over_time(m[10m])", store, T + 30 * M) == 10 * M
    store.mark_source_down("bot", T + 40 * M)
    read(store, T + 41 * M, T + 41 * M + S)

    assert coverage("avg_over_time(m[10m])", store, T + 41 * M) < M


def test_a_standstill_counts_like_a_restart() -> None:
    store = make_store()
    read(store, T, T + 60 * S)
    store.note_standstill(T + 60 * S)

    assert evaluate_at("m", store, T + 62 * S) == {}
    assert evaluate_at("up", store, T + 62 * S) == {}
    read(store, T + 100 * S, T + 102 * S)
    assert evaluate_number("m", store, T + 101 * S) == 1
    assert coverage("avg_over_time(m[20s])", store, T + 101 * S) == 1 * S
    assert store.watched.spans()["bot"] == [(T, T + 60 * S), (T + 100 * S, T + 101 * S)]


def test_a_second_standstill_ahead_of_any_read_makes_the_first_one_longer() -> None:
    store = make_store()
    read(store, T, T + 60 * S)
    store.note_standstill(T + 60 * S)
    store.note_standstill(T + 90 * S)
    read(store, T + 100 * S, T + 101 * S)

    assert store.watched.spans()["bot"] == [(T, T + 60 * S), (T + 100 * S, T + 100 * S)]


def test_a_page_that_is_down_now_and_then_for_days_takes_no_more_room() -> None:
    store = make_store({"m": 10 * M})
    for i in range(2_000):
        start = T + i * 20 * S
        read(store, start, start + 3 * S)
        fail(store, start + 3 * S, start + 4 * S)

    assert len(store.watched.downtimes("bot")) < 50
    now = T + 1_999 * 20 * S + 3 * S
    assert 10 * M * 0.2 <= coverage("avg_over_time(m[10m])", store, now) <= 10 * M * 0.4
    assert len(store.watched.spans(now - 5 * M)["bot"]) in (15, 16)


def test_fast_and_slow_say_the_same_of_a_window_that_was_not_watched_all_the_time() -> None:
    store, dice = make_store(), random.Random(4)
    now = T
    live, expr = EmbeddedEvaluator(store), parse("avg_over_time(m[20s])")
    for _ in range(80):
        (fail if dice.random() < 0.3 else read)(store, now, now + S)
        now += dice.choice([1, 1, 1, 6, 15]) * S
        store.watched.note_silences(now)
        slow = evaluate(expr, store, np.array([now]))
        answer = live.at(now).evaluate(expr)
        assert (answer.covered_ms, answer.window_ms) == (slow.covered_ms[0], slow.window_ms[0])


def test_the_file_knows_of_every_gap_between_two_writes(tmp_path: Any) -> None:
    """Replay judges by the file what the daemon judged by the store."""
    dog = ArchiveHarness(tmp_path, {"m": H}, T)
    dog.store.watched.longest_gaps = {"bot": GAP}
    now, dice = T, random.Random(7)
    for _ in range(60):
        span = dice.choice([4, 9, 20, 40]) * S
        if dice.random() < 0.3:
            fail(dog.store, now, now + span)
        elif dice.random() < 0.2:
            dog.store.note_standstill(now)
        else:
            read(dog.store, now, now + span)
        if now // M != (now + span) // M:
            assert dog.save_archive(now + span)
        now += span
    read(dog.store, now, now + S)
    assert dog.save_archive(now)
    dog.archive.close()

    history = loader.load([str(tmp_path / "series.db")], metrics=["m"])
    times = np.arange(T, now, 700)
    for text in ("avg_over_time(m[20s])", "count_over_time(m[5m])"):
        mine, theirs = (evaluate(parse(text), store, times).covered_ms for store in (dog.store, history))
        assert mine.tolist() == theirs.tolist(), text


# ─ a clock that is set ─

TEXTS = (
    "m",
    "avg_over_time(m[30s])",
    "max_over_time(n[10m])",
    "count_over_time(up[1m])",
    "m - n offset 10s",
    "absent(m)",
)


@pytest.mark.slow
@pytest.mark.parametrize("step", [-30 * 24 * H, -2 * H, -20 * S, -S, S, 20 * S, 2 * H, 30 * 24 * H])
def test_after_the_clock_was_set_all_is_as_long_ago_as_it_was(step: int) -> None:
    stores, dice = [make_store({"m": H, "n": 10 * M}) for _ in range(2)], random.Random(step)
    live = [EmbeddedEvaluator(store) for store in stores]
    expressions, now, moved = [parse(text) for text in TEXTS], T, 0
    for i in range(300):
        now += S
        if i in (100, 101, 250):
            moved += step
            stores[1].shift(step, now + moved)
        for store, at in zip(stores, (now, now + moved), strict=True):
            match i % 37:
                case 5 | 6 | 7 | 8 | 9:
                    store.mark_source_down("bot", at)
                case 20:
                    store.note_standstill(at - S)
                case _:
                    store.ingest("bot", at, make_samples(at, ("m", i % 11), *([("n", i)] if i % 50 < 40 else [])))
        if dice.random() < 0.5:
            answers = [
                [live[i].at(at).evaluate(expr) for expr in expressions] for i, at in enumerate((now, now + moved))
            ]
            for mine, theirs in zip(*answers, strict=True):
                assert mine.values == theirs.values
                assert (mine.covered_ms, mine.window_ms) == (theirs.covered_ms, theirs.window_ms)
                assert mine.newest == (theirs.newest and theirs.newest - moved)


def test_what_another_machine_timed_counts_again_at_once_when_ours_was_behind() -> None:
    store = make_store()
    for now in range(T, T + 30 * S, S):
        store.ingest("bot", now, make_samples(now + 20 * S, ("m", 1)))
    assert evaluate_number("m", store, T + 10 * S) is None
    store.shift(20 * S, T + 49 * S + 500)
    for now in range(T + 50 * S, T + 52 * S, S):
        store.ingest("bot", now, make_samples(now, ("m", 2)))

    assert evaluate_number("m", store, T + 51 * S) == 2


@pytest.mark.parametrize("step", [-2 * H, -20 * S, 20 * S, 2 * H])
def test_over_a_step_the_file_goes_on_and_after_it_says_what_the_store_says(tmp_path: Any, step: int) -> None:
    dog = ArchiveHarness(tmp_path, {"m": H}, T)
    dog.run_period(T, T + 10 * M + 30 * S, m=1.0)
    now = T + 10 * M + 30 * S + step
    dog.store.shift(step, now)
    dog.write_buffer.shift(step)
    dog.run_period(now, now + 15 * M, m=2.0)
    assert dog.save_archive(now + 15 * M)
    dog.archive.close()

    restarted = ArchiveHarness(tmp_path, {"m": H}, now + 16 * M)
    for store in (dog.store, restarted.store):
        assert evaluate_number("min_over_time(m[14m])", store, now + 15 * M - S) == 2
        assert coverage("avg_over_time(m[14m])", store, now + 15 * M - S) == 14 * M
    # nobody watched while it was down, though the file had times from beyond that
    assert coverage("avg_over_time(m[5m])", restarted.store, now + 16 * M) == 4 * M - S


def test_what_is_being_written_while_the_clock_is_set_is_written_once(tmp_path: Any) -> None:
    dog = ArchiveHarness(tmp_path, {"m": H}, T)
    read(dog.store, T, T + 30 * S)
    batch = dog.write_buffer.collect(T + 30 * S)
    dog.store.shift(-2 * H, T - 2 * H + 30 * S)
    dog.write_buffer.shift(-2 * H)
    assert dog.archive.write(batch)
    dog.write_buffer.mark_written(batch)
    read(dog.store, T - 2 * H + 30 * S, T - 2 * H + 40 * S)

    rest = dog.write_buffer.collect(T - 2 * H + 40 * S)
    assert sorted({t for sheet in rest.samples for t in sheet.t.tolist()}) == [T - 2 * H + s * S for s in range(30, 40)]
