"""The command line: which file holds which command, and what an error looks like.

Exit codes: 0 well, 1 the answer is no (an error was found, a rollback failed), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Iterable, Sequence

from watchdog import __version__
from watchdog.cli import terminal
from watchdog.cli.environment import add_service_environment
from watchdog.cli.output import print_line
from watchdog.core.errors import WatchdogError
from watchdog.core.log_format import LineFormatter
from watchdog.core.text import shorten
from watchdog.documents.problems import ConfigError

COMMANDS = {
    "init": "init",
    "run": "run",
    "check": "check",
    "sources": "sources",
    "notify": "notify",
    "schema": "schema",
    "polkit": "polkit",
    "status": "status",
    "incidents": "status",
    "summary": "summary",
    "drill": "drill",
    "snapshot": "snapshot",
    "report": "report",
    "reload": "reload",
    "rollback": "control",
    "undo": "control",
    "resume": "control",
    "approve": "control",
    "deny": "control",
    "abort": "control",
    "next": "control",
    "ack": "control",
    "hold": "control",
    "silence": "control",
    "baseline": "baseline",
    "query": "query",
    "replay": "replay",
    "test": "test",
    "demo": "demo",
}
"""Command → the module of this package whose `register` adds its parser, in the order of `--help`."""


is_own_process = False
"""This process is the command, and ends with it: it may let go of rights for good."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    global is_own_process  # noqa: PLW0603 - one fact of the whole process
    is_own_process = argv is None
    terminal.prepare()
    try:
        try:
            return _run_command(sys.argv[1:] if argv is None else argv)
        finally:
            terminal.flush()
    except BrokenPipeError:  # nobody reads any more
        terminal.discard()
        return 1
    except terminal.OutputError as error:
        terminal.discard()
        print_line(f"trading-watchdog: {error}", is_error=True)
        return 1


def _run_command(args: Sequence[str]) -> int:
    options = build_parser(_modules_for(args)).parse_args(args)
    command: Callable[[argparse.Namespace], int] = options.command
    if logging.lastResort is not None:  # what a command that keeps no log has to say, on stderr
        logging.lastResort.setFormatter(LineFormatter("%(message)s"))
    if (configuration := getattr(options, "config", None)) is not None:
        add_service_environment(configuration)
    try:
        return command(options)
    except ConfigError as error:
        for problem in error.problems:
            print_line(problem, is_error=True)
        return 1
    except terminal.OutputError:
        raise
    except WatchdogError as error:
        print_line(f"trading-watchdog: {error}", is_error=True)
        return 1
    except UnicodeEncodeError as error:  # a file's name, in a locale that has no such characters
        shown = shorten(error.object, 80)
        cure = "set LC_ALL=C.UTF-8"
        print_line(
            f"trading-watchdog: {shown!r} cannot be said in the encoding {error.encoding} — {cure}", is_error=True
        )
        return 1
    except KeyboardInterrupt:
        return 130


def _modules_for(argv: Sequence[str]) -> Iterable[str]:
    """The command's own module: `run` carries nothing of the others about. All of them for --help and for a mistake,
    which name every command."""
    if argv and argv[0] in COMMANDS:
        return [COMMANDS[argv[0]]]
    return () if list(argv) == ["--version"] else COMMANDS.values()


def build_parser(modules: Iterable[str] = tuple(COMMANDS.values())) -> argparse.ArgumentParser:
    """The command line, as far as these modules make it."""
    top = argparse.ArgumentParser(
        prog="trading-watchdog",
        description="Watches a trading bot's KPIs, rolls it back when a rule trips, proves it, and tells people.",
    )
    top.add_argument("--version", action="version", version=f"trading-watchdog {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for module in dict.fromkeys(modules):
        importlib.import_module(f"{__package__}.{module}").register(commands)
    return top
