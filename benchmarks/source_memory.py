"""What a source of each type takes of the memory: a daemon with 200 of them beside one with a single one.

`python -m benchmarks.source_memory [--only TYPE] [--sources N]` prints the figures alone. Each brings four series or less
every second, and no rule reads them. What is loaded once for the first of a type is not in the figure; the processes that work for
the daemon are.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import pwd
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psutil

from benchmarks.fleet_server import json_text, page_text, running_fleet
from benchmarks.measure import QUICK_EFFORT, Effort, MeasurementError, fetch, running_process, wait_until
from benchmarks.metrics_server import ROOT
from benchmarks.table import TableRow, format_plain, measure_row

SOURCES = 200
_MORE_READS = 5
"""After all have been read; the buffers of samples are begun by then."""
_TOKEN = "a-token-of-the-benchmark"
_VALUES = "{equity: account.equity, pnl_today: account.pnl_today, open_orders: orders.open}"
ENTRIES = {
    "scrape": 'url: "$url/page/$n"',
    "http_json": f'url: "$url/json/$n", values: {_VALUES}',
    "prometheus": 'url: "$url/prometheus", queries: {equity: bot_equity, pnl: bot_pnl}',
    "json_file": f"file: $folder/$n.json, values: {_VALUES}",
    "jsonl": "files: $folder/$n.jsonl, values: {trades_total: {count: id}, equity: {last: equity}}",
    "log": "files: $folder/$n.log, values: {errors_total: {count: ERROR}, equity: {last: 'equity=(?P<value>[0-9.]+)'}}",
    "sql": "file: $folder/$n.sqlite, queries: [{query: SELECT equity FROM account, values: {equity: equity}}]",
    "textfile": "folder: $folder, files: '$n.prom'",
    "command": "run: [/bin/echo, equity 10.5], format: prometheus",
    "push": "token_file: $folder/token",
    "statsd": 'listen: "127.0.0.1:$port"',
    "heartbeat": "token_file: $folder/token",
    "systemd": "units: [dbus.service]",
    "process": "pid_file: $folder/pid",
    "host": "disks: [/]",
}
"""Type → what its entry says besides."""


def _write_files(folder: Path, type_: str, count: int) -> None:
    folder.mkdir()
    (folder / "token").write_text(_TOKEN)
    (folder / "token").chmod(0o600)
    (folder / "pid").write_text(f"{os.getpid()}\n")
    for n in range(count):
        match type_:
            case "json_file":
                (folder / f"{n}.json").write_bytes(json_text(n, 0))
            case "jsonl":
                (folder / f"{n}.jsonl").write_text('{"id": 1, "equity": 10.5}\n' * 100)
            case "log":
                (folder / f"{n}.log").write_text("INFO equity=10.5\nERROR rejected\n" * 50)
            case "textfile":
                (folder / f"{n}.prom").write_bytes(page_text(n, 0))
            case "sql":
                with contextlib.closing(sqlite3.connect(folder / f"{n}.sqlite")) as db:
                    db.execute("CREATE TABLE account (equity REAL)")
                    db.execute("INSERT INTO account VALUES (10.5)")
                    db.commit()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _send(type_: str, url: str, count: int, ports: Sequence[int]) -> None:
    """What bots send that are not asked."""
    if type_ == "statsd":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for port in ports:
                sender.sendto(b"equity:10.5|g\ntrades:1|c", ("127.0.0.1", port))
        return
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=30)
    for n in range(count):
        if type_ == "push":
            headers = {"Authorization": f"Bearer {_TOKEN}", "Content-Type": "text/plain"}
            connection.request("POST", f"/push/bot-{n}", page_text(n, 0), headers)
        else:
            connection.request("GET", f"/heartbeat/bot-{n}/{_TOKEN}")
        connection.getresponse().read()
    connection.close()


def _measure(folder: Path, type_: str, url: str, count: int) -> float:
    """MB of the daemon and of whoever works for it, after each source has brought something some times."""
    _write_files(data := folder / "data", type_, count)
    ports = _free_ports(count)
    user, entry = pwd.getpwuid(os.geteuid()).pw_name, Template(ENTRIES[type_])
    lines = [
        f"  bot-{n}: {{type: {type_}, every: 1s, {entry.substitute(url=url, n=n, folder=data, port=port)}}}"
        for n, port in enumerate(ports)
    ]
    config = folder / "config"
    (config / "rules").mkdir(parents=True)
    (config / "watchdog.yaml").write_text(
        "sources:" + ("\n" + "\n".join(lines) if lines else " {}") + '\nstate: state\nweb: {listen: "127.0.0.1:0"}\n'
    )
    (config / "rules" / "all.yaml").write_text(f"targets: {{bots: {{run_as: {user}}}}}\n")
    argv = [sys.executable, "-m", "watchdog", "run", "--config", str(config)]
    with running_process(argv, folder / "log", ROOT, folder.parent / "compiled") as process:
        return _settled_memory(process, folder / "log", type_, count, ports)


def _settled_memory(process: psutil.Popen, log: Path, type_: str, count: int, ports: Sequence[int]) -> float:
    def url() -> str:
        words = [word for word in log.read_text().split() if word.endswith("/metrics")]
        return words[-1].removesuffix("/metrics") if words else ""

    def up() -> int:
        if type_ in ("push", "statsd", "heartbeat"):
            _send(type_, url(), count, ports)
        page = fetch(f"{url()}/metrics") or ""
        return sum(line.startswith("watchdog_source_up{") and line.endswith(" 1.0") for line in page.splitlines())

    def all_up() -> bool:
        found = up()
        if found < count:
            time.sleep(1)
        return found >= count

    try:
        wait_until(lambda: process.poll() is not None or url(), 120, "the daemon answers")
        if process.poll() is not None:
            raise MeasurementError(f"the daemon ended: {_last_words(log)}")
        wait_until(all_up, 60, f"{count} sources of type {type_} are up")
    except MeasurementError as late:
        raise MeasurementError(f"{late}; the daemon says: {_last_words(log)}") from None
    for _ in range(_MORE_READS):
        time.sleep(1)
        up()
    workers = [process, *process.children(recursive=True)]
    return sum(each.memory_full_info().uss for each in workers if each.is_running()) / 1e6


def _last_words(log: Path) -> str:
    lines = log.read_text().strip().splitlines() or ["nothing"]
    return next((line for line in reversed(lines) if " WARNING " in line), lines[-1])


def measure_rows(
    effort: Effort, log: Callable[[str], None], types: Sequence[str] = (), count: int = SOURCES
) -> Iterator[TableRow]:
    """`effort.full`: all types; else the two that are read most."""
    types = types or (list(ENTRIES) if effort.full else ["http_json", "jsonl"])
    with running_fleet() as fleet, TemporaryDirectory(prefix="benchmarks-") as name:
        for type_ in types:
            log(f"memory of {count} sources: {type_}")

            def per_source(type_: str = type_) -> float:
                (many := Path(name, type_)).mkdir()
                (single := Path(name, f"one {type_}")).mkdir()
                taken = _measure(many, type_, fleet.url, count) - _measure(single, type_, fleet.url, 1)
                return taken / (count - 1) * 1e3

            yield measure_row(f"memory of one more source: {type_}", per_source, unit="kB", more_is_better=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.source_memory", description="Memory per source.")
    parser.add_argument("--only", choices=ENTRIES, action="append", default=[])
    parser.add_argument("--sources", type=int, default=SOURCES)
    options = parser.parse_args()
    effort = QUICK_EFFORT._replace(full=True)
    rows = measure_rows(effort, lambda text: print(text, file=sys.stderr), options.only, options.sources)
    print(format_plain([*rows]))


if __name__ == "__main__":
    main()
