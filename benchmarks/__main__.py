"""`python -m benchmarks`: measures, then prints one table. Progress goes to stderr.

What cannot be measured is a row that says why, and the rest goes on; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks import (
    comparison,
    competitors,
    crowded_chat,
    daemon,
    growing_log,
    journal,
    many_sources,
    pushed_breach,
    replay,
    sampling,
    source_memory,
)
from benchmarks.measure import FULL_EFFORT, QUICK_EFFORT, Effort, describe_failure
from benchmarks.table import TableRow, format_markdown, format_plain

Section = Callable[[Effort, Callable[[str], None]], Iterable[TableRow]]
SECTIONS: dict[str, Section] = {
    "evaluator": comparison.measure_rows,
    "sampling": lambda effort, _: sampling.measure_rows(effort.seconds),
    "journal": lambda effort, _: journal.measure_rows(effort.seconds),
    "chat": crowded_chat.measure_rows,
    "daemon": daemon.measure_rows,
    "pushed": pushed_breach.measure_rows,
    "fleet": many_sources.measure_rows,
    "jsonl": growing_log.measure_rows,
    "memory": source_memory.measure_rows,
    "replay": replay.measure_rows,
}
"""Rows come one by one where they take their time: those before a failure are kept."""
_PACKAGES = {
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "victoria-metrics": "victoria-metrics",
    "vmalert": "victoria-metrics",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Speed, ours and theirs, side by side in one run.")
    parser.add_argument(
        "--quick", action="store_true", help="under a minute: shorter, fewer rounds, no 24 h rows, no vmalert"
    )
    parser.add_argument(
        "--only",
        choices=SECTIONS,
        action="append",
        metavar="SECTION",
        help=f"one of {', '.join(SECTIONS)}; may be said several times",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="CPU-seconds for each figure of an evaluator")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    options = parser.parse_args(argv)
    effort = QUICK_EFFORT if options.quick else FULL_EFFORT
    if options.seconds is not None:
        effort = effort._replace(seconds=options.seconds)
    began = time.monotonic()
    rows: list[TableRow] = []

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    print(f"{describe_machine()}\n", flush=True)
    for name in options.only or SECTIONS:
        say(f"── {name}")
        rows += _measure_section(name, effort, say)
    say("done")
    print(format_markdown(rows) if options.markdown else format_plain(rows))
    return int(any(row.failures for row in rows))


def _measure_section(name: str, effort: Effort, say: Callable[[str], None]) -> Iterator[TableRow]:
    try:
        yield from SECTIONS[name](effort, say)
    except Exception as error:
        reason = describe_failure(error)
        say(f"{name} ends here: {reason}")
        yield TableRow(f"{name}: what is left of it", None, failures={"ours": reason})


def describe_machine() -> str:
    """What was measured on, and with which versions; nothing that tells whose machine it is."""
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "?") if Path("/etc/os-release").exists() else "?"
    parts = [f"Python {platform.python_version()}", f"numpy {version('numpy')}", f"SQLite {sqlite3.sqlite_version}"]
    parts += [
        f"{program} {found}"
        for program, package in _PACKAGES.items()
        if (found := competitors.program_version(program, package))
    ]
    cpus, memory, load = os.cpu_count(), psutil.virtual_memory().total / 2**30, os.getloadavg()[0]
    return f"{cpus} CPUs, {memory:.0f} GiB, load {load:.1f} before the run, {system}\n{', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main())
