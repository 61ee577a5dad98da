"""What is written into the journal within a transaction, by subject.

Every call may raise JournalError and JournalUnavailableError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Unpack

from watchdog.core.chat import ChatEvent
from watchdog.core.model import JsonObject, Labels, Message, Millis, Severity
from watchdog.journal.baselines import Baseline
from watchdog.journal.machines import MachineKey
from watchdog.journal.runs import RunChanges, RunPart, Step, StepId, StepStatus
from watchdog.journal.summaries import SummaryRecord
from watchdog.journal.suppressions import SuppressionKind
from watchdog.journal.targets import TargetChanges


class IncidentWriter(Protocol):
    def open_incident(self, target: str, severity: Severity, title: str, now: Millis) -> int: ...

    def raise_to_critical(self, incident: int) -> None: ...

    def rename_incident(self, incident: int, title: str) -> None: ...

    def close_incident(self, incident: int, now: Millis) -> None: ...

    def acknowledge(self, incident: int, by: str, now: Millis) -> None:
        """The first who says that they are on it; what is said later stands in the timeline."""

    def add_trip(
        self,
        incident: int,
        rule: str,
        level: str,
        labels: Labels,
        reason: str,
        plan: str | None,
        t: Millis,
        *,
        silenced: bool = False,
    ) -> None: ...

    def mark_trips_told(self, incident: int, rule: str) -> None:
        """People have heard of those that a silence had kept back, and that fire on."""

    def note_reminder(self, incident: int, now: Millis, *, counts: bool) -> None:
        """People have just heard that it is still critical. `counts`: by a reminder; the next one comes later."""

    def note_escalation(self, incident: int, now: Millis) -> None:
        """A further channel has just heard that nobody has acknowledged it."""

    def clear_trip(self, incident: int, rule: str, level: str, labels: Labels, t: Millis) -> None: ...


class TimelineWriter(Protocol):
    def add_event(
        self,
        kind: str,
        text: str,
        now: Millis,
        *,
        incident: int | None = None,
        run: int | None = None,
        target: str | None = None,
    ) -> None:
        """One line of the timeline: what was seen, decided or done, and why."""


class MachineWriter(Protocol):
    def save_machines(self, states: Mapping[MachineKey, dict[str, Any] | None]) -> None:
        """States by (rule, level, labels); None forgets one."""


class TargetWriter(Protocol):
    def add_target(self, target: str, epoch: Millis) -> None: ...

    def update_target(self, target: str, **changes: Unpack[TargetChanges]) -> None:
        """Sets columns of a target."""


class PeakWriter(Protocol):
    def save_peak(self, series: str, side: str, t: Millis, v: float) -> None:
        """Remembers the highest (`max`) or lowest (`min`) sample of each hour of a series that money depends on."""


class RunWriter(Protocol):
    def queue_run(
        self,
        *,
        incident: int | None,
        target: str,
        plan: str,
        kind: str,
        text: str,
        place: str,
        by: str,
        now: Millis,
        level: int = 0,
        part: RunPart = "ladder",
    ) -> int: ...

    def update_run(self, run: int, **changes: Unpack[RunChanges]) -> None:
        """Sets columns of a run."""

    def start_step(self, step: Step) -> None:
        """Writes `started` with what was so before; replaces an earlier try of the same step."""

    def end_step(self, step: StepId, status: StepStatus, detail: str, now: Millis) -> None: ...

    def mark_undone(self, step: StepId, since: Millis | None) -> None:
        """Since when somebody has undone what the step made so, as far as it was seen; None: it is so again."""

    def record_child(self, step: StepId, pid: int, started: float) -> None:
        """The process that a step started: it may outlive us."""


class MessageWriter(Protocol):
    def enqueue(self, message: Message, channels: Iterable[str], now: Millis) -> None:
        """One row a channel; part of the transaction that made it worth telling. What the message ends is over for these
        channels, and what it opens is open."""

    def open_topic(self, topic: str, channel: str) -> None:
        """That channel was told of it, by other means than a message of this journal's."""

    def forget_topics(self, topics: Iterable[str]) -> None:
        """Nobody is to be told how these end: they have, and everybody who could be told was."""

    def enqueue_catch_up(
        self, channel: str, incident: int, severity: Severity, next_try: Millis, error: str | None, now: Millis
    ) -> None:
        """One message that stands for all of the incident's that the channel does not take; nothing where one waits already.
        What it says is put in by `rewrite`, when it is sent."""

    def rewrite(self, message: int, said: Message) -> None:
        """Severity, title and lines of a message that is not sent yet, and what it opens."""

    def drop(self, message: int) -> None:
        """A message that there is nothing to say by any more."""

    def mark_sent(self, message: int, handle: str | None, now: Millis, *, counted: bool = False) -> None:
        """`counted`: under the channel's limit."""

    def mark_folded(self, messages: Iterable[int], into: int, now: Millis) -> None:
        """What they say was sent with another one."""

    def mark_postponed(self, message: int, until: Millis, error: str) -> None: ...

    def mark_failed(self, message: int, error: str, now: Millis) -> None: ...

    def hold_channel(self, channel: str, until: Millis, now: Millis, *, relief: bool) -> None:
        """Nothing that waits and is not critical is sent before `until`; what is past ends what held it. `relief`: nor what ends
        something critical."""

    def mark_reported(self, message: int, now: Millis) -> None:
        """The other channels were told that it is late, or refused."""

    def pause_channel(self, channel: str, until: Millis, crit_until: Millis, now: Millis) -> None:
        """Its service asks to be left alone: nothing is tried before `until`, what is critical not before `crit_until`."""

    def note_delivery(self, channel: str, now: Millis) -> None:
        """It takes messages: it is left alone no longer, and what failed in an outage, or was refused, is tried at once, once."""

    def retry_channel(self, channel: str, now: Millis) -> None:
        """It is another one by now, under the same name: all that waits for it is tried at once."""

    def retry_catch_ups(self, now: Millis) -> None:
        """Tries them at once, on every channel."""


