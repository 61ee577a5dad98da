"""A journal that was taken away from under a watchdog: nobody knows what was halted, so each target counts as halted.

Who moves it away while none runs means to begin anew.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from watchdog.app.journal_health import ALARM_FILE
from watchdog.core.model import Message, Millis, NotifyFunction
from watchdog.core.telemetry import log
from watchdog.journal.storage import Journal, Transaction

_KIND = "journal gone"
_TITLE = "the journal is gone: the watchdog begins with an empty one"
_LATCH = "the journal is gone: nobody knows whether it was halted before"


def is_lost(journal: Journal, state: Path) -> bool:
    """Whether it is empty although one who wrote there has cried. Ahead of all that is written into it."""
    is_new = journal.provenance.find_configuration() is None and journal.provenance.find_inventory() is None
    return is_new and not journal.targets.list_states() and (state / ALARM_FILE).exists()


def latch_all(tx: Transaction, journal: Journal, targets: Collection[str], now: Millis) -> None:
    """Rather a target too many: a repair would undo what a halt has made safe."""
    for target in targets:
        journal.targets.get_state(target, now)
        tx.targets.update_target(target, latched=now, latch_why=_LATCH)
    tx.timeline.add_event(_KIND, _TITLE, now)
    tx.on_commit(log.critical, "%s", _TITLE)


def tell_lost(journal: Journal, notify: NotifyFunction) -> None:
    """People hear of it once."""
    if not journal.timeline.list_events_after(0, kind=_KIND) or journal.messages.was_enqueued_since(_TITLE, 0):
        return
    latched = [state.name for state in journal.targets.list_latched() if state.latch_why == _LATCH]
    lines = (
        f"{journal.location}: incidents, holds, latches and messages of before are forgotten; if there is a copy, put it back",
        *(f'latched, for nobody knows better: trading-watchdog resume {name} --reason "…"' for name in latched[:5]),
        *([f"and {len(latched) - 5} more"] if len(latched) > 5 else []),
    )
    notify(Message("crit", _TITLE, lines, filter_severity="crit"))
