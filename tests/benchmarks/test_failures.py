"""A competitor that fails, or a part of ours, is a row that says why; what else was measured is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import competitors, daemon
from benchmarks.alerting_stack import AlertingStack
from benchmarks.cases import BenchmarkCase, SeriesHistory
from benchmarks.competitors import Lineup, running_competitors
from benchmarks.measure import Effort, MeasurementError, wait_until
from benchmarks.table import TableRow, measure_row

EFFORT = Effort(seconds=0.01, rounds=2, starts=1, footprint=0.1, full=False)


class FakeCompetitor:
    """Says 100, or fails at what it is told to fail at."""

    def __init__(self, name: str, *, fails_at: str = "") -> None:
        self.name, self._fails_at = name, fails_at
        self.asked = 0

    def push_samples(self, _: Iterable[list[SeriesHistory]]) -> None:
        self._answer("samples")

    def measure_rules(self, _: BenchmarkCase, __: float) -> float:
        return self._answer("rules")

    def measure_range_queries(self, _: Sequence[str], __: float, /) -> float:
        return self._answer("queries")

    def _answer(self, what: str) -> float:
        self.asked += 1
        if what == self._fails_at:
            raise MeasurementError(f"no {what} of mine")
        return 100.0


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a shell script of this name first on PATH, and takes other people's Prometheus off it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(name: str, body: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)

    return put


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "COMPETITOR_TIMEOUT", 0.3)
    monkeypatch.setattr(competitors, "COMPETITOR_TIMEOUT", 0.3)


def test_a_section_that_breaks_off_keeps_its_rows_and_the_others_and_the_exit_code_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks_off(_: Effort, __: Callable[[str], None]) -> Iterator[TableRow]:
        yield TableRow("a figure before it", 1.0)
        raise MeasurementError("not within 60 s: the webhook is called")

    sections = {"first": breaks_off, "second": lambda _, __: [TableRow("a figure after it", 2.0)]}
    monkeypatch.setattr(program, "SECTIONS", sections)

    assert program.main([]) == 1

    said = capsys.readouterr().out
    assert [word in said for word in ("a figure before it", "a figure after it")] == [True, True]
    assert "first: what is left of it" in said
    assert "FAILED (1)" in said
    assert "(1) not within 60 s: the webhook is called" in said


def test_a_run_in_which_all_was_measured_ends_with_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "SECTIONS", {"one": lambda _, __: [TableRow("a figure", 2.0)]})

    assert program.main([]) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_a_competitor_that_fails_says_why_in_the_row_and_is_not_asked_again() -> None:
    good, bad = FakeCompetitor("good"), FakeCompetitor("bad", fails_at="queries")
    lineup = Lineup([bad, good], lambda _: None)

    first = lineup.measure(lambda one: one.measure_range_queries([], 0.0))
    second = lineup.measure(lambda one: one.measure_range_queries([], 0.0))

    assert tuple(first) == tuple(second) == ({"good": 100.0}, {"bad": "no queries of mine"})
    assert (good.asked, bad.asked) == (2, 1)
    row = TableRow("a fact", 50.0, competitors=first.values, failures=first.failures)
    assert row.cells()[1] == "good 100; bad FAILED (1)"


def test_a_competitor_that_refuses_the_samples_is_asked_nothing() -> None:
    bad = FakeCompetitor("bad", fails_at="samples")
    lineup = Lineup([bad], lambda _: None)

    lineup.push_samples([])

    assert lineup.measure(lambda one: one.measure_range_queries([], 0.0)).failures == {"bad": "no samples of mine"}
    assert bad.asked == 1


def test_a_figure_of_ours_that_fails_is_a_row_with_theirs() -> None:
    def fail() -> float:
        raise ValueError("a bug")

    row = measure_row("a fact", fail, competitors={"good": 100.0}, goal=3.0)

    notes: list[str] = []
    assert row.cells(notes) == ("a fact", "good 100", "FAILED (1)", "–", "–")
    assert notes == ["ValueError: a bug"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [("echo no space left >&2; exit 3", "ended with code 3: no space left"), ("exec sleep 60", "not within 0.3 s")],
)
def test_a_prometheus_that_dies_or_hangs_at_its_start_is_a_reason_in_every_row(
    tmp_path: Path, on_path: Callable[[str, str], None], impatient: None, body: str, reason: str
) -> None:
    on_path("prometheus", body)

    with running_competitors(tmp_path, lambda _: None, only_prometheus=True) as lineup:
        lineup.push_samples([])
        values, failures = lineup.measure(lambda one: one.measure_range_queries([], 0.0))

    assert values == {}
    assert reason in failures["Prometheus"]


def test_an_alertmanager_that_ended_by_itself_is_noticed_with_its_last_words(
    tmp_path: Path, on_path: Callable[[str, str], None]
) -> None:
    on_path("prometheus", "exec sleep 60")
    on_path("alertmanager", "echo failed to parse templates; exit 1")
    stack = AlertingStack.find(tmp_path / "stack", ["up"])
    assert stack is not None

    try:
        with (
            stack.running("http://127.0.0.1:9/metrics"),
            pytest.raises(MeasurementError, match="alertmanager ended with code 1: failed to parse templates"),
        ):
            wait_until(stack.is_ready, 30, "they are ready")
    finally:
        stack.close()


@pytest.mark.slow
def test_our_daemon_is_measured_beside_a_stack_that_hangs(
    tmp_path: Path, on_path: Callable[[str, str], None], impatient: None
) -> None:
    on_path("prometheus", "exec sleep 600")
    on_path("alertmanager", "exec sleep 600")

    rows = daemon.measure_rows(EFFORT, lambda _: None)

    assert all(row.ours is not None for row in rows)
    reasons = [row.failures.get(daemon.COMPETITOR, "") for row in rows if not row.title.startswith("…")]
    assert len(reasons) == 6
    assert all(reason.startswith("not within 0.3 s") for reason in reasons)


@pytest.mark.slow
def test_the_daemon_s_other_parts_are_measured_when_one_of_them_fails(
    monkeypatch: pytest.MonkeyPatch, on_path: Callable[[str, str], None]
) -> None:
    def fail(*_: object) -> list[TableRow]:
        raise MeasurementError("the breach was not seen")

    monkeypatch.setattr(daemon, "_measure_reaction", fail)

    rows = {row.title: row for row in daemon.measure_rows(EFFORT, lambda _: None)}

    assert rows["reaction"].failures == {"ours": "the breach was not seen"}
    assert rows["process start → action on a breach that is there"].ours is not None
    assert sum("20 rules" in title for title in rows) == 3
