"""Peaks that money depends on outlive a restart: the highest and lowest sample of each hour stand in the journal."""

from __future__ import annotations

from collections.abc import Collection

from watchdog.core.model import Millis
from watchdog.journal.peaks import HOUR
from watchdog.journal.serialization import from_json, to_json
from watchdog.journal.storage import Journal
from watchdog.tsdb.head import Head
from watchdog.tsdb.labels import METRIC_NAME_LABEL, SOURCE_LABEL, TARGET_LABEL


class PeakRecorder:
    """Puts remembered peaks back at boot, and remembers new ones."""

    def __init__(self, journal: Journal, store: Head, sources: Collection[str]) -> None:
        self._journal = journal
        self._store = store
        self._known: dict[tuple[str, str, int], float] = {}
        points: dict[str, list[tuple[Millis, float]]] = {}
        for series, t, v in journal.peaks.list_peaks():
            points.setdefault(series, []).append((t, v))
        for series, known in points.items():
            labels = dict(from_json(series))
            name, source = labels.pop(METRIC_NAME_LABEL), labels.pop(SOURCE_LABEL)
            if store.has_own_sources:
                labels.pop(TARGET_LABEL, None)  # whose it is, the store knows
            if source in sources:
                store.preload(source, name, tuple(sorted(labels.items())), sorted(set(known)), known[0][0])

    def shift(self, _: Millis) -> None:
        """The clock was set: what is written down is of other hours by now."""
        self._known = {}

    def save(self, wanted: Collection[tuple[str, str]], now: Millis) -> None:
        """`wanted`: (metric, max | min) pairs that some KPI compares with."""
        for name, side in wanted:
            for labels, t, v in self._store.latest_samples(name):
                at = (to_json(labels), side, t // HOUR)
                known = self._known.get(at)
                if v == v and t <= now and (known is None or (v > known if side == "max" else v < known)):
                    with self._journal.transaction() as tx:
                        tx.peaks.save_peak(at[0], side, t, v)
                    self._known = {key: peak for key, peak in self._known.items() if key[:2] != at[:2]} | {at: v}
