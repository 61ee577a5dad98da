"""Runs one program: no shell, own session, stdin empty, bounded output, a deadline that holds for its children too."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from watchdog.core import redaction
from watchdog.core.errors import ActionError
from watchdog.core.text import escape
from watchdog.host.account import own_account
from watchdog.host.child_streams import POLL_INTERVAL, HeadBuffer, TailBuffer, communicate, has_exited

on_child_started: ContextVar[Callable[[int, float], None] | None] = ContextVar("on_child", default=None)
"""Told (pid, `start_time`) of every program, right after its start: the journal notes it,
because a child outlives a kill -9 of ours. A context variable, so whoever calls `run` in a pool's thread must carry
the context over (``contextvars.copy_context().run``; ``asyncio.to_thread`` does)."""

MISSING_VARIABLE_CURE = "set it for the service, or take it off inherit"

CLOCK_TOLERANCE = 2.0
"""Seconds by which a start may be off against times of the clock's: the kernel's boot time has whole seconds and follows it."""
_TICK = 0.015
"""Seconds within which the kernel does not tell two starts apart."""
_OLDEST_EPOCH = 1e9
"""No machine has been up for as many seconds: such a start was noted by an older version, in seconds since the epoch."""

_TERM_GRACE = 1.0  # seconds between SIGTERM and SIGKILL: time for git to remove its lock files
_MAX_STDERR = 64 * 1024

_running: dict[int, bool] = {}
"""Programs that are under way → whether they are to leave nothing."""

_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")
"""What a program gets of our environment beside `LC_…`: where things are, and in which language it speaks. No secret
stands there, and nothing that systemd means for us alone (NOTIFY_SOCKET, CREDENTIALS_DIRECTORY)."""


class CommandResult(NamedTuple):
    exit_code: int
    """Exit status; ``-9`` when signal 9 ended it."""
    stdout: str
    stderr: str
    stdout_bytes: bytes
    """stdout, byte for byte."""
    truncated: bool
    """stdout was longer than the limit: only its end is here, or its beginning, when that was asked for."""


def run(
    argv: Sequence[str],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str | None] | None = None,
    inherit: Sequence[str] = (),
    timeout_ms: float,
    input: bytes | None = None,  # noqa: A002 - subprocess's own word
    output_limit: int = 64 * 1024,
    beginning: bool = False,
    instead: Callable[[], int] | None = None,
    leaves_nothing: bool = False,
) -> CommandResult:
    """Run `argv` to its end, in the `child_environment` of `env` and `inherit`.

    `instead` is run in the forked child in place of the program; its result is the exit code.

    `leaves_nothing`: for what only looks, again and again. What it has started in its process group ends with it, and it is
    ended as soon as it has said more than `output_limit` on stdout (`truncated`): whoever reads all or nothing waits for no more.

    Each of stdout and stderr is read to its end, of which the last `output_limit` bytes are kept (64 KiB of stderr at
    most). `beginning`: of stdout the first ones instead, and the program is ended once it has said more, or at the deadline
    when it has said something. At the deadline the whole process group is ended. Raises ActionError: not started
    (`may_have_happened` False) or timed out (True).
    """
    deadline = time.monotonic() + timeout_ms / 1_000
    child = _spawn(argv, cwd, child_environment(env, inherit), input is not None, instead)
    _running[child.pid] = leaves_nothing
    try:
        note, began = on_child_started.get(), start_time(child.pid)
        if note is not None and began is not None:
            note(child.pid, began)
        out = HeadBuffer(output_limit) if beginning else TailBuffer(output_limit)
        err = TailBuffer(min(output_limit, _MAX_STDERR))
        if not communicate(child, input, deadline, out, err, stop_when_full=leaves_nothing or beginning):
            seconds = f"{timeout_ms / 1_000:g} s"
            raise ActionError(
                f"{_display_name(argv)} was ended: not done after {seconds} — see why it hangs, or raise timeout",
                may_have_happened=True,
            )
    finally:
        # What has ended is not reaped yet, so its number, and that of its group, are nobody else's.
        if leaves_nothing or child.poll() is None:
            _terminate_group(child)
        _running.pop(child.pid, None)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
    return CommandResult(child.returncode, _decode(out.data), _decode(err.data), bytes(out.data), out.truncated)


def kill_running(*, all_of_them: bool = True) -> None:
    """Ends the programs that `run` has under way in this process, with their groups; or only those that are to leave nothing.
    For who ends without waiting."""
    for pid in [pid for pid, leaves_nothing in tuple(_running.items()) if leaves_nothing or all_of_them]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def inherited(names: Sequence[str]) -> dict[str, str]:
    """Those variables of our own environment. Raises ActionError when one is not set."""
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ActionError(f"the environment has no {missing[0]} — {MISSING_VARIABLE_CURE}")
    return {name: os.environ[name] for name in names}


@contextlib.contextmanager
def variables(given: Mapping[str, str]) -> Iterator[None]:
    """Our own environment holds these, too: what programs may inherit that are started meanwhile."""
    was = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in was.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def child_environment(env: Mapping[str, str | None] | None = None, inherit: Sequence[str] = ()) -> dict[str, str]:
    """What a program gets: the few variables that every one needs, those of ours that are listed, and `env` over it.

    `inherit`: names in our own environment. None in `env` takes a variable away. Raises ActionError when one is listed
    that is not set.
    """
    listed = inherited(inherit)
    given = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}
    if "HOME" not in given or "USER" not in given:
        who = own_account()
        given = {"HOME": who.home, "USER": who.name, "LOGNAME": who.name} | given
    merged: dict[str, str | None] = {**given, **listed, **(env or {})}
    return {name: value for name, value in merged.items() if value is not None}


def find_program(
    program: str, cwd: str | Path | None = None, env: Mapping[str, str | None] | None = None
) -> str | None:
    """Full path of what `run` would start; None when it is not there, or may not be run."""
    there = Path(cwd or "", program) if "/" in program else program
    return shutil.which(there, path=search_path(env)) if program else None


def search_path(env: Mapping[str, str | None] | None = None) -> str:
    """The PATH by which a program with that `env` is found."""
    return (env or {}).get("PATH") or os.environ.get("PATH") or os.defpath


def ensure_program(program: str, cwd: str | Path | None = None, env: Mapping[str, str | None] | None = None) -> None:
    """Raises ActionError when `run` could not start it."""
    if find_program(program, cwd, env) is None:
        if "/" in program and Path(cwd or "", program).is_file():
            raise ActionError(f"{program} may not be run — give it to the watchdog's user, or chmod +x it")
        raise ActionError(f"there is no program {program}")


_MAX_LOOKED_THROUGH = 20_000
"""Characters at the end of somebody's words, of which a line is shown."""


