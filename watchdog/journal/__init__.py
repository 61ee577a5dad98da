"""The durable record of incidents, plan runs, steps and messages. The truth; never deleted, never guessed."""

from __future__ import annotations

from pathlib import Path

from watchdog.journal.sqlite import SqliteJournal
from watchdog.journal.storage import Journal

JOURNAL_FILE = "journal.db"


def open_journal(
    state_folder: Path, *, migrate: bool = True, busy_timeout: float = 10.0, durable: bool = True
) -> Journal:
    """Opens or creates the journal of a state folder. Raises JournalError when it cannot be used.

    One from an older version is copied beside and then brought up to date; with `migrate=False` it is refused.
    `busy_timeout`: seconds to wait for another program's transaction to end, once; after that, hardly any until it has.
    `durable=False`: the disk is never waited for, for a journal that nobody needs after a power cut.
    """
    return SqliteJournal(state_folder / JOURNAL_FILE, migrate=migrate, busy_timeout=busy_timeout, durable=durable)
