"""What several commands do: reach the files, the journal, the daemon, and the person who sits there."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from watchdog import config
from watchdog.cli.output import print_line
from watchdog.cli.root import let_go_of_root
from watchdog.cli.terminal import is_terminal
from watchdog.config import Config, FileStats
from watchdog.core.errors import WatchdogError
from watchdog.core.executor import Executor
from watchdog.core.text import escape
from watchdog.journal import off_record, runs
from watchdog.journal import open_journal as open_journal_in
from watchdog.journal.errors import (
    NOT_ALLOWED,
    JournalError,
    JournalOutdatedError,
    JournalOutOfReachError,
    JournalUnavailableError,
)
from watchdog.journal.lock import StateLock
from watchdog.journal.storage import Journal

_CALL_TIMEOUT = 600.0
"""Seconds for one thing that is asked of a target's owner; a person waits for it, who may end it."""


def load_or_salvage(folder: Path) -> Config:
    """The configuration; of broken files what is well, and a word about it: at night somebody must get at the journal.

    Raises ConfigError when watchdog.yaml itself cannot be read.
    """
    try:
        return config.load(folder, environ=os.environ, may_leave_out=True)
    except config.ConfigError as error:
        salvaged = config.load_partial(folder, environ=os.environ)
        count = len(error.problems)
        print_line(
            f"note: the files on disk have {count} mistake{'' if count == 1 else 's'}: trading-watchdog check",
            is_error=True,
        )
        return salvaged


def open_journal(folder: Path, *, acts: bool = False) -> tuple[Config, Journal]:
    """The configuration and its journal; one of an older version is brought up to date unless somebody uses it.

    Root lets go on the way: what it would write there must be the watchdog's. `acts`: on targets. Raises WatchdogError also
    for the journal of another configuration.
    """
    loaded = load_or_salvage(folder)
    try:
        let_go_of_root(folder, loaded.state, acts=acts)
    except WatchdogError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno not in NOT_ALLOWED:
            raise JournalOutOfReachError(str(error)) from None
        raise
    journal = _open_up_to_date(loaded.state)
    known = journal.provenance.find_configuration()
    if (why := config.describe_foreign_state(known, folder, loaded.state, os.environ)) is not None:
        journal.close()
        raise WatchdogError(why)
    with contextlib.suppress(JournalError, JournalUnavailableError):  # it can be read, which may be all that is wanted
        off_record.take_in(journal, loaded.state, time.time_ns() // 1_000_000)
    return loaded, journal


def _open_up_to_date(state: Path) -> Journal:
    try:
        return open_journal_in(state, migrate=False)
    except JournalOutdatedError:
        lock = StateLock(state)
        if not lock.acquire():
            raise
        try:
            return open_journal_in(state)
        finally:
            lock.release()


@contextlib.contextmanager
def open_executor() -> Iterator[Executor]:
    """For a command that looks at targets, or acts on them: with the rights of their owners."""
    from watchdog.worker.client import WorkerExecutor  # what most commands do without

    executor = WorkerExecutor(_CALL_TIMEOUT)
    try:
        yield executor
    finally:
        executor.close()


def load_to_act(folder: Path) -> tuple[FileStats, Config]:
    """The configuration for who does the daemon's work in its absence, and how the files were ahead of it.

    A chat's token stands in the way of nothing that a person asks for. Raises ConfigError.
    """
    files = config.stat_files(folder)
    loaded = config.load(folder, environ=os.environ, uid=os.geteuid(), may_leave_out=True)
    if loaded.silent_channels:
        names, why = ", ".join(loaded.silent_channels), "; ".join(dict.fromkeys(loaded.silent_channels.values()))
        print_line(
            f"note: nobody is told on {names} by this command ({why}): what there is to tell waits for the service",
            is_error=True,
        )
    for name, why in loaded.unread_sources.items():
        print_line(f"note: the source {name} is not read by this command: {why}", is_error=True)
    return files, loaded


def send_request(
    journal: Journal, kind: str, args: dict[str, Any], *, wait: float = 15.0, cure: str = "see its log"
) -> tuple[bool, str]:
    """Leaves a request in the journal and waits for the daemon's answer. `wait`: for so many seconds. `cure`: where none comes."""
    with journal.transaction() as tx:
        request = tx.requests.add_request(kind, args, current_user(), time.time_ns() // 1_000_000)
    for _ in range(round(wait * 10)):
        if (answer := journal.requests.find_answer(request)) is not None:
            return answer
        time.sleep(0.1)
    with journal.transaction() as tx:
        tx.requests.answer_request(request, False, "withdrawn: nobody answered", time.time_ns() // 1_000_000)
    raise WatchdogError(f"the daemon does not answer, and nothing was done — {cure}")


def current_user() -> str:
    if name := os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or os.environ.get("USER"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user on this machine
        return str(os.getuid())


def confirm(options: argparse.Namespace, question: str) -> None:
    """Scripts are not asked: they have nobody to ask."""
    if options.yes or not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        return
    if input(f"{escape(question)} [y/N] ").strip().lower() not in ("y", "yes"):
        raise WatchdogError("nothing was done")


def run_as_json(journal: Journal, run: runs.PlanRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "plan": run.plan,
        "kind": run.kind,
        "by": run.by,
        "status": run.status,
        "outcome": run.outcome,
        "reason": run.reason,
        "level": run.level,
        "queued": run.queued,
        "ended": run.ended,
        "steps": [
            {
                "phase": step.phase,
                "level": step.level,
                "say": step.say,
                "status": step.status,
                "detail": step.detail,
                "started": step.started,
                "ended": step.ended,
                "before": step.before,
            }
            for step in journal.runs.list_steps(run.id)
        ],
    }


def format_series(labels: dict[str, str]) -> str:
    """Labels as PromQL writes a series."""
    pairs = ", ".join(f'{label}="{_quoted(text)}"' for label, text in labels.items() if label != "__name__")
    metric = labels.get("__name__", "")
    return f"{metric}{{{pairs}}}" if pairs or not metric else metric


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
