"""What carrying out plans needs of the other packages; handed in by the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.core.executor import DirectExecutor, Executor
from watchdog.core.model import JsonObject, Millis, NotifyFunction, Uncounted, Verdict
from watchdog.core.telemetry import Telemetry
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.runs import PlanRun
from watchdog.journal.storage import Journal
from watchdog.rules.state_machine import MachineConfig, StateKey


async def _look_at_nothing(_: str) -> None:
    """Where nobody tells of it."""


class RollbackContext(NamedTuple):
    """Callables of the other packages, and what all runs share."""

    journal: Journal
    telemetry: Telemetry
    clock: Callable[[], Millis]
    offload: Callable[..., Awaitable[object]]
    """(key, deadline seconds, call, *args) → result, in a thread."""
    incident_machine_configs: Callable[[int, str], Mapping[StateKey, MachineConfig]]
    """(incident, target) → the rules whose trip the plan answers."""
    evidence: Callable[
        [str, Sequence[StateKey], Sequence[str], Millis, Millis, JsonObject],
        tuple[list[Verdict], dict[str, bool | None]],
    ]
    """(target, rules, conditions, after, now, what had a value before the repair) → verdicts and answers on samples from after
    `after`."""
    still_needed: Callable[[PlanRun], bool | None]
    """Whether a queued repair still has a reason; None while that is not known, as at boot."""
    queue_halt: Callable[[str, str, str, int | None], bool]
    """(target, plan, by, incident): queues a halt; False when there is no such plan."""
    notify: NotifyFunction
    run_ended: Callable[[str], None]
    """(target): a run has done its last step; what is so now is our own doing."""
    look_again: Callable[[str], Awaitable[None]] = _look_at_nothing
    """(target): looks at what plans have left so there, and waits a moment for what it finds."""
    close_if_over: Callable[[PlanRun], bool] = lambda _: False
    """Closes the run's incident and tells of it, if that is over with this run; False when it is not."""
    rule_machine_configs: Callable[[str, Collection[str]], Mapping[StateKey, MachineConfig]] = lambda *_: {}
    """(target, rules) → what is known of these rules, for a level that names them."""
    list_label_sets: Callable[[str, Collection[str]], JsonObject] = lambda *_: {}
    """(target, rules) → what of these rules, and of all that start a plan, has a value now; for `evidence`."""
    mute_rules: Callable[[str, Collection[str]], None] = lambda *_: None
    """(target, rules): these are not judged from now on; none: all are again."""
    hold_reason: Callable[[str], str | None] = lambda _: None
    """(target) → why no repair of a rule's may start now."""
    tripped_since: Callable[[str, Millis], str | None] = lambda *_: None
    """(target, since) → a rule with a plan that has tripped since then; None when none has."""
    note_outage: Callable[[JournalUnavailableError], None] = lambda _: None
    """A write has failed."""
    ensure_journaled: Callable[[], None] = lambda: None
    """Ahead of each step. Raises JournalUnavailableError from a failed write until it was seen that the journal takes everything
    again, and what was done off the record meanwhile stands in it."""
    executor: Executor = DirectExecutor()
    """Does to a target what is asked, with the rights of its owner."""
    uncounted: Callable[[], Uncounted] = Uncounted
    """By how much the clock was set by now, and for how long nobody watched, since this process began."""
    backup_folder: Path | None = None
    """Folder for what a repair saves ahead of its changes; None: nothing is saved."""
