"""What is sent to sources, over raw sockets: by those who send badly, slowly, or without end."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from tests.support.senders import TOKEN
from watchdog.core.inbox import InboxEndpoint, InboxReply, InboxRequest
from watchdog.web.inbox import Inbox
from watchdog.web.pages import Response
from watchdog.web.server import _MAX_CONNECTIONS, WebServer

REFUSAL = InboxReply(401, "who are you")
ENDPOINT = InboxEndpoint("box", ("POST", "PUT"), REFUSAL)
MAX_BYTES = 10_000


class Mailbox:
    """A source that is told; it wants a token."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.entered, self.go_on = threading.Semaphore(0), threading.Event()

    def __call__(self, request: InboxRequest) -> InboxReply:
        if request.token != TOKEN:
            return REFUSAL
        if request.parts == ("slow",):
            self.entered.release()
            assert self.go_on.wait(30)
        self.taken.append(request.read_body(MAX_BYTES))
        if request.parts == ("bug",):
            raise ZeroDivisionError
        return InboxReply(204)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def server(mailbox: Mailbox) -> Iterator[WebServer]:
    inbox = Inbox()
    inbox.register(ENDPOINT, "bot", mailbox)
    running = WebServer({"/healthz": lambda _: Response.text("ok")}, "127.0.0.1", 0, (), inbox)
    yield running
    running.close()


def connect(server: WebServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def head(*lines: str, path: str = "/box/bot", method: str = "POST", token: str = TOKEN) -> bytes:
    said = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *lines]
    return ("\r\n".join(said) + "\r\n\r\n").encode("latin-1")


