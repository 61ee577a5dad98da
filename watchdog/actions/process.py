"""A bot that is a plain process: found, started detached, and stopped for good with all that it has begun."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
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
from watchdog.host.bot_identity import BotPlace
from watchdog.host.bot_process import BotFinding, describe_all, find_bot
from watchdog.host.folder import open_folder, resolve
from watchdog.host.pid_file import pid_file_path, read_pid_file
from watchdog.host.process_table import RunningProcess, is_alive, later
from watchdog.host.process_tree import ProcessTree, find_restarter
from watchdog.host.write_trial import try_replacing

_TargetKeyword = Literal["process"]
_MAX_NOTED = 200
"""Processes of one bot that are noted ahead of its end."""
_RESTART_DELAY = 1.5
"""Seconds for which it is looked at whether somebody starts it again, where somebody may."""


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
        if self._operation == "stop" or _find_program(self._bound_spec()) is not None:
            return ()
        return (Finding("missing now", (self._operation,), self._no_program()),)

    def _no_program(self) -> str:
        return f"{' '.join(self._bound_spec().command[:1]) or '(nothing)'} is no program"

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"pid", "begun", "more", "note", "wrong"}``: the bot as it runs now (`RunningProcess`), or nulls; what else of it is
        to be ended, as ``[pid, begun]``; and what is wrong with its pid file, for people and for `find_bot`."""
        finding = find_bot(self._bound_spec())
        if self._operation == "stop":
            bot = finding.bots[0] if finding.bots else None
            if not (finding.bots or finding.parts) and finding.doubtful:
                raise ActionError(_not_surely_gone(finding.doubtful))
        else:
            bot = self._only_bot(finding)
            self._ensure_startable()  # a bot that cannot be started again is not stopped
        more: list[RunningProcess] = []
        if self._operation != "start" and (finding.bots or finding.parts):
            tree = ProcessTree((*finding.bots, *finding.parts), BotPlace(self._bound_spec()))
            more = [each for each in tree.living() if each != bot]
        noted = {"more": [[*each] for each in more[:_MAX_NOTED]], "note": finding.note if bot else ""}
        noted["wrong"] = finding.wrong
        return {"pid": bot and bot.pid, "begun": bot and bot.begun, **noted}

    def rehearse(self, captured: JsonObject) -> None:  # noqa: ARG002
        if self._operation != "stop":
            try_replacing(pid_file_path(self._bound_spec()), 0)

    def preview(self, captured: JsonObject) -> str:
        now = "none runs" if captured["pid"] is None else f"now {captured['pid']}"
        return f"{self.describe()} ({now}{_behind(captured.get('note'), '; ')})"

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        spec = self._bound_spec()
        deadline = time.monotonic() + self.timeout / 1_000
        finding = _find_bot(spec, captured)
        if self._operation == "stop":
            return self._stop_bot(spec, finding, _noted_more(captured))
        bot = self._only_bot(finding)
        if bot and (self._operation == "start" or self._is_newer(bot, captured)):
            return f"process {bot.pid} runs already"
        self._ensure_startable()
        old = bot or finding.parts or any(map(is_alive, _noted_more(captured)))
        said = f"{self._stop_bot(spec, finding, _noted_more(captured))}; " if old else ""
        return f"{said}{self._start_bot(spec, deadline)}"

    def state(self, captured: JsonObject) -> StepState:
        try:
            finding = _find_bot(self._bound_spec(), captured)
            if self._operation == "stop":
                if finding.bots or finding.parts or any(map(is_alive, _noted_more(captured))):
                    return "before"
                return "unknown" if finding.doubtful else "after"
            bot = finding.bot
        except ActionError:
            return "unknown"
        if bot is None:
            return "before"
        if self._operation == "start" or self._is_newer(bot, captured):
            return "after"
        return "before" if bot.pid == captured["pid"] else "other"

    def _only_bot(self, finding: BotFinding) -> RunningProcess | None:
        """Raises ActionError where a start, or another one, could make two of it."""
        bot = finding.bot
        if finding.unreadable:  # a start would write over what is perhaps no pid file
            raise ActionError(finding.note)
        if bot is None and finding.parts and self._operation == "start":
            raise ActionError(f"{describe_all(finding.parts)} is left of it — end that, or say restart")
        return bot

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:
        if self.place is None:
            return ()
        thing = f"process {Path(self.place.cwd or '', self.place.pid_file)}"
        was = None if captured is None else "stopped" if captured["pid"] is None else "running"
        if self._operation != "stop":
            return (LastingChange(thing, None, "the process", was),)
        return (LastingChange(thing, "stopped", "the process", was, "start the bot as usual"),)

    def lasting_states(self, captured: JsonObject) -> Sequence[StepState]:
        finding = _find_bot(self._bound_spec(), captured)
        if not finding.bots and finding.doubtful:
            raise ActionError("; ".join(finding.doubtful))
        runs = bool(finding.bots)
        return ("after" if runs is (self._operation != "stop") else "before",)

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        """What runs of a bot that was stopped, or is not surely gone."""
        if self._operation != "stop":
            return {}
        finding = _find_bot(self._bound_spec(), captured)
        running = [*finding.bots, *finding.parts, *filter(is_alive, _noted_more(captured))]
        if not running and finding.doubtful:
            raise ActionError(_not_surely_gone(finding.doubtful))
        return {change.thing: f"{describe_all(running)} runs" for change in self.lasting_changes(captured) if running}

    def _is_newer(self, bot: RunningProcess, captured: JsonObject) -> bool:
        was = _noted_bot(captured)
        return was is None or (bot.pid != was.pid and later(bot, was))

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
        if _find_program(spec) is None:
            raise ActionError(f"the process cannot be started: {self._no_program()}")
        child_process.child_environment(spec.env, spec.inherit)

    def _start_bot(self, spec: ProcessSpec, deadline: float) -> str:
        # The file first, then the look: a start before the look is found by it, one after it has changed the file.
        seen = read_pid_file(spec)
        if (bot := _only(find_bot(spec).bots)) is not None:
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
        bot = _only(find_bot(spec).bots)
        if ran.exit_code == 0 and bot and str(bot.pid) == ran.stdout.strip():
            return f"process {bot.pid} runs"
        if ran.exit_code == detach.EXIT_ALREADY_STARTED and bot:
            return _started_by_another(bot)
        end = child_process.last_words(_log_since(log, written))
        why = child_process.last_words(ran.stderr) or "it ended"
        raise ActionError(f"the process did not stay up: {why}{f' — its log: {end}' if end else ''}")

    def _stop_bot(self, spec: ProcessSpec, finding: BotFinding, noted: Sequence[RunningProcess] = ()) -> str:
        """Ends it and all that it has begun. `noted`: what was seen of it earlier. Raises ActionError: something is left."""
        left_over = [each for each in noted if is_alive(each)]
        bots = [*finding.bots, *finding.parts] or left_over
        if not bots:
            if finding.doubtful:
                raise ActionError(_not_surely_gone(finding.doubtful))
            return "no process was running"
        restarter = find_restarter(bots)
        tree = ProcessTree(bots, BotPlace(spec), left_over)
        killed = tree.end(self.grace / 1_000)
        names = f"process {bots[0].pid}" if len(bots) == 1 else f"processes {', '.join(str(each.pid) for each in bots)}"
        how = f"{'was' if len(bots) == 1 else 'were'} killed after {self.grace / 1_000:g} s" if killed else "ended"
        said = f"{names} {how}{_behind(finding.note, ' (', ')')}"
        self._remove_pid_file(spec, bots)
        left, again = tree.left(), self._find_left(spec, restarter, finding.wrong)
        if self._operation == "stop":
            left += again
        elif restarter and not again:
            left.append(f"it had been started by {restarter}: see that it is not started twice")
        if not left:
            return said
        said = f"{said}, but {'; '.join(left)}"
        if self._operation == "stop":
            raise ActionError(f"{said} — end by hand what is the bot's")
        return said

    def _find_left(self, spec: ProcessSpec, restarter: str | None, wrong: str) -> list[str]:
        """What runs of the bot after its end, or is not surely gone."""
        for _ in child_process.poll_until(time.monotonic() + (_RESTART_DELAY if restarter else 0)):
            finding = find_bot(spec, wrong=wrong)
            if finding.bots:
                by = f", started again by {restarter}" if restarter else ""
                return [f"{describe_all(finding.bots)} runs{by}"]
        return [*finding.doubtful]

    def _remove_pid_file(self, spec: ProcessSpec, bots: Sequence[RunningProcess]) -> None:
        with contextlib.suppress(OSError, ActionError):
            path = pid_file_path(spec)
            if (read_pid_file(spec) or "").split()[:1] in [[str(bot.pid)] for bot in bots]:
                with open_folder(path.parent) as folder:
                    folder.unlink(path.name)


