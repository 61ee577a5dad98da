"""Pid files: text that somebody wrote, with a number that may be another's by now. What they say is never enough."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from watchdog.core.errors import ActionError, UnreadableError
from watchdog.core.target import ProcessSpec
from watchdog.host.folder import open_folder, resolve
from watchdog.host.process_table import PROC

if TYPE_CHECKING:
    import psutil

_MAX_BYTES = 1024


class PidFile(NamedTuple):
    text: str
    written: float
    """Its time, in seconds since the epoch; whoever owns it may set it."""
    owner: int
    stamp: str = ""
    """Changes when it is written, also with the same number."""
    beside: bool = False
    """The process that it names has the file's folder, or the one above, for its working directory."""

    @property
    def pid(self) -> int | None:
        """None when no process id stands there."""
        word = next(iter(self.text.split()), "")
        return int(word) if re.fullmatch(r"[1-9][0-9]{0,9}", word) else None


def pid_file_path(spec: ProcessSpec) -> Path:
    """Raises ActionError when it is a link that leads out of the process's folder."""
    return resolve(spec.cwd, spec.pid_file)


def find_file(path: Path) -> PidFile | None:
    """`read_file` of one whose name may be a link within its folder; says whether it lies `beside` its process, too."""
    real = resolve(None, str(path))
    file = read_file(real)
    if file is None or file.pid is None:
        return file
    try:
        folder = (PROC / str(file.pid) / "cwd").readlink()
    except OSError:
        return file
    return file._replace(beside=folder in (real.parent, real.parent.parent) and folder != Path("/"))


def read_file(path: Path) -> PidFile | None:
    """What stands there; None when there is no such file. ActionError: it cannot be read, or is a FIFO or the like."""
    try:
        with open_folder(path.parent) as folder, folder.open_file(path.name) as file:
            found = os.fstat(file.fileno())
            text = file.read(_MAX_BYTES).decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise UnreadableError(f"{path} cannot be read: {problem.strerror}") from None
    stamp = f"{found.st_ino} {found.st_mtime_ns}"
    return PidFile(text, found.st_mtime, found.st_uid, stamp)


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
    ensure_not_hidden(pid, Path(psutil.PROCFS_PATH))
    return None


def ensure_not_hidden(pid: int, proc: Path) -> None:
    """Of a number that has no line in /proc's list. ActionError: there is such a process all the same."""
    if (proc / str(pid)).exists():
        return  # a thread's id
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return
    except PermissionError:
        pass
    raise ActionError(
        f"process {pid} exists but /proc does not show it (hidepid) — add the daemon's user to /proc's group"
    )
