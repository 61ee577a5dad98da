"""The bot that is watched: a page of 50 series on loopback, one of which is a breach when it is told to be."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from benchmarks.measure import fetch, free_port, running_process, wait_until

SERIES_COUNT = 50
ROOT = Path(__file__).parent.parent


def metrics_text(*, breach: bool) -> bytes:
    """48 gauges, as a client library writes them, `breach` and `alive`."""
    lines = ["# HELP bot_gauge Something about a symbol.", "# TYPE bot_gauge gauge"]
    lines += [f'bot_gauge{{symbol="SYM{i:02d}",venue="exchange"}} {1 + i / 1000!r}' for i in range(SERIES_COUNT - 2)]
    lines += ["# TYPE breach gauge", f"breach {float(breach)}", "# TYPE alive gauge", "alive 1.0", ""]
    return "\n".join(lines).encode()


class MetricsServer:
    """The page, served from this process. Notes when each reader was first shown the breach."""

    def __init__(self, port: int = 0, *, breach: bool = False) -> None:
        self._texts = {flag: metrics_text(breach=flag) for flag in (False, True)}
        self._breach = breach
        self.breach_read_at: dict[str, float] = {}
        """Reader (first word of its User-Agent, without version) → monotonic seconds."""
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def set_breach(self, breach: bool) -> float:
        """From now on it is so; returns that moment."""
        self.breach_read_at.clear()
        self._breach = breach
        return time.monotonic()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                breach = page._breach
                if breach:
                    page.breach_read_at.setdefault(
                        self.headers.get("User-Agent", "").partition("/")[0], time.monotonic()
                    )
                body = page._texts[breach]
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def separate_process() -> Iterator[str]:
    """The page in a process of its own, so that serving it is not counted as reading it. Yields its URL."""
    port = free_port()
    with running_process(
        [sys.executable, "-m", "benchmarks.metrics_server", str(port)], Path("/dev/null"), ROOT
    ) as process:
        url = f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: fetch(url) is not None or process.status() == psutil.STATUS_ZOMBIE, 20, "the page is served")
        yield url


if __name__ == "__main__":
    MetricsServer(int(sys.argv[1]))
    threading.Event().wait()
