"""History as people have it, read back to the sample; and what is said of a file that is wrong."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from watchdog.core.model import Labels
from watchdog.offline.history.loader import load, page_intervals, sample_interval, time_span
from watchdog.offline.history.page_builder import HistoryError, QueryRange
from watchdog.promql import evaluate, parse
from watchdog.tsdb.page import PageList

T = 1_767_225_600_000


def evaluate_at(text: str, pages: PageList, t: int) -> dict[Labels, float]:
    return evaluate(parse(text), pages, np.array([t])).vector_at(0)


def write_csv(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def load_csv(tmp_path: Path, text: str, name: str = "h.csv") -> PageList:
    return load([write_csv(tmp_path / name, text)])


HISTORY_LABELS: Labels = (("source", "history"),)


@pytest.mark.parametrize(
    ("head", "first", "second"),
    [
        ("time", "1767225600", "1767225601"),
        ("t", "1767225600000", "1767225601000"),
        ("timestamp", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
        ("Time", "2026-01-01T01:00:00+01:00", "2026-01-01 00:00:01"),
    ],
)
def test_times_are_seconds_milliseconds_or_iso(tmp_path: Path, head: str, first: str, second: str) -> None:
    pages = load_csv(tmp_path, f"{head},equity\n{first},1\n{second},2\n")

    assert time_span(pages) == (T, T + 1_000)
    assert evaluate_at("equity", pages, T) == {HISTORY_LABELS: 1.0}
    assert evaluate_at("equity", pages, T + 1_000) == {HISTORY_LABELS: 2.0}


def test_a_wide_header_names_whole_series(tmp_path: Path) -> None:
    pages = load_csv(tmp_path, 'time,equity,"trades{result=""win"",source=""bot""}"\n1,10,3\n2,11,4\n')

    assert evaluate_at("trades", pages, 2_000) == {(("result", "win"), ("source", "bot")): 4.0}
    assert evaluate_at("equity", pages, 2_000) == {HISTORY_LABELS: 11.0}


def test_long_rows_say_the_same_as_wide_ones(tmp_path: Path) -> None:
    wide = load_csv(tmp_path, 'time,a,"b{x=""1,2""}"\n1,10,3\n2,11,\n3,12,5\n')
    long = load_csv(
        tmp_path, 'time,series,value\n1,a,10\n1,"b{x=""1,2""}",3\n2,a,11\n3,a,12\n3,"b{x=""1,2""}",5\n', "l.csv"
    )

    for t in (1_000, 2_000, 3_000, 4_000):
        for text in ("a", "b", "sum_over_time(b[10s])"):
            assert evaluate_at(text, wide, t) == evaluate_at(text, long, t)


def test_an_empty_cell_says_nothing_and_stale_says_that_the_series_is_gone(tmp_path: Path) -> None:
    pages = load_csv(tmp_path, "time,a,b\n1,10,1\n2,,\n3,stale,1\n")

    assert evaluate_at("a", pages, 2_000) == {HISTORY_LABELS: 10.0}
    assert evaluate_at("a", pages, 3_000) == {}
    assert evaluate_at("count_over_time(a[1m])", pages, 3_000) == {HISTORY_LABELS: 1.0}


def test_a_series_that_comes_late_was_watched_from_the_first_row(tmp_path: Path) -> None:
    pages = load_csv(tmp_path, "time,a,b\n0,1,\n60,1,\n120,1,5\n")
    result = evaluate(parse("count_over_time(b[2m])"), pages, np.array([120_000]))

    assert int(result.covered_ms[0]) == int(result.window_ms[0]) == 120_000


def test_gzip_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "h.csv.gz"
    path.write_bytes(gzip.compress(b"time,a\n1,10\n"))

    assert evaluate_at("a", load([str(path)]), 1_000) == {HISTORY_LABELS: 10.0}


def test_prometheus_text_counts_milliseconds_and_openmetrics_seconds(tmp_path: Path) -> None:
    text = '# TYPE a gauge\na{x="1 } 2"} 1.5 1767225600000\na{x="1 } 2"} 2 1767225601000\n'
    metrics = 'a{x="1 } 2"} 1.5 1767225600\na{x="1 } 2"} 2 1767225601.000 # {trace="7"} 1\n# EOF\n'
    for pages in (load_csv(tmp_path, text, "a.prom"), load_csv(tmp_path, metrics, "b.txt")):
        assert time_span(pages) == (T, T + 1_000)
        assert evaluate_at("a", pages, T + 1_000) == {(("source", "history"), ("x", "1 } 2")): 2.0}


def test_several_files_are_one_history(tmp_path: Path) -> None:
    pages = load(
        [write_csv(tmp_path / "1.csv", "t,a\n1,1\n2,2\n"), write_csv(tmp_path / "2.csv", "t,a,b\n3,3,1\n2,9,1\n")]
    )

    assert evaluate_at("sum_over_time(a[10s])", pages, 3_000) == {HISTORY_LABELS: 6.0}
    assert time_span(pages) == (1_000, 3_000)


def test_the_spacing_is_that_of_the_slowest_page_that_is_read(tmp_path: Path) -> None:
    pages = load(
        [
            write_csv(tmp_path / "1.csv", "t,a\n" + "".join(f"{t},1\n" for t in range(20))),
            write_csv(tmp_path / "2.csv", "t,b\n" + "".join(f"{t},1\n" for t in range(0, 60, 15))),
        ]
    )

    assert sample_interval(pages, {"a"}, page_intervals(pages)) == 1_000
    assert sample_interval(pages, {"a", "b"}, page_intervals(pages)) == 15_000
    assert sample_interval(pages, {"elsewhere"}, page_intervals(pages)) == 15_000


@pytest.mark.parametrize(
    ("name", "text", "line", "cure"),
    [
        ("h.csv", "equity\n1\n", 1, "no column of times"),
        ("h.csv", "time,eq uity\n1,2\n", 1, "column 2: 'eq uity' is no series"),
        ("h.csv", "time,a,a\n1,2,3\n", 1, "two columns are the same series"),
        ("h.csv", "time,a\n1,2\n2\n", 3, "is a comma missing?"),
        ("h.csv", "time,a\n1,2\nyesterday,2\n", 3, "seconds or milliseconds since 1970"),
        ("h.csv", "time,a\n1,2\n2,n/a\n", 3, "leave the cell empty"),
        ("h.csv", 'time,series,value\n1,"a{x=1}",2\n', 2, "is no series"),
        ("h.csv", 'time,series,value\n1,a{x="1",y="2"},2\n', 2, "in quotes"),
        ("h.prom", "a 1\n", 1, "has no timestamp"),
        ("h.prom", "a 1 1000\nnonsense\n", 2, "is no sample"),
        ("h.prom", 'a{x="1",y=} 1 1000\n', 1, "is no sample"),
        ("h.prom", "a 1 1767225600.5\n", 1, "whole number of milliseconds"),
        ("h.prom", 'a{x="1",x="2"} 1 1000\n', 1, "each label stands once"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_a_cure(
    tmp_path: Path, name: str, text: str, line: int, cure: str
) -> None:
    with pytest.raises(HistoryError) as refused:
        load_csv(tmp_path, text, name)

    assert str(refused.value).startswith(f"{tmp_path / name}:{line}: ")
    assert cure in str(refused.value)


def test_a_file_that_is_not_there_and_one_that_is_cut_short_say_so(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="No such file"):
        load([str(tmp_path / "gone.csv")])
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"time,a\n1,10\n" * 100)[:-9])
    with pytest.raises(HistoryError, match="damaged or cut short"):
        load([str(tmp_path / "cut.csv.gz")])


def test_a_history_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="holds no sample"):
        time_span(load_csv(tmp_path, "time,a\n"))


# ─ a server ─


class _PrometheusHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        times = [start + step * i for i in range(int((end - start) / step) + 1)]
        answer: dict[str, Any] = {
            "status": "success",
            "data": {
                "resultType": "matrix",
                "result": [
                    {"metric": {"__name__": asked["query"], "job": "bot"}, "values": [[t, str(t)] for t in times]}
                ],
            },
        }
        if asked["query"] == "native":
            answer["data"]["result"] = [{"metric": {}, "histograms": []}]
        if asked["query"] == "broken":
            answer = {"status": "error", "error": "it hurts"}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def fake_prometheus() -> Iterator[tuple[str, list[dict[str, str]]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _PrometheusHandler)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_is_asked_for_each_metric_in_parts_it_does_not_refuse() -> None:
    with fake_prometheus() as (url, asked):
        pages = load([url], metrics={"a", "b"}, span=QueryRange(T, T + 15_000_000, 1_000))

    assert [one["query"] for one in asked] == ["a", "a", "b", "b"]
    assert time_span(pages) == (T, T + 15_000_000)
    assert all(page.t.size == 15_001 for page in pages.pages)
    assert evaluate_at("a", pages, T + 12_000_000) == {
        (("job", "bot"), ("source", "history")): (T + 12_000_000) / 1_000
    }


def test_what_a_server_refuses_and_who_does_not_answer_is_said() -> None:
    with fake_prometheus() as (url, _):
        with pytest.raises(HistoryError, match="it hurts"):
            load([url], metrics={"broken"}, span=QueryRange(T, T, 1_000))
        with pytest.raises(HistoryError, match="native histograms"):
            load([url], metrics={"native"}, span=QueryRange(T, T, 1_000))
        with pytest.raises(HistoryError, match="say --from, --to and --step"):
            load([url], metrics={"a"})
        with pytest.raises(HistoryError, match="without a metric's name"):
            load([url], metrics={""}, span=QueryRange(T, T, 1_000))
    with pytest.raises(HistoryError, match="nobody listens there"):
        load([url], metrics={"a"}, span=QueryRange(T, T, 1_000))
