"""The command line: the only room that prints or exits. One file a kind of command; here stands what they share.

Exit codes: 0 well, 1 the answer is no (an error was found, a rollback failed), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from watchdog import __version__
from watchdog.core.errors import WatchdogError
from watchdog.core.units import parse_duration
from watchdog.documents.problems import ConfigError

_DEFAULT_CONFIG = Path("/etc/trading-watchdog")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    except WatchdogError as error:
        print(f"trading-watchdog: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parse_duration(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _LazyCommands:
    """A file of commands, imported when one of them runs: `run` carries nothing of the others about."""

    def __init__(self, file: str) -> None:
        self._file = f"{__package__}.{file}"

    def __getattr__(self, name: str) -> Callable[[argparse.Namespace], int]:
        def call(options: argparse.Namespace) -> int:
            return int(getattr(importlib.import_module(self._file), name)(options))

        return call


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; `--help` and the docs are made from it."""
    control, baseline, check, drill, status, query = map(
        _LazyCommands, ("control", "baseline", "check", "drill", "status", "query")
    )
    replay, report, run, schema, snapshot, test = map(
        _LazyCommands, ("replay", "report", "run", "schema", "snapshot", "test")
    )
    top = argparse.ArgumentParser(
        prog="trading-watchdog",
        description="Watches a trading bot's KPIs, rolls it back when a rule trips, proves it, and tells people.",
    )
    top.add_argument("--version", action="version", version=f"trading-watchdog {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, call: Callable[[argparse.Namespace], int], text: str, *, as_json: bool = True) -> Any:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=call)
        if as_json:
            command.add_argument("--json", action="store_true", help="print one JSON value instead of text")
        return command

    def configured(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--config",
            type=Path,
            metavar="DIR",
            default=Path(os.environ.get("TRADING_WATCHDOG_CONFIG", _DEFAULT_CONFIG)),
            help="folder that holds watchdog.yaml and rules/ ($TRADING_WATCHDOG_CONFIG, else %(default)s)",
        )

    command = add("run", run.run, "Watch, act and tell until stopped; SIGHUP reloads.", as_json=False)
    configured(command)
    command.add_argument("--verbose", "-v", action="store_true", help="log more")

    command = add(
        "check", check.check, "Check rule files and configuration; list every error with file, line and column."
    )
    command.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="rule files, a folder of rules, or a configuration folder (default: --config)",
    )
    command.add_argument("--explain", metavar="RULE", help="tell in plain English what a rule does, defaults included")
    command.add_argument(
        "--probe", action="store_true", help="read each source, and warn of metrics that none delivers"
    )
    command.add_argument("--export", choices=["prometheus"], help="print the rules as a file for a Prometheus server")
    configured(command)

    command = add(
        "schema",
        schema.print_schema,
        "Print the JSON Schema of rule files, or of watchdog.yaml, for editors.",
        as_json=False,
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--rules", action="store_true", help="of the files in rules/ (this is the default)")
    which.add_argument("--main", action="store_true", help="of watchdog.yaml")

    command = add("status", status.status, "What is so now: sources, KPIs, rules, latches, plans at work.")
    configured(command)

    command = add("incidents", status.list_incidents, "Incidents, the newest first; with an ID, its timeline.")
    command.add_argument("id", nargs="?", type=int, metavar="ID")
    configured(command)

    command = add(
        "drill", drill.rehearse, "Rehearse a plan on copies of the repository and the files: what would fail tonight."
    )
    command.add_argument("plan", metavar="PLAN")
    command.add_argument(
        "--target", metavar="NAME", help="only this one (default: every target whose rules start the plan)"
    )
    configured(command)

    command = add(
        "snapshot",
        snapshot.run_snapshot,
        "Before a deploy: tag the commit and save files; --restore undoes the deploy.",
    )
    command.add_argument("target", nargs="?", metavar="TARGET", help="needed when there are several")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--tag", metavar="NAME", help="take one of this name (default: list what there is)")
    which.add_argument("--restore", metavar="NAME", help="back to it: a new commit, and the saved files byte for byte")
    command.add_argument(
        "--save",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="save these too, beside the files in which plans set flags; relative to the repo",
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    configured(command)

    command = add(
        "report",
        report.print_report,
        "Tell one incident whole: seen, decided, done, proven, how long it took, what is open.",
    )
    command.add_argument("incident", type=int, metavar="INCIDENT", help="its number, as `incidents` lists it")
    command.add_argument(
        "--format", choices=("md", "html"), default="md", help="Markdown, or one HTML page with pictures"
    )
    command.add_argument("--output", "-o", type=Path, metavar="FILE", help="write there instead of printing")
    command.add_argument(
        "--history",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="where the samples of that time are, when not in the watchdog's own history",
    )
    configured(command)

    command = add("rollback", control.rollback, "Run a plan now, through the daemon or, when none runs, without it.")
    command.add_argument("plan", metavar="PLAN")
    command.add_argument("--target", metavar="NAME", help="needed when there are several")
    command.add_argument("--level", metavar="NAME", help="start at this level")
    command.add_argument("--reason", metavar="TEXT", help="why; stands in the journal")
    command.add_argument("--dry-run", action="store_true", help="print what would change, as diffs, and change nothing")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--takeover", action="store_true", help="end a daemon that hangs, and do it without it")
    configured(command)

    command = add(
        "undo", control.undo, "Put back the files that an incident's repairs changed; git gets one more commit."
    )
    command.add_argument("incident", type=int, metavar="INCIDENT")
    command.add_argument("--reason", metavar="TEXT", help="why; stands in the journal")
    command.add_argument("--yes", action="store_true", help="do not ask")
    configured(command)

    command = add(
        "resume", control.resume, "Open a target's latch: repairs may start again, and its rules are judged anew."
    )
    command.add_argument("target", metavar="TARGET")
    command.add_argument("--reason", metavar="TEXT", required=True, help="why; stands in the journal")
    configured(command)

    def person(name: str, call: Callable[[argparse.Namespace], int], text: str) -> Any:
        command = add(name, call, text)
        command.add_argument("--reason", metavar="TEXT", help="why; stands in the journal")
        configured(command)
        return command

    command = person("approve", control.approve, "Let a plan run that waits for approval begin.")
    command.add_argument("run", type=int, metavar="RUN", help="its number, as in the message and in `status`")
    command = person("deny", control.deny, "End a plan run that waits for approval; nothing is touched.")
    command.add_argument("run", type=int, metavar="RUN")
    command = person(
        "abort", control.abort, "End a plan at its next step. What it has done stays, and the target is latched."
    )
    command.add_argument("what", metavar="RUN|TARGET", help="one run, or all of a target")

    command = add(
        "ack", control.ack, "Say that somebody is on it, or what was found out; stands in the incident's timeline."
    )
    command.add_argument("incident", type=int, metavar="INCIDENT")
    finding = command.add_mutually_exclusive_group()
    finding.add_argument("--note", metavar="TEXT", help="what others should know")
    finding.add_argument(
        "--cause", metavar="TEXT", help="the root cause; the report measures how long it took to be found"
    )
    finding.add_argument("--fix", metavar="TEXT", help="what fixes it for good; the report measures how long that took")
    configured(command)

    def stay(command: Any) -> None:
        length = command.add_mutually_exclusive_group(required=True)
        length.add_argument(
            "--for", dest="span", type=_parse_duration, metavar="DURATION", help="such as 2h; at most 30d"
        )
        length.add_argument("--off", action="store_true", help="end it now")

    command = person(
        "hold", control.hold, "Rules start no repair of a target for a while. Halts they do, unless --all."
    )
    command.add_argument("target", metavar="TARGET")
    stay(command)
    command.add_argument("--all", action="store_true", help="no halts either")
    command = person("silence", control.silence, "A rule is not told for a while. It is still judged and acted upon.")
    command.add_argument("rule", metavar="RULE")
    stay(command)
    command.add_argument("--until-well", action="store_true", help="or until it is well again, if that is sooner")

    command = add(
        "baseline",
        baseline.show_all,
        "What KPIs are when all is well: capture it, show it, compare with now.",
        as_json=False,
    )
    what = command.add_subparsers(required=True, metavar="WHAT")
    for name, call, text in (
        ("capture", baseline.capture, "Ask the running watchdog to take what is so now for normal."),
        ("show", baseline.show_all, "The baselines in force, and where they come from."),
        ("diff", baseline.diff, "What is so now beside what is normal; 1 when something is more than 20 times off."),
    ):
        command = what.add_parser(name, help=text, description=text)
        command.set_defaults(command=call)
        command.add_argument("--json", action="store_true", help="print one JSON value instead of text")
        configured(command)
        if name == "capture":
            command.add_argument("kpis", nargs="*", metavar="KPI", help="default: all that say baseline: captured")
            command.add_argument(
                "--for",
                dest="span",
                metavar="DURATION",
                default="1m",
                help="gather for so long, from now on (default: %(default)s; 0s: one look)",
            )

    command = add("query", query.query, "Ask a PromQL expression of history files, or of the running watchdog.")
    command.add_argument("expr", metavar="EXPR", help="PromQL")
    command.add_argument(
        "--at", metavar="TIME", help="one time: ISO 8601, seconds or milliseconds, now, now-1h (default: the end)"
    )
    command.add_argument("--from", dest="start", metavar="TIME", help="first time of several")
    command.add_argument("--to", dest="end", metavar="TIME", help="last time (default: the end)")
    command.add_argument("--step", metavar="DURATION", help="from one time to the next (default: 300 steps)")
    command.add_argument(
        "--history",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="CSV, OpenMetrics text, series.db, a Prometheus's address; else the watchdog",
    )
    command.add_argument("--png", type=Path, metavar="FILE", help="draw a picture instead of a table")
    configured(command)

    command = add(
        "replay", replay.run, "What rules would have done over the past: trips, plans, and labelled incidents found."
    )
    command.add_argument("rules", nargs="+", type=Path, metavar="RULES", help="rule files, or a folder of them")
    command.add_argument(
        "--history",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="CSV, OpenMetrics text, a series.db, or a Prometheus's address",
    )
    command.add_argument("--from", dest="start", metavar="TIME", help="first look (default: the first sample)")
    command.add_argument("--to", dest="end", metavar="TIME", help="last look (default: the last sample)")
    command.add_argument("--every", metavar="DURATION", help="look at this step only (default: as the watchdog does)")
    command.add_argument(
        "--exact", action="store_true", help="judge every round, and pass over none: slow, same result"
    )
    command.add_argument("--incidents", type=Path, metavar="FILE", help="labelled incidents: CSV with start,end[,name]")
    command.add_argument("--png", type=Path, metavar="FILE", help="draw a timeline, too")

    command = add("test", test.run_test_files, "Unit tests of rules: promtool's own test files, and ours.")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="test files; see docs/testing.md")
    command.add_argument("--run", metavar="REGEX", help="only tests whose name it finds something in")
    command.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report for CI systems")

    command = add(
        "demo",
        run.run_demo_command,
        "Watch a real HMM trading bot go bad, get rolled back, and recover (about a minute).",
    )
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="leave the repository, the journal and the logs there"
    )
    return top
