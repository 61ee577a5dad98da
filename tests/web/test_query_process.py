"""Queries are answered by a process of their own, which is ended when it takes too long, too much, or nobody waits."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from watchdog.core.errors import WatchdogError
from watchdog.core.model import Labels
from watchdog.host.side_process import SocketFrames
from watchdog.tsdb.page import ABSENT, SeriesPage
from watchdog.tsdb.page_copy import PageCopy, copy_in_slices
from watchdog.web import query_frames, query_process, query_worker
from watchdog.web.query_process import QueryProcess, QueryUnavailableError, ReaderGoneError

pytestmark = pytest.mark.slow

T = 1_767_225_600_000
NOW = T + 3_599_000
SLOW = {"expr": "sum(quantile_over_time(0.5, x[1h:100ms]))", "from": "now-1h", "step": "100s"}


def make_page(rows: int = 100) -> SeriesPage:
    keys: list[Labels] = [(("__name__", "x"), ("i", str(i)), ("text", 'ü"\n\\')) for i in range(rows)]
    values = np.random.default_rng(1).normal(size=(rows, 3_600))
    values[0, ::2] = ABSENT
    return SeriesPage(T + 1_000 * np.arange(3_600, dtype=np.int64), values, keys, T)


class Asker:
    """A daemon with one page, and a reader."""

    def __init__(self, folder: Path) -> None:
        self.copies: list[tuple[int, int]] = []
        self.page = make_page()
        self.queries = QueryProcess(lambda: NOW, folder / "series.db", self.copy)
        self.reader, self.ours = socket.socketpair()
        self.copying: Callable[[], None] = lambda: None

    def copy(self, metrics: object, after: int, until: int, _: int) -> list[PageCopy]:
        self.copies.append((after, until))
        self.copying()
        slices = copy_in_slices([self.page], ["x"], after, until)
        while True:
            try:
                next(slices)
            except StopIteration as done:
                copied: list[PageCopy] = done.value
                return copied

    def ask(self, expr: str, **params: str) -> dict[str, object]:
        answer = self.queries.answer({"expr": expr, **params}, self.ours.fileno())
        told: dict[str, object] = json.loads(answer)
        return told

    @property
    def pid(self) -> int:
        assert self.queries._running is not None
        return self.queries._running.child.pid


@pytest.fixture
def asker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    monkeypatch.setattr(query_process, "DEADLINE", 50.0)  # the machine may be busy, and it is the last to have a turn
    made = Asker(tmp_path)
    yield made
    made.queries.close()
    made.reader.close()
    made.ours.close()


def test_a_page_goes_over_the_socket_bit_for_bit() -> None:
    page = make_page(1_200)
    sent = PageCopy(page.t, page.v, page.keys, page.watched_since, 17, np.array([[1, 2], [3, 4]], np.int64))
    frames = iter([bytes(frame) for frame in query_frames.page_frames(sent)])

    got = query_frames.read_page(lambda: next(frames))

    assert (got.keys, got.trimmed_until) == (sent.keys, 17)
    for mine, theirs in zip(
        (sent.t, sent.v, sent.watched_since, sent.downtimes),
        (got.t, got.v, got.watched_since, got.downtimes),
        strict=True,
    ):
        assert (mine.shape, mine.tobytes()) == (theirs.shape, theirs.tobytes())
    assert list(frames) == []


def test_questions_one_after_another_are_answered_by_one_process(asker: Asker) -> None:
    assert asker.ask("sum(x > bool -100)")["series"] == [{"labels": {}, "values": [100]}]
    first = asker.pid
    told = asker.ask("count by (text) (x)", **{"from": "now-2s", "step": "1s"})

    assert told["times"] == [NOW - 2_000, NOW - 1_000, NOW]
    assert told["series"] == [{"labels": {"text": 'ü"\n\\'}, "values": [100, 100, 100]}]
    assert asker.pid == first
    assert asker.copies[0] == (NOW - 300_000, NOW)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"expr": "x +"}, "cannot be read"),
        ({"expr": "x", "at": "soon"}, "is no time"),
        ({}, "cannot be read"),
        ({"expr": "-" * 900 + "x"}, "nested more than"),
        ({"expr": "x offset 1e400"}, "longer than anything lasts"),
        ({"expr": 'count_values("v", x)', "from": "now-1h", "step": "1s"}, r"count_values makes .* series, more than"),
        ({"expr": "max_over_time(x[30m:1ms])", "from": "now-1h", "step": "1s"}, "would read and make"),
        (
            {
                "expr": 'label_replace(label_replace(x, "j", "'
                + "$1" * 4_000
                + '", "i", "(.*)"), "k", "$1$1$1$1$1", "j", "(.*)")'
            },
            "makes no label k",
        ),
    ],
)
def test_what_is_wrong_or_too_much_is_told_and_the_process_goes_on(
    asker: Asker, params: dict[str, str], why: str
) -> None:
    assert asker.ask("x")
    pid = asker.pid

    with pytest.raises(WatchdogError, match=why):
        asker.queries.answer(params, asker.ours.fileno())

    assert asker.ask("x")["series"]
    assert asker.pid == pid


@pytest.mark.slow
def test_an_answer_that_is_too_long_is_refused(asker: Asker) -> None:
    asker.page = make_page(700)
    with pytest.raises(
        WatchdogError, match=r"the answer of 700 series × 3,600 times is more than 32 MiB — ask for fewer"
    ):
        asker.ask("x", **{"from": "now-3599s", "step": "1s"})


def test_what_takes_too_long_is_ended_and_the_next_one_answered(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asker.ask("x")
    pid = asker.pid
    monkeypatch.setattr(query_process, "DEADLINE", 1.0)

    with pytest.raises(QueryUnavailableError, match="took more than 1 s — ask for fewer series"):
        asker.queries.answer(SLOW, asker.ours.fileno())

    assert not psutil.pid_exists(pid)
    monkeypatch.setattr(query_process, "DEADLINE", 50.0)
    assert asker.ask("x")["series"]


def test_a_reader_who_goes_takes_his_query_with_him(asker: Asker) -> None:
    assert asker.ask("x")
    pid = asker.pid
    asker.copying = asker.reader.close  # between the question and the evaluation

    with pytest.raises(ReaderGoneError):
        asker.queries.answer(SLOW, asker.ours.fileno())

    assert not psutil.pid_exists(pid)


def test_who_waits_for_another_may_go_too(asker: Asker) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert go_on.wait(30)

    asker.copying = hold
    other_reader, other = socket.socketpair()
    first = threading.Thread(target=asker.ask, args=("x",))
    first.start()
    assert entered.wait(30)
    other_reader.close()

    with pytest.raises(ReaderGoneError):
        asker.queries.answer({"expr": "x"}, other.fileno())

    go_on.set()
    first.join()
    other.close()


def test_a_process_that_the_kernel_ended_is_told_of_and_begun_again(asker: Asker) -> None:
    assert asker.ask("x")
    asker.copying = lambda: os.kill(asker.pid, signal.SIGKILL)
    with pytest.raises(QueryUnavailableError, match="not enough memory for it"):
        asker.ask("x")

    asker.copying = lambda: None
    assert asker.ask("x")["series"]
    os.kill(asker.pid, signal.SIGKILL)  # at rest: nobody hears of it
    assert asker.ask("x")["series"]


def test_it_stands_back_behind_everything_and_inherits_nothing(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "secret")
    assert asker.ask("x")
    process = psutil.Process(asker.pid)

    assert process.nice() == 19
    assert Path(f"/proc/{asker.pid}/oom_score_adj").read_text() == "1000\n"
    assert "TELEGRAM_TOKEN" not in process.environ()
    assert process.rlimit(psutil.RLIMIT_AS)[0] < 3 << 30
    assert {Path(f"/proc/{asker.pid}/fd/{fd}").resolve().name.split(":")[0] for fd in (1, 2)} == {"null"}
    assert process.num_fds() <= 6


def test_its_memory_is_limited() -> None:
    program = (
        "import numpy\nfrom watchdog.host.side_process import restrict\nrestrict(1 << 30)\n"
        "held = numpy.empty(900 << 17)\n"
        "try: numpy.empty(200 << 17)\nexcept MemoryError: print('no more')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("no more\n", "")


def test_where_its_memory_ends_it_says_so_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(query_worker, "parse", no_memory)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        question = query_frames.encode({"params": {"expr": "x"}, "now": NOW, "series_db": "/none"})
        ours.sendall(query_frames.head_of(question) + question)

        assert not query_worker._answer(SocketFrames(theirs))
        assert b"!it needs more than 1,024 MiB of memory" in ours.recv(4_096)


def test_the_end_of_the_daemon_is_its_end(asker: Asker) -> None:
    assert asker.ask("x")
    pid = asker.pid

    asker.queries.close()

    assert not psutil.pid_exists(pid)
    with pytest.raises(QueryUnavailableError, match="ending"):
        asker.ask("x")


def test_a_daemon_that_was_killed_leaves_none_behind(asker: Asker) -> None:
    assert asker.ask("x")
    running = asker.queries._running
    assert running is not None

    running.door.close()  # as the kernel does for one who is killed

    deadline = time.monotonic() + 30
    while running.child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
