"""Rule files of Prometheus's among the documents. Who has none does not load what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.config.document import Document
from watchdog.promql import RecordingRule

if TYPE_CHECKING:
    from watchdog.config.prometheus.translate import PrometheusAlert


@dataclass
class ImportedRules:
    replacements: dict[int, Document] = field(default_factory=dict)
    """By the id of the document as it was read first."""
    prometheus_alerts: dict[str, PrometheusAlert] = field(default_factory=dict)
    """By the name of our rule."""
    recordings: dict[str, list[RecordingRule]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def import_prometheus_rules(read: Sequence[tuple[Path, Document]]) -> ImportedRules:
    """Those of the documents that are Prometheus's, translated. Their mistakes stand in the new documents' ``problems``."""
    if not any(isinstance(document.data, dict) and "groups" in document.data for _, document in read):
        return ImportedRules()
    from watchdog.config.prometheus.translate import (
        import_documents,  # their templates, groups and labels: a twentieth of a start
    )

    return import_documents(read)