def read_answer(door: socket.socket) -> bytes:
    """The head of one answer; empty when there is none any more."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n\r\n" not in answer:
            some = door.recv(1)
            if not some:
                break
            answer += some
    return answer


def exchange(server: WebServer, *parts: bytes) -> bytes:
    """All that comes back, when nothing more is sent."""
    with connect(server) as door:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                door.sendall(part)
            door.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while some := door.recv(65_536):
                answer += some
        return answer


def code_of(answer: bytes) -> int | None:
    return int(answer.split()[1]) if answer else None


def is_served(server: WebServer) -> bool:
    return exchange(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").endswith(b"\r\n\r\nok\n")


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("request_", "code", "body"),
    [
        (head("Content-Length: 5") + b"hello", 204, b"hello"),
        (head("content-length:5 ") + b"hello", 204, b"hello"),
        (head("Content-Length: 5", "Content-Length: 5") + b"hello", 204, b"hello"),
        (head("Content-Length: 0"), 204, b""),
        (head(), 204, b""),
        (head(CHUNKED) + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", 204, b"hello"),
        (head(CHUNKED) + b"00005\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", 204, b"hello"),
        (head(CHUNKED) + b"0\r\n\r\n", 204, b""),
        (head("Content-Length: 5", "Content-Length: 6") + b"hello", 400, None),
        (head("Content-Length: -5") + b"hello", 400, None),
        (head("Content-Length: +5") + b"hello", 400, None),
        (head("Content-Length: 0x5") + b"hello", 400, None),
        (head("Content-Length: " + "9" * 30) + b"hello", 400, None),
        (head("Content-Length: 5, 5") + b"hello", 400, None),
        (head("Content-Length: \u00b2".encode("latin-1").decode("latin-1")), 400, None),
        (head("Content-Length: 5", CHUNKED) + b"hello", 400, None),
        (head("Transfer-Encoding: gzip, chunked") + b"hello", 501, None),
        (head(CHUNKED, CHUNKED) + b"0\r\n\r\n", 501, None),
        (head("Content-Length: 10001") + b"x" * 10_001, 413, None),
        (head("Content-Length: 999999999999"), 413, None),
        (head(CHUNKED) + b"2711\r\n" + b"x" * 10_001 + b"\r\n0\r\n\r\n", 413, None),
        (head(CHUNKED) + b"ffffffff\r\n", 413, None),
        (head(CHUNKED) + b"fffffffff\r\n", 400, None),
        (head(CHUNKED) + b"hello\r\n", 400, None),
        (head(CHUNKED) + b"5\nhello\r\n0\r\n\r\n", 400, None),
        (head(CHUNKED) + b"4\r\nhello\r\n0\r\n\r\n", 400, None),
        (head(CHUNKED) + b"-5\r\nhello\r\n", 400, None),
        (head(CHUNKED) + b" " * 10_000, 400, None),
        (head(CHUNKED) + b"0\r\n" + b"a: b\r\n" * 1_000, 400, None),
        (head(CHUNKED) + b"1\r\nx\r\n" * 9_000 + b"0\r\n\r\n", 204, b"x" * 9_000),
        (head("Content-Encoding: zip", "Content-Length: 5") + b"hello", 415, None),
        (head("Content-Encoding: gzip", "Content-Length: 5") + b"hello", 400, None),
        (head(path="/box/bot/bug"), 500, b""),
        (head(token="other") + b"x", 401, None),
        (head(path="/box/other") + b"x", 401, None),
        (head(path="/box") + b"x", 405, None),
        (head(path="/boxes/bot") + b"x", 405, None),
        (head(path="http://localhost/box/bot"), 204, b""),
        (head(path="http://evil.example/box/bot"), 421, None),
        (head(method="BREW"), 405, None),
        (b"POST /box/bot HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400, None),
        (b"POST /box/bot\r\n\r\n", 400, None),
        (head("Content-Length : 5") + b"hello", 400, None),
        (head("no header", "Content-Length: 5") + b"hello", 400, None),
        (head("Content-Length: 5", "no header", CHUNKED) + b"hello", 400, None),
        (head("X: a\rContent-Length: 5") + b"hello", 400, None),
        (head("X: a\0", "Content-Length: 5") + b"hello", 400, None),
        (head("X: a", " Content-Length: 6", "Content-Length: 5") + b"hello", 400, None),
        (head("Content-Length:\r\n 5") + b"hello", 400, None),
        (head("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n", 400, None),
        (head("Transfer-Encoding:\u00a0chunked") + b"0\r\n\r\n", 501, None),
        (head(": 5") + b"hello", 400, None),
        (head("Content-Length: 5").replace(b"\r", b"") + b"hello", 204, b"hello"),
        (head("Content-Length: 5").replace(b"\r\n\r\n", b"\n\r\n") + b"hello\r\n\r\n", 204, b"hello"),
    ],
)
def test_where_a_body_ends_is_known_for_sure_or_it_is_refused(
    server: WebServer, mailbox: Mailbox, request_: bytes, code: int, body: bytes | None
) -> None:
    answer = exchange(server, request_)

    assert code_of(answer) == code
    assert mailbox.taken == ([] if body is None else [body])
    assert is_served(server)


def test_a_body_that_unpacks_to_more_than_is_taken_is_refused_before_it_fills_the_memory(
    server: WebServer, mailbox: Mailbox
) -> None:
    bomb = gzip.compress(b"x" * 5_000_000)
    assert len(bomb) < MAX_BYTES

    assert code_of(exchange(server, head("Content-Encoding: gzip", f"Content-Length: {len(bomb)}") + bomb)) == 413
    assert mailbox.taken == []


def test_who_asks_first_whether_it_may_send_is_told_so_when_it_is_known(server: WebServer, mailbox: Mailbox) -> None:
    with connect(server) as door:
        door.sendall(head("Content-Length: 5", "Expect: 100-continue"))
        assert read_answer(door) == b"HTTP/1.1 100 Continue\r\n\r\n"
        door.sendall(b"hello")
        assert read_answer(door).startswith(b"HTTP/1.1 204 ")
    with connect(server) as door:
        door.sendall(head("Content-Length: 5", "Expect: 100-continue", token="other"))
        assert read_answer(door).startswith(b"HTTP/1.1 401 "), "nothing of it is wanted"
    with connect(server) as door:
        door.sendall(head("Content-Length: 10001", "Expect: 100-continue"))
        assert read_answer(door).startswith(b"HTTP/1.1 413 ")

    assert mailbox.taken == [b"hello"]


def test_who_asks_first_over_a_kept_connection_is_not_told_to_go_on_before_it_is_known(server: WebServer) -> None:
    with connect(server) as door:
        door.sendall(head())
        assert read_answer(door).startswith(b"HTTP/1.1 204 ")
        door.sendall(head("Content-Length: 5", "Expect: 100-continue", token="other"))
        assert read_answer(door).startswith(b"HTTP/1.1 401 ")


def test_what_hides_in_a_body_behind_a_line_that_is_no_header_is_no_request(server: WebServer) -> None:
    hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

    answer = exchange(server, head("no header", f"Content-Length: {len(hidden)}") + hidden)

    assert answer.count(b"HTTP/1.") == 1


def test_who_is_refused_in_the_middle_of_a_long_body_reads_why(server: WebServer) -> None:
    for lines, code in ((("Content-Length: 3000000",), 413), ((CHUNKED,), 400)):
        with connect(server) as door:
            door.sendall(head(*lines))
            door.sendall(b"x" * 3_000_000)
            assert code_of(read_answer(door)) == code


def test_requests_follow_each_other_on_one_connection(server: WebServer, mailbox: Mailbox) -> None:
    with connect(server) as door:
        door.sendall(
            head("Content-Length: 1") + b"a" + head(CHUNKED) + b"1\r\nb\r\n0\r\n\r\n" + head("Content-Length: 1")
        )
        assert b"Connection: keep-alive" in read_answer(door)
        assert b"Connection: keep-alive" in read_answer(door)
        door.sendall(b"c")
        assert b"Connection: keep-alive" in read_answer(door)
        door.sendall(head("Content-Length: 1", "Connection: close") + b"d")
        assert b"Connection: close" in read_answer(door)
        assert door.recv(1) == b""

    assert mailbox.taken == [b"a", b"b", b"c", b"d"]


def test_a_connection_is_not_kept_where_something_of_a_body_is_left(server: WebServer, mailbox: Mailbox) -> None:
    smuggled = head("Content-Length: 1") + b"x"
    answer = exchange(server, head(f"Content-Length: {len(smuggled)}", token="other") + smuggled)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert mailbox.taken == []


def test_a_page_may_be_read_over_a_kept_connection_which_ends_with_it(server: WebServer) -> None:
    with connect(server) as door:
        door.sendall(head() + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(door).startswith(b"HTTP/1.1 204 ")
        assert read_answer(door).startswith(b"HTTP/1.0 200 ")
        assert door.recv(10) == b"ok\n"
        assert door.recv(1) == b""


def test_half_a_request_is_let_go_in_the_end(
    server: WebServer, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.web.server._PATIENCE", 0.2)
    with connect(server) as door:
        door.sendall(head("Content-Length: 5") + b"hel")
        assert read_answer(door).startswith(b"HTTP/1.1 408 ")
    with connect(server) as door:
        door.sendall(head("Content-Length: 5") + b"hel")
        door.shutdown(socket.SHUT_WR)
        assert door.recv(1) == b""

    assert mailbox.taken == []


def test_a_body_that_drips_is_let_go_in_the_end_as_well(
    server: WebServer, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.web.server._PATIENCE", 0.3)
    began = time.monotonic()
    with connect(server) as door:
        door.sendall(head("Content-Length: 5000"))
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 20:
                door.sendall(b"x")
                door.settimeout(0.02)
                with contextlib.suppress(TimeoutError):
                    assert door.recv(100).startswith(b"HTTP/1.1 408 ")
                    break

    assert time.monotonic() - began < 10
    assert mailbox.taken == []


def test_a_connection_on_which_nothing_comes_any_more_is_let_go(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.web.server._IDLE", 0.1)
    with connect(server) as door:
        door.sendall(head())
        assert read_answer(door).startswith(b"HTTP/1.1 204 ")
        assert door.recv(1) == b""


# ─ readers of the pages ─


def test_senders_that_are_stuck_in_their_bodies_keep_nobody_from_being_served(server: WebServer) -> None:
    stuck = [connect(server) for _ in range(4 * _MAX_CONNECTIONS)]
    for each in stuck:
        with contextlib.suppress(ConnectionError):
            each.sendall(head("Content-Length: 5000") + b"x")

    for _ in range(5):
        assert is_served(server)
    for each in stuck:
        each.close()


def test_idle_connections_of_senders_make_room_for_readers_and_for_senders(server: WebServer, mailbox: Mailbox) -> None:
    idle = [connect(server) for _ in range(_MAX_CONNECTIONS)]
    for each in idle:
        each.sendall(head())
        assert read_answer(each).startswith(b"HTTP/1.1 204 ")

    for _ in range(5):
        assert is_served(server)
    assert code_of(exchange(server, head())) == 204
    assert idle[0].recv(1) == b"", "the one that is idle for longest goes"
    idle[-1].sendall(head())
    assert read_answer(idle[-1]).startswith(b"HTTP/1.1 204 ")
    for each in idle:
        each.close()


def test_a_source_that_is_slow_to_take_keeps_no_reader_waiting_and_tells_senders_to_wait(
    server: WebServer, mailbox: Mailbox
) -> None:
    senders = [connect(server) for _ in range(3 * _MAX_CONNECTIONS)]
    for each in senders:
        with contextlib.suppress(ConnectionError):
            each.sendall(head(path="/box/bot/slow"))
    for _ in range(4):
        assert mailbox.entered.acquire(timeout=30)

    for _ in range(3):
        assert is_served(server)
    assert code_of(exchange(server, head())) == 429
    mailbox.go_on.set()
    for each in senders:
        each.close()


def test_senders_that_wait_for_their_turn_leave_room_for_readers(
    server: WebServer, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.web.inbox._MAX_WAIT", 60.0)
    senders = [connect(server) for _ in range(2 * _MAX_CONNECTIONS)]
    for each in senders:
        with contextlib.suppress(ConnectionError):
            each.sendall(head(path="/box/bot/slow"))
    for _ in range(4):
        assert mailbox.entered.acquire(timeout=30)

    assert code_of(exchange(server, head())) == 429, "the line is full: nobody is kept waiting behind it"
    for _ in range(3):
        assert is_served(server)
    mailbox.go_on.set()
    for each in senders:
        each.close()


def test_the_end_lets_go_of_kept_connections_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    inbox = Inbox()
    inbox.register(ENDPOINT, "bot", Mailbox())
    server = WebServer({}, "127.0.0.1", 0, (), inbox)
    doors = [connect(server) for _ in range(3)]
    for each in doors:
        each.sendall(head())
        read_answer(each)

    server.close()

    for each in doors:
        assert each.recv(1) == b""
        each.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_for_a_name_that_is_none_the_same_is_done_as_for_one_that_is(server: WebServer, mailbox: Mailbox) -> None:
    """Else how long an answer takes would tell names; and whatever token is sent there, it is nobody's."""
    asked: list[InboxRequest] = []

    def note(request: InboxRequest) -> InboxReply:
        asked.append(request)
        return mailbox(request)

    server._server.inbox.register(ENDPOINT, "bot", note)

    assert code_of(exchange(server, head("Content-Length: 1", path="/box/other") + b"x")) == 401

    assert [(request.token, request.parts) for request in asked] == [("", ())]
    assert mailbox.taken == []


