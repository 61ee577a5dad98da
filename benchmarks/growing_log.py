"""A JSONL file that grows by 50,000 lines a second, followed by a `jsonl` source: how old the newest line is that was counted.

`python -m benchmarks.growing_log [--seconds S]` prints the figures alone. The source is read once a second in a process of
its own, as a worker reads it; beside it, in another run of the same kind, what anybody would write: `json.loads` of each
line, and the same four values counted by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.measure import QUICK_EFFORT, Effort, MeasurementError, running_process
from benchmarks.metrics_server import ROOT
from benchmarks.table import TableRow, format_plain, measure_row

LINES_PER_SECOND = 50_000
BY_HAND = "json.loads by hand"
_EVERY = 1.0
_WARM_UP = 2
"""Reads that are not counted: what is compiled and imported once."""
_LINE = (
    '{{"ts": {at:.6f}, "type": "{kind}", "symbol": "{symbol}USDT", "side": "buy", "qty": 0.015, "price": 91234.5, '
    '"pnl": {pnl}, "equity": 10234.11, "id": {id}}}\n'
)
VALUES = {
    "trades_total": {"count": "type == 'trade'"},
    "losses_total": {"count": "type == 'trade' && pnl < `0`", "labels": {"symbol": "symbol"}},
    "volume_total": {"sum": "qty", "where": "type == 'trade'"},
    "equity": {"last": "equity"},
}


class Followed(NamedTuple):
    """What one follower said of its reads."""

    after: float
    """s, at most: the age of the newest line that was counted when a read had ended, …"""
    before: float
    """… and right before the next one began."""
    cores: float
    """Share of one core."""
    lines: float
    """Counted in a second."""


def write_lines(path: Path, seconds: float) -> None:
    """Appends by the clock, some hundred lines at a time."""
    kinds = [("trade", "BTC", -1.25), ("trade", "ETH", 2.5), ("bar", "SOL", 0.0), ("trade", "BTC", 2.5)]
    written, began = 0, time.time()
    with path.open("ab", buffering=0) as file:
        while (now := time.time()) < began + seconds:
            due = int((now - began) * LINES_PER_SECOND)
            numbers = range(written, due)
            lines = (
                _LINE.format(at=now, kind=kind, symbol=symbol, pnl=pnl, id=number)
                for number in numbers
                for kind, symbol, pnl in (kinds[number % 4],)
            )
            file.write("".join(lines).encode())
            written = due
            time.sleep(0.005)


def _our_reader(path: Path) -> Callable[[], tuple[float, int]]:
    """Reads once; the time of the newest line, and how many lines there were so far."""
    from pydantic import TypeAdapter

    from watchdog.sources import AnySource

    entry = {"type": "jsonl", "files": str(path), "every": "1s", "time": "ts", "values": VALUES}
    source = TypeAdapter[Any](AnySource).validate_python(entry)
    state: dict[str, Any] = {}
    cache: dict[str, Any] = {}

    def read() -> tuple[float, int]:
        found = {sample.name: sample.v for sample in source.read(state, cache, time.time_ns() // 1_000_000)}
        return found.get("jsonl_last_event_timestamp_seconds", 0.0), int(found["jsonl_lines_total"])

    return read


def _plain_reader(path: Path) -> Callable[[], tuple[float, int]]:
    place = path.stat().st_size
    counts: dict[Any, float] = {}
    newest, lines, rest = 0.0, 0, b""

    def read() -> tuple[float, int]:
        nonlocal newest, lines, rest, place
        with path.open("rb") as file:
            file.seek(place)
            data = file.read()
        place += len(data)
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            event = json.loads(line)
            newest, lines = event["ts"], lines + 1
            if event["type"] == "trade":
                counts["trades"] = counts.get("trades", 0) + 1
                counts["volume"] = counts.get("volume", 0.0) + event["qty"]
                if event["pnl"] < 0:
                    counts[event["symbol"]] = counts.get(event["symbol"], 0) + 1
            counts["equity"] = event["equity"]
        return newest, lines

    return read


def follow(path: Path, seconds: float, *, ours: bool) -> Followed:
    """Reads once a second, by the clock."""
    read = (_our_reader if ours else _plain_reader)(path)
    read()
    after, before, newest = 0.0, 0.0, 0.0
    cpu, lines, first = 0.0, 0, 0
    began = due = time.time()
    for number in range(_WARM_UP + max(2, round(seconds / _EVERY))):
        due += _EVERY
        time.sleep(max(due - time.time(), 0))
        if number == _WARM_UP:
            began, cpu, first = time.time(), time.process_time(), lines
        if number > _WARM_UP:
            before = max(before, time.time() - newest)
        newest, lines = read()
        if number >= _WARM_UP:
            after = max(after, time.time() - newest)
    time.sleep(max(due + _EVERY - time.time(), 0))
    passed = time.time() - began
    return Followed(after, before, (time.process_time() - cpu) / passed, (lines - first) / passed)


def _measure(folder: Path, seconds: float, *, ours: bool) -> Followed:
    path = folder / ("ours.jsonl" if ours else "theirs.jsonl")
    path.touch()
    program = [sys.executable, "-m", "benchmarks.growing_log", "--file", str(path), "--seconds", str(seconds)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(running_process([*program, "--write"], folder / "writer", ROOT))
        done = subprocess.run(
            [*program, "--follow", "ours" if ours else "theirs"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise MeasurementError((done.stderr.strip().splitlines() or ["the follower said nothing"])[-1])
    found = Followed(*json.loads(done.stdout))
    if found.lines < LINES_PER_SECOND / 2:
        raise MeasurementError(
            f"the file grew by {found.lines:,.0f} lines a second only: too much else is at work here"
        )
    return found


def measure_rows(effort: Effort, log: Callable[[str], None]) -> Iterator[TableRow]:
    seconds = max(5.0, effort.footprint)
    with TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        log(f"a growing JSONL file, {seconds:g} s: {BY_HAND}")
        theirs = _measure(folder, seconds, ours=False)
        log(f"a growing JSONL file, {seconds:g} s: ours")
        ours = _measure(folder, seconds, ours=True)
        title = f"JSONL, {LINES_PER_SECOND:,} lines a second"
        rows: tuple[tuple[str, Callable[[Followed], float], str, float | None], ...] = (
            ("worst age of the newest line after a read", lambda one: one.after * 1e3, "ms", 1_000.0),
            ("… right before the next read", lambda one: one.before * 1e3, "ms", None),
            ("share of a core", lambda one: one.cores * 100, "%", None),
        )
        for what, of, unit, goal in rows:
            yield measure_row(
                f"{title}: {what}",
                lambda of=of: of(ours),  # type: ignore[misc]
                unit=unit,
                competitors={BY_HAND: of(theirs)},
                more_is_better=False,
                goal=goal,
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.growing_log", description="A JSONL file that grows.")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--follow", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_lines(options.file, 3_600)
    elif options.follow:
        sys.stdout.write(json.dumps(follow(options.file, options.seconds, ours=options.follow == "ours")))
    else:
        effort = QUICK_EFFORT._replace(footprint=options.seconds)
        print(format_plain([*measure_rows(effort, lambda text: print(text, file=sys.stderr))]))


if __name__ == "__main__":
    main()
