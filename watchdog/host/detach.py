"""Starts a bot that is nobody's child. Run as a script by `actions.process`; standard library only, so that it starts fast.

One argument, JSON: ``command``, ``cwd``, ``pid_file``, ``seen`` (what the pid file held when the caller looked, or
null), ``log`` (or null), ``alive_for`` (seconds). Paths are full and without links: what has become one since, or a
FIFO, or a device, is refused. The environment is the bot's.

This process forks the bot and stays its parent for `alive_for`, so that an early death is told with its exit status;
then it ends, and the bot belongs to init. The bot writes its own pid file before it becomes the bot: at no instant does
a bot run that no pid file names. It and all that it begins carry our mark in their environment. Ends with 0 and the pid on
stdout; 1 and the reason on stderr; 3 when another start was faster.
"""

# pathlib would double the time that this takes to start.
# ruff: noqa: PTH119, PTH120, PTH123

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # not imported: that would double the time, too
    from collections.abc import Mapping
    from typing import Any

EXIT_ALREADY_STARTED = 3


def main(order: Mapping[str, Any]) -> int:
    pid_file = order["pid_file"]
    name = os.path.basename(pid_file)
    try:
        # Held by us and, until it becomes the bot, by our child: a second start waits here, and then sees the pid file
        # of the first.
        folder = _open_folder(os.path.dirname(pid_file))
        fcntl.flock(folder, fcntl.LOCK_EX)
        if _read_text(folder, name) != order["seen"]:
            return _report(f"{pid_file} was written meanwhile: another start was faster", EXIT_ALREADY_STARTED)
        fails, tells = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(fails)
            _exec_program(order, folder, tells)
        os.close(tells)
        problem = b"".join(iter(lambda: os.read(fails, 4096), b""))
        if problem:
            os.waitpid(pid, 0)
            _remove_pid_file(folder, name, pid)
            return _report(problem.decode(), 1)
    except OSError as error:
        return _report(f"{pid_file} cannot be written: {error.strerror}", 1)
    deadline = time.monotonic() + order["alive_for"]
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _remove_pid_file(folder, name, pid)
            code = os.waitstatus_to_exitcode(status)
            return _report(f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}", 1)
        if time.monotonic() >= deadline:
            os.write(1, b"%d\n" % pid)
            return 0
        time.sleep(0.01)


def _exec_program(order: Mapping[str, Any], folder: int, error_pipe: int) -> None:
    """In the child: pid file, streams, then the bot's program. Never returns."""
    what = "nothing"
    try:
        os.setsid()
        _reset_oom_score()
        what = str(order["pid_file"])
        _write_pid_file(folder, os.path.basename(what))
        what = str(order["log"] or os.devnull)
        nothing = os.open(os.devnull, os.O_RDWR)
        out = _open_log(what) if order["log"] else nothing
        for stream, number in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(stream, number)
        what = str(order["cwd"])
        os.fchdir(_open_folder(what))
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores these, and an ignored signal stays so
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.environ["TRADING_WATCHDOG_BOT"] = str(order["pid_file"])  # `host.bot_identity.MARKER`
        command = order["command"]
        assert isinstance(command, list)
        what = str(command[0])
        os.execvp(what, command)  # noqa: S606 - no shell, on purpose
    except OSError as error:
        os.write(error_pipe, f"{what}: {error.strerror}".encode())
    finally:
        os._exit(127)


def _open_folder(path: str) -> int:
    """Walked to without following a link: `host.folder` in little, for nothing of ours can be imported here."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW
    *above, last = [part for part in path.split("/") if part] or ["."]
    folder = os.open("/", os.O_PATH | flags)
    for name in above:
        below = os.open(name, os.O_PATH | flags, dir_fd=folder)
        os.close(folder)
        folder = below
    try:
        return os.open(last, os.O_RDONLY | flags, dir_fd=folder)
    finally:
        os.close(folder)


def _open_log(path: str) -> int:
    """For appending; made when it is not there."""
    folder = _open_folder(os.path.dirname(path))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    log = os.open(os.path.basename(path), flags, 0o644, dir_fd=folder)
    os.close(folder)
    _ensure_regular(log)
    os.set_blocking(log, True)  # as the bot may expect
    return log


def _ensure_regular(file: int) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "is no regular file")


def _reset_oom_score() -> None:
    """A watchdog that is spared when memory runs out (``OOMScoreAdjust=`` of its unit) is so alone: a bot that leaks is not."""
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="utf-8") as file:
            if file.read().startswith("-"):
                file.seek(0)
                file.write("0")
    except OSError:
        pass  # then it is as it was


def _read_text(folder: int, name: str) -> str | None:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        _ensure_regular(file)
        return os.read(file, 1024).decode("ascii", "replace")
    finally:
        os.close(file)


def _write_pid_file(folder: int, name: str) -> None:
    beside = f"{name}.trading-watchdog"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside, dir_fd=folder)  # left over from a crash
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
    os.write(file, b"%d\n" % os.getpid())
    os.fsync(file)
    os.close(file)
    os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)


def _remove_pid_file(folder: int, name: str, pid: int) -> None:
    if _read_text(folder, name) == f"{pid}\n":
        os.unlink(name, dir_fd=folder)


def _report(text: str, code: int) -> int:
    os.write(2, text.encode() + b"\n")
    return code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
