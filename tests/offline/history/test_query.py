"""`query`: the past in files, and the running watchdog."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from watchdog.cli.command_line import main
from watchdog.core.model import Sample
from watchdog.offline.history.page_builder import HistoryError
from watchdog.offline.history.query import MAX_POINTS, QueryTimes, encode_answer, run_query
from watchdog.tsdb.head import Head
from watchdog.tsdb.page import PageList
from watchdog.tsdb.page_copy import PageCopy, copy_in_slices
from watchdog.web.pages import build_routes
from watchdog.web.server import WebServer

T = 1_767_225_600_000
CSV = 'time,a,"b{x=""1""}"\n' + "".join(f"{T + 1_000 * i},{i},{'' if i < 5 else i * i}\n" for i in range(10))


@pytest.fixture
def history_file(tmp_path: Path) -> str:
    path = tmp_path / "h.csv"
    path.write_text(CSV)
    return str(path)


@pytest.mark.parametrize(
    ("when", "times"),
    [
        (QueryTimes(), [T]),
        (QueryTimes(at="now-1h"), [T - 3_600_000]),
        (QueryTimes(at="2026-01-01"), [T]),
        (QueryTimes(start="now-2s", step="1s"), [T - 2_000, T - 1_000, T]),
        (QueryTimes(start="1767225590", end="1767225595", step="2s"), [T - 10_000, T - 8_000, T - 6_000]),
    ],
)
def test_times_are_said_in_many_ways(when: QueryTimes, times: list[int]) -> None:
    assert when.times(T).tolist() == times


@pytest.mark.parametrize(
    ("when", "cure"),
    [
        (QueryTimes(end="now"), "belong to --from"),
        (QueryTimes(at="now", start="now"), "say one of them"),
        (QueryTimes(start="now", end="now-1h"), "swap them"),
        (QueryTimes(start="now-7d", step="1s"), "--step of at least 55s"),
        (QueryTimes(at="yesterday"), "or now-1h"),
        (QueryTimes(start="now-1h", step="0s"), "say 1s or more"),
        (QueryTimes(start="now-1h", step="5"), "a duration reads like"),
    ],
)
def test_times_that_make_no_sense_are_refused_with_a_cure(when: QueryTimes, cure: str) -> None:
    with pytest.raises(HistoryError, match=cure):
        when.times(T)


def test_the_step_that_is_advised_is_enough() -> None:
    assert QueryTimes(start="now-7d", step="55s").times(T).size <= MAX_POINTS


def test_the_last_sample_is_when_a_file_is_asked_by_itself(
    history_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", "a", "--history", history_file]) == 0
    assert capsys.readouterr().out == 'a{source="history"}  9\n'


def test_a_range_is_a_table_and_what_is_not_there_a_dash(history_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    start, end = str(T + 4_000), str(T + 5_000)
    assert main(["query", "b", "--from", start, "--to", end, "--step", "1s", "--history", history_file]) == 0

    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "time"
    assert [first.split()[-1], second.split()[-1]] == ["-", "25"]


def test_json_holds_every_value_with_null_for_none(history_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    start, end = str(T + 4_000), str(T + 5_000)
    main(["query", "b / 0", "--json", "--from", start, "--to", end, "--step", "1s", "--history", history_file])

    assert json.loads(capsys.readouterr().out) == {
        "expr": "b / 0",
        "times": [T + 4_000, T + 5_000],
        "series": [{"labels": {"source": "history", "x": "1"}, "values": [None, "+Inf"]}],
    }


@pytest.mark.slow
def test_a_picture_is_drawn(history_file: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"

    assert main(["query", "{__name__=~'a|b'}", "--from", str(T), "--png", str(path), "--history", history_file]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_picture_for_who_has_no_home_to_write_to_says_nothing_of_that(history_file: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    drawn = subprocess.run(
        [sys.executable, "-m", "watchdog", "query", "a", "--png", str(tmp_path / "a.png"), "--history", history_file],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path / "file" / "in")},
        timeout=180,
    )

    assert (drawn.returncode, drawn.stderr) == (0, "")


def test_without_matplotlib_the_cure_is_named(
    history_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)

    assert main(["query", "a", "--png", str(tmp_path / "a.png"), "--history", history_file]) == 1
    assert f"{sys.executable} -m pip install matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["a +"], ["a", "--at", "soon"]])
def test_a_wrong_question_is_one_line(history_file: str, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", *args, "--history", history_file]) == 1
    error = capsys.readouterr().err
    assert error.startswith("trading-watchdog: ")
    assert "Traceback" not in error


# ─ the running watchdog ─


def _make_store() -> Head:
    store = Head()
    for i in range(5):
        store.ingest(
            "bot", T + 1_000 * i, [Sample("a", (), T + 1_000 * i, float(i)), Sample("c", (), T + 1_000 * i, 1.0)]
        )
    return store


def _copy(store: Head, *names: str) -> Generator[None, None, list[PageCopy]]:
    return copy_in_slices(store.pages, names, T - 1, T + 1_000_000)


def _finish(slices: Generator[None, None, list[PageCopy]]) -> PageList:
    while True:
        try:
            next(slices)
        except StopIteration as done:
            return PageList([page.page() for page in done.value])


def test_a_copy_says_the_same_and_does_not_move() -> None:
    store = _make_store()
    copied, times = _finish(_copy(store, "a")), np.array([T + 4_000])
    before = run_query("rate(a[3s]) + a", copied, times)[1]

    assert before == run_query("rate(a[3s]) + a", store, times)[1]
    assert before["series"]
    assert run_query("c", copied, times)[1]["series"] == []
    store.ingest("bot", T + 4_500, [Sample("a", (), T + 4_500, 99.0)])
    assert run_query("a", copied, np.array([T + 4_600]))[1]["series"][0]["values"] == [4.0]


def test_what_comes_and_goes_while_it_is_copied_mixes_no_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchdog.tsdb.page_copy._SLICE_CELLS", 1)
    store = Head({"": 10_000})
    names = [f"m{i}" for i in range(6)]

    def read(t: int, which: list[str]) -> None:
        store.ingest("bot", t, [Sample(name, (), t, t + float(name[1:])) for name in which])

    for i in range(5):
        read(T + 1_000 * i, names)
    slices, copied = _copy(store, ""), None
    for i in range(5, 400):  # a series comes, others go and are forgotten, the columns that it copies are trimmed
        if i % 3 == 0 and copied is None:
            try:
                next(slices)
            except StopIteration as done:
                copied = PageList([page.page() for page in done.value])
        read(T + 1_000 * i, [*names[: 6 - i // 100], f"m{10 + i // 50}"])

    for page in (_finish(slices) if copied is None else copied).pages:
        assert page.keys
        for row, key in enumerate(page.keys):
            if (name := dict(key)["__name__"]) != "up":
                there = page.v[row] == page.v[row]
                assert (page.v[row][there] == page.t[there] + float(name[1:])).all()


def test_an_answer_is_cut_off_before_it_is_made(history_file: str) -> None:
    times = T + 1_000 * np.arange(10)
    result, as_json = run_query("a", _make_store(), times)

    whole = encode_answer("a", times, result, 100_000)

    assert json.loads(whole) == as_json
    assert encode_answer("a", times, result, len(whole)) == whole
    for size in (10, len(whole) - 1):
        with pytest.raises(HistoryError, match="series × 10 times is more than 0 MiB — ask for fewer series"):
            encode_answer("a", times, result, size)


def test_an_answer_without_series_is_json() -> None:
    result, as_json = run_query("none", _make_store(), np.array([T]))
    assert json.loads(encode_answer("none", np.array([T]), result, 1_000)) == as_json


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A folder whose watchdog.yaml names a server that answers as the daemon does."""
    store = _make_store()
    servers = []

    def query(asked: Mapping[str, str], _: int) -> bytes:
        when = QueryTimes(asked.get("at"), asked.get("from"), asked.get("to"), asked.get("step"))
        return json.dumps(run_query(asked["expr"], store, when.times(T + 4_000))[1]).encode()

    def start() -> Path:
        server = WebServer(
            build_routes(CollectorRegistry(), lambda: None, lambda: {"sources": {}}, query), "127.0.0.1", 0
        )
        servers.append(server)
        (tmp_path / "watchdog.yaml").write_text(f'web: {{listen: "127.0.0.1:{server.port}"}}\nstate: state\n')
        return tmp_path

    yield start
    for server in servers:
        server.close()


def test_without_history_the_running_watchdog_is_asked(
    start_daemon: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = start_daemon()

    assert main(["query", "a", "--config", str(folder)]) == 0
    assert capsys.readouterr().out == 'a{source="bot"}  4\n'
    assert main(["query", "a", "--at", "now-1s", "--config", str(folder)]) == 0
    assert capsys.readouterr().out == 'a{source="bot"}  3\n'


def test_what_the_watchdog_refuses_is_said_in_its_words(
    start_daemon: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = start_daemon()

    assert main(["query", "a", "--at", "soon", "--config", str(folder)]) == 1
    assert "'soon' is no time" in capsys.readouterr().err
    port = (folder / "watchdog.yaml").read_text().split('"')[1].rpartition(":")[2]
    with pytest.raises(HTTPError) as refused:
        urlopen(f"http://127.0.0.1:{port}/api/query?expr=a%20%2B", timeout=10)
    assert refused.value.code == 400
    refused.value.close()
