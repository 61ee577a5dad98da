"""`demo`: a night in a minute."""

from __future__ import annotations

import argparse
from pathlib import Path

from watchdog.cli.arguments import Commands, add_command
from watchdog.offline.demo import run_demo


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "demo",
        demo,
        "Watch a real HMM trading bot go bad, get rolled back, and recover (about a minute).",
    )
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="leave the repository, the journal and the logs there"
    )


def demo(options: argparse.Namespace) -> int:
    return run_demo(as_json=options.json, keep=options.keep)
