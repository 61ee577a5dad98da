"""Logs: expressions become counters and values, each event counts once, whatever becomes of the files."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.journald import journald_unavailable, run_beside_journald
from tests.support.property_settings import examples
from watchdog.core.errors import SourceError
from watchdog.core.model import Labels
from watchdog.core.protocols import ExplainedSource
from watchdog.host import tail
from watchdog.sources import LogSource
from watchdog.sources.log_files import LogBudget, read_log_events
from watchdog.sources.log_reader import LogReading, LogState
from watchdog.sources.log_rules import LogRules, LogValue, parse_number
from watchdog.worker import functions

NOW = 1_796_119_200_000
"""2026-12-01T10:00:00Z"""
VALUES: dict[str, Any] = {
    "errors_total": {"count": " (ERROR|CRITICAL) ", "not": "will retry"},
    "exceptions_total": {
        "count": r"\n(?P<exception>[A-Za-z_.]+(Error|Exception)):",
        "labels": {"exception": "exception"},
    },
    "filled_total": {"sum": "filled (?P<value>[0-9.]+)"},
    "equity": {"last": "equity=(?P<value>[0-9.]+)"},
}
TIME = r"^(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})"
LINES = """\
2026-12-01 10:59:50,000 INFO filled 1.5 equity=100
2026-12-01 10:59:51,000 ERROR no margin
2026-12-01 10:59:52,000 ERROR no connection, will retry
2026-12-01 10:59:53,000 CRITICAL it failed
Traceback (most recent call last):
  File "bot.py", line 1, in run
    order()
