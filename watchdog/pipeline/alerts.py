"""What is so now, as alerts: for channels that are told states and no messages. All of it stands in the journal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from watchdog.config import Config
from watchdog.core.model import Alert, Labels, Millis, Severity
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.messages import OpenedTopic, OutboxMessage
from watchdog.journal.storage import Journal
from watchdog.journal.topics import incident_of
from watchdog.notifiers.alertmanager import ALERTNAME, SEVERITY_LABELS, describe_annotations, message_alert
from watchdog.notifiers.text import describe_place
from watchdog.pipeline.firing import Firing, RunQuery, describe_firing
from watchdog.pipeline.incident_messages import describe_latch, describe_plans_at_work
from watchdog.pipeline.messenger import Messenger
from watchdog.rules import Check
from watchdog.rules.state_machine import MachineState, StateKey

RESOLVED_FOR: Millis = 900_000
"""ms for which it is told that something is over: as long as Prometheus does."""
_OWN_LABELS = ("alertname", "target", "severity", "incident")


class AlertBook:
    """Which alerts a channel is to show. It keeps nothing: what was killed begins where it was."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        messenger: Messenger,
        query: RunQuery,
        machines: Mapping[StateKey, MachineState],
    ) -> None:
        self._config = config
        self._journal = journal
        self._messenger = messenger
        self._query = query
        self._machines = machines
        self._checks: dict[tuple[str, str, str], Check] = {
            (check.rule, check.level, check.target): check for check in config.checks
        }

    def list_all(self, channel: str, now: Millis) -> list[Alert]:
        """What fires or was told and is not over, and what is over for a quarter of an hour at most."""
        since = now - RESOLVED_FOR
        incidents = self._journal.incidents.list_incidents_since(since)
        topics = self._journal.messages.list_opened_topics(channel, since)
        return [*self._of_incidents(channel, incidents, now), *self._of_topics(topics)]

    def list_for(self, queued: OutboxMessage, now: Millis) -> list[Alert]:
        """What that message is about, as it is now. Empty: of what it says there is no alert, and need not be."""
        message, since = queued.message, now - RESOLVED_FOR
        topics = {*message.opens, *message.ends}
        numbers = {message.incident, *map(incident_of, topics)}
        incidents = [one for one in self._journal.incidents.list_incidents_since(since) if one.id in numbers]
        alerts = self._of_incidents(queued.channel, incidents, now)
        opened = self._journal.messages.list_opened_topics(queued.channel, since)
        alerts += self._of_topics([one for one in opened if one.topic in topics])
        return alerts if alerts or not self._is_notice(queued) else [message_alert(message)]

    def _is_notice(self, queued: OutboxMessage) -> bool:
        """It says what no alert says, and is one by itself."""
        message = queued.message
        if queued.is_catch_up or message.opens or message.ends:
            return False
        return message.incident is None or message.severity != "info"

    def _of_topics(self, topics: Collection[OpenedTopic]) -> list[Alert]:
        return [_topic_alert(one) for one in topics if incident_of(one.topic) is None and not self._is_trip(one)]

    def _is_trip(self, one: OpenedTopic) -> bool:
        """It was told in one message with what tripped, of which there are alerts."""
        incident = one.message.incident
        return incident is not None and any(
            trip.t == one.opened for trip in self._journal.incidents.list_trips(incident)
        )

    def _of_incidents(self, channel: str, incidents: Collection[Incident], now: Millis) -> list[Alert]:
        return [alert for incident in incidents for alert in self._of_incident(channel, incident, now)]

    def _of_incident(self, channel: str, incident: Incident, now: Millis) -> Iterator[Alert]:
        newest = {
            (trip.rule, trip.level, trip.labels): trip for trip in self._journal.incidents.list_trips(incident.id)
        }
        state: list[str] | None = None
        for trip in newest.values():
            ends = trip.cleared or incident.closed
            if trip.silenced or (ends is not None and ends < now - RESOLVED_FOR):
                continue
            rule = self._config.rules_by_target.get((trip.rule, incident.target))
            level: Severity = "crit" if trip.level == "crit" else "warn"
            if channel not in self._messenger.channels_for(
                level, None if rule is None else rule.notify, incident.target
            ):
                continue
            if ends is not None:
                said = describe_annotations(f"{trip.rule}: {trip.reason}", (describe_place(incident.id),))
                yield Alert(self._labels(trip, incident), said, trip.t, ends)
                continue
            firing = self._find_firing(trip, incident.target)
            if firing is None:  # its rule was taken away
                said = describe_annotations(f"{trip.rule}: {trip.reason}", ("nobody judges it any more",))
                yield Alert(self._labels(trip, incident), said, trip.t, now)
                continue
            state = self._describe_state(incident, now) if state is None else state
            yield Alert(self._labels(trip, incident), self._annotations(firing, incident, state, now), trip.t)

    def _find_firing(self, trip: TripRecord, target: str) -> Firing | None:
        check = self._checks.get((trip.rule, trip.level, target))
        machine = self._machines.get(StateKey(trip.rule, trip.level, trip.labels, target))
        if check is None or machine is None or not machine.is_firing:
            return None
        return Firing(check, machine, trip.labels, trip.t)

    def _labels(self, trip: TripRecord, incident: Incident) -> Labels:
        rule = self._config.rules_by_target.get((trip.rule, incident.target))
        imported = self._config.prometheus_alerts.get(trip.rule)
        named = {f"exported_{name}" if name in _OWN_LABELS else name: text for name, text in trip.labels}
        named |= {} if rule is None else rule.labels
        named |= {
            "alertname": trip.rule if imported is None else imported.name,
            "severity": SEVERITY_LABELS["crit" if trip.level == "crit" else "warn"],
            "target": incident.target,
            "incident": str(incident.id),
        }
        return tuple(sorted(named.items()))

    def _annotations(self, firing: Firing, incident: Incident, state: list[str], now: Millis) -> Labels:
        check, machine = firing.check, firing.machine
        told = describe_firing(firing, self._config, self._journal, incident, self._query, "fires", now)
        rule = self._config.rule(check.rule, check.target)
        imported = self._config.prometheus_alerts.get(check.rule)
        summary = told.lines[0] if rule.summary is not None or imported is not None else f"{check.rule}: {told.reason}"
        said = dict(describe_annotations(summary, (*told.lines, *state)))
        said |= {} if rule.runbook is None else {"runbook_url": rule.runbook}
        if imported is not None:  # under the names that templates know them by
            query = lambda text: self._query(text, check.target, now)  # noqa: E731
            said |= imported.render_annotations(firing.labels, machine.value, query)
        return tuple(said.items())

    def _describe_state(self, incident: Incident, now: Millis) -> list[str]:
        """What is done about it."""
        lines = describe_plans_at_work(self._journal, incident.target)
        lines += describe_latch(self._journal, incident.target, now)
        lines += [] if incident.acked_by is None else [f"acknowledged by {incident.acked_by}"]
        return [*lines, describe_place(incident.id)]


def _topic_alert(one: OpenedTopic) -> Alert:
    """What is no rule's and lasts: a latch, a source that does not deliver."""
    labels = {"alertname": ALERTNAME, "severity": SEVERITY_LABELS[one.message.severity], "topic": one.topic}
    alert = message_alert(one.message)
    return replace(alert, labels=tuple(sorted(labels.items())), starts=one.opened, ends=one.ended)
