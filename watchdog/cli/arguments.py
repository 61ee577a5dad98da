"""What the parsers of several commands have in common."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from watchdog.core.units import parse_duration

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a module adds its commands."""
DEFAULT_CONFIG = Path("/etc/trading-watchdog")


def add_command(
    commands: Commands,
    name: str,
    function: Callable[[argparse.Namespace], int],
    description: str,
    *,
    as_json: bool = True,
) -> argparse.ArgumentParser:
    """A command that calls `function`, which returns the exit code."""
    command = commands.add_parser(name, help=description, description=description)
    command.set_defaults(command=function)
    if as_json:
        command.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    return command


def add_config_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("TRADING_WATCHDOG_CONFIG", DEFAULT_CONFIG)),
        help="folder that holds watchdog.yaml and rules/ ($TRADING_WATCHDOG_CONFIG, else %(default)s)",
    )


def add_history_option(command: argparse.ArgumentParser, *, text: str, required: bool = False) -> None:
    command.add_argument("--history", nargs="+", action="extend", required=required, metavar="FILE", help=text)


def add_reason_option(command: argparse.ArgumentParser, *, required: bool = False) -> None:
    command.add_argument("--reason", metavar="TEXT", required=required, help="why; stands in the journal")


def add_yes_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask")


def duration(text: str) -> int:
    """An argument's type: ms. argparse prints the message of this error, and of no other."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
