"""What holds for whoever asks, with either client."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.net.conftest import SHORT_TIMEOUT, Ask
from tests.support.raw_http_server import (
    LOOPBACK_CERTIFICATE,
    Behaviour,
    RawHttpServer,
    StartServer,
    never_respond,
    respond_slowly,
    respond_with,
)
from watchdog.net.errors import HttpError


def ask_error(ask: Ask, url: str, **how: Any) -> HttpError:
    with pytest.raises(HttpError) as caught:
        ask(url, **how)
    return caught.value


def respond_as_ssh(server: RawHttpServer, connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def close_connection(server: RawHttpServer, connection: socket.socket) -> None:
    """Closes without an answer."""


def respond_without_end(server: RawHttpServer, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not server.stopping.is_set():
        connection.sendall(b"a 1\n" * 10_000)


# ─ time ─


@pytest.mark.parametrize(
    "behave",
    [
        never_respond,
        respond_slowly(b"", b"H"),
        respond_slowly(b"HTTP/1.1 200 OK\r\n", b"X"),
        respond_slowly(b"HTTP/1.1 200 OK\r\nX: ", b"X"),
        respond_slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"a"),
        respond_slowly(b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        respond_slowly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        respond_slowly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", b"a"),
        respond_slowly(b"HTTP/1.1 100 Continue\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"),
        respond_slowly(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"a 1\n", mtime=0)[:10], b"\x01"
        ),
    ],
    ids=[
        "silence",
        "status line",
        "header",
        "value of a header",
        "body",
        "body without length",
        "chunk size",
        "chunk",
        "status after status",
        "packed body",
    ],
)
def test_a_server_that_never_ends_is_left_at_the_deadline(
    ask: Ask, behave: Behaviour, start_server: StartServer
) -> None:
    began = time.monotonic()
    error = ask_error(ask, start_server(behave).url, timeout=SHORT_TIMEOUT)

    assert error.kind == "deadline"
    assert "no whole answer within 60 ms" in str(error)
    assert time.monotonic() - began < 60


def test_a_handshake_that_never_ends_is_left_at_the_deadline(ask: Ask, start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = ask_error(ask, f"https://127.0.0.1:{silent.getsockname()[1]}/", timeout=SHORT_TIMEOUT)

    assert (error.kind, error.may_have_happened) == ("deadline", False)


@pytest.mark.slow
def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    ask: Ask, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(respond_with("equity 5\n"))
    with full_backlog() as dead:
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", at) for at in (dead, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)

        assert ask("http://bot.invalid/metrics", timeout=10_000) == b"equity 5\n"
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses[:1] * 3)
        began = time.monotonic()
        assert ask_error(ask, "http://bot.invalid/metrics", timeout=SHORT_TIMEOUT).kind == "deadline"
        assert time.monotonic() - began < 60


@contextmanager
def full_backlog() -> Iterator[tuple[str, int]]:
    """A port that takes no connection and refuses none."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


# ─ bytes ─


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (gzip.compress(b"equity 5\n", mtime=0), "gzip"),
        (gzip.compress(b"equity", mtime=0) + gzip.compress(b" 5\n", mtime=0), "gzip"),
        (gzip.compress(b"equity 5\n", mtime=0) + bytes(512), "gzip"),
        (gzip.compress(b"equity", mtime=0) + gzip.compress(b" 5\n", mtime=0) + b"\0", "gzip"),
        (zlib.compress(b"equity 5\n"), "deflate"),
        (b"equity 5\n", "identity"),
    ],
)
def test_a_packed_answer_is_unpacked(ask: Ask, packed: bytes, encoding: str, start_server: StartServer) -> None:
    assert ask(start_server(respond_with(packed, headers={"Content-Encoding": encoding})).url) == b"equity 5\n"


def test_a_chunked_answer_is_read(ask: Ask, start_server: StartServer) -> None:
    def chunked(server: RawHttpServer, connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nequit\r\n4\r\ny 5\n\r\n0\r\n\r\n"
        )

    assert ask(start_server(chunked).url) == b"equity 5\n"


