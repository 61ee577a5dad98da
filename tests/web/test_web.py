"""The pages that a running watchdog serves, over real sockets."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.support.property_settings import examples
from watchdog.core.errors import WatchdogError
from watchdog.core.telemetry import Telemetry
from watchdog.web.metrics_format import choose_format
from watchdog.web.pages import _MAX_STATUS_READERS, build_routes
from watchdog.web.query_process import MAX_WAITING, QueryUnavailableError
from watchdog.web.server import _MAX_CONNECTIONS, WebServer

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
        self.entered, self.go_on = threading.Semaphore(0), threading.Event()
        self.status_asked = 0

    def query(self, asked: Mapping[str, str], reader: int) -> bytes:
        self.last_query = asked
        if "expr" not in asked:
            raise WatchdogError("expr is missing")
        if asked["expr"] == "bug":
            raise ZeroDivisionError
        if asked["expr"] == "slow":
            raise QueryUnavailableError("it took too long")
        if asked["expr"] == "wait":
            self.entered.release()
            assert self.go_on.wait(30)
        if asked["expr"] == "large":
            return b"[" + b" " * (16 << 20) + b"]"
        return b'{"value":1}'

    def status(self) -> dict[str, object]:
        self.status_asked += 1
        return STATUS


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def server(daemon: FakeDaemon) -> Iterator[WebServer]:
    shown = build_routes(daemon.telemetry.registry, lambda: daemon.health_problem, daemon.status, daemon.query)
    server = WebServer(shown, "127.0.0.1", 0, ["Dash.example.org"])
    yield server
    server.close()


def fetch(
    server: WebServer,
    path: str,
    accept: str = "",
    method: str = "GET",
    more: Mapping[str, str] | None = None,
    patience: float = 60,
) -> tuple[int, str, str]:
    headers = {"Accept": accept, **(more or {})}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=patience) as answer:
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
    assert fetch(server, "/healthz", method="POST")[0] == 405


def test_a_head_has_no_body(server: WebServer) -> None:
    assert fetch(server, "/healthz", method="HEAD")[::2] == (200, "")


def test_readers_that_say_nothing_keep_nobody_from_being_served(server: WebServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(_MAX_CONNECTIONS - 1)]

    assert fetch(server, "/healthz")[0] == 200

    for each in silent:
        each.close()


def test_for_one_reader_more_the_one_that_is_slowest_goes(server: WebServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(_MAX_CONNECTIONS)]
    for each in silent:
        each.send(b"GET /healthz HTTP/1.1\r\n")

    for _ in range(5):
        assert fetch(server, "/healthz")[0] == 200

    assert silent[0].recv(1) == b""
    silent[-1].send(b"Host: localhost\r\n\r\n")
    assert silent[-1].recv(4_096).startswith(b"HTTP/1.0 200")
    for each in silent:
        each.close()


def test_readers_that_drip_delay_nobody(server: WebServer) -> None:
    dripping = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4 * _MAX_CONNECTIONS)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.02):
            for each in dripping:
                with contextlib.suppress(OSError):
                    each.send(b"G")

    dripper = threading.Thread(target=drip)
    dripper.start()
    try:
        for path in ("/healthz", "/metrics", "/", "/api/status", "/api/query?expr=a"):
            assert fetch(server, path)[0] == 200
    finally:
        stop.set()
        dripper.join()
        for each in dripping:
            each.close()


def test_a_request_that_does_not_come_is_let_go(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchdog.web.server._PATIENCE", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow:
        slow.send(b"GET / HTTP/1.1\r\n")
        assert slow.recv(1) == b""


def test_readers_that_take_nothing_keep_only_further_queries_waiting(server: WebServer) -> None:
    stuck = []
    for _ in range(_MAX_CONNECTIONS + MAX_WAITING):
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        door.connect(("127.0.0.1", server.port))
        door.send(b"GET /api/query?expr=large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stuck.append(door)

    for path in ("/healthz", "/metrics", "/", "/api/status"):
        assert fetch(server, path)[0] == 200
    for each in stuck:
        each.close()


# ─ queries ─


def test_queries_in_any_number_keep_no_other_page_from_its_readers(server: WebServer, daemon: FakeDaemon) -> None:
    """The window is held open: they are all there at once."""
    codes: list[int] = []
    asking = [
        threading.Thread(target=lambda: codes.append(fetch(server, "/api/query?expr=wait", patience=60)[0]))
        for _ in range(2 * _MAX_CONNECTIONS)
    ]
    for each in asking:
        each.start()
    for _ in range(1 + MAX_WAITING):
        assert daemon.entered.acquire(timeout=30)

    for path in ("/healthz", "/metrics", "/", "/api/status"):
        assert fetch(server, path)[0] == 200
    code, _, text = fetch(server, "/api/query?expr=a")
    daemon.go_on.set()
    for each in asking:
        each.join()

    assert (code, json.loads(text)) == (503, {"error": "other queries are being answered — ask again in a moment"})
    assert codes.count(200) == 1 + MAX_WAITING
    assert codes.count(503) == len(asking) - codes.count(200)
    assert fetch(server, "/api/query?expr=a")[0] == 200


def test_a_query_that_cannot_be_answered_now_is_no_mistake_of_the_reader(server: WebServer) -> None:
    code, _, text = fetch(server, "/api/query?expr=slow")
    assert (code, json.loads(text)) == (503, {"error": "it took too long"})


def test_readers_of_the_status_are_told_what_is_made_once_for_all_who_wait(
    daemon: FakeDaemon,
) -> None:
    building, go_on = threading.Event(), threading.Event()

    def slow_status() -> dict[str, object]:
        building.set()
        assert go_on.wait(30)
        return daemon.status()

    routes = build_routes(daemon.telemetry.registry, lambda: None, slow_status, daemon.query)
    own = WebServer(routes, "127.0.0.1", 0)
    readers = [threading.Thread(target=fetch, args=(own, "/api/status")) for _ in range(_MAX_STATUS_READERS)]
    readers[0].start()
    assert building.wait(30)
    for each in readers[1:]:
        each.start()
    while own._server._slots._value > _MAX_CONNECTIONS - len(readers):
        time.sleep(0.01)
    go_on.set()
    for each in readers:
        each.join()
    own.close()

    assert daemon.status_asked < len(readers)


# ─ for whom ─


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 200),
        ("/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}, 403),
        ("/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}, 403),
        ("/", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/", {"Origin": "http://evil.example"}, 403),
        ("/api/query?expr=up", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 403),
        ("/api/query?expr=up", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "empty"}, 403),
        ("/api/query?expr=up", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}, 200),
        ("/api/query?expr=up", {"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document"}, 200),
        ("/api/query?expr=up", {"Origin": "null"}, 403),
        ("/api/query?expr=up", {"Origin": "http://localhost", "Host": "localhost"}, 200),
        ("/api/query?expr=up", {"Origin": "http://localhost:1", "Host": "localhost:2"}, 403),
        ("/metrics", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 403),
        ("/metrics", {"User-Agent": "Prometheus/3.0"}, 200),
    ],
)
def test_other_web_sites_have_nothing_asked_by_a_browser_but_follow_a_link(
    server: WebServer, path: str, headers: Mapping[str, str], code: int
) -> None:
    assert fetch(server, path, more=headers)[0] == code


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:9464",
        "bot.localhost",
        "127.0.0.1",
        "[::1]:80",
        "10.1.2.3:9464",
        "dash.example.org",
        "DASH.example.org.",
        socket.gethostname(),
    ],
)
def test_the_names_that_we_go_by_are_answered(server: WebServer, host: str) -> None:
    for path in ("/healthz", "/metrics", "/", "/api/query?expr=a"):
        assert fetch(server, path, more={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9464",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "2130706433",
        "0x7f.1",
        "dash.example.org.evil",
    ],
)
def test_a_name_that_is_not_ours_is_refused_with_the_cure(server: WebServer, host: str) -> None:
    for path in ("/healthz", "/metrics", "/", "/api/status", "/api/query?expr=a"):
        code, _, text = fetch(server, path, more={"Host": host})
        assert (code, "web: {hosts: [" in text) == (421, True)


def exchange(server: WebServer, *parts: bytes) -> bytes:
    """All that comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as door:
        with contextlib.suppress(OSError):
            for part in parts:
                door.sendall(part)
        answer = b""
        with contextlib.suppress(OSError):
            while some := door.recv(65_536):
                answer += some
        return answer


