"""When people are told how it goes: each time once, whatever ends the daemon or sets its clock."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MAIN_YAML, RULES_YAML, PipelineHarness
from watchdog.app import summaries
from watchdog.app.steady_clock import SteadyClock
from watchdog.app.summaries import Summaries, decide
from watchdog.core.model import Message, Millis
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.summaries import SummaryRecord

HOUR, DAY = 3_600_000, 86_400_000
EIGHT = 1_700_035_200_000
"""Wed 15 Nov 2023 08:00 UTC."""


@pytest.mark.parametrize(
    ("last", "due", "late", "expected"),
    [
        (None, 0, 0, "begin"),
        (SummaryRecord(-DAY, -DAY), 0, 0, "tell"),
        (SummaryRecord(-DAY, None), 0, 5, "tell"),
        (SummaryRecord(0, 5), 0, 10_000, None),  # it was told
        (SummaryRecord(HOUR, HOUR), 0, 10_000, None),  # the clock was set back
        (SummaryRecord(-DAY, -DAY), 0, 12 * HOUR - 1, "tell"),
        (SummaryRecord(-DAY, -DAY), 0, 12 * HOUR, None),
        (SummaryRecord(-23 * HOUR, -23 * HOUR), 0, 0, "tell"),  # the day on which summer begins
        (SummaryRecord(-HOUR, -HOUR), 0, 0, None),  # the same one at another time of the day
        (SummaryRecord(-HOUR, None), 0, 0, "tell"),  # which was not told yet
        (SummaryRecord(-12 * HOUR, -12 * HOUR), 0, 0, "tell"),
        (SummaryRecord(-20 * DAY, -20 * DAY), 0, 0, "tell"),
    ],
)
def test_a_summary_is_told_once_for_each_time_it_is_due(
    last: SummaryRecord | None, due: Millis, late: Millis, expected: str | None
) -> None:
    assert decide("daily", last, due, due + late) == expected


def test_a_week_is_told_once_on_whichever_day() -> None:
    assert decide("weekly", SummaryRecord(0, 0), DAY, DAY) is None
    assert decide("weekly", SummaryRecord(0, 0), 4 * DAY, 4 * DAY) == "tell"
    assert decide("weekly", SummaryRecord(0, 0), 7 * DAY, 7 * DAY) == "tell"


class Watch:
    """A daemon's part that tells summaries, over a real journal; what they say is put together by nobody, or by its process."""

    def __init__(self, folder: Path, said: str = 'summary: {daily: {at: "08:00"}}\n', *, real: bool = False) -> None:
        self.harness = PipelineHarness(folder, RULES_YAML, MAIN_YAML + said, now=EIGHT - HOUR)
        self.folder, self.real = folder, real
        self.made: list[tuple[str, Millis, Millis]] = []
        self.step_while_made = 0
        self.woken = 0
        self._now = EIGHT - HOUR
        self.open()

    def open(self) -> None:
        self.clock = SteadyClock(lambda: self._now * 1_000_000, lambda: self._now * 1_000_000)
        watch = self

        class Part(Summaries):
            async def _make(self, kind: str, since: Millis, until: Millis, zone: str) -> Message:
                if watch.real:
                    return await super()._make(kind, since, until, zone)  # type: ignore[arg-type]
                watch.made.append((kind, since, until))
                watch.clock.set(watch.step_while_made)
                return Message("info", f"{kind} summary")

        harness, folder = self.harness, self.folder
        self.part = Part(
            *(lambda: replace(harness.config, state=folder), harness.pipeline, harness.journal, self.clock),
            *(lambda _: None, self._status, self._write, self._wake),
        )

    async def _status(self) -> Mapping[str, object]:
        return {"sources": {"bot": {"up": False, "error": "refused"}}}

    async def _write(self) -> None:
        return

    def _wake(self) -> None:
        self.woken += 1

    def at(self, t: Millis) -> list[str]:
        """What is told at that time."""
        before = len(self.titles())
        self._now = t
        asyncio.run(self.part.check())
        return self.titles()[before:]

    def titles(self, channel: str = "chat") -> list[str]:
        return self.harness.message_titles(channel)

    def restart(self) -> None:
        """kill -9 and a new process."""
        self.harness.restart()
        self.open()


