"""What every source keeps, whichever it is. A new member of the union fails here until it is listed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
from pydantic import TypeAdapter, ValidationError

from tests.sources.conftest import MakeSystemctl
from tests.support.docs import ROOT, undocumented_fields, yaml_examples
from tests.support.ports import free_port
from tests.support.raw_http_server import Behaviour, StartServer, never_respond, respond_with
from tests.support.senders import TOKEN, Web
from watchdog.core import model
from watchdog.core.errors import SourceError
from watchdog.core.model import Labels
from watchdog.core.protocols import PulledSource, PushedSource, SourceCache, SourceState
from watchdog.host import procfs
from watchdog.sources import AnySource

NOW = 1_700_000_000_000
SOURCE_CLASSES: tuple[type[model.ConfigModel], ...] = get_args(get_args(AnySource)[0])
TYPES = {get_args(member.model_fields["type"].annotation)[0]: member for member in SOURCE_CLASSES}
PULLED = [kind for kind, member in TYPES.items() if hasattr(member, "read")]
PUSHED = [kind for kind, member in TYPES.items() if hasattr(member, "receive")]
ADAPTER: TypeAdapter[AnySource] = TypeAdapter(AnySource)


class Environment:
    """What the examples may lean on."""

    def __init__(
        self,
        start_server: StartServer,
        fake_systemctl: MakeSystemctl,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        web: Web,
    ) -> None:
        self.web = web
        self.serve, self.systemctl, self.folder, self.monkeypatch = start_server, fake_systemctl, folder, monkeypatch
        self._sockets: list[socket.socket] = []

    def take_port(self, kind: socket.SocketKind) -> int:
        """One on which somebody else listens."""
        self._sockets.append(socket.socket(socket.AF_INET, kind))
        self._sockets[-1].bind(("127.0.0.1", 0))
        return int(self._sockets[-1].getsockname()[1])

    def take_silent_port(self) -> int:
        """One on which somebody listens, and says nothing."""
        self._sockets.append(socket.create_server(("127.0.0.1", 0)))
        return int(self._sockets[-1].getsockname()[1])

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@pytest.fixture
def environment(
    start_server: StartServer,
    fake_systemctl: MakeSystemctl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    web: Web,
) -> Iterator[Environment]:
    world = Environment(start_server, fake_systemctl, tmp_path, monkeypatch, web)
    yield world
    world.close()


Make = Callable[[Environment], dict[str, Any]]


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
    return _systemctl_that_says(environment, f"cat {Path(__file__).with_name('systemctl_show.txt')}")


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


def make_source(kind: str, fields: dict[str, Any]) -> PulledSource:
    source = ADAPTER.validate_python({"type": kind, **fields})
    assert isinstance(source, PulledSource)
    return source


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


@pytest.mark.parametrize("table", [WORKING, BROKEN, HUNG], ids=["well", "broken", "hung"])
def test_every_source_that_is_asked_is_tried_here(table: dict[str, object]) -> None:
    assert set(table) == set(PULLED)


@pytest.mark.parametrize("table", [RECEIVING, NOT_LISTENING], ids=["receiving", "not listening"])
def test_every_source_that_is_told_is_tried_here(table: dict[str, object]) -> None:
    assert set(table) == set(PUSHED)


@pytest.mark.parametrize("kind", TYPES)
def test_a_source_is_either_asked_or_told(kind: str) -> None:
    assert (kind in PULLED) is not (kind in PUSHED)


@pytest.mark.parametrize("kind", TYPES)
def test_a_source_has_a_file_a_test_and_a_page_named_after_it(kind: str) -> None:
    for place in (f"watchdog/sources/{kind}.py", f"tests/sources/test_{kind}.py", f"docs/sources/{kind}.md"):
        assert (ROOT / place).is_file(), f"{place} is missing"
    assert TYPES[kind].__doc__, "the class docstring is user documentation"


@pytest.mark.parametrize("kind", TYPES)
def test_the_page_explains_every_key_and_every_series(kind: str, environment: Environment) -> None:
    text = "".join((ROOT / f"docs/sources/{page}.md").read_text() for page in (kind, "README"))
    missing = [name for name in TYPES[kind].model_fields if f"`{name}`" not in text]
    if kind in ("command", "host", "process", "systemd"):  # the names are theirs, not the bot's
        missing += [
            each.name
            for each in make_source(kind, WORKING[kind](environment)).read({}, {}, NOW)
            if each.name not in text
        ]

    assert missing == []


@pytest.mark.parametrize("kind", TYPES)
def test_the_example_of_the_page_is_valid(kind: str) -> None:
    for fields in yaml_examples(f"sources/{kind}.md", "sources"):
        ADAPTER.validate_python(fields)  # raises


@pytest.mark.parametrize("kind", TYPES)
def test_every_key_has_a_docstring(kind: str) -> None:
    assert undocumented_fields(TYPES[kind]) == []


def check_samples(found: Iterable[model.Sample], now: int) -> None:
    series: list[tuple[str, Labels]] = []
    for name, labels, t, value in found:
        assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name)
        assert labels == tuple(sorted(labels))
        assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", key) and text for key, text in labels)
        assert "source" not in dict(labels)
        assert type(value) is float
        assert math.isfinite(value) or math.isnan(value)
        assert type(t) is int
        assert t in (now, 1_699_999_999_000)
        series.append((name, labels))
    assert series
    assert len(set(series)) == len(series)


@pytest.mark.parametrize("kind", PULLED)
def test_samples_are_well_formed(kind: str, environment: Environment) -> None:
    part, state, cache = make_source(kind, WORKING[kind](environment)), SourceState(), SourceCache()
    for now in (NOW, NOW + 1_000):
        check_samples(part.read(state, cache, now), now)


@pytest.mark.parametrize("kind", PULLED)
def test_what_cannot_be_read_is_a_source_error_with_a_cure_and_no_cause_behind_it(
    kind: str, environment: Environment
) -> None:
    part = make_source(kind, BROKEN[kind](environment))

    with pytest.raises(SourceError, match=r".+ — .+") as caught:
        list(part.read({}, {}, NOW))

    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", [kind for kind in PULLED if HUNG.get(kind)])
def test_a_read_that_hangs_ends_by_itself(kind: str, environment: Environment) -> None:
    make = HUNG[kind]
    assert make

    with pytest.raises(SourceError, match="within"):
        list(make_source(kind, make(environment)).read({}, {}, NOW))


@pytest.mark.parametrize("kind", PULLED)
def test_a_source_is_frozen_and_remembers_nothing_itself(kind: str, environment: Environment) -> None:
    part = make_source(kind, WORKING[kind](environment))
    before = repr(part)
    list(part.read({}, {}, NOW))

    assert repr(part) == before
    with pytest.raises(ValidationError, match="frozen"):
        part.every = 5  # type: ignore[misc]


def read_twice(kind: str, environment: Environment, *, state_between: bool, cache_between: bool) -> set[str]:
    """Names of what the second read brings; between the two, what is not kept is thrown away."""
    source, state, cache = make_source(kind, WORKING[kind](environment)), SourceState(), SourceCache()
    list(source.read(state, cache, NOW))
    state = json.loads(json.dumps(state, allow_nan=False)) if state_between else {}
    return {each.name for each in source.read(state, cache if cache_between else {}, NOW + 1_000)}


@pytest.mark.parametrize("kind", PULLED)
def test_a_source_says_what_its_daemon_needs_to_know(kind: str, environment: Environment) -> None:
    source = make_source(kind, WORKING[kind](environment))

    assert isinstance(source, PulledSource)
    assert not isinstance(source, PushedSource)
    assert source.every >= 50
    assert source.deadline >= 50
    assert source.identity
    assert source.reads_needed in (1, 2)


@pytest.mark.parametrize("kind", PULLED)
def test_the_state_is_json_and_goes_on_from_there(kind: str, environment: Environment) -> None:
    source, cache = make_source(kind, WORKING[kind](environment)), SourceCache()
    states = []
    state = SourceState()
    for number in range(3):
        list(source.read(state, cache, NOW + number * 1_000))
        states.append(json.dumps(state, allow_nan=False))
        state = json.loads(states[-1])

    assert states[1] == states[2], "nothing has happened in between"


@pytest.mark.parametrize("kind", PULLED)
def test_the_cache_may_be_thrown_away_between_any_two_reads(kind: str, environment: Environment) -> None:
    lasting = read_twice(kind, environment, state_between=True, cache_between=True)
    without_cache = read_twice(kind, environment, state_between=True, cache_between=False)

    assert without_cache
    assert lasting - without_cache <= {"process_cpu_ratio", "host_cpu_ratio"}  # differences, which need two reads
    assert read_twice(kind, environment, state_between=False, cache_between=True)


def wait_for_kernel_tick() -> None:
    """Between two reads the kernel's figures move on, as they do in the 50 ms that lie between them at least."""
    before = sum(psutil.cpu_times())
    deadline = time.monotonic() + 10
    while sum(psutil.cpu_times()) == before:
        assert time.monotonic() < deadline, "the kernel's figures stand still"


