from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.worker.conftest import World, give, world  # noqa: F401 – a fixture
from watchdog.core.errors import SourceError
from watchdog.core.executor import call_deadline, owner_executor
from watchdog.core.model import Sample
from watchdog.core.protocols import ExplainedSource
from watchdog.sources import JsonFileSource, state_file

NOW = 1_700_000_000_000
WRITTEN = NOW - 30_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def write(path: Path, text: str | bytes, at: int = WRITTEN) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, ns=(at * 1_000_000,) * 2)


def make_source(path: Path, **fields: Any) -> JsonFileSource:
    fields = {"type": "json_file", "file": str(path), "values": {"equity": "account.equity"}} | fields
    return JsonFileSource.model_validate(fields)


def read(source: JsonFileSource, now: int = NOW) -> list[Sample]:
    return source.read({}, {}, now)


def error_of(source: JsonFileSource) -> str:
    with pytest.raises(SourceError, match=r".+ — .+") as caught:
        read(source)
    assert caught.value.__cause__ is None
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_what_names_no_time_is_from_when_the_file_was_written_and_its_age_is_from_now(path: Path) -> None:
    write(path, '{"account": {"equity": "5"}}')

    assert read(make_source(path)) == [
        Sample("equity", (), WRITTEN, 5.0),
        Sample("json_file_age_seconds", (), NOW, 30.0),
    ]


def test_a_document_that_names_its_time_is_from_then(path: Path) -> None:
    write(path, '{"account": {"equity": 5}, "at": "2023-11-14T23:13:00"}')
    equity, age = read(make_source(path, time="at", zone="Europe/Berlin"))

    assert equity.t == NOW - 20_000
    assert age == Sample("json_file_age_seconds", (), NOW, 30.0)


def test_a_file_from_the_future_is_from_now(path: Path) -> None:
    write(path, '{"account": {"equity": 5}}', NOW + 60_000)

    assert [each.t for each in read(make_source(path))] == [NOW, NOW]
    assert read(make_source(path))[1].v == 0


def test_a_file_that_nobody_writes_any_more_brings_no_newer_values(path: Path) -> None:
    write(path, '{"account": {"equity": 5}}')
    first, later = read(make_source(path)), read(make_source(path), NOW + 60_000)

    assert first[0] == later[0]
    assert later[1].v == 90.0


def test_a_file_that_is_replaced_all_the_time_is_always_whole(path: Path) -> None:
    done = threading.Event()

    def replace() -> None:
        number = 0
        while not done.is_set():
            number += 1
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps({"account": {"equity": number, "again": number}, "pad": "x" * 50_000}))
            beside.replace(path)

    write(path, '{"account": {"equity": 0, "again": 0}}')
    source = make_source(path, values={"equity": "account.equity", "again": "account.again"})
    with running(replace, done):
        for _ in range(50):
            equity, again, _age = read(source)
            assert equity.v == again.v


@contextmanager
def running(work: Callable[[], None], done: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(60)


def test_half_a_document_is_looked_at_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, '{"account": {"equ')
    monkeypatch.setattr(time, "sleep", lambda _: write(path, '{"account": {"equity": 5}}'))

    assert read(make_source(path))[0].v == 5.0


def test_a_file_that_changes_while_it_is_read_is_looked_at_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, '{"account": {"equity": 4}}')
    stat, looks = os.fstat, list[int]()

    def fstat(descriptor: int) -> os.stat_result:
        looks.append(descriptor)
        if len(looks) == 3:  # ahead of it, when it is opened, and once it is read
            write(path, '{"account": {"equity": 5}}', NOW)
        return stat(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)

    assert read(make_source(path))[0] == Sample("equity", (), NOW, 5.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds half a document, or none: it is empty"),
        ('{"account": {"equity": 5', "holds half a document, or none: no JSON at line 1"),
        ('{"account": {"equity": 5}}}', "Extra data"),
        (b"\xff", "is not UTF-8"),
        ("123", "holds a single value"),
        ('{"a": 1, "a": 2}', "a key stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"account": {}}', "nothing of values is there: equity (account.equity: nothing there)"),
        ("[" + " " * 200_000 + "]", "is larger than 150000 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_error_with_a_cure(content: str | bytes, said: str, path: Path) -> None:
    write(path, content)

    assert said in error_of(make_source(path, max_bytes=150_000))


def test_what_is_no_file_is_told(path: Path, tmp_path: Path) -> None:
    assert "is not there — does the bot write it" in error_of(make_source(path))
    assert "is not there — does the bot write state.json there?" in error_of(
        make_source(tmp_path / "no" / "state.json")
    )
    os.mkfifo(path)
    assert f"{path}" in error_of(make_source(path))
    assert str(tmp_path) in error_of(make_source(tmp_path))


def test_a_link_within_the_folder_is_followed_and_one_that_leads_out_is_not(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "state-2.json", '{"account": {"equity": 5}}')
    path.symlink_to("state-2.json")
    assert read(make_source(path))[0].v == 5.0
    path.unlink()
    path.symlink_to("/etc/passwd")

    assert "leads out of" in error_of(make_source(path))


def test_what_the_expressions_match_is_told(path: Path) -> None:
    write(path, '{"account": {"equity": 5}}')
    source = make_source(path, values={"equity": "account.equity", "x": "equity"})
    assert isinstance(source, ExplainedSource)
    equity, other = source.explain(NOW)

    assert (equity.key, equity.found) == ("values.equity.path", ("5",))
    assert (other.found, other.nearest) == ((), ("account.equity",))
    with pytest.raises(SourceError):
        make_source(path.with_name("gone")).explain(NOW)


def test_the_name_of_the_age_is_the_sources_own(path: Path) -> None:
    with pytest.raises(ValidationError, match="what the source itself says"):
        make_source(path, values={"json_file_age_seconds": "a"})


VALUES = {
    "equity": "account.equity",
    "size": {"path": "positions[]", "value": "size", "labels": {"symbol": "symbol"}, "time": "at"},
    "state": {"path": "state", "map": {"on": 1}},
}
DOCUMENT = '{"account": {"equity": 5}, "positions": [{"symbol": "B", "size": "2", "at": 1699999990}], "state": "on"}'


@pytest.mark.slow
def test_a_file_of_somebody_elses_is_read_by_a_process_of_his(world: World) -> None:  # noqa: F811
    path = world.bot / "state.json"
    write(path, DOCUMENT)
    give(path)
    source = make_source(path, values=VALUES)
    token = owner_executor.set(world.executor), call_deadline.set(time.monotonic() + 60)
    try:
        found = read(source)
        explained = source.explain(NOW)
        path.write_text("{")
        said = error_of(source)
    finally:
        owner_executor.reset(token[0])
        call_deadline.reset(token[1])

    assert found == [
        Sample("equity", (), WRITTEN, 5.0),
        Sample("size", (("symbol", "B"),), NOW - 10_000, 2.0),
        Sample("state", (), WRITTEN, 1.0),
        Sample("json_file_age_seconds", (), NOW, 30.0),
    ]
    assert explained[0].found == ("5",)
    assert "holds half a document" in said


@pytest.mark.slow
def test_the_questions_and_answers_of_a_worker_are_what_a_call_says(world: World) -> None:  # noqa: F811
    path = world.bot / "state.json"
    write(path, DOCUMENT)
    give(path)
    asked = state_file.StateFile(path, 1_000, make_source(path, values=VALUES).values, None, "UTC", 100)

    assert world.call(state_file.read_samples, asked, NOW) == state_file.read_samples(asked, NOW)
    assert world.call(state_file.explain_file, asked, NOW) == state_file.explain_file(asked, NOW)
