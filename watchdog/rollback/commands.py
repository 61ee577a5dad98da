"""The command of a level's `verify:`, run beside everything else: a halt does not wait for its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from watchdog.core.errors import ActionError
from watchdog.core.model import Millis
from watchdog.host import child_process

_GRACE_S = 30.0
"""Seconds beyond its own time that its end may take."""


async def run_verify_command(
    argv: Sequence[str],
    cwd: str | None,
    within: Millis,
    run_in_thread: Callable[..., Awaitable[object]],
    check_interrupted: Callable[[], None],
    inherit: Sequence[str] = (),
) -> str | None:
    """None when it ended with 0, else what it said. `run_in_thread`: (deadline seconds, call, *args) → result;
    `inherit`: variables of our own environment that it gets.

    What `check_interrupted` raises ends the command. Raises ActionError when it could not be started or did not end in
    time: then nobody can tell.
    """
    started: list[tuple[int, float]] = []
    token = child_process.on_child_started.set(lambda pid, at: started.append((pid, at)))
    timeout = max(within, 1_000)
    run = run_in_thread(
        within / 1_000 + _GRACE_S, child_process.run, list(argv), cwd=cwd, inherit=inherit, timeout_ms=timeout
    )
    running = asyncio.ensure_future(run)
    child_process.on_child_started.reset(token)
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=1.0)
            if not running.done():
                check_interrupted()
    except BaseException:
        running.cancel()
        for pid, at in started:
            with contextlib.suppress(ActionError):
                await asyncio.to_thread(child_process.terminate_leftover, pid, at, 0.0)
        raise
    ran = cast(child_process.CommandResult, running.result())
    if ran.exit_code == 0:
        return None
    return f"{' '.join(argv)} ended with {ran.exit_code}: {(ran.stderr or ran.stdout).strip()[-300:]}"
