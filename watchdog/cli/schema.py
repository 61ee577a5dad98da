"""`schema`: what editors need to complete, explain and underline."""

from __future__ import annotations

import argparse
import json

from watchdog.config.schema import json_schema


def print_schema(options: argparse.Namespace) -> int:
    print(json.dumps(json_schema("main" if options.main else "rules"), indent=2, ensure_ascii=False))
    return 0
