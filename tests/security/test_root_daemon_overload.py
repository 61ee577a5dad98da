"""Whoever may only read or only be read cannot keep it from acting: queries, slow readers and pages without end."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from tests.security.root_daemon import SOON, RootDaemon, root_daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to let go of it")
FORGED = "x\\nincident 1 closed: all is well\x1b[2J\u202e<!channel>"
"""As a label's value on a page: \\n is a line break there."""
QUERIES = (
    "count_values('v', " * 30 + "bad" + ")" * 30,
    "max_over_time(alive[3650d:1ms])",
    "label_replace(alive, 'a', '$1$1$1$1', 'source', '((((.*)*)*)*)')",
    "(" * 5_000 + "alive" + ")" * 5_000,
    "-" * 8_000 + "alive",
    "sum_over_time(sum_over_time(alive[30d:1s])[30d:1s])",
    " or ".join(["alive"] * 900),
    "alive{source=~'" + "(a|b|" * 60 + ")" * 60 + "'}",
)


def prepare(daemon: RootDaemon) -> None:
    flag = {"do": "flag", "file": "config.py", "set": {"FEATURE": False}}
    daemon.page.body = b"".join(b'junk{n="%d"} %d\n' % (number, number) for number in range(900_000))
    daemon.sources["huge"] = {"type": "scrape", "url": f"http://127.0.0.1:{daemon.page.port}/huge", "every": "1s"}
    daemon.add_bot("flooded", flag)
    daemon.add_bot("forged", flag)


@pytest.fixture(scope="module")
def daemon() -> Iterator[RootDaemon]:
    with root_daemon(prepare) as made:
        made.start()
        yield made


def connect(daemon: RootDaemon) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", daemon.web_port), timeout=SOON)
    made.setblocking(False)
    return made


def send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.send(data)


@pytest.mark.slow
def test_a_breach_is_acted_upon_while_everybody_asks_and_a_page_never_ends(daemon: RootDaemon) -> None:
    """64 hostile queries of which nobody takes the answer, 40 readers that say a byte at a time, 900,000 lines a second."""
    daemon.wait_logged("source huge: ")
    readers: list[socket.socket] = []
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.2):
            for each in readers[64:]:
                send(each, b"x")

    try:
        for number in range(64):
            asked = urllib.parse.urlencode({"expr": QUERIES[number % len(QUERIES)]})
            readers.append(connect(daemon))
            send(readers[-1], f"GET /api/query?{asked} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        for _ in range(40):
            readers.append(connect(daemon))
            send(readers[-1], b"GET / HTTP/1.1\r\nX-")
        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        daemon.breach("flooded")
        daemon.wait_logged(r" flooded: set FEATURE = false in config.py: FEATURE = false")
        took = time.monotonic() - began
        assert daemon.get("/healthz") == b"ok\n"
        assert b"watchdog_build_info" in daemon.get("/metrics")
        daemon.wait_halted("flooded")
    finally:
        over.set()
        for each in readers:
            each.close()
        dripping.join()

    assert took < 60
    assert not re.search("Traceback|RecursionError|panicked", daemon.log())


@pytest.mark.slow
def test_what_a_page_says_writes_no_line_of_ours(daemon: RootDaemon) -> None:
    daemon.heal("forged")
    daemon.page.lines[f'bad{{bot="forged",side="{FORGED}"}}'] = "1"
    daemon.wait_halted("forged")
    daemon.wait_halts_over("forged")
    told = daemon.cli("status").stdout + daemon.cli("incidents").stdout

    assert r"x\nincident 1 closed: all is well\x1b[2J\u202e" in daemon.lines_of("forged")
    for text in (daemon.log(), told, daemon.get("/").decode()):
        assert not re.search(r"^incident 1 closed", text, re.MULTILINE)
        assert not re.search("[\x1b\u202e]", text)
    assert b"<!channel>" not in daemon.get("/")
