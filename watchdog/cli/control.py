"""`rollback`, `undo`, `resume` and the like: what people ask for, through the daemon or without one."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from watchdog.cli.arguments import Commands, add_command, add_config_option, add_reason_option, add_yes_option, duration
from watchdog.cli.common import confirm, current_user, load_to_act, open_journal, run_as_json, send_request
from watchdog.cli.dry_run import dry_run
from watchdog.cli.off_record import halt_off_record
from watchdog.cli.output import print_json, print_line
from watchdog.cli.run import log_to_stderr
from watchdog.config import Config, FileStats
from watchdog.core.errors import WatchdogError
from watchdog.journal.errors import JournalOutOfReachError, JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.requests import Request
from watchdog.journal.storage import Journal
from watchdog.web.status_rows import format_time

if TYPE_CHECKING:
    from watchdog.app.daemon import Daemon

_RESTART_TIME = 5.0
"""Seconds in which a daemon that ended, or was killed, is back when somebody starts it again."""


def register(commands: Commands) -> None:
    command = add_command(
        commands, "rollback", rollback, "Run a plan now, through the daemon or, when none runs, without it."
    )
    command.add_argument("plan", metavar="PLAN")
    command.add_argument("--target", metavar="NAME", help="needed when there are several")
    command.add_argument("--level", metavar="NAME", help="start at this level")
    add_reason_option(command)
    command.add_argument("--dry-run", action="store_true", help="print what would change, as diffs, and change nothing")
    add_yes_option(command)
    command.add_argument("--takeover", action="store_true", help="end a daemon that hangs, and do it without it")
    add_config_option(command)

    command = add_command(
        commands, "undo", undo, "Put back the files that an incident's repairs changed; git gets one more commit."
    )
    command.add_argument("incident", type=int, metavar="INCIDENT")
    add_reason_option(command)
    add_yes_option(command)
    add_config_option(command)

    command = add_command(
        commands,
        "resume",
        resume,
        "Open a target's latch: repairs may start again, and its rules are judged anew.",
    )
    command.add_argument("target", metavar="TARGET")
    add_reason_option(command, required=True)
    add_config_option(command)

    command = add_command(commands, "approve", approve, "Let a plan run that waits for approval begin.")
    add_reason_option(command)
    add_config_option(command)
    command.add_argument("run", type=int, metavar="RUN", help="its number, as in the message and in `status`")

    command = add_command(commands, "deny", deny, "End a plan run that waits for approval; nothing is touched.")
    add_reason_option(command)
    add_config_option(command)
    command.add_argument("run", type=int, metavar="RUN")

    command = add_command(
        commands,
        "abort",
        abort,
        "End a plan at its next step. What it has done stays, and the target is latched.",
    )
    add_reason_option(command)
    add_config_option(command)
    command.add_argument("what", metavar="RUN|TARGET", help="one run, or all of a target")

    command = add_command(
        commands, "next", next_level, "Give up the level that a repair is at, and begin its next one."
    )
    add_reason_option(command)
    add_config_option(command)
    command.add_argument("run", type=int, metavar="RUN", help="its number, as in `status`")

    command = add_command(
        commands,
        "ack",
        ack,
        "Say that somebody is on it, or what was found out; stands in the incident's timeline.",
    )
    command.add_argument("incident", type=int, metavar="INCIDENT")
    finding = command.add_mutually_exclusive_group()
    finding.add_argument("--note", metavar="TEXT", help="what others should know")
    finding.add_argument(
        "--cause", metavar="TEXT", help="the root cause; the report measures how long it took to be found"
    )
    finding.add_argument("--fix", metavar="TEXT", help="what fixes it for good; the report measures how long that took")
    add_config_option(command)

    command = add_command(
        commands, "hold", hold, "Rules start no repair of a target for a while. Halts they do, unless --all."
    )
    add_reason_option(command)
    add_config_option(command)
    command.add_argument("target", metavar="TARGET")
    _add_length_options(command)
    command.add_argument("--all", action="store_true", help="no halts either")

    command = add_command(
        commands, "silence", silence, "A rule is not told for a while. It is still judged and acted upon."
    )
    add_reason_option(command)
    add_config_option(command)
    command.add_argument("rule", metavar="RULE")
    _add_length_options(command)
    command.add_argument("--until-well", action="store_true", help="or until it is well again, if that is sooner")


def _add_length_options(command: argparse.ArgumentParser) -> None:
    length = command.add_mutually_exclusive_group(required=True)
    length.add_argument("--for", dest="span", type=duration, metavar="DURATION", help="such as 2h; at most 30d")
    length.add_argument("--off", action="store_true", help="end it now")


def rollback(options: argparse.Namespace) -> int:
    if options.dry_run:
        return dry_run(options)
    args = {"plan": options.plan, "target": options.target, "level": options.level, "reason": options.reason}
    level = f" from level {options.level}" if options.level else ""
    try:
        return _run_request(options, "rollback", args, f"Run plan {options.plan}{level} now?")
    except (JournalOutOfReachError, JournalUnavailableError) as error:
        return halt_off_record(
            options,
            error,
            lambda loaded, lock: _run_without_daemon(
                options, lambda daemon: _answer_alone(daemon, "rollback", args), lock, loaded
            ),
        )


def undo(options: argparse.Namespace) -> int:
    args = {"incident": options.incident, "reason": options.reason}
    return _run_request(options, "undo", args, f"Put back what incident {options.incident} changed?")


def _run_request(options: argparse.Namespace, kind: str, args: dict[str, Any], question: str) -> int:
    """Through the daemon, or alone when none runs; asked for first when somebody sits there."""
    loaded, journal = open_journal(options.config, acts=True)
    lock = StateLock(loaded.state)
    if lock.acquire():
        lock.release()
        journal.close()
        confirm(options, question)
        return _run_without_daemon(options, lambda daemon: _answer_alone(daemon, kind, args))
    if getattr(options, "takeover", False):
        journal.close()
        confirm(options, f"{question} The daemon (process {lock.holder_pid()}) is ended for it.")
        if not lock.take_over():
            raise WatchdogError(f"process {lock.holder_pid()} is alive: it does it itself — leave --takeover away")
        return _run_without_daemon(options, lambda daemon: _answer_alone(daemon, kind, args), lock)
    confirm(options, question)
    cure = "say it with --takeover, which ends it and does it without it" if kind == "rollback" else "see its log"
    ok, text = send_request(journal, kind, args, cure=cure)
    if not ok:
        raise WatchdogError(text)
    run = int(text)
    while not _follow_run(journal, run, lock, quiet=options.json):
        if lock.acquire():  # else somebody is there again
            journal.close()
            return _run_without_daemon(options, lambda _: run, lock)
    return _print_outcome(journal, run, options.json)


def _run_without_daemon(
    options: argparse.Namespace,
    begin: Callable[[Daemon], int],
    lock: StateLock | None = None,
    loaded: tuple[FileStats, Config] | None = None,
) -> int:
    """No daemon runs: this process is it, for one run, under the same lock and journal. `begin` says which run that is.

    `loaded`: what that has given already. Raises JournalUnavailableError when the journal takes nothing for some seconds.
    """
    from watchdog.app.daemon import Daemon

    log_to_stderr(logging.WARNING if options.json else logging.INFO)
    known = loaded or load_to_act(options.config)

    async def alone() -> int:
        daemon = Daemon(options.config, os.environ, automatic_plans=False, lock=lock, loaded=known)
        await daemon.start(web=False)
        try:
            run = begin(daemon)
            daemon.rollback.wake()
            while daemon.journal.runs.get_run(run).ended is None:
                await asyncio.sleep(0.2)
                if (outage := daemon.journal_health.describe_problem()) is not None:
                    raise JournalUnavailableError(outage, "io")
            return _print_outcome(daemon.journal, run, options.json)
        finally:
            await daemon.stop()

    return asyncio.run(alone())


def _answer_alone(daemon: Daemon, kind: str, args: dict[str, Any]) -> int:
    """The run that was asked for. Raises WatchdogError when it is refused."""
    now = time.time_ns() // 1_000_000
    plan, unread = daemon.config.plans.get(args.get("plan") or ""), daemon.config.unread_sources
    if unread and plan is not None and plan.kind == "repair":  # nothing would be proven, and a halt would follow
        raise WatchdogError(
            f"the repair {args['plan']} needs the source {next(iter(unread))}: {next(iter(unread.values()))} — "
            "set it, or run it through the service; a halt runs without"
        )
    ok, text = daemon.request_handler.answer(Request(0, now, kind, args, current_user()), now)
    if not ok:
        raise WatchdogError(text)
    return int(text)


def _print_outcome(journal: Journal, number: int, as_json: bool) -> int:
    run = journal.runs.get_run(number)
    if as_json:
        print_json(run_as_json(journal, run))
    else:
        print_line(f"{run.plan} {run.outcome}: {run.reason}")
    return 0 if run.outcome in ("proven", "dry-run", "not-needed") else 1


def _follow_run(journal: Journal, run: int, lock: StateLock, *, quiet: bool) -> bool:
    """Prints the run's timeline as it grows, until it has ended. False: nobody has been there for a while to carry it out."""
    seen, last_held = 0, time.monotonic()
    while True:
        over = journal.runs.get_run(run).ended is not None
        for event in journal.timeline.list_events_after(seen, run=run):
            seen = event.id
            if not quiet:
                print_line(f"{format_time(event.t)}  {event.text}", flush=True)
        if over:
            return True
        if lock.heartbeat_age() is not None:
            last_held = time.monotonic()
        elif time.monotonic() > last_held + _RESTART_TIME:
            return False
        time.sleep(0.2)


