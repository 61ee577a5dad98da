"""A thousand incidents in a minute on a channel that takes ten messages an hour: what is sent, and what it costs."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Effort
from benchmarks.table import TableRow
from watchdog.core.model import Fact, Message, Millis, Severity
from watchdog.core.offload import ThreadOffload
from watchdog.core.target import Budget, parse_budget_text
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.notifiers.outbox import OutboxSender

_START = 1_700_000_000_000
_INCIDENTS, _PER_SECOND, _HOURS = 1_000, 17, 3


class _Chat:
    from_: Severity = "info"

    def __init__(self, limit: Budget, clock: Callable[[], Millis]) -> None:
        self.limit, self._clock = limit, clock
        self.sent = list[tuple[Millis, Message]]()

    async def send(self, message: Message) -> str:
        self.sent.append((self._clock(), message))
        return str(len(self.sent))


def measure_rows(_: Effort, say: Callable[[str], None]) -> Iterator[TableRow]:
    """Each incident trips, is repaired and closes; one in a hundred is critical. Time passes as fast as it can be worked out."""
    say("a thousand incidents in a minute on a channel of 10 per 1h")
    with TemporaryDirectory(prefix="benchmarks-") as name:
        chat, seconds, most = _run(Path(name) / "timed.db")
        tracemalloc.start()
        _run(Path(name) / "traced.db")
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    what = "1,000 incidents in a minute, limit: 10 per 1h"
    digests = [one for _, one in chat.sent if " in one: " in one.title]
    critical = [t for t, one in chat.sent if one.severity == "crit"]
    in_time = [t for t in critical if t < _START + 60_000]
    rest = len(chat.sent) - len(critical)
    yield TableRow(f"{what}: messages in three hours, of 3,000 written", len(chat.sent), more_is_better=False)
    yield TableRow(f"{what}: of these critical, within that minute", len(in_time), goal=10)
    yield TableRow(f"{what}: of these digests", len(digests), more_is_better=False)
    yield TableRow(f"{what}: not critical, with ends of what was", rest, more_is_better=False, goal=50)
    yield TableRow(f"{what}: longest look of the outbox", most * 1_000, "ms", more_is_better=False)
    yield TableRow(f"{what}: all in all, without waiting for the disk", seconds, "s", more_is_better=False)
    yield TableRow(f"{what}: most memory, Python's", memory / 2**20, "MB", more_is_better=False, goal=64)


def _run(path: Path) -> tuple[_Chat, float, float]:
    journal, pool = SqliteJournal(path, durable=False), ThreadOffload(None, "sending")
    try:
        return asyncio.run(_live(journal, pool))
    finally:
        pool.close()
        journal.close()


async def _live(journal: SqliteJournal, pool: ThreadOffload) -> tuple[_Chat, float, float]:
    now = [_START]
    chat = _Chat(parse_budget_text("10 per 1h"), lambda: now[0])
    outbox = OutboxSender(journal, Telemetry("benchmark"), lambda: now[0], pool, {"chat": chat}, pace=0)
    began, most, opened = time.monotonic(), 0.0, list[int]()
    for second in range(_HOURS * 3_600):
        if len(opened) < _INCIDENTS:
            with journal.transaction(defer_sync=True) as tx:
                for n in range(len(opened), min(_INCIDENTS, len(opened) + _PER_SECOND)):
                    severity: Severity = "crit" if n % 100 == 0 else "warn"
                    number = tx.incidents.open_incident(f"bot{n}", severity, "loss", now[0])
                    opened.append(number)
                    topic = f"incident {number}"
                    told: tuple[tuple[str, Severity, tuple[str, ...], tuple[str, ...]], ...] = (
                        ("loss tripped", severity, (topic,), ()),
                        ("ladder: repaired", "info", (), ()),
                        ("incident closed", "info", (), (topic,)),
                    )
                    for what, how, opens, ends in told:
                        facts = (Fact(f"bot{n}", what, how, 1, f"{n % 97} % is above 5 %", n % 97),)
                        lines = (f"{n % 97} % is above 5 %",)
                        message = Message(how, f"bot{n}: {what}", lines, number, opens=opens, ends=ends, facts=facts)
                        tx.messages.enqueue(message, ["chat"], now[0])
        if second < 120 or second % 60 == 0:
            look = time.monotonic()
            await outbox.drain()
            most = max(most, time.monotonic() - look)
        now[0] += 1_000
    return chat, time.monotonic() - began, most
