"""`query`: the past in files, and the running watchdog."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from watchdog.cli import main
from watchdog.history.ask import MOST, When, answer, names_in, snapshot
from watchdog.history.gather import HistoryError
from watchdog.model import Sample
from watchdog.series import Store
from watchdog.web import Server, pages

T = 1_767_225_600_000
CSV = 'time,a,"b{x=""1""}"\n' + "".join(f"{T + 1_000 * i},{i},{'' if i < 5 else i * i}\n" for i in range(10))


@pytest.fixture
def history(tmp_path: Path) -> str:
    path = tmp_path / "h.csv"
    path.write_text(CSV)
    return str(path)


@pytest.mark.parametrize(
    ("when", "times"),
    [
        (When(), [T]),
        (When(at="now-1h"), [T - 3_600_000]),
        (When(at="2026-01-01"), [T]),
        (When(start="now-2s", step="1s"), [T - 2_000, T - 1_000, T]),
        (When(start="1767225590", end="1767225595", step="2s"), [T - 10_000, T - 8_000, T - 6_000]),
    ],
)
def test_times_are_said_in_many_ways(when: When, times: list[int]) -> None:
    assert when.times(T).tolist() == times


@pytest.mark.parametrize(
    ("when", "cure"),
    [
        (When(end="now"), "belong to --from"),
        (When(at="now", start="now"), "say one of them"),
        (When(start="now", end="now-1h"), "swap them"),
        (When(start="now-7d", step="1s"), "--step of at least 55s"),
        (When(at="yesterday"), "or now-1h"),
        (When(start="now-1h", step="0s"), "say 1s or more"),
        (When(start="now-1h", step="5"), "a duration reads like"),
    ],
)
def test_times_that_make_no_sense_are_refused_with_a_cure(when: When, cure: str) -> None:
    with pytest.raises(HistoryError, match=cure):
        when.times(T)


def test_the_step_that_is_advised_is_enough() -> None:
    assert When(start="now-7d", step="55s").times(T).size <= MOST


def test_the_last_sample_is_when_a_file_is_asked_by_itself(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "a", "--history", history]) == 0
    assert capsys.readouterr().out == 'a{source="history"}  9\n'


def test_a_range_is_a_table_and_what_is_not_there_a_dash(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    start, end = str(T + 4_000), str(T + 5_000)
    assert main(["query", "b", "--from", start, "--to", end, "--step", "1s", "--history", history]) == 0

    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "time"
    assert [first.split()[-1], second.split()[-1]] == ["-", "25"]


def test_json_holds_every_value_with_null_for_none(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    start, end = str(T + 4_000), str(T + 5_000)
    main(["query", "b / 0", "--json", "--from", start, "--to", end, "--step", "1s", "--history", history])

    assert json.loads(capsys.readouterr().out) == {
        "expr": "b / 0",
        "times": [T + 4_000, T + 5_000],
        "series": [{"labels": {"source": "history", "x": "1"}, "values": [None, "+Inf"]}],
    }


def test_a_picture_is_drawn(history: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"

    assert main(["query", "{__name__=~'a|b'}", "--from", str(T), "--png", str(path), "--history", history]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_cure_is_named(
    history: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)

    assert main(["query", "a", "--png", str(tmp_path / "a.png"), "--history", history]) == 1
    assert "trading-watchdog[plots]" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["a +"], ["a", "--at", "soon"]])
def test_a_wrong_question_is_one_line(history: str, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", *args, "--history", history]) == 1
    error = capsys.readouterr().err
    assert error.startswith("trading-watchdog: ")
    assert "Traceback" not in error


# ─ the running watchdog ─


def _store() -> Store:
    store = Store()
    for i in range(5):
        store.keep(
            "bot", T + 1_000 * i, [Sample("a", (), T + 1_000 * i, float(i)), Sample("c", (), T + 1_000 * i, 1.0)]
        )
    return store


def test_a_snapshot_says_the_same_and_does_not_move(capsys: pytest.CaptureFixture[str]) -> None:
    store = _store()
    copied, times = snapshot(store, names_in("rate(a[3s]) + a")), np.array([T + 4_000])
    before = answer("rate(a[3s]) + a", copied, times)[1]

    assert before == answer("rate(a[3s]) + a", store, times)[1]
    assert before["series"]
    assert answer("c", copied, times)[1]["series"] == []
    store.keep("bot", T + 4_500, [Sample("a", (), T + 4_500, 99.0)])
    assert answer("a", copied, np.array([T + 4_600]))[1]["series"][0]["values"] == [4.0]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A folder whose watchdog.yaml names a server that answers as the daemon does."""
    store = _store()
    servers = []

    def query(asked: Mapping[str, str]) -> dict[str, object]:
        when = When(asked.get("at"), asked.get("from"), asked.get("to"), asked.get("step"))
        return answer(asked["expr"], store, when.times(T + 4_000))[1]

    def start() -> Path:
        server = Server(pages(CollectorRegistry(), lambda: None, dict, query), "127.0.0.1", 0)
        servers.append(server)
        (tmp_path / "watchdog.yaml").write_text(f'web: {{listen: "127.0.0.1:{server.port}"}}\nstate: state\n')
        return tmp_path

    yield start
    for server in servers:
        server.close()


def test_without_history_the_running_watchdog_is_asked(
    daemon: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = daemon()

    assert main(["query", "a", "--config", str(folder)]) == 0
    assert capsys.readouterr().out == 'a{source="bot"}  4\n'
    assert main(["query", "a", "--at", "now-1s", "--config", str(folder)]) == 0
    assert capsys.readouterr().out == 'a{source="bot"}  3\n'


def test_what_the_watchdog_refuses_is_said_in_its_words(
    daemon: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = daemon()

    assert main(["query", "a", "--at", "soon", "--config", str(folder)]) == 1
    assert "'soon' is no time" in capsys.readouterr().err
    port = (folder / "watchdog.yaml").read_text().split('"')[1].rpartition(":")[2]
    with pytest.raises(HTTPError) as refused:
        urlopen(f"http://127.0.0.1:{port}/api/query?expr=a%20%2B", timeout=10)
    assert refused.value.code == 400
    refused.value.close()
