"""What a source leaves behind: no thread, no open file and no process, however its reads ended."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sources.contract.environment import NOW, PULLED, PUSHED, Environment, Make, make_pushed, make_source
from tests.sources.contract.sound import Deliveries
from tests.sources.contract.tables import BROKEN, BY_ITSELF, HUNG, NOT_LISTENING, RECEIVING, WORKING
from watchdog.core.errors import SourceError
from watchdog.core.protocols import ExplainedSource, PulledSource, SourceCache, SourceState

_TIMES = 8


def _open_files() -> list[str]:
    found = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(each.readlink()))
        except FileNotFoundError:
            continue  # that of the listing itself
    return sorted(path for path in found if not path.startswith("/dev/null"))


@contextmanager
def nothing_is_left(ours: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """`ours`: open files, sockets included, of the far end's that are there meanwhile."""
    gc.collect()
    threads, files, children = set(threading.enumerate()), len(_open_files()) - ours(), _children()
    yield
    gc.collect()
    deadline = time.monotonic() + 10
    while (
        len(_open_files()) - ours() > files
        or set(threading.enumerate()) - threads - _servers()
        or _children() - children
    ):
        assert time.monotonic() < deadline, (
            f"left: {_open_files()}, {set(threading.enumerate()) - threads - _servers()}, {_children() - children}"
        )
        time.sleep(0.01)


def _servers() -> set[threading.Thread]:
    """Of the far ends, which end with the test."""
    return {
        each
        for each in threading.enumerate()
        if "_serve" in each.name or "_accept" in each.name or "lambda" in each.name
    }


def _children() -> set[int]:
    """By the kernel's word: psutil may be looking elsewhere."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found |= set(map(int, (task / "children").read_text().split()))
    return found


def _read(source: PulledSource) -> None:
    """Twice on one connection, and once for people; then the connection is let go."""
    state, cache = SourceState(), SourceCache()
    for number in range(2):
        try:
            list(source.read(state, cache, NOW + number))
        except SourceError:
            continue
    if isinstance(source, ExplainedSource):
        try:
            source.explain(NOW)
        except SourceError:
            return


_TABLES: dict[str, dict[str, Make]] = {
    "well": WORKING,
    "broken": BROKEN,
    "hung": {kind: make for kind, make in HUNG.items() if make is not None},
}


@pytest.mark.parametrize(
    ("table", "kind"), [(table, kind) for table, rows in _TABLES.items() for kind in PULLED if kind in rows]
)
@pytest.mark.slow
def test_reads_leave_nothing_behind(table: str, kind: str, environment: Environment) -> None:
    source = make_source(kind, _TABLES[table][kind](environment))
    _read(source)  # what is loaded once stays
    with nothing_is_left(environment.open_files):
        for _ in range(_TIMES if table != "hung" else 3):
            _read(source)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PUSHED)
def test_listening_leaves_nothing_behind(kind: str, environment: Environment) -> None:
    make, send = RECEIVING[kind]
    fields = make(environment)

    def listen() -> None:
        deliveries = Deliveries()
        receiver = make_pushed(kind, fields).receive("bot", {}, deliveries, lambda: NOW)
        for _ in range(BY_ITSELF.get(kind, 0)):
            deliveries.wait()
        send(environment, fields)
        deliveries.wait()
        receiver.close()

    listen()
    environment.web.ask("GET", "/healthz")
    with nothing_is_left(environment.open_files):
        for _ in range(_TIMES):
            listen()


@pytest.mark.slow
@pytest.mark.parametrize("kind", PUSHED)
def test_who_cannot_listen_leaves_nothing_behind(kind: str, environment: Environment) -> None:
    source = make_pushed(kind, NOT_LISTENING[kind](environment))
    with nothing_is_left(environment.open_files):
        for _ in range(_TIMES):
            with pytest.raises(SourceError):
                source.receive("bot", {}, Deliveries(), lambda: NOW)
