"""A bot that is a plain process: found by its pid file."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.target import ProcessSpec
from watchdog.host import child_process

if TYPE_CHECKING:
    import psutil

_EXEC_DELAY = 0.05
"""Seconds in which a process that has just been started gets its arguments."""


class RunningProcess(NamedTuple):
    pid: int
    create_time: float


def pid_file_path(spec: ProcessSpec) -> Path:
    return Path(spec.cwd or "", spec.pid_file)


def find_process(spec: ProcessSpec) -> RunningProcess | None:
    """The bot that the pid file names, if it lives. Raises ActionError when that process may be something else.

    Numbers are used again. A process that began long after the file was written is another one; one that began with the
    file is the bot; one that is older than the file must look like the bot's command.
    """
    text = read_pid_file(spec)
    if text is None or not text.strip():
        return None
    word = text.split()[0]
    if not word.isdecimal() or not 1 < int(word) < 2**31 or int(word) == os.getpid():
        raise ActionError(f"{pid_file_path(spec)} holds no process id but {text[:40]!r} — mend or remove it")
    import psutil  # 2 MB: paid by who has such a bot

    try:
        process = psutil.Process(int(word))
        created, status, argv = process.create_time(), process.status(), process.cmdline()
        if not argv and status != psutil.STATUS_ZOMBIE:  # the kernel is just putting the program in its place
            time.sleep(_EXEC_DELAY)
            argv = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    except psutil.Error as problem:
        raise ActionError(f"process {word} cannot be looked at: {problem}") from None
    if status == psutil.STATUS_ZOMBIE:
        return None
    try:
        since = created - pid_file_path(spec).stat().st_mtime
    except FileNotFoundError:
        return None
    if abs(since) <= child_process.START_TIME_TOLERANCE or _matches_command(process, argv, spec, strict=since > 0):
        return RunningProcess(process.pid, created)
    if since > 0:
        return None
    shown = child_process.last_lines(" ".join(argv), limit=80)
    raise ActionError(
        f"{pid_file_path(spec)} names process {word}, which runs {shown!r} — remove the file if that is not the bot"
    )


def _matches_command(process: psutil.Process, argv: list[str], spec: ProcessSpec, *, strict: bool) -> bool:
    """Its arguments are the command's; unless we must be sure, its program or last argument is enough."""
    command = list(spec.command)
    if len(command) > 1 and argv[-len(command) + 1 :] == command[1:]:
        return True
    if strict:
        return len(command) == 1 and command[0] in argv
    import psutil

    with contextlib.suppress(psutil.Error):
        program = find_bot_program(spec)
        if program and os.path.realpath(program) == os.path.realpath(process.exe()):
            return True
    return command[-1] in argv


def find_bot_program(spec: ProcessSpec) -> str | None:
    """Full path of the program that starts the bot; None when there is none."""
    return child_process.find_program(spec.command[0], spec.cwd, spec.env) if spec.command else None


def read_pid_file(spec: ProcessSpec) -> str | None:
    """Its text; None when there is no such file. Raises ActionError."""
    try:
        return pid_file_path(spec).read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as problem:
        raise ActionError(f"{pid_file_path(spec)} cannot be read: {problem}") from None
