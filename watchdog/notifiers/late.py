"""What a channel refuses, or has not taken after a minute, is told on the others: once, in short, with what it is about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from watchdog.core.model import Message, Millis, Severity
from watchdog.core.units import format_duration
from watchdog.journal.messages import LATE_AFTER, UndeliveredMessage
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.topics import channel_topic

_QUIET, QUIET_IF_CRITICAL = 900_000, 15_000
"""ms after a report of a channel in which the next one waits; one of what is critical waits for none that is not."""
_MAX_NAMED = 5
"""Messages that a report names."""


def report_late(
    journal: Journal,
    tx: Transaction,
    channels: Collection[str],
    now: Millis,
    *,
    refused_by: str | None = None,
    untried_since: Millis = 0,
    standby: Collection[str] = (),
) -> None:
    """Writes a report for each channel that has something to be told of.

    `channels`: those that can be told, and told of. `refused_by`: one that has just refused a message; what is not critical and
    was refused earlier waits for the next time. `untried_since`: what was not tried yet is late a minute after that, or later.
    `standby`: channels that hear of what is critical only.
    """
    unreported = journal.messages.list_unreported(now - LATE_AFTER)
    unreported.sort(key=lambda one: one.channel)  # stable: critical ones stay ahead
    for channel, group in groupby(unreported, key=lambda one: one.channel):
        late = [one for one in group if one.refused or one.tries or now - untried_since >= LATE_AFTER]
        if channel not in channels or not late:
            continue
        is_urgent = late[0].severity == "crit"
        if not is_urgent and channel != refused_by and all(one.refused for one in late):
            continue
        titles = f"channel {channel} does not deliver", f"channel {channel} is late"
        severity: Severity | None = "crit" if is_urgent else None
        since = now - (QUIET_IF_CRITICAL if is_urgent else _QUIET)
        if any(journal.messages.was_enqueued_since(title, since, severity) for title in titles):
            continue
        report = Message(
            "crit" if is_urgent else "warn",
            titles[0] if any(one.refused for one in late) else titles[1],
            tuple(_lines(late, now)),
            opens=(channel_topic(channel),),
        )
        tx.messages.enqueue(
            report,
            [name for name in channels if name != channel and (is_urgent or name not in standby)] or ["log"],
            now,
        )
        for one in late:
            tx.messages.mark_reported(one.id, now)


def report_recovery(journal: Journal, tx: Transaction, channel: str, now: Millis) -> None:
    """It has just taken a message: whoever heard that it does not deliver hears that."""
    topic = channel_topic(channel)
    queue = journal.messages.list_queues().get(channel)
    if queue is not None and now - queue.oldest >= LATE_AFTER:
        return  # something still waits: it does not, yet
    if told := journal.messages.list_told([topic]):
        tx.messages.enqueue(Message("info", f"channel {channel} delivers again", ends=(topic,)), sorted(told), now)


def report_notice(
    journal: Journal,
    tx: Transaction,
    name: str,
    channel: Any,
    channels: Collection[str],
    now: Millis,
    *,
    standby: Collection[str] = (),
) -> None:
    """What is to be put right in the configuration of a channel that delivers all the same: told once, on all of `channels`
    that are not on `standby`."""
    notice: str | None = getattr(channel, "notice", None)
    if notice is None:
        return
    what, _, cure = notice.partition(" — ")
    title = f"channel {name}: {what}"
    if not journal.messages.was_enqueued_since(title, 0):
        told = [each for each in channels if each not in standby] or ["log"]
        tx.messages.enqueue(Message("warn", title, (cure,)), told, now)


def _lines(late: Sequence[UndeliveredMessage], now: Millis) -> list[str]:
    errors = dict.fromkeys(one.error for one in late if one.error is not None)
    lines = [*list(errors)[:2]] or ["it has taken no message yet"]
    for one in late[:_MAX_NAMED]:
        waits = "not delivered" if one.refused else f"waits for {format_duration(now - one.created)}"
        lines.append(f"{waits}: {one.title}")
    return lines + ([f"and {len(late) - _MAX_NAMED} more"] if len(late) > _MAX_NAMED else [])
