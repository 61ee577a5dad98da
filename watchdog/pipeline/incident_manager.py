"""What a round of judging means: incidents opened, joined and closed; plans queued or refused; people told.

Everything here happens inside the caller's one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from watchdog.config import Config
from watchdog.core.model import Fact, Labels, Message, Millis, Verdict
from watchdog.core.telemetry import Telemetry, log
from watchdog.core.units import format_duration
from watchdog.journal import incidents, runs
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.topics import held_topic, latch_topic, refusal_topic
from watchdog.notifiers.folding import CLOSED
from watchdog.pipeline.alerts import AlertBook
from watchdog.pipeline.check_tracker import key_of, keys_by_check
from watchdog.pipeline.firing import FiringNews, describe_recovery, describe_trip, plan_at_work_for
from watchdog.pipeline.guard_inputs import find_hold_reason, gather_guard_inputs
from watchdog.pipeline.halt_circumstances import record_circumstances
from watchdog.pipeline.incident_messages import (
    DescribeLeft,
    closing_message,
    incident_title,
    list_open_trips,
    outcome_chart,
    topics_of,
)
from watchdog.pipeline.incident_news import IncidentNews, PlanDecision, describe_decision, describe_departure
from watchdog.pipeline.messenger import Messenger
from watchdog.pipeline.next_level import next_level
from watchdog.pipeline.removed_rules import describe_end
from watchdog.plans.models import Halt, Repair, name_and_kind, serialize_plan
from watchdog.rules import Check, guard
from watchdog.rules.guard import Allowed, may_start_plan
from watchdog.rules.state_machine import MachineState, StateKey, Transition


class Visibility(NamedTuple):
    started_at: Millis
    """When this daemon began to see."""
    blind_reason: str | None
    """Why the target cannot be seen at the moment."""


class IncidentManager:
    """Writes down what changed, and asks the guard what may be done about it."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        telemetry: Telemetry,
        query: Callable[[str, str, Millis], Sequence[Mapping[str, object]]],
        machines: Mapping[StateKey, MachineState],
        describe_left: DescribeLeft = lambda _: (),
    ) -> None:
        """`query(text, target, now)`: what the templates of Prometheus's alerts may ask. `machines`: where each threshold
        stands, at any time."""
        self._query = query
        self._machines = machines
        self._describe_left = describe_left
        self._config = config
        self.messenger = Messenger(config, journal)
        self._journal = journal
        self._telemetry = telemetry
        self.firing = FiringNews(config, journal, self.messenger, query, machines, self.is_silenced, describe_left)
        """What people are told of what fires at the moment."""
        self.alerts = AlertBook(config, journal, self.messenger, query, machines)
        """The same for channels that are told states."""
        self._reported_refusals: dict[tuple[int, str], str] = {}
        """(incident, plan) → the reason that people were told."""

    def forget_refusals(self, incident: int | None = None) -> None:
        """Of an incident that is over; or of all, when what was told last did not reach the journal."""
        self._reported_refusals = {
            key: code for key, code in self._reported_refusals.items() if incident not in (None, key[0])
        }

    def targets_with_open_incident(self) -> set[str]:
        return set(self._journal.incidents.list_targets_with_open_incident())

    def notify(self, tx: Transaction, message: Message, now: Millis, *, without: Collection[str] = ()) -> None:
        """See `Messenger.notify`."""
        self.messenger.notify(tx, message, now, without=without)

    def record_changes(
        self,
        tx: Transaction,
        changes: Sequence[tuple[Check, Transition, Verdict]],
        now: Millis,
        *,
        is_blind: bool = False,
    ) -> defaultdict[str, IncidentNews]:
        """Changes of machines as incidents and timeline. Returns the targets concerned, with what is still to be told of them:
        `close_if_resolved` does. `is_blind`: people were told that no source delivers."""
        gone: dict[tuple[str, str], list[tuple[Check, Transition, Verdict]]] = {}
        trips: dict[int, dict[tuple[str, str, Labels], incidents.TripRecord]] = {}
        known: Mapping[tuple[str, str, str], Sequence[StateKey]] | None = None
        news = defaultdict(IncidentNews, {check.target: IncidentNews() for check, _, _ in changes})
        worst = {key for _, (key, kind, *_), _ in changes if kind == "tripped" and key.level == "crit"}
        # Critical ones first: of a rule that trips at both levels at once, people hear once.
        for check, change, verdict in sorted(
            changes, key=lambda one: one[1].kind == "tripped" and one[0].level == "warn"
        ):
            incident = self._journal.incidents.find_open(check.target)
            if change.kind == "tripped":
                circumstances = self._record_trip(tx, check, change, verdict, incident, now)
                if is_blind and change.machine.seen:
                    age = format_duration((now - change.machine.seen) // 1_000 * 1_000)
                    circumstances.append(f"no source delivers: by what was read {age} ago")
                told_once = check.level == "crit" or change.key._replace(level="crit") not in worst
                if told_once and not self.is_silenced(check, now):
                    trip = describe_trip(
                        *(check, verdict, change.duration, circumstances, self._config, self._journal),
                        *(self._journal.incidents.find_open(check.target), self._query, now),
                    )
                    known = keys_by_check(self._machines) if known is None else known
                    # Labels say which one it is: of a rule that has had only one they say nothing to people.
                    listed = (key.labels for key in known.get(key_of(check), ()))
                    if trip.labels and any(each not in ((), verdict.labels) for each in listed):
                        trip = trip._replace(about=(trip.labels, *trip.about))
                    news[check.target].trips.append(trip)
                continue
            record = None
            if incident is not None:
                if incident.id not in trips:
                    trips[incident.id] = list_open_trips(self._journal, incident.id)
                record = trips[incident.id].get((check.rule, check.level, verdict.labels))
            is_told = not self.is_silenced(check, now) and (record is None or not record.silenced)
            if change.kind == "gone":
                # What left because its source was taken away is told where somebody had been told that it is bad.
                if is_told and (change.machine.is_firing or change.duration >= check.forget_after):
                    gone.setdefault((check.rule, check.target), []).append((check, change, verdict))
                if incident is not None:
                    tx.incidents.clear_trip(incident.id, check.rule, check.level, verdict.labels, now)
            if change.kind == "cleared" and incident is not None:
                tx.incidents.clear_trip(incident.id, check.rule, check.level, verdict.labels, now)
                # While a plan is at work for the rule, its outcome is what people hear, or the end of the incident.
                at_work = plan_at_work_for(check, self._config, self._journal, incident.id)
                if is_told and at_work is None:
                    since = incident.opened if record is None else record.t
                    recovery = describe_recovery(check, change, verdict, self._config, now - since)
                    news[check.target].recoveries.append(recovery)
            said = (check.target, check.rule, check.level, change.kind, change.reason)
            tx.on_commit(log.info, "%s: %s (%s) %s: %s", *said)
            text = f"{check.rule} ({check.level}) {_CHANGE_TEXTS[change.kind]}: {change.reason}"
            if incident is not None:
                tx.timeline.add_event(change.kind, text, now, incident=incident.id, target=check.target)
        for (rule, target), changes_of_rule in gone.items():
            departure = describe_departure(rule, self._config.rule(rule, target).notify, changes_of_rule)
            news[target].departures.append(departure)
        return news

    def _record_trip(
        self,
        tx: Transaction,
        check: Check,
        change: Transition,
        verdict: Verdict,
        incident: incidents.Incident | None,
        now: Millis,
    ) -> list[str]:
        """Writes it down. Returns what stands beside the trip of a halt, a line each."""
        if incident is None:
            number = tx.incidents.open_incident(check.target, check.level, f"{check.rule}: {change.reason}", now)
        else:
            number = incident.id
            if check.level == "crit":
                tx.incidents.raise_to_critical(number)
        tx.incidents.add_trip(
            number,
            check.rule,
            check.level,
            verdict.labels,
            change.reason,
            check.plan,
            now,
            silenced=self.is_silenced(check, now),
        )
        tx.timeline.add_event(
            "tripped",
            f"{check.rule} ({check.level}) tripped: {change.reason}",
            now,
            incident=number,
            target=check.target,
        )
        severity = "critical" if check.level == "crit" else "warning"
        tx.on_commit(self._telemetry.trips.labels(check.rule, check.target, severity).inc)
        tx.on_commit(log.warning, "%s: %s (%s) tripped: %s", check.target, check.rule, check.level, change.reason)
        self._rename(tx, check.target)
        return record_circumstances(tx, check, number, self._config, self._machines, self._journal, now)

    def _rename(self, tx: Transaction, target: str) -> None:
        if (incident := self._journal.incidents.find_open(target)) is not None:
            tx.incidents.rename_incident(incident.id, incident_title(self._journal, incident))

    def start_plans(
        self,
        tx: Transaction,
        target: str,
        judged: Sequence[tuple[Check, MachineState, Verdict]],
        visibility: Visibility,
        news: IncidentNews,
        now: Millis,
    ) -> set[str]:
        """Queues the plans that are wanted and allowed; halts first, then file order. What became of them is added to `news`."""
        incident = self._journal.incidents.find_open(target)
        if incident is None:
            return set()
        wanted = [
            (check, machine, plan)
            for check, machine, verdict in judged
            if check.level == "crit"
            and (plan := self._config.plan(check.plan, target)) is not None
            and machine.is_firing
            and (verdict.outcome == "bad" or (machine.lost and check.missing.then == "crit"))
        ]
        wanted.sort(key=lambda one: one[2].kind != "halt")
        affected = set()
        for check, machine, plan in wanted:
            assert check.plan is not None
            past = self._journal.runs.list_for_incident(incident.id)
            level = next_level(past, check.plan, len(plan.levels), machine)
            if level is None:
                continue
            verdict = self._ask_guard(
                target, plan, incident.id, machine.seen > visibility.started_at or machine.lost, visibility, now
            )
            if isinstance(verdict, Allowed):
                self._reported_refusals.pop((incident.id, check.plan), None)
                news.decisions.append(self._describe_start(target, check.plan, level))
                self.queue_run(tx, target, check.plan, f"rule {check.rule}", now, incident=incident.id, level=level)
                self._rename(tx, target)
                affected.add(target)
            elif self._reported_refusals.get((incident.id, check.plan)) != verdict.code:
                self._reported_refusals[incident.id, check.plan] = verdict.code
                tx.timeline.add_event(
                    "refused", f"{check.plan} refused: {verdict.reason}", now, incident=incident.id, target=target
                )
                tx.on_commit(log.warning, "%s: plan %s refused: %s", target, check.plan, verdict.reason)
                lines = [verdict.reason]
                if verdict.code == "latched":
                    lines.append(f'trading-watchdog resume {target} --reason "…"')
                topic = refusal_topic(target, check.plan)
                what = f"{check.plan} is not started"
                news.decisions.append(
                    PlanDecision(check.plan, "crit", what, True, tuple(lines), audience="crit", opens=(topic,))
                )
        return affected

    def notify_start(self, tx: Transaction, target: str, plan: str, level: int, who: str, now: Millis) -> None:
        """A person wants a plan, which is about to be queued: people hear who, and what it does first."""
        decision = self._describe_start(target, plan, level, approved=True)
        decision = decision._replace(lines=(who, *decision.lines))
        self.messenger.tell_news(tx, target, IncidentNews(decisions=[decision]), now)

    def _describe_start(self, target: str, plan: str, level: int, *, approved: bool = False) -> PlanDecision:
        at_work = self._journal.runs.list_unfinished(target)
        waits_for = at_work[0].plan if at_work else None
        place = self._config.targets[target]
        return describe_decision(target, plan, self._plan_for(plan, target), level, place, waits_for, approved=approved)

    def _plan_for(self, name: str, target: str) -> Halt | Repair:
        """As it is for that target. Raises KeyError."""
        plan = self._config.plan(name, target)
        if plan is None:
            raise KeyError(f"there is no plan {name} for {target}")
        return plan

    def is_silenced(self, check: Check, now: Millis) -> bool:
        """Not told, still acted upon: the rule, or the rule for this target."""
        subjects = (check.rule, f"{check.rule}@{check.target}")
        return any(self._journal.suppressions.find_active("silence", each, now) is not None for each in subjects)

    def hold_reason(self, target: str, now: Millis) -> str | None:
        """Why rules start no repair of this target now; None: nothing holds it."""
        return find_hold_reason(self._journal, self._config.targets.get(target), target, now)

    def _ask_guard(
        self, target: str, plan: Halt | Repair, incident: int, has_fresh_data: bool, visibility: Visibility, now: Millis
    ) -> guard.Allowed | guard.Refused:
        known = gather_guard_inputs(
            self._journal,
            target,
            self._config.targets[target],
            incident,
            now,
            hold_reason=self.hold_reason(target, now),
            blind_reason=visibility.blind_reason,
            has_fresh_data=has_fresh_data,
        )
        return may_start_plan(plan.kind, self._config.targets[target], known, now)

    def queue_run(
        self,
        tx: Transaction,
        target: str,
        plan: str,
        by: str,
        now: Millis,
        *,
        incident: int | None,
        level: int = 0,
        part: runs.RunPart = "ladder",
    ) -> int:
        """A plan run, with the plan's text and the target's place as they are now."""
        known = self._plan_for(plan, target)
        kind = known.kind if part == "ladder" else "repair"  # a halt goes ahead of the way back, too
        run = tx.runs.queue_run(
            incident=incident,
            target=target,
            plan=plan,
            kind=kind,
            text=serialize_plan(known),
            place=self._config.targets[target].location(),
            by=by,
            now=now,
            level=level,
            part=part,
        )
        tx.timeline.add_event(
            "queued",
            f"plan {name_and_kind(plan, kind if part == 'ladder' else part)} for {by}",
            now,
            incident=incident,
            run=run,
            target=target,
        )
        tx.on_commit(
            log.warning, "%s: plan %s for %s", target, name_and_kind(plan, kind if part == "ladder" else part), by
        )
        return run

    def close_if_resolved(
        self,
        tx: Transaction,
        target: str,
        fires: bool,
        now: Millis,
        news: IncidentNews | None = None,
        closed: list[Message] | None = None,
    ) -> bool:
        """An incident is over when nothing fires and no plan is at work or on watch. True when it was closed.

        That of a target that no file names any more is over as well: nobody judges its rules. `news` is told either way; the end
        itself by `Messenger.tell_ends`, where `closed` collects it.
        """
        incident, news = self._journal.incidents.find_open(target), news or IncidentNews()
        if incident is None or fires or self._journal.runs.list_unfinished(target):
            self.messenger.tell_news(tx, target, news, now)
            return False
        self._rename(tx, target)  # a plan that came to nothing no longer names it
        incident = self._journal.incidents.find_open(target) or incident
        tx.incidents.close_incident(incident.id, now)
        self.forget_refusals(incident.id)
        known = target in self._config.targets
        ends = topics_of(self._journal, incident)
        told = self.messenger.channels_told(ends)
        left = self._describe_left(incident)
        title, lines = closing_message(self._journal, incident, news, left, now, configured=known)
        why = describe_end(self._journal, incident, configured=known)
        description = f"closed after {format_duration(now - incident.opened)}{why}"
        tx.timeline.add_event("closed", description, now, incident=incident.id, target=target)
        tx.on_commit(log.log, 30 if why else 20, "%s: incident %d %s", target, incident.id, description)
        is_latched = self._journal.targets.get_state(target, now).latched is not None
        message = Message(
            "warn" if why else "info",
            f"{target}: {title}",
            tuple(lines),
            incident.id,
            opens=(latch_topic(target),) if is_latched else (),
            ends=ends,
            chart=outcome_chart(self._journal, incident, self._config, now),
            facts=(Fact(target, CLOSED, "info", 1, title),),
        )
        if closed is None:
            self.notify(tx, message, now)
        else:
            closed.append(message)
        for departure in news.departures:  # for those who hear nothing of the incident
            others = set(self.messenger.channels_for(departure.level, departure.channels, target)).difference(told)
            self.messenger.enqueue(tx, IncidentNews(departures=[departure]).message(target, None), sorted(others), now)
        return True

    def record_resumed(self, tx: Transaction, target: str, who: str, now: Millis, still: Sequence[str] = ()) -> None:
        """Ends what was open, in a person's name. `still`: how the target is now, a line each."""
        incident = self._journal.incidents.find_open(target)
        number = None if incident is None else incident.id
        tx.timeline.add_event("resumed", f"resumed by {who}", now, incident=number, target=target)
        tx.on_commit(log.warning, "%s: resumed by %s", target, who)
        ends: tuple[str, ...] = (latch_topic(target), held_topic(target))
        if incident is not None:
            tx.incidents.close_incident(incident.id, now)
            self.forget_refusals(number)
            ends += topics_of(self._journal, incident)
        message = Message(
            "info", f"{target}: resumed", (who, *still), number, filter_severity="warn", ends=ends, target=target
        )
        self.notify(tx, message, now)


_CHANGE_TEXTS = {
    "cleared": "recovered",
    "lost": "cannot be judged",
    "back": "can be judged again",
    "dropped": "not tripped",
    "gone": "forgotten",
}
