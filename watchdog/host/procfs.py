"""Finds a process of this machine and measures it, for the source `process`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from watchdog.core.errors import ActionError, SourceError
from watchdog.core.executor import owner_executor
from watchdog.core.model import Millis
from watchdog.core.pattern import Pattern
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.target import ProcessSpec, Target
from watchdog.host import pid_file
from watchdog.host.account import account_by_name
from watchdog.host.bot_process import look_for_bot
from watchdog.host.cgroup import process_limits
from watchdog.host.owned_path import call_owner
from watchdog.host.process_table import RunningProcess, boot_id, read_entry
from watchdog.host.systemctl import SystemctlError, unit_status
from watchdog.host.trust import user_name

SYSTEMCTL_TIMEOUT = 5.0
"""Seconds; systemd answers within milliseconds or is in trouble."""
PID_FILE_SLACK = 2.0
"""Seconds by which a start time, derived from the boot time, may be off against a file's time, unless the clock was set."""
MAX_CMDLINE_BYTES = 16 * 1_024
"""What is looked at of a command line: it may be as long as its owner likes, and everybody's are read."""

Metrics = dict[str, float]


def find_by_unit(unit: str, values: Metrics) -> psutil.Process | None:
    """The unit's main process; what systemd knows about the unit goes into `values`."""
    try:
        status = unit_status(unit, SYSTEMCTL_TIMEOUT * 1_000)
    except SystemctlError as error:
        raise SourceError(f"{error.problem} — use pid_file or cmdline where systemd does not run") from None
    if status.load == "not-found":
        raise SourceError(f"systemd knows no unit {unit} — check unit, and that systemctl status {unit} finds it")
    if status.main_pid is None:
        raise SourceError(f"{unit} has no main process — name a service, such as trading-bot.service")
    values["process_unit_active"] = float(status.active in ("active", "reloading", "refreshing"))
    values["process_unit_result_success"] = float(status.result == "success")
    if status.restarts is not None:
        values["process_restarts_total"] = float(status.restarts)
    return _open_process(status.main_pid) if status.main_pid else None


def find_by_target(target: Target, spec: ProcessSpec, state: SourceState) -> psutil.Process | None:
    """The target's bot, as its owner finds it (`bot_process.find_process`). ActionError: the owner cannot be asked."""
    look = owner_executor.get().call(target, look_for_bot, spec, _known_of(state.get("process")))
    if look.problem:
        raise SourceError(look.problem)
    process = None if look.process is None else _open_process(look.process.pid)
    with suppress(psutil.NoSuchProcess):
        if process is not None and look.process == _known_of(_identity_of(process.pid)):
            return process
    return None


def find_by_pid_file(path: Path, user: str | None, state: SourceState, cache: SourceCache) -> psutil.Process | None:
    """The process the file names, unless a later process has got that number since.

    It must belong to `user`; when that is not said, to the file's owner, and root's files may name anybody's process. One
    that was believed before is so for as long as it lives, whatever becomes of clock and file; `state` remembers it, and
    how the file was when it was first believed: another one with a number that nobody has written since is a stranger.
    """
    try:
        file = _read_pid_file(path, user)
    except ActionError as error:
        raise SourceError(
            f"pid_file {error} — the daemon's user must be able to read it, or the one that user: says"
        ) from None
    known = _known_process(state)
    if file is None:
        return known
    if file.pid is None:
        if known is not None:
            return known
        word = next(iter(file.text.split()), "")
        held = repr(word[:20]) if word else "nothing"
        raise SourceError(f"pid_file {path} holds {held}, not a process id — is this the right file?")
    process = _open_process(file.pid)
    try:
        if process is None or process.status() == psutil.STATUS_ZOMBIE:
            return known
        owner = process.uids().real
        if user is not None:
            if owner != _uid_of(user):
                return None
        elif file.owner not in (0, owner):
            raise SourceError(
                f"pid_file {path} of {user_name(file.owner)} names process {file.pid} of "
                f"{user_name(owner)} — say user: {user_name(owner)} if that is the one"
            )
        if known is not None and known.pid == process.pid:
            return process
        if file.stamp == state.get("pid_file"):
            return known
        if not file.beside and process.create_time() > file.written + PID_FILE_SLACK:
            raise SourceError(
                f"pid_file {path} names process {file.pid}, which is younger than the file: the number may be another's by now, "
                "or the clock was set — let the process of a target say this pid_file and its command, or use cmdline"
            )
    except psutil.NoSuchProcess:
        return known
    cache["pid_file"] = file.stamp  # believed once it is seen to live
    return process


