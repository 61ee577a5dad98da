"""Processes as /proc shows them; which one is which, whatever becomes of the clock; and signals to that very one."""

# All of them are read many times a second while a bot is ended, and pathlib would double what that takes.
# ruff: noqa: PTH115, PTH123

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import ActionError

PROC = Path("/proc")
_MAX_BYTES = 256 * 1024
"""What is read of a command line, and of an environment."""


class RunningProcess(NamedTuple):
    """One process, and no other one that gets its number, on this boot or a later one."""

    pid: int
    begun: str
    """``BOOT TICKS``: which boot, and when since then. Whoever sets the clock changes neither."""


class ProcessEntry(NamedTuple):
    """A line of the kernel's table."""

    pid: int
    lives: bool
    """False: a zombie; it has ended, and is waited for."""
    parent: int
    group: int
    session: int
    ticks: int
    """Clock ticks from the boot to its start."""

    @property
    def process(self) -> RunningProcess:
        return RunningProcess(self.pid, f"{boot_id()} {self.ticks}")


@cache
def boot_id() -> str:
    """Empty where /proc has none (a sandbox)."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text("utf-8").strip()
    except OSError:
        return ""


def read_entry(pid: int, proc: Path = PROC) -> ProcessEntry | None:
    """None: there is no such process, or /proc hides it."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None
    facts = line.rpartition(b")")[2].split()  # a name may hold anything
    lives = facts[0] not in (b"Z", b"X") or int(facts[17]) > 1  # a first thread may end ahead of the others
    return ProcessEntry(pid, lives, int(facts[1]), int(facts[2]), int(facts[3]), int(facts[19]))


def list_pids() -> list[int]:
    """Numbers of all that are to be seen; a thread has a folder in /proc, and is in no list."""
    with os.scandir(PROC) as found:
        return [int(each.name) for each in found if each.name.isdecimal()]


def list_entries() -> dict[int, ProcessEntry]:
    """All that are to be seen, by their number."""
    return {pid: entry for pid in list_pids() if (entry := read_entry(pid)) is not None}


def find_running(pid: int) -> RunningProcess | None:
    entry = read_entry(pid)
    return entry.process if entry is not None and entry.lives else None


def parse_process(text: str) -> RunningProcess | None:
    """``PID BOOT TICKS`` as it is kept; None: anything else."""
    pid, _, begun = text.partition(" ")
    known = re.fullmatch(r"[0-9]{1,10}", pid) and re.fullmatch(r"\S* [0-9]{1,20}", begun)
    return RunningProcess(int(pid), begun) if known else None


def is_alive(process: RunningProcess) -> bool:
    """Whether that very process lives. A zombie has ended."""
    return find_running(process.pid) == process


def later(one: RunningProcess, other: RunningProcess) -> bool:
    """Whether `one` began after `other`. Of two boots the running one is the later."""
    (boot, _, ticks), (other_boot, _, other_ticks) = one.begun.rpartition(" "), other.begun.rpartition(" ")
    if boot != other_boot:
        return boot == boot_id()
    return int(ticks) > int(other_ticks)


def read_accounts(pid: int) -> tuple[int, int] | None:
    """Real and effective user; None: it has ended."""
    status = _read(pid, "status") or b""
    numbers = status.partition(b"\nUid:")[2].split(None, 2)[:2]
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def is_own(pid: int) -> bool:
    """Whether our account started it, and it has the rights of nobody else."""
    return read_accounts(pid) == (os.geteuid(), os.geteuid())


def read_words(pid: int) -> tuple[str, ...]:
    """Its arguments; none of a zombie, a kernel thread, or one that is just getting its program."""
    said = _read(pid, "cmdline")
    return tuple(os.fsdecode(said).removesuffix("\0").split("\0")) if said else ()


def read_environment(pid: int) -> Mapping[str, str] | None:
    """As it was when its program began; None: not readable."""
    said = _read(pid, "environ")
    if said is None:
        return None
    pairs = (line.partition("=") for line in os.fsdecode(said).split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def read_program(pid: int) -> str | None:
    """Full path of the file that it runs; None: not readable."""
    try:
        return os.readlink(f"{PROC}/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return None


def _read(pid: int, name: str) -> bytes | None:
    try:
        with open(f"{PROC}/{pid}/{name}", "rb") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return None


def ancestors(entries: Mapping[int, ProcessEntry], pid: int) -> Iterator[int]:
    """Of a process: its parent, the parent of that, up to the first."""
    seen = {pid}
    while (entry := entries.get(pid)) is not None and entry.parent not in seen and entry.parent > 0:
        pid = entry.parent
        seen.add(pid)
        yield pid


def send_signal(process: RunningProcess, number: signal.Signals) -> bool:
    """To that process of our account and to no other, whoever gets its number: it is looked at while the kernel holds it for us.

    False when it has ended. Raises ActionError. Linux before 5.3 cannot hold one: there the signal goes to the number.
    """
    held = None
    try:
        try:
            held = os.pidfd_open(process.pid)
        except OSError as problem:
            if problem.errno != errno.ENOSYS:
                raise
        if not is_alive(process):
            return False
        if not is_own(process.pid):
            raise PermissionError
        if held is None:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(held, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise ActionError(
            f"process {process.pid} belongs to another user — run the watchdog as that user, or as root"
        ) from None
    finally:
        if held is not None:
            with contextlib.suppress(OSError):
                os.close(held)
    return True


def own_line(entries: Mapping[int, ProcessEntry]) -> set[int]:
    """Us, and what we descend from."""
    return {os.getpid(), *ancestors(entries, os.getpid())}