def test_every_answer_says_what_a_browser_may_do_with_it_and_nothing_of_us(server: WebServer) -> None:
    for path in ("/", "/metrics", "/healthz", "/api/status", "/api/query?expr=a", "/api/query", "/none"):
        head = exchange(server, f"GET {path} HTTP/1.0\r\n\r\n".encode()).partition(b"\r\n\r\n")[0].decode()
        for said in (
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
            "Referrer-Policy: no-referrer",
            "Cross-Origin-Resource-Policy: same-origin",
            "default-src 'none'",
            "frame-ancestors 'none'",
        ):
            assert said in head, path
        assert "unsafe" not in head
        assert "\r\nServer:" not in head
    assert b"\r\nX-Frame-Options: DENY" in exchange(server, b"BREW / HTTP/1.1\r\n\r\n")


def test_the_style_of_the_page_is_the_one_that_its_policy_names(server: WebServer) -> None:
    answer = exchange(server, b"GET / HTTP/1.0\r\n\r\n")
    (style,) = re.findall(rb"<style>(.*?)</style>", answer, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()

    assert f"style-src 'sha256-{digest}'".encode() in answer
    assert b"style=" not in answer
    assert b"<script" not in answer


OURS = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n", 405),
        (b"BREW / HTTP/1.1\r\n" + OURS + b"\r\n", 405),
        (b"handle /healthz HTTP/1.1\r\n" + OURS + b"\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\n" + OURS + b"\r\n", 405),
        (b"CONNECT localhost:1 HTTP/1.1\r\n" + OURS + b"\r\n", 405),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"a" * 7_000_000, 414),
        (b"GET / HTTP/1.1\r\n" + OURS + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + OURS + b"A: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + OURS + b"A: b\r\n" * 1_000_000 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"\r\n\r\n", None),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/\xb2.\xb2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + OURS + OURS + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n" + OURS + b"\r\n", 400),
        (b"GET http://evil.example/ HTTP/1.1\r\n" + OURS + b"\r\n", 421),
        (b"GET http://localhost/healthz HTTP/1.1\r\n" + OURS + b"\r\n", 200),
        (b"GET //evil.example/healthz HTTP/1.1\r\n" + OURS + b"\r\n", 404),
        (b"GET /../../etc/passwd HTTP/1.1\r\n" + OURS + b"\r\n", 404),
        (b"GET /api/query?expr=%zz HTTP/1.1\r\n" + OURS + b"\r\n", 400),
        (b"GET /api/query?expr=%ff HTTP/1.1\r\n" + OURS + b"\r\n", 400),
        (b"GET /api/query?expr=%ed%a0%80 HTTP/1.1\r\n" + OURS + b"\r\n", 400),
        (b"GET /api/query?" + b"a=1&" * 100 + b" HTTP/1.1\r\n" + OURS + b"\r\n", 400),
        (b"GET /api/query?expr=%00%0a HTTP/1.1\r\n" + OURS + b"\r\n", 200),
        (b"GET /\xff HTTP/1.1\r\n" + OURS + b"\r\n", 404),
        (b"GET /healthz HTTP/1.1\r\n" + OURS + b"\r\nGET /healthz HTTP/1.1\r\n\r\n" + b"\x00junk" * 1_000, 200),
        (b"GET /healthz HTTP/1.1\r\n" + OURS + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nzz", 200),
    ],
)
def test_what_is_no_request_of_ours_is_refused_in_a_line_and_the_next_reader_is_served(
    server: WebServer, request_: bytes, code: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    answer = exchange(server, request_)

    assert answer.count(b"HTTP/1.0 ") <= (code is not None)
    assert answer or code in (None, 414, 431)
    if answer:  # what is still being sent when we have answered may be cut off with the answer
        assert answer.split()[1] == str(code).encode()
        assert len(answer.partition(b"\r\n\r\n")[2]) < 200
    assert fetch(server, "/healthz")[0] == 200
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=1.0.x", "application/openmetrics-text; version=1.0.0"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.9",
            "text/plain; version=0.0.4",
        ),
        ("application/openmetrics-text;version=1.0.0;q=0,*/*", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=2.0.0", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.3", "text/plain; version=0.0.4"),
        (
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        ("text/plain;version=1.0.x", "text/plain; version=0.0.4"),
        ("text/plain;version=\u00b2.0.0;escaping=\r", "text/plain; version=0.0.4"),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        ("application/openmetrics-text;q=nan", "application/openmetrics-text; version=1.0.0"),
        (";;;===,,q=,version=", "text/plain; version=0.0.4"),
        ("image/png", "text/plain; version=0.0.4"),
        ("", "text/plain; version=0.0.4"),
    ],
)
def test_whatever_is_accepted_metrics_are_told(server: WebServer, accept: str, kind: str) -> None:
    assert choose_format(accept)[1].startswith(kind)
    if accept.isascii() and accept.isprintable():
        code, told, text = fetch(server, "/metrics", accept)
        assert (code, told[: len(kind)]) == (200, kind)
        assert "watchdog_build_info" in text


@settings(max_examples=examples(300))
@given(st.text(alphabet=st.sampled_from('apliction/oe mrs-tx;v=10.q,*²\n\0"'), max_size=80))
def test_no_accept_header_breaks_it(accept: str) -> None:
    encode, kind = choose_format("application/openmetrics-text;" + accept)
    assert kind.isprintable()
    assert isinstance(encode(CollectorRegistry()), bytes)


def test_a_taken_address_is_an_error_at_once(server: WebServer) -> None:
    with pytest.raises(OSError, match="in use"):
        WebServer({}, "127.0.0.1", server.port)


def test_the_end_waits_for_no_reader() -> None:
    server = WebServer({}, "127.0.0.1", 0)
    silent = socket.create_connection(("127.0.0.1", server.port))

    server.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert not server._thread.is_alive()
    silent.close()


def test_an_address_that_is_none_is_answered(server: WebServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as reader:
        reader.sendall(b"GET http://[ HTTP/1.1\r\n\r\n")

        assert reader.recv(100).startswith(b"HTTP/1.0 400 ")