@pytest.mark.parametrize("kind", PULLED)
def test_after_as_many_reads_as_it_needs_all_its_series_are_there(kind: str, environment: Environment) -> None:
    source, state, cache = make_source(kind, WORKING[kind](environment)), SourceState(), SourceCache()
    reads = []
    for number in range(3):
        reads.append({each.name for each in source.read(state, cache, NOW + number * 1_000)})
        wait_for_kernel_tick()

    assert set().union(*reads[: source.reads_needed]) == set().union(*reads)


@pytest.mark.parametrize("kind", PULLED)
def test_a_read_that_fails_leaves_the_state_as_it_was(kind: str, environment: Environment) -> None:
    state, cache = SourceState(), SourceCache()
    list(make_source(kind, WORKING[kind](environment)).read(state, cache, NOW))
    before = json.dumps(state)

    with pytest.raises(SourceError):
        list(make_source(kind, BROKEN[kind](environment)).read(state, cache, NOW + 1_000))

    assert json.dumps(state) == before


@pytest.mark.parametrize("kind", PULLED)
def test_a_misspelt_key_is_refused(kind: str, environment: Environment) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        make_source(kind, {**WORKING[kind](environment), "evry": "1s"})


# ─ sources that are told ─


def make_pushed(kind: str, fields: dict[str, Any]) -> PushedSource:
    source = ADAPTER.validate_python({"type": kind, **fields})
    assert isinstance(source, PushedSource)
    return source