class RequestWriter(Protocol):
    def add_request(self, kind: str, args: dict[str, Any], by: str, now: Millis) -> int: ...

    def answer_request(self, request: int, ok: bool, text: str, now: Millis) -> None: ...


class HeadWriter(Protocol):
    def begin_head(self, channel: str, incident: int, now: Millis) -> None:
        """The first message of an incident was sent there. Known already: nothing."""

    def note_edit(self, channel: str, incident: int, shown: str, now: Millis, *, final: bool) -> None:
        """It shows that by now. `final`: and will show nothing else."""

    def postpone_edit(self, channel: str, incident: int, until: Millis, error: str) -> None:
        """It was not taken; until then it is not tried again."""

    def retry_heads(self, channel: str | None, now: Millis) -> None:
        """What could not be edited is tried once more, of incidents that are open; None: on all channels."""

    def end_head(self, channel: str, incident: int, error: str | None = None) -> None:
        """It is not edited any more: it is over, or cannot be (`error`)."""


class ChatWriter(Protocol):
    def add_event(self, channel: str, event: ChatEvent, person: str | None, now: Millis) -> int | None:
        """Its number; None where it was taken in already."""

    def link_request(self, event: int, request: int) -> None:
        """What was asked by it: its answer is the request's."""

    def answer_event(self, event: int, answer: str, now: Millis) -> None: ...

    def add_confirmation(
        self, channel: str, person: str, kind: str, args: dict[str, Any], until: Millis, now: Millis
    ) -> int: ...

    def use_confirmation(self, number: int, by: str, now: Millis) -> None:
        """It counts once."""


class SuppressionWriter(Protocol):
    def add_suppression(
        self,
        kind: SuppressionKind,
        subject: str,
        until: Millis,
        who: str,
        now: Millis,
        *,
        halts: bool = False,
        until_well: bool = False,
    ) -> None:
        """The newest one of a subject counts; what stood before is over."""

    def end_suppression(self, kind: SuppressionKind, subject: str, now: Millis) -> None: ...


class BackupWriter(Protocol):
    def add_backup(self, step: StepId, path: str, was: JsonObject, copy: str | None) -> None:
        """What a path was before the first step of a row that touches it; later ones change nothing."""

    def record_result(self, run: int, incident: int | None, results: Mapping[str, JsonObject]) -> None:
        """What our own step has made of these paths; whatever else is there later is somebody else's doing."""

    def mark_undone(self, incident: int, now: Millis) -> None: ...


class ProvenanceWriter(Protocol):
    def save_configuration(self, path: str, now: Millis) -> None:
        """From here on the journal belongs to that one."""

    def save_inventory(self, inventory: JsonObject, now: Millis) -> None:
        """What is watched from here on, as `config.Inventory` writes it, in place of what was there."""

    def add_delivered(self, metrics: Iterable[tuple[str, str]], now: Millis) -> None:
        """(source, metric) pairs that have come; those that are known already stay as they are."""


class SummaryWriter(Protocol):
    def save_last(self, kind: str, record: SummaryRecord) -> None:
        """In place of the one of its kind that was there."""


class BaselineWriter(Protocol):
    def save_baseline(self, baseline: Baseline) -> None:
        """In place of the one of its kind that was there."""

    def rename_target(self, before: str, after: str, kpi: str | None = None) -> None:
        """What was a target's is another's now, which has none of its own. None: of all KPIs."""

    def save_points(
        self, kpi: str, asked: str, points: Iterable[tuple[Millis, float]], delete_before: Millis, target: str
    ) -> None:
        """Adds values; those from `delete_before`, and those of another expression, are no longer needed."""
