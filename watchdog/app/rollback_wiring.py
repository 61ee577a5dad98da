"""What the rollback needs of the pipeline: told by the configuration as it is when it asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from watchdog.app.deploy_watch import TargetInspector
from watchdog.app.journal_health import JournalHealth
from watchdog.app.standing_watch import StandingWatch
from watchdog.core.executor import Executor
from watchdog.core.model import Message, Millis, Uncounted
from watchdog.journal.runs import PlanRun
from watchdog.pipeline.check_tracker import machine_configs_of_rules, machine_configs_of_trips, tripped_since
from watchdog.pipeline.pipeline import Pipeline
from watchdog.plans.after_halt import list_latched_runs, trips_to_repair
from watchdog.rollback.context import RollbackContext
from watchdog.rules.state_machine import MachineConfig, StateKey


def make_rollback_context(
    pipeline: Pipeline,
    clock: Callable[[], Millis],
    uncounted: Callable[[], Uncounted],
    *,
    offload: Callable[..., Awaitable[object]],
    executor: Executor,
    notify_pending: Callable[[], object],
    inspector: TargetInspector,
    standing: StandingWatch,
    journal_health: JournalHealth,
) -> RollbackContext:
    """See `RollbackContext` for each of them. `notify_pending`, from any thread: there may be messages to send."""
    journal = pipeline.journal

    def notify(message: Message) -> None:
        with journal.transaction() as tx:
            pipeline.incident_manager.notify(tx, message, clock())
        notify_pending()

    def close_incident(run: PlanRun) -> bool:
        notify_pending()
        return pipeline.close_incident_of(run, clock())

    def run_ended(target: str) -> None:
        inspector.note_run_ended(target)
        standing.forget(target)

    def queue_halt(target: str, plan: str, by: str, incident: int | None) -> bool:
        if pipeline.config.plan(plan, target) is None or target not in pipeline.config.targets:
            return False
        with journal.transaction() as tx:
            pipeline.incident_manager.queue_run(tx, target, plan, by, clock(), incident=incident)
        return True

    def configs_of_trips(incident: int, target: str) -> dict[StateKey, MachineConfig]:
        runs = list_latched_runs(journal, target, clock())
        trips = trips_to_repair(journal.incidents.list_trips(incident), runs)
        return machine_configs_of_trips(pipeline.config.checks, trips, target, pipeline.machines)

    def configs_of_rules(target: str, names: Collection[str]) -> dict[StateKey, MachineConfig]:
        seen = pipeline.unseen.seen_rules(target, names)
        return machine_configs_of_rules(pipeline.config.checks, pipeline.machines, target, seen)

    def still_needed(run: PlanRun) -> bool | None:
        if run.incident is None or not run.by.startswith("rule "):
            return True
        return pipeline.still_firing(configs_of_trips(run.incident, run.target))

    return RollbackContext(
        journal=journal,
        telemetry=pipeline.telemetry,
        clock=clock,
        uncounted=uncounted,
        offload=offload,
        executor=executor,
        incident_machine_configs=configs_of_trips,
        evidence=pipeline.gather_evidence,
        still_needed=still_needed,
        queue_halt=queue_halt,
        notify=notify,
        run_ended=run_ended,
        look_again=standing.look_again,
        close_if_over=close_incident,
        rule_machine_configs=configs_of_rules,
        list_label_sets=pipeline.list_label_sets,
        mute_rules=pipeline.mute_rules,
        hold_reason=lambda target: pipeline.incident_manager.hold_reason(target, clock()),
        note_outage=journal_health.record_failure,
        ensure_journaled=journal_health.ensure_well,
        backup_folder=pipeline.config.state / "backups",
        tripped_since=lambda target, since: tripped_since(pipeline.config, pipeline.machines, target, since),
    )
