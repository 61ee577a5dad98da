"""What is done every so often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from watchdog.app.periodic import run_periodically


class VirtualLoop(asyncio.SelectorEventLoop):
    """Whose time goes on at once to what is waited for."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(test: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        runner.run(test(loop))


async def times_of(loop: VirtualLoop, until: float, work: Callable[[int], float], **options: Any) -> list[float]:
    """When it was called until then; each call takes as long as `work` says of its number."""
    began: list[float] = []

    async def call() -> None:
        began.append(loop.time())
        await asyncio.sleep(work(len(began)))

    task = asyncio.create_task(run_periodically(1.0, call, **options))
    await asyncio.sleep(until)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return began


def test_calls_begin_a_second_apart_however_long_they_take() -> None:
    async def test(loop: VirtualLoop) -> None:
        assert await times_of(loop, 4.5, lambda _: 0.4) == [1, 2, 3, 4]

    run(test)


def test_the_first_one_may_be_made_at_once() -> None:
    async def test(loop: VirtualLoop) -> None:
        assert await times_of(loop, 2.5, lambda _: 0, at_once=True) == [0, 1, 2]

    run(test)


def test_one_that_takes_long_holds_the_next_up_and_those_missed_are_passed_over() -> None:
    async def test(loop: VirtualLoop) -> None:
        assert await times_of(loop, 7.5, lambda n: 3.5 if n == 2 else 0) == [1, 2, 6, 7]

    run(test)


def test_a_call_that_raises_is_said_and_the_next_one_is_made(caplog: pytest.LogCaptureFixture) -> None:
    async def test(_: VirtualLoop) -> None:
        calls = []

        async def fail() -> None:
            calls.append(1)
            raise ValueError("a mistake")

        task = asyncio.create_task(run_periodically(1.0, fail))
        await asyncio.sleep(2.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(calls) == 2

    with caplog.at_level(logging.ERROR, "watchdog"):
        run(test)
    assert caplog.text.count("ValueError: a mistake") == 2
