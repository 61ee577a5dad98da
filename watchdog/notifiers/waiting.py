"""What waits for a channel: until when it is held back (quiet hours, a limit), and what of it is told as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from watchdog.core.hours import Hours
from watchdog.core.model import Message, Millis
from watchdog.core.protocols import AlertingNotifier
from watchdog.journal.messages import LATE_AFTER, STUCK_TRIES, OutboxMessage
from watchdog.journal.storage import Journal
from watchdog.notifiers.folding import Digest, is_alike, tell_story
from watchdog.notifiers.text import describe_place

_MAX_APART = 3
"""Messages of one incident that are told one by one."""
_MAX_LATE_APART = 10
"""Incidents of which what is late, and not critical, is told one by one."""

DescribeIncident = Callable[[int, str, Millis], Message | None]
"""(incident, channel, now) → what is so now, in one message; None: there is nothing to say to this channel any more."""


class Delivery(NamedTuple):
    """What is sent at once."""

    queued: OutboxMessage
    """As it is said: the first of `ids`, with the words of all."""
    ids: tuple[int, ...]
    incidents: tuple[int, ...]
    is_counted: bool
    """Under the channel's limit."""

    @property
    def is_digest(self) -> bool:
        return len(self.ids) > 1 and self.queued.message.incident is None


class WaitingMessages:
    """Of all channels."""

    def __init__(self, journal: Journal, describe_incident: DescribeIncident) -> None:
        self._journal = journal
        self._describe_incident = describe_incident
        self._quiet: dict[str, tuple[Hours, Millis, Millis]] = {}
        """Channel → the hours that it is in, with their beginning and end."""

    def hold(self, channels: Mapping[str, Any], now: Millis) -> None:
        """Writes down until when what waits for each is held back, where that is news."""
        for name, channel in channels.items():
            quiet_since, quiet_until = self._quiet_span(name, getattr(channel, "quiet", None), now)
            until = max(quiet_until, self._room_at(name, getattr(channel, "limit", None)))
            # In quiet hours nobody is up who would want to know that something ended of which they were told before.
            relief = quiet_until > now and not self._journal.messages.was_critical_since(name, quiet_since)
            if self._journal.messages.has_other_hold(name, until, now, relief=relief):
                with self._journal.transaction(defer_sync=True) as tx:
                    tx.messages.hold_channel(name, until, now, relief=relief)

    def _quiet_span(self, name: str, hours: Hours | None, now: Millis) -> tuple[Millis, Millis]:
        if hours is None or not hours.active_at(now):
            return 0, 0
        known = self._quiet.get(name)
        if known is None or known[0] != hours or not known[1] <= now < known[2]:
            known = self._quiet[name] = hours, hours.start_before(now) or 0, hours.end_after(now) or 0
        return known[1:]

    def _room_at(self, name: str, limit: Any) -> Millis:
        """When the channel may be told one more; 0: at once."""
        last = None if limit is None else self._journal.messages.find_counted(name, limit.runs)
        return 0 if last is None else last + int(limit.per)

    async def gather(self, first: OutboxMessage, channel: Any, now: Millis) -> Delivery:
        """What is told together with `first`, which is due."""
        is_counted = getattr(channel, "limit", None) is not None and not first.is_urgent and not first.is_relief
        alone = Delivery(
            first, (first.id,), () if first.message.incident is None else (first.message.incident,), is_counted
        )
        if channel is None or isinstance(channel, AlertingNotifier):  # the log has room; states are not counted
            return alone
        if not first.is_urgent and not first.is_relief and (why := self._why_digest(first, channel, now)):
            delivery = await self._digest(alone, why, now)
        elif first.message.incident is not None and not first.is_catch_up and self._is_story(first, now):
            delivery = self._story(alone, now)
        else:
            return alone
        # What keeps nothing behind it any more is tried alone, and with all, in turn: it may be what is not taken.
        if first.tries >= STUCK_TRIES and (first.tries - first.overtaken) % 2 and len(delivery.ids) > 1:
            return alone
        return delivery

    def _why_digest(self, first: OutboxMessage, channel: Any, now: Millis) -> str:
        """Why all that waits of whatever incident is one message; empty: it is not."""
        if first.held is not None:
            quiet, limit = getattr(channel, "quiet", None), getattr(channel, "limit", None)
            was_quiet = quiet is not None and quiet.active_at(first.held - 1)
            return "quiet hours" if was_quiet else f"no more than {limit.text}" if limit is not None else "they waited"
        late = self._journal.messages.count_waiting_incidents(first.channel, now - LATE_AFTER)
        return "the channel was late" if late > _MAX_LATE_APART else ""

    def _waiting(self, first: OutboxMessage, now: Millis, incident: int | None) -> Iterator[OutboxMessage]:
        after = 0
        while chunk := self._journal.messages.list_waiting(
            first.channel, int(not first.is_urgent), now, incident=incident, behind=first.id, after=after
        ):
            yield from chunk
            after = chunk[-1].id

    async def _digest(self, alone: Delivery, why: str, now: Millis) -> Delivery:
        first, digest = alone.queued, Digest()
        if (
            first.message.incident is not None
            and self._journal.messages.count_waiting_incidents(first.channel, now) == 1
        ):
            return alone if first.is_catch_up else self._story(alone, now)
        for number, one in enumerate(self._waiting(first, now, None)):
            if number % 100 == 0:
                await asyncio.sleep(0)  # a night's worth of messages keeps no round waiting
            digest.add(
                one,
                self._describe_incident(one.message.incident or 0, first.channel, now)
                if one.is_catch_up
                else one.message,
            )
        if len(digest.ids) < 2:
            return alone
        found = [self._journal.incidents.find_incident(number) for number in digest.incidents]
        still_open = [f"{one.target} ({one.id})" for one in found if one is not None and one.closed is None]
        said = digest.message(why, still_open, describe_place(None), now)
        return Delivery(said, tuple(digest.ids), tuple(digest.incidents), alone.is_counted)

    def _is_story(self, first: OutboxMessage, now: Millis) -> bool:
        """A few messages that are news are told one by one; what says the same of other label sets never is."""
        assert first.message.incident is not None
        messages = list(
            self._journal.messages.list_waiting(
                first.channel,
                int(not first.is_urgent),
                now,
                incident=first.message.incident,
                behind=first.id,
                limit=_MAX_APART + 1,
            )
        )
        if len(messages) < 2:
            return False
        return (
            len(messages) > _MAX_APART
            or now - first.created >= LATE_AFTER
            or first.is_relief
            or is_alike(messages[0].message, messages[1].message)
        )

    def _story(self, alone: Delivery, now: Millis) -> Delivery:
        first, ids = alone.queued, list[int]()

        def noted() -> Iterator[OutboxMessage]:
            for one in self._waiting(first, now, first.message.incident):
                ids.append(one.id)
                yield one

        said = tell_story(noted(), now, describe_place(first.message.incident))
        return alone._replace(queued=said, ids=tuple(ids))
