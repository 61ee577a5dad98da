"""The pages that a running watchdog serves, over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

import pytest

from watchdog.core.errors import WatchdogError
from watchdog.core.telemetry import Telemetry
from watchdog.web.server import _MAX_CONNECTIONS, WebServer, build_routes

STATUS = {
    "sources": {"größer": {"up": True}},
    "kpis": {},
    "rules": [],
    "targets": {},
    "silenced": [],
    "now": 0,
    "version": "1.2.3",
}


class FakeDaemon:
    """What a daemon would say."""

    def __init__(self) -> None:
        self.health_problem: str | None = None
        self.last_query: Mapping[str, str] = {}
        self.telemetry = Telemetry("1.2.3")

    def query(self, asked: Mapping[str, str]) -> dict[str, object]:
        self.last_query = asked
        if "expr" not in asked:
            raise WatchdogError("expr is missing")
        if asked["expr"] == "bug":
            raise ZeroDivisionError
        return {"value": 1}


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def server(daemon: FakeDaemon) -> Iterator[WebServer]:
    shown = build_routes(daemon.telemetry.registry, lambda: daemon.health_problem, lambda: STATUS, daemon.query)
    server = WebServer(shown, "127.0.0.1", 0)
    yield server
    server.close()


def fetch(
    server: WebServer, path: str, accept: str = "", method: str = "GET", more: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    headers = {"Accept": accept, **(more or {})}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers["Content-Type"], refused.read().decode()


def test_metrics_are_in_the_text_format_or_in_openmetrics_when_asked_for(server: WebServer) -> None:
    code, kind, text = fetch(server, "/metrics")

    assert (code, kind.partition(";")[0]) == (200, "text/plain")
    assert 'watchdog_build_info{version="1.2.3"} 1.0' in text
    assert fetch(server, "/metrics", "application/openmetrics-text")[2].endswith("# EOF\n")


def test_healthz_says_what_is_wrong(server: WebServer, daemon: FakeDaemon) -> None:
    assert fetch(server, "/healthz")[::2] == (200, "ok\n")

    daemon.health_problem = "the last tick was 12 s ago"

    assert fetch(server, "/healthz")[::2] == (503, "the last tick was 12 s ago\n")


def test_a_page_for_people_stands_at_the_top(server: WebServer) -> None:
    code, kind, text = fetch(server, "/")

    assert (code, kind.partition(";")[0]) == (200, "text/html")
    assert text.startswith("<!doctype html>")
    assert "größer" in text


def test_the_status_is_json(server: WebServer) -> None:
    code, kind, text = fetch(server, "/api/status")

    assert (code, kind, json.loads(text)) == (200, "application/json", STATUS)


def test_a_query_is_given_what_stands_in_the_address(server: WebServer, daemon: FakeDaemon) -> None:
    code, _, text = fetch(server, "/api/query?expr=a%20%2B%20b%7Bc%3D%22d%22%7D&at=")

    assert (code, json.loads(text)) == (200, {"value": 1})
    assert daemon.last_query == {"expr": 'a + b{c="d"}', "at": ""}


def test_a_query_that_is_wrong_is_told_why(server: WebServer) -> None:
    code, _, text = fetch(server, "/api/query")

    assert (code, json.loads(text)) == (400, {"error": "expr is missing"})


def test_a_mistake_of_ours_is_an_error_500_and_the_next_reader_is_served(server: WebServer) -> None:
    assert fetch(server, "/api/query?expr=bug")[0] == 500
    assert fetch(server, "/healthz")[0] == 200


def test_what_is_not_there_is_not_found(server: WebServer) -> None:
    assert fetch(server, "/other")[0] == 404
    assert fetch(server, "/healthz", method="POST")[0] == 501


def test_a_head_has_no_body(server: WebServer) -> None:
    assert fetch(server, "/healthz", method="HEAD")[::2] == (200, "")


def test_readers_that_say_nothing_keep_nobody_from_being_served(server: WebServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(_MAX_CONNECTIONS - 1)]

    assert fetch(server, "/healthz")[0] == 200

    for each in silent:
        each.close()


def test_no_more_readers_than_threads_are_taken_in(server: WebServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(_MAX_CONNECTIONS)]
    one_more = socket.create_connection(("127.0.0.1", server.port), timeout=5)

    assert one_more.recv(1) == b""

    for each in [*silent, one_more]:
        each.close()


def test_readers_that_drip_make_room_when_others_are_turned_away(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.web.server._SOCKET_TIMEOUT", 0.3)
    dripping = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(_MAX_CONNECTIONS)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.05):
            for each in dripping:
                with contextlib.suppress(OSError):
                    each.send(b"G")

    dripper = threading.Thread(target=drip)
    dripper.start()
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                assert fetch(server, "/healthz")[0] == 200
                break
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < deadline, "the readers that drip are still there"
    finally:
        stop.set()
        dripper.join()
        for each in dripping:
            each.close()


@pytest.mark.parametrize(
    ("site", "kind", "code"),
    [
        ("cross-site", "image", 403),
        ("cross-site", "iframe", 403),
        ("cross-site", "document", 200),
        ("same-origin", "empty", 200),
    ],
)
def test_other_web_sites_have_nothing_asked_by_a_browser(server: WebServer, site: str, kind: str, code: int) -> None:
    assert fetch(server, "/api/query?expr=up", more={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": kind})[0] == code


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /healthz HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET\r\n\r\n",
    ],
)
def test_what_is_no_request_of_ours_is_refused_and_the_next_reader_is_served(
    server: WebServer, request_: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as door:
        with contextlib.suppress(OSError):
            door.sendall(request_)
        answer = b""
        with contextlib.suppress(OSError):
            answer = door.recv(4_096)
    assert b" 200 " not in answer.partition(b"\n")[0]
    assert fetch(server, "/healthz")[0] == 200


def test_a_taken_address_is_an_error_at_once(server: WebServer) -> None:
    with pytest.raises(OSError, match="in use"):
        WebServer({}, "127.0.0.1", server.port)


def test_the_end_waits_for_no_reader() -> None:
    server = WebServer({}, "127.0.0.1", 0)
    silent = socket.create_connection(("127.0.0.1", server.port))

    server.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]
    silent.close()


def test_an_address_that_is_none_is_answered(server: WebServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as reader:
        reader.sendall(b"GET http://[ HTTP/1.1\r\n\r\n")

        assert reader.recv(100).startswith(b"HTTP/1.0 400 ")