def test_nothing_is_told_for_the_time_before_anybody_asked_for_it(tmp_path: Path) -> None:
    watch = Watch(tmp_path)

    assert watch.at(EIGHT - HOUR) == []
    assert watch.at(EIGHT - 1) == []
    assert watch.at(EIGHT) == ["daily summary"]
    assert watch.at(EIGHT + 10_000) == []
    assert watch.made == [("daily", EIGHT - DAY, EIGHT)]
    assert watch.woken == 1


def test_the_next_one_begins_where_the_last_one_ended(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.at(EIGHT - HOUR)
    watch.at(EIGHT + 3_000)
    watch.at(EIGHT + DAY + 7_000)

    assert watch.made[1] == ("daily", EIGHT + 3_000, EIGHT + DAY + 7_000)


def test_a_missed_one_is_told_once_at_the_next_start_unless_it_is_too_late(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.at(EIGHT - HOUR)

    watch.restart()
    assert watch.at(EIGHT + 5 * HOUR) == ["daily summary"]
    watch.restart()
    assert watch.at(EIGHT + 5 * HOUR + 10) == []
    watch.restart()
    assert watch.at(EIGHT + DAY + 13 * HOUR) == []
    assert watch.at(EIGHT + 2 * DAY) == ["daily summary"]
    assert watch.made[-1][1] == EIGHT + 5 * HOUR  # nothing of the day that was not told is lost


def test_a_death_ahead_of_telling_forgets_nothing_and_one_after_it_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(tmp_path)
    watch.at(EIGHT - HOUR)
    with monkeypatch.context() as broken:
        broken.setattr(watch.harness.pipeline.incident_manager.messenger, "enqueue", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):  # it dies between the mark and the message, in whichever order they are
            watch.at(EIGHT)

    watch.restart()
    assert watch.at(EIGHT + 60_000) == ["daily summary"]
    watch.restart()
    assert watch.at(EIGHT + 120_000) == []


def test_a_journal_that_takes_nothing_delays_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(tmp_path)
    watch.at(EIGHT - HOUR)
    with monkeypatch.context() as full:
        full.setattr(watch.harness.journal, "transaction", _unavailable)
        assert watch.at(EIGHT) == []

    assert watch.at(EIGHT + 20_000) == ["daily summary"]


def _unavailable(**_: object) -> None:
    raise JournalUnavailableError("the disk is full", "full")


@pytest.mark.parametrize(("step", "expected"), [(-2 * HOUR, 1), (2 * HOUR, 2), (-400 * DAY, 2), (400 * DAY, 2)])
def test_a_clock_that_is_set_brings_no_second_one_and_loses_none(tmp_path: Path, step: Millis, expected: int) -> None:
    """In the two days from the step on: set back by two hours, eight o'clock comes again at once, and is the same one."""
    watch = Watch(tmp_path)
    watch.at(EIGHT - HOUR)
    watch.at(EIGHT)
    now = EIGHT + HOUR
    with watch.harness.journal.transaction() as tx:
        tx.follow_clock_step(step, now, 0)

    told = [t for minutes in range(0, 48 * 60, 10) for t in watch.at(now + step + minutes * 60_000)]

    assert told == ["daily summary"] * expected


def test_a_clock_that_is_set_while_it_is_put_together_counts(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.at(EIGHT - HOUR)
    watch.step_while_made = -HOUR
    watch.at(EIGHT)

    assert watch.harness.journal.summaries.find_last("daily") == (EIGHT - HOUR, EIGHT - HOUR)


def test_it_goes_to_the_channels_that_it_names_whatever_they_want_to_hear_else(tmp_path: Path) -> None:
    watch = Watch(tmp_path, 'summary: {daily: {at: "08:00"}, notify: [pager]}\n')
    watch.at(EIGHT - HOUR)
    watch.at(EIGHT)

    assert (watch.titles("chat"), watch.titles("pager")) == ([], ["daily summary"])


def test_it_goes_to_those_that_hear_everything_when_none_is_named(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.at(EIGHT - HOUR)
    watch.at(EIGHT)

    assert (watch.titles("chat"), watch.titles("pager")) == (["daily summary"], [])
    (row,) = watch.harness.journal.query("SELECT severity, incident, lines FROM message")
    assert (row["severity"], row["incident"]) == ("info", None)


def test_daily_and_weekly_are_messages_of_their_own(tmp_path: Path) -> None:
    watch = Watch(tmp_path, 'summary: {daily: {at: "08:00"}, weekly: {day: wed, at: "08:00"}}\n')
    watch.at(EIGHT - HOUR)

    assert watch.at(EIGHT) == ["daily summary", "weekly summary"]
    assert watch.at(EIGHT + DAY) == ["daily summary"]
    assert watch.made[1] == ("weekly", EIGHT - 7 * DAY, EIGHT)


def test_a_reload_that_asks_for_it_tells_nothing_of_the_past(tmp_path: Path) -> None:
    watch = Watch(tmp_path, "")
    assert watch.at(EIGHT + HOUR) == []
    watch.harness.reload(RULES_YAML, MAIN_YAML + 'summary: {daily: {at: "08:00"}}\n')

    assert watch.at(EIGHT + HOUR) == []
    assert watch.at(EIGHT + DAY) == ["daily summary"]


@pytest.mark.slow
def test_its_process_tells_what_the_journal_knows(tmp_path: Path) -> None:
    watch = Watch(tmp_path, real=True)
    watch.at(EIGHT - HOUR)
    with watch.harness.journal.transaction() as tx:
        tx.incidents.open_incident("bot", "crit", "drawdown 12 %", EIGHT - 2 * HOUR)

    assert watch.at(EIGHT) == ["Daily summary: bot is not well, 1 incident"]
    (row,) = watch.harness.journal.query("SELECT lines FROM message WHERE channel = 'chat'")
    lines = json.loads(row["lines"])
    assert lines[:3] == [
        "bot: incident 1 for 2 h: drawdown 12 %",
        "cannot be read now: bot (refused)",
        "#1 Wed 06:00 drawdown 12 % — open for 2 h; no plan ran",
    ]
    assert not any("see the log" in line for line in lines)


def test_no_secret_goes_to_its_process(tmp_path: Path) -> None:
    watch = Watch(tmp_path, real=True)
    sent: list[bytes] = []

    async def ask(question: tuple[object, ...]) -> dict[str, object]:
        sent.append(pickle.dumps(question))
        return {"title": "told", "lines": []}

    watch.part._ask_process = ask  # type: ignore[method-assign]
    watch.at(EIGHT - HOUR)
    assert watch.at(EIGHT) == ["told"]
    assert b"drawdown" in sent[0]
    assert b"xoxb" not in sent[0]


@pytest.mark.slow
def test_files_that_are_being_edited_hold_no_summary_back(tmp_path: Path) -> None:
    watch = Watch(tmp_path, real=True)
    watch.at(EIGHT - HOUR)
    (tmp_path / "rules" / "rules.yaml").write_text("kpis: {x: {expr: 'sum('}}\ntargets: {bot: {}}\n")

    assert watch.at(EIGHT) == ["Daily summary: all is well, no incident"]


def test_a_process_that_does_not_end_is_ended_and_what_it_knew_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "hangs"
    fake.write_text(
        '#!/bin/sh\necho \'{"title": "so far", "lines": []}\'\necho $$ > '
        + str(tmp_path / "pid")
        + "\nexec sleep 600\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(fake))
    monkeypatch.setattr(summaries, "_DEADLINE", 3.0)
    watch = Watch(tmp_path, real=True)
    watch.at(EIGHT - HOUR)

    assert watch.at(EIGHT) == ["so far"]
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize("program", ["exit 1", 'echo \'{"problem": "no memory"}\'', "kill -9 $$", "echo nonsense"])
def test_a_process_that_breaks_is_said_and_the_summary_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    fake = tmp_path / "breaks"
    fake.write_text(f"#!/bin/sh\n{program}\n")
    fake.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(fake))
    watch = Watch(tmp_path, real=True)
    watch.at(EIGHT - HOUR)

    assert watch.at(EIGHT) == ["Daily summary: all is well, no incident"]  # what the journal knows
    (row,) = watch.harness.journal.query("SELECT lines FROM message WHERE channel = 'chat'")
    assert "the samples could not be looked at, see the log: trading-watchdog summary shows all of it" in row["lines"]
    assert watch.at(EIGHT + 10_000) == []
