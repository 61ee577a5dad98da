"""Rule files of Prometheus's among the documents. Who has none does not load what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.config.document import Document
from watchdog.promql import Recording

if TYPE_CHECKING:
    from watchdog.config.prometheus.translate import Alert


@dataclass
class Translation:
    instead: dict[int, Document] = field(default_factory=dict)
    """By the id of the document as it was read first."""
    alerts: dict[str, Alert] = field(default_factory=dict)
    """By the name of our rule."""
    recordings: dict[str, list[Recording]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def translated(read: Sequence[tuple[Path, Document]]) -> Translation:
    """Those of the documents that are Prometheus's, translated. Their mistakes stand in the new documents' ``problems``."""
    if not any(isinstance(document.data, dict) and "groups" in document.data for _, document in read):
        return Translation()
    from watchdog.config.prometheus.translate import (
        read_theirs,  # their templates, groups and labels: a twentieth of a start
    )

    return read_theirs(read)
