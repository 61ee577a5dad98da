"""The labels of alerts that mean something to us; in and out."""

from __future__ import annotations

SEVERITY_LABEL = "severity"
PLAN_LABEL = "watchdog_plan"
"""Plan that the alert starts."""
TARGET_LABEL = "watchdog_target"
"""Target that the alert belongs to."""
MISSING_LABEL = "watchdog_missing"
"""Set on what an exported alert says of missing data."""

CRITICAL_SEVERITIES = ("critical", "page", "crit")
"""Severities that are a crit; every other is a warn."""
WARNING_SEVERITY = "warning"

RULE_IDENTITY_LABELS = (SEVERITY_LABEL, PLAN_LABEL, TARGET_LABEL, "alertname", "alertstate")
"""Not kept among a rule's labels: they say what it is."""