def last_lines(text: str, lines: int = 3, limit: int = 300) -> str:
    """The end of a program's output as one line for people; empty when it said nothing."""
    kept = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
    joined = " | ".join(map(escape, kept))
    return joined if len(joined) <= limit else "…" + joined[-limit:]


def last_words(text: str, lines: int = 3, limit: int = 300) -> str:
    """`last_lines` of what others wrote (a program, a log, an answer), without what looks like a secret in it."""
    return last_lines(redaction.blot_text(text[-_MAX_LOOKED_THROUGH:]), lines, limit)


def boot_time() -> float:
    """When the kernel began, in seconds since the epoch; whole ones."""
    lines = Path("/proc/stat").read_bytes().decode("latin-1").splitlines()
    return float(next(line for line in lines if line.startswith("btime ")).split()[1])


def start_time(pid: int) -> float | None:
    """When a process began, in seconds since the boot, which no setting of the clock changes; None when there is none."""
    found = _state_and_start(pid)
    return None if found is None else found[1]


def is_running(pid: int, began: float) -> bool:
    """Whether that very process lives, not another one that got its number. A zombie has ended."""
    found = _state_and_start(pid)
    if found is None or found[0] in "ZX":
        return False
    if began > _OLDEST_EPOCH:
        return abs(found[1] + boot_time() - began) <= CLOCK_TOLERANCE
    return abs(found[1] - began) <= _TICK


