"""What the sources have brought is judged together where it comes together, and leaves time for all else."""

from __future__ import annotations

import asyncio
import time

import pytest

from watchdog.app import source_judge
from watchdog.app.source_judge import SourceJudge


class Rounds:
    """Who was judged in which round."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.judged: list[tuple[str, ...]] = []
        self._seconds = seconds

    def __call__(self, *sources: str) -> None:
        self.judged.append(sources)
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            pass


def test_who_is_ready_at_once_is_one_round_and_everybody_is_judged_when_told_so() -> None:
    async def main() -> None:
        rounds = Rounds()
        judge = SourceJudge(rounds)

        async def bring(source: str) -> None:
            await judge.judge(source)
            assert any(source in each for each in rounds.judged)

        await asyncio.gather(*(bring(f"bot-{number}") for number in range(100)))
        await bring("late")

        assert rounds.judged == [tuple(f"bot-{number}" for number in range(100)), ("late",)]

    asyncio.run(main())


def test_one_after_another_is_a_round_each() -> None:
    async def main() -> None:
        rounds = Rounds()
        judge = SourceJudge(rounds)
        for _ in range(3):
            await judge.judge("push")

        assert rounds.judged == [("push",)] * 3

    asyncio.run(main())


def test_rounds_that_take_long_leave_time_for_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_judge, "_BURST", 0.0)

    async def main() -> float:
        rounds = Rounds(0.01)
        judge = SourceJudge(rounds)
        began = time.monotonic()
        while len(rounds.judged) < 5:
            await judge.judge("bot")
        return time.monotonic() - began

    assert asyncio.run(main()) > 4 * 0.01 / 0.25


def test_what_a_round_raises_everybody_hears_and_the_next_one_goes_on() -> None:
    def fail_once(*sources: str) -> None:
        judged.append(sources)
        if len(judged) == 1:
            raise LookupError("the journal")

    judged: list[tuple[str, ...]] = []

    async def main() -> None:
        judge = SourceJudge(fail_once)
        heard = await asyncio.gather(judge.judge("a"), judge.judge("b"), return_exceptions=True)
        await judge.judge("c")

        assert [str(each) for each in heard] == ["the journal"] * 2
        assert judged == [("a", "b"), ("c",)]

    asyncio.run(main())


def test_who_stops_waiting_takes_nobody_along_and_after_the_end_none_is_judged() -> None:
    async def main() -> None:
        rounds = Rounds()
        judge = SourceJudge(rounds)
        tasks = [asyncio.create_task(judge.judge(name)) for name in "ab"]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await tasks[1]
        assert rounds.judged == [("a", "b")]

        last = asyncio.create_task(judge.judge("c"))
        await asyncio.sleep(0)
        judge.stop()
        await asyncio.sleep(0)
        assert not last.done()
        last.cancel()
        assert rounds.judged == [("a", "b")]

    asyncio.run(main())
