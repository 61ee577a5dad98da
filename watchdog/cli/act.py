"""`rollback` and `resume`: what people ask for, through the daemon or without one."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import logging
import os
import sys
import time
from typing import Any

from watchdog.cli.dry import rehearse
from watchdog.cli.look import opened, run_json
from watchdog.cli.run import log_to_stderr
from watchdog.journal import Journal, Lock, outbox, runs
from watchdog.model import WatchdogError
from watchdog.shown import when


def rollback(options: argparse.Namespace) -> int:
    if options.dry_run:
        return rehearse(options)
    args = {"plan": options.plan, "target": options.target, "level": options.level, "reason": options.reason}
    level = f" from level {options.level}" if options.level else ""
    return _carry_out(options, "rollback", args, f"Run plan {options.plan}{level} now?")


def undo(options: argparse.Namespace) -> int:
    args = {"incident": options.incident, "reason": options.reason}
    return _carry_out(options, "undo", args, f"Put back what incident {options.incident} changed?")


def _carry_out(options: argparse.Namespace, kind: str, args: dict[str, Any], question: str) -> int:
    """Through the daemon, or alone when none runs; asked for first when somebody sits there."""
    loaded, journal = opened(options.config)
    lock = Lock(loaded.state)
    if lock.take():
        lock.release()
        journal.close()
        be_sure(options, question)
        return _alone(options, kind, args)
    if getattr(options, "takeover", False):
        journal.close()
        be_sure(options, f"{question} The daemon (process {lock.holder()}) is ended for it.")
        if not lock.take_over():
            raise WatchdogError(f"process {lock.holder()} is alive: it does it itself — leave --takeover away")
        return _alone(options, kind, args, lock)
    be_sure(options, question)
    ok, text = ask(journal, kind, args)
    if not ok:
        raise WatchdogError(text)
    run = int(text)
    _follow(journal, run, quiet=options.json)
    return _rolled_back(journal, run, options.json)


def be_sure(options: argparse.Namespace, question: str) -> None:
    """Scripts are not asked: they have nobody to ask."""
    if options.yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise WatchdogError("nothing was done")


def _alone(options: argparse.Namespace, kind: str, args: dict[str, Any], lock: Lock | None = None) -> int:
    """No daemon runs: this process is it, for one run, under the same lock and journal."""
    from watchdog.daemon import Daemon, clock

    log_to_stderr(logging.WARNING if options.json else logging.INFO)

    async def alone() -> int:
        daemon = Daemon(options.config, os.environ, rules_act=False, lock=lock)
        await daemon.start(web=False)
        try:
            ok, text = daemon.people.answer(outbox.Request(0, clock(), kind, args, _me()), clock())
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
    print(json.dumps(run_json(journal, run)) if as_json else f"{run.plan} {run.outcome}: {run.reason}")
    return 0 if run.outcome in ("proven", "dry-run", "not-needed") else 1


def _follow(journal: Journal, run: int, *, quiet: bool) -> None:
    """Prints the run's timeline as it grows, until it has ended."""
    seen = 0
    while True:
        over = runs.get(journal, run).ended is not None
        for event in journal.rows("SELECT id, t, text FROM event WHERE run = ? AND id > ? ORDER BY id", run, seen):
            seen = event["id"]
            if not quiet:
                print(f"{when(event['t'])}  {event['text']}", flush=True)
        if over:
            return
        time.sleep(0.2)


def resume(options: argparse.Namespace) -> int:
    loaded, journal = opened(options.config)
    lock = Lock(loaded.state)
    if lock.take():
        lock.release()
        raise WatchdogError("no watchdog runs — start it first: it must see the bot before repairs are allowed again")
    return _answered(options, ask(journal, "resume", {"target": options.target, "reason": options.reason}))


def approve(options: argparse.Namespace) -> int:
    return _tell(options, "approve", {"run": options.run, "reason": options.reason})


def deny(options: argparse.Namespace) -> int:
    return _tell(options, "deny", {"run": options.run, "reason": options.reason})


def abort(options: argparse.Namespace) -> int:
    return _tell(options, "abort", {"what": options.what, "reason": options.reason})


def ack(options: argparse.Namespace) -> int:
    said = {"note": options.note, "cause": options.cause, "fix": options.fix}
    return _tell(options, "ack", {"incident": options.incident, **said})


def hold(options: argparse.Namespace) -> int:
    span = None if options.off else options.span
    return _tell(options, "hold", {"target": options.target, "for": span, "all": options.all, "reason": options.reason})


def silence(options: argparse.Namespace) -> int:
    span = None if options.off else options.span
    args = {"rule": options.rule, "for": span, "until_well": options.until_well, "reason": options.reason}
    return _tell(options, "silence", args)


def _tell(options: argparse.Namespace, kind: str, args: dict[str, Any]) -> int:
    """Through the daemon; when none runs, straight into the journal under the same lock."""
    loaded, journal = opened(options.config)
    lock = Lock(loaded.state)
    if not lock.take():
        return _answered(options, ask(journal, kind, args))
    lock.release()
    journal.close()
    from watchdog.daemon import Daemon, clock

    log_to_stderr(logging.ERROR)
    daemon = Daemon(options.config, os.environ, rules_act=False)
    try:
        return _answered(options, daemon.people.answer(outbox.Request(0, clock(), kind, args, _me()), clock()))
    finally:
        daemon.close()


def _answered(options: argparse.Namespace, answer: tuple[bool, str]) -> int:
    ok, text = answer
    if options.json:
        print(json.dumps({"ok": ok, "text": text}))
    else:
        print(text, file=sys.stdout if ok else sys.stderr)
    return 0 if ok else 1


def ask(journal: Journal, kind: str, args: dict[str, Any]) -> tuple[bool, str]:
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
