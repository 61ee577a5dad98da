from __future__ import annotations

import gzip
import os
import socket
import threading
import zlib
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from tests.sources.conftest import Serve
from tests.sources.server import Behaviour, Server, drip, hang, page
from watchdog.model import Memo, Sample, SourceError
from watchdog.sources import Scrape
from watchdog.sources.fetch import shown

NOW = 1_700_000_000_000
PATIENT = 20_000  # for servers that answer: a busy machine must not fail the test
SHORT = 60  # for servers that never will


def scrape(server: Server | str, timeout: int = PATIENT, **fields: object) -> Scrape:
    url = server if isinstance(server, str) else server.url
    return Scrape.model_validate({"type": "scrape", "url": url, "timeout": timeout, **fields})


def refusal(behave: Behaviour, serve: Serve, timeout: int = PATIENT, **fields: object) -> str:
    with pytest.raises(SourceError) as caught:
        scrape(serve(behave), timeout, **fields).read({}, NOW)
    return str(caught.value)


def ssh(server: Server, connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def hang_up(server: Server, connection: socket.socket) -> None:
    """Closes without an answer."""


def test_a_page_is_read(serve: Serve) -> None:
    assert scrape(serve(page("equity 5\n"))).read({}, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_a_compressed_page_is_unpacked(serve: Serve) -> None:
    server = serve(page(gzip.compress(b"equity 5\n", mtime=0), headers={"Content-Encoding": "gzip"}))

    assert scrape(server).read({}, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_a_chunked_page_is_read(serve: Serve) -> None:
    def chunked(server: Server, connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nequit\r\n4\r\ny 5\n\r\n0\r\n\r\n"
        )

    assert scrape(serve(chunked)).read({}, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_the_connection_is_kept_between_reads(serve: Serve) -> None:
    server, memo = serve(page("equity 5\n")), Memo()
    for _ in range(3):
        scrape(server).read(memo, NOW)

    assert (len(server.requests), server.connections) == (3, 1)


def test_a_server_that_closed_the_connection_is_asked_on_a_new_one(serve: Serve) -> None:
    answer, memo = page("equity 5\n", headers={"Connection": "close"}), Memo()

    def once(server: Server, connection: socket.socket) -> None:
        answer(server, connection)

    server = serve(once)
    for _ in range(3):
        assert scrape(server).read(memo, NOW)


def test_a_read_after_a_failed_one_starts_afresh(serve: Serve) -> None:
    server, memo = serve(hang), Memo()
    with pytest.raises(SourceError):
        scrape(server, SHORT).read(memo, NOW)
    server.behave = page("equity 5\n")

    assert scrape(server).read(memo, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_a_server_that_is_down_is_told_with_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(SourceError, match="nobody listens there — is the server running"):
        scrape(f"http://127.0.0.1:{port}/metrics").read({}, NOW)


@pytest.mark.parametrize(
    "behave",
    [
        hang,
        drip(b"", b"H"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"a"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"a 1\n", mtime=0)[:10], b"\x01"),
    ],
    ids=["silence", "status line", "header", "body", "body without length", "chunk size", "packed body"],
)
def test_a_server_that_never_ends_is_reported_not_awaited(behave: Behaviour, serve: Serve) -> None:
    assert "no whole answer within 60 ms" in refusal(behave, serve, SHORT)


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (page("oops", "500 Internal Server Error"), "answered 500 Internal Server Error"),
        (page("", "401 Unauthorized"), "check token_file or headers"),
        (page("", "404 Not Found"), "check the path in url"),
        (page("", "204 No Content"), "answered 204"),
        (page("equity 5\n", "206 Partial Content"), "answered 206"),
        (page("", "302 Found", {"Location": "/login?next=secret"}), "a redirect — put http://127.0.0.1:"),
        (page("equity 5\n", length=100), "broke off half-way"),
        (page("equity 5\nequity_hig"), "breaks off within its last line"),
        (page("equity 5\ngarbage\n"), "line 2 of the page is no sample"),
        (page("x" * 2**20 + "\n"), "line 1 of the page is no sample"),
        (page(os.urandom(2**20) + b"\n"), "not UTF-8"),
        (page("<html>\n</html>\n", headers={"Content-Type": "text/html"}), "is this the metrics page?"),
        (page("{}\n", headers={"Content-Type": "application/json"}), "serves application/json"),
        (page("a 1 1700000000\n# EOF\n", headers={"Content-Type": "application/openmetrics-text"}), "openmetrics"),
        (page(""), "the page is empty"),
        (page("not gzip\n", headers={"Content-Encoding": "gzip"}), "could not be unpacked"),
        (ssh, "HTTP server"),
        (hang_up, "the connection failed"),
    ],
)
def test_what_is_no_whole_metrics_page_yields_nothing_but_the_reason(
    behave: Behaviour, said: str, serve: Serve
) -> None:
    assert said in refusal(behave, serve)


def test_a_redirect_is_not_followed(serve: Serve) -> None:
    other = serve(page("equity 5\n"))

    assert other.url in refusal(page("", "301 Moved", {"Location": other.url}), serve)
    assert other.requests == []


def test_a_page_above_the_cap_is_refused_whole(serve: Serve) -> None:
    assert "more than 1000 bytes — raise max_bytes" in refusal(page("equity 5\n" * 200), serve, max_bytes=1000)


def test_a_body_without_end_stops_at_the_cap(serve: Serve) -> None:
    def flood(server: Server, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.stopping.is_set():
            connection.sendall(b"a 1\n" * 10_000)

    assert "more than 100000 bytes" in refusal(flood, serve, max_bytes=100_000)


def test_a_small_answer_that_unfolds_into_a_huge_page_stops_at_the_cap(serve: Serve) -> None:
    bomb = gzip.compress(b"a 1\n" * 2_000_000, mtime=0)
    assert len(bomb) < 100_000

    said = refusal(page(bomb, headers={"Content-Encoding": "gzip"}), serve, max_bytes=1_000_000)

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
def test_a_packed_page_is_unpacked(packed: bytes, encoding: str, serve: Serve) -> None:
    server = serve(page(packed, headers={"Content-Encoding": encoding}))

    assert scrape(server).read({}, NOW) == [Sample("equity", (), NOW, 5.0)]


@pytest.mark.parametrize(
    ("packed", "encoding", "said"),
    [
        (gzip.compress(b"equity 5\n", mtime=0)[:-9], "gzip", "broke off half-way"),
        (b"equity 5\n", "br", "could not be unpacked"),
        (b"equity 5\n", "deflate", "could not be unpacked"),
    ],
)
def test_what_is_not_wholly_unpacked_yields_nothing(packed: bytes, encoding: str, said: str, serve: Serve) -> None:
    assert said in refusal(page(packed, headers={"Content-Encoding": encoding}), serve)


def test_a_path_and_a_query_are_sent_as_they_are_written(serve: Serve) -> None:
    server = serve(page("equity 5\n"))
    scrape(server.url + "/ä%20b;c?q=a+b&r=%C3%A4#part").read({}, NOW)

    assert server.requests[0].startswith("GET /metrics/%C3%A4%20b;c?q=a+b&r=%C3%A4 HTTP/1.1\r\n")


def test_a_connection_that_a_page_was_refused_on_is_not_used_again(serve: Serve) -> None:
    server, memo = serve(page("equity 5\n" * 200)), Memo()
    with pytest.raises(SourceError):
        scrape(server, max_bytes=1000).read(memo, NOW)
    server.behave = page("equity 5\n")

    assert scrape(server).read(memo, NOW)
    assert server.connections == 2


def test_a_proxy_of_the_environment_is_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert scrape(serve(page("equity 5\n"))).read({}, NOW)


def test_headers_are_sent_and_never_shown(serve: Serve) -> None:
    server = serve(page("equity 5\n"))
    part = scrape(server, headers={"X-Key": SecretStr("hush")})
    part.read({}, NOW)

    assert "X-Key: hush" in server.requests[0]
    assert "text/plain" in server.requests[0]
    assert "hush" not in repr(part)


def test_a_header_that_http_does_not_allow_is_refused_without_showing_it(serve: Serve) -> None:
    said = refusal(page("equity 5\n"), serve, headers={"X-Key": SecretStr("hush\nhush")})

    assert "a header holds a character" in said
    assert "hush" not in said


def test_a_token_file_is_read_anew_each_time(serve: Serve, tmp_path: Path) -> None:
    server, token, memo = serve(page("equity 5\n")), tmp_path / "token", Memo()
    for text in ("first\n", "second\n"):
        token.write_text(text)
        scrape(server, token_file=str(token)).read(memo, NOW)

    assert "Authorization: Bearer first" in server.requests[0]
    assert "Authorization: Bearer second" in server.requests[1]


@pytest.mark.parametrize(("held", "said"), [(None, "No such file"), ("", "no token"), ("two words", "no token")])
def test_a_token_file_without_a_token_is_told(held: str | None, said: str, serve: Serve, tmp_path: Path) -> None:
    if held is not None:
        (tmp_path / "token").write_text(held)

    assert said in refusal(page("equity 5\n"), serve, token_file=str(tmp_path / "token"))


def test_what_follows_the_question_mark_is_not_shown() -> None:
    with pytest.raises(SourceError) as caught:
        scrape("http://127.0.0.1:9/metrics?key=hush").read({}, NOW)

    assert "hush" not in str(caught.value)


def test_a_password_in_an_address_is_not_shown() -> None:
    assert shown("http://ada:hush@127.0.0.1:9/metrics?key=hush#hush") == "http://127.0.0.1:9/metrics"


def test_a_name_that_does_not_resolve_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SourceError, match="could not be resolved — check url"):
        scrape("http://bot.invalid/metrics").read({}, NOW)


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
            scrape(f"https://127.0.0.1:{listener.getsockname()[1]}/metrics").read({}, NOW)
        thread.join(20)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000/metrics", "ftp://host/metrics", "http://", "http://h:99999/", "http://h/a b", "http://[1/"]
)
def test_an_address_that_cannot_be_one_is_refused_at_load(url: str) -> None:
    with pytest.raises(ValidationError, match="reads like http://"):
        scrape(url)


def test_a_password_in_the_address_is_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="as headers"):
        scrape("http://user:hush@127.0.0.1/metrics")


def test_two_authorizations_are_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="keep one"):
        scrape("http://h/metrics", token_file="t", headers={"authorization": SecretStr("Basic x")})


def test_durations_read_as_people_write_them() -> None:
    part = Scrape.model_validate({"type": "scrape", "url": "http://h/metrics", "every": "250ms", "timeout": "2s"})

    assert (part.every, part.timeout) == (250, 2_000)


def test_a_rhythm_of_nothing_is_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="too short"):
        scrape("http://h/metrics", every="0s")
