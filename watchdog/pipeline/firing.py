"""What fires at the moment, as people are told of it: at the end of a silence, as a reminder, and where messages did not arrive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from watchdog.config import Config
from watchdog.core.model import Chart, Labels, Message, Millis, Verdict
from watchdog.core.units import format_duration, format_value
from watchdog.journal.incidents import Incident
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.suppressions import Suppression
from watchdog.journal.topics import escalation_topic, incident_topic, plan_topic
from watchdog.notifiers.text import describe_place
from watchdog.pipeline.incident_messages import DescribeLeft, describe_latch, describe_plans_at_work
from watchdog.pipeline.incident_news import IncidentNews, Recovery, Trip
from watchdog.pipeline.messenger import Messenger
from watchdog.rules import Check, format_labels, render_summary
from watchdog.rules.state_machine import MachineState, StateKey, Transition, excess_of

RunQuery = Callable[[str, str, Millis], Sequence[Mapping[str, object]]]
"""(text, target, now): what the templates of Prometheus's alerts may ask."""
_FIRST_LOOK: Millis = 30_000
"""ms after a start in which what fires may still turn out to have recovered meanwhile."""
_CLOSED_IS_NEWS = 86_400_000
"""ms for which the end of an incident is worth telling where it did not arrive."""
_MAX_REMINDER_PAUSE = 86_400_000
"""ms between two reminders at most, unless more was said."""


class Firing(NamedTuple):
    """A threshold that fires for a label set, and since when."""

    check: Check
    machine: MachineState
    labels: Labels
    since: Millis


def list_firing(
    config: Config, machines: Mapping[StateKey, MachineState], journal: Journal, incident: Incident
) -> Iterator[Firing]:
    """Of the incident's target, each label set at its worst, in the order of the files."""
    tripped = {
        (trip.rule, trip.level, trip.labels): trip.t
        for trip in journal.incidents.list_trips(incident.id)
        if trip.cleared is None
    }
    checks = {(check.rule, check.level): check for check in config.checks if check.target == incident.target}
    firing = {key: machine for key, machine in machines.items() if key.target == incident.target and machine.is_firing}
    for (rule, level), check in checks.items():
        for key, machine in firing.items():
            if (key.rule, key.level) == (rule, level) and (level == "crit" or key._replace(level="crit") not in firing):
                yield Firing(check, machine, key.labels, tripped.get((rule, level, key.labels), machine.since))


def describe_firing(
    one: Firing, config: Config, journal: Journal, incident: Incident, query: RunQuery, how: str, now: Millis
) -> Trip:
    """`how`: what stands behind its name in the title."""
    machine, check = one.machine, one.check
    verdict = Verdict(
        *(check.rule, check.level, one.labels, machine.outcome, machine.reason, machine.value, machine.limit),
        target=check.target,
    )
    lasting = now - one.since
    beside = [f"fires for {format_duration(lasting)}"]
    if machine.outcome in ("nodata", "error") and machine.worst is not None:
        beside.append(f"was {format_value(machine.worst, check.unit)} at worst, while it could be seen")
    return describe_trip(check, verdict, lasting, beside, config, journal, incident, query, now)._replace(
        how=how, about=()
    )


def describe_trip(
    check: Check,
    verdict: Verdict,
    lasting: Millis,
    beside: Collection[str],
    config: Config,
    journal: Journal,
    incident: Incident | None,
    query: RunQuery,
    now: Millis,
) -> Trip:
    """`lasting`: for how long it has been bad. `beside`: lines that stand beside what was seen."""
    rule = config.rule(check.rule, check.target)
    plan = config.plan(check.plan, check.target)
    own = tuple(rule.labels.items())
    words = [] if rule.summary is None else [render_summary(rule.summary, check, verdict, lasting, own)]
    if (alert := config.prometheus_alerts.get(check.rule)) is not None:
        words += alert.render_lines(verdict.labels, verdict.value, lambda text: query(text, check.target, now))
    labels = dict(verdict.labels) | rule.labels
    rest = [*beside] if rule.runbook is None else [*beside, rule.runbook]
    return Trip(
        check.rule,
        check.level,
        rule.notify,
        (*words, verdict.reason, *([format_labels(labels)] if labels else []), *rest),
        verdict.reason,
        check.plan,
        "" if plan is None else plan.kind,
        None if incident is None else plan_at_work_for(check, config, journal, incident.id),
        format_labels(dict(verdict.labels)),
        excess_of(verdict.value, verdict.limit),
        about=(*words, *([format_labels(rule.labels)] if rule.labels else []), *rest),
        chart=None if rule.kpi is None else Chart(rule.kpi, check.target, verdict.labels, until=now),
    )


def describe_recovery(check: Check, change: Transition, verdict: Verdict, config: Config, fired: Millis) -> Recovery:
    """`fired`: for how long."""
    worst = change.machine.worst
    return Recovery(
        check.rule,
        check.level,
        config.rule(check.rule, check.target).notify,
        verdict.reason,
        fired,
        format_labels(dict(verdict.labels)),
        "" if worst is None else format_value(worst, check.unit),
        change.machine.excess,
    )