def respond_raw(raw: bytes) -> Behaviour:
    def behave(server: RawHttpServer, connection: socket.socket) -> None:
        connection.sendall(raw)

    return behave


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nequity 5\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        HINTS + ANSWER,
        b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS * 3 + b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"9\r\nequity 5\n\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n" + b"X-Many: 1\r\n" * 90 + b"\r\nequity 5\n",
    ],
    ids=["103", "several", "trailers", "91 headers"],
)
def test_what_stands_around_an_answer_is_passed_over(ask: Ask, raw: bytes, start_server: StartServer) -> None:
    assert ask(start_server(respond_raw(raw)).url) == b"equity 5\n"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (HINTS * 100 + ANSWER, "the connection failed"),
        (ANSWER.replace(b"\r\n\r\n", b"\r\n" + b"X-Many: 1\r\n" * 101 + b"\r\n"), "has more than 100 headers"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "101 Switching Protocols"),
    ],
    ids=["hints without end", "too many headers", "101"],
)
def test_what_is_too_much_around_an_answer_is_told(ask: Ask, raw: bytes, said: str, start_server: StartServer) -> None:
    assert said in str(ask_error(ask, start_server(respond_raw(raw)).url))


def test_an_answer_above_the_cap_is_refused_whole(ask: Ask, start_server: StartServer) -> None:
    server = start_server(respond_with("equity 5\n" * 100))

    assert len(ask(server.url, max_bytes=900)) == 900
    error = ask_error(ask, server.url, max_bytes=899)
    assert error.kind == "too_large"
    assert "more than 899 bytes" in str(error)


def test_an_answer_without_end_stops_at_the_cap(ask: Ask, start_server: StartServer) -> None:
    assert "more than 100000 bytes" in str(ask_error(ask, start_server(respond_without_end).url, max_bytes=100_000))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 5_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 ",
    ],
    ids=["negative chunk", "redirect", "redirect to a file", "status", "headers", "chunk size", "reason"],
)
def test_what_a_server_sends_is_never_held_as_a_whole(ask: Ask, head: bytes, start_server: StartServer) -> None:
    sent: list[int] = []

    def flood(server: RawHttpServer, connection: socket.socket) -> None:
        connection.sendall(head)
        while sum(sent) < 50_000_000 and not server.stopping.is_set():
            sent.append(connection.send(b"0" * 100_000))

    error = ask_error(ask, start_server(flood).url, max_bytes=100_000)

    assert error.kind in ("protocol", "status", "too_large")
    assert sum(sent) < 20_000_000  # what the sockets of the system take


@pytest.mark.parametrize(
    "location", ["http://[", "http://a:b:c/", "//", "http://[::1", "http://\xff\xfe/", "x" * 60_000]
)
def test_a_redirect_to_nowhere_is_told_as_one_short_line(ask: Ask, location: str, start_server: StartServer) -> None:
    error = ask_error(ask, start_server(respond_with("", "302 Found", {"Location": location})).url)

    assert error.kind == "status"
    assert "302 Found, a redirect" in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize("status", ["500 " + "x" * 60_000, "500 \x1b[2J\x1b]0;owned\x07", "401 key hush refused"])
def test_a_server_has_no_word_in_what_is_said_of_its_status(ask: Ask, status: str, start_server: StartServer) -> None:
    error = ask_error(ask, start_server(respond_with("", status)).url)

    assert error.kind == "status"
    assert len(str(error)) < 200
    assert "hush" not in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_small_answer_that_unfolds_into_a_huge_one_stops_at_the_cap(
    ask: Ask, encoding: str, start_server: StartServer
) -> None:
    page = b"a 1\n" * 2_000_000
    bomb = gzip.compress(page, mtime=0) if encoding == "gzip" else zlib.compress(page)
    assert len(bomb) < 100_000
    server = start_server(respond_with(bomb, headers={"Content-Encoding": encoding}))

    assert "more than 1000000 bytes" in str(ask_error(ask, server.url, max_bytes=1_000_000))


# ─ answers that cannot be used ─