bot.MarginError: no margin
2026-12-01 10:59:54,000 INFO filled 2 equity=98.5
"""
COUNTED = {"errors_total": 2.0, "exceptions_total{bot.MarginError}": 1.0, "filled_total": 3.5, "equity": 98.5}


def source_of(path: Path | str, **more: Any) -> LogSource:
    fields = {"type": "log", "files": str(path), "time": TIME, "zone": "Europe/Berlin", "values": VALUES, **more}
    return LogSource.model_validate(fields)


class Follower:
    """Reads one source again and again, as the daemon does: through JSON, with a state that a failed read leaves as it was."""

    def __init__(self, source: LogSource) -> None:
        self.source, self.state, self.now = source, "{}", NOW
        self.cache: dict[str, Any] = {}

    def read(self, later: int = 1_000) -> dict[str, float]:
        return {name: v for name, (v, _) in self.read_timed(later).items()}

    def read_timed(self, later: int = 1_000) -> dict[str, tuple[float, int]]:
        self.now += later
        after = json.loads(self.state)
        samples = self.source.read(after, self.cache, self.now)
        self.state = json.dumps(after, allow_nan=False)
        return {name + suffix(labels): (v, t) for name, labels, t, v in samples}

    def settle(self) -> dict[str, float]:
        """Until nothing is left to be read, and no event is open."""
        for _ in range(50):
            found = self.read()
            if not found["log_lag_bytes"] and json.loads(self.state)["open"] is None:
                return found
        raise AssertionError("the log is not read to its end")


def suffix(labels: Labels) -> str:
    return "{" + ",".join(value for _, value in labels) + "}" if labels else ""


def counted(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if not name.startswith("log_")}


# ─ files ─


def test_what_is_written_from_the_first_read_on_counts(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.write_text("2026-12-01 10:00:00,000 ERROR old\n")
    follower = Follower(source_of(log))
    assert counted(follower.read()) == {"errors_total": 0.0, "filled_total": 0.0}

    with log.open("a") as writer:
        writer.write(LINES)
    found = follower.settle()

    assert counted(found) == COUNTED
    assert (found["log_lines_total"], found["log_events_total"], found["log_cut_events_total"]) == (9.0, 5.0, 0.0)


def test_a_last_value_is_there_at_once_and_as_old_as_its_line_in_the_logs_zone(tmp_path: Path) -> None:
    (tmp_path / "bot.log").write_text("2026-12-01 10:59:00,250 INFO equity=100\n")
    follower = Follower(source_of(tmp_path / "bot*.log"))

    assert follower.read_timed()["equity"] == (100.0, NOW - 60_000 + 250)
    assert follower.read_timed()["errors_total"] == (0.0, NOW + 2_000)


def test_how_old_a_line_is_that_was_there_before_nobody_knows_without_a_time(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.write_text("equity=100\n")
    follower = Follower(source_of(log, time=None))
    assert "equity" not in follower.read()

    with log.open("a") as writer:
        writer.write("equity=99\n")
    follower.read()
    assert follower.read_timed()["equity"] == (99.0, follower.now)


def test_half_a_line_waits_and_an_open_event_survives_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.touch()
    follower = Follower(source_of(log))
    follower.read()
    text = LINES.encode()
    for start in range(0, len(text), 50):
        with log.open("ab") as writer:
            writer.write(text[start : start + 50])
        follower.cache = {}
        follower.read(later=10)

    assert counted(follower.settle()) == COUNTED


def test_a_read_that_is_thrown_away_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.touch()
    follower = Follower(source_of(log))
    follower.read()
    for part in LINES.split("\n2026-")[1:]:
        with log.open("a") as writer:
            writer.write(f"2026-{part.rstrip()}\n")
        before = follower.state
        follower.read()
        follower.state = before  # as after a kill -9 ahead of the writing

    found = counted(follower.settle())
    assert found["errors_total"] == 2.0
    assert found["filled_total"] == 2.0


def test_a_log_is_read_to_its_end_over_a_rotation_by_rename_while_it_is_written(tmp_path: Path) -> None:
    log, number = tmp_path / "bot.log", 3_000
    log.touch()
    follower = Follower(source_of(tmp_path / "bot*.log", time=None))
    follower.read()
    done = threading.Event()

    def write() -> None:
        for each in range(number):
            with log.open("a") as writer:
                writer.write(f"x ERROR {each}\nTraceback (most recent call last):\n  File x\nbot.SomeError: {each}\n")
            if each % 500 == 499:
                for old in range(8, 0, -1):
                    if (tmp_path / f"bot.log.{old}").exists():
                        (tmp_path / f"bot.log.{old}").rename(tmp_path / f"bot.log.{old + 1}")
                log.rename(tmp_path / "bot.log.1")
        log.touch()
        done.set()

    writing = threading.Thread(target=write)
    writing.start()
    while not done.is_set():
        follower.read(later=100)
    writing.join()

    found = follower.settle()
    assert found["log_lines_total"] == 4.0 * number
    assert counted(found) == {
        "errors_total": float(number),
        "exceptions_total{bot.SomeError}": float(number),
        "filled_total": 0.0,
    }


TEXT = (
    b"x ERROR a\n  more\n> filled 2 equity=5\nTraceback (most recent call last):\n  File \xff\nbot.AError: \x00\n\n"
    b"y CRITICAL \xc3\xa9 filled 1.5\nequity=7\n"
)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.integers(0, len(TEXT)), max_size=6), st.booleans())
def test_wherever_the_file_is_split_between_reads_the_same_is_counted(cuts: list[int], restart: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "bot.log")
        log.touch()
        follower = Follower(source_of(log, time=None))
        follower.read()
        at = 0
        for cut in [*sorted(cuts), len(TEXT)]:
            with log.open("ab") as writer:
                writer.write(TEXT[at:cut])
            at = cut
            if restart:
                follower.cache = {}
            follower.read(later=1)
        found = follower.settle()

    assert counted(found) == {
        "errors_total": 2.0,
        "exceptions_total{bot.AError}": 1.0,
        "filled_total": 3.5,
        "equity": 7.0,
    }
    assert (found["log_lines_total"], found["log_events_total"]) == (9.0, 4.0)


ANY_VALUES: dict[str, Any] = {
    "a_total": {"count": "(?P<what>.)", "labels": {"what": "what"}},
    "b_total": {"sum": "(?P<value>.*)", "decimal": ","},
    "c": {"last": r"(?s)(?P<value>\S+)", "labels": {"x": "value"}, "not": "nothing"},
}


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")), max_size=20))
def test_whatever_stands_in_a_line_it_is_read(lines: list[bytes]) -> None:
    rules = LogRules.model_validate({"values": ANY_VALUES, "time": "(?P<time>.+)", "zone": "Asia/Tokyo"})
    reading = LogReading(rules, LogState(), NOW)
    for line in lines:
        reading.add(line)
    state, samples, _ = reading.end()

    assert LogState.model_validate(json.loads(json.dumps(state.model_dump(mode="json"), allow_nan=False))) == state
    assert all(sample.t <= NOW for sample in samples)
    assert state.lines == len(lines)


def test_an_expression_takes_time_linear_to_the_text() -> None:
    rules = LogRules.model_validate(
        {"values": {"a_total": {"count": "(a*)*(a|aa)+b"}, "b_total": {"count": "(x+x+)+y"}}}
    )

    def seconds(size: int) -> float:
        reading = LogReading(rules, LogState(), NOW)
        start = time.process_time()
        for _ in range(size):
            reading.add(b"a" * 2_000 + b"x" * 2_000)
        return time.process_time() - start

    assert seconds(200) < 5


def test_of_a_long_backlog_each_read_takes_its_share(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.touch()
    follower = Follower(source_of(log, time=None, max_bytes=2 << 20, event_start="^"))
    follower.read()
    log.write_bytes((b"x ERROR " + b"y" * 391 + b"\n") * 12_000)

    first = follower.read()

    assert first["log_lag_bytes"] > 2_000_000
    assert 0 < first["errors_total"] < 12_000
    assert follower.settle()["errors_total"] == 12_000.0


def test_a_read_whose_time_is_up_goes_on_next_time(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.write_text("x\n")
    rules = LogRules.model_validate({"values": VALUES, "event_start": "^"})

    def read(before: LogState, timeout: int) -> LogState:
        return read_log_events(str(log), rules, before, None, NOW, LogBudget(2 << 20, timeout, 1_000)).result.state

    state = read(LogState(), 1_000)
    with log.open("a") as writer:
        writer.write("x ERROR a\n" * 5)
    state = read(read(state, 0), 1_000)

    assert (state.lines, state.events) == (5, 5)


def test_what_was_written_while_nobody_looked_is_counted_when_it_happened(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.touch()
    follower = Follower(source_of(log))
    follower.now -= 600_000
    follower.read(0)
    log.write_text("2026-12-01 10:51:00,000 ERROR a\n2026-12-01 10:58:00,000 ERROR b\n2026-12-01 10:59:59,000 INFO\n")

    follower.now = NOW
    samples = follower.source.read(json.loads(follower.state), {}, NOW)

    errors = [(t, v) for name, _, t, v in samples if name == "errors_total"]
    at = {value: [t for t, v in errors if v == value] for value in (0.0, 1.0, 2.0)}
    assert NOW - 540_000 <= at[1.0][0] <= NOW - 520_000
    assert NOW - 120_000 <= at[2.0][0] <= NOW - 100_000
    assert errors == sorted(errors)
    assert errors[-1] == (NOW, 2.0)


def test_a_log_that_is_not_there_yet_is_read_from_its_beginning_once_it_is(tmp_path: Path) -> None:
    follower = Follower(source_of(tmp_path / "bot*.log"))
    with pytest.raises(SourceError, match=r"no file is called .*bot\*\.log — "):
        follower.read()

    (tmp_path / "bot.log").write_text(LINES)

    assert counted(follower.settle()) == COUNTED


def test_without_its_folder_a_log_is_down(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no folder .*gone — mend files"):
        Follower(source_of(tmp_path / "gone" / "bot.log")).read()


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bot.log")

    with pytest.raises(SourceError, match=r"FIFO.* — "):
        Follower(source_of(tmp_path / "bot.log")).read()


def test_other_values_go_on_from_the_same_place(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.touch()
    follower = Follower(source_of(log))
    follower.read()
    log.write_text(LINES)
    follower.settle()
    follower.source = source_of(log, values={"errors_total": VALUES["errors_total"], "new_total": {"count": "INFO"}})

    assert counted(follower.read()) == {"errors_total": 2.0, "new_total": 0.0}


def test_a_state_that_another_version_wrote_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "bot.log").write_text("x\n")
    follower = Follower(source_of(tmp_path / "bot.log"))
    follower.state = '{"something": 1}'

    assert follower.read()["errors_total"] == 0.0


def test_what_a_worker_is_asked_and_answers_travels(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.write_text(LINES)
    rules = source_of(log, values={**VALUES, "wins_total": {"count": "^x", "not": "y"}})
    args = (str(log), rules, LogState(files={"files": [], "since": 0}), None, NOW, LogBudget(1 << 21, 5_000, 1_000))

    question = functions.read_question(json.loads(json.dumps(functions.encode(read_log_events, args, None))))
    answer = json.loads(json.dumps(functions.answer(question)))
    read = functions.decode(read_log_events, answer)

    assert question.needed_files is not None
    assert question.needed_files.paths == (log,)
    assert read.result.state.lines == 9
    assert read.result.samples[0].name == "errors_total"
    assert "max_series" not in json.dumps(question.arguments[1].model_dump(mode="json"))


# ─ the entry ─


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"unit": "bot.service"}, "exactly one of files and unit"),
        ({"files": None}, "exactly one of files and unit"),
        ({"files": "/var/log/*/bot.log"}, "name of the file only"),
        ({"files": "/var/log/"}, "name of a file"),
        ({"files": None, "unit": "bot*.service"}, "without wildcards"),
        ({"time": "^[0-9:]+"}, r"\(\?P<time>"),
        ({"time": None, "time_format": "%H:%M:%S"}, "say time, too"),
        ({"time_format": "%Q"}, "no format of a time"),
        ({"zone": "Berlin"}, "no time zone"),
        ({"values": {}}, "at least 1"),
        ({"values": {"a": {}}}, "exactly one of count, sum and last"),
        ({"values": {"a": {"count": "a", "last": "b"}}}, "exactly one of count, sum and last"),
        ({"values": {"a": {"sum": "a ([0-9]+)"}}}, r"\(\?P<value>"),
        ({"values": {"a": {"count": "a", "labels": {"kind": "kind"}}}}, r"\(\?P<kind>"),
        ({"values": {"a": {"count": ""}}}, "every event"),
        ({"values": {"a": {"count": "(?=a)"}}}, "RE2 knows no look-around"),
        ({"values": {"log_lines_total": {"count": "a"}}}, "another name"),
        ({"values": {"up": {"count": "a"}}}, "another name"),
        ({"event_timeout": "2m"}, "too late"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused_with_the_cure(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        source_of("/var/log/bot.log", **fields)


def test_state_belongs_to_a_log_whatever_is_made_of_it() -> None:
    assert source_of("/a.log").identity == source_of("/a.log", values={"b": {"count": "b"}}).identity
    assert source_of("/a.log").identity != source_of("/b.log").identity
    assert source_of("/a.log", user="x").identity != source_of("/a.log").identity


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("1234.5", ".", 1234.5),
        ("1,234.5", ".", 1234.5),
        ("-1 234 567", ".", -1234567.0),
        ("1'234.50", ".", 1234.5),
        ("1_000", ".", 1000.0),
        ("3e-4", ".", 3e-4),
        ("1.234,5", ",", 1234.5),
        ("1234,5", ",", 1234.5),
        ("1.234", ",", 1234.0),
        ("1,5", ".", None),
        ("1.5", ",", None),
        ("1,2345", ".", None),
        ("1.234,5", ".", None),
        ("nan", ".", None),
        ("", ".", None),
        ("9" * 61, ".", None),
    ],
)
def test_a_number_is_read_as_people_write_it(text: str, decimal: Any, expected: float | None) -> None:
    assert parse_number(text, decimal) == expected


def test_a_sum_never_goes_back_and_what_is_no_number_counts_for_nothing(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.touch()
    follower = Follower(source_of(log, time=None, values={"fees_total": {"sum": r"fee (?P<value>\S+)"}}))
    follower.read()
    log.write_text("fee 2\nfee -5\nfee none\nfee 1\n")

    assert follower.settle()["fees_total"] == 3.0


def test_an_event_counts_once_by_what_it_holds_first() -> None:
    rules = LogRules.model_validate({"values": {"a_total": {"count": "a"}, "b_total": {"sum": "(?P<value>[0-9])"}}})
    reading = LogReading(rules, LogState(), NOW - 1_000)
    reading.add(b"a 1 a 2")
    reading.add(b"  a 3")
    samples = LogReading(rules, reading.end().state, NOW).end().samples

    assert [sample.v for sample in samples[:2]] == [1.0, 1.0]


# ─ explained ─


def test_it_is_explained_what_each_expression_found_and_what_comes_nearest_where_it_found_nothing(
    tmp_path: Path,
) -> None:
    log = tmp_path / "bot.log"
    log.write_text(LINES)
    values = {
        **VALUES,
        "rejected_total": {"count": r"order rejected by (?P<venue>\w+)", "labels": {"venue": "venue"}},
        "margin": {"last": r"MARGIN (?P<value>[0-9.]+)"},
        "state": {"last": r"(?P<value>INFO)"},
    }
    source = source_of(log, values=values)
    assert isinstance(source, ExplainedSource)

    found = {match.key: match for match in source.explain(NOW)}

    assert found["time"].found[0] == "2026-12-01 10:59:54,000"
    assert found["values.errors_total.count"].found == (" CRITICAL ", " ERROR ")
    assert found["values.exceptions_total.count"].found == ("\\nbot.MarginError:",)
    assert found["values.equity.last"].found == ("equity=98.5", "equity=100")
    assert found["values.rejected_total.count"].found == ()
    assert "order()" in found["values.rejected_total.count"].nearest[0]
    assert found["values.margin.last"].nearest[-1] == "2026-12-01 10:59:51,000 ERROR no margin"
    assert found["values.state.last"].why == "no number"
    assert all(len(text) <= 160 for match in found.values() for text in (*match.found, *match.nearest))


def test_a_time_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "bot.log").write_text("[10-11-12] a\n")
    source = source_of(tmp_path / "bot.log", time=r"^\[(?P<time>[0-9-]+)\]", time_format="%H:%M:%S", event_start="^X")

    found = {match.key: match for match in source.explain(NOW)}

    assert (found["time"].found, found["time"].why) == (("10-11-12",), "no time of that format")
    assert found["event_start"].found == ()
    assert found["event_start"].nearest == ("[10-11-12] a",)


def test_nothing_is_explained_of_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file is called"):
        source_of(tmp_path / "bot.log").explain(NOW)


# ─ the journal of a unit ─

MakeProgram = Callable[[str], None]


@pytest.fixture
def fake_journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeProgram:
    def become(body: str) -> None:
        for name, text in (("journalctl", body), ("systemctl", "echo LoadState=not-found")):
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return become


def unit_source(**more: Any) -> LogSource:
    return LogSource.model_validate({"type": "log", "unit": "bot.service", "values": VALUES, **more})


def entries(*messages: object, first: int = 1) -> str:
    said = [
        {"__CURSOR": f"i={number}", "__REALTIME_TIMESTAMP": str((NOW + number) * 1_000), "MESSAGE": message}
        for number, message in enumerate(messages, first)
    ]
    return "cat <<'END'\n" + "\n".join(map(json.dumps, said)) + "\nEND"


def test_entries_of_the_journal_are_lines_and_their_time_is_the_journals(fake_journalctl: MakeProgram) -> None:
    follower = Follower(unit_source())
    fake_journalctl(entries("x ERROR before", "equity=5"))
    assert follower.read_timed()["equity"] == (5.0, NOW + 2)
    fake_journalctl(entries("equity=5", first=2))
    assert follower.read(0)["errors_total"] == 0.0

    more = ["x ERROR a", "Traceback (most recent call last):", "  File x", "bot.AError: b", None, "equity=6"]
    fake_journalctl(entries("equity=5", *more, first=2))
    follower.read()
    fake_journalctl(entries("equity=6", first=8))
    found = follower.read_timed()

    assert found["errors_total"] == (1.0, follower.now)
    assert found["exceptions_total{bot.AError}"] == (1.0, follower.now)
    assert found["equity"] == (6.0, NOW + 8)
    assert (found["log_lines_total"][0], found["log_cut_events_total"][0]) == (6.0, 1.0)
    assert found["log_lag_seconds"][0] == 0.0


def test_a_unit_that_systemd_does_not_know_is_misspelt(fake_journalctl: MakeProgram) -> None:
    fake_journalctl("true")

    with pytest.raises(SourceError, match=r"nothing of bot\.service, and systemd does not know it — mend unit"):
        Follower(unit_source()).read()


def test_a_journal_that_may_not_be_read_is_an_error_with_the_cure(fake_journalctl: MakeProgram) -> None:
    fake_journalctl("echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1")

    with pytest.raises(SourceError, match="usermod -aG systemd-journal"):
        Follower(unit_source()).read()


def test_entries_are_explained_as_lines_are(fake_journalctl: MakeProgram) -> None:
    fake_journalctl(entries("equity=5", "equity=6"))

    found = {match.key: match for match in unit_source().explain(NOW)}

    assert found["values.equity.last"].found == ("equity=6", "equity=5")
    assert found["values.errors_total.count"].nearest == ("equity=6", "equity=5")


STORY = """
import json, os, time
from tests.sources.test_log import Follower, unit_source
from tests.support.journald import sync, write
follower = Follower(unit_source())
write(b"x ERROR before"); write(b"equity=5"); sync()
told = []
def look():
    follower.now = int(time.time() * 1000) + 1_000
    told.append(follower.read())
look()
for number in range(30):
    write(b"x ERROR %d" % number)
    if number == 15: os.system("journalctl --rotate")
    if number % 7 == 0: sync(); look()
write(b"x ERROR whole\\nTraceback (most recent call last):\\n  File x\\nbot.AError: y"); write(b"equity=6 \\xff"); sync()
look(); look()
print(json.dumps(told))
"""


@pytest.mark.slow
def test_a_real_journal_is_followed_over_its_rotation() -> None:
    if missing := journald_unavailable():
        pytest.skip(missing)

    told = json.loads(run_beside_journald(STORY).splitlines()[-1])

    assert told[0]["errors_total"] == 0.0
    assert told[0]["equity"] == 5.0
    assert told[-1]["errors_total"] == 31.0
    assert told[-1]["exceptions_total{bot.AError}"] == 1.0
    assert told[-1]["equity"] == 6.0


def test_every_value_says_what_it_is_called_in_a_file() -> None:
    assert LogValue.model_validate({"count": "a", "not": "b"}).not_ == "b"
    assert tail.MAX_LINE <= 2 << 20
