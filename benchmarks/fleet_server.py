"""A thousand bots in one process: each has a JSON API and a page, and each of their readers is noted by the clock.

`python -m benchmarks.fleet_server PORT`. Plain asyncio, so that serving a thousand requests a second takes a few percent
of a core.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.measure import fetch, free_port, running_process, wait_until
from benchmarks.metrics_server import ROOT


def json_text(number: int, step: int) -> bytes:
    """What a bot's API says of itself: 400 bytes, of which four values are taken."""
    symbols = ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    document = {
        "bot": {"name": f"bot-{number}", "version": "1.4.2", "mode": "live", "state": "RUNNING"},
        "account": {
            "currency": "USDT",
            "equity": 10_000 + number + step % 7 / 10,
            "available": 4_211.5,
            "pnl_today": 1.25,
        },
        "positions": [{"symbol": each, "size": 0.5, "entry": 91_234.5, "side": "long"} for each in symbols],
        "orders": {"open": 3, "rejected": 0},
    }
    return json.dumps(document).encode()


def page_text(number: int, step: int) -> bytes:
    """The same four values as a Prometheus page."""
    said = {"equity": 10_000 + number + step % 7 / 10, "pnl_today": 1.25, "open_orders": 3, "open_positions": 3}
    return "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in said.items()).encode()


_PROMETHEUS_ANSWER = json.dumps(
    {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {"bot": "a"}, "value": [1_700_000_000, "10.5"]}]},
    }
).encode()


class _Bots(asyncio.Protocol):
    """One connection. `/json/7` and `/page/7` are the seventh bot's, what begins with `/prometheus` is
    an answer to a query, and `/reads` is who was read when since it was last asked."""

    reads: list[tuple[int, float]] = []  # noqa: RUF012 - of all connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            _, _, length = head.partition(b"content-length:")
            end += 4 + int(length.split(b"\r\n")[0] or 0)
            if len(self._received) < end:
                return
            path = self._received.split(b" ", 2)[1]
            self._received = self._received[end:]
            self._answer(*path.decode().strip("/").split("/"))

    def _answer(self, kind: str, number: str = "0", *_: str) -> None:
        body, content_type, now = b"[]", "application/json", time.time()
        if kind == "json":
            body = json_text(int(number), int(now))
        elif kind == "page":
            body, content_type = page_text(int(number), int(now)), "text/plain; version=0.0.4"
        elif kind == "prometheus":
            body = _PROMETHEUS_ANSWER
        elif kind == "reads":
            body = json.dumps(self.reads).encode()
            self.reads.clear()
        if kind in ("json", "page"):
            self.reads.append((int(number), now))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


class Fleet:
    """The bots, from outside."""

    def __init__(self, url: str) -> None:
        self.url = url

    def take_reads(self) -> list[tuple[int, float]]:
        """(bot, when its request had come, in wall-clock seconds) since this was last asked."""
        return [(number, at) for number, at in json.loads(fetch(f"{self.url}/reads") or "[]")]


@contextlib.contextmanager
def running_fleet() -> Iterator[Fleet]:
    """In a process of its own, so that serving is not counted as reading."""
    port = free_port()
    argv = [sys.executable, "-m", "benchmarks.fleet_server", str(port)]
    with running_process(argv, Path("/dev/null"), ROOT) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(
            lambda: fetch(f"{url}/reads") is not None or process.status() == psutil.STATUS_ZOMBIE, 20, "the bots"
        )
        yield Fleet(url)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Bots, "127.0.0.1", port, backlog=2_000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
