"""A worker may be anybody's who is that account: whatever it answers harms nobody, and is told as an ActionError."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.actions import GitRepo, make_action
from tests.support.property_settings import examples
from watchdog.core.errors import ActionError
from watchdog.core.executor import call_deadline
from watchdog.core.target import Target
from watchdog.host import child_process, file_state
from watchdog.rollback import backup
from watchdog.worker import client, functions, launch, wire
from watchdog.worker.client import WorkerExecutor

Serve = Callable[[socket.socket], object]


def frame(kind: bytes, payload: bytes | str) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    return struct.pack("!cI", kind, len(data)) + data


class FakeServer:
    """Speaks the wire as it likes: `serve` has each connection, in a thread."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._ends: list[socket.socket] = []

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._ends.append(theirs)
        threading.Thread(target=self._run, args=(theirs,), daemon=True).start()
        return ours

    def _run(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except (OSError, wire.WireError):
            pass
        finally:
            connection.close()

    def close(self) -> None:
        for end in self._ends:
            end.close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Serve], WorkerExecutor]]:
    executors: list[WorkerExecutor] = []

    def make(serve: Serve) -> WorkerExecutor:
        monkeypatch.setattr(launch, "begin", lambda _: FakeServer(serve))
        executors.append(WorkerExecutor())
        return executors[-1]

    yield make
    for executor in executors:
        executor.close()


def saying(*frames: bytes) -> Serve:
    """That answer to each question; then it waits for the next."""

    def serve(connection: socket.socket) -> None:
        while wire.receive(connection) is not None:
            connection.sendall(b"".join(frames))

    return serve


def ask(executor: WorkerExecutor, function: Any = file_state.file_state, *args: Any, seconds: float = 60) -> Any:
    token = call_deadline.set(time.monotonic() + seconds)
    try:
        return executor.call(Target(), function, *(args or (Path("/nowhere"),)))
    finally:
        call_deadline.reset(token)


