"""`check --export prometheus`: our rules for a Prometheus server."""

from __future__ import annotations

import sys

from watchdog.config import Config
from watchdog.prometheus_rules.exporter import describe_export, export_prometheus


def export_rules(checked: Config) -> int:
    made = export_prometheus(checked)
    print(made.text, end="")
    print(describe_export(made.alerts, made.unsupported), file=sys.stderr)
    return 0
