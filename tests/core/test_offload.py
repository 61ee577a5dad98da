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

from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload

SHORT_TIMEOUT = 0.02
"""Seconds until a deadline that is meant to pass."""
BEGUN_TIMEOUT = 2.0
"""Seconds until one that is meant to pass, and not ahead of the call's beginning."""
LONG_TIMEOUT = 90.0
"""Seconds until one that is not."""


class HangingCall:
    """A call that hangs until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.release = threading.Event()
        self.call_count = 0

    def __call__(self) -> str:
        self.call_count += 1
        self.started.set()
        assert self.release.wait(LONG_TIMEOUT)
        return "at last"


@contextmanager
def make_pool(threads: int | None = 2, name: str = "tested") -> Iterator[tuple[ThreadOffload, HangingCall]]:
    offload, hang = ThreadOffload(threads, name), HangingCall()
    try:
        yield offload, hang
    finally:
        hang.release.set()
        offload.close()


async def call_until_timeout(offload: ThreadOffload, hang: HangingCall, call: Callable[[], Any] | None = None) -> None:
    """Lets a call under the key "a" run into its deadline."""
    while not hang.started.is_set():  # on a busy machine even the beginning may come too late
        with pytest.raises((DeadlineExceededError, StillBusyError)):
            await offload("a", SHORT_TIMEOUT, call or hang)
        await asyncio.sleep(0)


def alive_threads(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_TIMEOUT):
        while not condition():
            await asyncio.sleep(0.001)


async def wait_until_free(offload: ThreadOffload, key: str) -> None:
    """Waits until the key's last call has really ended."""

    async def tried() -> bool:
        try:
            await offload(key, LONG_TIMEOUT, lambda: None)
        except StillBusyError:
            return False
        return True

    async with asyncio.timeout(LONG_TIMEOUT):
        while not await tried():
            await asyncio.sleep(0.001)


def test_a_call_returns_its_result_or_raises_its_error() -> None:
    def fail(what: str) -> None:
        raise LookupError(what)

    async def main() -> None:
        with make_pool() as (offload, _):
            assert await offload("a", LONG_TIMEOUT, divmod, 17, 5) == (3, 2)
            assert await offload("a", LONG_TIMEOUT, int, "ff", base=16) == 255
            with pytest.raises(LookupError, match="nowhere"):
                await offload("a", LONG_TIMEOUT, fail, "nowhere")
            assert await offload("a", LONG_TIMEOUT, lambda: "free again") == "free again"

    asyncio.run(main())


def test_a_call_runs_in_a_thread_of_the_pool_and_sees_the_callers_context() -> None:
    who = contextvars.ContextVar("who", default="nobody")

    async def main() -> None:
        who.set("me")
        with make_pool() as (offload, _):
            name, seen = await offload("a", LONG_TIMEOUT, lambda: (threading.current_thread().name, who.get()))

        assert name.startswith("tested")
        assert seen == "me"

    asyncio.run(main())


def test_a_hung_call_is_reported_at_its_deadline_and_not_awaited() -> None:
    async def main() -> None:
        with make_pool() as (offload, hang):
            await call_until_timeout(offload, hang)

            assert (hang.call_count, hang.release.is_set()) == (1, False)

    asyncio.run(main())


def test_its_key_stays_latched_until_the_call_has_really_ended() -> None:
    async def main() -> None:
        with make_pool() as (offload, hang):
            await call_until_timeout(offload, hang)
            for _ in range(3):
                with pytest.raises(StillBusyError, match="a"):
                    await offload("a", LONG_TIMEOUT, lambda: "too early")
                await asyncio.sleep(0)
            hang.release.set()
            await wait_until_free(offload, "a")

            assert await offload("a", LONG_TIMEOUT, lambda: "free again") == "free again"

    asyncio.run(main())


def test_a_second_call_under_a_key_at_work_is_refused() -> None:
    async def main() -> None:
        with make_pool() as (offload, hang):
            first = asyncio.create_task(offload("a", LONG_TIMEOUT, hang))
            await wait_until(hang.started.is_set)
            with pytest.raises(StillBusyError):
                await offload("a", LONG_TIMEOUT, lambda: "me too")
            hang.release.set()

            assert await first == "at last"

    asyncio.run(main())


def test_other_keys_go_on_beside_a_hung_one() -> None:
    async def main() -> None:
        with make_pool(2) as (offload, hang):
            await call_until_timeout(offload, hang)

            assert [await offload(key, LONG_TIMEOUT, lambda: "well") for key in "bcd"] == ["well"] * 3

    asyncio.run(main())


