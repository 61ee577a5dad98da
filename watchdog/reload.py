"""Files that changed → another configuration, while everything runs. A bad file changes nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from watchdog import systemd
from watchdog.config import Config, ConfigError, Looks, Problem, changes, load, looks
from watchdog.model import Severity
from watchdog.offload import DeadlineError, Offload, StillBusyError
from watchdog.telemetry import Telemetry, log

WATCH = 2.0
"""Seconds between two looks at the files."""
REST = 1.0
"""Seconds for which they must look the same: an editor, a copy or a checkout writes them one after the other."""
_DEADLINE = 60.0
_FEW = 10


class Reloader:
    """Validates everything in a thread, then swaps in one call; says what changed, and once when it is broken."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        config: Config,
        seen: Looks,
        *,
        offload: Offload,
        telemetry: Telemetry,
        swap: Callable[[Config], None],
        tell: Callable[[Severity, str, Sequence[str]], None],
    ) -> None:
        """`seen`: how the files looked ahead of loading `config`."""
        self.config = config
        """What is in force."""
        self.broken: Sequence[Problem] = ()
        """Why the files on disk are not."""
        self._path = path
        self._environ = environ
        self._offload = offload
        self._telemetry = telemetry
        self._swap = swap
        self._tell = tell
        self._seen = seen
        self._again = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Reload soon: what SIGHUP does. One that comes while another is at work is done after it."""
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = asyncio.create_task(self.reload(), name="reload")

    @property
    def failed(self) -> list[asyncio.Task[None]]:
        """The last reload, when it broke half-way."""
        task = self._task
        return [task] if task is not None and task.done() and (task.cancelled() or task.exception()) else []

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def watch(self) -> None:
        """One look at the files; reloads when they have changed and are at rest."""
        if not self.config.reload.watch or (self._task is not None and not self._task.done()):
            return
        try:
            seen = await self._look()
            if seen == self._seen:
                return
            while (now := await self._rested()) != seen:
                seen = now
            if seen == self._seen:
                return  # somebody has asked for it meanwhile
        except (DeadlineError, StillBusyError):
            return  # a file system that hangs: what runs, runs on
        log.info("files have changed")
        self.ask()

    async def _rested(self) -> Looks:
        await asyncio.sleep(REST)
        return await self._look()

    async def _look(self) -> Looks:
        return await self._offload("files", _DEADLINE, looks, self._path)

    async def reload(self) -> None:
        """Raises nothing: what cannot be loaded is told."""
        self._again = True
        while self._again:
            self._again = False
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
            try:
                self._seen = await self._look()  # ahead of reading: what is written meanwhile is a change
                config = await self._offload("reload", _DEADLINE, self._load)
            except ConfigError as error:
                self._refused(error.problems)
            except (DeadlineError, StillBusyError):
                self._refused([Problem(str(self._path), 1, 1, f"could not be read within {_DEADLINE:g} s")])
            except Exception as bug:  # what runs is worth more than what cannot be loaded
                log.exception("not reloaded")
                self._refused([Problem(str(self._path), 1, 1, f"internal error: {bug!r}")])
            else:
                self._in_force(config)
            systemd.notify("READY=1", self.says())

    def _load(self) -> Config:
        return load(self._path, environ=self._environ, uid=os.geteuid())

    def _refused(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            log.error("not reloaded: %s", problem)
        self._telemetry.reload_ok.set(0)
        if not self.broken:  # people are told once, however often it is tried until the files are mended
            count = f"{len(problems)} mistake{'' if len(problems) == 1 else 's'}"
            more = [f"and {len(problems) - _FEW} more: trading-watchdog check"] if len(problems) > _FEW else []
            self._tell(
                "warn", f"Configuration not reloaded: {count}; what ran runs on", [*map(str, problems[:_FEW]), *more]
            )
        self.broken = problems

    def _in_force(self, config: Config) -> None:
        old = self.config
        for key in ("state", "web"):
            if getattr(old, key) != getattr(config, key):
                log.warning("%s: has changed; that takes a restart", key)
        # Those were read at the start: what is served and written stays where it is until the next one.
        self.config = replace(config, state=old.state, web=old.web)
        changed = changes(old, config)
        self._swap(self.config)
        self._telemetry.reload_ok.set(1)
        log.info("reloaded: %d rules; %s", len(config.rules), "; ".join(changed) or "the files say the same")
        if self.broken:
            self._tell("info", "Configuration reloaded: the files are in force again", changed)
        self.broken = ()

    def says(self) -> str:
        """The line that `systemctl status` shows."""
        rules = len(self.config.rules)
        text = f"STATUS=watching {rules} rule{'' if rules == 1 else 's'}"
        return f"{text}; the files on disk have errors and are not in force" if self.broken else text
