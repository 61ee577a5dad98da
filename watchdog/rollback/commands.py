"""The command of a level's `verify:`, run beside everything else: a halt does not wait for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from watchdog.core.model import Millis
from watchdog.host import child_process

if TYPE_CHECKING:
    from watchdog.rollback.executor import StepExecutor

_GRACE_S = 30.0
"""Seconds beyond its own time that its end may take."""


def run_command(argv: tuple[str, ...], cwd: str | None, env: dict[str, str], timeout_ms: float) -> tuple[int, str]:
    """(exit status, the end of what it said). Raises ActionError when it could not be started, or did not end in time."""
    ran = child_process.run(argv, cwd=cwd, env=env, timeout_ms=timeout_ms)
    return ran.exit_code, (ran.stderr or ran.stdout).strip()[-300:]


async def run_verify_command(
    argv: Sequence[str],
    within: Millis,
    executor: StepExecutor,
    check_interrupted: Callable[[], None],
    inherit: Sequence[str] = (),
) -> str | None:
    """None when it ended with 0, else what it said. `inherit`: variables of our own environment that it gets.

    What `check_interrupted` raises ends the command. Raises ActionError when it could not be started or did not end in
    time: then nobody can tell.
    """
    started: list[tuple[int, float]] = []
    token = child_process.on_child_started.set(lambda pid, at: started.append((pid, at)))
    timeout = float(max(within, 1_000))
    given = child_process.inherited(inherit)
    run = executor.call_owner(
        within / 1_000 + _GRACE_S, run_command, tuple(argv), executor.location.repo, given, timeout
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
        for pid, at in started[-1:]:  # it is one; whoever says more could hold us up with each
            await asyncio.shield(executor.terminate_child(pid, at))
        raise
    exit_code, said = running.result()
    return None if exit_code == 0 else f"{' '.join(argv)} ended with {exit_code}: {said}"
