"""`schema`: what editors need to complete, explain and underline."""

from __future__ import annotations

import argparse
import json

from watchdog.cli.arguments import Commands, add_command
from watchdog.cli.output import print_data
from watchdog.config.schema import json_schema


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "schema",
        print_schema,
        "Print the JSON Schema of rule files, or of watchdog.yaml, for editors.",
        as_json=False,
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--rules", action="store_true", help="of the files in rules/ (this is the default)")
    which.add_argument("--main", action="store_true", help="of watchdog.yaml")


def print_schema(options: argparse.Namespace) -> int:
    schema = json_schema("main" if options.main else "rules")
    print_data(f"{json.dumps(schema, indent=2, ensure_ascii=False)}\n")
    return 0
