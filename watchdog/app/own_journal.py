"""The journal of a daemon: nobody else's, under its lock, with room for a halt."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from watchdog.app.journal_health import ALARM_FILE
from watchdog.app.lost_journal import is_lost, latch_all
from watchdog.config import Config, configuration_path, describe_foreign_state
from watchdog.core.errors import WatchdogError
from watchdog.core.model import Millis
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.off_record import take_in
from watchdog.journal.storage import Journal


def make_own(
    journal: Journal, lock: StateLock, path: Path, config: Config, environ: Mapping[str, str], now: Millis
) -> str:
    """From here on the journal of `config` belongs to the configuration at `path`, whose name in it is returned. What was done
    off the record for it is taken in.

    Raises WatchdogError when it is another one's.
    """
    state, lost = config.state, is_lost(journal, config.state)
    journal.fencing_lock = lock
    if journal.disk_reserve is not None:
        journal.disk_reserve.fill()
    known = journal.provenance.find_configuration()
    if (why := describe_foreign_state(known, path, state, environ)) is not None:
        raise WatchdogError(why)
    with contextlib.suppress(JournalUnavailableError):  # whoever writes next says so
        take_in(journal, state, now)
    ours = configuration_path(path)
    if known != ours:
        with journal.transaction() as tx:
            if lost:
                latch_all(tx, journal, config.targets, now)
            tx.provenance.save_configuration(ours, now)
    if lost:  # what it cried of will never be told as being over
        with contextlib.suppress(OSError):
            (state / ALARM_FILE).unlink(missing_ok=True)
    return ours
