"""Several messages that are told as one. Pure: what waited is given, and how long ago things were follows from `now`.

A story is what befell one incident, in order; a digest counts what waited of many. Both look at each message once and keep a
few: what waits may be more than fits into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from watchdog.core.model import SEVERITY_RANK, Button, Chart, Fact, Message, Millis, Severity
from watchdog.core.units import format_duration
from watchdog.journal.messages import LATE_AFTER, OutboxMessage

_FIRST, _LAST = 2, 6
"""Parts of a story that are told; what is between them is counted."""
_MAX_WORST = 5
"""The worst of what is alike that are named in a story."""
_MAX_KINDS, _MAX_KINDS_KEPT = 12, 500
"""Kinds of news that a digest names, and counts one by one."""
_MAX_OPEN = 8
CLOSED = "incident closed"
"""What the end of an incident says: nothing can be answered to it any more."""


def is_alike(one: Message, other: Message) -> bool:
    """Both say the same of other label sets."""
    return bool(one.facts) and _kinds(one) == _kinds(other)


def _kinds(message: Message) -> frozenset[tuple[str, str]]:
    return frozenset((fact.target, fact.what) for fact in message.facts)


class _Part:
    """Messages that follow each other and are alike, or a single one."""

    def __init__(self, queued: OutboxMessage) -> None:
        self.first = queued
        self.messages = 0
        self.number = 0
        """Of label sets."""
        self.worst: list[Fact] = []
        self.add(queued.message)

    def add(self, message: Message) -> None:
        self.messages += 1
        self.number += sum(fact.number for fact in message.facts) or 1
        self.worst = sorted([*self.worst, *message.facts], key=_badness)[:_MAX_WORST]

    def title(self, target: str) -> str:
        """Without whom it is about."""
        if self.messages > 1 and len(kinds := {fact.what for fact in self.worst}) == 1:
            return f"{kinds.pop()} {self.number} times"
        title = self.first.message.title.removeprefix(f"{target}: ")
        return title if self.messages == 1 else f"{title} ({self.messages} times)"

    def lines(self) -> list[str]:
        """Of what came last: all that it says."""
        named = [fact.worst for fact in self.worst if fact.worst]
        if self.messages == 1 or not named:
            return list(self.first.message.lines)
        more = [f"and {self.number - len(named)} more"] if self.number > len(named) else []
        return [f"the worst: {named[0]}", *named[1:], *more]

    def summary(self, target: str, now: Millis) -> str:
        """Of what came before: one line."""
        worst = self.worst[0].worst if self.worst else next(iter(self.first.message.lines), "")
        return f"{_ago(self.first.created, now)}: {self.title(target)}{f' — {worst}' if worst else ''}"


def tell_story(messages: Iterable[OutboxMessage], now: Millis, keep: str) -> OutboxMessage:
    """What befell one incident, by its messages in order: the newest whole, those before it in a line each.

    `keep`: a line that is said at the end when one of the messages says it.
    """
    parts: list[_Part] = []
    head: OutboxMessage | None = None
    count = left_out = 0
    severity: Severity = "info"
    broadcast = is_kept = False
    chart: Chart | None = None
    buttons: tuple[Button, ...] = ()
    for queued in messages:
        message = queued.message
        head, count = head or queued, count + 1
        severity = max(severity, message.severity, key=SEVERITY_RANK.__getitem__)
        broadcast |= message.broadcast
        is_kept |= keep in message.lines
        is_over = any(fact.what == CLOSED for fact in message.facts)
        chart, buttons = message.chart or chart, () if is_over else message.buttons or buttons
        if parts and is_alike(parts[-1].first.message, message):
            parts[-1].add(message)
            continue
        parts.append(_Part(queued))
        if len(parts) > _FIRST + _LAST:
            left_out += parts.pop(_FIRST).messages
    if head is None:
        raise ValueError("nothing waits")
    if count == 1:
        return head
    *before, newest = parts
    target, colon, _ = newest.first.message.title.partition(": ")
    summaries = [part.summary(target, now) for part in before]
    if left_out:
        summaries.insert(_FIRST, f"… and {left_out} more …")
    earlier = sum(part.messages for part in before) + left_out
    late = now - newest.first.created
    lines = [
        *(line for line in newest.lines() if line != keep),
        *([f"{format_duration(late)} late"] if late >= LATE_AFTER else []),
        *(["before it:", *summaries] if summaries else []),
        *([keep] if is_kept else []),
    ]
    said = replace(
        newest.first.message,
        severity=severity,
        title=f"{f'{target}: ' if colon else ''}{newest.title(target)}{f' (and {earlier} before it)' if earlier else ''}",
        lines=tuple(lines),
        broadcast=broadcast,
        key=head.message.key,
        chart=chart,
        buttons=buttons,
    )
    return replace(head, message=said)


@dataclass
class _Kind:
    """Messages that say the same of whomever."""

    what: str
    first: int
    severity: Severity = "info"
    count: int = 0
    targets: set[str] = field(default_factory=set)
    worst: Fact | None = None

    def add(self, fact: Fact) -> None:
        self.count += fact.number
        self.severity = max(self.severity, fact.severity, key=SEVERITY_RANK.__getitem__)
        self.targets.add(fact.target)
        self.worst = fact if self.worst is None else min(self.worst, fact, key=_badness)

    def line(self) -> str:
        assert self.worst is not None
        target = f"{self.worst.target}: " if self.worst.target else ""
        worst = f"{target}{self.worst.worst}".removesuffix(": ")
        if self.count == 1:
            return f"{target}{self.what}" + (f" — {self.worst.worst}" if self.worst.worst else "")
        on = f" on {len(self.targets)} targets" if len(self.targets) > 1 else ""
        return f"{self.what} {self.count} times{on}" + (f", the worst {worst}" if worst else "")


class Digest:
    """Counts what waited of many incidents, and keeps the worst of each kind."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.incidents: dict[int, None] = {}
        self._head: OutboxMessage | None = None
        self._kinds: dict[str, _Kind] = {}
        self._uncounted = 0
        self._oldest: Millis = 0
        self._severity: Severity = "info"

    def add(self, queued: OutboxMessage, said: Message | None) -> None:
        """`said`: what it says by now; None: nothing any more."""
        self.ids.append(queued.id)
        self._head = self._head or queued
        if (message := said) is None:
            return
        if message.incident is not None:
            self.incidents[message.incident] = None
        self._oldest = min(self._oldest or queued.created, queued.created)
        self._severity = max(self._severity, message.severity, key=SEVERITY_RANK.__getitem__)
        for fact in message.facts or (Fact("", message.title, message.severity, 1, next(iter(message.lines), "")),):
            if fact.what not in self._kinds and len(self._kinds) >= _MAX_KINDS_KEPT:
                self._uncounted += 1
                continue
            self._kinds.setdefault(fact.what, _Kind(fact.what, queued.id)).add(fact)

    def message(self, why: str, still_open: Sequence[str], place: str, now: Millis) -> OutboxMessage:
        """`why` it was not told one by one; `still_open`: incidents, as they are called."""
        assert self._head is not None
        kinds = sorted(self._kinds.values(), key=lambda one: (-SEVERITY_RANK[one.severity], -one.count, one.first))
        lines = [one.line() for one in kinds[:_MAX_KINDS]]
        others = sum(one.count for one in kinds[_MAX_KINDS:]) + self._uncounted
        lines += [f"and {others} more: trading-watchdog incidents"] if others else []
        if still_open:
            more = f" and {len(still_open) - _MAX_OPEN} more" if len(still_open) > _MAX_OPEN else ""
            lines.append(f"still open: {', '.join(still_open[:_MAX_OPEN])}{more}")
        span = format_duration(max(1_000, now - self._oldest))
        title = f"{len(self.ids)} messages of the last {span} in one: {why}"
        said = Message(self._severity, title, (*lines, place), key=self._head.message.key)
        return replace(self._head, message=said)


def _badness(fact: Fact) -> tuple[int, float]:
    return -SEVERITY_RANK[fact.severity], -fact.excess


def _ago(t: Millis, now: Millis) -> str:
    return f"{format_duration(max(0, now - t))} ago" if now - t >= 1_000 else "just now"
