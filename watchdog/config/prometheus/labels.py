"""The labels of alerts that mean something to us; in and out."""

from __future__ import annotations

SEVERITY = "severity"
PLAN = "watchdog_plan"
"""Plan that the alert starts."""
TARGET = "watchdog_target"
"""Target that the alert belongs to."""
MISSING = "watchdog_missing"
"""Set on what an exported alert says of missing data."""

CRITICAL = ("critical", "page", "crit")
"""Severities that are a crit; every other is a warn."""
WARNING = "warning"

OURS = (SEVERITY, PLAN, TARGET, "alertname", "alertstate")
"""Not kept among a rule's labels: they say what it is."""
