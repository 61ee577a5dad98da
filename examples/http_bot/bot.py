"""A trading bot with a JSON API behind a login, as freqtrade and many others have it, and no metrics page.

    python bot.py [--port N] [--pace BARS_PER_SECOND] [--bad-after BARS]

POST /api/v1/token/login (basic authentication) answers a token; GET /api/v1/status wants it, POST /api/v1/stop takes either. The
password stands in api.password, which it makes at its first start. After `--bad-after` bars the exchange refuses its orders.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import random
import secrets
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

USER = "watchdog"
TOKEN_SECONDS = 10.0


class Bot:
    def __init__(self, password: str, bad_after: int) -> None:
        self.password, self.bad_after = password, bad_after
        self.tokens: dict[str, float] = {}
        self.chance = random.Random(7)
        self.bar, self.equity, self.placed, self.failed, self.running = 0, 10_000.0, 0, 0, True
        self.luck, self.trades, self.losing_streak = random.Random(8), {"win": 0, "loss": 0}, 0
        self.positions = {"BTC": 0.0, "ETH": 0.0}

    def step(self) -> None:
        self.bar += 1
        if not self.running:
            return
        self.placed += 1
        if self.bar > self.bad_after and self.chance.random() < 0.8:
            self.failed += 1
            return
        self.positions[self.chance.choice(["BTC", "ETH"])] = round(self.chance.uniform(0, 1), 3)
        self.equity += self.chance.uniform(-5, 7)
        won = self.luck.random() < 0.6
        self.trades["win" if won else "loss"] += 1
        self.losing_streak = 0 if won else self.losing_streak + 1

    def status(self) -> dict[str, Any]:
        return {
            "state": "RUNNING" if self.running else "STOPPED",
            "account": {"equity": f"{self.equity:.2f}", "currency": "USDT"},
            "trades": [{"result": result, "count": count} for result, count in self.trades.items()],
            "losing_streak": self.losing_streak,
            "orders": {"placed": self.placed, "failed": self.failed},
            "positions": [{"symbol": symbol, "size": size} for symbol, size in self.positions.items()],
            "updated_at": int(time.time() * 1_000),
        }

    def login(self) -> dict[str, str]:
        token = secrets.token_urlsafe(24)
        self.tokens = {known: end for known, end in self.tokens.items() if end > time.monotonic()}
        self.tokens[token] = time.monotonic() + TOKEN_SECONDS  # short, so that its renewal is seen
        return {"access_token": token}

    def knows(self, authorization: str) -> bool:
        expected = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        if hmac.compare_digest(authorization, f"Basic {expected}"):
            return True
        return self.tokens.get(authorization.removeprefix("Bearer "), 0.0) > time.monotonic()


def make_handler(bot: Bot) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer({"/api/v1/status": bot.status})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.answer({"/api/v1/token/login": bot.login, "/api/v1/stop": self.stop_bot})

        def stop_bot(self) -> dict[str, str]:
            bot.running = False
            return {"status": "stopping"}

        def answer(self, pages: dict[str, Any]) -> None:
            page = pages.get(self.path)
            if not bot.knows(self.headers.get("Authorization", "")):
                code, said = 401, {"detail": "Unauthorized"}
            else:
                code, said = (404, {"detail": "Not Found"}) if page is None else (200, page())
            body = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def read_password(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(16) + "\n")
    return path.read_text().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--pace", type=float, default=5.0)
    parser.add_argument("--bad-after", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent)
    options = parser.parse_args()
    bot = Bot(read_password(options.folder / "api.password"), options.bad_after)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), make_handler(bot))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while not ended.wait(1 / options.pace):
        bot.step()


if __name__ == "__main__":
    main()
