"""Files that changed → another configuration, while everything runs. A bad file changes nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from watchdog.config import Config, FileStats, describe_changes, load, stat_files
from watchdog.core.model import Message, NotifyFunction
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.telemetry import Telemetry, log
from watchdog.documents.problems import ConfigError, Problem
from watchdog.host import sd_notify
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.topics import CONFIGURATION

WATCH_INTERVAL = 2.0
"""Seconds from one check of the files to the next."""
SETTLE_TIME = 1.0
"""Seconds for which they must look the same: an editor, a copy or a checkout writes them one after the other."""
_DEADLINE = 60.0
_MAX_PROBLEMS = 10


class Reloader:
    """Validates everything in a thread, then swaps in one call; says what changed, and once when it is broken."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        config: Config,
        fingerprint: FileStats,
        *,
        offload: ThreadOffload,
        telemetry: Telemetry,
        apply_config: Callable[[Config], None],
        notify: NotifyFunction,
    ) -> None:
        """`fingerprint`: how the files looked ahead of loading `config`."""
        self.config = config
        """What is in force."""
        self.problems: Sequence[Problem] = ()
        """Why the files on disk are not."""
        self._path = path
        self._environ = environ
        self._offload = offload
        self._telemetry = telemetry
        self._apply_config = apply_config
        self._notify = notify
        self._fingerprint = fingerprint
        self._reload_again = False
        self._task: asyncio.Task[None] | None = None

    def request_reload(self) -> None:
        """Reload soon: what SIGHUP does. One that comes while another is at work is done after it."""
        if self._task is not None and not self._task.done():
            self._reload_again = True
            return
        self._task = asyncio.create_task(self.reload(), name="reload")

    @property
    def failed_tasks(self) -> list[asyncio.Task[None]]:
        """The last reload, when it broke half-way."""
        task = self._task
        return [task] if task is not None and task.done() and (task.cancelled() or task.exception()) else []

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def check_files(self) -> None:
        """Checks the files; reloads when they have changed and are at rest."""
        if not self.config.reload.watch or (self._task is not None and not self._task.done()):
            return
        try:
            fingerprint = await self._compute_fingerprint()
            if fingerprint == self._fingerprint:
                return
            while (now := await self._settled_fingerprint()) != fingerprint:
                fingerprint = now
            if fingerprint == self._fingerprint:
                return  # somebody has asked for it meanwhile
        except (DeadlineExceededError, StillBusyError):
            return  # a file system that hangs: what runs, runs on
        log.info("files have changed")
        self.request_reload()

    async def _settled_fingerprint(self) -> FileStats:
        await asyncio.sleep(SETTLE_TIME)
        return await self._compute_fingerprint()

    async def _compute_fingerprint(self) -> FileStats:
        return await self._offload("files", _DEADLINE, stat_files, self._path)

    async def reload(self) -> None:
        """Raises nothing: what cannot be loaded is told."""
        self._reload_again = True
        while self._reload_again:
            self._reload_again = False
            sd_notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
            try:
                await self._reload_once()
            except JournalUnavailableError as error:  # what changes is written down: all of it is done again then
                log.warning("not reloaded yet: %s", error)
                self._reload_again = True
                await asyncio.sleep(SETTLE_TIME)
            sd_notify.notify("READY=1", self.systemd_status())

    async def _reload_once(self) -> None:
        try:
            # Ahead of reading: what is written meanwhile is a change.
            self._fingerprint = await self._compute_fingerprint()
            config = await self._offload("reload", _DEADLINE, self._load)
        except ConfigError as error:
            self._reject(error.problems)
        except (DeadlineExceededError, StillBusyError):
            self._reject([Problem(str(self._path), 1, 1, f"could not be read within {_DEADLINE:g} s")])
        except Exception as bug:  # what runs is worth more than what cannot be loaded
            log.exception("not reloaded")
            self._reject([Problem(str(self._path), 1, 1, f"internal error: {bug!r}")])
        else:
            self._put_in_force(config)

    def _load(self) -> Config:
        return load(self._path, environ=self._environ, uid=os.geteuid())

    def _reject(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            log.error("not reloaded: %s", problem)
        self._telemetry.reload_ok.set(0)
        if not self.problems:  # people are told once, however often it is tried until the files are mended
            count = f"{len(problems)} mistake{'' if len(problems) == 1 else 's'}"
            more = (
                [f"and {len(problems) - _MAX_PROBLEMS} more: trading-watchdog check"]
                if len(problems) > _MAX_PROBLEMS
                else []
            )
            title = f"Configuration not reloaded: {count}; what ran runs on"
            lines = (*map(str, problems[:_MAX_PROBLEMS]), *more)
            self._notify(Message("warn", title, lines, opens=(CONFIGURATION,)))
        self.problems = problems

    def _put_in_force(self, config: Config) -> None:
        old = self.config
        for key in ("state", "web"):
            if getattr(old, key) != getattr(config, key):
                log.warning("%s: has changed; that takes a restart", key)
        # Those were read at the start: what is served and written stays where it is until the next one.
        wanted = replace(config, state=old.state, web=old.web)
        changed = describe_changes(old, config)
        self._apply_config(wanted)
        self.config = wanted
        self._telemetry.reload_ok.set(1)
        log.info("reloaded: %d rules; %s", len(config.rules), "; ".join(changed) or "the files say the same")
        if self.problems:
            title = "Configuration reloaded: the files are in force again"
            self._notify(Message("info", title, tuple(changed), ends=(CONFIGURATION,)))
        self.problems = ()

    def systemd_status(self) -> str:
        """The line that `systemctl status` shows."""
        rules = len(self.config.rules)
        text = f"STATUS=watching {rules} rule{'' if rules == 1 else 's'}"
        return f"{text}; the files on disk have errors and are not in force" if self.problems else text
