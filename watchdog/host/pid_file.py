"""A bot that is a plain process: found by its pid file, believed by its owner and its command.

A pid file is text that somebody wrote, with times that its owner may set, and a number that may be another's by now.
So what it says is never enough: the process must belong to the account that acts, and run the command or have begun
together with a file of that account's own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.target import ProcessSpec
from watchdog.host import child_process
from watchdog.host.folder import open_folder, resolve
from watchdog.host.trust import user_name

if TYPE_CHECKING:
    import psutil

_EXEC_DELAY = 0.05
"""Seconds in which a process that has just been started gets its arguments."""
_MAX_BYTES = 1024


class RunningProcess(NamedTuple):
    pid: int
    create_time: float


class PidFile(NamedTuple):
    text: str
    written: float
    """Its time, in seconds since the epoch; whoever owns it may set it."""
    owner: int
    public: bool
    """Everybody may write it."""

    @property
    def pid(self) -> int | None:
        """None when no process id stands there."""
        word = next(iter(self.text.split()), "")
        return int(word) if re.fullmatch(r"[1-9][0-9]{0,9}", word) else None


def pid_file_path(spec: ProcessSpec) -> Path:
    """Raises ActionError when it is a link that leads out of the process's folder."""
    return resolve(spec.cwd, spec.pid_file)


def find_file(path: Path) -> PidFile | None:
    """`read_file` of one whose name may be a link within its folder."""
    return read_file(resolve(None, str(path)))


def read_file(path: Path) -> PidFile | None:
    """What stands there; None when there is no such file. ActionError: it cannot be read, or is a FIFO or the like."""
    try:
        with open_folder(path.parent) as folder, folder.open_file(path.name) as file:
            found = os.fstat(file.fileno())
            text = file.read(_MAX_BYTES).decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise ActionError(f"{path} cannot be read: {problem.strerror}") from None
    return PidFile(text, found.st_mtime, found.st_uid, public=bool(found.st_mode & stat.S_IWOTH))


def read_pid_file(spec: ProcessSpec) -> str | None:
    """Its text; None when there is no such file. Raises ActionError."""
    file = read_file(pid_file_path(spec))
    return None if file is None else file.text


def open_process(pid: int) -> psutil.Process | None:
    """The process of that number, and no thread. ActionError when /proc hides it."""
    import psutil  # 2 MB: paid by who has such a bot

    try:
        if psutil.pid_exists(pid):  # Process() alone would take the id of a thread
            return psutil.Process(pid)
    except (psutil.NoSuchProcess, OverflowError):
        return None
    if _is_hidden(pid):
        raise ActionError(
            f"process {pid} exists but /proc does not show it (hidepid) — add the daemon's user to /proc's group"
        )
    return None


def belongs_to(process: psutil.Process, uid: int) -> bool:
    """Whether that user started it, and it has the rights of nobody else. Raises psutil.Error."""
    uids = process.uids()
    return bool(uids.real == uid == uids.effective)


def find_process(spec: ProcessSpec, known: RunningProcess | None = None) -> RunningProcess | None:
    """The bot that the pid file names, if it lives. Raises ActionError when that process may be something else.

    It is the bot when it belongs to who asks, and runs the command or began together with the file, which must be
    that account's own; or when it is `known`: one that the journal noted as the bot. Numbers are used again: one that
    began after the file was written, and is none of these, is another process. One that is older than the file must
    look like the bot's command.
    """
    path = pid_file_path(spec)
    file = read_file(path)
    if file is None or not file.text.strip():
        return None
    pid = file.pid
    if pid is None or not 1 < pid < 2**31 or pid == os.getpid():
        raise ActionError(f"{path} holds no process id but {file.text[:40]!r} — mend or remove it")
    import psutil

    process = open_process(pid)
    if process is None:
        return None
    try:
        created, status, argv = process.create_time(), process.status(), process.cmdline()
        if not argv and status != psutil.STATUS_ZOMBIE:  # the kernel is just putting the program in its place
            time.sleep(_EXEC_DELAY)
            argv = process.cmdline()
        ours, owner = belongs_to(process, os.geteuid()), process.uids().real
    except psutil.NoSuchProcess:
        return None
    except psutil.Error as problem:
        raise ActionError(f"process {pid} cannot be looked at: {problem}") from None
    if status == psutil.STATUS_ZOMBIE:
        return None
    since = created - file.written
    if ours and _is_bot(process, created, argv, file, spec, known):
        return RunningProcess(pid, created)
    if since > child_process.START_TIME_TOLERANCE:
        return None
    if not ours:
        raise ActionError(
            f"{path} names process {pid}, which belongs to {user_name(owner)} and not to {user_name(os.geteuid())} — "
            "remove the file if that is not the bot, else say run_as"
        )
    if since > 0:
        return None
    shown = child_process.last_words(" ".join(argv), limit=80)
    raise ActionError(f"{path} names process {pid}, which runs {shown!r} — remove the file if that is not the bot")


def _is_bot(
    process: psutil.Process,
    created: float,
    argv: list[str],
    file: PidFile,
    spec: ProcessSpec,
    known: RunningProcess | None,
) -> bool:
    """Of a process that belongs to us."""
    if known is not None and process.pid == known.pid and _same_time(created, known.create_time):
        return True
    # One that began with its file was started by us, whatever program it has become since.
    if _same_time(created, file.written) and file.owner == os.geteuid() and not file.public:
        return True
    return _matches_command(process, argv, spec, strict=created > file.written)


def _same_time(one: float, other: float) -> bool:
    return abs(one - other) <= child_process.START_TIME_TOLERANCE


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


@contextlib.contextmanager
def hold_process(pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """Sends signals to the process that has that number now: to that one and no other, whoever gets the number later.

    Look at the process once more while it is held. Raises ProcessLookupError; what is yielded PermissionError, too.
    Linux before 5.3 cannot hold one: there a signal goes to the number.
    """
    try:
        held = os.pidfd_open(pid)
    except OSError as problem:
        if problem.errno != errno.ENOSYS:
            raise
        yield lambda number: os.kill(pid, number)
        return
    try:
        yield lambda number: signal.pidfd_send_signal(held, number)
    finally:
        os.close(held)


def send_signal(pid: int, number: signal.Signals, group: int) -> None:
    """To a process of ours in that process group; to none when it has ended, or is another. Raises PermissionError."""
    import psutil

    with contextlib.suppress(ProcessLookupError, psutil.Error), hold_process(pid) as send:
        if os.getpgid(pid) == group and belongs_to(psutil.Process(pid), os.geteuid()):
            send(number)


def _is_hidden(pid: int) -> bool:
    import psutil

    if Path(psutil.PROCFS_PATH, str(pid)).exists():
        return False  # a thread's id
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
