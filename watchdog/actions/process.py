"""A bot that is a plain process: found by its pid file, started detached, stopped for good."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import model_validator

from watchdog.actions import _spawn, child
from watchdog.model import ActionError, Done, Duration, Json, ProcessPlace, State, StepPart, Target

if TYPE_CHECKING:
    import psutil

_Own = Literal["process"]

_MOMENT = 0.05
"""Seconds in which a process that has just been started gets its arguments."""


class Process(StepPart):
    """Restarts, starts or stops the target's process. Whatever happens, there are never two of it."""

    lasting: ClassVar[bool] = False

    do: Literal["process"]
    restart: _Own | None = None
    """The word `process`: the target's process."""
    start: _Own | None = None
    """Likewise."""
    stop: _Own | None = None
    """Likewise."""
    place: ProcessPlace | None = None
    """How the process is found and started; the target's `process` when not said."""
    grace: Duration = 10_000
    """From SIGTERM to SIGKILL."""
    alive_for: Duration = 1_000
    """How long a started process must live before the start counts."""
    timeout: Duration = 60_000
    """For all of it; must be longer than `grace` and `alive_for` together."""

    @model_validator(mode="after")
    def _one_verb(self) -> Process:
        if sum(word is not None for word in (self.restart, self.start, self.stop)) != 1:
            raise ValueError("say one of restart, start, stop")
        if self.grace + self.alive_for >= self.timeout:
            raise ValueError("timeout must be longer than grace and alive_for together")
        return self

    @property
    def _verb(self) -> Literal["restart", "start", "stop"]:
        return "restart" if self.restart is not None else "start" if self.start is not None else "stop"

    def at(self, target: Target) -> Process:
        place = self.place or target.process
        if place is None:
            raise ActionError("the target has no process — give it one (pid_file, command), or name its unit")
        cwd = Path(target.repo or "", place.cwd or "")
        if not cwd.is_absolute():
            raise ActionError("nobody says where the process runs — give it a cwd, or the target a repo")
        return self.model_copy(update={"place": place.model_copy(update={"cwd": str(cwd)})})

    def say(self) -> str:
        return f"{self._verb} the process"

    def before(self, done: Sequence[Done] = ()) -> Json:  # noqa: ARG002
        """``{"pid", "create_time"}`` of the bot as it runs now (seconds since the epoch), or nulls."""
        bot = find(self._there())
        if self._verb != "stop":
            self._startable()  # a bot that cannot be started again is not stopped
        return {"pid": bot and bot.pid, "create_time": bot and bot.create_time}

    def touches(self, before: Json) -> tuple[Path, ...]:  # noqa: ARG002
        return ()

    def preview(self, before: Json) -> str:
        now = "none runs" if before["pid"] is None else f"now {before['pid']}"
        return f"{self.say()} ({now})"

    def apply(self, before: Json, key: str, incident: Json | None = None) -> str:  # noqa: ARG002
        place = self._there()
        deadline = time.monotonic() + self.timeout / 1_000
        bot = find(place)
        if self._verb == "stop":
            return self._end(place, bot) if bot else "no process was running"
        if bot and (self._verb == "start" or self._newer(bot, before)):
            return f"process {bot.pid} runs already"
        self._startable()
        said = f"{self._end(place, bot)}; " if bot else ""
        return f"{said}{self._begin(place, deadline)}"

    def state(self, before: Json) -> State:
        try:
            bot = find(self._there())
        except ActionError:
            return "unknown"
        if self._verb == "stop":
            return "before" if bot else "after"
        if bot is None:
            return "before"
        if self._verb == "start" or self._newer(bot, before):
            return "after"
        return "before" if bot.pid == before["pid"] else "other"

    def _newer(self, bot: Bot, before: Json) -> bool:
        if before["pid"] is None:
            return True
        # The same number is the same process: a clock that was set moves start times, numbers come round only late.
        return bot.pid != before["pid"] and bot.create_time >= float(before["create_time"])

    def _there(self) -> ProcessPlace:
        if self.place is None or self.place.cwd is None:
            raise ActionError("the step was not told where its process is")
        return self.place

    def _startable(self) -> None:
        place = self._there()
        cwd = Path(place.cwd or "")
        if not cwd.is_dir():
            raise ActionError(f"the process cannot be started: there is no folder {cwd}")
        if not pid_file(place).parent.is_dir():
            raise ActionError(f"the process cannot be started: there is no folder for its pid file {pid_file(place)}")
        if _program(place) is None:
            raise ActionError(
                f"the process cannot be started: {' '.join(place.command[:1]) or '(nothing)'} is no program"
            )

    def _begin(self, place: ProcessPlace, deadline: float) -> str:
        log = None if place.log is None else Path(place.cwd or "", place.log)
        written = _size(log)
        order = {
            "command": list(place.command),
            "cwd": place.cwd,
            "pid_file": str(pid_file(place)),
            "seen": _content(place),
            "log": log and str(log),
            "alive_for": self.alive_for / 1_000,
        }
        left = max(deadline - time.monotonic(), 1) * 1_000
        argv = [sys.executable, "-I", "-S", _spawn.__file__, json.dumps(order)]
        ran = child.run(argv, cwd=place.cwd, env=place.env, timeout_ms=left)
        bot = find(place)
        if ran.code == 0 and bot and str(bot.pid) == ran.out.strip():
            return f"process {bot.pid} runs"
        if ran.code == _spawn.FASTER and bot:
            return f"process {bot.pid} runs, started by somebody else"
        end = child.last_lines(_since(log, written))
        why = child.last_lines(ran.err) or "it ended"
        raise ActionError(f"the process did not stay up: {why}{f' — its log: {end}' if end else ''}")

    def _end(self, place: ProcessPlace, bot: Bot) -> str:
        said = self._stop(bot)
        if (_content(place) or "").split()[:1] == [str(bot.pid)]:
            with contextlib.suppress(OSError):
                pid_file(place).unlink()
        return said

    def _stop(self, bot: Bot) -> str:
        """SIGTERM, `grace`, SIGKILL; done when the process and all of its group are gone."""
        deadline = time.monotonic() + self.grace / 1_000
        try:
            leads = os.getpgid(bot.pid) == bot.pid
            os.kill(bot.pid, signal.SIGTERM)
            told = False
            for _ in child.waiting(deadline, every=0.02):
                if not child.living(bot.pid, bot.create_time):
                    rest = list(_group(bot.pid)) if leads else []
                    if not rest:
                        return f"process {bot.pid} ended"
                    if not told:  # its children did not hear the SIGTERM
                        told = True
                        for pid in rest:
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGTERM)
            for pid in {bot.pid, *(_group(bot.pid) if leads else ())}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return f"process {bot.pid} ended"
        except PermissionError:
            raise ActionError(
                f"process {bot.pid} belongs to another user — run the watchdog as that user, or as root"
            ) from None
        for _ in child.waiting(time.monotonic() + 5, every=0.02):
            if not child.living(bot.pid, bot.create_time) and not (leads and any(_group(bot.pid))):
                return f"process {bot.pid} was killed after {self.grace / 1_000:g} s"
        raise ActionError(f"process {bot.pid} does not end, not even by SIGKILL", may_have_happened=True)


