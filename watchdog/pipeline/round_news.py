"""The news of a round on their way to people: what befalls many targets at once, incidents that end, reminders, blindness."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from watchdog.core.model import Message, Millis
from watchdog.core.telemetry import log
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.topics import BLIND
from watchdog.pipeline.incident_manager import IncidentManager
from watchdog.pipeline.incident_news import IncidentNews


def tell_and_close(
    tx: Transaction,
    journal: Journal,
    manager: IncidentManager,
    targets: Iterable[str],
    news: defaultdict[str, IncidentNews],
    is_firing: Callable[[str], bool],
    now: Millis,
) -> set[str]:
    """Tells what there is to tell of `targets`, and closes the incidents that are over. Returns the targets of those, and of
    those of which people were reminded."""

    def may_go_on(target: str) -> bool:
        return is_firing(target) or bool(journal.runs.list_unfinished(target))

    # What ends an incident is told with its end.
    together = {target: one for target, one in news.items() if not one.recoveries or may_go_on(target)}
    for target in manager.messenger.tell_together(tx, together, now):
        news[target] = IncidentNews()
    affected, closed = set(), list[Message]()
    for target in sorted(targets):
        is_over = manager.close_if_resolved(tx, target, is_firing(target), now, news[target], closed)
        is_escalated = not is_over and manager.firing.escalate(tx, target, now)
        if is_over or manager.firing.remind(tx, target, now) or is_escalated:
            affected.add(target)
    manager.messenger.tell_ends(tx, closed, now)
    return affected


def record_blind(tx: Transaction, manager: IncidentManager, is_blind: bool, now: Millis) -> None:
    """No source delivers any more, or one does again."""
    title = "blind: no source delivers" if is_blind else "sources deliver again"
    tx.on_commit(log.log, 40 if is_blind else 20, "%s", title)
    if is_blind:
        believed = "what was read last is believed until it is too old; then no rule is judged and no repair starts"
        message = Message("crit", title, (believed,), opens=(BLIND,))
    else:  # ahead of what is critical and follows from it
        message = Message("info", title, ends=(BLIND,), urgent=True)
    manager.notify(tx, message, now)
    tx.timeline.add_event("blind", title, now)
