"""A bot that is a plain process: found by its pid file, started detached, stopped for good."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import model_validator

from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import Duration, JsonObject, PathField
from watchdog.core.protocols import (
    CompletedStep,
    Finding,
    LastingChange,
    ProgramCall,
    StepState,
)
from watchdog.core.target import ProcessSpec, Target
from watchdog.host import child_process, detach
from watchdog.host.folder import open_folder, resolve
from watchdog.host.pid_file import (
    RunningProcess,
    belongs_to,
    find_bot_program,
    find_process,
    hold_process,
    pid_file_path,
    read_pid_file,
    send_signal,
)
from watchdog.host.write_trial import try_replacing

_TargetKeyword = Literal["process"]


class ProcessAction(ActionModel):
    """Restarts, starts or stops the target's process. Whatever happens, there are never two of it."""

    do: Literal["process"]
    restart: _TargetKeyword | None = None
    """The word `process`: the target's process."""
    start: _TargetKeyword | None = None
    """Likewise."""
    stop: _TargetKeyword | None = None
    """Likewise."""
    place: Annotated[ProcessSpec | None, PathField("repo")] = None
    """How the process is found and started; the target's `process` when not said."""
    grace: Duration = 10_000
    """From SIGTERM to SIGKILL."""
    alive_for: Duration = 1_000
    """How long a started process must live before the start counts."""
    timeout: Duration = 60_000
    """For all of it; must be longer than `grace` and `alive_for` together."""

    @model_validator(mode="after")
    def _validate_one_operation(self) -> ProcessAction:
        if sum(word is not None for word in (self.restart, self.start, self.stop)) != 1:
            raise ValueError("say one of restart, start, stop")
        if self.grace + self.alive_for >= self.timeout:
            raise ValueError("timeout must be longer than grace and alive_for together")
        return self

    @property
    def _operation(self) -> Literal["restart", "start", "stop"]:
        return "restart" if self.restart is not None else "start" if self.start is not None else "stop"

    @property
    def stops_bot(self) -> bool:
        return self._operation == "stop"

    def bind(self, target: Target) -> Self:
        spec = self.place or target.process
        if spec is None and target.unit is not None:
            raise ActionError(f"the target has no process, but a unit — say {{do: systemd, {self._operation}: unit}}")
        if spec is None:
            raise ActionError("the target has no process — give it one (pid_file, command), or name its unit")
        return self.model_copy(update={"place": spec.resolve(target.repo)})

    def describe(self) -> str:
        return f"{self._operation} the process"

    def programs(self) -> tuple[ProgramCall, ...]:
        spec = self._bound_spec()
        return (ProgramCall(spec.command, self._operation, spec.cwd, spec.env, spec.inherit),)

    def findings(self) -> tuple[Finding, ...]:
        if self._operation == "stop" or find_bot_program(self._bound_spec()) is not None:
            return ()
        return (Finding("missing now", (self._operation,), self._no_program()),)

    def _no_program(self) -> str:
        return f"{' '.join(self._bound_spec().command[:1]) or '(nothing)'} is no program"

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"pid", "create_time"}`` of the bot as it runs now (seconds since the epoch), or nulls."""
        bot = find_process(self._bound_spec())
        if self._operation != "stop":
            self._ensure_startable()  # a bot that cannot be started again is not stopped
        return {"pid": bot and bot.pid, "create_time": bot and bot.create_time}

    def rehearse(self, captured: JsonObject) -> None:  # noqa: ARG002
        if self._operation != "stop":
            try_replacing(pid_file_path(self._bound_spec()), 0)

    def preview(self, captured: JsonObject) -> str:
        now = "none runs" if captured["pid"] is None else f"now {captured['pid']}"
        return f"{self.describe()} ({now})"

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        spec = self._bound_spec()
        deadline = time.monotonic() + self.timeout / 1_000
        bot = find_process(spec, _noted_bot(captured))
        if self._operation == "stop":
            return self._stop_bot(spec, bot) if bot else "no process was running"
        if bot and (self._operation == "start" or self._is_newer(bot, captured)):
            return f"process {bot.pid} runs already"
        self._ensure_startable()
        said = f"{self._stop_bot(spec, bot)}; " if bot else ""
        return f"{said}{self._start_bot(spec, deadline)}"

    def state(self, captured: JsonObject) -> StepState:
        try:
            bot = find_process(self._bound_spec(), _noted_bot(captured))
        except ActionError:
            return "unknown"
        if self._operation == "stop":
            return "before" if bot else "after"
        if bot is None:
            return "before"
        if self._operation == "start" or self._is_newer(bot, captured):
            return "after"
        return "before" if bot.pid == captured["pid"] else "other"

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:
        if self.place is None:
            return ()
        thing = f"process {Path(self.place.cwd or '', self.place.pid_file)}"
        was = None if captured is None else "stopped" if captured["pid"] is None else "running"
        if self._operation != "stop":
            return (LastingChange(thing, None, "the process", was),)
        return (LastingChange(thing, "stopped", "the process", was, "start the bot as usual"),)

    def lasting_states(self, captured: JsonObject) -> Sequence[StepState]:
        runs = find_process(self._bound_spec(), _noted_bot(captured)) is not None
        return ("after" if runs is (self._operation != "stop") else "before",)

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        if self._operation != "stop" or (bot := find_process(self._bound_spec(), _noted_bot(captured))) is None:
            return {}
        return {change.thing: f"process {bot.pid} runs" for change in self.lasting_changes(captured)}

    def _is_newer(self, bot: RunningProcess, captured: JsonObject) -> bool:
        if captured["pid"] is None:
            return True
        # The same number is the same process: a clock that was set moves start times, numbers come round only late.
        return bot.pid != captured["pid"] and bot.create_time >= float(captured["create_time"])

    def _bound_spec(self) -> ProcessSpec:
        if self.place is None or self.place.cwd is None:
            raise ActionError("the step was not told where its process is")
        return self.place

    def _ensure_startable(self) -> None:
        spec = self._bound_spec()
        if not Path(spec.cwd or "").is_dir():
            raise ActionError(f"the process cannot be started: there is no folder {spec.cwd}")
        if not pid_file_path(spec).parent.is_dir():
            raise ActionError(
                f"the process cannot be started: there is no folder for its pid file {pid_file_path(spec)}"
            )
        if find_bot_program(spec) is None:
            raise ActionError(f"the process cannot be started: {self._no_program()}")
        child_process.child_environment(spec.env, spec.inherit)

    def _start_bot(self, spec: ProcessSpec, deadline: float) -> str:
        # The file first, then the look: a start before the look is found by it, one after it has changed the file.
        seen = read_pid_file(spec)
        if bot := find_process(spec):
            return _started_by_another(bot)
        log = None if spec.log is None else resolve(spec.cwd, spec.log)
        written = _log_size(log)
        order = {
            "command": list(spec.command),
            "cwd": os.path.realpath(spec.cwd or ""),
            "pid_file": str(pid_file_path(spec)),
            "seen": seen,
            "log": log and str(log),
            "alive_for": self.alive_for / 1_000,
        }
        left = max(deadline - time.monotonic(), 1) * 1_000
        argv = [sys.executable, "-I", "-S", detach.__file__, json.dumps(order)]
        # A Python that lies where the bot's user may not read is one that we are already, and can go on as.
        unreadable = not (os.access(sys.executable, os.X_OK) and os.access(os.__file__, os.R_OK))
        instead = partial(detach.main, order) if unreadable else None
        ran = child_process.run(argv, env=spec.env, inherit=spec.inherit, timeout_ms=left, instead=instead)
        bot = find_process(spec)
        if ran.exit_code == 0 and bot and str(bot.pid) == ran.stdout.strip():
            return f"process {bot.pid} runs"
        if ran.exit_code == detach.EXIT_ALREADY_STARTED and bot:
            return _started_by_another(bot)
        end = child_process.last_lines(_log_since(log, written))
        why = child_process.last_lines(ran.stderr) or "it ended"
        raise ActionError(f"the process did not stay up: {why}{f' — its log: {end}' if end else ''}")

    def _stop_bot(self, spec: ProcessSpec, bot: RunningProcess) -> str:
        try:
            with hold_process(bot.pid) as send:
                now = find_process(spec, bot)  # its number may have become another's before we held it
                if (now is None or now.pid != bot.pid) and child_process.is_running(*bot):
                    raise ActionError(f"{pid_file_path(spec)} was changed by somebody else this very moment")
                said = self._terminate(bot, send)
        except ProcessLookupError:
            said = f"process {bot.pid} ended"
        if (read_pid_file(spec) or "").split()[:1] == [str(bot.pid)]:
            path = pid_file_path(spec)
            with contextlib.suppress(OSError), open_folder(path.parent) as folder:
                folder.unlink(path.name)
        return said

    def _terminate(self, bot: RunningProcess, send: Callable[[signal.Signals], None]) -> str:
        """SIGTERM, `grace`, SIGKILL; done when the process and all of its group are gone. `send`: to the bot itself."""
        deadline = time.monotonic() + self.grace / 1_000
        try:
            leads = os.getpgid(bot.pid) == bot.pid
            send(signal.SIGTERM)
            told = False
            for _ in child_process.poll_until(deadline, every=0.02):
                if not child_process.is_running(bot.pid, bot.create_time):
                    rest = list(_group_members(bot.pid)) if leads else []
                    if not rest:
                        return f"process {bot.pid} ended"
                    if not told:  # its children did not hear the SIGTERM
                        told = True
                        for pid in rest:
                            send_signal(pid, signal.SIGTERM, bot.pid)
            for pid in _group_members(bot.pid) if leads else ():
                send_signal(pid, signal.SIGKILL, bot.pid)
            with contextlib.suppress(ProcessLookupError):
                send(signal.SIGKILL)
        except ProcessLookupError:
            return f"process {bot.pid} ended"
        except PermissionError:
            raise ActionError(
                f"process {bot.pid} belongs to another user — run the watchdog as that user, or as root"
            ) from None
        for _ in child_process.poll_until(time.monotonic() + 5, every=0.02):
            if not child_process.is_running(bot.pid, bot.create_time) and not (leads and any(_group_members(bot.pid))):
                return f"process {bot.pid} was killed after {self.grace / 1_000:g} s"
        raise ActionError(f"process {bot.pid} does not end, not even by SIGKILL", may_have_happened=True)


def _noted_bot(captured: JsonObject) -> RunningProcess | None:
    """What the journal has of the bot as it ran before the step."""
    return None if captured["pid"] is None else RunningProcess(int(captured["pid"]), float(captured["create_time"]))


def _started_by_another(bot: RunningProcess) -> str:
    return f"process {bot.pid} runs, started by somebody else"


def _group_members(leader: int) -> Iterator[int]:
    """Living processes of the leader's group that are the account's own: others are not ours to end."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if (
                os.getpgid(process.pid) == leader
                and process.status() != psutil.STATUS_ZOMBIE
                and belongs_to(process, os.geteuid())
            ):
                yield process.pid


def _log_size(log: Path | None) -> int:
    try:
        return log.lstat().st_size if log else 0
    except OSError:
        return 0


def _log_since(log: Path | None, written: int) -> str:
    """What the log has got since, its last 4 KiB at most."""
    if log is None:
        return ""
    with (
        contextlib.suppress(OSError, ActionError),
        open_folder(log.parent) as folder,
        folder.open_file(log.name) as file,
    ):
        file.seek(max(written, _log_size(log) - 4_096))
        return file.read(4_096).decode("utf-8", "replace")
    return ""
