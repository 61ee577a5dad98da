"""What a round of judging means: incidents opened, joined and closed; plans queued or refused; people told.

Everything here happens inside the caller's one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from watchdog import guard
from watchdog.actions.plan import write_plan
from watchdog.config import Config
from watchdog.guard import Allowed, may_act
from watchdog.incidents import Change, Machine
from watchdog.journal import Journal, incidents, outbox, runs, stays
from watchdog.model import Millis, Severity, Target, Verdict
from watchdog.pipeline.closing import Recovery, closed, recovered
from watchdog.rules import Check, fill, say_labels
from watchdog.telemetry import Telemetry, log
from watchdog.units import show_duration

_WEIGHT = {"info": 0, "warn": 1, "crit": 2}
_WEEK = 7 * 86_400_000

LOG = "log"
"""Channel that always exists: without any other, messages go to the log."""


class Facts(NamedTuple):
    booted: Millis
    """When this daemon began to see."""
    blind: str | None
    """Why the target cannot be seen at the moment."""


class Ledger:
    """Writes down what changed, and asks the guard what may be done about it."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        telemetry: Telemetry,
        query: Callable[[str, Millis], Sequence[Mapping[str, object]]],
    ) -> None:
        """`query`: what the templates of Prometheus's alerts may ask."""
        self._query = query
        self._config = config
        self._journal = journal
        self._telemetry = telemetry
        self._refused: dict[tuple[int, str], str] = {}
        """(incident, plan) → the reason that people were told."""

    def forget_refusals(self, incident: int | None = None) -> None:
        """Of an incident that is over; or of all, when what was told last did not reach the journal."""
        self._refused = {key: code for key, code in self._refused.items() if incident not in (None, key[0])}

    def open_targets(self) -> set[str]:
        return set(incidents.open_targets(self._journal))

    def tell(
        self,
        db: sqlite3.Connection,
        severity: Severity,
        title: str,
        lines: Iterable[str],
        now: Millis,
        *,
        incident: int | None = None,
        channels: Collection[str] | None = None,
        weight: Severity | None = None,
    ) -> None:
        """A message to every channel that wants messages of this weight.

        `weight`: what is filtered by when it is more than the severity; who was told of a trip is told of its end.
        """
        heard = severity if weight is None or _WEIGHT[weight] < _WEIGHT[severity] else weight
        outbox.post(db, self._who_hears(heard, channels), severity, title, lines, now, incident)

    def _who_hears(self, weight: Severity, channels: Collection[str] | None) -> list[str]:
        known = self._config.channels
        chosen = [name for name in (known if channels is None else channels) if name in known]
        return [name for name in chosen if _WEIGHT[known[name].from_] <= _WEIGHT[weight]] if known else [LOG]

    def record(
        self, db: sqlite3.Connection, changes: Sequence[tuple[Check, Change, Verdict]], now: Millis
    ) -> dict[str, list[Recovery]]:
        """Changes of machines as incidents, timeline and messages. Returns the targets concerned, with what recovered and is
        still to be told: `close_if_over` does."""
        gone: dict[str, list[tuple[Check, Change, Verdict]]] = {}
        well: dict[str, list[Recovery]] = {check.target: [] for check, _, _ in changes}
        worst = {key for _, (key, kind, *_), _ in changes if kind == "tripped" and key.level == "crit"}
        # Critical ones first: of a rule that trips at both levels at once, people hear once.
        for check, change, verdict in sorted(
            changes, key=lambda one: one[1].kind == "tripped" and one[0].level == "warn"
        ):
            incident = incidents.current(self._journal, check.target)
            if change.kind == "tripped":
                told = check.level == "crit" or change.key._replace(level="crit") not in worst
                self._tripped(db, check, change, verdict, incident, now, told=told)
                continue
            if change.kind == "gone":
                gone.setdefault(check.rule, []).append((check, change, verdict))
                if incident is not None:
                    incidents.clear(db, incident.id, check.rule, check.level, verdict.labels, now)
            if change.kind == "cleared" and incident is not None:
                incidents.clear(db, incident.id, check.rule, check.level, verdict.labels, now)
                if not self.silenced(check.rule, now):
                    fired = now - _tripped_at(self._journal, incident, check)
                    channels = self._config.rules[check.rule].notify
                    well[check.target].append(Recovery(check.rule, check.level, channels, verdict.reason, fired))
            log.info("%s: %s (%s) %s: %s", check.target, check.rule, check.level, change.kind, change.reason)
            text = f"{check.rule} ({check.level}) {_WORDS[change.kind]}: {change.reason}"
            if incident is not None:
                incidents.event(db, change.kind, text, now, incident=incident.id, target=check.target)
        for rule, those in gone.items():
            self._gone(db, rule, those, now)
        return well

    def _recovered(
        self, db: sqlite3.Connection, target: str, those: Sequence[Recovery], incident: int, now: Millis
    ) -> None:
        """One message a channel, with what that channel heard of."""
        heard: dict[str, list[Recovery]] = {}
        for one in those:
            for channel in self._who_hears(one.level, one.channels):
                heard.setdefault(channel, []).append(one)
        for channel, mine in heard.items():
            title, lines = recovered(mine)
            outbox.post(db, [channel], "info", f"{target}: {title}", lines, now, incident)

    def _gone(
        self, db: sqlite3.Connection, rule: str, those: Sequence[tuple[Check, Change, Verdict]], now: Millis
    ) -> None:
        """Label sets that have left: one message a rule, however many they are."""
        target = those[0][0].target
        fired = [check.level for check, change, _ in those if change.machine.fires]
        weight: Severity = "info" if not fired else "crit" if "crit" in fired else "warn"
        incident = incidents.current(self._journal, target)
        lines = [
            f"{words}: no value for {show_duration(lasting)}{', it was firing' if firing else ''}"
            for words, (lasting, firing) in _by_labels(those).items()
        ]
        self.tell(
            db,
            "info",
            f"{target}: {rule} is no longer judged for what is gone",
            lines[:20],
            now,
            weight=weight,
            incident=incident.id if incident is not None and fired else None,
            channels=self._config.rules[rule].notify,
        )

    def _tripped(
        self,
        db: sqlite3.Connection,
        check: Check,
        change: Change,
        verdict: Verdict,
        incident: incidents.Incident | None,
        now: Millis,
        *,
        told: bool,
    ) -> None:
        rule = self._config.rules[check.rule]
        if incident is None:
            number = incidents.open_incident(db, check.target, check.level, f"{check.rule}: {change.reason}", now)
        else:
            number = incident.id
            if check.level == "crit":
                incidents.worsen(db, number)
        incidents.trip(db, number, check.rule, check.level, verdict.labels, change.reason, check.plan, now)
        incidents.event(
            db,
            "tripped",
            f"{check.rule} ({check.level}) tripped: {change.reason}",
            now,
            incident=number,
            target=check.target,
        )
        self._telemetry.trips.labels(check.rule, "critical" if check.level == "crit" else "warning").inc()
        log.warning("%s: %s (%s) tripped: %s", check.target, check.rule, check.level, change.reason)
        if not told or self.silenced(check.rule, now):
            return
        own = tuple(rule.labels.items())
        lines = [] if rule.summary is None else [fill(rule.summary, check, verdict, change.lasting, own)]
        if (alert := self._config.alerts.get(check.rule)) is not None:
            lines += alert.lines(verdict.labels, verdict.value, lambda text: self._query(text, now))
        lines.append(change.reason)
        if labels := dict(verdict.labels) | rule.labels:
            lines.append(say_labels(labels))
        if check.plan is not None:
            plan = self._config.plans[check.plan]
            lines.append(f"plan: {check.plan} ({plan.kind})")
        if rule.runbook is not None:
            lines.append(rule.runbook)
        if incident is None:  # the head of the thread; what follows belongs to the same incident
            lines.append(f"incident {number}: trading-watchdog incidents {number}")
        self.tell(
            db, check.level, f"{check.target}: {check.rule} tripped", lines, now, incident=number, channels=rule.notify
        )

    def decide(
        self,
        db: sqlite3.Connection,
        target: str,
        judged: Sequence[tuple[Check, Machine, Verdict]],
        facts: Facts,
        now: Millis,
    ) -> set[str]:
        """Queues the plans that are wanted and allowed; halts first, then file order."""
        incident = incidents.current(self._journal, target)
        if incident is None:
            return set()
        wanted = [
            (check, machine)
            for check, machine, verdict in judged
            if check.level == "crit"
            and check.plan
            and machine.fires
            and (verdict.outcome == "bad" or (machine.lost and check.missing.then == "crit"))
        ]
        wanted.sort(key=lambda pair: self._config.plans[pair[0].plan or ""].kind != "halt")
        worked = set()
        for check, machine in wanted:
            assert check.plan is not None
            level = self._next_level(incident.id, check.plan, machine)
            if level is None:
                continue
            verdict = self._ask(
                target, check.plan, incident.id, machine.seen > facts.booted or machine.lost, facts, now
            )
            if isinstance(verdict, Allowed):
                self._refused.pop((incident.id, check.plan), None)
                self.queue(db, target, check.plan, f"rule {check.rule}", now, incident=incident.id, level=level)
                worked.add(target)
            elif self._refused.get((incident.id, check.plan)) != verdict.code:
                self._refused[incident.id, check.plan] = verdict.code
                incidents.event(
                    db, "refused", f"{check.plan} refused: {verdict.why}", now, incident=incident.id, target=target
                )
                log.warning("%s: plan %s refused: %s", target, check.plan, verdict.why)
                lines = [verdict.why]
                if verdict.code == "latched":
                    lines.append(f'trading-watchdog resume {target} --reason "…"')
                self.tell(db, "crit", f"{target}: {check.plan} is not started", lines, now, incident=incident.id)
        return worked

    def _next_level(self, incident: int, plan: str, machine: Machine) -> int | None:
        """Where a wanted plan starts; None when it is at work, or has done for this trip what it can do."""
        mine = [
            run
            for run in runs.of_incident(self._journal, incident)
            if run.plan == plan and run.part == "ladder" and run.outcome != "not-needed"
        ]
        if not mine:
            return 0
        last = mine[-1]
        if last.ended is None or any(run.ended is None for run in mine):
            return None
        # What tripped after the last step of a repair that helped is a relapse, even when its watch did not see it.
        answered = last.acted if last.outcome == "proven" and last.kind == "repair" else last.ended
        if answered > machine.since:
            return None
        if last.kind == "halt":
            return 0
        # It helped, and then the rule tripped again: no level is repeated within an incident.
        following = max((run.level for run in mine if run.outcome != "denied"), default=-1) + 1
        return following if following < len(self._config.plans[plan].levels) else None

    def silenced(self, rule: str, now: Millis) -> bool:
        """Not told, still acted upon."""
        return stays.standing(self._journal, "silence", rule, now) is not None

    def held(self, target: str, now: Millis) -> str | None:
        """Why rules start no repair of this target now: a person's hold, or its maintenance."""
        hold = stays.standing(self._journal, "hold", target, now)
        if hold is not None:
            return f"{hold.who}, for another {show_duration(hold.until - now)}"
        known = self._config.targets.get(target)
        return next(
            (f"maintenance: {window.why}" for window in (known.maintenance if known else ()) if window.now(now)), None
        )

    def _ask(
        self, target: str, plan: str, incident: int, fresh: bool, facts: Facts, now: Millis
    ) -> guard.Allowed | guard.Refused:
        standing = incidents.standing(self._journal, target, now)
        latched = None
        if standing.latched is not None:
            latched = f"{show_duration(now - standing.latched)} ago ({standing.latch_why})"
        hold = stays.standing(self._journal, "hold", target, now)
        known = guard.Facts(
            held=self.held(target, now),
            halts_held=hold is not None and hold.halts,
            latched=latched,
            blind=facts.blind,
            fresh=fresh,
            unsettled=standing.unsettled,
            halted=any(run.kind == "halt" for run in runs.of_incident(self._journal, incident)),
            past=[
                guard.Past(run.kind, run.queued, run.ended, run.incident)
                for run in runs.recent(self._journal, target, now - _WEEK)
            ],
        )
        return may_act(self._config.plans[plan].kind, self._config.targets[target], known, now)

    def queue(
        self,
        db: sqlite3.Connection,
        target: str,
        plan: str,
        by: str,
        now: Millis,
        *,
        incident: int | None,
        level: int = 0,
        part: runs.Part = "ladder",
    ) -> int:
        """A plan run, with the plan's text and the target's place as they are now."""
        known = self._config.plans[plan]
        kind = known.kind if part == "ladder" else "repair"  # a halt goes ahead of the way back, too
        run = runs.queue(
            db,
            incident=incident,
            target=target,
            plan=plan,
            kind=kind,
            text=write_plan(known),
            place=place_of(self._config.targets[target]),
            by=by,
            now=now,
            level=level,
            part=part,
        )
        incidents.event(
            db,
            "queued",
            f"plan {plan} ({kind if part == 'ladder' else part}) for {by}",
            now,
            incident=incident,
            run=run,
            target=target,
        )
        log.warning("%s: plan %s (%s) for %s", target, plan, kind if part == "ladder" else part, by)
        return run

    def close_if_over(
        self, db: sqlite3.Connection, target: str, fires: bool, now: Millis, well: Sequence[Recovery] = ()
    ) -> bool:
        """An incident is over when nothing fires and no plan is at work or on watch. True when it was closed.

        That of a target that no file names any more is over as well: nobody judges its rules. `well` is told either way.
        """
        incident = incidents.current(self._journal, target)
        if incident is None:
            return False
        if fires or runs.unended(self._journal, target):
            self._recovered(db, target, well, incident.id, now)
            return False
        incidents.close(db, incident.id, now)
        self.forget_refusals(incident.id)
        known = target in self._config.targets
        title, lines = closed(self._journal, incident, well, now, configured=known)
        said = f"closed after {show_duration(now - incident.opened)}{'' if known else ': its target is no longer configured'}"
        incidents.event(db, "closed", said, now, incident=incident.id, target=target)
        log.log(20 if known else 30, "%s: incident %d %s", target, incident.id, said)
        self.tell(
            db,
            "info" if known else "warn",
            f"{target}: {title}",
            lines,
            now,
            incident=incident.id,
            weight=incident.severity,
        )
        return True

    def blind(self, db: sqlite3.Connection, is_blind: bool, now: Millis) -> None:
        """No source delivers any more, or one does again."""
        title = "blind: no source delivers" if is_blind else "sources deliver again"
        log.log(40 if is_blind else 20, "%s", title)
        lines = ["no rule is judged and no repair starts until one does"] if is_blind else []
        self.tell(db, "crit" if is_blind else "info", title, lines, now, weight="crit")
        incidents.event(db, "blind", title, now)

    def resumed(self, db: sqlite3.Connection, target: str, who: str, now: Millis) -> None:
        """Ends what was open, in a person's name."""
        incident = incidents.current(self._journal, target)
        number = None if incident is None else incident.id
        incidents.event(db, "resumed", f"resumed by {who}", now, incident=number, target=target)
        log.warning("%s: resumed by %s", target, who)
        if number is not None:
            incidents.close(db, number, now)
            self.forget_refusals(number)
        self.tell(db, "info", f"{target}: resumed", [who], now, incident=number, weight="warn")


_WORDS = {
    "cleared": "recovered",
    "lost": "cannot be judged",
    "back": "can be judged again",
    "dropped": "not tripped",
    "gone": "forgotten",
}


def _by_labels(those: Sequence[tuple[Check, Change, Verdict]]) -> dict[str, tuple[Millis, bool]]:
    """Label set → how long it is gone, and whether one of its thresholds fired."""
    found: dict[str, tuple[Millis, bool]] = {}
    for _, change, verdict in those:
        words = say_labels(dict(verdict.labels))
        lasting, fired = found.get(words, (0, False))
        found[words] = max(lasting, change.lasting), fired or change.machine.fires
    return found


def place_of(target: Target) -> str:
    """Where the bot is, as the journal keeps it with each run."""
    return target.model_dump_json(include={"unit", "repo", "process"})


def _tripped_at(journal: Journal, incident: incidents.Incident, check: Check) -> Millis:
    return max(
        (trip.t for trip in incidents.trips(journal, incident.id) if trip.rule == check.rule), default=incident.opened
    )