def _known_of(identity: object) -> RunningProcess | None:
    """What `_identity_of` says, as who finds a bot wants it."""
    boot, pid, ticks = (*str(identity).split(" "), "", "")[:3]
    return RunningProcess(int(pid), f"{boot} {ticks}") if pid.isdecimal() and ticks.isdecimal() else None


def _known_process(state: SourceState) -> psutil.Process | None:
    """The process that was measured last, if it lives."""
    known = _known_of(state.get("process"))
    with suppress(psutil.Error):
        if known is not None and _identity_of(known.pid) == state["process"]:
            return psutil.Process(known.pid)
    return None


def _read_pid_file(path: Path, user: str | None) -> pid_file.PidFile | None:
    """By the owner of its folder, unless that is us, or root: in nobody else's folder is a name looked up. Raises ActionError."""
    try:
        whose = None if user is None or user.isdecimal() else user  # a number need not be an account's
        found: pid_file.PidFile | None = call_owner(path.parent, whose, pid_file.find_file, path)
    except FileNotFoundError:
        return None
    return found


def _uid_of(user: str) -> int:
    if user.isdecimal():
        return int(user)
    try:
        return account_by_name(user).uid
    except ActionError:
        raise SourceError(f"there is no user {user} on this machine — mend user") from None


def _open_process(pid: int) -> psutil.Process | None:
    try:
        return pid_file.open_process(pid)
    except ActionError as error:
        raise SourceError(str(error)) from None


def find_by_cmdline(pattern: Pattern, user: str | None, state: SourceState) -> psutil.Process | None:
    """The one process that matches; not this one, no forked worker of it, and no wrapper (sudo, sh -c) around it.

    It must belong to `user`; when that is not said, to whom the first one belonged, which `state` remembers: whoever
    calls a process of his like it changes nothing. While the one that was measured last is on its way out, its wrapper
    and its workers, which are there for a moment longer, are not taken for it.
    """
    uid: int | None = _uid_of(user) if user is not None else state.get("uid")
    found: dict[int, tuple[psutil.Process, str, int]] = {}
    owners: dict[int, int] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended, or may not be looked at
            owner = process.uids().real
            if process.pid == os.getpid() or (uid is not None and owner != uid):
                continue
            words = _command_line(process.pid)  # none of a zombie, of a kernel thread
            if words and pattern.matches(words):
                found[process.pid] = (process, words, process.ppid())
                owners[process.pid] = owner
    firsts = {
        pid: (process, parent)
        for pid, (process, words, parent) in found.items()
        if parent not in found or found[parent][1] != words
    }
    wrappers = {parent for _, parent in firsts.values()}
    dying = _dying_process(state)
    left = [
        process
        for pid, (process, parent) in firsts.items()
        if pid not in wrappers and (dying is None or (pid != dying.parent and parent != dying.pid))
    ]
    if len(left) > 1:
        pids = ", ".join(str(process.pid) for process in left[:5])
        users = sorted({user_name(owners[process.pid]) for process in left})
        cure = "make cmdline narrower, or use unit or pid_file"
        if len(users) > 1:
            cure = f"say user: {' or '.join(users[:5])}"
        raise SourceError(f"{len(left)} processes match {pattern.text!r} ({pids}) — {cure}")
    if left and user is None:
        state["uid"] = owners[left[0].pid]
    return left[0] if left else None


class _Dying(NamedTuple):
    pid: int
    parent: int


def _dying_process(state: SourceState) -> _Dying | None:
    """The process that was measured last, if it has ended and still has its number."""
    known = str(state.get("process", "")).split()
    if len(known) < 2:
        return None
    pid = int(known[-2])
    with suppress(psutil.Error):
        if _identity_of(pid) == state["process"]:
            process = psutil.Process(pid)
            if _ended(process.status(), process.memory_info().vms):
                return _Dying(pid, process.ppid())
    return None


