"""Incidents that people have labelled: which rule saw them, how late, and what it cried about besides."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from watchdog.core.model import Millis
from watchdog.offline.history.page_builder import HistoryError
from watchdog.offline.history.text_format import parse_time, read_lines
from watchdog.offline.replay.outcome import ReplayTrip


class LabelledIncident(NamedTuple):
    start: Millis
    end: Millis
    name: str


@dataclass(frozen=True, slots=True)
class Score:
    """What one threshold, or all together, made of the labels."""

    rule: str
    level: str
    hits: int
    misses: int
    false_alarms: int
    """Trips that began and ended outside of every labelled incident."""
    delays: tuple[Millis, ...]
    """From the start of each incident that was found to the trip; 0 when it fired already."""
    missed: tuple[str, ...]

    @property
    def delay(self) -> Millis | None:
        """Median of the delays."""
        return round(median(self.delays)) if self.delays else None


def load_labels(path: Path, end: Millis) -> list[LabelledIncident]:
    """``start,end[,name]``, times as in history; an empty end is `end`. Raises HistoryError with line and cure."""
    rows = csv.reader(line + "\n" for line in read_lines(path) if line.strip())
    header = [cell.strip().lower() for cell in next(rows, [])]
    if "start" not in header or "end" not in header:
        raise HistoryError(f"{path}:1: no columns start and end — the first line reads start,end,name")
    found = []
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise HistoryError(
                f"{path}:{line}: has {len(row)} cells, the first line {len(header)} — is a comma missing?"
            )
        cells = dict(zip(header, row, strict=True))
        try:
            start = parse_time(cells["start"])
            over = parse_time(cells["end"]) if cells["end"].strip() else end
        except ValueError as error:
            raise HistoryError(f"{path}:{line}: {error}") from None
        if over < start:
            raise HistoryError(f"{path}:{line}: ends before it starts — swap start and end")
        found.append(LabelledIncident(start, over, cells.get("name", "").strip() or f"incident {line - 1}"))
    return sorted(found)


def score_labels(
    trips: Sequence[ReplayTrip], labels: Sequence[LabelledIncident], rules: Sequence[tuple[str, str]], end: Millis
) -> list[Score]:
    """For each (rule, level), and at the end for all together under the name ``any``.

    An incident is found by the first trip that fires at any time of it.
    """
    scores = [
        _score_threshold(rule, level, [trip for trip in trips if (trip.rule, trip.level) == (rule, level)], labels, end)
        for rule, level in rules
    ]
    return [*scores, _score_threshold("any", "", trips, labels, end)]


def _score_threshold(
    rule: str, level: str, trips: Sequence[ReplayTrip], labels: Sequence[LabelledIncident], end: Millis
) -> Score:
    delays, missed = [], []
    for label in labels:
        starts = [trip.start for trip in trips if _overlaps(trip, label, end)]
        if starts:
            delays.append(max(0, min(starts) - label.start))
        else:
            missed.append(label.name)
    false = sum(not any(_overlaps(trip, label, end) for label in labels) for trip in trips)
    return Score(rule, level, len(delays), len(missed), false, tuple(delays), tuple(missed))


def _overlaps(trip: ReplayTrip, label: LabelledIncident, end: Millis) -> bool:
    return trip.start <= label.end and (end if trip.end is None else trip.end) >= label.start