@pytest.mark.parametrize(
    ("behave", "kind", "said"),
    [
        (
            respond_with("oops", "500 Internal Server Error"),
            "status",
            "answered 500 Internal Server Error — see the log",
        ),
        (respond_with("", "401 Unauthorized"), "status", "check token_file or headers"),
        (respond_with("", "404 Not Found"), "status", "check the path in url"),
        (respond_with("", "204 No Content"), "status", "answered 204"),
        (respond_with("equity 5\n", "206 Partial Content"), "status", "answered 206"),
        (
            respond_with("", "302 Found", {"Location": "/login?next=hush"}),
            "status",
            "a redirect — put http://127.0.0.1:",
        ),
        (respond_with("equity 5\n", length=100), "broken_off", "broke off half-way"),
        (respond_with("not gzip\n", headers={"Content-Encoding": "gzip"}), "encoding", "could not be unpacked"),
        (respond_with("equity 5\n", headers={"Content-Encoding": "deflate"}), "encoding", "could not be unpacked"),
        (respond_with("equity 5\n", headers={"Content-Encoding": "br"}), "encoding", "could not be unpacked"),
        (
            respond_with(gzip.compress(b"equity 5\n") + b"more", headers={"Content-Encoding": "gzip"}),
            "encoding",
            "could not be unpacked",
        ),
        (
            respond_with(
                gzip.compress(b"equity 5\n") + b"\0\0" + gzip.compress(b"x"), headers={"Content-Encoding": "gzip"}
            ),
            "encoding",
            "could not be unpacked",
        ),
        (
            respond_with(gzip.compress(b"equity 5\n")[:-9], headers={"Content-Encoding": "gzip"}),
            "broken_off",
            "broke off half-way",
        ),
        (respond_as_ssh, "protocol", "HTTP server"),
        (close_connection, "protocol", "the connection failed"),
    ],
)
def test_an_answer_that_cannot_be_used_is_told_with_the_cure(
    ask: Ask, behave: Behaviour, kind: str, said: str, start_server: StartServer
) -> None:
    error = ask_error(ask, start_server(behave).url)

    assert error.kind == kind
    assert said in str(error)
    assert str(error) == f"{error.what} — {error.cure}"


def test_a_redirect_is_not_followed(ask: Ask, start_server: StartServer) -> None:
    other = start_server(respond_with("equity 5\n"))

    said = str(ask_error(ask, start_server(respond_with("", "301 Moved", {"Location": other.url})).url))

    assert other.url in said
    assert other.requests == []


