"""Files that changed → another configuration, while everything runs. A bad file changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from watchdog.app.reload_guard import INSIST, Person, ReloadGuard
from watchdog.config import Config, FileStats, describe_changes, load, stat_files
from watchdog.config.inventory import count
from watchdog.core.model import Message, NotifyFunction
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.telemetry import Telemetry, log
from watchdog.documents.problems import ConfigError, Problem
from watchdog.host import sd_notify
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.requests import Request
from watchdog.journal.topics import CONFIGURATION
from watchdog.pipeline.removals import Removal, summarize

WATCH_INTERVAL = 2.0
"""Seconds from one check of the files to the next."""
SETTLE_TIME = 1.0
"""Seconds for which they must look the same: an editor, a copy or a checkout writes them one after the other."""
_DEADLINE = 60.0
_SEND_TIME = 5.0
"""Seconds for which channels that are taken away, all at once, are waited for: afterwards nobody can be told."""
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
        guard: ReloadGuard,
        apply_config: Callable[[Config, str], None],
        notify: NotifyFunction,
        send_all: Callable[[], Awaitable[None]],
    ) -> None:
        """`fingerprint`: how the files looked ahead of loading `config`. `apply_config(config, removed)`: swaps; `removed` says how
        what is no longer there was taken away. `send_all` sends what is to be told."""
        self.config = config
        """What is in force."""
        self.problems: Sequence[Problem] = ()
        """Why the files on disk are not: mistakes."""
        self.removals: Sequence[Removal] = ()
        """Why they are not: what they would take away."""
        self._path = path
        self._environ = environ
        self._offload = offload
        self._telemetry = telemetry
        self._apply_config = apply_config
        self._notify = notify
        self._guard = guard
        self._send_all = send_all
        self._one_at_a_time = asyncio.Lock()
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
            if self._one_at_a_time.locked():
                return  # by a person: it is looked at again
        except (DeadlineExceededError, StillBusyError):
            return  # a file system that hangs: what runs, runs on
        log.info("files have changed")
        self.request_reload()

    async def _settled_fingerprint(self) -> FileStats:
        await asyncio.sleep(SETTLE_TIME)
        return await self._compute_fingerprint()

    async def _compute_fingerprint(self, who: str = "files") -> FileStats:
        return await self._offload(who, _DEADLINE, stat_files, self._path)

    async def reload(self) -> None:
        """Raises nothing: what cannot be loaded is told."""
        self._reload_again = True
        while self._reload_again:
            self._reload_again = False
            try:
                await self.reload_once()
            except JournalUnavailableError as error:  # what changes is written down: all of it is done again then
                log.warning("not reloaded yet: %s", error)
                self._reload_again = True
                await asyncio.sleep(SETTLE_TIME)

    async def answer(self, request: Request) -> tuple[bool, str]:
        """For who asks on the command line."""
        args = request.args
        ok, lines = await self.reload_once(Person(request.by, args.get("reason") or "", bool(args.get("yes"))))
        return ok, "\n".join(lines)

    async def reload_once(self, person: Person | None = None) -> tuple[bool, list[str]]:
        """For a person, or because files were edited: whether it is in force, and what there is to say about it, a line each.

        Raises JournalUnavailableError when that could not be written down; then nothing has changed.
        """
        async with self._one_at_a_time:
            sd_notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
            try:
                return await self._reload(person)
            finally:
                sd_notify.notify("READY=1", self.systemd_status())

    async def _reload(self, person: Person | None) -> tuple[bool, list[str]]:
        try:
            # Ahead of reading: what is written meanwhile is a change.
            self._fingerprint = await self._compute_fingerprint("reloaded files")
            config, fates = await self._offload("reload", _DEADLINE, self._load)
        except ConfigError as error:
            return self._reject(error.problems)
        except (DeadlineExceededError, StillBusyError):
            return self._reject([Problem(str(self._path), 1, 1, f"could not be read within {_DEADLINE:g} s")])
        except Exception as bug:  # what runs is worth more than what cannot be loaded
            log.exception("not reloaded")
            return self._reject([Problem(str(self._path), 1, 1, f"internal error: {bug!r}")])
        removals = self._guard.find_removals(self.config, config, fates)
        if removals and not (person is not None and person.insists):
            return self._refuse(removals)
        told = self._guard.describe_accepted(self.config, config, fates, removals, person)
        if told is not None and self.config.channels and not config.channels:  # those who hear it last
            self._notify(told)
            told = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._send_all(), _SEND_TIME)
        return self._put_in_force(config, fates, person, told)

    def _load(self) -> tuple[Config, dict[str, str]]:
        return load(self._path, environ=self._environ, uid=os.geteuid()), self._guard.find_fates(self.config)

    def _refuse(self, removals: Sequence[Removal]) -> tuple[bool, list[str]]:
        message = self._guard.refuse(removals)
        self._telemetry.reload_ok.set(0)
        if not self.removals:  # people are told once, as of mistakes
            self._notify(message)
        self.problems, self.removals = (), removals
        return False, [message.title, *message.lines]

    def _reject(self, problems: Sequence[Problem]) -> tuple[bool, list[str]]:
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
        self.problems, self.removals = problems, ()
        return False, ["the files have mistakes:", *map(str, problems)]

    def _put_in_force(
        self, config: Config, fates: Mapping[str, str], person: Person | None, told: Message | None
    ) -> tuple[bool, list[str]]:
        old = self.config
        for key in ("state", "web"):
            if getattr(old, key) != getattr(config, key):
                log.warning("%s: has changed; that takes a restart", key)
        # Those were read at the start: what is served and written stays where it is until the next one.
        wanted = replace(config, state=old.state, web=old.web)
        changed = describe_changes(old, config)
        self._apply_config(wanted, f"by {person.name}" if person is not None else "from the files")
        self._telemetry.reload_ok.set(1)
        result = f"reloaded: {count(len(config.rules), 'rule')}; {'; '.join(changed) or 'the files say the same'}"
        log.info("%s%s", result, f" (asked for by {person.name})" if person is not None else "")
        if self.problems or self.removals:
            title = "Configuration reloaded: the files are in force again"
            self._notify(Message("info", title, tuple(changed), ends=(CONFIGURATION,)))
        if told is not None:
            log.warning("%s: %s", told.title, "; ".join(told.lines))
            self._notify(told)
        self._guard.accept(config, fates, person, self._notify)
        self.config = wanted  # last: when the journal takes nothing of this, all of it is done again
        self.problems = self.removals = ()
        return True, [result, *([] if told is None else [told.title, *told.lines])]

    def describe_files(self) -> list[str]:
        """Why the files on disk are not what runs, a line each."""
        if self.removals:
            lines = [f"the files on disk are not in force: they would take away {each}" for each in self.removals]
            return [*lines, INSIST]
        return [f"the files on disk are not in force: {each}" for each in self.problems]

    def systemd_status(self) -> str:
        """The line that `systemctl status` shows."""
        text = f"STATUS=watching {count(len(self.config.rules), 'rule')}"
        if self.removals:
            return f"{text}; the files on disk would take away {summarize(self.removals)} and are not in force"
        return f"{text}; the files on disk have errors and are not in force" if self.problems else text
