"""The watchdog's own series.db as history: whole, in part, beside files, and beside what is in memory."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.support.series_builders import parse_labels
from tests.tsdb.test_archive import ArchiveHarness, H, M, S, T
from watchdog.cli.command_line import main
from watchdog.core.model import Labels
from watchdog.offline.history import loader, query
from watchdog.offline.history.page_builder import HistoryError
from watchdog.promql import evaluate, parse
from watchdog.tsdb.archive import RetentionLimits
from watchdog.tsdb.page import PageList
from watchdog.tsdb.page_copy import copy_in_slices

NOW = T + 3 * H


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours: m counts seconds since T, 7 s a step; then an hour off, then ten minutes more."""
    made = tmp_path_factory.mktemp("state")
    for start, end in ((T, NOW), (NOW + H, NOW + H + 10 * M)):
        dog = ArchiveHarness(made, {}, start)
        for now in range(start, end, 10 * S):
            dog.keep_values(now, m=(now - T) / S, other=1.0)
            if now % M == 0:
                assert dog.save_archive(now)
        assert dog.save_archive(end)
        dog.archive.close()
    return made


def evaluate_times(text: str, series: PageList, *times: int) -> list[dict[Labels, float]]:
    result = evaluate(parse(text), series, np.array(times))
    return [result.vector_at(i) for i in range(len(times))]


BOT = parse_labels("source=bot")