def test_a_redirect_is_not_read_to_its_end(ask: Ask, start_server: StartServer) -> None:
    sent = 0

    def redirect_without_end(server: RawHttpServer, connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n")
        with suppress(OSError):
            while sent < 200 << 20:
                sent += connection.send(b"x" * (1 << 20))

    server = start_server(redirect_without_end)
    error = ask_error(ask, server.url, max_bytes=100)
    server.close()

    assert error.kind == "status"
    assert sent < 100 << 20


@pytest.mark.parametrize("location", ["http://[", "ftp://127.0.0.1/", "http://127.0.0.1:99999/", "/\xff"])
def test_a_redirect_to_what_is_no_address_is_told_as_a_redirect(
    ask: Ask, location: str, start_server: StartServer
) -> None:
    def redirect(server: RawHttpServer, connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode("latin-1"))

    error = ask_error(ask, start_server(redirect).url)

    assert error.kind == "status"
    assert "answered 302 Found, a redirect — " in str(error)


def test_a_server_that_is_down_is_told_with_the_cure(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = ask_error(ask, f"http://127.0.0.1:{port}/metrics")

    assert (error.kind, error.may_have_happened) == ("refused", False)
    assert "nobody listens there — is the server running" in str(error)


def test_a_name_that_does_not_resolve_is_told(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = ask_error(ask, "http://bot.invalid/metrics")

    assert (error.kind, error.may_have_happened) == ("unknown_host", False)
    assert "could not be resolved — check url" in str(error)


# ─ the environment ─


def test_a_proxy_of_the_environment_is_not_used(
    ask: Ask, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert ask(start_server(respond_with("equity 5\n")).url)


def test_a_netrc_is_not_used(
    ask: Ask, start_server: StartServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password hush\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    server = start_server(respond_with("equity 5\n"))
    ask(server.url)

    assert "authorization" not in server.requests[0].lower()


# ─ TLS ─


@pytest.fixture
def secure_server() -> Iterator[RawHttpServer]:
    server = RawHttpServer(respond_with("equity 5\n"), secure=True)
    yield server
    server.close()


def test_a_certificate_that_the_system_knows_will_do(
    ask: Ask, secure_server: RawHttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(LOOPBACK_CERTIFICATE))

    assert ask(secure_server.url) == b"equity 5\n"
    secure_server.behaviour = respond_slowly(b"HTTP/1.1 200 OK\r\n\r\n", b"a")
    assert ask_error(ask, secure_server.url, timeout=300).kind == "deadline"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_that_the_system_does_not_know_is_refused_before_anything_is_sent(
    ask: Ask, secure_server: RawHttpServer, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(LOOPBACK_CERTIFICATE))
    error = ask_error(ask, secure_server.url)

    assert (error.kind, error.may_have_happened) == ("tls", False)
    assert "TLS failed: CERTIFICATE_VERIFY_FAILED — check the certificate" in str(error)
    assert secure_server.requests == []


def test_a_certificate_of_another_host_is_refused(
    ask: Ask, secure_server: RawHttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(LOOPBACK_CERTIFICATE))

    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", secure_server.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)

    assert ask_error(ask, "https://bot.invalid/metrics").kind == "tls"
    assert secure_server.requests == []
    assert ask("https://localhost/metrics") == b"equity 5\n"


def test_tls_spoken_to_a_plain_server_is_told(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        error = ask_error(ask, f"https://127.0.0.1:{listener.getsockname()[1]}/metrics")
        thread.join(60)

    assert error.kind == "tls"
    assert "TLS failed" in str(error)


# ─ secrets ─


@pytest.mark.parametrize(
    "behave",
    [
        respond_with("hush", "500 hush"),
        respond_with("", "302 Found", {"Location": "http://ada:hush@127.0.0.1/?key=hush"}),
        respond_with("hush", length=100),
        respond_with("hush", headers={"Content-Encoding": "gzip"}),
        respond_with("hush" * 1_000),
        close_connection,
        respond_slowly(b"HTTP/1.1 200 OK\r\nhush", b"hush"),
    ],
)
def test_no_secret_stands_in_an_error_or_a_log(
    ask: Ask, behave: Behaviour, start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = start_server(behave).url.replace("http://", "http://ada:hush@") + "?key=hush#hush"
    error = ask_error(ask, url, timeout=300, max_bytes=1_000, headers={"X-Key": "hush"})

    assert "hush" not in str(error)
    assert "ada" not in str(error)
    assert "hush" not in caplog.text


@pytest.mark.parametrize("value", ["hush\nhush", "hush ☃"])
def test_a_header_that_http_does_not_allow_is_refused_without_its_value(
    ask: Ask, value: str, start_server: StartServer
) -> None:
    server = start_server(respond_with("equity 5\n"))
    error = ask_error(ask, server.url, headers={"X-Key": value})

    assert (error.kind, error.may_have_happened) == ("invalid", False)
    assert "hush" not in str(error)
    assert server.requests == []


def test_name_and_password_of_an_address_are_sent_as_basic_authentication(ask: Ask, start_server: StartServer) -> None:
    server = start_server(respond_with("equity 5\n"))
    ask(server.url.replace("http://", "http://ada:p%40ss%C3%A4@"))

    assert "Authorization: Basic YWRhOnBAc3PDpA==" in server.requests[0]
    assert "Host: 127.0.0.1:" in server.requests[0]


def test_a_path_and_a_query_are_sent_as_they_are_written(ask: Ask, start_server: StartServer) -> None:
    server = start_server(respond_with("equity 5\n"))
    ask(server.url + "/ä%20b;c?q=a+b&r=%C3%A4#part")

    assert server.requests[0].startswith("GET /metrics/%C3%A4%20b;c?q=a+b&r=%C3%A4 HTTP/1.1\r\n")
