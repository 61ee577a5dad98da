"""What reads what others write, each as a function of bytes: it answers, or raises the one error that it says, soon.

`python -m tests.fuzz` feeds them what atheris thinks of; the tests feed them their seeds and what hypothesis thinks of.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from tests.fuzz import seeds
from tests.fuzz.chat_targets import chat_seeds, read_chat
from tests.fuzz.source_targets import (
    NOW,
    follow_json_lines,
    follow_log,
    memory_folder,
    read_paths,
    read_perfdata,
    read_textfiles,
)
from watchdog.actions.values.document_change import describe_change
from watchdog.actions.values.editor import ensure_same_types, get_values, has_values, set_values, validate_values
from watchdog.actions.values.located_value import Value
from watchdog.config import ConfigError, load
from watchdog.core.errors import ActionError, SourceError, WatchdogError
from watchdog.core.inbox import http_inbox
from watchdog.core.protocols import PushedSource
from watchdog.core.telemetry import Telemetry, log
from watchdog.core.text import escape
from watchdog.net import fetch, http, session
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.offline.history.query import QueryTimes, run_query
from watchdog.promql import PromqlError, evaluate, metric_names, parse, required_lookback
from watchdog.sources import openmetrics
from watchdog.sources.exposition import PageCache, PageLimits, parse_samples
from watchdog.sources.heartbeat import HeartbeatSource
from watchdog.sources.json_document import parse_document
from watchdog.sources.json_explain import explain
from watchdog.sources.json_values import JsonValue, Limits, Timing, extract
from watchdog.sources.prometheus_answer import error_text, parse_vector
from watchdog.sources.push import PushSource
from watchdog.sources.push_body import parse_body
from watchdog.sources.sql_file import query_sqlite
from watchdog.sources.sql_rows import QuerySpec, ReadLimits
from watchdog.sources.statsd_table import StatsdTable
from watchdog.tsdb.page import PageList, SeriesPage
from watchdog.web.inbox import Inbox
from watchdog.web.pages import build_routes
from watchdog.web.server import WebServer

MAX_BYTES = 64 * 1024
"""Of one input; what may be longer has a limit of its own, and a test of that."""


class Target(NamedTuple):
    run: Callable[[bytes], object]
    """Raises what nobody documented."""
    seeds: Callable[[], Iterable[bytes]]


def read_exposition(data: bytes) -> None:
    """A page of a source: what was kept of the page before makes no difference."""
    cache = PageCache()
    results = []
    for kept in (None, cache, cache):
        try:
            results.append(repr(parse_samples(data, NOW, kept)))
        except SourceError as error:
            results.append(str(error))
    assert len(set(results)) == 1


def read_openmetrics(data: bytes) -> None:
    """The same in the other format."""
    cache, state = openmetrics.OpenMetricsCache(), dict[str, object]()
    results = []
    for kept in (openmetrics.OpenMetricsCache(), cache, cache):
        try:
            results.append(repr(openmetrics.parse_samples(data, NOW, state, kept)))
        except SourceError as error:
            results.append(str(error))
    assert len(set(results)) == 1


def read_promql(data: bytes) -> None:
    """An expression, as a rule or an address holds it: read, looked through, and asked of a small page."""
    text = data.decode("utf-8", "replace")
    try:
        tree = parse(text)
        metric_names(tree)
        required_lookback(tree)
        evaluate(tree, _page(), np.array([NOW - 60_000, NOW], np.int64))
    except PromqlError:
        pass


@cache
def _page() -> PageList:
    t = np.arange(NOW - 600_000, NOW + 1, 15_000, dtype=np.int64)
    keys = [tuple(sorted({"__name__": name, "side": side}.items())) for name in ("left", "right") for side in "ab"]
    values = np.array([np.arange(t.size), np.ones(t.size), np.full(t.size, np.nan), -np.arange(t.size)], np.float64)
    return PageList([SeriesPage(t, values, keys, np.full(len(keys), t[0]))])


def read_rules(data: bytes) -> None:
    """A file of rules, whole: loaded, or refused at a place that is in it."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        folder = Path(name)
        (folder / "rules").mkdir()
        (folder / "watchdog.yaml").write_text(seeds.MAIN_YAML)
        (folder / "rules" / "rules.yaml").write_bytes(data)
        try:
            load(folder, environ={"X": "x"})
        except ConfigError as error:
            for problem in error.problems:
                assert problem.what == escape(problem.what)
                assert 1 <= problem.line <= len(Path(problem.file).read_text(errors="replace").splitlines()) + 2