DEEP = "[" * 100_000 + "]" * 100_000
ANSWERS = {
    "nothing": b"",
    "a frame larger than any": struct.pack("!cI", b"A", 0xFFFFFFFF),
    "half a frame": struct.pack("!cI", b"A", 1000) + b"{",
    "no JSON": frame(b"A", "{"),
    "no UTF-8": frame(b"A", b'"\xff\xfe"'),
    "deep JSON": frame(b"A", DEEP),
    "a number without end": frame(b"A", '{"result": NaN}'),
    "a number too long": frame(b"A", '{"result": ' + "9" * 10_000 + "}"),
    "no object": frame(b"A", "[]"),
    "an empty frame": frame(b"A", ""),
    "no result": frame(b"A", "{}"),
    "a text": frame(b"A", '{"result": "x"}'),
    "a state without a kind": frame(b"A", '{"result": {}}'),
    "a state of an unknown kind": frame(b"A", '{"result": {"kind": ["file"]}}'),
    "a file without a hash": frame(b"A", '{"result": {"kind": "file", "mode": 1, "uid": 1, "gid": 1}}'),
    "a file whose hash is a path": frame(
        b"A", json.dumps({"result": {"kind": "file", "sha": "../../x", "mode": 1, "uid": 1, "gid": 1}})
    ),
    "an error that is no text": frame(b"A", '{"error": {"x": []}, "may_have_happened": "maybe"}'),
    "half a character": frame(b"A", '{"error": "\\ud800"}'),
    "a traceback that is none": frame(b"A", '{"error": "x", "traceback": {}}'),
    "an unknown kind": frame(b"Z", "{}"),
    "one of ours": frame(b"Q", "{}"),
    "another must be asked": frame(b"N", "{}"),
    "a child without a number": frame(b"C", '["x", 1.0]'),
    "a child of no kernel": frame(b"C", f"[{10**30}, 1.0]"),
    "init as a child": frame(b"C", "[0, 1.0]"),
    "a child from the far future": frame(b"C", "[17, 1e300]"),
    "a line that is none": frame(b"L", '{"x": 1}'),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_whatever_is_answered_is_an_action_error(fake: Callable[[Serve], WorkerExecutor], answer: bytes) -> None:
    noted: list[int] = []
    token = child_process.on_child_started.set(lambda pid, _: noted.append(pid))
    try:
        with pytest.raises(ActionError) as told:
            ask(fake(saying(answer)), seconds=0.5)
    finally:
        child_process.on_child_started.reset(token)
    str(told.value).encode()  # it can be stored
    assert len(str(told.value)) < 5_000
    assert not noted


MANY: dict[str, Callable[[], str]] = {
    "lists": lambda: "[" + "[]," * 5_000_000 + "[]]",
    "numbers": lambda: "[" + "1," * 5_000_000 + "1]",
    "texts": lambda: "[" + '"\\\\",' * 3_000_000 + '""]',
    "names": lambda: "{" + ",".join(f'"{n}":0' for n in range(1_200_000)) + "}",
    "lists behind an escaped quote": lambda: '["\\"",' + "[]," * 5_000_000 + "[]]",
}


@pytest.mark.slow
@pytest.mark.parametrize("write", MANY.values(), ids=MANY)
def test_millions_of_parts_are_refused_without_reading_them(
    monkeypatch: pytest.MonkeyPatch, fake: Callable[[Serve], WorkerExecutor], write: Callable[[], str]
) -> None:
    """Each takes a second or two and 400 MB to be read: two such answers, and the kernel would end the watchdog."""
    payload = write()
    assert len(json.loads(payload)) > 1_000_000
    monkeypatch.setattr(wire, "json", SimpleNamespace(loads=lambda *_, **__: pytest.fail("read"), dumps=json.dumps))
    with pytest.raises(ActionError, match="more parts than any"):
        ask(fake(lambda connection: connection.sendall(frame(b"A", f'{{"result": {payload}}}'))), seconds=30)


def test_a_text_may_hold_what_would_be_parts_outside_of_it() -> None:
    ours, theirs = socket.socketpair()
    text = '[{"\\,' * 1_500_000
    with ours, theirs:
        threading.Thread(target=wire.send, args=(theirs, b"A", [text, {"\\": text[:9]}]), daemon=True).start()
        assert wire.receive(ours) == wire.Frame(b"A", [text, {"\\": text[:9]}])


def test_one_who_talks_without_end_fills_no_log_and_is_ended_in_time(
    fake: Callable[[Serve], WorkerExecutor], caplog: pytest.LogCaptureFixture
) -> None:
    def serve(connection: socket.socket) -> None:
        line = frame(b"L", json.dumps([40, "x" * 100_000 + "\n\x1b[31m"]))
        connection.sendall(line * 2 * client._MAX_LOG_LINES)
        while True:  # without ever coming to where it is let go for what it says
            connection.sendall(line)
            time.sleep(0.01)

    with caplog.at_level(logging.DEBUG), pytest.raises(ActionError, match="in time"):
        ask(fake(serve), seconds=3)
    lines = [record.getMessage() for record in caplog.records if "x" * 100 in record.getMessage()]
    assert 1 <= len(lines) <= client._MAX_LOG_LINES
    assert max(map(len, lines)) < 5_000


def test_one_who_starts_programs_without_end_is_let_go(fake: Callable[[Serve], WorkerExecutor]) -> None:
    """Each is written down, and flushed to the disk, ahead of what anybody else has to write."""

    def serve(connection: socket.socket) -> None:
        assert wire.receive(connection) is not None
        while True:
            connection.sendall(frame(b"C", "[17, 1.0]"))
            wire.receive(connection)

    noted: list[int] = []
    token = child_process.on_child_started.set(lambda pid, _: noted.append(pid))
    try:
        with pytest.raises(ActionError, match="more programs than any"):
            ask(fake(serve), seconds=30)
    finally:
        child_process.on_child_started.reset(token)
    assert len(noted) == client._MAX_PROGRAMS


def test_one_who_speaks_unasked_while_it_is_kept_is_not_asked_again(fake: Callable[[Serve], WorkerExecutor]) -> None:
    """Whoever is the account can write into what is kept: the next step of its bot shall not fail for it."""
    absent = frame(b"A", json.dumps({"result": {"kind": "absent"}}))
    executor = fake(saying(absent, b"\xff" * 16))

    assert [ask(executor) for _ in range(3)] == [{"kind": "absent"}] * 3


def test_one_who_reads_nothing_is_ended_in_time(fake: Callable[[Serve], WorkerExecutor], tmp_path: Path) -> None:
    gate = threading.Event()
    large = tmp_path / "copy"
    large.write_bytes(bytes(20 << 20))
    began = time.monotonic()
    action = make_action(do="flag", file=f"{tmp_path}/x.py", set={"A": 1}).bind(Target())
    try:
        with pytest.raises(ActionError, match="in time"):
            ask(fake(lambda _: gate.wait(600)), functions.apply, action, {}, {}, "k", None, large, seconds=0.5)
    finally:
        gate.set()
    assert time.monotonic() - began < 60


def test_one_who_answers_drop_by_drop_is_ended_in_time(fake: Callable[[Serve], WorkerExecutor]) -> None:
    def serve(connection: socket.socket) -> None:
        for byte in frame(b"A", '{"result": {"kind": "absent"}}'):
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    began = time.monotonic()
    with pytest.raises(ActionError, match="in time"):
        ask(fake(serve), seconds=0.5)
    assert time.monotonic() - began < 60


NOTED: dict[str, Any] = {
    "nothing": {},
    "numbers": {"file": 1, "paths": 2, "repo": 3, "changes": 4},
    "lists": {"file": [], "from": [], "aside": [], "paths": [[]], "archive": {}, "repo": [], "changes": 7},
    "objects in objects": {"file": "/x", "x": json.loads("[" * 200 + "]" * 200)},
}


@pytest.mark.parametrize(
    "fields",
    [
        {"do": "flag", "file": "/srv/x.py", "set": {"A": 1}},
        {"do": "git", "revert": "HEAD", "repo": "/srv"},
        {"do": "archive", "paths": ["/srv/x"], "into": "/srv/y"},
        {"do": "restore", "file": "/srv/x", "from": "/srv/y"},
    ],
    ids=lambda fields: fields["do"],
)
@pytest.mark.parametrize("noted", NOTED.values(), ids=NOTED)
def test_what_is_noted_without_what_the_action_needs_is_an_action_error_and_no_other(
    fake: Callable[[Serve], WorkerExecutor], fields: dict[str, Any], noted: Any
) -> None:
    executor = fake(saying(frame(b"A", json.dumps({"result": noted}))))
    target = Target(repo=None)
    with pytest.raises(ActionError, match="cannot be true"):
        executor.act_as_owner(make_action(**fields).bind(target), target).capture()


def test_a_backup_lies_in_its_folder_whatever_the_worker_calls_it(tmp_path: Path) -> None:
    """What is noted of git is named by the worker: a name with a path would be written as the watchdog."""
    (tmp_path / "bot").mkdir()
    hostile = {"../../escaped": "eA==", "/tmp/escaped": "eA==", "git-head": "eA=="}

    def call(function: Any, *args: Any) -> Any:
        return {file_state.list_files: [], backup.read_git_state: hostile}[function]

    backup.back_up(tmp_path / "state/backups/1", [tmp_path / "bot/x"], str(tmp_path / "bot"), call)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / "state/backups/1/git-head"]
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize("part", ["eA==" * 1000, "no base64!", "é"])
def test_a_file_that_never_ends_does_not_fill_the_disk(tmp_path: Path, part: str) -> None:
    was = {"kind": "file", "sha": "0" * 64, "mode": 0o600, "uid": 0, "gid": 0}

    def call(function: Any, *args: Any) -> Any:
        answers = {file_state.list_files: [(tmp_path / "x", 5)], file_state.file_state: was, file_state.read_part: part}
        return answers[function]

    with pytest.raises(ActionError):
        backup.back_up(tmp_path / "state", [tmp_path / "x"], None, call)
    assert list((tmp_path / "state").iterdir()) == []


