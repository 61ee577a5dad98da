"""Who is told: those who want to hear of something this bad, and those who were told that it is bad and not how it ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from watchdog.config import Config
from watchdog.core.model import SEVERITY_RANK, Message, Millis, Severity
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.topics import incident_topic
from watchdog.notifiers.text import describe_place
from watchdog.pipeline.incident_news import IncidentNews
from watchdog.pipeline.many_targets import MAX_APART, end_as_one, single_rule, tell_as_one

LOG_CHANNEL = "log"
"""Channel that always exists: without any other, messages go to the log."""


class Messenger:
    """Writes messages down for the channels that are to hear them."""

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._journal = journal

    def notify(self, tx: Transaction, message: Message, now: Millis, *, without: Collection[str] = ()) -> None:
        """To every channel of the message that wants messages of this severity, and to all who were told of what it ends.

        `without`: channels that hear it by another message.
        """
        wanted: list[str] = []
        if not message.ends or message.filter_severity is not None:
            level = max(message.severity, message.filter_severity or message.severity, key=SEVERITY_RANK.__getitem__)
            wanted = self.channels_for(level, message.channels, self._target_of(message))
        hearers = [*wanted, *self.channels_told(message.ends)]
        self.enqueue(tx, message, [channel for channel in hearers if channel not in without], now)
        tx.messages.forget_topics(message.ends)

    def enqueue(self, tx: Transaction, message: Message, channels: Iterable[str], now: Millis) -> None:
        """What begins a thread says where it is; and what of it stays, where it begins an incident that the channel is told of."""
        for channel in dict.fromkeys(channels):
            first = replace(message, about=None)
            if self._journal.messages.begins_thread(channel, message.incident):
                place = describe_place(message.incident)
                stays = self._about(message, channel)
                about = None if stays is None else (*stays, place)
                first = replace(message, lines=(*message.lines, place), about=about)
            tx.messages.enqueue(first, [channel], now)

    def _about(self, message: Message, channel: str) -> tuple[str, ...] | None:
        """What of the first message of an incident stays; None where it is no news of anything bad, or the end of it."""
        if message.incident is None or (topic := incident_topic(message.incident)) in message.ends:
            return None
        if topic not in message.opens and channel not in self._journal.messages.list_told([topic]):
            return None
        if message.about is not None:
            return message.about
        return (
            () if message.severity == "info" else (message.title, *message.lines)
        )  # what people answer stands in the timeline

    def channels_told(self, topics: Collection[str]) -> list[str]:
        """Who was told of one of these and not how it ended; everybody, when one of them is no longer configured."""
        told = self._journal.messages.list_told(topics) if topics else set()
        known = [LOG_CHANNEL, *self._config.channels]
        return known[1:] or known if told.difference(known) else [channel for channel in known if channel in told]

    def _target_of(self, message: Message) -> str | None:
        incident = None if message.incident is None else self._journal.incidents.find_incident(message.incident)
        return message.target or (None if incident is None else incident.target)

    def channels_for(self, severity: Severity, channels: Collection[str] | None, target: str | None) -> list[str]:
        """Of those named, else of those that hear of the target, those that want to hear of something this bad."""
        known = self._config.channels
        chosen = self._config.told_channels(target, channels)
        return (
            [name for name in chosen if SEVERITY_RANK[known[name].from_] <= SEVERITY_RANK[severity]]
            if known
            else [LOG_CHANNEL]
        )

    def tell_news(
        self, tx: Transaction, target: str, news: IncidentNews, now: Millis, *, without: Collection[str] = ()
    ) -> set[str]:
        """One message a channel, with what that channel hears; but for channels in `without`. Returns the channels."""
        parts = self._parts_by_channel(target, news)
        for channel in without:
            parts.pop(channel, None)
        for channel, part in parts.items():
            self._tell_part(tx, target, channel, part, now)
        tx.messages.forget_topics([topic for decision in news.decisions for topic in decision.ends])
        return set(parts)

    def tell_together(self, tx: Transaction, news: Mapping[str, IncidentNews], now: Millis) -> set[str]:
        """What one rule says of many targets at once is one message a channel. Returns the targets of which that was told."""
        told: set[str] = set()
        alike: dict[tuple[str, str], list[str]] = {}
        for target, part in news.items():
            if (what := single_rule(part)) is not None:
                alike.setdefault(what, []).append(target)
        for what, targets in alike.items():
            if len(targets) > MAX_APART:
                self._tell_as_one(tx, what, {target: news[target] for target in targets}, now)
                told.update(targets)
        return told

    def _tell_as_one(
        self, tx: Transaction, what: tuple[str, str], news: Mapping[str, IncidentNews], now: Millis
    ) -> None:
        by_channel: dict[str, dict[str, IncidentNews]] = {}
        for target, whole in news.items():
            for channel, part in self._parts_by_channel(target, whole).items():
                by_channel.setdefault(channel, {})[target] = part
        found = {target: self._journal.incidents.find_open(target) for target in news}
        numbers = {target: incident.id for target, incident in found.items() if incident is not None}
        for channel, parts in by_channel.items():
            if len(parts) > MAX_APART and all(single_rule(part) == what for part in parts.values()):
                self.enqueue(tx, tell_as_one(what, parts, numbers), [channel], now)
                continue
            for target, part in parts.items():
                self._tell_part(tx, target, channel, part, now)
        topics = [topic for whole in news.values() for decision in whole.decisions for topic in decision.ends]
        tx.messages.forget_topics(topics)

    def tell_ends(self, tx: Transaction, ends: Sequence[Message], now: Millis) -> None:
        """Ends of incidents in one round: of many, one message a channel."""
        by_channel: dict[str, list[Message]] = {}
        for message in ends:
            for channel in self.channels_told(message.ends):
                by_channel.setdefault(channel, []).append(message)
        for channel, messages in by_channel.items():
            together = [end_as_one(messages)] if len(messages) > MAX_APART else messages
            for message in together:
                self.enqueue(tx, message, [channel], now)
        tx.messages.forget_topics([topic for message in ends for topic in message.ends])

    def _tell_part(self, tx: Transaction, target: str, channel: str, part: IncidentNews, now: Millis) -> None:
        incident = self._journal.incidents.find_open(target)
        is_told = incident is not None and channel in self.channels_told([incident_topic(incident.id)])
        is_about_it = part.trips or part.decisions or part.recoveries or is_told
        number = incident.id if incident is not None and is_about_it else None
        self.enqueue(tx, part.message(target, number), [channel], now)

    def _parts_by_channel(self, target: str, news: IncidentNews) -> dict[str, IncidentNews]:
        """What each channel hears."""
        incident = self._journal.incidents.find_open(target)
        told = set() if incident is None else set(self.channels_told([incident_topic(incident.id)]))
        parts: dict[str, IncidentNews] = {}
        for trip in news.trips:
            knows = set() if trip.told_by is None else set(self.channels_told([trip.told_by]))
            for channel in self.channels_for(trip.level, trip.channels, target):
                if channel not in knows:
                    parts.setdefault(channel, IncidentNews(notes=news.notes)).trips.append(trip)
        tripped = list(parts)
        for decision in news.decisions:
            audience = [] if decision.audience is None else self.channels_for(decision.audience, None, target)
            for channel in dict.fromkeys([*tripped, *audience, *self.channels_told(decision.ends)]):
                parts.setdefault(channel, IncidentNews()).decisions.append(decision)
        for recovery in news.recoveries:
            for channel in self.channels_for(recovery.level, recovery.channels, target):
                if channel in told or channel in tripped:
                    parts.setdefault(channel, IncidentNews()).recoveries.append(recovery)
        for departure in news.departures:
            for channel in self.channels_for(departure.level, departure.channels, target):
                parts.setdefault(channel, IncidentNews()).departures.append(departure)
        return parts
