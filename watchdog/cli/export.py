"""`check --export prometheus`: our rules for a Prometheus server."""

from __future__ import annotations

import sys

from watchdog.config import Config
from watchdog.config.prometheus.export import export, told


def export_rules(checked: Config) -> int:
    made = export(checked)
    print(made.text, end="")
    print(told(made.alerts, made.unsaid), file=sys.stderr)
    return 0
