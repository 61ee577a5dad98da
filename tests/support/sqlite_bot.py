"""A bot that writes into a SQLite database without a pause: ``python sqlite_bot.py FILE``.

It waits for nobody: whoever keeps it from a write ends it with an error. Says ``begun`` after its first write, and, when its
input is closed, how many writes there were and how many milliseconds the longest took.
"""

from __future__ import annotations

import select
import sqlite3
import sys
import time


def main(path: str) -> None:
    database = sqlite3.connect(path, timeout=0, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=50")
    database.execute("PRAGMA synchronous=OFF")
    database.execute("CREATE TABLE IF NOT EXISTS trades(id INTEGER PRIMARY KEY, pnl REAL)")
    longest, writes = 0.0, 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        began = time.perf_counter()
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO trades(pnl) VALUES (1.5)")
        database.execute("INSERT INTO trades(pnl) VALUES (-1.5)")
        database.execute("COMMIT")
        longest, writes = max(longest, time.perf_counter() - began), writes + 1
        if writes == 1:
            sys.stdout.write("begun\n")
            sys.stdout.flush()
    sys.stdout.write(f"{writes} {longest * 1_000:.1f}\n")


if __name__ == "__main__":
    main(sys.argv[1])
