"""`check`: every error of every file."""

from __future__ import annotations

import argparse
import json
import os
import sys

from watchdog import config
from watchdog.cli.export import export_rules
from watchdog.config import Config


def check(options: argparse.Namespace) -> int:
    checked, problems = config.check(options.paths or [options.config], environ=os.environ)
    if options.export and checked is not None:
        return export_rules(checked)
    warnings = () if checked is None else checked.warnings
    if options.json:
        print(json.dumps({"errors": [p._asdict() for p in problems], "warnings": [p._asdict() for p in warnings]}))
        return 1 if problems else 0
    for problem in problems:
        print(problem)
    for warning in warnings:
        print(f"{warning} (warning)")
    if checked is not None:
        for note in checked.unchecked:
            print(f"note: {note}")
        if not problems:
            print(_summary(checked))
    if problems:
        print(f"{len(problems)} error{'s' if len(problems) > 1 else ''}", file=sys.stderr)
    return 1 if problems else 0


def _summary(checked: Config) -> str:
    counts = [(len(checked.rules), "rule"), (len(checked.kpis), "KPI"), (len(checked.plans), "plan"),
              (len(checked.targets), "target"), (len(checked.sources), "source"), (len(checked.channels), "channel")]  # fmt: skip
    return "well: " + ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n)