def _command_line(pid: int) -> str:
    """Arguments joined by spaces; empty of a zombie, of a kernel thread, of what may not be seen."""
    try:
        with Path(psutil.PROCFS_PATH, str(pid), "cmdline").open("rb") as file:
            said = file.read(MAX_CMDLINE_BYTES)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    return said.removesuffix(b"\0").decode("utf-8", "replace").replace("\0", " ")


def process_metrics(
    process: psutil.Process | None, children: bool, state: SourceState, cache: SourceCache, now: Millis, name: str
) -> Metrics | None:
    """What the process uses; None when it does not live. Raises SourceError, which calls it by `name`."""
    try:
        return _read_metrics(process, children, state, cache, now) if process is not None else None
    except psutil.NoSuchProcess:  # ended between finding and measuring
        return None
    except (psutil.Error, OSError) as fault:
        raise SourceError(f"{name} cannot be measured ({fault}) — run the daemon as its user") from None


def _read_metrics(
    process: psutil.Process, children: bool, state: SourceState, cache: SourceCache, now: Millis
) -> Metrics | None:
    """What the process uses, or None of one that has ended (`_ended`). Raises psutil's errors.

    `state` keeps the start time that was seen first: the one that is derived from the boot time shifts by a second when
    the clock is set, and a start time that changes would look like a restart.
    """
    identity = _identity_of(process.pid)
    values: Metrics = {}
    with process.oneshot():
        started, times, threads = process.create_time(), process.cpu_times(), process.num_threads()
        with suppress(psutil.AccessDenied):  # another user's process: absent rather than wrong
            values["process_open_fds"] = float(process.num_fds())
        values |= process_limits(process.pid, Path(psutil.PROCFS_PATH))
        memory = process.memory_info()  # last: what still has memory here was whole while all else was read
        if _ended(process.status(), memory.vms):
            return None
    if "pid_file" in cache:
        state["pid_file"] = cache["pid_file"]
    if identity != (known := state.get("process")):
        state["restarts"] = state.get("restarts", 0) + (known is not None)
        state["process"] = identity
        state["started"] = started
    resident, spent = float(memory.rss), times.user + times.system
    if children:
        more_memory, more_time = _memory_and_cpu_of_children(process)
        resident, spent = resident + more_memory, spent + times.children_user + times.children_system + more_time
    values |= {
        "process_threads": float(threads),
        "process_start_time_seconds": state["started"],
        "process_age_seconds": max(0.0, now / 1_000 - state["started"]),
        "process_resident_memory_bytes": resident,
    }
    before = cache.get("cpu")
    if before is not None and before[2] == identity:
        # A child that nobody waited for takes its seconds along; a counter that fell would look like a restart.
        spent = max(spent, before[0])
        if now > before[1]:
            values["process_cpu_ratio"] = (spent - before[0]) / ((now - before[1]) / 1_000)
    cache["cpu"] = (spent, now, identity)
    values["process_cpu_seconds_total"] = spent
    return values


def _ended(status: str, memory_map: float) -> bool:
    """Of a process: whether it is but waited for, or on its way out. The kernel takes the memory first, and with much of it
    the process stands there for a fraction of a second, running, with nothing left to run."""
    return status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) or not memory_map


def _identity_of(pid: int) -> str:
    """Tells one process from every other of this machine, whatever becomes of its clock. Raises psutil.NoSuchProcess."""
    entry = read_entry(pid, Path(psutil.PROCFS_PATH))
    if entry is None:
        raise psutil.NoSuchProcess(pid)
    return f"{boot_id()} {pid} {entry.ticks}"


def _memory_and_cpu_of_children(process: psutil.Process) -> tuple[float, float]:
    """Resident bytes and processor seconds of all descendants; of the ended ones too (their parents inherit the seconds)."""
    memory = spent = 0.0
    for child in process.children(recursive=True):
        try:
            with child.oneshot():
                times = child.cpu_times()
                memory += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system + times.children_user + times.children_system
    return memory, spent
