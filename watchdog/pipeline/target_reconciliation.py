"""Targets that the files name no longer. A latch is never lost with its target's name.

It stays in the journal and holds again when the name is back. Where another target is at the same place by now (unit,
process and repo are the same), it is that one which is latched: a bot that was halted is not free because it was renamed.
Their incidents are closed by the incident_manager, as soon as no plan is at work.
"""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.config import Config
from watchdog.core.model import Message, Millis
from watchdog.core.telemetry import log
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.targets import TargetState
from watchdog.journal.topics import latch_topic
from watchdog.pipeline.baseline_tracker import moving_baselines
from watchdog.pipeline.incident_manager import IncidentManager
from watchdog.rules.state_machine import StateKey


def reconcile_targets(
    config: Config, journal: Journal, incident_manager: IncidentManager, now: Millis, *, clock_jumped: bool = False
) -> dict[str, TargetState]:
    """What the journal knows of each target, after its latches have found their targets again; people are told of those
    that have not. `clock_jumped`: the clock has, and what the journal knows of a time to come was just now."""
    with journal.transaction() as tx:
        if clock_jumped:
            tx.handle_clock_jump(now)
        for state in journal.targets.list_latched():
            _reconcile_latch(tx, config, journal, incident_manager, state, now)
        for name, target in config.targets.items():
            if journal.targets.get_state(name, now).place != (location := target.location()):
                tx.targets.update_target(name, place=location)
    return {target: journal.targets.get_state(target, now) for target in config.targets}


def find_renamed(config: Config, journal: Journal) -> dict[str, str]:
    """Target that no file names any more → the new one that is at its place: the same bot, under another name."""
    states = journal.targets.list_states()
    watched = {state.name for state in states if state.place is not None}  # others were only asked for
    gone = [state for state in states if state.name not in config.targets]
    renamed: dict[str, str] = {}
    for name, target in config.targets.items():
        before = [state for state in gone if state.place == target.location() and state.name not in renamed]
        if before and target.has_location and (name not in watched or _is_left(journal, name)):
            renamed[min(before, key=lambda state: state.epoch).name] = name
    return renamed


def _is_left(journal: Journal, name: str) -> bool:
    """Whether its bot has another name since."""
    return journal.timeline.last_event_kind(name, ("left", "renamed")) == "left"


def carry_over_renamed(tx: Transaction, journal: Journal, renamed: Mapping[str, str], now: Millis) -> None:
    """What is remembered of a bot goes with it to its new name: since when its peak counts, its commit, its baselines. Its latch
    finds it as those of all targets do."""
    for before, after in renamed.items():
        state = journal.targets.get_state(before, now)
        journal.targets.get_state(after, now)
        tx.targets.update_target(
            after,
            epoch=state.epoch,
            head=state.head,
            invocation=state.invocation,
            unsettled=state.unsettled,
            quiet_for=state.quiet_for,
        )
        tx.baselines.rename_target(before, after)
        tx.timeline.add_event("left", f"it is called {after}", now, target=before)
        tx.timeline.add_event("renamed", f"it was called {before}", now, target=after)


class Heirs:
    """To which targets that belongs by now which the journal knows: of one that has another name, and of what it keeps from before
    a rule could speak for several."""

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config, self._journal = config, journal
        self.renamed = find_renamed(config, journal)
        self._kpis_of_nobody = journal.baselines.list_kpis_of_nobody()
        self._name_before = {after: before for before, after in self.renamed.items()}
        self._known = {self.renamed.get(state.name, state.name) for state in journal.targets.list_states()}

    def __bool__(self) -> bool:
        """Whether anything has to be written down."""
        return bool(self.renamed or self._kpis_of_nobody)

    def carry_over(self, tx: Transaction, now: Millis) -> None:
        self._adopt_baselines(tx)
        carry_over_renamed(tx, self._journal, self.renamed, now)

    def of_machine(self, key: StateKey) -> str | None:
        """Whose one without a target is: whose trip it is, or else who was there before."""
        targets = sorted(self._config.targets_of(key.rule), key=lambda name: name not in self._known)
        return next((name for name in targets if self._has_tripped(name, key)), next(iter(targets), None))

    def _has_tripped(self, target: str, key: StateKey) -> bool:
        incident = self._journal.incidents.find_open(self._name_before.get(target, target))
        trips = [] if incident is None else self._journal.incidents.list_trips(incident.id)
        return any((trip.rule, trip.level, trip.labels) == key[:3] and trip.cleared is None for trip in trips)

    def _adopt_baselines(self, tx: Transaction) -> None:
        """Each goes to the one target that was there before and is judged by it; where that may be several, it stays all theirs."""
        judged = moving_baselines(self._config)
        for kpi in self._kpis_of_nobody:
            owners = [of.target for of in judged if of.kpi == kpi and of.target in self._known]
            if len(owners) == 1:
                tx.baselines.rename_target("", owners[0], kpi)


def _reconcile_latch(
    tx: Transaction,
    config: Config,
    journal: Journal,
    incident_manager: IncidentManager,
    state: TargetState,
    now: Millis,
) -> None:
    was_unconfigured = journal.timeline.last_event_kind(state.name, ("away", "here", "moved", "resumed")) == "away"
    successors = [] if state.name in config.targets else successors_of(config, state.place)

    def report(name: str, kind: str, text: str, *lines: str, ends: tuple[str, ...] = ()) -> None:
        tx.on_commit(log.warning, "%s: %s (%s)", name, text, state.latch_why)
        tx.timeline.add_event(kind, f"{text}: {state.latch_why}", now, target=name)
        said, opens = (state.latch_why or "", *lines), (latch_topic(name),)
        message = Message("warn", f"{name}: {text}", said, filter_severity="warn", opens=opens, ends=ends, target=name)
        incident_manager.notify(tx, message, now)

    if successors:
        tx.targets.update_target(state.name, latched=None, latch_why=None)
        tx.timeline.add_event("moved", f"its latch is that of {', '.join(successors)} now", now, target=state.name)
    for successor in successors:
        if journal.targets.get_state(successor, now).latched is None:
            tx.targets.update_target(successor, latched=state.latched, latch_why=state.latch_why)
        title, ends = f"latched, as {state.name} was, which had this place", (latch_topic(state.name),)
        report(successor, "here", title, _resume_hint(successor), ends=ends)
    if state.name not in config.targets and not successors and not was_unconfigured:
        report(
            state.name,
            "away",
            "latched, and no longer configured",
            "the latch holds again when the target is back",
            _resume_hint(state.name),
        )
    elif state.name in config.targets and was_unconfigured:
        report(state.name, "here", "configured again, and still latched", _resume_hint(state.name))


def successors_of(config: Config, location: str | None) -> list[str]:
    """Targets that are the same bot under another name."""
    return [name for name, target in config.targets.items() if target.has_location and target.location() == location]


def describe_unconfigured(config: Config, journal: Journal) -> list[str]:
    """What stands in the journal of targets that no file names any more, in words, ahead of a reload."""
    found = []
    for state in journal.targets.list_latched():
        if state.name not in config.targets:
            successors = successors_of(config, state.place)
            then = "the latch holds again when the target is back"
            if successors:
                then = f"{', '.join(successors)} is at its place and will be latched"
            found.append(f"target {state.name} is latched ({state.latch_why}) and no longer configured: {then}")
    found += [
        f"target {name} has an open incident and is no longer configured: reload --yes closes it"
        for name in journal.incidents.list_targets_with_open_incident()
        if name not in config.targets
    ]
    return found


def _resume_hint(name: str) -> str:
    return f'repairs wait for trading-watchdog resume {name} --reason "…"'