class Bot(NamedTuple):
    pid: int
    create_time: float


def pid_file(place: ProcessPlace) -> Path:
    return Path(place.cwd or "", place.pid_file)


def find(place: ProcessPlace) -> Bot | None:
    """The bot that the pid file names, if it lives. Raises ActionError when that process may be something else.

    Numbers are used again. A process that began long after the file was written is another one; one that began with the
    file is the bot; one that is older than the file must look like the bot's command.
    """
    text = _content(place)
    if text is None or not text.strip():
        return None
    word = text.split()[0]
    if not word.isdecimal() or not 1 < int(word) < 2**31 or int(word) == os.getpid():
        raise ActionError(f"{pid_file(place)} holds no process id but {text[:40]!r} — mend or remove it")
    import psutil  # 2 MB: paid by who has such a bot

    try:
        process = psutil.Process(int(word))
        created, status, argv = process.create_time(), process.status(), process.cmdline()
        if not argv and status != psutil.STATUS_ZOMBIE:  # the kernel is just putting the program in its place
            time.sleep(_MOMENT)
            argv = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    except psutil.Error as problem:
        raise ActionError(f"process {word} cannot be looked at: {problem}") from None
    if status == psutil.STATUS_ZOMBIE:
        return None
    try:
        since = created - pid_file(place).stat().st_mtime
    except FileNotFoundError:
        return None
    if abs(since) <= child.SAME_START or _looks_like(process, argv, place, sure=since > 0):
        return Bot(process.pid, created)
    if since > 0:
        return None
    shown = child.last_lines(" ".join(argv), limit=80)
    raise ActionError(
        f"{pid_file(place)} names process {word}, which runs {shown!r} — remove the file if that is not the bot"
    )


def _looks_like(process: psutil.Process, argv: list[str], place: ProcessPlace, *, sure: bool) -> bool:
    """Its arguments are the command's; unless we must be sure, its program or last argument is enough."""
    command = list(place.command)
    if len(command) > 1 and argv[-len(command) + 1 :] == command[1:]:
        return True
    if sure:
        return len(command) == 1 and command[0] in argv
    import psutil

    with contextlib.suppress(psutil.Error):
        program = _program(place)
        if program and os.path.realpath(program) == os.path.realpath(process.exe()):
            return True
    return command[-1] in argv


def _program(place: ProcessPlace) -> str | None:
    """Full path of the command's program, or None when there is none."""
    first = next(iter(place.command), "")
    there = Path(place.cwd or "", first) if "/" in first else first
    return shutil.which(there, path=child.environment(place.env).get("PATH")) if first else None


def _group(leader: int) -> Iterator[int]:
    """Living processes of the leader's group."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid


def _content(place: ProcessPlace) -> str | None:
    try:
        return pid_file(place).read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as problem:
        raise ActionError(f"{pid_file(place)} cannot be read: {problem}") from None


def _size(log: Path | None) -> int:
    try:
        return log.stat().st_size if log else 0
    except OSError:
        return 0


def _since(log: Path | None, written: int) -> str:
    """What the log has got since, its last 4 KiB at most."""
    if log is None:
        return ""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(written, _size(log) - 4_096))
        return file.read(4_096).decode("utf-8", "replace")
    return ""