def test_a_name_that_was_closed_is_worth_another_try_for_a_while(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox: Inbox = server._server.inbox
    first = inbox.register(ENDPOINT, "other", lambda _: InboxReply(204))
    second = inbox.register(ENDPOINT, "other", lambda _: InboxReply(200, "second"))
    first()
    assert code_of(exchange(server, head(path="/box/other"))) == 200, "who was replaced closes nobody else"
    second()

    assert code_of(exchange(server, head(path="/box/other"))) == 503
    monkeypatch.setattr("watchdog.web.inbox._REOPENING", 0.0)
    assert code_of(exchange(server, head(path="/box/other"))) == 401


_PIECES = st.sampled_from(
    [b"0\r\n", b"\r\n", b"5\r\nhello", b"\r", b"\n", b"ffff\r\n", b"3;a\r\nabc\r\n", b"0\r\n\r\n", head(), b"GET / "]
)


@settings(max_examples=examples(150), deadline=None)
@given(
    st.sampled_from([(CHUNKED,), ("Content-Length: 7",), (), ("Content-Encoding: gzip", CHUNKED)]),
    st.lists(_PIECES | st.binary(max_size=12), max_size=8),
)
def test_any_body_is_answered_and_breaks_nothing(lines: tuple[str, ...], pieces: list[bytes]) -> None:
    answer = exchange(_shared_server(), head(*lines) + b"".join(pieces))

    assert b" 500 " not in answer
    assert not answer or answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))


_shared: list[WebServer] = []


def _shared_server() -> WebServer:
    if not _shared:
        inbox = Inbox()
        inbox.register(ENDPOINT, "bot", Mailbox())
        _shared.append(WebServer({}, "127.0.0.1", 0, (), inbox))
    return _shared[0]
