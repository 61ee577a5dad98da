"""Clocks and processes: work per CPU-second of ours, CPU and memory of others."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

SLICES = 5
COMPETITOR_TIMEOUT = 60.0
"""s that one of them is waited for before it is left out."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # everything here is on loopback


class MeasurementError(Exception):
    """A figure could not be had; the text says why. Others can."""


class Effort(NamedTuple):
    """How long things are measured."""

    seconds: float
    """CPU-seconds for one figure of ours, and seconds for one of theirs."""
    rounds: int
    """Breaches for the reaction time."""
    starts: int
    """Process starts."""
    footprint: float
    """Seconds over which CPU and memory are watched."""
    full: bool
    """Whether vmalert is measured, and the 24 h rows: filling a day takes a while."""


FULL_EFFORT = Effort(seconds=3.0, rounds=24, starts=5, footprint=30.0, full=True)
QUICK_EFFORT = Effort(seconds=0.2, rounds=3, starts=1, footprint=4.0, full=False)


def measure_rate(prepare: Callable[[], object], work: Callable[[], int], seconds: float) -> float:
    """Units of `work` (it returns how many it did) per CPU-second; `prepare` is called ahead of each and not counted.

    Median of slices: a neighbour on the machine spoils one of them, not all. A slice ends early where the
    preparation takes far longer than the work.
    """
    prepare()
    work()
    found = []
    for _ in range(SLICES):
        done, spent = 0, 0.0
        deadline = time.monotonic() + 5 * seconds / SLICES
        while not done or (spent < seconds / SLICES and time.monotonic() < deadline):
            prepare()
            began = time.process_time()
            done += work()
            spent += time.process_time() - began
        found.append(done / spent)
    return statistics.median(found)


def no_preparation() -> None:
    """For work that needs no preparation."""


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """CPU-seconds of processes, with those of children that have ended."""
    return sum(sum(process.cpu_times()[:4]) for process in processes)


class Memory(NamedTuple):
    rss: float
    pss: float


def memory_usage(processes: Iterable[psutil.Process]) -> Memory:
    """MB: resident, and the share of it that is theirs alone when shared pages are divided."""
    rss = pss = 0.0
    for process in processes:
        info = process.memory_full_info()
        rss, pss = rss + info.rss / 1e6, pss + info.pss / 1e6
    return Memory(rss, pss)


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float, description: str) -> None:
    """Waits for a true answer; raises MeasurementError when there is none in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise MeasurementError(f"not within {seconds:g} s: {description}")
        time.sleep(0.02)


def describe_failure(error: Exception) -> str:
    """One line for a table."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MeasurementError) else f"{type(error).__name__}: {text}".rstrip(": ")


def require_alive(process: psutil.Popen, name: str, log: Path) -> None:
    """Raises MeasurementError with the last that a process said when it has ended by itself."""
    if process.poll() is not None:
        said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise MeasurementError(f"{name} ended with code {process.returncode}: {said[0]}")


def fetch(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> str | None:
    """The text at a URL (POST with a body); None when nobody answers well."""
    try:
        with _DIRECT.open(urllib.request.Request(url, body, headers or {}), timeout=30) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError):
        return None


@contextlib.contextmanager
def running_process(
    argv: list[str], log: Path, cwd: Path | None = None, pycache: Path | None = None
) -> Iterator[psutil.Popen]:
    """A process that is ended whatever happens; what it says goes to `log`. `pycache`: where Python keeps what it has
    compiled, whatever the environment says: an installation has it, too."""
    environ = dict(os.environ)
    if pycache is not None:
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        environ["PYTHONPYCACHEPREFIX"] = str(pycache)
    with log.open("ab") as said:
        process = psutil.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=cwd, env=environ)
        try:
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
            try:
                process.wait(10)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()
