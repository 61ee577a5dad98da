"""Keeps the history: what the store holds goes to series.db, and comes back from there at boot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from watchdog.config import Config
from watchdog.core.model import Message, Millis, NotifyFunction
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.telemetry import Telemetry, log
from watchdog.journal.errors import JournalUnavailableError
from watchdog.sources.series_limits import max_series_of
from watchdog.tsdb.archive import RetentionLimits, SeriesArchive
from watchdog.tsdb.head import Head
from watchdog.tsdb.schema import SERIES_FILE
from watchdog.tsdb.write_buffer import NO_STATES, StateSnapshot, WriteBuffer

WRITE_INTERVAL = 60.0
"""s between two writes: what kill -9 may cost."""
_WRITE_TIMEOUT = 600.0
_FINAL_WRITE_TIMEOUT = 5.0
"""s that a write may take, and the one at the end."""


class SeriesWriter:
    """Of one daemon. Does nothing when the configuration says `history: off`."""

    def __init__(self, config: Config, telemetry: Telemetry, notify: NotifyFunction) -> None:
        """`notify` is called in the daemon's own loop."""
        self._sources = config.sources
        self._history = config.history
        self._telemetry = telemetry
        self._notify = notify
        self._writer_thread = ThreadOffload(1, "saving")
        self._unsaid: list[str] = []
        """Why history begins anew, until people have been told."""
        self.path: Path = config.state / SERIES_FILE
        self._archive: SeriesArchive | None = None
        self._write_buffer: WriteBuffer | None = None
        self.restored_states: Mapping[str, StateSnapshot] = NO_STATES
        """What the sources remembered when their newest samples in the file were written."""

    def restore(self, store: Head, now: Millis) -> None:
        """Puts back what expressions read of the past, before anything is kept or judged."""
        if self._history is not None:
            limits = RetentionLimits(self._history.raw, self._history.coarse, self._history.max)
            self._archive = SeriesArchive(self.path, limits, store.retention_of)
            self.restored_states = self._archive.restore(
                store, self._sources, now, lambda name: max_series_of(self._sources[name])
            )
            self._write_buffer = WriteBuffer(store, now)
            self._update_metrics(self._archive)

    def status(self) -> dict[str, object] | None:
        """For /api/status; None when nothing is kept."""
        return None if self._archive is None else self._archive.status()

    async def write(
        self, now: Millis, states: Mapping[str, StateSnapshot] = NO_STATES, *, deadline: float = _WRITE_TIMEOUT
    ) -> bool:
        """What is new goes to the file, and what the sources remember now. Copied here, written in a thread.

        True when all that the store held at `now` is written down.
        """
        if self._archive is None or self._write_buffer is None:
            return False
        batch, written = self._write_buffer.collect(now, states), False
        try:
            if written := bool(await self._writer_thread("history", deadline, self._archive.write, batch)):
                self._write_buffer.mark_written(batch)
        except (DeadlineExceededError, StillBusyError):
            log.warning("history: the disk is slow; what is not written down yet waits")
        self._update_metrics(self._archive)
        for text in self._archive.take_reports():
            self._telemetry.history_lost.inc()
            self._unsaid.append(text)
        while self._unsaid:  # what the journal does not take now is said after a later write
            self._notify(Message("warn", "history begins anew", (self._unsaid[0],)))
            del self._unsaid[0]
        return written

    def shift(self, step: Millis) -> None:
        """The clock was set, and the store has moved along."""
        if self._write_buffer is not None:
            self._write_buffer.shift(step)

    async def stop(self, now: Millis, states: Mapping[str, StateSnapshot] = NO_STATES) -> None:
        """The last write."""
        try:
            await self.write(now, states, deadline=_FINAL_WRITE_TIMEOUT)
        except JournalUnavailableError:
            log.warning("history: people could not be told that it begins anew: %s", "; ".join(self._unsaid))
        if self._archive is not None:
            self._archive.close()
        self._writer_thread.close()

    def _update_metrics(self, archive: SeriesArchive) -> None:
        self._telemetry.history_bytes.set(archive.used_bytes)
        self._telemetry.history_oldest.set(float("nan") if archive.oldest is None else archive.oldest / 1_000)