def test_the_file_is_history_like_any_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(folder / "series.db")
    pages = loader.load([path], metrics=["m"])

    assert evaluate_times("m", pages, T + 50 * S, NOW - 10 * S) == [{BOT: 50}, {BOT: 3 * 3600 - 10}]
    assert {dict(key)["__name__"] for page in pages.pages for key in page.keys} == {"m"}
    assert main(["query", "m", "--history", path, "--json", "--at", "now-1s"]) == 0
    assert json.loads(capsys.readouterr().out)["series"][0]["values"] == [4 * 3600 + 580]
    assert (
        main(["query", "count_over_time(m[1m])", "--history", path, "--json", "--from", "now-5m", "--step", "1m"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["series"][0]["values"] == [6] * 6


def test_what_a_start_writes_down_as_gone_is_no_later_sample(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = shutil.copytree(folder, tmp_path / "state")
    ArchiveHarness(made, {}, NOW + 2 * H).archive.close()  # and ended before anything was read

    assert main(["query", "m", "--history", str(made / "series.db"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["series"][0]["values"] == [4 * 3600 + 590]


def test_all_series_are_there_when_none_is_named(folder: Path) -> None:
    for metrics in ((), ("", "m")):
        pages = loader.load([str(folder / "series.db")], metrics=metrics)
        assert {dict(key)["__name__"] for page in pages.pages for key in page.keys} == {"m", "other", "up"}


def test_only_what_lies_within_is_read(folder: Path) -> None:
    pages = loader.load([str(folder / "series.db")], metrics=["m"], within=(T + H, T + 2 * H))

    assert loader.time_span(pages) == (T + H + 10 * S, T + 2 * H)


def test_downtime_is_a_gap_that_windows_do_not_cover(folder: Path) -> None:
    pages = loader.load([str(folder / "series.db")], metrics=["m"])
    result = evaluate(parse("avg_over_time(m[2h])"), pages, np.array([NOW - 10 * S, NOW + H + 10 * M]))

    assert evaluate_times("m", pages, NOW + M) == [{}]
    assert result.covered_ms[0] == 2 * H
    assert H - M <= result.covered_ms[1] <= H


def test_the_file_and_other_files_are_one_history_and_the_first_one_counts(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "more.csv"
    table.write_text(f'time,"m{{source=""bot""}}"\n{T - S},-1\n{T},77\n')

    pages = loader.load([str(table), str(folder / "series.db")], metrics=["m"])

    assert evaluate_times("m", pages, T - S, T, T + 10 * S) == [{BOT: -1}, {BOT: 77}, {BOT: 10}]


def test_means_are_read_with_their_least_and_greatest_by_name(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T, RetentionLimits(H, 900 * H, 2**31))
    for now in range(T + 30 * S, T + 40 * H, 30 * S):
        dog.keep_values(now, m=float(now // (30 * S) % 10))
        if now % (5 * M) == 0:
            assert dog.save_archive(now)
    dog.archive.close()

    pages = loader.load([str(tmp_path / "series.db")], metrics=["m", "m:min", "m:max", "nobody:max", "nobody"])

    early, late = T + H, T + 40 * H - 10 * M
    assert [evaluate_times(name, pages, early)[0][BOT] for name in ("m", "m:min", "m:max")] == [4.5, 0, 9]
    assert len({evaluate_times(name, pages, late)[0][BOT] for name in ("m", "m:min", "m:max")}) == 1
    assert evaluate_times("max_over_time(m:max[2h])", pages, T + 3 * H) == [{BOT: 9}]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("CREATE TABLE theirs (x); PRAGMA application_id = 7", "some other program's"),
        ("CREATE TABLE theirs (x); PRAGMA application_id = 1415005267; PRAGMA user_version = 9", "schema 9"),
        (
            "CREATE TABLE theirs (x); PRAGMA application_id = 1415005267; PRAGMA user_version = 1",
            "cannot be read: no such table",
        ),
    ],
)
def test_a_file_that_is_not_ours_is_refused_with_a_cure(
    tmp_path: Path, spoil: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "series.db"
    db = sqlite3.connect(path)
    db.executescript(spoil)
    db.close()

    assert main(["query", "m", "--history", str(path)]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert " — " in told


def test_reading_changes_nothing_and_leaves_nothing_behind(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    loader.load([str(folder / "series.db")])

    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".db"}
    assert after == {name: data for name, data in before.items() if name.endswith(".db")}


def test_what_memory_has_let_go_of_is_read_from_the_file(tmp_path: Path) -> None:
    dog = ArchiveHarness(tmp_path, {}, T)
    for now in range(T, NOW, 10 * S):
        dog.keep_values(now, m=(now - T) / S)
        if now % M == 0:
            assert dog.save_archive(now)
    dog.keep_values(NOW, m=-1.0)  # not written down yet
    times = np.array([T + H, NOW - 50 * S, NOW])

    def ask(text: str, at: np.ndarray, file: str = "series.db") -> PageList:
        reads = query.find_read_range(parse(text), at)
        return query.with_stored_history(tmp_path / file, copy_of(dog.store, reads), reads)

    series, only_memory = ask("m", times), ask("m", times[2:])

    assert evaluate_times("m", series, *times.tolist()) == [{BOT: 3600}, {BOT: 3 * 3600 - 50}, {BOT: -1}]
    long = ask("count_over_time(m[3h])", times[2:])
    assert evaluate_times("count_over_time(m[3h])", long, NOW) == [{BOT: 3 * 360}]
    assert evaluate_times("m", only_memory, NOW) == [{BOT: -1}]
    assert evaluate_times("m", only_memory, T + H) == [{}]
    assert evaluate_times("m", ask("m", times, "none.db"), T + H) == [{}]
    later = ask("m offset -10m", np.array([T + H]))
    assert evaluate_times("m offset -10m", later, T + H) == [{BOT: 3600 + 600}]


def copy_of(store: PageList, reads: query.ReadRange) -> PageList:
    slices = copy_in_slices(store.pages, reads.metrics, reads.after, reads.until)
    while True:
        try:
            next(slices)
        except StopIteration as done:
            return PageList([page.page() for page in done.value])


def test_a_question_about_too_much_of_the_past_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MAX_SAMPLES", 1_000)
    reads = query.find_read_range(parse("avg_over_time(m[3h])"), np.array([NOW]))

    with pytest.raises(HistoryError, match="--history series"):
        query.with_stored_history(folder / "series.db", PageList(), reads)


def test_without_a_watchdog_query_reads_the_file_of_the_configuration(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "watchdog.yaml").write_text(f"state: {folder}\nweb: {{listen: 127.0.0.1:1}}\n")

    assert main(["query", "m", "--at", "now-1s", "--json", "--config", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["series"][0]["values"] == [4 * 3600 + 580]
    assert "series.db" in told.err
