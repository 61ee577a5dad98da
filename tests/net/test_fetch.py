"""The page that is read every second: a connection that is kept, and what is not wholly unpacked."""

from __future__ import annotations

import gzip
import socket

import pytest

from tests.net.conftest import LONG_TIMEOUT, SHORT_TIMEOUT
from tests.support.raw_http_server import RawHttpServer, StartServer, never_respond, respond_with
from watchdog.net.errors import HttpError
from watchdog.net.fetch import HttpFetcher

PAGE = respond_with("equity 5\n")


def get(fetcher: HttpFetcher, server: RawHttpServer, timeout: int = LONG_TIMEOUT, max_bytes: int = 1 << 20) -> bytes:
    return fetcher.get(server.url, {}, timeout, max_bytes).body


def test_the_connection_is_kept_between_reads(start_server: StartServer) -> None:
    server, fetcher = start_server(PAGE), HttpFetcher()
    for _ in range(3):
        get(fetcher, server)

    assert (len(server.requests), server.connections) == (3, 1)


def test_another_server_is_asked_on_a_connection_of_its_own(start_server: StartServer) -> None:
    fetcher = HttpFetcher()

    assert get(fetcher, start_server(PAGE)) == b"equity 5\n"
    assert get(fetcher, start_server(respond_with("equity 6\n"))) == b"equity 6\n"


def test_a_server_that_closed_the_connection_is_asked_on_a_new_one(start_server: StartServer) -> None:
    answer, fetcher = respond_with("equity 5\n", headers={"Connection": "close"}), HttpFetcher()

    def once(server: RawHttpServer, connection: socket.socket) -> None:
        answer(server, connection)

    server = start_server(once)
    for _ in range(3):
        assert get(fetcher, server)


def test_a_read_after_a_failed_one_starts_afresh(start_server: StartServer) -> None:
    server, fetcher = start_server(never_respond), HttpFetcher()
    with pytest.raises(HttpError):
        get(fetcher, server, SHORT_TIMEOUT)
    server.behaviour = PAGE

    assert get(fetcher, server) == b"equity 5\n"


def test_a_connection_that_a_page_was_refused_on_is_not_used_again(start_server: StartServer) -> None:
    server, fetcher = start_server(respond_with("equity 5\n" * 200)), HttpFetcher()
    with pytest.raises(HttpError):
        get(fetcher, server, max_bytes=1_000)
    server.behaviour = PAGE

    assert get(fetcher, server)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("packed", "encoding", "said"),
    [
        (gzip.compress(b"equity 5\n", mtime=0)[:-9], "gzip", "broke off half-way"),
        (b"equity 5\n", "br", "could not be unpacked"),
    ],
)
def test_what_is_not_wholly_unpacked_yields_nothing(
    packed: bytes, encoding: str, said: str, start_server: StartServer
) -> None:
    with pytest.raises(HttpError, match=said):
        get(HttpFetcher(), start_server(respond_with(packed, headers={"Content-Encoding": encoding})))


def test_the_type_of_the_page_is_told_in_lower_case_without_parameters(start_server: StartServer) -> None:
    server = start_server(respond_with("a 1\n", headers={"Content-Type": "Text/Plain; version=0.0.4"}))

    assert HttpFetcher().get(server.url, {}, LONG_TIMEOUT, 1_000).content_type == "text/plain"
