"""What was imported from Prometheus's rule files. Who has none of them does not load what reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from watchdog.documents.document import Document
from watchdog.promql import RecordingRule

if TYPE_CHECKING:
    from watchdog.prometheus_rules.alert import PrometheusAlert


@dataclass
class ImportedRules:
    replacements: dict[int, Document] = field(default_factory=dict)
    """By the id of the document as it was read first."""
    prometheus_alerts: dict[str, PrometheusAlert] = field(default_factory=dict)
    """By the name of our rule."""
    recordings: dict[str, list[RecordingRule]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
