"""How long what a source has said is believed, and for how long it counts as watched."""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.core.protocols import PushedSource, Source
from watchdog.tsdb.watched_spans import LongestGap

_READS = 3


def max_age_of(source: Source) -> Millis:
    """How old a sample of it may be: what its entry says, else three reads; of one that is told, as long as it is up where
    that is longer. A source of a test's need not say anything."""
    said: Millis | None = getattr(source, "max_age", None)
    if said is not None:
        return said
    reads = _READS * source.every
    return max(reads, source.deadline) if isinstance(source, PushedSource) else reads


def longest_gap_of(source: Source) -> LongestGap:
    """For how long after a read it counts as watched: as many intervals as a value is believed for when nothing is said, and as
    long as the next read may take while nothing is known of it. A source of a test's need not say how long that is."""
    reads = _READS * source.every
    if isinstance(source, PushedSource):
        return LongestGap(reads, None)
    deadline: Millis = getattr(source, "deadline", 0)
    return LongestGap(reads, reads + deadline)
