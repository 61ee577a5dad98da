"""Starts a bot that is nobody's child. Run as a script by `actions.process`; standard library only, so that it starts fast.

One argument, JSON: ``command``, ``cwd``, ``pid_file``, ``seen`` (what the pid file held when the caller looked, or
null), ``log`` (or null), ``alive_for`` (seconds). The environment is the bot's.

This process forks the bot and stays its parent for `alive_for`, so that an early death is told with its exit status;
then it ends, and the bot belongs to init. The bot writes its own pid file before it becomes the bot: at no instant does
a bot run that no pid file names. Ends with 0 and the pid on stdout; 1 and the reason on stderr; 3 when another start
was faster.
"""

# pathlib would double the time that this takes to start.
# ruff: noqa: PTH104, PTH108, PTH120, PTH123

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time

EXIT_ALREADY_STARTED = 3


def main() -> int:
    order = json.loads(sys.argv[1])
    pid_file = order["pid_file"]
    try:
        # Held by us and, until it becomes the bot, by our child: a second start waits here, and then sees the pid file
        # of the first.
        folder = os.open(os.path.dirname(pid_file), os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        if _read_text(pid_file) != order["seen"]:
            return _report(f"{pid_file} was written meanwhile: another start was faster", EXIT_ALREADY_STARTED)
        fails, tells = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(fails)
            _exec_program(order, tells)
        os.close(tells)
        problem = b"".join(iter(lambda: os.read(fails, 4096), b""))
        if problem:
            os.waitpid(pid, 0)
            _remove_pid_file(pid_file, pid)
            return _report(problem.decode(), 1)
    except OSError as error:
        return _report(f"{pid_file} cannot be written: {error.strerror}", 1)
    deadline = time.monotonic() + order["alive_for"]
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _remove_pid_file(pid_file, pid)
            code = os.waitstatus_to_exitcode(status)
            return _report(f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}", 1)
        if time.monotonic() >= deadline:
            os.write(1, b"%d\n" % pid)
            return 0
        time.sleep(0.01)


def _exec_program(order: dict[str, object], error_pipe: int) -> None:
    """In the child: pid file, streams, then the bot's program. Never returns."""
    what = "nothing"
    try:
        os.setsid()
        _reset_oom_score()
        what = str(order["pid_file"])
        beside = f"{what}.trading-watchdog"
        with open(beside, "w") as file:
            file.write(f"{os.getpid()}\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, what)
        what = str(order["log"] or os.devnull)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        out = os.open(what, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        what = str(order["cwd"])
        os.chdir(what)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores these, and an ignored signal stays so
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        command = order["command"]
        assert isinstance(command, list)
        what = str(command[0])
        os.execvp(what, command)  # noqa: S606 - no shell, on purpose
    except OSError as error:
        os.write(error_pipe, f"{what}: {error.strerror}".encode())
    finally:
        os._exit(127)


def _reset_oom_score() -> None:
    """When memory runs out the watchdog is spared (``OOMScoreAdjust=`` of its unit); a bot that leaks must not be."""
    try:
        if (_read_text("/proc/self/oom_score_adj") or "0").startswith("-"):
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("0")
    except OSError:
        pass  # then it is as it was


def _read_text(pid_file: str) -> str | None:
    try:
        with open(pid_file) as file:
            return file.read()
    except FileNotFoundError:
        return None


def _remove_pid_file(pid_file: str, pid: int) -> None:
    if _read_text(pid_file) == f"{pid}\n":
        os.unlink(pid_file)


def _report(text: str, code: int) -> int:
    os.write(2, text.encode() + b"\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