def _state_and_start(pid: int) -> tuple[str, float] | None:
    try:
        facts = Path(f"/proc/{pid}/stat").read_bytes().decode("latin-1").rpartition(")")[2].split()
    except OSError:
        return None
    return facts[0], int(facts[19]) / os.sysconf("SC_CLK_TCK")


def terminate_leftover(pid: int, began: float, wait_s: float) -> None:
    """At boot: wait up to `wait_s` seconds for a child that outlived us, then end its process group.

    Returns when that process is no more. Raises ActionError when it cannot be ended.
    """
    deadline = time.monotonic() + wait_s
    while is_running(pid, began):
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_INTERVAL)
    else:
        return
    deadline = time.monotonic() + 10
    with contextlib.suppress(ProcessLookupError):
        try:
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
        except PermissionError as problem:
            raise ActionError(f"process {pid}, left over, cannot be ended: {problem}", may_have_happened=True) from None
    while is_running(pid, began):
        if time.monotonic() >= deadline:
            raise ActionError(f"process {pid}, left over, does not end", may_have_happened=True)
        time.sleep(POLL_INTERVAL)


def _spawn(
    argv: Sequence[str],
    cwd: str | Path | None,
    env: dict[str, str],
    with_stdin: bool,
    instead: Callable[[], int] | None,
) -> subprocess.Popen[bytes]:
    if cwd is not None and not Path(cwd).is_dir():
        raise ActionError(f"{_display_name(argv)} was not started: there is no folder {cwd}")
    try:
        child = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=env,
            start_new_session=True,
            stdin=subprocess.PIPE if with_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=None if instead is None else partial(_become_instead, instead, env),  # noqa: PLW1509 - no lock is held
        )
        _reset_oom_score(child.pid)
        return child
    except FileNotFoundError:
        raise ActionError(f"{argv[0]} was not found — install it, or write the program with its full path") from None
    except PermissionError:
        raise ActionError(f"{argv[0]} may not be run — give it to the watchdog's user, or chmod +x it") from None
    except (OSError, ValueError) as problem:
        cure = "a script needs a first line such as #!/bin/sh"
        raise ActionError(f"{argv[0]} was not started: {problem} — {cure}") from None


def _become_instead(instead: Callable[[], int], env: dict[str, str]) -> NoReturn:
    """In the forked child."""
    try:
        os.environ.clear()
        os.environ.update(env)
        os._exit(instead())
    finally:
        os._exit(127)


def _reset_oom_score(pid: int) -> None:
    """A watchdog that is spared when memory runs out (``OOMScoreAdjust=`` of its unit) is so alone: what it starts is not,
    nor a bot that is started by it."""
    path = Path(f"/proc/{pid}/oom_score_adj")
    with contextlib.suppress(OSError):  # then it is as it was, or gone
        if path.read_bytes().startswith(b"-"):  # without a codec, which a confined worker could not load by now
            path.write_bytes(b"0")


def _terminate_group(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL to the whole group. The leader is reaped last, so that its number cannot be another's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + _TERM_GRACE
        while time.monotonic() < deadline and not has_exited(child.pid):
            time.sleep(POLL_INTERVAL / 5)
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(10)  # only a program stuck inside the kernel takes longer


def _decode(kept: bytearray) -> str:
    return kept.decode("utf-8", "replace")


def _display_name(argv: Sequence[str]) -> str:
    return last_lines(" ".join(argv), limit=80)


def poll_until(deadline: float, every: float = POLL_INTERVAL) -> Iterator[None]:
    """``for _ in waiting(deadline)``: goes round until the monotonic `deadline`, at least once."""
    while True:
        yield
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return
        time.sleep(min(every, remaining))