class Deliveries:
    """What a source has delivered so far."""

    def __init__(self) -> None:
        self.made: list[tuple[list[model.Sample], SourceState]] = []
        self._one_more = threading.Semaphore(0)

    def __call__(self, samples: Iterable[model.Sample], state: SourceState) -> int:
        self.made.append((list(samples), json.loads(json.dumps(state, allow_nan=False))))
        self._one_more.release()
        return 0

    def wait(self) -> tuple[list[model.Sample], SourceState]:
        assert self._one_more.acquire(timeout=30), "nothing was delivered"
        return self.made[-1]


@pytest.mark.parametrize("kind", PUSHED)
def test_what_a_source_is_told_it_delivers_well_formed_with_a_state_from_which_another_goes_on(
    kind: str, environment: Environment
) -> None:
    make, send = RECEIVING[kind]
    fields, state, threads = make(environment), SourceState(), set(threading.enumerate())
    for now in (NOW, NOW + 1_000):  # the port, or whatever it is, is free again once it is closed
        deliveries = Deliveries()
        receiver = make_pushed(kind, fields).receive("bot", state, deliveries, lambda now=now: now)  # type: ignore[misc]
        for _ in range(BY_ITSELF.get(kind, 0)):
            deliveries.wait()
        send(environment, fields)
        samples, state = deliveries.wait()
        receiver.close()
        for t in {sample.t for sample in samples}:
            assert now - 1_000 <= t <= now + BY_ITSELF.get(kind, 0), "no two of a series are of one moment"
        newest = {sample[:2]: sample._replace(t=NOW) for sample in samples}  # a new counter was 0 before
        check_samples(newest.values(), NOW)

        assert len(deliveries.made) == 1 + BY_ITSELF.get(kind, 0), "closing delivers nothing"
    environment.web.close()
    left = set(threading.enumerate()) - threads
    for each in left:
        each.join(5)
    assert not [each for each in left if each.is_alive()]


@pytest.mark.parametrize("kind", PUSHED)
def test_a_source_that_cannot_listen_says_so_with_a_cure_and_no_cause_behind_it(
    kind: str, environment: Environment
) -> None:
    source = make_pushed(kind, NOT_LISTENING[kind](environment))

    with pytest.raises(SourceError, match=r".+ — .+") as caught:
        source.receive("bot", {}, Deliveries(), lambda: NOW)

    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", PUSHED)
def test_a_source_that_is_told_says_what_its_daemon_needs_to_know(kind: str, environment: Environment) -> None:
    source = make_pushed(kind, RECEIVING[kind][0](environment))

    assert not isinstance(source, PulledSource)
    assert source.every >= 50
    assert source.deadline >= 50
    assert source.identity
    with pytest.raises(ValidationError, match="frozen"):
        source.every = 5  # type: ignore[misc]
