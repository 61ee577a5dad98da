"""The flow, on one screen. Decides nothing and touches nothing: it calls those who do, in this order.

```
source ─read→ samples ─keep→ series ─evaluate→ KPI values ─judge→ verdicts ─advance→ incident changes
   ─guard→ allowed | refused(why) ─record→ journal (one transaction: change + plan run + steps + messages)
        journal ─drain→ rollback (started → apply → verify → outcome) and notify (send → sent)
```
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from watchdog import rules
from watchdog.config import Config
from watchdog.incidents import Change, Key, Machine, advance, wake
from watchdog.journal import Journal
from watchdog.journal import incidents as records
from watchdog.journal.runs import Run
from watchdog.model import Labels, Millis, Sample, Verdict
from watchdog.pipeline.asked import compared, expressions, longest_windows, metrics_of
from watchdog.pipeline.asking import ask, broken
from watchdog.pipeline.baselines import Baselines
from watchdog.pipeline.ledger import Facts, Ledger
from watchdog.pipeline.memory import durable, restored
from watchdog.pipeline.peaks import Peaks
from watchdog.pipeline.picture import picture
from watchdog.pipeline.targets import standings
from watchdog.pipeline.watch import Watch, asleep, by_check, leaves, mutable, terms, unseen
from watchdog.promql import Live, PromqlError, Tick, metric_names
from watchdog.rules import Check, Reading
from watchdog.series import Store
from watchdog.telemetry import Telemetry

__all__ = ["BLIND", "Pipeline", "expressions", "leaves", "longest_windows", "terms"]

BLIND: Millis = 30_000
"""ms without a single source before people are told that nobody sees the bot."""


class Pipeline:
    """What is known now, and the one way it changes."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        telemetry: Telemetry,
        now: Millis,
        *,
        rules_act: bool = True,
        warm: Callable[[Store, Millis], None] | None = None,
    ) -> None:
        """`rules_act=False`: rules are judged, and start no plan. `warm` puts samples of the past into the store."""
        self.journal = journal
        self.telemetry = telemetry
        self.store = Store(longest_windows(config))
        if warm is not None:
            warm(self.store, now)
        self.booted = now
        self._rules_act = rules_act
        self._machines = {Key(*key): wake(restored(state), now) for key, state in records.machines(journal)}
        self._watches: list[Watch] = []
        self._live = Live(self.store)
        self.readings: dict[str, Reading] = {}
        self._lost: dict[str, Millis] = {}
        self._told_blind = False
        self._delivered: dict[str, set[str]] = {}
        self._ever = self.store.names()  # delivered so far: how old it may be does not change when it ceases
        self._muted: dict[str, frozenset[str]] = {}
        self.baselines = Baselines(config, journal, now)
        self.use(config, now)
        self._peaks = Peaks(journal, self.store, config.sources)
        telemetry.picture = lambda: picture(
            self.config, self._checks, self.readings.copy(), self._machines.copy(), journal
        )

    def use(self, config: Config, now: Millis) -> None:
        """Swaps the configuration; states are carried over by rule name."""
        machines = self.machines
        self.config = config
        self._muted = {target: mutable(names, config) for target, names in self._muted.items()}
        self.store.set_windows(longest_windows(config))
        self._parsed = {text: config.expr(text) for text in expressions(config)}
        before, self.baselines = self.baselines, Baselines(config, self.journal, now)
        self.baselines.carry(before)
        self._checks = self.baselines.checks()
        self._questions = rules.questions(config.kpis, config.rules)
        self._reads = {name: metrics_of(asked, self._parsed) for name, asked in self._questions.items()}
        for source in self._delivered.keys() - config.sources.keys():
            self.telemetry.forget(source)
        self._delivered = {source: self._delivered.get(source, {"up"}) for source in config.sources}
        self.readings = {name: reading for name, reading in self.readings.items() if name in config.kpis}
        self.ledger = Ledger(config, self.journal, self.telemetry, partial(ask, config, self.store))
        self._standing = standings(config, self.journal, self.ledger, now)
        known = {(check.rule, check.level) for check in self._checks}
        # What fires has an open incident. A rule that was given another target trips there.
        calm = config.targets.keys() - self.ledger.open_targets()
        gone = [
            key
            for key, machine in machines.items()
            if (key.rule, key.level) not in known or (machine.fires and config.rules[key.rule].target in calm)
        ]
        with self.journal.write() as db:
            records.save_machines(db, dict.fromkeys(gone))
        for key in gone:
            del machines[key]
        self._watch()
        self._peaked = compared(self._questions.values(), self._parsed)

    def fires(self, target: str) -> bool:
        """Whether anything of a target does."""
        return any(m.fires for key, m in self._machines.items() if self.config.rules[key.rule].target == target)

    def _tend_baselines(self, now: Millis) -> None:
        if self.baselines.tend(lambda kpi, target: self.read(kpi, target, now), self.fires, now):
            self._checks = self.baselines.checks()
            self._watch()

    def wake(self, now: Millis) -> None:
        """After a suspend or a clock jump: as after a restart."""
        self.booted, self._standing = now, standings(self.config, self.journal, self.ledger, now, jumped=True)
        machines = self.machines
        machines.update({key: wake(machine, now) for key, machine in machines.items()})
        self._watch()

    @property
    def machines(self) -> dict[Key, Machine]:
        """Where every threshold stands for every label set."""
        for watch in self._watches:
            watch.settle(self._machines)
        return self._machines

    def _watch(self) -> None:
        """Begins to watch anew: what is calm has to show it first."""
        known = by_check(self.machines)
        self._watches = [Watch(check, terms(check)) for check in self._checks]
        for watch in self._watches:
            watch.sleeps = self.config.rules[watch.check.rule].only is not None
            watch.shows = self._shows(watch.check)
            watch.keys = known.get((watch.check.rule, watch.check.level), [])
        self._touched: dict[str, list[Watch]] = {}
        self._ages: dict[str, Millis] = {}
        self._unjudged = {_EVERYTHING}

    # ─ keep ─

    def keep(self, source: str, samples: Iterable[Sample], now: Millis) -> None:
        listed = list(samples)
        newest = self.store.keep(source, now, listed)
        self._unjudged.add(source)
        if (names := {sample.name for sample in listed} | {"up"}) != self._delivered.get(source):
            self._delivered[source] = names
            self._ever.setdefault(source, set()).update(names)
            self._touched, self._ages = {}, {}
            self._unjudged.add(_EVERYTHING)  # what it no longer delivers is missed by rules that it does not touch
        self._lost.pop(source, None)
        self.telemetry.source_up.labels(source).set(1)
        self.telemetry.source_last.labels(source).set(newest / 1_000)

    def lose(self, source: str, now: Millis) -> None:
        self.store.lose(source, now)
        self._unjudged.add(source)
        self._lost.setdefault(source, now)
        self.telemetry.source_up.labels(source).set(0)

    # ─ evaluate ─

    def read(
        self, kpi: str, target: str, now: Millis, after: Millis | None = None, tick: Tick | None = None
    ) -> Reading:
        """The KPI at `now`. `after`: as if nothing older had been seen (verify passes the end of the last step).
        `tick`: where what is read at `now` is shared."""
        known, needs, tick = self._questions[kpi], None, tick or self._live.at(now)
        # What `since: resume` compares with (a peak) is a reference, not evidence: verify must not forget it.
        since = self._standing[target].epoch if known.since == "resume" else after
        try:
            values, newest, have, need, until = tick.read(self._parsed[known.expr], since)
            if known.needs is not None:
                evidence = tick.read(self._parsed[known.needs], since)
                needs, until = evidence.values, min(until, evidence.until)
        except Exception as why:  # one KPI that cannot be evaluated takes nothing else with it
            return Reading({}, error=broken(kpi, why, self.readings.get(kpi)))
        if not self._reads[kpi]:
            newest = until = now  # what reads no samples (`hour() > 22`) is as fresh as the question
        elif after is not None and newest <= after:
            newest = 0
        return Reading(values, newest, have, need, needs, self._max_age(kpi), until=until)

    def _reading(
        self,
        check: Check,
        readings: dict[tuple[str, str], Reading],
        now: Millis,
        after: Millis | None = None,
        tick: Tick | None = None,
    ) -> Reading:
        """What the check is judged by; `readings` holds what this round has evaluated already."""
        names = (check.reads,) if not self._shows(check) else (check.reads, check.kpi)
        for name in names:
            if (name, check.target) not in readings:
                readings[name, check.target] = self.read(name, check.target, now, after, tick)
        reading = readings[check.reads, check.target]
        if len(names) == 1:
            return reading
        shown = readings[check.kpi, check.target]
        return reading._replace(shown=shown.values, until=min(reading.until, shown.until))

    def _shows(self, check: Check) -> bool:
        """Whether another number than the one that is judged is shown: the KPI beside an `expr`."""
        return check.operator == "expr" and check.kpi != check.reads and check.kpi in self._questions

    def true(self, text: str, now: Millis, after: Millis | None = None) -> bool | None:
        """Whether a condition holds: its expression returns something. None = there was nothing to tell by."""
        expr = self._parsed.get(text) or self.config.expr(text)  # a plan keeps its conditions over a reload
        try:
            got = self._live.at(now).read(expr, after)
            if now - got.newest > self._slowest(metric_names(expr)):
                return None
            return bool(got.values)
        except PromqlError:
            return None

    def evidence(
        self, target: str, terms: Collection[Key], that: Collection[str], since: Millis, now: Millis
    ) -> tuple[list[Verdict], dict[str, bool | None]]:
        """Verdicts and conditions on nothing but samples from after `since`."""
        verdicts = []
        for check in self._checks:
            mine = [key.labels for key in terms if (key.rule, key.level) == (check.rule, check.level)]
            if mine and check.target == target and asleep(self.config.rules[check.rule], self.true, now):
                # What it is not meant for neither proves nor disproves anything.
                verdicts += [
                    Verdict(check.rule, check.level, labels, "nodata", f"{check.rule} sleeps") for labels in mine
                ]
            elif mine and check.target == target:
                verdicts += rules.judge(check, self._reading(check, {}, now, since), now, mine)
        return verdicts, {text: self.true(text, now, since) for text in that}

    # ─ judge and record ─

    def judge(self, now: Millis, source: str | None = None) -> set[str]:
        """One round. With `source`: what its new samples touch; without: all, for patience, recovery and missing data.

        Returns the targets for which something was recorded.
        """
        verdicts: list[tuple[Check, Verdict]] = []
        before: dict[Key, Machine | None] = {}
        changes: list[tuple[Check, Change, Verdict]] = []
        readings: dict[tuple[str, str], Reading] = {}
        tick, machines, muted = self._live.at(now), self._machines, self._muted
        for watch in self._due(now, source):
            check = watch.check
            sleeps = watch.sleeps and asleep(self.config.rules[check.rule], self.true, now)
            if sleeps or (muted and check.rule in muted.get(check.target, ())):
                watch.settle(machines)
                watch.calm_at = 0
                machines.update({key: wake(machines[key], now) for key in watch.keys})
                continue
            reading = readings.get(watch.asks)
            if reading is None or watch.shows:
                reading = self._reading(check, readings, now, tick=tick)
            if watch.passes(reading, now):
                continue
            watch.settle(machines)
            for verdict in rules.judge(check, reading, now, watch.labels()):
                key = Key(verdict.rule, verdict.level, verdict.labels)
                machine = machines.get(key)
                before.setdefault(key, machine)
                if machine is None:
                    watch.keys.append(key)
                    machine = Machine(since=now, last=now)
                machines[key], new = advance(machine, verdict, watch.terms, now)
                changes += [(check, change, verdict) for change in new]
                if leaves(check, key, machines[key], new):
                    del machines[key]
                    watch.keys.remove(key)
                else:
                    verdicts.append((check, verdict))
            watch.note(reading, machines, now)
        self.readings.update({kpi: reading for (kpi, _), reading in readings.items()})
        try:
            worked = self._record(before, verdicts, changes, now)
        except BaseException:  # nothing of it was written down: the next round sees it anew
            for key, machine in before.items():
                if machine is None:
                    machines.pop(key, None)
                else:
                    machines[key] = machine
            self._watch()
            self.ledger.forget_refusals()
            raise
        self._tend_baselines(now)
        return worked

    def _due(self, now: Millis, source: str | None) -> list[Watch]:
        """Whom to judge. A tick of the clock leaves out those who can say nothing new."""
        if source is None:
            everyone = bool(self._unjudged)
            self._unjudged = set()
            return self._watches if everyone else [watch for watch in self._watches if not watch.holds(now)]
        self._unjudged.discard(source)
        due = self._touched.get(source)
        if due is None:
            names = self._delivered.get(source, set())
            due = self._touched[source] = [
                watch
                for watch in self._watches
                if "" in (reads := self._reads[watch.check.reads]) or not names.isdisjoint(reads)
            ]
        return due

    def _record(
        self,
        before: Mapping[Key, Machine | None],
        verdicts: list[tuple[Check, Verdict]],
        changes: list[tuple[Check, Change, Verdict]],
        now: Millis,
    ) -> set[str]:
        blind = bool(self.config.sources) and all(
            now - self._lost.get(source, now) >= BLIND for source in self.config.sources
        )
        saved: dict[tuple[str, str, Labels], dict[str, Any] | None] = {
            key: asdict(machine)
            for key, was in before.items()
            if (machine := self._machines.get(key)) is not None and durable(machine, was)
        }
        saved |= {key: None for key, was in before.items() if was is not None and key not in self._machines}
        if self._peaked:
            self._peaks.save(self._peaked, now)
        busy = {check.target for check, _, _ in changes} | self.ledger.open_targets()
        if not saved and not busy and blind == self._told_blind:
            return set()
        with self.journal.write() as db:
            if blind != self._told_blind:
                self.ledger.blind(db, blind, now)
            records.save_machines(db, saved)
            worked = set(well := self.ledger.record(db, changes, now))
            for target in sorted(busy):
                mine = [
                    (check, self._machines[Key(verdict.rule, verdict.level, verdict.labels)], verdict)
                    for check, verdict in verdicts
                    if check.target == target
                ]
                if self._rules_act:
                    blind_to = unseen(self.config, self._machines, target)
                    worked |= self.ledger.decide(db, target, mine, Facts(self.booted, blind_to), now)
                if self.ledger.close_if_over(db, target, self.fires(target), now, well.get(target, ())):
                    worked.add(target)
            if worked - self.config.targets.keys():  # what was at work there may have latched it
                self._standing = standings(self.config, self.journal, self.ledger, now)
        self._told_blind = blind
        return worked

    def over(self, run: Run, now: Millis) -> bool:
        """Closes the incident of a run that has just ended, if that was all of it; True when it was."""
        incident = records.current(self.journal, run.target)
        if incident is None or incident.id != run.incident:
            return False
        with self.journal.write() as db:
            return self.ledger.close_if_over(db, run.target, self.fires(run.target), now)

    def still_fires(self, keys: Collection[Key]) -> bool | None:
        """Whether any of these fires; None when those that do were not seen since we began to see."""
        fire = [machine for key in keys if (machine := self._machines.get(key)) is not None and machine.fires]
        if any(machine.seen > self.booted and machine.outcome in ("ok", "bad") for machine in fire):
            return True
        return None if fire else False

    def mute(self, target: str, names: Collection[str]) -> None:
        """These rules of the target are not judged from now on; with none, all are. Only a plan at work mutes."""
        if self._muted.get(target, frozenset()) != (wanted := mutable(names, self.config)):
            self._muted[target] = wanted
            self._watch()

    def _slowest(self, metrics: Collection[str]) -> Millis:
        """3 × the slowest source that delivers one of these; an age beyond which nothing is believed."""
        every = [
            source.every
            for name, source in self.config.sources.items()
            if "" in metrics or not self._ever.get(name, set()).isdisjoint(metrics)
        ]
        return 3 * max(every or [source.every for source in self.config.sources.values()] or [60_000])

    def _max_age(self, kpi: str) -> Millis:
        age = self._ages.get(kpi)
        if age is None:
            age = self._ages[kpi] = self._slowest(self._reads[kpi])
        return age

    # ─ resume ─

    def stale(self, target: str, now: Millis) -> str | None:
        """Which critical rule that is meant for now cannot be judged, and why; None when all can. Warnings start nothing."""
        readings: dict[tuple[str, str], Reading] = {}
        for check in self._checks:
            if check.target != target or check.level != "crit" or asleep(self.config.rules[check.rule], self.true, now):
                continue
            reading = self._reading(check, readings, now)
            why, may_be_absent = reading.stale(check.reads, now), check.missing.then == "ok"
            if why is not None and (reading.error or reading.newest or not may_be_absent):
                return f"rule {check.rule} cannot be judged: {why}"
        return None

    def resume(self, target: str, who: str, now: Millis) -> None:
        """A person has resumed the target: its latch opens, its rules start anew, and so does its epoch.

        One that no file names any more has no rules; its latch opens all the same.
        """
        mine = [key for key in self._machines if self.config.rules[key.rule].target == target]
        with self.journal.write() as db:
            records.save_machines(db, dict.fromkeys(mine))
            records.stand(db, target, latched=None, latch_why=None, epoch=now)
            self.ledger.resumed(db, target, who, now)
        machines = self.machines
        for key in mine:
            del machines[key]
        self._watch()
        self._standing = standings(self.config, self.journal, self.ledger, now)


_EVERYTHING = ""
"""Among the sources whose news were not judged yet: whatever holds, everything is looked at."""
