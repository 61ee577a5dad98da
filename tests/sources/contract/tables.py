"""Of each member of the union, entries that work, that cannot be read, and that hang; and how those that are told are told."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.sources.contract.environment import Environment, Make
from tests.support.ports import free_port
from tests.support.raw_http_server import Behaviour, never_respond, respond_with
from tests.support.senders import TOKEN
from watchdog.host import procfs

SYSTEMCTL_SHOW = Path(__file__).parents[1] / "systemctl_show.txt"


def _own_pid_file(environment: Environment) -> dict[str, Any]:
    (environment.folder / "pid").write_text(str(os.getpid()))
    return {"pid_file": str(environment.folder / "pid")}


def _two_disks(environment: Environment) -> dict[str, Any]:
    return {"disks": ["/", str(environment.folder / "gone")]}


def _textfile(environment: Environment, text: str) -> dict[str, Any]:
    path = environment.folder / "bot.prom"
    path.write_text(text)
    os.utime(path, (1_699_999_999, 1_699_999_999))
    return {"folder": str(environment.folder)}


def _hung_systemctl(environment: Environment) -> dict[str, Any]:
    environment.systemctl("exec sleep 100")
    environment.monkeypatch.setattr(procfs, "SYSTEMCTL_TIMEOUT", 0.1)
    return {"unit": "bot.service"}


def _systemctl_that_says(environment: Environment, body: str) -> dict[str, Any]:
    environment.systemctl(body)
    return {"units": ["bot.service", "bot.timer"]}


def _answering_systemctl(environment: Environment) -> dict[str, Any]:
    return _systemctl_that_says(environment, f"cat {SYSTEMCTL_SHOW}")


def _unknowing_systemctl(environment: Environment) -> dict[str, Any]:
    unknown = "Id={0}\\nNames={0}\\nLoadState=not-found\\nActiveState=inactive\\n"
    return _systemctl_that_says(
        environment, f"printf '{unknown.format('bot.service')}\\n{unknown.format('bot.timer')}'"
    )


def _json_file(text: str) -> Make:
    def make(environment: Environment) -> dict[str, Any]:
        path = environment.folder / "state.json"
        path.write_text(text)
        os.utime(path, (1_699_999_999, 1_699_999_999))
        return {"file": str(path), "values": JSON_VALUES}

    return make


JSON_VALUES = {"equity": "equity", "size": {"path": "rows", "value": "n", "labels": {"z": "z", "b": "b"}, "time": "t"}}
JSON_DOCUMENT = (
    '{"equity": 5, "rows": [{"z": "1", "b": "2", "n": 3, "t": 1699999999}, {"z": "2", "n": 3, "t": 1699999999}]}'
)
QUERY_ANSWER = (
    '{"status": "success", "data": {"resultType": "vector", "result": ['
    '{"metric": {"z": "1", "b": "2"}, "value": [1699999999, "NaN"]}]}}'
)


def _http_json(behave: Behaviour, timeout: str = "20s") -> Make:
    return lambda world: {"url": world.serve(behave).url, "timeout": timeout, "values": JSON_VALUES}


def _prometheus(behave: Behaviour, timeout: str = "20s") -> Make:
    return lambda world: {"url": world.serve(behave).url, "timeout": timeout, "queries": {"a": "a"}}


def _without_proc(environment: Environment) -> dict[str, Any]:
    environment.monkeypatch.setattr("psutil.PROCFS_PATH", str(environment.folder))
    return {}


def _a_line(environment: Environment) -> dict[str, Any]:
    (environment.folder / "events.jsonl").write_text('{"equity": 5, "ts": 1699999999}\n')
    return _jsonl(environment)


def _jsonl(environment: Environment) -> dict[str, Any]:
    values = {"equity": {"last": "equity"}, "trades_total": {"count": "trade", "labels": {"side": "side"}}}
    return {"files": str(environment.folder / "*.jsonl"), "values": values, "time": "ts"}


def _log(environment: Environment) -> dict[str, Any]:
    (environment.folder / "bot.log").write_text("2023-11-14T22:13:19Z equity=5\n")
    values = {"errors_total": {"count": " ERROR "}, "equity": {"last": "equity=(?P<value>[0-9.]+)"}}
    return {"files": str(environment.folder / "bot*.log"), "time": "^(?P<time>[0-9TZ:-]+) ", "values": values}


def _hung_journal(environment: Environment) -> dict[str, Any]:
    environment.systemctl("exit 1")
    (environment.folder / "bin" / "journalctl").write_text("#!/bin/sh\nexec sleep 100\n")
    (environment.folder / "bin" / "journalctl").chmod(0o755)
    return {"unit": "bot.service", "values": {"errors_total": {"count": " ERROR "}}, "timeout": "100ms"}


QUERY = {
    "query": "SELECT symbol, pnl, closed_at FROM trades",
    "values": {"pnl": "pnl"},
    "labels": ["symbol"],
    "time": "closed_at",
}


def _database(environment: Environment) -> str:
    path = environment.folder / "trades.sqlite"
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE trades(symbol, pnl, closed_at)")
        rows = [("BTC", 1.5, 1_699_999_999), ("ETH", "-2", "2023-11-14T22:13:19Z"), ("", None, None)]
        database.executemany("INSERT INTO trades VALUES (?, ?, ?)", rows)
    return str(path)


WORKING: dict[str, Make] = {
    "scrape": lambda world: {
        "url": world.serve(respond_with('a{z="1",b="2"} NaN 1699999999000\nb_total 2\n')).url,
        "timeout": "20s",
    },
    "process": _own_pid_file,
    "host": _two_disks,
    "systemd": _answering_systemctl,
    "http_json": _http_json(respond_with(JSON_DOCUMENT)),
    "json_file": _json_file(JSON_DOCUMENT),
    "prometheus": _prometheus(respond_with(QUERY_ANSWER)),
    "command": lambda _: {"run": ["echo", "OK | a=1;2;3;0;9 'b c'=5MB"], "format": "nagios", "timeout": "20s"},
    "textfile": lambda world: _textfile(world, 'a{z="1",b="2"} NaN\nb_total 2\n'),
    "jsonl": _a_line,
    "log": _log,
    "sql": lambda world: {"file": _database(world), "timeout": "20s", "queries": [QUERY]},
}
BROKEN: dict[str, Make] = {
    "scrape": lambda world: {"url": world.serve(respond_with("half a li")).url, "timeout": "20s"},
    "process": lambda world: {"pid_file": str(world.folder)},
    "host": _without_proc,
    "systemd": _unknowing_systemctl,
    "http_json": _http_json(respond_with("half a docu")),
    "json_file": _json_file('{"equity": 5'),
    "prometheus": _prometheus(respond_with(QUERY_ANSWER[:-1])),
    "command": lambda _: {"run": ["false"], "format": "prometheus", "timeout": "20s"},
    "textfile": lambda world: _textfile(world, "half a li"),
    "jsonl": lambda world: {**_jsonl(world), "files": str(world.folder / "none.jsonl")},
    "log": lambda world: {**_log(world), "files": str(world.folder / "gone" / "bot.log")},
    "sql": lambda world: {"file": str(world.folder / "gone"), "queries": [QUERY]},
}
HUNG: dict[str, Make | None] = {
    "scrape": lambda world: {"url": world.serve(never_respond).url, "timeout": "60ms"},
    "process": _hung_systemctl,
    "http_json": _http_json(never_respond, "60ms"),
    "json_file": None,  # what lies on a dead network disk is the caller's deadline to cut, and its owner's process to end
    "prometheus": _prometheus(never_respond, "60ms"),
    "command": lambda _: {"run": ["sleep", "300"], "format": "nagios", "timeout": "60ms"},
    "textfile": None,  # it opens nothing but regular files; a dead network disk is the caller's deadline to cut
    "sql": lambda world: {
        "url": f"postgresql://bot@127.0.0.1:{world.take_silent_port()}/trades",
        "timeout": "60ms",
        "queries": [QUERY],
    },
    "host": None,  # reads the kernel's own figures; a dead network disk is the caller's deadline to cut
    "systemd": lambda world: {"timeout": "60ms", **_systemctl_that_says(world, "exec sleep 100")},
    "jsonl": None,  # stops by itself after a part of its interval
    "log": _hung_journal,
}


def _token_file(environment: Environment) -> dict[str, Any]:
    return {"token_file": str(environment.web.token_file)}


RECEIVING: dict[str, tuple[Make, Callable[[Environment, dict[str, Any]], object]]] = {
    "push": (_token_file, lambda world, _: world.web.push("bot", '{"equity": 5, "open_positions": 3}')),
    "statsd": (
        lambda _: {"listen": f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"},
        lambda _, fields: send_datagram(b"trades:2|c|#venue:x\nequity:5|g\nlatency:3|ms", fields["listen"]),
    ),
    "heartbeat": (
        lambda world: {**_token_file(world), "every": "1h"},
        lambda world, _: world.web.ask("GET", f"/heartbeat/bot/{TOKEN}"),
    ),
}
"""Of each that is told: its fields, and how a sender brings it all that it can take."""
NOT_LISTENING: dict[str, Make] = {
    "push": lambda world: {"token_file": str(world.folder / "gone")},
    "statsd": lambda world: {"listen": f"127.0.0.1:{world.take_port(socket.SOCK_DGRAM)}"},
    "heartbeat": lambda world: {"token_file": str(world.folder / "gone")},
}
BY_ITSELF = {"heartbeat": 1}
"""What one delivers when it is opened."""


def send_datagram(data: bytes, listen: str) -> None:
    host, _, port = listen.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, (host, int(port)))
