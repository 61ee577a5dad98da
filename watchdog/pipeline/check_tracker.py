"""What is remembered of each check between two rounds, so that a rule that is plainly well costs next to nothing.

A check is clearly ok when all of its machines are ok and its new values are on the good side of the limit: then `judge` and
`advance` would only note the time of the round. That note is kept here, once for all label sets, and `flush` writes it
into the machines when somebody wants to see them or something moves. So nothing is left out, it is only done later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence

from watchdog import rules
from watchdog.config import Config
from watchdog.core.model import Labels, Millis, Verdict
from watchdog.journal.incidents import TripRecord
from watchdog.pipeline.parked_label_sets import ParkedLabelSets, label_sets_to_forget
from watchdog.promql import InstantVector
from watchdog.rules import MAX_LABEL_SETS, Check, Patience, Reading, Rule
from watchdog.rules.state_machine import MachineConfig, MachineState, StateKey, Transition, advance, skip_gap
from watchdog.tsdb.labels import SOURCE_LABEL

ALL_SOURCES = ""
"""Among the sources whose news were not judged yet: whatever holds, everything is looked at."""


class CheckTracker:
    """One check and its machines."""

    __slots__ = (
        "_flushed",
        "_judged_at",
        "_names",
        "_parked",
        "_reading",
        "check",
        "clearly_ok_at",
        "has_display_kpi",
        "has_only",
        "is_crowded",
        "machine_config",
        "machine_keys",
        "present",
        "reading_key",
        "sources",
    )

    clearly_ok_at: Millis
    """The last round at which it was clearly ok; 0: it is not."""
    machine_keys: dict[StateKey, None]
    """Of its machines."""
    is_crowded: bool
    """It has had more label sets than are judged each for itself."""
    reading_key: tuple[str, str]
    """What is evaluated for it, and for which target."""
    has_only: bool
    """Now and then it is not judged."""
    sources: Collection[str]
    """What its target sees."""
    has_display_kpi: bool
    """Another number than the one that is judged is shown."""
    present: tuple[Labels, ...] | None
    """The label sets that had a value when last any had one; None: none had since we began to see."""

    def __init__(self, check: Check, sources: Collection[str]) -> None:
        self.check, self.machine_config, self.sources = check, machine_config(check), sources
        self.reading_key = check.query, check.target
        self.has_only, self.has_display_kpi = False, bool(check.display_query)
        self.machine_keys = {}
        self.present = None
        self.is_crowded = False
        self._parked = ParkedLabelSets()
        self._judged_at: Millis = 0
        self.clearly_ok_at = 0
        self._reading: Reading | None = None
        self._names: tuple[Labels, ...] = ()
        self._flushed = True

    def run(
        self,
        reading: Reading,
        machines: MutableMapping[StateKey, MachineState],
        before: MutableMapping[StateKey, MachineState | None],
        now: Millis,
    ) -> tuple[list[Verdict], list[tuple[Transition, Verdict]]]:
        """One round: verdicts on the label sets that stay, and what changed. `before` is told what each machine was."""
        self._flush_clearly_ok(machines)
        self._judged_at = now
        verdicts: list[Verdict] = []
        changes: list[tuple[Transition, Verdict]] = []
        for key in label_sets_to_forget(self.check, reading, machines, self.machine_keys):
            self.is_crowded = True
            before.setdefault(key, machines.get(key))
            self._forget(key, machines)
        for verdict in self._judge(reading, machines, now):
            key = StateKey.of(verdict)
            machine = machines.get(key)
            before.setdefault(key, machine)
            if machine is None:
                self.machine_keys[key] = None
                machine = MachineState(since=now, last=now)
            machines[key], new = self._advance(machine, verdict, now)
            changes += [(change, verdict) for change in new]
            if should_forget(self.check, verdict, machines[key], new):
                self._forget(key, machines)
            else:
                verdicts.append(verdict)
        self._parked.settle()
        self._update(reading, machines, now)
        return verdicts, changes

    def _forget(self, key: StateKey, machines: MutableMapping[StateKey, MachineState]) -> None:
        del machines[key], self.machine_keys[key]
        self._parked.forget(key)

    def _judge(self, reading: Reading, machines: Mapping[StateKey, MachineState], now: Millis) -> Iterator[Verdict]:
        """One verdict for each label set. When the last one is forgotten on the way, the rule stands for itself again."""
        if reading.values:
            self.present = rules.label_sets(self.check, reading.values)
            self.is_crowded |= len(reading.values) > MAX_LABEL_SETS and len(set(self.present)) > MAX_LABEL_SETS
            known = [key.labels for key in self.machine_keys if not self._parked.rests(key, now)]
        else:  # what was gone while there were others is lost with them now
            known = [key.labels for key in self.machine_keys]
        yield from judge_with_siblings(self.check, reading, machines, known, now)
        if not self.machine_keys:
            yield from rules.judge(self.check, reading, now)

    def _advance(self, machine: MachineState, verdict: Verdict, now: Millis) -> tuple[MachineState, list[Transition]]:
        """One verdict, one step. A label set of a source that its target sees no more (removed, or another's own by now) has
        nothing left to wait for: it leaves as soon as it is gone, and is never taken for missing data."""
        config = self.machine_config
        source = dict(verdict.labels).get(SOURCE_LABEL) if verdict.gone else None
        if source is not None and source not in self.sources:
            config = config._replace(forget_after=1)
        after, changes = advance(machine, verdict, config, now)
        self._parked.note(StateKey.of(verdict), verdict, after, config)
        return rules.note_siblings(after, changes, self.present), changes

    def sleep(self, machines: MutableMapping[StateKey, MachineState], now: Millis) -> None:
        """A round in which it is not judged: its clocks stand still."""
        self.flush(machines)
        self.clearly_ok_at = 0
        self._parked.clear()
        machines.update({key: skip_gap(machines[key], now) for key in self.machine_keys})

    def still_clearly_ok(self, reading: Reading, now: Millis) -> bool:
        """Whether the check was clearly ok and still is; if it does, that is all there is to do about it."""
        values = reading.values
        if not self.clearly_ok_at or type(values) is not InstantVector or self._parked.is_due(now):
            return False
        if values.label_sets is not self._names and values.label_sets != self._names:
            return False
        if not rules.clearly_ok(self.check, reading, now, values.min_value, values.max_value):
            return False
        self.clearly_ok_at, self._reading, self._flushed = now, reading, False
        return True

    def skippable(self, now: Millis) -> bool:
        """Whether it is clearly ok and cannot be anything else at `now`, as long as no samples have come: if so, that is all."""
        reading = self._reading
        if (
            not self.clearly_ok_at
            or reading is None
            or not self.clearly_ok_at <= now < reading.valid_until
            or now - reading.newest_sample > reading.max_age
            or self._parked.is_due(now)
        ):
            return False
        self.clearly_ok_at, self._flushed = now, False
        return True

    def _update(self, reading: Reading, machines: Mapping[StateKey, MachineState], now: Millis) -> None:
        """After a round that judged it in full: is it clearly ok from here?"""
        self.clearly_ok_at, self._flushed = 0, True
        known = self.machine_keys
        is_plain = all(key in self._parked or _is_plain_ok(machines[key]) for key in known)
        if type(reading.values) is InstantVector and known and is_plain:
            self.clearly_ok_at, self._reading, self._names = now, reading, reading.values.label_sets

    def flush(self, machines: MutableMapping[StateKey, MachineState]) -> None:
        """Writes into the machines what the skipped rounds would have written."""
        self._flush_clearly_ok(machines)
        self._parked.catch_up(machines, self._judged_at)

    def _flush_clearly_ok(self, machines: MutableMapping[StateKey, MachineState]) -> None:
        if self._flushed or self._reading is None:
            return
        self._judged_at, self._flushed = self.clearly_ok_at, True
        known = [key.labels for key in self.machine_keys if key not in self._parked]
        for verdict in rules.judge(self.check, self._reading, self._judged_at, known):
            key = StateKey.of(verdict)
            machines[key], _ = advance(machines[key], verdict, self.machine_config, self._judged_at)


class TrackerList:
    """All checks of a configuration, in its order, and whom each source's samples touch."""

    def __init__(self, trackers: Iterable[CheckTracker], sources_read_by: Callable[[str], Iterable[str]]) -> None:
        """`sources_read_by(query)`: the sources whose samples may change what a query says."""
        self.all = list(trackers)
        self._places = {tracker: place for place, tracker in enumerate(self.all)}
        self._readers: dict[str, list[CheckTracker]] = {}
        for tracker in self.all:
            for source in sources_read_by(tracker.check.query):
                self._readers.setdefault(source, []).append(tracker)
        self._touched: dict[str, list[CheckTracker]] = {}
        self.unjudged = {ALL_SOURCES}
        """The sources whose news were not judged yet."""

    def to_judge(
        self, now: Millis, sources: Sequence[str], touches: Callable[[str, str], bool]
    ) -> Sequence[CheckTracker]:
        """Whom to judge: whom these sources' samples touch; with none, a tick of the clock, which leaves out those who can say
        nothing new."""
        if sources:
            self.unjudged.difference_update(sources)
            return self.touched_by(sources, touches)
        unjudged, self.unjudged = self.unjudged, set()
        if ALL_SOURCES in unjudged:
            return self.all
        touched = set(self.touched_by(tuple(unjudged), touches))
        return [tracker for tracker in self.all if tracker in touched or not tracker.skippable(now)]

    def forget_source(self, source: str) -> None:
        """What it brings has changed."""
        self._touched.pop(source, None)

    def touched_by(self, sources: Sequence[str], touches: Callable[[str, str], bool]) -> Sequence[CheckTracker]:
        """Whom new samples of these touch. `touches(source, query)`: whether they do change what the query says."""
        touched = [self._touched_by(source, touches) for source in sources]
        if len(touched) == 1:
            return touched[0]
        return sorted({tracker for each in touched for tracker in each}, key=self._places.__getitem__)

    def _touched_by(self, source: str, touches: Callable[[str, str], bool]) -> list[CheckTracker]:
        known = self._touched.get(source)
        if known is None:
            readers = self._readers.get(source, [])
            known = self._touched[source] = [each for each in readers if touches(source, each.check.query)]
        return known


def carry_over(
    trackers: TrackerList,
    checks: Iterable[Check],
    config: Config,
    machines: Iterable[StateKey],
    sources_read_by: Callable[[str], Iterable[str]],
) -> TrackerList:
    """For these checks, with what is known of their label sets. Nothing counts as clearly ok until a round has shown it."""
    known, present = keys_by_check(machines), {key_of(one.check): one.present for one in trackers.all}
    sources = {target: config.sources_of(target) for target in config.targets}
    begun = TrackerList((CheckTracker(check, sources[check.target]) for check in checks), sources_read_by)
    for tracker in begun.all:
        key = key_of(check := tracker.check)
        tracker.has_only = config.rule(check.rule, check.target).only is not None
        tracker.machine_keys, tracker.present = dict.fromkeys(known.get(key, ())), present.get(key)
    return begun


def _is_plain_ok(machine: MachineState) -> bool:
    return machine.phase == "ok" and machine.outcome == "ok" and not machine.lost and not machine.missing


def judge_with_siblings(
    check: Check, reading: Reading, machines: Mapping[StateKey, MachineState], known: Collection[Labels], now: Millis
) -> Sequence[Verdict]:
    """As `rules.judge`; of what fires and is gone, what has come in its place speaks."""

    def siblings_of(labels: Labels) -> Collection[Labels] | None:
        machine = machines.get(StateKey(check.rule, check.level, labels, check.target))
        return machine.siblings if machine is not None and machine.is_firing else None

    return rules.judge_replaced(rules.judge(check, reading, now, known), siblings_of)


def machine_config(check: Check) -> MachineConfig:
    """What the state machine must know of a check."""
    missing = check.missing
    return MachineConfig(
        check.patience,
        check.clear_for,
        missing.after,
        missing.then == check.level,
        missing.then == "ok",
        check.forget_after,
    )


def should_forget(check: Check, verdict: Verdict, machine: MachineState, changes: Iterable[Transition]) -> bool:
    """A label set that is gone for good, or well by what has come in its place; one that a condition named, once it is well: it
    will name it again; and what stood for all label sets while there were none, once it is well and there are some."""
    if any(change.kind == "gone" for change in changes):
        return True
    if machine.phase != "ok" or machine.lost:
        return False
    named_bad_only = verdict.labels != () and check.operator == "expr"
    return verdict.outcome == "ok" and (verdict.gone or named_bad_only)


def is_inactive(rule: Rule, condition_holds: Callable[..., bool | None], now: Millis) -> bool:
    """Whether it is not judged now. `condition_holds(text, now=…)`: whether a condition of its target holds."""
    only = rule.only
    if only is None:
        return False
    if (only.between or only.days) and not rules.in_schedule(only.between, only.days, only.timezone, now):
        return True
    return only.when is not None and condition_holds(only.when, now=now) is False


def mutable_rules(names: Iterable[str], config: Config, target: str) -> frozenset[str]:
    """Those of these rules that start no halt: a plan at work may have been written ahead of a reload that made one do so."""
    found = {name: config.rule(name, target).crit for name in names if (name, target) in config.rules_by_target}
    return frozenset(
        name
        for name, crit in found.items()
        if crit is None or (plan := config.plan(crit.plan, target)) is None or plan.kind != "halt"
    )


def blind_reason(config: Config, machines: Mapping[StateKey, MachineState], target: str) -> str | None:
    """Why the bot cannot be seen: a rule on freshness fires."""
    for key, machine in machines.items():
        if not machine.is_firing or key.target != target:
            continue
        if config.rule(key.rule, target).if_missing.then == "crit":
            return f"{key.rule} fires"
    return None


def key_of(of: Check | StateKey) -> tuple[str, str, str]:
    """Whose a machine is, as (rule, level, target)."""
    return of.rule, of.level, of.target


def keys_by_check(machines: Iterable[StateKey]) -> dict[tuple[str, str, str], list[StateKey]]:
    """(rule, level, target) → its machines."""
    known: dict[tuple[str, str, str], list[StateKey]] = {}
    for key in machines:
        known.setdefault((key.rule, key.level, key.target), []).append(key)
    return known


def machine_configs_of_rules(
    checks: Iterable[Check], keys: Collection[StateKey], target: str, rule_names: Collection[str]
) -> dict[StateKey, MachineConfig]:
    """What is known of these rules of a target; of one that was never judged, its unlabelled self."""
    found: dict[StateKey, MachineConfig] = {}
    for check in checks:
        if check.rule in rule_names and check.target == target:
            known = [
                key for key in keys if (key.rule, key.level, key.target) == (check.rule, check.level, check.target)
            ]
            found |= {key: machine_config(check) for key in known or [StateKey(check.rule, check.level, (), target)]}
    return found


def machine_configs_of_trips(
    checks: Iterable[Check], trips: Iterable[TripRecord], target: str, machines: Collection[StateKey] | None = None
) -> dict[StateKey, MachineConfig]:
    """The thresholds that a plan answers. One that no file says any more stays among them: nobody can tell that it is
    quiet, and a repair is not proven by nothing at all. `machines`: which label sets there are; what recovered and has left since,
    such as the process before the last one, is not waited for while there are others."""
    trips = [trip for trip in trips if trip.plan is not None]
    if machines is not None:
        keys = {trip: StateKey(trip.rule, trip.level, trip.labels, target) for trip in trips}
        trips = [trip for trip in trips if trip.cleared is None or keys[trip] in machines] or trips
    known: dict[tuple[str, str], MachineConfig] = {
        (check.rule, check.level): machine_config(check) for check in checks if check.target == target
    }
    return {
        StateKey(trip.rule, trip.level, trip.labels, target): known.get(
            (trip.rule, trip.level), MachineConfig(Patience())
        )
        for trip in trips
    }


def tripped_since(config: Config, machines: Mapping[StateKey, MachineState], target: str, since: Millis) -> str | None:
    """A rule of the target that wants a plan and has tripped since then."""
    for key, machine in machines.items():
        if key.target != target or key.level != "crit" or machine.phase != "firing" or machine.since <= since:
            continue
        crit = config.rule(key.rule, target).crit
        if crit is not None and crit.plan is not None:
            return key.rule
    return None
