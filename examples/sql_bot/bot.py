"""A trading bot that keeps its books in SQLite, and nothing else to be watched by.

    python bot.py [--pace BARS_PER_SECOND]

Writes bot.sqlite beside itself; its model is in model.py, which a deployment replaces. Stops on SIGTERM.
"""

from __future__ import annotations

import argparse
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import model  # type: ignore[import-not-found]

FOLDER = Path(__file__).resolve().parent
SCHEMA = """
CREATE TABLE IF NOT EXISTS account (t REAL PRIMARY KEY, equity REAL NOT NULL, version TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, t REAL NOT NULL, refused INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS trades (id INTEGER PRIMARY KEY, t REAL NOT NULL, symbol TEXT NOT NULL, pnl REAL NOT NULL);
"""
BARS_PER_TRADE = 2
BARS_PER_REFUSAL = 60  # the exchange is never quite well
stopping = False


def stop(*_: object) -> None:
    global stopping  # noqa: PLW0603
    stopping = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pace", type=float, default=5.0)
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    chance, bar = random.Random(7), 0
    with closing(sqlite3.connect(FOLDER / "bot.sqlite", timeout=10)) as books:
        books.execute("PRAGMA journal_mode = WAL")
        books.executescript(SCHEMA)
        last = books.execute("SELECT equity FROM account ORDER BY t DESC LIMIT 1").fetchone()
        equity = last[0] if last else 10_000.0
        while not stopping:
            bar += 1
            with books:
                if bar % BARS_PER_TRADE == 0:
                    refused = bar % BARS_PER_REFUSAL == 0
                    books.execute("INSERT INTO orders (t, refused) VALUES (?, ?)", (time.time(), refused))
                if bar % BARS_PER_TRADE == 0 and not refused:
                    pnl = chance.uniform(5, 15) * (1 if chance.random() < model.WIN_RATE else -1)
                    equity += pnl
                    symbol = chance.choice(["BTC", "ETH"])
                    books.execute("INSERT INTO trades (t, symbol, pnl) VALUES (?, ?, ?)", (time.time(), symbol, pnl))
                books.execute("INSERT INTO account VALUES (?, ?, ?)", (time.time(), equity, model.VERSION))
            time.sleep(1 / options.pace)


if __name__ == "__main__":
    main()
