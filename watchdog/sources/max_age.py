"""How long what a source has said is believed."""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.core.protocols import PushedSource, Source

_READS = 3


def max_age_of(source: Source) -> Millis:
    """How old a sample of it may be: what its entry says, else three reads; of one that is told, as long as it is up where
    that is longer. A source of a test's need not say anything."""
    said: Millis | None = getattr(source, "max_age", None)
    if said is not None:
        return said
    reads = _READS * source.every
    return max(reads, source.deadline) if isinstance(source, PushedSource) else reads
