"""The command line: the only file that prints or exits.

Exit codes: 0 well, 1 the answer is no (an error was found, a rollback failed), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import logging
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from watchdog import __version__, config
from watchdog.config import Config, ConfigError
from watchdog.journal import Journal, Lock, incidents, outbox, runs
from watchdog.model import Millis, WatchdogError
from watchdog.units import show_duration

_CONFIG = Path("/etc/trading-watchdog")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = parser().parse_args(argv)
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


def parser() -> argparse.ArgumentParser:
    """The whole command line; `--help` and the docs are made from it."""
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
            "--config", type=Path, metavar="DIR", default=Path(os.environ.get("TRADING_WATCHDOG_CONFIG", _CONFIG)),
            help="folder that holds watchdog.yaml and rules/ ($TRADING_WATCHDOG_CONFIG, else %(default)s)",
        )  # fmt: skip

    command = add("run", _run, "Watch, act and tell until stopped; SIGHUP reloads.", as_json=False)
    configured(command)
    command.add_argument("--verbose", "-v", action="store_true", help="log more")

    command = add("check", _check, "Check rule files and configuration; list every error with file, line and column.")
    command.add_argument("paths", nargs="*", type=Path, metavar="PATH",
                         help="rule files, a folder of rules, or a configuration folder (default: --config)")  # fmt: skip
    configured(command)

    command = add("status", _status, "What is so now: sources, KPIs, rules, latches, plans at work.")
    configured(command)

    command = add("incidents", _incidents, "Incidents, the newest first; with an ID, its timeline.")
    command.add_argument("id", nargs="?", type=int, metavar="ID")
    configured(command)

    command = add("rollback", _rollback, "Run a plan now, through the daemon or, when none runs, without it.")
    command.add_argument("plan", metavar="PLAN")
    command.add_argument("--target", metavar="NAME", help="needed when there are several")
    command.add_argument("--level", metavar="NAME", help="start at this level")
    command.add_argument("--reason", metavar="TEXT", help="why; stands in the journal")
    configured(command)

    command = add("resume", _resume, "Open a target's latch: repairs may start again, and its rules are judged anew.")
    command.add_argument("target", metavar="TARGET")
    command.add_argument("--reason", metavar="TEXT", required=True, help="why; stands in the journal")
    configured(command)

    command = add("demo", _demo, "Watch a real HMM trading bot go bad, get rolled back, and recover (two minutes).")
    command.add_argument("--keep", type=Path, metavar="DIR", help="leave the repository, the journal and the logs there")
    return top


def _run(options: argparse.Namespace) -> int:
    from watchdog.daemon import Daemon  # what only `run` needs is imported by `run` only

    _log(logging.DEBUG if options.verbose else logging.INFO)

    async def run() -> None:
        await Daemon(options.config, os.environ).run()

    asyncio.run(run())
    return 0


def _log(level: int) -> None:
    """To stderr; without the time under systemd, whose journal has its own."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(level=level, format=f"{stamp}%(levelname)s %(message)s", stream=sys.stderr)
    for noisy in ("apscheduler", "urllib3", "httpx", "httpcore", "telegram", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _check(options: argparse.Namespace) -> int:
    checked, problems = config.check(options.paths or [options.config], environ=os.environ)
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


def _status(options: argparse.Namespace) -> int:
    loaded = config.load(options.config, environ=os.environ)
    host = "127.0.0.1" if loaded.web.host in ("0.0.0.0", "::", "") else loaded.web.host  # noqa: S104 – where to ask
    where = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(f"http://{where}:{loaded.web.port}/api/status", timeout=5) as page:
            status = json.load(page)
    except (OSError, urllib.error.URLError, ValueError):
        raise WatchdogError(f"no watchdog answers at {where}:{loaded.web.port} — is the service running?") from None
    if options.json:
        print(json.dumps(status))
        return 0
    for name, source in status["sources"].items():
        print(f"source  {name:<24} {'up' if source['up'] else source['error'] or 'not read yet'}")
    for name, kpi in status["kpis"].items():
        texts = ", ".join(value["text"] for value in kpi["values"]) or "no data"
        print(f"kpi     {name:<24} {texts}" + (f"  (baseline {kpi['baseline']})" if kpi["baseline"] else ""))
    for rule in status["rules"]:
        labels = "".join(f" {k}={v}" for k, v in rule["labels"].items())
        held = show_duration(status["now"] - rule["since"])
        print(f"rule    {rule['rule'] + labels:<24} {rule['level']} {rule['phase']} for {held}: {rule['reason']}")
    for name, target in status["targets"].items():
        words = [f"latched: {target['latched']}"] if target["latched"] else []
        words += [f"incident {target['incident']}"] if target["incident"] else []
        words += [f"plan {target['plan']['plan']} {target['plan']['status']}"] if target["plan"] else []
        print(f"target  {name:<24} {'; '.join(words) or 'quiet'}")
    return 0


def _journal(path: Path) -> tuple[Config, Journal]:
    loaded = config.load(path, environ=os.environ)
    return loaded, Journal(loaded.state / "journal.db")


def _incidents(options: argparse.Namespace) -> int:
    _, journal = _journal(options.config)
    listed = incidents.listing(journal, options.id)
    if options.id is not None and not listed:
        raise WatchdogError(f"there is no incident {options.id}")
    if options.json:
        print(json.dumps([_incident_json(journal, one, options.id is not None) for one in listed]))
        return 0
    if not listed:
        print("no incidents")
    for one in listed:
        end = f"closed after {show_duration(one.closed - one.opened)}" if one.closed else "open"
        print(f"{one.id:>4}  {_when(one.opened)}  {one.target}  {one.severity}  {one.title}  [{end}]")
        for run in runs.of_incident(journal, one.id):
            print(f"      plan {run.plan}: {run.outcome or run.status}{f' ({run.reason})' if run.reason else ''}")
    if options.id is not None:
        for event in incidents.events(journal, options.id):
            print(f"      {_when(event['t'])}  {event['text']}")
    return 0


def _incident_json(journal: Journal, one: incidents.Incident, timeline: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        "id": one.id, "target": one.target, "opened": one.opened, "closed": one.closed, "severity": one.severity,
        "title": one.title, "told": outbox.told(journal, one.id),
        "trips": [{"rule": trip.rule, "level": trip.level, "t": trip.t, "cleared": trip.cleared, "reason": trip.reason}
                  for trip in incidents.trips(journal, one.id)],
        "runs": [_run_json(journal, run) for run in runs.of_incident(journal, one.id)],
    }  # fmt: skip
    if timeline:
        known["events"] = [dict(event) for event in incidents.events(journal, one.id)]
    return known


def _run_json(journal: Journal, run: runs.Run) -> dict[str, Any]:
    return {
        "id": run.id, "plan": run.plan, "kind": run.kind, "by": run.by, "status": run.status, "outcome": run.outcome,
        "reason": run.reason, "level": run.level, "queued": run.queued, "ended": run.ended,
        "steps": [{"phase": step.phase, "level": step.level, "say": step.say, "status": step.status,
                   "detail": step.detail, "started": step.started, "ended": step.ended, "before": step.before}
                  for step in runs.steps(journal, run.id)],
    }  # fmt: skip


def _when(t: Millis) -> str:
    return datetime.fromtimestamp(t / 1_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _rollback(options: argparse.Namespace) -> int:
    args = {"plan": options.plan, "target": options.target, "level": options.level, "reason": options.reason}
    loaded, journal = _journal(options.config)
    lock = Lock(loaded.state)
    if lock.take():
        lock.release()
        journal.close()
        return _rollback_alone(options, args)
    ok, text = _ask(journal, "rollback", args)
    if not ok:
        raise WatchdogError(text)
    run = int(text)
    _follow(journal, run, quiet=options.json)
    return _rolled_back(journal, run, options.json)


def _rollback_alone(options: argparse.Namespace, args: dict[str, Any]) -> int:
    """No daemon runs: this process is it, for one plan, under the same lock and journal."""
    from watchdog.daemon import Daemon, clock

    _log(logging.WARNING if options.json else logging.INFO)

    async def alone() -> int:
        daemon = Daemon(options.config, os.environ, rules_act=False)
        await daemon.start(web=False)
        try:
            who = f"{_me()}: {args['reason'] or 'no reason given'}"
            ok, text = daemon.people.start(args["plan"], args["target"], args["level"], who, clock())
            if not ok:
                raise WatchdogError(text)
            daemon.rollback.wake()
            while runs.get(daemon.journal, int(text)).ended is None:
                await asyncio.sleep(0.2)
            return _rolled_back(daemon.journal, int(text), options.json)
        finally:
            await daemon.stop()

    return asyncio.run(alone())


def _rolled_back(journal: Journal, number: int, as_json: bool) -> int:
    run = runs.get(journal, number)
    print(json.dumps(_run_json(journal, run)) if as_json else f"{run.plan} {run.outcome}: {run.reason}")
    return 0 if run.outcome in ("proven", "dry-run", "not-needed") else 1


def _follow(journal: Journal, run: int, *, quiet: bool) -> None:
    """Prints the run's timeline as it grows, until it has ended."""
    seen = 0
    while True:
        over = runs.get(journal, run).ended is not None
        for event in journal.rows("SELECT id, t, text FROM event WHERE run = ? AND id > ? ORDER BY id", run, seen):
            seen = event["id"]
            if not quiet:
                print(f"{_when(event['t'])}  {event['text']}", flush=True)
        if over:
            return
        time.sleep(0.2)


def _resume(options: argparse.Namespace) -> int:
    loaded, journal = _journal(options.config)
    lock = Lock(loaded.state)
    if lock.take():
        lock.release()
        raise WatchdogError("no watchdog runs — start it first: it must see the bot before repairs are allowed again")
    ok, text = _ask(journal, "resume", {"target": options.target, "reason": options.reason})
    print(json.dumps({"resumed": ok, "text": text}) if options.json else text)
    return 0 if ok else 1


def _ask(journal: Journal, kind: str, args: dict[str, Any]) -> tuple[bool, str]:
    """Leaves a request in the journal and waits for the daemon's answer."""
    with journal.write() as db:
        request = outbox.ask(db, kind, args, _me(), time.time_ns() // 1_000_000)
    for _ in range(150):
        if (answer := outbox.answered(journal, request)) is not None:
            return answer
        time.sleep(0.1)
    with journal.write() as db:
        outbox.answer(db, request, False, "withdrawn: nobody answered", time.time_ns() // 1_000_000)
    raise WatchdogError("the daemon does not answer — see its log; nothing was done")


def _me() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _demo(options: argparse.Namespace) -> int:
    from watchdog.demo import demo

    return demo(as_json=options.json, keep=options.keep)
