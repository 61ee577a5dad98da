"""Tells people once a day and once a week how it goes, at a time of their day: each once, whatever ends us or sets the clock."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, cast

from watchdog.app.steady_clock import SteadyClock
from watchdog.config import Config
from watchdog.config.summary import SUMMARY_KINDS, SummaryKind
from watchdog.core.model import Message, Millis
from watchdog.core.schedule import last_occurrence
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.storage import Journal
from watchdog.journal.summaries import SummaryRecord
from watchdog.pipeline.pipeline import Pipeline
from watchdog.tsdb.schema import SERIES_FILE

CHECK_INTERVAL = 10.0
"""s between two looks at what is due."""
LATEST: Millis = 12 * 3_600_000
"""From so late on it is passed over."""
SPANS: dict[SummaryKind, Millis] = {"daily": 86_400_000, "weekly": 7 * 86_400_000}
_MAX_SPAN: Millis = 31 * 86_400_000
_SECONDS = 60.0
"""After which its process begins nothing more …"""
_DEADLINE = 120.0
"""… and after which it is ended; what it knows by then is told."""
_MAX_LINE = 1 << 20
"""Bytes of what it says at once."""


def decide(kind: SummaryKind, last: SummaryRecord | None, due: Millis, now: Millis) -> Literal["begin", "tell"] | None:
    """What is to be done about the summary that was due last. `begin`: nobody was to be told before: the next one is the first.

    One that is less than half a day (half a week) after the last one is the same one at another time: the clock, or the
    configuration, was changed.
    """
    if last is None:
        return "begin"
    if due <= last.due or (last.told is not None and due - last.due < SPANS[kind] // 2):
        return None
    return "tell" if now - due < LATEST else None


class Summaries:
    """Asked every few seconds; what takes its time is done by a process of its own."""

    def __init__(
        self,
        config: Callable[[], Config],
        pipeline: Pipeline,
        journal: Journal,
        clock: SteadyClock,
        record_failure: Callable[[JournalUnavailableError], object],
        fetch_status: Callable[[], Awaitable[Mapping[str, object]]],
        write_series: Callable[[], Awaitable[object]],
        notify_pending: Callable[[], None],
    ) -> None:
        """`record_failure`: told when the journal takes nothing. `fetch_status`: as /api/status tells. `write_series`: so that the
        newest samples are on the disk."""
        self._pipeline, self._journal, self._clock, self._record_failure = pipeline, journal, clock, record_failure
        self._config, self._fetch_status = config, fetch_status
        self._write_series, self._notify_pending = write_series, notify_pending

    async def check(self) -> None:
        """Tells what is due. One that another process of ours has begun is begun anew: it stands in the journal once it is told."""
        try:
            for kind in SUMMARY_KINDS:
                await self._check_kind(kind)
        except JournalUnavailableError as error:
            self._record_failure(error)

    async def _check_kind(self, kind: SummaryKind) -> None:
        summary, now = self._config().summary, self._clock()
        if summary is None or (schedule := summary.schedule(kind)) is None:
            return
        due = last_occurrence(*schedule, summary.timezone, now)
        last = self._journal.summaries.find_last(kind)
        what = decide(kind, last, due, now)
        if what == "begin":
            with self._journal.transaction() as tx:
                tx.summaries.save_last(kind, SummaryRecord(due, None))
        if what != "tell":
            return
        since = now - SPANS[kind]
        if last is not None and last.told is not None:
            since = min(max(last.told, now - _MAX_SPAN), now - 1)
        steps = self._clock.uncounted.steps
        message = await self._make(kind, since, now, summary.timezone)
        step = self._clock.uncounted.steps - steps  # the clock may have been set meanwhile
        self._tell(kind, SummaryRecord(due + step, now + step), message)

    def _tell(self, kind: SummaryKind, record: SummaryRecord, message: Message) -> None:
        """In one transaction: what is told is told, whenever we die."""
        summary, messenger = self._config().summary, self._pipeline.incident_manager.messenger
        named = None if summary is None else summary.notify
        channels = messenger.channels_for("info" if named is None else "crit", named, None)
        with self._journal.transaction() as tx:
            tx.summaries.save_last(kind, record)
            messenger.enqueue(tx, message, channels, self._clock())
        self._notify_pending()

    async def _make(self, kind: SummaryKind, since: Millis, until: Millis, zone: str) -> Message:
        await self._write_series()
        sources = cast("Mapping[str, Any]", (await self._fetch_status())["sources"])
        # What holds secrets goes nowhere: how long a source's values are believed is told from how often they come.
        config = replace(self._config(), sources={}, channels={}, people={}, prometheus_alerts={})
        config = replace(config, state=config.state.absolute())
        known = await self._ask_process((config, (kind, since, until, zone), sources, _SECONDS))
        if "problem" in known:
            log.warning("the %s summary: %s", kind, known["problem"])
        if "title" in known:
            return Message("info", str(known["title"]), tuple(map(str, known["lines"])))
        from watchdog.offline.summary.data import SummaryPeriod  # only here, when nothing else is left
        from watchdog.offline.summary.make import make_summaries

        period = SummaryPeriod(kind, since, until, zone)
        made = make_summaries(config, self._journal, config.state / SERIES_FILE, sources, period, lambda: True)
        first = await asyncio.to_thread(next, made)
        why = "the samples could not be looked at, see the log: trading-watchdog summary shows all of it"
        return replace(first, lines=(*first.lines, why))

    async def _ask_process(self, question: tuple[Any, ...]) -> dict[str, Any]:
        """What it has said last: ``title`` and ``lines``, as far as it got, and ``problem`` where it went no further."""
        known: dict[str, Any] = {}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "watchdog.app.summary_worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env={**_environment(), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            limit=_MAX_LINE,
        )
        try:
            async with asyncio.timeout(_DEADLINE):
                await _listen(process, pickle.dumps(question), known)
        except TimeoutError:
            known["problem"] = f"it was not ready within {_DEADLINE:g} s"
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return known


def _environment() -> dict[str, str]:
    """Where things are, and no secret."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}


async def _listen(process: asyncio.subprocess.Process, question: bytes, known: dict[str, Any]) -> None:
    """Until it ends: `known` becomes what the process has said last."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(ConnectionError):
        process.stdin.write(question)
        await process.stdin.drain()
        process.stdin.close()
    try:
        while line := await process.stdout.readline():
            known.update(json.loads(line))
    except ValueError as error:
        known["problem"] = f"its process answers what nobody understands ({error})"
        return
    if "title" not in known and "problem" not in known:
        known["problem"] = f"its process ended ({await process.wait()})"
