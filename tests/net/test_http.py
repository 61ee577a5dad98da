"""One request: what is sent, how often, and whether it may have happened."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.net.conftest import LONG_TIMEOUT, TIMEOUT_ONCE_ASKED
from tests.support.raw_http_server import (
    Behaviour,
    RawHttpServer,
    StartServer,
    never_respond,
    respond_slowly,
    respond_with,
)
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError, is_transient_status, parse_retry_after
from watchdog.net.http import request
from watchdog.net.response import HttpResponse


def post(server: RawHttpServer, timeout: int = LONG_TIMEOUT, **how: Any) -> HttpResponse:
    return request("POST", server.url, deadline=Deadline.after(timeout), max_bytes=1_000, **how)


def close_connection(server: RawHttpServer, connection: socket.socket) -> None:
    """Takes the request and closes."""


def reset_connection(server: RawHttpServer, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


@pytest.mark.parametrize(
    "behave",
    [
        close_connection,
        reset_connection,
        respond_with("a", length=100),
        respond_with("a" * 1_001),
        respond_with("", "503 Service Unavailable", {"Retry-After": "0"}),
        respond_with("", "429 Too Many Requests", {"Retry-After": "0"}),
        respond_with("", "408 Request Timeout"),
        respond_with("", "307 Temporary Redirect", {"Location": "/metrics"}),
        respond_with("", "401 Unauthorized", {"WWW-Authenticate": "Basic"}),
    ],
)
def test_a_request_is_sent_at_most_once_and_may_have_happened_from_then_on(
    behave: Behaviour, start_server: StartServer
) -> None:
    server = start_server(behave)
    with pytest.raises(HttpError) as caught:
        post(server, expect=200)

    assert caught.value.may_have_happened
    assert len(server.requests) == server.connections == 1


@pytest.mark.parametrize("behave", [never_respond, respond_slowly(b"HTTP/1.1 200 OK\r\n\r\n", b"a")])
@pytest.mark.slow
def test_a_request_without_a_whole_answer_is_sent_once_and_may_have_happened(
    behave: Behaviour, start_server: StartServer
) -> None:
    server = start_server(behave)
    with pytest.raises(HttpError) as caught:
        post(server, timeout=TIMEOUT_ONCE_ASKED, expect=200)

    assert caught.value.may_have_happened
    assert len(server.requests) == server.connections == 1


def test_whoever_takes_any_status_is_given_a_redirect_as_it_is(start_server: StartServer) -> None:
    answer = post(start_server(respond_with("gone", "302 Found", {"Location": "http://["})))

    assert (answer.status, answer.headers["location"], answer.body) == (302, "http://[", b"gone")


def test_a_deadline_that_has_passed_asks_nobody(start_server: StartServer) -> None:
    server = start_server(respond_with("done"))
    with pytest.raises(HttpError) as caught:
        post(server, timeout=0)

    assert (caught.value.kind, caught.value.may_have_happened) == ("deadline", False)
    assert server.connections == 0


def test_a_server_that_takes_no_more_of_a_long_request_is_left_at_the_deadline() -> None:
    body = b"x" * (64 << 20)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        with pytest.raises(HttpError) as caught:
            request("POST", url, deadline=Deadline.after(TIMEOUT_ONCE_ASKED), max_bytes=1, body=body)

    assert (caught.value.kind, caught.value.may_have_happened) == ("deadline", True)


@pytest.mark.parametrize("status", [200, 204, 404, 503])
def test_any_status_is_an_answer_unless_one_is_expected(status: int, start_server: StartServer) -> None:
    server = start_server(respond_with("", f"{status} Said", {"X-Word": "Ready"}))
    answer = post(server)

    assert (answer.status, answer.headers["x-word"], answer.body) == (status, "Ready", b"")
    assert post(server, expect=status).status == status


def test_each_request_has_a_connection_of_its_own(start_server: StartServer) -> None:
    server = start_server(respond_with("done"))
    for _ in range(2):
        post(server)

    assert server.connections == 2
    assert "Connection: close\r\n" in server.requests[0]


def test_what_is_sent_is_what_was_said_and_little_more(start_server: StartServer) -> None:
    server = start_server(respond_with("done"))
    post(server, body=b"{}", headers={"Content-Type": "application/json", "user-agent": "mine", "X-Key": " padded "})
    post(server)

    first, second = (sorted(head.split("\r\n")[1:-2]) for head in server.requests)
    assert first == [
        "Accept-Encoding: identity",
        "Connection: close",
        "Content-Length: 2",
        "Content-Type: application/json",
        f"Host: 127.0.0.1:{server.port}",
        "X-Key: padded",
        "user-agent: mine",
    ]
    assert second == [
        "Accept-Encoding: identity",
        "Connection: close",
        "Content-Length: 0",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: trading-watchdog",
    ]


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://h/", "http://h:0/", "http://h/hush hush", "http://[hush/"])
def test_what_is_no_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(HttpError) as caught:
        request("GET", url, deadline=Deadline.after(LONG_TIMEOUT), max_bytes=1)

    assert (caught.value.kind, caught.value.may_have_happened) == ("invalid", False)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "value"), [(b'{"a": [1]}', {"a": [1]}), (b"", None), (b"<html>", None), (b"[" * 100_000, None)]
)
def test_an_answer_that_is_no_json_is_none(body: bytes, value: object) -> None:
    assert HttpResponse(200, {}, body).json() == value


@pytest.mark.parametrize(("status", "transient"), [(400, False), (404, False), (408, True), (429, True), (503, True)])
def test_a_status_is_about_this_moment_or_for_good(status: int, transient: bool) -> None:
    assert is_transient_status(status) is transient


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), (" 1.5 ", 1.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), (None, None)]
)
def test_a_retry_after_is_a_number_of_seconds_or_nothing(text: object, seconds: float | None) -> None:
    assert parse_retry_after(text) == seconds