def _find_program(spec: ProcessSpec) -> str | None:
    """Full path of the program that starts the bot; None when there is none."""
    return child_process.find_program(spec.command[0], spec.cwd, spec.env) if spec.command else None


def _only(bots: Sequence[RunningProcess]) -> RunningProcess | None:
    """Of what surely is the bot. Raises ActionError: it runs more than once."""
    return BotFinding(tuple(bots)).bot


def _find_bot(spec: ProcessSpec, captured: JsonObject) -> BotFinding:
    return find_bot(spec, _noted_bot(captured), str(captured.get("wrong", "")))


def _noted_bot(captured: JsonObject) -> RunningProcess | None:
    """What the journal has of the bot as it ran before the step."""
    return None if captured["pid"] is None else RunningProcess(int(captured["pid"]), str(captured.get("begun", " 0")))


def _noted_more(captured: JsonObject) -> list[RunningProcess]:
    return [RunningProcess(int(pid), str(begun)) for pid, begun in captured.get("more", ())]


def _not_surely_gone(doubtful: Sequence[str]) -> str:
    return f"nobody can tell that it is gone: {'; '.join(doubtful)}"


def _behind(note: str | None, before: str, after: str = "") -> str:
    return f"{before}{note}{after}" if note else ""


def _started_by_another(bot: RunningProcess) -> str:
    return f"process {bot.pid} runs, started by somebody else"


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
