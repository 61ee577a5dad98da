"""How long a read lasts, and how much of it is kept: by the whole, however small the pieces are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.sources.contract.environment import NOW, PULLED, TYPES, Environment, Make, make_source
from tests.sources.contract.tables import JSON_VALUES, QUERY, WORKING
from tests.support.raw_http_server import respond_slowly
from watchdog.core.errors import SourceError
from watchdog.sources.openmetrics import CONTENT_TYPE
from watchdog.sources.series_limits import SeriesLimiter

_DRIP = "while :; do printf 'a'; sleep 0.01; done"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"
_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _slow_server(start: bytes, byte: bytes, **fields: Any) -> Make:
    return lambda world: {"url": world.serve(respond_slowly(start, byte)).url, "timeout": "150ms", **fields}


def _slow_login(world: Environment) -> dict[str, Any]:
    url = world.serve(respond_slowly(_HEAD, b" ")).url
    login = {"url": url, "body": {"user": "bot"}, "token": "token"}
    return {"url": url, "timeout": "150ms", "values": JSON_VALUES, "login": login}


def _slow_systemctl(world: Environment) -> dict[str, Any]:
    world.systemctl(_DRIP)
    return {"units": ["bot.service"], "timeout": "150ms"}


def _slow_journal(world: Environment) -> dict[str, Any]:
    world.systemctl("exit 1")
    program = world.folder / "bin" / "journalctl"
    program.write_text(f"#!/bin/sh\n{_DRIP}\n")
    program.chmod(0o755)
    return {"unit": "bot.service", "values": {"errors_total": {"count": "x"}}, "timeout": "150ms"}


def _slow_database(world: Environment) -> dict[str, Any]:
    address = world.serve(respond_slowly(b"R", b"\0")).url.removeprefix("http://").removesuffix("/metrics")
    return {"url": f"postgresql://bot@{address}/trades", "timeout": "150ms", "queries": [QUERY]}


def _endless_query(world: Environment) -> dict[str, Any]:
    fields = WORKING["sql"](world)
    query = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) AS n FROM r"
    return {**fields, "timeout": "150ms", "queries": [{"query": query, "values": {"n": "n"}}]}


DRIPPING: dict[str, Make | None] = {
    "scrape": _slow_server(_HEAD, b"a"),
    "scrape head": _slow_server(b"HTTP/1.1 200 OK\r\n", b"X"),
    "scrape chunks": _slow_server(_CHUNKS, b"1\r\na\r\n"),
    "scrape before": _slow_server(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "process": None,  # asks systemd, and that is limited as a whole: see HUNG
    "host": None,
    "systemd": _slow_systemctl,
    "http_json": _slow_server(_HEAD, b" ", values=JSON_VALUES),
    "http_json login": _slow_login,
    "json_file": None,  # a regular file comes at once, or hangs
    "prometheus": _slow_server(_HEAD, b" ", queries={"a": "a"}),
    "command": lambda _: {"run": ["sh", "-c", _DRIP], "format": "nagios", "timeout": "150ms"},
    "command that closes": lambda _: {
        "run": ["sh", "-c", "exec >&- 2>&-; sleep 300"],
        "format": "nagios",
        "timeout": "150ms",
    },
    "command and its children": lambda _: {
        "run": ["sh", "-c", "setsid sleep 300 & sleep 300"],
        "format": "nagios",
        "timeout": "150ms",
    },
    "textfile": None,
    "jsonl": None,
    "log": _slow_journal,
    "sql": _slow_database,
    "sql query": _endless_query,
}
"""By type, and where there are several, the way: a far end that always says a little more."""


def test_every_source_that_is_asked_is_tried_here() -> None:
    assert {way.partition(" ")[0] for way in DRIPPING} == set(PULLED)


@pytest.mark.parametrize("way", [way for way, make in DRIPPING.items() if make is not None])
def test_the_time_of_a_read_is_that_of_the_whole(way: str, environment: Environment) -> None:
    make = DRIPPING[way]
    assert make is not None
    source = make_source(way.partition(" ")[0], make(environment))
    begun = time.monotonic()
    try:
        list(source.read({}, {}, NOW))
    except SourceError as error:
        assert " — " in str(error)  # noqa: PT017 - a journal that goes on for ever is no error: what is there is read
    else:
        assert way == "log"

    assert time.monotonic() - begun < source.deadline / 1_000 + 2


# ─ bytes ─


_LONG = "x" * 5_000_000


def _large_server(**fields: Any) -> Make:
    return lambda world: {
        "url": world.serve(_endless(fields.pop("head", b""))).url,
        "timeout": "20s",
        "max_bytes": 100_000,
        **fields,
    }


def _endless(more: bytes) -> Callable[..., object]:
    """Sends without end, as fast as it is taken."""

    def behave(server: Any, connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + more + b"\r\n")
        while not server.stopping.is_set():
            connection.sendall(b"a 1\n" * 10_000)

    return behave


def _large_file(name: str, **fields: Any) -> Make:
    def make(world: Environment) -> dict[str, Any]:
        (world.folder / name).write_text(_LONG)
        place = {"folder": str(world.folder)} if name.endswith(".prom") else {"file": str(world.folder / name)}
        return {**place, "max_bytes": 100_000, **fields}

    return make


def _large_rows(world: Environment) -> dict[str, Any]:
    query = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 5000) SELECT n, hex(zeroblob(500)) AS z FROM r"
    return {
        **WORKING["sql"](world),
        "max_bytes": 100_000,
        "queries": [{"query": query, "values": {"n": "n"}, "labels": ["z"]}],
    }


TOO_LARGE: dict[str, Make] = {
    "scrape": _large_server(),
    "scrape OpenMetrics": _large_server(head=f"Content-Type: {CONTENT_TYPE}\r\n".encode()),
    "http_json": _large_server(values=JSON_VALUES),
    "json_file": _large_file("state.json", values=JSON_VALUES),
    "prometheus": _large_server(queries={"a": "a"}),
    "command": lambda _: {"run": ["yes"], "format": "nagios", "max_bytes": 100_000, "timeout": "20s"},
    "textfile": _large_file("bot.prom"),
    "sql": _large_rows,
}
READS_ON = {"jsonl", "log"}
"""Take so much of it at a time, and are read on: see their own tests."""


def test_every_source_with_a_cap_is_tried_here() -> None:
    capped = {kind for kind in PULLED if "max_bytes" in TYPES[kind].model_fields}

    assert {way.partition(" ")[0] for way in TOO_LARGE} | READS_ON == capped


@pytest.mark.parametrize("way", TOO_LARGE)
def test_what_is_larger_than_the_cap_is_refused_whole_and_soon(way: str, environment: Environment) -> None:
    source = make_source(way.partition(" ")[0], TOO_LARGE[way](environment))
    begun = time.monotonic()

    with pytest.raises(SourceError, match="max_bytes"):
        list(source.read({}, {}, NOW))

    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("kind", PULLED)
def test_of_more_series_than_may_be_the_first_are_kept_and_it_is_told(kind: str, environment: Environment) -> None:
    source = make_source(kind, {**WORKING[kind](environment), "max_series": 1})
    limiter = SeriesLimiter.of(source, lambda _: 0)
    for now in (NOW, NOW + 1_000):
        read = list(source.read({}, {}, now))
        samples, cut = limiter.admit(read, now)
        assert len({each[:2] for each in samples}) == 1
        if len({each[:2] for each in read}) > 1:
            assert cut is not None
            assert "max_series" in cut.text