_VALUES: tuple[Value, ...] = (True, False, 0, -1.5, "x", "it's \n", None, ("a", 1), ())
_NAMES = ("A", "a", "a.b", "C.A", "x.y.a", "A.a.b", "a.0", "p[m=x].a")


def edit_flags(data: bytes) -> None:
    """A file of the bot's in which a flag is set. The first byte says which kind of file, the second which flag and value."""
    if len(data) < 2:
        return
    file = seeds.FLAG_FILES[data[0] % len(seeds.FLAG_FILES)]
    name, value = _NAMES[data[1] % len(_NAMES)], _VALUES[data[1] // len(_NAMES) % len(_VALUES)]
    content = data[2:]
    try:
        validate_values(file, {name: value})
    except ValueError:
        return
    with contextlib.suppress(ActionError):
        ensure_same_types(content, file, {name: value})
    try:
        was = get_values(content, file, [name])[name]
        after = set_values(content, file, {name: value})
    except ActionError:
        return
    assert has_values(after, file, {name: value})
    describe_change(content, after, file)
    if "\n" in was:
        return  # a list, whose lines come and go
    old, new = content.split(b"\n"), after.split(b"\n")
    assert len(old) == len(new)
    assert sum(one != other for one, other in zip(old, new, strict=True)) <= 1


class _Broken(logging.Handler):
    """Notes what the server did not foresee."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, OSError):
            self.found.append(error)


@cache
def _server() -> tuple[int, _Broken]:
    def query(asked: Mapping[str, str], _: int) -> bytes:
        if "expr" not in asked:
            raise WatchdogError("expr is missing")
        times = QueryTimes(asked.get("at"), asked.get("from"), asked.get("to"), asked.get("step")).times(NOW)
        return json.dumps(run_query(asked["expr"], _page(), times)[1]).encode()

    broken = _Broken()
    log.addHandler(broken)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    known = {"sources": {}, "kpis": {}, "rules": [], "targets": {}, "silenced": [], "now": NOW, "version": "1"}
    routes = build_routes(Telemetry("1").registry, lambda: None, lambda: known, query)
    inbox = Inbox()
    server = WebServer(routes, "127.0.0.1", 0, inbox=inbox)
    http_inbox.set(inbox)
    token = Path(tempfile.mkdtemp()) / "token"
    token.write_text(seeds.TOKEN)
    token.chmod(0o600)
    sources: list[PushedSource] = [
        PushSource(type="push", token_file=str(token)),
        HeartbeatSource(type="heartbeat", token_file=str(token)),
    ]
    for source in sources:
        source.receive("bot", {}, lambda samples, state: 0, lambda: NOW)
    return server.port, broken


def ask_web(data: bytes) -> None:
    """A request of anybody, also of a bot that sends its numbers or calls in: it is answered in HTTP, or the connection is
    closed; nothing breaks behind it."""
    port, broken = _server()
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as reader:
        try:
            reader.sendall(data)
            reader.shutdown(socket.SHUT_WR)
            while chunk := reader.recv(65_536):
                answer += chunk
        except ConnectionError:
            pass  # it had read enough
    if broken.found:
        raise broken.found.pop()
    assert b" 500 " not in answer[:20]


@contextmanager
def _answering(data: bytes) -> Iterator[None]:
    """Whatever is asked, `data` is the answer."""

    def open_socket(*_: object) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(5)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_BYTES)
        with theirs:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            kept.append(theirs.dup())
        return ours

    kept: list[socket.socket] = []
    try:
        with patch.object(fetch, "open_socket", open_socket), patch.object(session, "open_socket", open_socket):
            yield
    finally:
        for one in kept:
            one.close()


def read_answers(data: bytes) -> None:
    """The answer of a server: to the reader of pages, and to whoever else asks over HTTP."""
    limit = 1 << 20
    fetcher = fetch.HttpFetcher()
    with _answering(data[:MAX_BYTES]):
        with suppress(HttpError):
            assert len(fetcher.get("http://127.0.0.1:1/metrics", {}, 2_000, limit).body) <= limit
        with suppress(HttpError):
            answer = http.request("GET", "http://127.0.0.1:1/x", deadline=Deadline.after(2_000), max_bytes=limit)
            assert len(answer.body) <= limit
            answer.json()


JSON_VALUES = {
    "equity": JsonValue(path="account.equity", time="account.at"),
    "rows": JsonValue(path="rows[]", value="n", labels={"s": "s"}),
    "each": JsonValue(path="account", key="k"),
    "state": JsonValue(path="state", map={"on": 1.0}),
    "odd": JsonValue(path="sum(*.n) || sort_by(rows, &n)"),
}


def read_json_documents(data: bytes) -> None:
    """What an API answers, and what a state file holds."""
    with suppress(SourceError):
        parse_vector(data, "x", NOW, 1_000)
    error_text(data)
    with suppress(SourceError):
        document = parse_document(data)
        explain(document, JSON_VALUES, Timing(NOW, NOW))
        extract(document, JSON_VALUES, Timing(NOW, NOW), Limits())


def read_pushed(data: bytes) -> None:
    """What a bot sends: as text, as JSON, or as lines of it."""
    limits = PageLimits(10_000, Deadline.after(60_000))
    for kind in ("text/plain", "application/json", "application/x-ndjson"):
        with suppress(SourceError):
            found = parse_body(kind, data[:MAX_BYTES], NOW, PageCache(), limits)
            assert found
            assert len({sample[:2] for sample in found}) == len(found)
            assert all(sample.t <= NOW for sample in found)


def read_statsd(data: bytes) -> None:
    """A datagram of anybody: it is added up, or counted as no metric."""
    table = StatsdTable({}, 60_000, 100, "delta")
    table.read_datagram(data[:MAX_BYTES])
    table.end_sets()
    found, state = table.take(NOW)
    json.dumps(state, allow_nan=False)
    assert len({sample[:3] for sample in found}) == len(found)
    assert len({sample[:2] for sample in found}) <= 106


def read_sqlite(data: bytes) -> None:
    """A file that a bot calls its database."""
    queries = (
        QuerySpec("SELECT * FROM trades", {"pnl": "pnl"}, {"symbol": "symbol"}, "at"),
        QuerySpec(
            "SELECT symbol, sum(pnl) AS v FROM view GROUP BY 1 ORDER BY 2", {"v": "v"}, {"symbol": "symbol"}, None
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "db")
        path.write_bytes(data)
        with suppress(ActionError):
            for sample in query_sqlite(path, queries, ReadLimits(1_000, 1_000, MAX_BYTES), "UTC", NOW):
                assert math.isfinite(sample.v)
                assert sample.t <= NOW
        assert path.read_bytes() == data
        assert [each.name for each in Path(folder).iterdir()] == ["db"]


TARGETS = {
    "exposition": Target(read_exposition, seeds.exposition),
    "openmetrics": Target(read_openmetrics, seeds.openmetrics),
    "promql": Target(read_promql, seeds.promql),
    "rules": Target(read_rules, seeds.rules),
    "flags": Target(edit_flags, seeds.flags),
    "web": Target(ask_web, seeds.requests),
    "answers": Target(read_answers, seeds.answers),
    "json_documents": Target(read_json_documents, seeds.json_documents),
    "pushed": Target(read_pushed, seeds.pushed),
    "statsd": Target(read_statsd, seeds.statsd),
    "sqlite": Target(read_sqlite, seeds.sqlite),
    "perfdata": Target(read_perfdata, seeds.perfdata),
    "paths": Target(read_paths, seeds.paths),
    "jsonl": Target(follow_json_lines, seeds.json_lines),
    "log": Target(follow_log, seeds.log),
    "textfile": Target(read_textfiles, seeds.textfiles),
    "chat": Target(read_chat, chat_seeds),
}
