"""Far ends that say any bytes, one for each way in which a source can be told nonsense."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.sources.contract.environment import Environment
from tests.sources.contract.tables import JSON_DOCUMENT, JSON_VALUES, QUERY, QUERY_ANSWER, RECEIVING, SYSTEMCTL_SHOW
from tests.support.raw_http_server import respond_with
from tests.support.senders import TOKEN
from watchdog.sources.openmetrics import CONTENT_TYPE

Say = Callable[[bytes], None]


class FarEnd(NamedTuple):
    """Something that can be read, or that sends."""

    fields: dict[str, Any]
    say: Say
    """Has it say these bytes: at the next read, or now."""
    well: bytes = b""
    """What it says when all is well."""


Make = Callable[[Environment], FarEnd]


def _server(fields: dict[str, Any], well: str, **headers: str) -> Make:
    def make(world: Environment) -> FarEnd:
        server = world.serve(respond_with(well, headers=headers))

        def say(data: bytes) -> None:
            server.behaviour = respond_with(data, headers=headers)

        return FarEnd({"url": server.url, "timeout": "10s", **fields}, say, well.encode())

    return make


def _raw_server(fields: dict[str, Any], well: str) -> Make:
    """Whose every byte is nonsense, the head of the answer included."""

    def make(world: Environment) -> FarEnd:
        server = world.serve(respond_with(""))

        def say(data: bytes) -> None:
            server.behaviour = lambda _, connection: connection.sendall(data)

        return FarEnd({"url": server.url, "timeout": "10s", **fields}, say, b"HTTP/1.1 200 OK\r\n\r\n" + well.encode())

    return make


def _login(world: Environment) -> FarEnd:
    """The answer to a login, and the document after it."""
    server = world.serve(respond_with(""))
    password = world.folder / "password"
    password.write_text("long-enough-a-word")
    password.chmod(0o600)
    login = {"url": server.url, "basic": {"user": "bot", "password_file": str(password)}, "token": "token"}

    def say(data: bytes) -> None:
        server.behaviour = respond_with(data)

    fields = {"url": server.url, "timeout": "10s", "values": JSON_VALUES, "login": login}
    return FarEnd(fields, say, b'{"token": "abcd", "equity": 1, "rows": []}')


def _file(name: str, fields: Callable[[Path], dict[str, Any]], well: str) -> Make:
    def make(world: Environment) -> FarEnd:
        path = world.folder / name

        def say(data: bytes) -> None:
            path.write_bytes(data)
            if name != "pid":  # of that age is the number another process's
                os.utime(path, (1_699_999_999, 1_699_999_999))

        return FarEnd(fields(path), say, well.encode())

    return make


def _appended(name: str, fields: Callable[[Path], dict[str, Any]], well: str) -> Make:
    """What is said is one more piece of the file. That of long ago is taken away, or it would have no end."""

    def make(world: Environment) -> FarEnd:
        path = world.folder / name
        path.touch()

        def say(data: bytes) -> None:
            if path.stat().st_size > 30_000_000:
                path.unlink()
            with path.open("ab") as file:
                file.write(data)

        return FarEnd(fields(path), say, well.encode())

    return make


def _program(fields: dict[str, Any], well: str) -> Make:
    def make(world: Environment) -> FarEnd:
        path = world.folder / "said"
        return FarEnd({"run": ["cat", str(path)], "timeout": "10s", **fields}, path.write_bytes, well.encode())  # type: ignore[arg-type]

    return make


def _systemd_program(name: str, fields: dict[str, Any], well: str) -> Make:
    def make(world: Environment) -> FarEnd:
        said, program = world.folder / "said", world.folder / "bin" / name
        world.systemctl("exit 1")
        program.write_text(f"#!/bin/sh\nexec cat {said}\n")
        program.chmod(0o755)
        return FarEnd(fields, said.write_bytes, well.encode())  # type: ignore[arg-type]

    return make


def _row(world: Environment) -> FarEnd:
    """Of a database that is well: one row, of the text in every column."""
    path = world.folder / "trades.sqlite"

    def say(data: bytes) -> None:
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS trades(symbol, pnl, closed_at)")
            database.execute("DELETE FROM trades")
            text = data.decode("utf-8", "surrogateescape")
            with contextlib.suppress(UnicodeEncodeError):
                database.execute("INSERT INTO trades VALUES (?, ?, ?)", (text, text, text))
            database.execute("INSERT INTO trades VALUES (CAST(? AS TEXT), ?, ?)", (data, data, data))

    return FarEnd({"file": str(path), "timeout": "10s", "queries": [QUERY]}, say, b"1")


def _push(content_type: str, well: str) -> Make:
    def make(world: Environment) -> FarEnd:
        def say(data: bytes) -> None:
            with contextlib.suppress(ConnectionError):  # whoever sends without end is not heard out
                status, text = world.web.push("bot", data, content_type)
                assert status in (204, 400, 413, 415, 429), status
                assert "\n" not in text.strip()

        return FarEnd(RECEIVING["push"][0](world), say, well.encode())

    return make


def _datagrams(world: Environment) -> FarEnd:
    fields = RECEIVING["statsd"][0](world)
    host, _, port = fields["listen"].rpartition(":")

    def say(data: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for part in _parts(data[:2_000_000], 60_000):
                sender.sendto(part, (host, int(port)))

    return FarEnd(fields, say, b"trades:1|c")


def _parts(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data) or 1, size):
        yield data[start : start + size]


def _called(world: Environment) -> FarEnd:
    def say(data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            path = "".join(f"%{byte:02x}" for byte in data[:2_000])
            for address in (f"/heartbeat/bot/{TOKEN}/{path}", f"/heartbeat/bot/{path}", f"/heartbeat/{path}"):
                assert world.web.ask("GET", address)[0] in (200, 400, 404, 414)
            status, _ = world.web.ask("POST", f"/heartbeat/bot/{TOKEN}", data)
            assert status in (200, 413)

    return FarEnd(RECEIVING["heartbeat"][0](world), say, b"start")


_PAGE = 'a{z="1",b="2"} NaN 1699999999000\nb_total 2\n'
_JSONL = {"equity": {"last": "equity"}, "trades_total": {"count": "trade", "labels": {"side": "side"}}}
_LOG = {
    "errors_total": {"count": "(?P<kind>.*)"},
    "equity": {"last": "equity=(?P<value>.+)"},
    "volume": {"sum": "(?P<value>[0-9.e+-]+)"},
}
GARBAGE: dict[str, Make | None] = {
    "scrape": _server({}, _PAGE),
    "scrape OpenMetrics": _server(
        {"openmetrics": True}, '# TYPE a counter\na_total{z="1"} 2\n# EOF\n', **{"Content-Type": CONTENT_TYPE}
    ),
    "scrape packed": _server({}, _PAGE, **{"Content-Encoding": "gzip"}),
    "scrape answer": _raw_server({}, _PAGE),
    "process": _file("pid", lambda path: {"pid_file": str(path)}, str(os.getpid())),
    "process unit": _systemd_program(
        "systemctl", {"unit": "bot.service"}, "MainPID=1\nLoadState=loaded\nNRestarts=0\n"
    ),
    "host": None,  # the kernel's own figures
    "systemd": _systemd_program("systemctl", {"units": ["bot.service", "bot.timer"]}, SYSTEMCTL_SHOW.read_text()),
    "http_json": _server({"values": JSON_VALUES}, JSON_DOCUMENT),
    "http_json answer": _raw_server({"values": JSON_VALUES}, JSON_DOCUMENT),
    "http_json login": _login,
    "json_file": _file("state.json", lambda path: {"file": str(path), "values": JSON_VALUES}, JSON_DOCUMENT),
    "prometheus": _server({"queries": {"a": "a"}}, QUERY_ANSWER),
    "command nagios": _program({"format": "nagios"}, "OK | a=1;2;3;0;9 'b c'=5MB"),
    "command prometheus": _program({"format": "prometheus"}, _PAGE),
    "command json": _program({"format": "json", "values": JSON_VALUES}, JSON_DOCUMENT),
    "textfile": _file("bot.prom", lambda path: {"folder": str(path.parent)}, 'a{z="1"} NaN\nb_total 2\n'),
    "jsonl": _appended(
        "bot.jsonl", lambda path: {"files": str(path), "values": _JSONL, "time": "ts"}, '{"equity": 1, "trade": 1}\n'
    ),
    "log": _appended("bot.log", lambda path: {"files": str(path), "values": _LOG}, "2023-11-14T22:13:19Z equity=5\n"),
    "log unit": _systemd_program(
        "journalctl",
        {"unit": "bot.service", "values": _LOG},
        '{"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": "1699999999000000", "MESSAGE": "equity=5"}\n',
    ),
    "sql": _file("trades.sqlite", lambda path: {"file": str(path), "timeout": "10s", "queries": [QUERY]}, ""),
    "sql row": _row,
    "push text": _push("text/plain", "a 1\n"),
    "push JSON": _push("application/json", '{"equity": 5}'),
    "push JSON lines": _push("application/x-ndjson", '{"name": "equity", "value": 5}\n'),
    "statsd": _datagrams,
    "heartbeat": _called,
}
"""By type, and where there are several, the way."""

_LONG = 10_000_000
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "an empty line": b"\n",
    "NULs": b"\0" * 50_000,
    "every byte": bytes(range(256)) * 40,
    "10 MB of one line": b"a" * _LONG,
    "10 MB of one number": b"1" * _LONG,
    "one long label": b'a{b="' + b"x" * 100_000 + b'"} 1\n',
    "one long text": b'{"equity": "' + b"x" * 900_000 + b'"}\n',
    "empty lines": b"\n" * 200_000,
    "as many series as there is room for": b"".join(b'a{b="%d"} 1\n' % number for number in range(45_000)),
    "lists in lists": b"[" * 500_000,
    "objects in objects": b'{"equity":' * 300_000,
    "objects in objects, all closed": b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n",
    "half a document": JSON_DOCUMENT[:-20].encode(),
    "two documents": b'{"equity": 1}{"equity": 2}\n',
    "numbers that are none": b'{"equity": NaN, "rows": [{"n": Infinity}, {"n": 1e999}, {"n": -1e999}]}\n',
    "an endless integer": b'{"equity": ' + b"9" * 5_000 + b', "trade": 1, "ts": ' + b"9" * 400 + b"}\n",
    "other types": b'{"equity": {"a": []}, "rows": {"n": [true]}, "trade": 1, "side": {"b": null}, "ts": [1]}\n',
    "keys twice": b'{"equity": 1, "equity": 2}\n',
    "UTF-16": JSON_DOCUMENT.encode("utf-16"),
    "Latin-1": b'{"equity": "\xe9"}\na{b="\xe9"} 1\n',
    "half a surrogate": b'{"equity": 1, "trade": 1, "side": "\\ud800", "rows": [{"z": "\\ud800", "n": 1}]}\n',
    "a byte order mark": b"\xef\xbb\xbf" + JSON_DOCUMENT.encode(),
    "a terminal's commands": b'\x1b[2J\x1b]0;x\x07{"equity": "\\u001b[2J", "trade": 1, "side": "\\u001b[2J\\n\\u202e"}\n',
    "a page of a login": b"<!DOCTYPE html>\n<html><body>Sign in\r\n</body></html>\n",
    "gzip": gzip.compress(b"a 1\n"),
    "a bomb": gzip.compress(b"a" * 50_000_000, 9),
    "half of what is packed": gzip.compress(b"a 1\n" * 1_000)[:-9],
    "an answer in its answer": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    "pieces without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
    "what systemd would not say": b"Id=bot.service\nLoadState=loaded\nActiveState=\nNRestarts=-1\nExecMainStatus=nan\n"
    b"MemoryCurrent=99999999999999999999999\nMainPID=99999999999999999999\n\n\n=\nId=\n",
    "a journal's odd entry": b'{"__CURSOR": 5, "__REALTIME_TIMESTAMP": "x", "MESSAGE": [300, -1]}\n{"MESSAGE": null}\n[]\n1\n',
    "figures of a plugin": b"OK | 'a'=1;;;;;;; =5 a=U b=1e999;~:; 'c''d'=1s\n\0|\n| x=1",
    "metrics of no sense": b"a:-1|c\nb:1|c|@0\nc:1|c|@1e-999\nd:nan|g\ne:+inf|g\n:1|c\nf:1:2:3|ms\ng:|s\nh:1e308|c\nh:1e308|c\n",
    "a database that says another size": b"SQLite format 3\0" + b"\xff" * 4_000,
}
