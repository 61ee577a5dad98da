"""Keeps the history: what the store holds goes to series.db, and comes back from there at boot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from watchdog.config import Config
from watchdog.model import Millis
from watchdog.offload import DeadlineError, Offload, StillBusyError
from watchdog.series import Store
from watchdog.series.archive import Archive, Limits
from watchdog.series.feed import Feed
from watchdog.telemetry import Telemetry, log

EVERY = 60.0
"""s between two writes: what kill -9 may cost."""
_PATIENCE = 600.0
_LAST = 5.0
"""s that a write may take, and the one at the end."""


class Keeper:
    """Of one daemon. Does nothing when the configuration says `history: off`."""

    def __init__(self, config: Config, telemetry: Telemetry, tell: Callable[[str], None]) -> None:
        """`tell` takes a line for people, in the daemon's own loop."""
        self._sources = config.sources
        self._kept = config.history
        self._telemetry = telemetry
        self._tell = tell
        self._saving = Offload(1, "saving")
        self.path: Path = config.state / "series.db"
        self._archive: Archive | None = None
        self._feed: Feed | None = None

    def warm(self, store: Store, now: Millis) -> None:
        """Puts back what expressions read of the past, before anything is kept or judged."""
        if self._kept is not None:
            limits = Limits(self._kept.raw, self._kept.coarse, self._kept.max)
            self._archive = Archive(self.path, limits, store.keeps)
            self._archive.restore(store, self._sources, now)
            self._feed = Feed(store, now)
            self._show(self._archive)

    def said(self) -> dict[str, object] | None:
        """For /api/status; None when nothing is kept."""
        return None if self._archive is None else self._archive.said()

    async def save(self, now: Millis, deadline: float = _PATIENCE) -> None:
        """What is new goes to the file. Copied here, written in a thread."""
        if self._archive is None or self._feed is None:
            return
        batch = self._feed.collect(now)
        try:
            if await self._saving("history", deadline, self._archive.write, batch):
                self._feed.done(batch)
        except (DeadlineError, StillBusyError):
            log.warning("history: the disk is slow; what is not written down yet waits")
        self._show(self._archive)
        for text in self._archive.told():
            self._telemetry.history_lost.inc()
            self._tell(text)

    async def stop(self, now: Millis) -> None:
        """The last write."""
        await self.save(now, _LAST)
        if self._archive is not None:
            self._archive.close()
        self._saving.close()

    def _show(self, archive: Archive) -> None:
        self._telemetry.history_bytes.set(archive.size)
        self._telemetry.history_oldest.set(float("nan") if archive.oldest is None else archive.oldest / 1_000)
