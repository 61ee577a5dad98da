"""A transaction of the journal beside the barest one that sqlite can do with the same promise (WAL, FULL)."""

from __future__ import annotations

import random
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.table import TableRow
from watchdog.core.model import Message
from watchdog.journal.sqlite import SqliteJournal

_T = 1_700_000_000_000


def measure_rows(seconds: float) -> list[TableRow]:
    """Wall time, since what counts is the wait for the disk."""
    with TemporaryDirectory(prefix="benchmarks-") as name:
        bare = sqlite3.connect(Path(name) / "bare.db", isolation_level=None)
        bare.execute("PRAGMA journal_mode=WAL")
        bare.execute("PRAGMA synchronous=FULL")
        bare.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, t INTEGER, text TEXT)")

        def insert() -> None:
            bare.execute("BEGIN IMMEDIATE")
            bare.execute("INSERT INTO event (t, text) VALUES (?, ?)", (_T, "drawdown 10.2 % is above 10 %"))
            bare.execute("COMMIT")

        journal = SqliteJournal(Path(name) / "journal.db")

        def event() -> None:
            with journal.transaction() as tx:
                tx.timeline.add_event("tripped", "drawdown 10.2 % is above 10 %", _T)

        def trip() -> None:
            """What a rule that trips writes at least: incident, trip, timeline, one message each to two channels."""
            with journal.transaction() as tx:
                number = tx.incidents.open_incident("bot", "crit", "drawdown", _T)
                tx.incidents.add_trip(number, "drawdown", "crit", (), "drawdown 10.2 % is above 10 %", "halt", _T)
                tx.timeline.add_event("tripped", "drawdown tripped", _T, incident=number, target="bot")
                message = Message("crit", "bot: drawdown tripped", ("10.2 %",), number)
                tx.messages.enqueue(message, ["slack", "telegram"], _T)
                tx.incidents.close_incident(number, _T)

        try:
            sqlite, one, five = _measure_medians([insert, event, trip], seconds)
        finally:
            journal.close()
            bare.close()
    return [
        TableRow("journal: one event, durable", one, "ms", {"bare sqlite": sqlite}, more_is_better=False),
        TableRow("journal: a whole trip, durable", five, "ms", {"bare sqlite, one row": sqlite}, more_is_better=False),
    ]


def _measure_medians(works: list[Callable[[], None]], seconds: float) -> list[float]:
    """ms each, taken in turns: what else the disk does meets all of them, and none always comes after the same one."""
    found: list[list[float]] = [[] for _ in works]
    turn, dice = list(range(len(works))), random.Random(1)
    until = time.monotonic() + seconds
    while time.monotonic() < until or not found[-1]:
        dice.shuffle(turn)
        for number in turn:
            began = time.perf_counter()
            works[number]()
            found[number].append((time.perf_counter() - began) * 1e3)
    return [statistics.median(taken) for taken in found]