def resume(options: argparse.Namespace) -> int:
    loaded, journal = open_journal(options.config)
    lock = StateLock(loaded.state)
    if lock.acquire():
        lock.release()
        raise WatchdogError("no watchdog runs — start it first: it must see the bot before repairs are allowed again")
    return _print_answer(options, send_request(journal, "resume", {"target": options.target, "reason": options.reason}))


def approve(options: argparse.Namespace) -> int:
    return _submit(options, "approve", {"run": options.run, "reason": options.reason})


def deny(options: argparse.Namespace) -> int:
    return _submit(options, "deny", {"run": options.run, "reason": options.reason})


def abort(options: argparse.Namespace) -> int:
    return _submit(options, "abort", {"what": options.what, "reason": options.reason})


def next_level(options: argparse.Namespace) -> int:
    return _submit(options, "next", {"run": options.run, "reason": options.reason})


def ack(options: argparse.Namespace) -> int:
    finding = {"note": options.note, "cause": options.cause, "fix": options.fix}
    return _submit(options, "ack", {"incident": options.incident, **finding})


def hold(options: argparse.Namespace) -> int:
    span = None if options.off else options.span
    return _submit(
        options, "hold", {"target": options.target, "for": span, "all": options.all, "reason": options.reason}
    )


def silence(options: argparse.Namespace) -> int:
    span = None if options.off else options.span
    args = {"rule": options.rule, "for": span, "until_well": options.until_well, "reason": options.reason}
    return _submit(options, "silence", args)


def _submit(options: argparse.Namespace, kind: str, args: dict[str, Any]) -> int:
    """Through the daemon; when none runs, straight into the journal under the same lock."""
    loaded, journal = open_journal(options.config)
    lock = StateLock(loaded.state)
    if not lock.acquire():
        return _print_answer(options, send_request(journal, kind, args))
    lock.release()
    journal.close()
    from watchdog.app.daemon import Daemon

    log_to_stderr(logging.ERROR)
    daemon = Daemon(options.config, os.environ, automatic_plans=False, loaded=load_to_act(options.config))
    try:
        return _print_answer(
            options,
            daemon.request_handler.answer(Request(0, daemon.clock(), kind, args, current_user()), daemon.clock()),
        )
    finally:
        daemon.close()


def _print_answer(options: argparse.Namespace, answer: tuple[bool, str]) -> int:
    ok, text = answer
    if options.json:
        print_json({"ok": ok, "text": text})
    else:
        print_line(text, is_error=not ok)
    return 0 if ok else 1
