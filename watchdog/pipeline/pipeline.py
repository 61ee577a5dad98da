"""The flow, on one screen. Decides nothing and touches nothing: it calls those who do, in this order.

```
source ─read→ samples ─add→ head ─evaluate→ KPI values ─judge→ verdicts ─advance→ transitions
   ─guard→ allowed | refused(reason) ─record→ journal (one transaction: transition + plan run + messages)
        journal ─→ rollback (started → apply → verify → outcome) and notifiers (send → sent)
```
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from watchdog.config import Config
from watchdog.core.model import JsonObject, Millis, Sample, Verdict
from watchdog.core.telemetry import Telemetry, log
from watchdog.journal.runs import PlanRun
from watchdog.journal.storage import Journal
from watchdog.journal.topics import BLIND
from watchdog.pipeline.baseline_tracker import BaselineTracker
from watchdog.pipeline.blindness import Blindness
from watchdog.pipeline.born_counters import BornCounters
from watchdog.pipeline.check_tracker import (
    ALL_SOURCES,
    TrackerList,
    blind_reason,
    carry_over,
    is_inactive,
    key_of,
    mutable_rules,
)
from watchdog.pipeline.clock_step import follow_clock_step
from watchdog.pipeline.config_expressions import longest_windows
from watchdog.pipeline.crowded_rules import CrowdedRules
from watchdog.pipeline.evidence import dump_label_sets, gather_evidence, parse_label_sets
from watchdog.pipeline.incident_manager import IncidentManager, Visibility
from watchdog.pipeline.incident_messages import DescribeLeft
from watchdog.pipeline.kpi_evaluation import KpiEvaluation
from watchdog.pipeline.machine_state import find_homes, list_firing, machine_from_state, put_back, states_to_save
from watchdog.pipeline.metrics_snapshot import metrics_snapshot
from watchdog.pipeline.peak_recorder import PeakRecorder
from watchdog.pipeline.removed_rules import record_removed
from watchdog.pipeline.round_news import record_blind, tell_and_close
from watchdog.pipeline.source_metrics import SourceMetrics
from watchdog.pipeline.source_reports import SourceReports
from watchdog.pipeline.standstill import Standstills
from watchdog.pipeline.target_reconciliation import Heirs, reconcile_targets
from watchdog.pipeline.template_query import run_template_query
from watchdog.pipeline.unseen_metrics import UnseenMetrics
from watchdog.promql import EmbeddedEvaluator, Evaluator
from watchdog.rules import Check, Reading
from watchdog.rules.state_machine import MachineState, StateKey, Transition, skip_gap
from watchdog.sources.max_age import longest_gap_of
from watchdog.sources.series_limits import Cut
from watchdog.tsdb.head import Head


class Pipeline:
    """What is known now, and the one way it changes."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        telemetry: Telemetry,
        now: Millis,
        *,
        automatic_plans: bool = True,
        restore_history: Callable[[Head, Millis], None] | None = None,
        evaluator: Evaluator | None = None,
        describe_left: DescribeLeft = lambda _: (),
        removed: str = "",
    ) -> None:
        """`automatic_plans=False`: rules are judged, and start no plan. `restore_history` puts samples of the past into the
        store. `evaluator`: who answers expressions; None: the embedded engine, from the store. `removed`: see `apply_config`."""
        self._describe_left = describe_left
        self.journal = journal
        self.telemetry = telemetry
        self.store = Head(longest_windows(config), config.target_by_source)
        if restore_history is not None:
            restore_history(self.store, now)
        self.started_at = now
        self.automatic_plans = automatic_plans
        self._machines = {
            StateKey(*key): skip_gap(machine_from_state(state), now) for key, state in journal.machines.list_machines()
        }
        self._trackers = TrackerList((), lambda _: ())
        self._standstills = Standstills()
        self._evaluator = EmbeddedEvaluator(self.store) if evaluator is None else evaluator
        told = journal.messages.list_open_topics()
        self._blindness = Blindness(config.sources, now, reported=BLIND in told)
        self.source_reports = SourceReports(lambda source: self.config.sources[source].every, told, now)
        self._crowded_rules = CrowdedRules()
        self._born_counters = BornCounters(self.store)
        self._source_metrics = SourceMetrics(self.store.metrics_by_source())
        self._kpis = KpiEvaluation(self._evaluator, self._source_metrics)
        self._muted: dict[str, frozenset[str]] = {}
        self.unseen = UnseenMetrics(journal, self.store.ever_held)
        self.baselines = BaselineTracker(config, journal, now)
        self.apply_config(config, now, removed)
        self._peak_recorder = PeakRecorder(journal, self.store, config.sources)
        telemetry.snapshot = lambda: metrics_snapshot(
            self.config,
            self._checks,
            self.readings.copy(),
            self._machines.copy(),
            journal,
            self.source_reports.flaps.current(),
        )

    def apply_config(self, config: Config, now: Millis, removed: str = "") -> None:
        """Swaps the configuration; states are carried over by rule and target. `removed`: how the rest went, as in ``by ana``."""
        machines = self.machines
        heirs = Heirs(config, self.journal)
        homes = find_homes(machines, heirs.renamed, heirs.of_machine)
        if homes or heirs:
            with self.journal.transaction() as tx:
                heirs.carry_over(tx, now)
                tx.machines.save_machines(dict.fromkeys(homes))
                tx.machines.save_machines({home: asdict(machines[key]) for key, home in homes.items()})
            machines.update({home: machines.pop(key) for key, home in homes.items()})
        self.config = config
        self._muted = {target: mutable_rules(names, config, target) for target, names in self._muted.items()}
        self.store.set_lookback(longest_windows(config))
        self.store.set_target_by_source(config.target_by_source)
        self.store.watched.longest_gaps = {name: longest_gap_of(source) for name, source in config.sources.items()}
        before, self.baselines = self.baselines, BaselineTracker(config, self.journal, now)
        self.baselines.carry_over(before)
        self._checks = self.baselines.checks()
        self._kpis.apply_config(config)
        self.unseen.apply_config(config.sources, self._kpis.required_metrics, config.target_by_source)
        for source in self._source_metrics.apply_config(config.sources, config.target_by_source):
            self.telemetry.remove_source(source)
        self.source_reports.forget_all_but(config.sources)
        query = partial(run_template_query, config, self._evaluator)
        self.incident_manager = IncidentManager(
            config, self.journal, self.telemetry, query, self._machines, self._describe_left
        )
        self._reconcile_targets(now)
        known = {key_of(check) for check in self._checks}
        # What fires has an open incident. A rule that was given another target trips there.
        without_incident = config.targets.keys() - self.incident_manager.targets_with_open_incident()
        gone = [key for key in machines if key_of(key) not in known]
        gone += [key for key in list_firing(machines) if key_of(key) in known and key.target in without_incident]
        with self.journal.transaction() as tx:
            tx.machines.save_machines(dict.fromkeys(gone))
            for rule, level, target in sorted({key_of(key) for key in gone if machines[key].is_firing} - known):
                record_removed(tx, self.journal, target, rule, level, removed, now)
        for key in gone:
            del machines[key]
        self._reset_trackers()
        self._peak_metrics = self._kpis.peak_metrics()
        self._born_counters.apply_config(self._kpis.born_metrics(), config.sources)

    def _reconcile_targets(self, now: Millis, *, clock_jumped: bool = False) -> None:
        states = reconcile_targets(self.config, self.journal, self.incident_manager, now, clock_jumped=clock_jumped)
        self._kpis.epochs = {name: state.epoch for name, state in states.items()}

    @property
    def readings(self) -> dict[tuple[str, str], Reading]:
        """(name in `Config.queries`, target) → what its last evaluation said."""
        return self._kpis.readings

    def is_firing(self, target: str) -> bool:
        """Whether anything of a target does."""
        return any(machine.is_firing for key, machine in self._machines.items() if key.target == target)

    def _update_baselines(self, now: Millis) -> None:
        if self.baselines.update(lambda kpi, target: self._kpis.evaluate(kpi, target, now), self.is_firing, now):
            self._checks = self.baselines.checks()
            self._reset_trackers()

    def handle_standstill(self, since: Millis, now: Millis) -> None:
        """Nobody has watched since then, the machine slept or the process stood still: as after a restart."""
        self.store.note_standstill(since)
        self.started_at = now
        self._blindness.shift(now - since)
        self._born_counters.forget()
        self._standstills.note_sleep(since, now)
        machines = self.machines
        machines.update({key: skip_gap(machine, now) for key, machine in machines.items()})
        self._reset_trackers()

    def follow_clock_step(self, step: Millis, now: Millis) -> None:
        """The clock was set by `step`, and it is `now`: all that runs goes on as if nothing had been.

        Raises JournalUnavailableError; then nothing has changed.
        """
        with self.journal.transaction() as tx:
            machines = follow_clock_step(tx, self.config, self.machines, step, now)
            self._reconcile_targets(now, clock_jumped=True)
        self._machines.update(machines)
        self.store.shift(step, now)
        self.started_at += step
        parts = (self._blindness, self.unseen, self.baselines, self.source_reports, self._peak_recorder)
        for part in (*parts, self._born_counters):
            part.shift(step)
        self._standstills.follow_step(step, now)
        self._reset_trackers()

    @property
    def machines(self) -> dict[StateKey, MachineState]:
        """Where every threshold stands for every label set."""
        for watch in self._trackers.all:
            watch.flush(self._machines)
        return self._machines

    def _reset_trackers(self) -> None:
        """Begins anew: nothing counts as clearly ok until a round has shown it."""
        self._trackers = carry_over(
            self._trackers, self._checks, self.config, self.machines, self._kpis.sources_read_by
        )
        self._standstills.await_first_write(self._trackers.all, self.config)

    # ─ samples ─

    def add_samples(self, source: str, samples: Iterable[Sample], now: Millis) -> None:
        listed = self._born_counters.fill(source, list(samples), now)
        newest = self.store.ingest(source, now, listed)
        self._trackers.unjudged.add(source)
        self.unseen.note_read(source)
        self._source_metrics.note_times(source, listed, now)
        if self._source_metrics.note(source, names := {sample.name for sample in listed} | {"up"}):
            self.unseen.note_metrics(source, names)
            self._trackers.forget_source(source)
            self._kpis.forget_sources()
            # What it no longer delivers is missed by rules that it does not touch.
            self._trackers.unjudged.add(ALL_SOURCES)
        self._blindness.note_delivery(source)
        self.source_reports.flaps.note_read(source, now)
        self.telemetry.note_read(source, newest)

    def note_cut(self, source: str, cut: Cut | None, now: Millis) -> None:
        """Of a source's samples that are added next not all are there, or all are again."""
        for reason, count in (cut.dropped if cut is not None else {}).items():
            self.telemetry.source_dropped.labels(source, reason).inc(count)
        self.source_reports.cuts.note(source, cut, now)
        self._born_counters.note_cut(source, cut)
        if cut is not None:
            self.store.note_incomplete(source, cut.metrics, now)
        if self._source_metrics.note_cut(source, cut):
            self._trackers.unjudged.add(ALL_SOURCES)

    def mark_source_down(self, source: str, now: Millis, reason: str = "") -> None:
        self.store.mark_source_down(source, now)
        self._source_metrics.mark_down(source)
        self._trackers.unjudged.add(source)
        self._blindness.note_failure(source, now)
        self.source_reports.flaps.note_failure(source, reason, now)
        self.telemetry.note_failure(source)

    # ─ evaluate ─

    async def prefetch(self, now: Millis, source: str | None = None) -> None:
        """Ahead of a `judge` of the same source: an engine elsewhere fetches what that round will ask, within a second."""
        await self._kpis.prefetch(now, source)

    def condition_holds(self, text: str, now: Millis, after: Millis | None = None, target: str = "") -> bool | None:
        """Whether a condition holds for a target: its expression returns something. None = there was nothing to tell by."""
        return self._kpis.condition_holds(text, target, now, after)

    def gather_evidence(
        self,
        target: str,
        keys: Collection[StateKey],
        conditions: Collection[str],
        since: Millis,
        now: Millis,
        siblings: JsonObject | None = None,
    ) -> tuple[list[Verdict], dict[str, bool | None]]:
        """Verdicts and conditions on samples from after `since` alone. `siblings`: `list_label_sets` of before the repair."""
        known = parse_label_sets(siblings or {})
        return gather_evidence(target, self._checks, self._kpis, self._is_inactive, keys, conditions, since, now, known)

    def list_label_sets(self, target: str, rules: Collection[str]) -> JsonObject:
        """What has a value now, of these rules of a target and of those that start a plan."""
        return dump_label_sets(self._trackers.all, target, rules)

    def _is_inactive(self, check: Check, now: Millis) -> bool:
        rule = self.config.rule(check.rule, check.target)
        return is_inactive(rule, partial(self._kpis.condition_holds, target=check.target), now)

    # ─ judge and record ─

    def judge(self, now: Millis, *sources: str) -> set[str]:
        """One round. With `sources`: what their new samples touch; without: all, for patience, recovery and missing data.

        Returns the targets for which something was recorded.
        """
        if not sources and self.store.watched.note_silences(now):
            self._trackers.unjudged.add(ALL_SOURCES)
        verdicts: list[tuple[Check, Verdict]] = []
        before: dict[StateKey, MachineState | None] = {}
        changes: list[tuple[Check, Transition, Verdict]] = []
        readings: dict[tuple[str, str], Reading] = {}
        evaluation, machines, muted = self._evaluator.at(now), self._machines, self._muted
        for tracker in self._trackers.to_judge(now, sources, self._kpis.touched_by):
            check = tracker.check
            inactive = tracker.has_only and self._is_inactive(check, now)
            if inactive or (muted and check.rule in muted.get(check.target, ())):
                tracker.sleep(machines, now)
                continue
            reading = readings.get(tracker.reading_key)
            if reading is None or tracker.has_display_kpi:
                reading = self._kpis.evaluate_check(check, readings, now, evaluation=evaluation)
            if tracker.still_clearly_ok(reading, now):
                continue
            judged, changed = tracker.run(reading, machines, before, now)
            verdicts += [(check, verdict) for verdict in judged]
            changes += [(check, *change) for change in changed]
            if tracker.is_crowded:
                self._crowded_rules.note(check)
        self._kpis.readings.update(readings)
        try:
            affected = self._record(before, verdicts, changes, now)
        except BaseException:  # nothing of it was written down: the next round sees it anew
            put_back(machines, before)
            self._reset_trackers()
            self.incident_manager.forget_refusals()
            raise
        self._update_baselines(now)
        self.unseen.tell_news(self._checks, self.journal, self.incident_manager, now)
        self._crowded_rules.tell_news(self.journal, self.incident_manager, now)
        return affected

    def _record(
        self,
        before: Mapping[StateKey, MachineState | None],
        verdicts: list[tuple[Check, Verdict]],
        changes: list[tuple[Check, Transition, Verdict]],
        now: Millis,
    ) -> set[str]:
        blind = self._blindness.is_blind(self.config.sources, now)
        states = states_to_save(before, self._machines)
        if self._peak_metrics:
            self._peak_recorder.save(self._peak_metrics, now)
        busy = {check.target for check, _, _ in changes} | self.incident_manager.targets_with_open_incident()
        source_news = self.source_reports.due(now)
        if not states and not busy and not source_news and blind == self._blindness.reported:
            return set()
        with self.journal.transaction() as tx:
            if blind != self._blindness.reported:
                record_blind(tx, self.incident_manager, blind, now)
            for message in source_news:
                tx.on_commit(log.warning, "%s: %s", message.title, "; ".join(message.lines))
                self.incident_manager.notify(tx, message, now)
            tx.machines.save_machines(states)
            affected = set(news := self.incident_manager.record_changes(tx, changes, now, is_blind=blind))
            for target in sorted(busy):
                judged = [
                    (check, self._machines[StateKey.of(verdict)], verdict)
                    for check, verdict in verdicts
                    if check.target == target
                ]
                if self.automatic_plans:
                    visibility = Visibility(self.started_at, blind_reason(self.config, self._machines, target))
                    affected |= self.incident_manager.start_plans(tx, target, judged, visibility, news[target], now)
            affected |= tell_and_close(tx, self.journal, self.incident_manager, busy, news, self.is_firing, now)
            if affected - self.config.targets.keys():  # what was at work there may have latched it
                self._reconcile_targets(now)
        self._blindness.reported = blind
        self.source_reports.mark_told()
        return affected

    def close_incident_of(self, run: PlanRun, now: Millis) -> bool:
        """Closes the incident of a run that has just ended, if that was all of it; True when it was."""
        incident = self.journal.incidents.find_open(run.target)
        if incident is None or incident.id != run.incident:
            return False
        with self.journal.transaction() as tx:
            return self.incident_manager.close_if_resolved(tx, run.target, self.is_firing(run.target), now)

    def still_firing(self, keys: Collection[StateKey]) -> bool | None:
        """Whether any of these fires; None when those that do were not seen since we began to see."""
        fire = [machine for key in keys if (machine := self._machines.get(key)) is not None and machine.is_firing]
        if any(machine.seen > self.started_at and machine.outcome in ("ok", "bad") for machine in fire):
            return True
        return None if fire else False

    def mute_rules(self, target: str, names: Collection[str]) -> None:
        """These rules of the target are not judged from now on; with none, all are. Only a plan at work mutes."""
        if self._muted.get(target, frozenset()) != (wanted := mutable_rules(names, self.config, target)):
            self._muted[target] = wanted
            self._reset_trackers()

    # ─ resume ─

    def find_stale_rule(self, target: str, now: Millis) -> str | None:
        """Which critical rule that is meant for now cannot be judged, and why; None when all can. Warnings start nothing."""
        readings: dict[tuple[str, str], Reading] = {}
        for check in self._checks:
            if check.target == target and check.level == "crit" and not self._is_inactive(check, now):
                why = self.unseen.hindrance(check, self._kpis.evaluate_check(check, readings, now), now)
                if why is not None:
                    return f"rule {check.rule} cannot be judged: {why}"
        return None

    def resume(self, target: str, who: str, now: Millis, still: Sequence[str] = ()) -> None:
        """A person has resumed the target: its latch opens, its rules start anew, and so does its epoch.

        One that no file names any more has no rules; its latch opens all the same. `still`: how the target is now, a line each.
        """
        mine = [key for key in self._machines if key.target == target]
        with self.journal.transaction() as tx:
            tx.machines.save_machines(dict.fromkeys(mine))
            tx.targets.update_target(target, latched=None, latch_why=None, epoch=now)
            self.incident_manager.record_resumed(tx, target, who, now, still)
        machines = self.machines
        for key in mine:
            del machines[key]
        self._reset_trackers()
        self._reconcile_targets(now)
