"""A halt although the journal cannot be used: what makes a bot safe does not wait for a disk. It is written down elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable

from watchdog.cli.common import confirm, load_to_act
from watchdog.cli.dry_run import plan_of
from watchdog.cli.output import print_line
from watchdog.cli.root import let_go_of_root
from watchdog.config import Config, FileStats
from watchdog.core.errors import WatchdogError
from watchdog.journal import off_record, open_journal
from watchdog.journal.lock import StateLock


def halt_off_record(
    options: argparse.Namespace,
    why: WatchdogError,
    run: Callable[[tuple[FileStats, Config], StateLock], int],
) -> int:
    """The exit code of `run`, which carries the plan out in the state folder of the configuration that it is handed, under that
    lock. Raises `why` when the plan is no halt: nothing else is done that cannot be written down."""
    files, loaded = load_to_act(options.config)
    target = options.target or (next(iter(loaded.targets)) if len(loaded.targets) == 1 else "")
    if options.plan not in loaded.plans or target not in loaded.targets:
        raise why
    if plan_of(loaded, options.plan, target).kind != "halt":
        raise why
    let_go_of_root(options.config, loaded.state, acts=True, writes=False)
    print_line(f"off the record: {why}", is_error=True)
    confirm(options, f"Run {options.plan} off the record?")
    lock = off_record.make_note(loaded.state, str(why), _now())
    note = lock.folder
    print_line(f"what is done stands in {note} until the journal can be written", is_error=True)
    try:
        return run((files, dataclasses.replace(loaded, state=note)), lock)
    finally:
        lock.release()
        off_record.discard_unused(note)
        with contextlib.suppress(WatchdogError):
            journal = open_journal(loaded.state, migrate=False, busy_timeout=1.0)
            try:
                for line in off_record.take_in(journal, loaded.state, _now()):
                    print_line(f"on the record now: {line}", is_error=True)
            finally:
                journal.close()
        if os.path.lexists(note):
            print_line(
                f"off the record: the next command or service that can write the journal takes it in from {note}, which a "
                "reboot may remove — make room, or mend the disk",
                is_error=True,
            )


def _now() -> int:
    return time.time_ns() // 1_000_000
