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
from watchdog.promql import InstantVector
from watchdog.rules import Check, Patience, Reading, Rule
from watchdog.rules.state_machine import MachineConfig, MachineState, StateKey, Transition, advance
from watchdog.tsdb.labels import SOURCE_LABEL


class CheckTracker:
    """One check and its machines."""

    __slots__ = (
        "_flushed",
        "_names",
        "_reading",
        "check",
        "clearly_ok_at",
        "has_display_kpi",
        "has_only",
        "machine_config",
        "machine_keys",
        "reading_key",
        "sources",
    )

    clearly_ok_at: Millis
    """The last round at which it was clearly ok; 0: it is not."""
    machine_keys: list[StateKey]
    """Of its machines."""
    reading_key: tuple[str, str]
    """What is evaluated for it, and for which target."""
    has_only: bool
    """Now and then it is not judged."""
    sources: Collection[str]
    """What its target sees."""
    has_display_kpi: bool
    """Another number than the one that is judged is shown."""

    def __init__(self, check: Check, sources: Collection[str]) -> None:
        self.check, self.machine_config, self.sources = check, machine_config(check), sources
        self.reading_key = check.query, check.target
        self.has_only, self.has_display_kpi = False, bool(check.display_query)
        self.machine_keys = []
        self.clearly_ok_at = 0
        self._reading: Reading | None = None
        self._names: tuple[Labels, ...] = ()
        self._flushed = True

    def label_sets(self) -> list[Labels]:
        return [key.labels for key in self.machine_keys]

    def judge(self, reading: Reading, now: Millis) -> Iterator[Verdict]:
        """One verdict for each label set. When the last one is forgotten on the way, the rule stands for itself again."""
        yield from rules.judge(self.check, reading, now, self.label_sets())
        if not self.machine_keys:
            yield from rules.judge(self.check, reading, now)

    def advance(self, machine: MachineState, verdict: Verdict, now: Millis) -> tuple[MachineState, list[Transition]]:
        """One verdict, one step. A label set of a source that its target sees no more (removed, or another's own by now) has
        nothing left to wait for: it leaves as soon as it is gone, and is never taken for missing data."""
        config = self.machine_config
        source = dict(verdict.labels).get(SOURCE_LABEL) if verdict.gone else None
        if source is not None and source not in self.sources:
            config = config._replace(forget_after=1)
        return advance(machine, verdict, config, now)

    def still_clearly_ok(self, reading: Reading, now: Millis) -> bool:
        """Whether the check was clearly ok and still is; if it does, that is all there is to do about it."""
        values = reading.values
        if not self.clearly_ok_at or type(values) is not InstantVector:
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
        ):
            return False
        self.clearly_ok_at, self._flushed = now, False
        return True

    def update(self, reading: Reading, machines: Mapping[StateKey, MachineState], now: Millis) -> None:
        """After a round that judged it in full: is it clearly ok from here?"""
        self.clearly_ok_at, self._flushed = 0, True
        known = self.machine_keys
        if type(reading.values) is InstantVector and known and all(_is_plain_ok(machines[key]) for key in known):
            self.clearly_ok_at, self._reading, self._names = now, reading, reading.values.label_sets

    def flush(self, machines: MutableMapping[StateKey, MachineState]) -> None:
        """Writes into the machines what the last skipped round would have written."""
        if self._flushed or self._reading is None:
            return
        for verdict in rules.judge(self.check, self._reading, self.clearly_ok_at, self.label_sets()):
            key = StateKey.of(verdict)
            machines[key], _ = advance(machines[key], verdict, self.machine_config, self.clearly_ok_at)
        self._flushed = True


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


def _is_plain_ok(machine: MachineState) -> bool:
    return machine.phase == "ok" and machine.outcome == "ok" and not machine.lost and not machine.missing


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
    """A label set that is gone for good; one that a condition named, once it is well: it will name it again; and what stood
    for all label sets while there were none, once it is well and there are some."""
    if any(change.kind == "gone" for change in changes):
        return True
    if machine.phase != "ok" or machine.lost:
        return False
    return verdict.gone if verdict.labels == () else check.operator == "expr" and verdict.outcome == "ok"


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
    checks: Iterable[Check], trips: Iterable[TripRecord], target: str
) -> dict[StateKey, MachineConfig]:
    """The thresholds that a plan answers. One that no file says any more stays among them: nobody can tell that it is
    quiet, and a repair is not proven by nothing at all."""
    known: dict[tuple[str, str], MachineConfig] = {
        (check.rule, check.level): machine_config(check) for check in checks if check.target == target
    }
    return {
        StateKey(trip.rule, trip.level, trip.labels, target): known.get(
            (trip.rule, trip.level), MachineConfig(Patience())
        )
        for trip in trips
        if trip.plan is not None
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
