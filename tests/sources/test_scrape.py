from __future__ import annotations

import gzip
import os
import socket
import threading
import zlib
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from tests.sources.conftest import StartServer
from tests.support.raw_http_server import Behaviour, RawHttpServer, never_respond, respond_slowly, respond_with
from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.core.protocols import SourceCache
from watchdog.net.fetch import redact_url
from watchdog.sources import ScrapeSource

NOW = 1_700_000_000_000
LONG_TIMEOUT = 20_000  # for servers that answer: a busy machine must not fail the test
SHORT_TIMEOUT = 60  # for servers that never will


def make_source(server: RawHttpServer | str, timeout: int = LONG_TIMEOUT, **fields: object) -> ScrapeSource:
    url = server if isinstance(server, str) else server.url
    return ScrapeSource.model_validate({"type": "scrape", "url": url, "timeout": timeout, **fields})


def read_error(behave: Behaviour, start_server: StartServer, timeout: int = LONG_TIMEOUT, **fields: object) -> str:
    with pytest.raises(SourceError) as caught:
        make_source(start_server(behave), timeout, **fields).read({}, {}, NOW)
    return str(caught.value)


def respond_as_ssh(server: RawHttpServer, connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def close_connection(server: RawHttpServer, connection: socket.socket) -> None:
    """Closes without an answer."""


def test_a_page_is_read(start_server: StartServer) -> None:
    assert make_source(start_server(respond_with("equity 5\n"))).read({}, {}, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_a_compressed_page_is_unpacked(start_server: StartServer) -> None:
    server = start_server(respond_with(gzip.compress(b"equity 5\n", mtime=0), headers={"Content-Encoding": "gzip"}))

    assert make_source(server).read({}, {}, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_a_chunked_page_is_read(start_server: StartServer) -> None:
    def chunked(server: RawHttpServer, connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nequit\r\n4\r\ny 5\n\r\n0\r\n\r\n"
        )

    assert make_source(start_server(chunked)).read({}, {}, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_the_connection_is_kept_between_reads(start_server: StartServer) -> None:
    server, cache = start_server(respond_with("equity 5\n")), SourceCache()
    for _ in range(3):
        make_source(server).read({}, cache, NOW)

    assert (len(server.requests), server.connections) == (3, 1)


def test_a_server_that_closed_the_connection_is_asked_on_a_new_one(start_server: StartServer) -> None:
    answer, cache = respond_with("equity 5\n", headers={"Connection": "close"}), SourceCache()

    def once(server: RawHttpServer, connection: socket.socket) -> None:
        answer(server, connection)

    server = start_server(once)
    for _ in range(3):
        assert make_source(server).read({}, cache, NOW)


def test_a_read_after_a_failed_one_starts_afresh(start_server: StartServer) -> None:
    server, cache = start_server(never_respond), SourceCache()
    with pytest.raises(SourceError):
        make_source(server, SHORT_TIMEOUT).read({}, cache, NOW)
    server.behaviour = respond_with("equity 5\n")

    assert make_source(server).read({}, cache, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_a_server_that_is_down_is_told_with_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(SourceError, match="nobody listens there — is the server running"):
        make_source(f"http://127.0.0.1:{port}/metrics").read({}, {}, NOW)


@pytest.mark.parametrize(
    "behave",
    [
        never_respond,
        respond_slowly(b"", b"H"),
        respond_slowly(b"HTTP/1.1 200 OK\r\n", b"X"),
        respond_slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"a"),
        respond_slowly(b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        respond_slowly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        respond_slowly(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"a 1\n", mtime=0)[:10], b"\x01"
        ),
    ],
    ids=["silence", "status line", "header", "body", "body without length", "chunk size", "packed body"],
)
def test_a_server_that_never_ends_is_reported_not_awaited(behave: Behaviour, start_server: StartServer) -> None:
    assert "no whole answer within 60 ms" in read_error(behave, start_server, SHORT_TIMEOUT)


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (respond_with("oops", "500 Internal Server Error"), "answered 500 Internal Server Error"),
        (respond_with("", "401 Unauthorized"), "check token_file or headers"),
        (respond_with("", "404 Not Found"), "check the path in url"),
        (respond_with("", "204 No Content"), "answered 204"),
        (respond_with("equity 5\n", "206 Partial Content"), "answered 206"),
        (respond_with("", "302 Found", {"Location": "/login?next=secret"}), "a redirect — put http://127.0.0.1:"),
        (respond_with("equity 5\n", length=100), "broke off half-way"),
        (respond_with("equity 5\nequity_hig"), "breaks off within its last line"),
        (respond_with("equity 5\ngarbage\n"), "line 2 of the page is no sample"),
        (respond_with("x" * 2**20 + "\n"), "line 1 of the page is no sample"),
        (respond_with(os.urandom(2**20) + b"\n"), "not UTF-8"),
        (respond_with("<html>\n</html>\n", headers={"Content-Type": "text/html"}), "is this the metrics page?"),
        (respond_with("{}\n", headers={"Content-Type": "application/json"}), "serves application/json"),
        (
            respond_with("a 1 1700000000\n# EOF\n", headers={"Content-Type": "application/openmetrics-text"}),
            "openmetrics",
        ),
        (respond_with(""), "the page is empty"),
        (respond_with("not gzip\n", headers={"Content-Encoding": "gzip"}), "could not be unpacked"),
        (respond_as_ssh, "HTTP server"),
        (close_connection, "the connection failed"),
    ],
)
def test_what_is_no_whole_metrics_page_yields_nothing_but_the_reason(
    behave: Behaviour, said: str, start_server: StartServer
) -> None:
    assert said in read_error(behave, start_server)


def test_a_redirect_is_not_followed(start_server: StartServer) -> None:
    other = start_server(respond_with("equity 5\n"))

    assert other.url in read_error(respond_with("", "301 Moved", {"Location": other.url}), start_server)
    assert other.requests == []


def test_a_page_above_the_cap_is_refused_whole(start_server: StartServer) -> None:
    assert "more than 1000 bytes — raise max_bytes" in read_error(
        respond_with("equity 5\n" * 200), start_server, max_bytes=1000
    )


def test_a_body_without_end_stops_at_the_cap(start_server: StartServer) -> None:
    def flood(server: RawHttpServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.stopping.is_set():
            connection.sendall(b"a 1\n" * 10_000)

    assert "more than 100000 bytes" in read_error(flood, start_server, max_bytes=100_000)


def test_a_small_answer_that_unfolds_into_a_huge_page_stops_at_the_cap(start_server: StartServer) -> None:
    bomb = gzip.compress(b"a 1\n" * 2_000_000, mtime=0)
    assert len(bomb) < 100_000

    said = read_error(respond_with(bomb, headers={"Content-Encoding": "gzip"}), start_server, max_bytes=1_000_000)

    assert "more than 1000000 bytes" in said


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (gzip.compress(b"equity 5\n", mtime=0), "gzip"),
        (gzip.compress(b"equity", mtime=0) + gzip.compress(b" 5\n", mtime=0), "gzip"),
        (zlib.compress(b"equity 5\n"), "deflate"),
        (b"equity 5\n", "identity"),
    ],
)
def test_a_packed_page_is_unpacked(packed: bytes, encoding: str, start_server: StartServer) -> None:
    server = start_server(respond_with(packed, headers={"Content-Encoding": encoding}))

    assert make_source(server).read({}, {}, NOW) == [Sample("equity", (), NOW, 5.0)]


@pytest.mark.parametrize(
    ("packed", "encoding", "said"),
    [
        (gzip.compress(b"equity 5\n", mtime=0)[:-9], "gzip", "broke off half-way"),
        (b"equity 5\n", "br", "could not be unpacked"),
        (b"equity 5\n", "deflate", "could not be unpacked"),
    ],
)
def test_what_is_not_wholly_unpacked_yields_nothing(
    packed: bytes, encoding: str, said: str, start_server: StartServer
) -> None:
    assert said in read_error(respond_with(packed, headers={"Content-Encoding": encoding}), start_server)


def test_a_path_and_a_query_are_sent_as_they_are_written(start_server: StartServer) -> None:
    server = start_server(respond_with("equity 5\n"))
    make_source(server.url + "/ä%20b;c?q=a+b&r=%C3%A4#part").read({}, {}, NOW)

    assert server.requests[0].startswith("GET /metrics/%C3%A4%20b;c?q=a+b&r=%C3%A4 HTTP/1.1\r\n")


def test_a_connection_that_a_page_was_refused_on_is_not_used_again(start_server: StartServer) -> None:
    server, cache = start_server(respond_with("equity 5\n" * 200)), SourceCache()
    with pytest.raises(SourceError):
        make_source(server, max_bytes=1000).read({}, cache, NOW)
    server.behaviour = respond_with("equity 5\n")

    assert make_source(server).read({}, cache, NOW)
    assert server.connections == 2


def test_a_proxy_of_the_environment_is_not_used(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert make_source(start_server(respond_with("equity 5\n"))).read({}, {}, NOW)


def test_headers_are_sent_and_never_shown(start_server: StartServer) -> None:
    server = start_server(respond_with("equity 5\n"))
    part = make_source(server, headers={"X-Key": SecretStr("hush")})
    part.read({}, {}, NOW)

    assert "X-Key: hush" in server.requests[0]
    assert "text/plain" in server.requests[0]
    assert "hush" not in repr(part)


def test_a_header_that_http_does_not_allow_is_refused_without_showing_it(start_server: StartServer) -> None:
    said = read_error(respond_with("equity 5\n"), start_server, headers={"X-Key": SecretStr("hush\nhush")})

    assert "a header holds a character" in said
    assert "hush" not in said


def test_a_token_file_is_read_anew_each_time(start_server: StartServer, tmp_path: Path) -> None:
    server, token, cache = start_server(respond_with("equity 5\n")), tmp_path / "token", SourceCache()
    for text in ("first\n", "second\n"):
        token.write_text(text)
        make_source(server, token_file=str(token)).read({}, cache, NOW)

    assert "Authorization: Bearer first" in server.requests[0]
    assert "Authorization: Bearer second" in server.requests[1]


@pytest.mark.parametrize(("held", "said"), [(None, "No such file"), ("", "no token"), ("two words", "no token")])
def test_a_token_file_without_a_token_is_told(
    held: str | None, said: str, start_server: StartServer, tmp_path: Path
) -> None:
    if held is not None:
        (tmp_path / "token").write_text(held)

    assert said in read_error(respond_with("equity 5\n"), start_server, token_file=str(tmp_path / "token"))


def test_what_follows_the_question_mark_is_not_shown() -> None:
    with pytest.raises(SourceError) as caught:
        make_source("http://127.0.0.1:9/metrics?key=hush").read({}, {}, NOW)

    assert "hush" not in str(caught.value)
    assert make_source("http://127.0.0.1:9/metrics?key=hush#hush").identity == "http://127.0.0.1:9/metrics"


def test_a_password_in_an_address_is_not_shown() -> None:
    assert redact_url("http://ada:hush@127.0.0.1:9/metrics?key=hush#hush") == "http://127.0.0.1:9/metrics"


def test_a_name_that_does_not_resolve_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SourceError, match="could not be resolved — check url"):
        make_source("http://bot.invalid/metrics").read({}, {}, NOW)


def test_tls_spoken_to_a_plain_server_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(SourceError, match="TLS failed"):
            make_source(f"https://127.0.0.1:{listener.getsockname()[1]}/metrics").read({}, {}, NOW)
        thread.join(20)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000/metrics", "ftp://host/metrics", "http://", "http://h:99999/", "http://h/a b", "http://[1/"]
)
def test_an_address_that_cannot_be_one_is_refused_at_load(url: str) -> None:
    with pytest.raises(ValidationError, match="reads like http://"):
        make_source(url)


def test_a_password_in_the_address_is_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="as headers"):
        make_source("http://user:hush@127.0.0.1/metrics")


def test_two_authorizations_are_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="keep one"):
        make_source("http://h/metrics", token_file="t", headers={"authorization": SecretStr("Basic x")})


def test_durations_read_as_people_write_them() -> None:
    part = ScrapeSource.model_validate({"type": "scrape", "url": "http://h/metrics", "every": "250ms", "timeout": "2s"})

    assert (part.every, part.timeout) == (250, 2_000)


def test_a_rhythm_of_nothing_is_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="too short"):
        make_source("http://h/metrics", every="0s")
