"""The durable record of incidents, plan runs, steps and messages. The truth; never deleted, never guessed."""

from __future__ import annotations

import os
from pathlib import Path

from watchdog.core.errors import WatchdogError
from watchdog.host.private_folder import refuse_foreign_folder
from watchdog.journal.errors import JournalError
from watchdog.journal.sqlite import SqliteJournal
from watchdog.journal.storage import Journal

_FILE = "journal.db"


def open_journal(
    state_folder: Path, *, migrate: bool = True, busy_timeout: float = 10.0, durable: bool = True
) -> Journal:
    """Opens or creates the journal of a state folder. Raises JournalError when it cannot be used, or is another user's.

    One from an older version is copied beside and then brought up to date; with `migrate=False` it is refused.
    `busy_timeout`: seconds to wait for another program's transaction to end, once; after that, hardly any until it has.
    `durable=False`: the disk is never waited for, for a journal that nobody needs after a power cut.
    """
    if os.geteuid() != 0:  # root may look at it, and leave requests; it acts on nothing that is not its own either
        try:
            refuse_foreign_folder(state_folder)
        except WatchdogError as error:
            raise JournalError(str(error)) from None
    return SqliteJournal(state_folder / _FILE, migrate=migrate, busy_timeout=busy_timeout, durable=durable)


def may_open_journal(state_folder: Path) -> bool:
    """Whether there is one already, and this user may write it, as whoever opens it does."""
    return os.access(state_folder / _FILE, os.W_OK)


def has_journal(state_folder: Path) -> bool:
    """Whether there is one that something was ever written to: `open_journal` would not begin a new one."""
    try:
        return (state_folder / _FILE).lstat().st_size > 0
    except OSError:
        return False
