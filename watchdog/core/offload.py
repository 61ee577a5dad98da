"""Blocking work in bounded threads, with a deadline and a latch: one call at a time per key.

``wait_for(to_thread(…))`` alone piles up threads behind a hung call, because the waiting ends at the deadline while
the thread lives on. Here the key stays latched until the thread has really ended.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


_UNLIMITED = 1 << 20
"""Threads; in truth as many as there are keys."""


_NOT_FOR_A_LOOP = (
    StopIteration,
    GeneratorExit,
    SystemExit,
    KeyboardInterrupt,
    asyncio.CancelledError,
    futures.CancelledError,
)


class StillBusyError(Exception):
    """The last call under this key has not ended yet."""


class DeadlineExceededError(Exception):
    """The call went on past its deadline; its thread is left to end by itself and its key stays latched until then."""


def _run(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What may not be raised into a loop (it would end it, or nobody would ever hear of it) is a mistake of the call's."""
    try:
        return call(*args, **kwargs)
    except _NOT_FOR_A_LOOP as odd:
        raise RuntimeError(repr(odd)) from odd


def _answer(future: asyncio.Future[bool], what: bool) -> None:
    if not future.done():
        future.set_result(what)


class ThreadOffload:
    """A pool of threads for one kind of work. A thread is begun when none is idle."""

    def __init__(self, threads: int | None, name: str) -> None:
        """`threads`: at most; None: one for each key, so that no call ever waits for another."""
        self._pool = futures.ThreadPoolExecutor(threads or _UNLIMITED, thread_name_prefix=name)
        self._busy: set[str] = set()

    async def __call__(self, key: str, deadline: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's result. `deadline` in seconds. Raises StillBusyError, DeadlineExceededError, or what the call raises."""
        if key in self._busy:
            raise StillBusyError(key)
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[bool] = loop.create_future()

        def release() -> None:
            self._busy.discard(key)
            _answer(ended, True)

        def tell_loop(_: futures.Future[T]) -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(release)

        context = contextvars.copy_context()
        job = self._pool.submit(context.run, partial(_run, call, *args, **kwargs))
        self._busy.add(key)
        job.add_done_callback(tell_loop)
        timer = loop.call_later(deadline, _answer, ended, False)
        try:
            if not await ended:
                raise DeadlineExceededError(key)
        finally:
            timer.cancel()
            job.cancel()  # what still waits for a thread never begins: nobody would know of it; what runs, runs on
        if job.cancelled():
            raise asyncio.CancelledError  # the pool was closed before it began
        return job.result()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
