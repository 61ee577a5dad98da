"""Blocking work in threads: a hung call is reported, and costs one thread and its own key."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from watchdog.offload import DeadlineError, Offload, StillBusyError

SOON = 0.02
"""Seconds until a deadline that is meant to pass."""
LONG = 30.0
"""Seconds until one that is not."""


class Hang:
    """A call that hangs until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.let_go = threading.Event()
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        self.began.set()
        assert self.let_go.wait(LONG)
        return "at last"


@contextmanager
def pool(threads: int = 2, name: str = "tested") -> Iterator[tuple[Offload, Hang]]:
    offload, hang = Offload(threads, name), Hang()
    try:
        yield offload, hang
    finally:
        hang.let_go.set()
        offload.close()


async def hung(offload: Offload, hang: Hang, call: Callable[[], Any] | None = None) -> None:
    """Lets a call under the key "a" run into its deadline."""
    while not hang.began.is_set():  # on a busy machine even the beginning may come too late
        with pytest.raises((DeadlineError, StillBusyError)):
            await offload("a", SOON, call or hang)
        await asyncio.sleep(0)


def alive(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not so():
            await asyncio.sleep(0.001)


async def free(offload: Offload, key: str) -> None:
    """Waits until the key's last call has really ended."""

    async def tried() -> bool:
        try:
            await offload(key, LONG, lambda: None)
        except StillBusyError:
            return False
        return True

    async with asyncio.timeout(LONG):
        while not await tried():
            await asyncio.sleep(0.001)


def test_a_call_returns_its_result_or_raises_its_error() -> None:
    def fail(what: str) -> None:
        raise LookupError(what)

    async def main() -> None:
        with pool() as (offload, _):
            assert await offload("a", LONG, divmod, 17, 5) == (3, 2)
            assert await offload("a", LONG, int, "ff", base=16) == 255
            with pytest.raises(LookupError, match="nowhere"):
                await offload("a", LONG, fail, "nowhere")
            assert await offload("a", LONG, lambda: "free again") == "free again"

    asyncio.run(main())


def test_a_call_runs_in_a_thread_of_the_pool_and_sees_the_callers_context() -> None:
    who = contextvars.ContextVar("who", default="nobody")

    async def main() -> None:
        who.set("me")
        with pool() as (offload, _):
            name, seen = await offload("a", LONG, lambda: (threading.current_thread().name, who.get()))

        assert name.startswith("tested")
        assert seen == "me"

    asyncio.run(main())


def test_a_hung_call_is_reported_at_its_deadline_and_not_awaited() -> None:
    async def main() -> None:
        with pool() as (offload, hang):
            await hung(offload, hang)

            assert (hang.times, hang.let_go.is_set()) == (1, False)

    asyncio.run(main())


def test_its_key_stays_latched_until_the_call_has_really_ended() -> None:
    async def main() -> None:
        with pool() as (offload, hang):
            await hung(offload, hang)
            for _ in range(3):
                with pytest.raises(StillBusyError, match="a"):
                    await offload("a", LONG, lambda: "too early")
                await asyncio.sleep(0)
            hang.let_go.set()
            await free(offload, "a")

            assert await offload("a", LONG, lambda: "free again") == "free again"

    asyncio.run(main())


def test_a_second_call_under_a_key_at_work_is_refused() -> None:
    async def main() -> None:
        with pool() as (offload, hang):
            first = asyncio.create_task(offload("a", LONG, hang))
            await until(hang.began.is_set)
            with pytest.raises(StillBusyError):
                await offload("a", LONG, lambda: "me too")
            hang.let_go.set()

            assert await first == "at last"

    asyncio.run(main())


def test_other_keys_go_on_beside_a_hung_one() -> None:
    async def main() -> None:
        with pool(2) as (offload, hang):
            await hung(offload, hang)

            assert [await offload(key, LONG, lambda: "well") for key in "bcd"] == ["well"] * 3

    asyncio.run(main())


def test_threads_do_not_pile_up_behind_a_hung_call() -> None:
    async def main() -> None:
        with pool(8, "behind") as (offload, hang):
            refused = 0
            for _ in range(50):
                try:
                    await offload("a", SOON, hang)
                except (DeadlineError, StillBusyError):
                    refused += 1

            assert (refused, hang.times, alive("behind")) == (50, 1, 1)

    asyncio.run(main())


def test_even_when_everything_hangs_there_are_no_more_threads_than_said() -> None:
    async def main() -> None:
        with pool(3, "bounded") as (offload, hang):
            told = await asyncio.gather(*(offload(f"key {n}", SOON, hang) for n in range(20)), return_exceptions=True)

            assert {type(each) for each in told} == {DeadlineError}
            assert alive("bounded") == 3

    asyncio.run(main())


def test_a_call_whose_deadline_passes_before_it_begins_never_begins() -> None:
    """A step of a rollback that was reported as late must not change the world an hour later."""
    happened = []

    async def main() -> None:
        with pool(1) as (offload, hang):
            await hung(offload, hang)
            with pytest.raises(DeadlineError):
                await offload("b", SOON, lambda: happened.append("b"))
            hang.let_go.set()
            await free(offload, "a")
            await free(offload, "b")

    asyncio.run(main())

    assert happened == []


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=LONG)
    assert task.cancelled()


def test_a_call_whose_caller_has_gone_keeps_its_key_while_it_runs_and_never_begins_later() -> None:
    happened = []

    async def main() -> None:
        with pool(1) as (offload, hang):
            runs = asyncio.create_task(offload("a", LONG, hang))
            await until(hang.began.is_set)
            waits = asyncio.create_task(offload("b", LONG, lambda: happened.append("b")))
            await asyncio.sleep(0)
            await cancelled(runs)
            await cancelled(waits)
            with pytest.raises(StillBusyError):
                await offload("a", LONG, lambda: "too early")
            hang.let_go.set()
            await free(offload, "a")

    asyncio.run(main())

    assert happened == []


def test_a_call_that_fails_after_its_deadline_troubles_nobody() -> None:
    noise: list[dict[str, Any]] = []

    def fail(hang: Hang) -> None:
        hang()
        raise LookupError("too late")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        with pool() as (offload, hang):
            await hung(offload, hang, lambda: fail(hang))
            hang.let_go.set()
            await free(offload, "a")
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())

    assert noise == []


def test_a_closed_pool_begins_nothing_and_waits_for_nothing() -> None:
    async def main() -> None:
        with pool(1) as (offload, hang):
            first = asyncio.create_task(offload("a", LONG, hang))
            await until(hang.began.is_set)
            second = asyncio.create_task(offload("b", LONG, lambda: "b"))
            await asyncio.sleep(0)
            offload.close()

            with pytest.raises(asyncio.CancelledError):
                await second
            with pytest.raises(RuntimeError):
                await offload("c", LONG, lambda: "c")
            hang.let_go.set()
            assert await first == "at last"

    asyncio.run(main())
