"""The benchmarks run, and tell the truth about a missed goal. How fast anything is, is not tested."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.cases import BenchmarkCase, make_cases, make_gauges
from benchmarks.competitors import make_rule_file
from benchmarks.daemon import DaemonUnderTest as Daemon
from benchmarks.evaluator import EvaluatorBenchmark
from benchmarks.measure import wait_until
from benchmarks.metrics_server import MetricsServer
from benchmarks.remote_write import encode_request
from benchmarks.table import TableRow, format_markdown, format_plain

README = Path(__file__).parents[2] / "benchmarks" / "README.md"


def test_one_tiny_run_prints_the_machine_and_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "journal", "--seconds", "0.001"]) == 0

    said = capsys.readouterr().out
    assert "CPUs" in said
    assert "journal: one event, durable" in said


def test_one_tiny_case_is_judged() -> None:
    case = BenchmarkCase(
        "two", ['gauge{i="0"}', 'avg_over_time(gauge{i="1"}[5m])'], 5.0, make_gauges(2, 310), 300_000, 1.0, 1.0, 1
    )

    assert EvaluatorBenchmark(0.001).measure_fast(case) > 0
    assert EvaluatorBenchmark(0.001).measure_filtered(case) > 0


def test_a_rule_that_is_not_well_is_no_figure() -> None:
    case = BenchmarkCase("tripped", ['gauge{i="0"}'], 0.0, make_gauges(1, 10), 0, 1.0, 1.0, 1)

    with pytest.raises(AssertionError, match="is above"):
        EvaluatorBenchmark(0.001).measure_fast(case)


@pytest.mark.slow
def test_the_daemon_acts_on_the_breach_of_the_page_and_on_the_next_one(tmp_path: Path) -> None:
    page = MetricsServer()
    daemon = Daemon(tmp_path / "daemon", page.url)
    try:
        with daemon.started():
            daemon.wait_until_ready()
            for _ in range(2):
                at = page.set_breach(True)
                wait_until(lambda at=at: daemon.acted_at(at) is not None, 30, "it acts")  # type: ignore[misc]
                assert page.breach_read_at["trading-watchdog"] >= at
                page.set_breach(False)
                wait_until(daemon.is_resolved, 30, "the incident is over")
    finally:
        page.close()


def test_a_missed_goal_says_so_and_the_best_of_them_is_compared_with() -> None:
    row = TableRow("a rule", 50.0, "", {"slow": 10.0, "fast": 100.0}, True, 80.0, ("slow", 4.0))

    assert row.cells() == ("a rule", "slow 10; fast 100", "50", "0.5 ×", "≥ 80: missed, ≥ 4 × slow: met")
    assert "missed" in format_plain([row])
    assert "missed" in format_markdown([row])


def test_less_may_be_better() -> None:
    row = TableRow("memory", 50.0, "MB", {"them": 100.0}, False, 60.0, spread=(40.0, 55.0))

    assert row.cells() == ("memory", "them 100 MB", "50 MB (40 – 55)", "2 ×", "≤ 60 MB: met")


def test_others_judge_the_same_expressions() -> None:
    case = make_cases(day=False)[0]

    text = make_rule_file(case)

    assert all(f"{expr} > 5.0".replace('"', '\\"') in text for expr in case.exprs)


def test_a_remote_write_request_holds_the_samples_it_was_given() -> None:
    t = np.array([1_700_000_000_000, 1_700_000_001_000])

    body = encode_request([("equity", (("shape", "rising"),), t, np.array([1.5, -2.0]))])

    start = body.index(b"\xfc")
    plain_text = body[start + 5 :]
    assert int.from_bytes(body[start + 1 : start + 5], "little") == len(plain_text) - 1
    ((_, series),) = protobuf_fields(plain_text)
    labels = [protobuf_fields(content) for number, content in protobuf_fields(series) if number == 1]
    samples = [content for number, content in protobuf_fields(series) if number == 2]
    assert labels == [[(1, b"__name__"), (2, b"equity")], [(1, b"shape"), (2, b"rising")]]
    assert [struct.unpack("<d", sample[1:9])[0] for sample in samples] == [1.5, -2.0]
    assert [parse_varint(sample, 10)[0] for sample in samples] == t.tolist()


def test_every_row_is_explained() -> None:
    text = README.read_text()

    assert [case.title for case in make_cases(day=True) if case.title not in text] == []


def protobuf_fields(content: bytes) -> list[tuple[int, bytes]]:
    """Of a protobuf message that holds nothing but length-delimited ones."""

    def found() -> Iterator[tuple[int, bytes]]:
        at = 0
        while at < len(content):
            tag, at = parse_varint(content, at)
            length, at = parse_varint(content, at)
            assert tag & 7 == 2
            yield tag >> 3, content[at : at + length]
            at += length

    return list(found())


def parse_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