def plan_at_work_for(check: Check, config: Config, journal: Journal, incident: int) -> str | None:
    """Topic of the rule's plan, when that is at work in the incident."""
    crit = config.rule(check.rule, check.target).crit
    if crit is None or crit.plan is None:
        return None
    runs = journal.runs.list_for_incident(incident)
    is_at_work = any(run.plan == crit.plan and run.part == "ladder" and run.ended is None for run in runs)
    return plan_topic(check.target, crit.plan) if is_at_work else None


class FiringNews:
    """Tells people."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        messenger: Messenger,
        query: RunQuery,
        machines: Mapping[StateKey, MachineState],
        is_silenced: Callable[[Check, Millis], bool],
        describe_left: DescribeLeft,
    ) -> None:
        self._config = config
        self._journal = journal
        self._messenger = messenger
        self._query = query
        self._machines = machines
        self._is_silenced = is_silenced
        self._describe_left = describe_left
        self._told_at: tuple[Millis, set[tuple[str, str, Labels]]] = 0, set()
        """What was told at the end of a silence, and when: two may end at once."""

    def _describe(self, one: Firing, incident: Incident, how: str, now: Millis) -> Trip:
        return describe_firing(one, self._config, self._journal, incident, self._query, how, now)

    def tell_still_firing(self, tx: Transaction, silence: Suppression, why: str, now: Millis) -> set[str]:
        """A silence is over, `why` says how: people hear what fires all the same. Returns the channels that hear.

        What tripped since its time was over has been told: whoever heard that knows that it is over."""
        rule, _, of = silence.subject.partition("@")
        told: set[str] = set()
        if self._told_at[0] != now:
            self._told_at = now, set()
        already = self._told_at[1]
        for target in [of] if of else self._config.targets_of(rule):
            incident = self._journal.incidents.find_open(target)
            if incident is None or (rule, target) not in self._config.rules_by_target:
                continue
            loud = [
                one
                for one in list_firing(self._config, self._machines, self._journal, incident)
                if one.check.rule == rule and not self._is_silenced(one.check, now)
            ]
            firing = [one for one in loud if one.since < silence.until and (rule, target, one.labels) not in already]
            heard = self._config.rule(rule, target).notify
            for one in loud:
                if one.since >= silence.until:
                    told.update(self._messenger.channels_for(one.check.level, heard, target))
            if not firing:
                continue
            already |= {(rule, target, one.labels) for one in firing}
            news = IncidentNews(
                [self._describe(one, incident, "still fires after its silence", now) for one in firing],
                notes=(f"was silenced by {silence.who}; {why}",),
            )
            told |= self._messenger.tell_news(tx, target, news, now)
            tx.incidents.mark_trips_told(incident.id, rule)
            tx.incidents.note_reminder(incident.id, now, counts=False)
            text = f"{rule} still fires after its silence: {firing[0].machine.reason}"
            tx.timeline.add_event("told", text, now, incident=incident.id, target=target)
        return told

    def is_ok(self, rule: str) -> bool:
        """Judged, and neither firing nor on the way there: missing data is not well."""
        name, _, target = rule.partition("@")
        mine = [machine for key, machine in self._machines.items() if key.rule == name and target in ("", key.target)]
        return bool(mine) and all(machine.phase == "ok" and machine.outcome == "ok" for machine in mine)

    def has_looked_at(self, rule: str, started_at: Millis, now: Millis) -> bool:
        """Whether what fires of a rule (`RULE`, `RULE@TARGET`) was seen since we began to see, or has had the time for it."""
        name, _, of = rule.partition("@")
        return now - started_at >= _FIRST_LOOK or all(
            machine.seen > started_at
            for key, machine in self._machines.items()
            if key.rule == name and of in ("", key.target) and machine.is_firing
        )

    def remind(self, tx: Transaction, target: str, now: Millis) -> bool:
        """Tells people that the target's incident is still critical, when it is time for that; True when it was.

        Not when somebody has acknowledged it, while a plan is at work, and of what is silenced."""
        incident = self._journal.incidents.find_open(target)
        if incident is None or not (wait := _reminder_pause(self._config.remind, incident)):
            return False
        if now - (incident.reminded or incident.opened) < wait or self._journal.runs.list_unfinished(target):
            return False
        firing = [
            one
            for one in list_firing(self._config, self._machines, self._journal, incident)
            if one.check.level == "crit" and not self._is_silenced(one.check, now)
        ]
        since = min((one.since for one in firing), default=now)
        if now - max(since, incident.reminded or 0) < wait:
            return False
        how = f"still critical after {format_duration(now - since)}"
        # Where messages of it wait, one more helps nobody.
        waiting = {one.channel for one in self._journal.messages.list_undelivered(incident.id) if not one.refused}
        news = IncidentNews(
            [self._describe(one, incident, how, now)._replace(told_by=None) for one in firing],
            notes=(f"nobody has acknowledged it: trading-watchdog ack {incident.id}",),
        )
        self._messenger.tell_news(tx, target, news, now, without=waiting)
        tx.incidents.note_reminder(incident.id, now, counts=True)
        tx.timeline.add_event("reminded", f"people were reminded: {how}", now, incident=incident.id, target=target)
        return True

    def escalate(self, tx: Transaction, target: str, now: Millis) -> bool:
        """Tells a further channel that nobody has acknowledged the target's incident, once and when it is time; True when it was.

        Not of what is silenced. A plan at work is no reason to wait: it may be one that asks people."""
        incident, said = self._journal.incidents.find_open(target), self._config.escalation_of(target)
        if incident is None or said is None or incident.severity != "crit" or incident.acked or incident.escalated:
            return False
        if now - incident.opened < said.after:
            return False
        firing = [
            one
            for one in list_firing(self._config, self._machines, self._journal, incident)
            if one.check.level == "crit" and not self._is_silenced(one.check, now)
        ]
        at_work = self._journal.runs.list_unfinished(target)
        told = [
            trip
            for trip in self._journal.incidents.list_trips(incident.id)
            if trip.level == "crit" and not trip.silenced and (trip.cleared is None or at_work)
        ]
        since = min((trip.t for trip in told), default=now)
        if (firing or at_work) and self._ended_silence(incident, since):  # people first heard of it then
            since = incident.reminded or since
        if now - since < said.after or not (firing or at_work):
            return False
        channels = [name for name in said.to if name in self._config.channels]
        how = f"nobody has acknowledged it for {format_duration(now - since)}"
        lines = self._describe_now(incident, firing, how, now)
        message = Message(
            "crit",
            f"{target}: {incident.title.partition(': ')[0]}: {how}",
            lines,
            incident.id,
            opens=(incident_topic(incident.id), escalation_topic(incident.id)),
        )
        self._messenger.enqueue(tx, message, channels, now)
        tx.incidents.note_escalation(incident.id, now)
        text = f"{how}: {', '.join(channels) or 'no channel'} told"
        tx.timeline.add_event("escalated", text, now, incident=incident.id, target=target)
        return True

    def _ended_silence(self, incident: Incident, since: Millis) -> bool:
        """Whether people heard of it only at the end of a silence."""
        return incident.reminded is not None and incident.reminders == 0 and incident.reminded > since

    def _describe_now(self, incident: Incident, firing: Sequence[Firing], how: str, now: Millis) -> tuple[str, ...]:
        trips = [self._describe(one, incident, how, now)._replace(told_by=None) for one in firing]
        said = IncidentNews(trips).message(incident.target, incident.id).lines if trips else (incident.title,)
        return (
            *said,
            *describe_plans_at_work(self._journal, incident.target),
            f"on it: trading-watchdog ack {incident.id}",
        )

    def describe_incident(self, number: int, channel: str, now: Millis) -> Message | None:
        """What is so now, for a channel that messages of the incident did not reach; None: it has nothing to hear any more."""
        incident = self._journal.incidents.find_incident(number)
        if incident is None:
            return None
        if incident.closed is not None:
            last = self._journal.messages.last_sent(channel, number)
            if last is None or last >= incident.closed or now - incident.closed > _CLOSED_IS_NEWS:
                return None
            lasted = format_duration(incident.closed - incident.opened)
            title = f"{incident.target}: incident {number} closed after {lasted}"
            late = f"{format_duration(now - incident.closed)} ago; messages before this one did not arrive here"
            return Message("info", title, (incident.title, late), number)
        trips = [
            self._describe(one, incident, "fires", now)
            for one in list_firing(self._config, self._machines, self._journal, incident)
            if not self._is_silenced(one.check, now)
        ]
        mine = [
            one for one in trips if channel in self._messenger.channels_for(one.level, one.channels, incident.target)
        ]
        topic = incident_topic(number)
        if not mine and channel not in self._messenger.channels_told([topic]):
            return None
        said = IncidentNews(mine).message(incident.target, number)
        stays = [*self._describe_left(incident), "messages before this one did not arrive here", describe_place(number)]
        lines = [
            *(said.lines or (f"nothing fires now; {incident.title}",)),
            *describe_plans_at_work(self._journal, incident.target),
            *describe_latch(self._journal, incident.target, now),
            *stays,
        ]
        title = f"{said.title} (incident {number})" if mine else f"{incident.target}: incident {number} is open"
        severity = said.severity if mine else "warn"
        return Message(severity, title, tuple(lines), number, opens=(topic,), about=tuple(stays))


def _reminder_pause(first: Millis | None, incident: Incident) -> Millis:
    """How long people hear nothing of an incident that is critical: twice as long each time, up to a day; 0: for ever."""
    if first is None or incident.severity != "crit" or incident.acked is not None:
        return 0
    return max(first, min(_MAX_REMINDER_PAUSE, first << min(incident.reminders, 20)))
