"""`demo`: a night in a minute."""

from __future__ import annotations

import argparse
from pathlib import Path

from watchdog.cli.arguments import Commands, add_command
from watchdog.offline.demo import FIRST_BAR, LAST_BAR, run_demo


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
    command.add_argument(
        "--from",
        dest="first_bar",
        type=int,
        default=FIRST_BAR,
        metavar="BAR",
        help=f"where in the market's data the bot begins, {FIRST_BAR} to {LAST_BAR} (default: {FIRST_BAR})",
    )
    command.add_argument(
        "--seed", type=int, default=1, metavar="N", help="another bad version: N begins its fits (default: 1)"
    )


def demo(options: argparse.Namespace) -> int:
    return run_demo(as_json=options.json, keep=options.keep, first_bar=options.first_bar, seed=options.seed)
