"""A watchdog whose rounds fail is ill, and says so."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from watchdog.app.daemon import Daemon
from watchdog.app.failing_rounds import FailingRounds
from watchdog.core.model import Message
from watchdog.journal.errors import JournalUnavailableError
from watchdog.pipeline.pipeline import Pipeline


def test_what_fails_for_ten_seconds_is_ill_and_is_told_once_and_when_it_works_again() -> None:
    now, told = [0.0], list[Message]()
    failing = FailingRounds(told.append, lambda: now[0])
    for second in range(13):
        now[0] = float(second)
        failing.note("round", ValueError("a mistake"))
        failing.note("history", None)
        if second == 9:
            assert (failing.describe_problem(), told) == (None, [])
    ill = failing.describe_problem()
    failing.note("round", None)

    assert ill == "the round has failed for 12 s: ValueError: a mistake"
    assert failing.describe_problem() is None
    assert [(each.severity, each.title) for each in told] == [
        ("crit", "the watchdog is ill: its round fails each time"),
        ("info", "the watchdog is well again: its round works"),
    ]
    assert told[0].opens == told[1].ends != ()  # whoever heard of the one hears of the other


def test_one_that_works_in_between_is_not_ill() -> None:
    now = [0.0]
    failing = FailingRounds(lambda _: None, lambda: now[0])
    for second in range(30):
        now[0] = float(second)
        failing.note("round", ValueError("now and then") if second % 5 else None)

    assert failing.describe_problem() is None


def test_what_the_journal_does_not_take_is_told_at_the_next_failure() -> None:
    now, told, full = [0.0], list[Message](), [True]

    def notify(message: Message) -> None:
        if full[0]:
            raise JournalUnavailableError("full", "full")
        told.append(message)

    failing = FailingRounds(notify, lambda: now[0])
    for second in (0, 10, 11):
        now[0], full[0] = float(second), second < 11
        failing.note("round", ValueError("a mistake"))

    assert len(told) == 1


def test_a_daemon_whose_rounds_break_is_no_good_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(self: Pipeline, now: int, *sources: str) -> set[str]:
        raise ValueError("a mistake")

    monkeypatch.setattr(Pipeline, "judge", judge)
    monkeypatch.setattr("watchdog.app.failing_rounds._ILL_AFTER", 0.5)
    (tmp_path / "watchdog.yaml").write_text("state: state\n")

    async def main() -> str | None:
        daemon = Daemon(tmp_path, {})
        await daemon.start(web=False)
        deadline = time.monotonic() + 60
        try:
            while daemon.health() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            return daemon.health()
        finally:
            await daemon.stop()

    health = asyncio.run(main())

    assert health is not None
    assert health.startswith("the round has failed for ")
    assert health.endswith(": ValueError: a mistake")