def test_threads_do_not_pile_up_behind_a_hung_call() -> None:
    async def main() -> None:
        with make_pool(8, "behind") as (offload, hang):
            refused = 0
            for _ in range(50):
                try:
                    await offload("a", SHORT_TIMEOUT if refused else BEGUN_TIMEOUT, hang)
                except (DeadlineExceededError, StillBusyError):
                    refused += 1

            assert (refused, hang.call_count, alive_threads("behind")) == (50, 1, 1)

    asyncio.run(main())


def test_even_when_everything_hangs_there_are_no_more_threads_than_said() -> None:
    async def main() -> None:
        with make_pool(3, "bounded") as (offload, hang):
            told = await asyncio.gather(
                *(offload(f"key {n}", SHORT_TIMEOUT, hang) for n in range(20)), return_exceptions=True
            )

            assert {type(each) for each in told} == {DeadlineExceededError}
            assert alive_threads("bounded") == 3

    asyncio.run(main())


def test_without_a_bound_no_call_waits_for_another_and_idle_threads_are_used_again() -> None:
    async def main() -> None:
        with make_pool(None, "unbounded") as (offload, hang):
            hung = [asyncio.create_task(offload(f"key {n}", LONG_TIMEOUT, hang)) for n in range(60)]
            await wait_until(lambda: hang.call_count == 60)
            assert [await offload(f"well {n}", LONG_TIMEOUT, lambda: "well") for n in range(100)] == ["well"] * 100
            assert alive_threads("unbounded") < 90  # a thread that has just answered is not idle yet
            hang.release.set()
            assert await asyncio.gather(*hung) == ["at last"] * 60

    asyncio.run(main())


def test_a_call_whose_deadline_passes_before_it_begins_never_begins() -> None:
    """A step of a rollback that was reported as late must not change the world an hour later."""
    happened = []

    async def main() -> None:
        with make_pool(1) as (offload, hang):
            await call_until_timeout(offload, hang)
            with pytest.raises(DeadlineExceededError):
                await offload("b", SHORT_TIMEOUT, lambda: happened.append("b"))
            hang.release.set()
            await wait_until_free(offload, "a")
            await wait_until_free(offload, "b")

    asyncio.run(main())

    assert happened == []


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=LONG_TIMEOUT)
    assert task.cancelled()


def test_a_call_whose_caller_has_gone_keeps_its_key_while_it_runs_and_never_begins_later() -> None:
    happened = []

    async def main() -> None:
        with make_pool(1) as (offload, hang):
            runs = asyncio.create_task(offload("a", LONG_TIMEOUT, hang))
            await wait_until(hang.started.is_set)
            waits = asyncio.create_task(offload("b", LONG_TIMEOUT, lambda: happened.append("b")))
            await asyncio.sleep(0)
            await cancel_and_wait(runs)
            await cancel_and_wait(waits)
            with pytest.raises(StillBusyError):
                await offload("a", LONG_TIMEOUT, lambda: "too early")
            hang.release.set()
            await wait_until_free(offload, "a")

    asyncio.run(main())

    assert happened == []


def test_a_call_that_fails_after_its_deadline_troubles_nobody() -> None:
    noise: list[dict[str, Any]] = []

    def fail(hang: HangingCall) -> None:
        hang()
        raise LookupError("too late")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        with make_pool() as (offload, hang):
            await call_until_timeout(offload, hang, lambda: fail(hang))
            hang.release.set()
            await wait_until_free(offload, "a")
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())

    assert noise == []


def test_a_closed_pool_begins_nothing_and_waits_for_nothing() -> None:
    async def main() -> None:
        with make_pool(1) as (offload, hang):
            first = asyncio.create_task(offload("a", LONG_TIMEOUT, hang))
            await wait_until(hang.started.is_set)
            second = asyncio.create_task(offload("b", LONG_TIMEOUT, lambda: "b"))
            await asyncio.sleep(0)
            offload.close()

            with pytest.raises(asyncio.CancelledError):
                await second
            with pytest.raises(RuntimeError):
                await offload("c", LONG_TIMEOUT, lambda: "c")
            hang.release.set()
            assert await first == "at last"

    asyncio.run(main())


@pytest.mark.parametrize("odd", [StopIteration, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_what_a_loop_cannot_be_told_is_a_mistake_of_the_call_and_leaves_its_key_free(odd: type[BaseException]) -> None:
    def call() -> None:
        raise odd

    async def test(offload: ThreadOffload) -> None:
        with pytest.raises(RuntimeError, match=odd.__name__):
            await offload("a", LONG_TIMEOUT, call)
        assert await offload("a", LONG_TIMEOUT, lambda: 1) == 1

    with make_pool() as (offload, _):
        asyncio.run(test(offload))