@settings(max_examples=examples(200), deadline=None)
@given(data=st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([*ANSWERS.values()])), max_size=4))
def test_random_bytes_are_a_frame_or_an_error(data: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=_send_and_close, args=(theirs, b"".join(data)))
        sender.start()
        try:
            while wire.receive(ours, time.monotonic() + 5) is not None:
                pass
        except (wire.WireError, wire.DeadlineError):
            pass
        ours.close()
        sender.join()


def _send_and_close(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)
    connection.close()


def run_session_on(data: bytes, scratch: Path) -> tuple[int, bytes]:
    """Exit status of a session that is told that and no more, and what it said."""
    from watchdog.worker.session import run_session

    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            run_session(theirs, scratch)
        finally:
            os._exit(99)
    theirs.close()
    ours.settimeout(60)
    _send(ours, data)
    said = b""
    while chunk := _receive(ours):
        said += chunk
    ours.close()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionError:
        return b""


_NO_QUESTIONS: tuple[Any, ...] = (
    {},
    [],
    None,
    {"function": "os.system", "arguments": ["touch /tmp/owned"], "repo": None},
    {"function": "watchdog.host.child_process.run", "arguments": [], "repo": None},
    {"function": "watchdog.host.file_state.restore_file", "arguments": ['"/x"', {}], "repo": None},
    {"function": "watchdog.host.file_state.file_state", "arguments": [], "repo": None},
    {"function": "watchdog.host.file_state.file_state", "arguments": [{}], "repo": None},
    {"function": "watchdog.host.file_state.file_state", "arguments": ['"/x"'], "repo": 7},
    {"function": ["x"], "arguments": 7, "repo": None},
)
QUESTIONS = [frame(b"Q", json.dumps(question)) for question in _NO_QUESTIONS]


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
def test_a_question_that_is_not_in_the_table_is_refused(question: bytes, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    from watchdog.worker.session import run_session

    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            run_session(theirs, tmp_path / "scratch")
        finally:
            os._exit(99)
    theirs.close()
    with ours:
        ours.sendall(question)
        answer = wire.receive(ours, time.monotonic() + 60)
    _, status = os.waitpid(pid, 0)
    assert answer is not None
    assert answer.kind == b"A"
    assert "error" in answer.data
    assert "result" not in answer.data
    assert os.waitstatus_to_exitcode(status) == 0


@settings(max_examples=examples(40), deadline=None)
@given(
    data=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([*ANSWERS.values(), *QUESTIONS, frame(b"D", '"eA=="'), frame(b"D", "7"), frame(b"K", "0")]),
        ),
        max_size=5,
    )
)
def test_random_bytes_only_ever_end_a_session(data: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    status, said = run_session_on(b"".join(data), tmp_path_factory.getbasetemp() / "scratch")

    assert status in (0, 1)
    assert b'"result"' not in said
    assert not Path("/tmp/owned").exists()


@pytest.mark.slow
def test_who_is_honest_is_understood(tmp_path: Path) -> None:
    """The same wire, both ends ours: else all of the above would be so of one that understands nothing."""
    repo = GitRepo(tmp_path / "bot")
    repo.commit("one", x__py="A = 1\n")
    executor, target = WorkerExecutor(), Target(repo=str(repo.path))
    try:
        flag = executor.act_as_owner(make_action(do="flag", file="x.py", set={"A": 2}).bind(target), target)
        captured = flag.capture()
        assert flag.state(captured) == "before"
        flag.apply(captured, "k")
        assert flag.state(captured) == "after"
        assert list(flag.lasting_states(captured)) == ["after"]
    finally:
        executor.close()
