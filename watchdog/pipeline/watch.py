"""What is remembered of each check between two rounds, so that a rule that is plainly well costs next to nothing.

A check is calm when all of its machines are ok and its new values are on the good side of the limit: then `judge` and
`advance` would only note when they last looked. That note is kept here, once for all label sets, and `settle` writes it
into the machines when somebody wants to see them or something moves. So nothing is left out, it is only done later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping

from watchdog import rules
from watchdog.config import Config
from watchdog.incidents import Change, Key, Machine, Terms, advance
from watchdog.journal.incidents import Trip
from watchdog.model import Labels, Millis
from watchdog.promql import Values
from watchdog.rules import Check, Patience, Reading, Rule


class Watch:
    """One check and its machines."""

    __slots__ = ("_names", "_reading", "_settled", "asks", "calm_at", "check", "keys", "shows", "sleeps", "terms")

    calm_at: Millis
    """When it was last looked at and found calm; 0: it is not."""
    keys: list[Key]
    """Of its machines."""
    asks: tuple[str, str]
    """What is evaluated for it, and for which target."""
    sleeps: bool
    """Now and then it is not judged."""
    shows: bool
    """Another number than the one that is judged is shown."""

    def __init__(self, check: Check, terms: Terms) -> None:
        self.check, self.terms = check, terms
        self.asks = check.reads, check.target
        self.sleeps = self.shows = False
        self.keys = []
        self.calm_at = 0
        self._reading: Reading | None = None
        self._names: tuple[Labels, ...] = ()
        self._settled = True

    def labels(self) -> list[Labels]:
        return [key.labels for key in self.keys]

    def passes(self, reading: Reading, now: Millis) -> bool:
        """Whether the check was calm and stays so; if it does, that is all there is to do about it."""
        values = reading.values
        if not self.calm_at or type(values) is not Values:
            return False
        if values.names is not self._names and values.names != self._names:
            return False
        if not rules.quiet(self.check, reading, now, values.low, values.high):
            return False
        self.calm_at, self._reading, self._settled = now, reading, False
        return True

    def holds(self, now: Millis) -> bool:
        """Whether it is calm and cannot be anything else at `now`, as long as no samples have come: if so, that is all."""
        reading = self._reading
        if (
            not self.calm_at
            or reading is None
            or not self.calm_at <= now < reading.until
            or now - reading.newest > reading.max_age
        ):
            return False
        self.calm_at, self._settled = now, False
        return True

    def note(self, reading: Reading, machines: Mapping[Key, Machine], now: Millis) -> None:
        """After a look that went all the way: is it calm from here?"""
        self.calm_at, self._settled = 0, True
        if type(reading.values) is Values and all(_plain(machines[key]) for key in self.keys):
            self.calm_at, self._reading, self._names = now, reading, reading.values.names

    def settle(self, machines: MutableMapping[Key, Machine]) -> None:
        """Writes into the machines what the last calm look would have written."""
        if self._settled or self._reading is None:
            return
        for verdict in rules.judge(self.check, self._reading, self.calm_at, self.labels()):
            key = Key(verdict.rule, verdict.level, verdict.labels)
            machines[key], _ = advance(machines[key], verdict, self.terms, self.calm_at)
        self._settled = True


def _plain(machine: Machine) -> bool:
    return machine.phase == "ok" and machine.outcome == "ok" and not machine.lost and not machine.missing


def terms(check: Check) -> Terms:
    """What the state machine must know of a check."""
    missing = check.missing
    return Terms(
        check.patience, check.clear_for, missing.after, missing.then == check.level, missing.then == "ok", check.forget
    )


def leaves(check: Check, key: Key, machine: Machine, changes: Iterable[Change]) -> bool:
    """A label set that is gone for good; or one that a condition named, once it is well: it will name it again."""
    if any(change.kind == "gone" for change in changes):
        return True
    return check.operator == "expr" and key.labels != () and machine.phase == "ok" and not machine.lost


def asleep(rule: Rule, true: Callable[[str, Millis], bool | None], now: Millis) -> bool:
    """Whether it is not judged now. `true`: whether a condition holds."""
    only = rule.only
    if only is None:
        return False
    if (only.between or only.days) and not rules.inside(only.between, only.days, only.timezone, now):
        return True
    return only.when is not None and true(only.when, now) is False


def mutable(names: Iterable[str], config: Config) -> frozenset[str]:
    """Those of these rules that start no halt: a plan at work may have been written ahead of a reload that made one do so."""
    found = {name: config.rules[name].crit for name in names if name in config.rules}
    return frozenset(
        name
        for name, crit in found.items()
        if crit is None or crit.plan is None or config.plans[crit.plan].kind != "halt"
    )


def unseen(config: Config, machines: Mapping[Key, Machine], target: str) -> str | None:
    """Why the bot cannot be seen: a rule on freshness fires."""
    for key, machine in machines.items():
        rule = config.rules[key.rule]
        if machine.fires and rule.target == target and rule.if_missing.then == "crit":
            return f"{key.rule} fires"
    return None


def by_check(machines: Iterable[Key]) -> dict[tuple[str, str], list[Key]]:
    known: dict[tuple[str, str], list[Key]] = {}
    for key in machines:
        known.setdefault((key.rule, key.level), []).append(key)
    return known


def named(checks: Iterable[Check], keys: Collection[Key], target: str, names: Collection[str]) -> dict[Key, Terms]:
    """What is known of these rules of a target; of one that was never judged, its unlabelled self."""
    found: dict[Key, Terms] = {}
    for check in checks:
        if check.rule in names and check.target == target:
            known = [key for key in keys if (key.rule, key.level) == (check.rule, check.level)]
            found |= {key: terms(check) for key in known or [Key(check.rule, check.level, ())]}
    return found


def answered(checks: Iterable[Check], trips: Iterable[Trip], target: str) -> dict[Key, Terms]:
    """The thresholds that a plan answers. One that no file says any more stays among them: nobody can tell that it is
    quiet, and a repair is not proven by nothing at all."""
    known: dict[tuple[str, str], Terms] = {
        (check.rule, check.level): terms(check) for check in checks if check.target == target
    }
    return {
        Key(trip.rule, trip.level, trip.labels): known.get((trip.rule, trip.level), Terms(Patience()))
        for trip in trips
        if trip.plan is not None
    }


def tripped_since(known: Mapping[str, Rule], machines: Mapping[Key, Machine], target: str, since: Millis) -> str | None:
    """A rule of the target that wants a plan and has tripped since then."""
    for key, machine in machines.items():
        rule = known[key.rule]
        wants = key.level == "crit" and rule.crit is not None and rule.crit.plan is not None
        if wants and rule.target == target and machine.phase == "firing" and machine.since > since:
            return key.rule
    return None
