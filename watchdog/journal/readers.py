"""What is read from the journal, by subject. Within a transaction it sees what that has written.

Every call may raise JournalError and JournalUnavailableError.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from watchdog.core.model import JsonObject, Message, Millis, Severity
from watchdog.journal.backups import FileBackup
from watchdog.journal.baselines import Baseline
from watchdog.journal.chat import ChatRecord, Confirmation
from watchdog.journal.heads import Head
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.machines import MachineKey
from watchdog.journal.messages import ChannelQueue, OpenedTopic, OutboxMessage, UndeliveredMessage
from watchdog.journal.requests import Request
from watchdog.journal.runs import PlanRun, Step
from watchdog.journal.summaries import SummaryRecord
from watchdog.journal.suppressions import Suppression, SuppressionKind
from watchdog.journal.targets import TargetState
from watchdog.journal.timeline import TimelineEvent


class IncidentReader(Protocol):
    def find_open(self, target: str) -> Incident | None: ...

    def find_incident(self, incident: int) -> Incident | None: ...

    def list_incidents(self, limit: int = 50) -> list[Incident]:
        """The newest first."""

    def list_incidents_since(self, since: Millis) -> list[Incident]:
        """Those that are open, or were closed since then; the oldest first."""

    def list_trips(self, incident: int) -> list[TripRecord]: ...

    def list_targets_with_open_incident(self) -> list[str]:
        """Targets with an open incident, whether a file still names them or not."""


class TimelineReader(Protocol):
    def list_events(self, incident: int) -> list[TimelineEvent]:
        """Oldest first."""

    def list_events_after(self, event: int, *, run: int | None = None, kind: str | None = None) -> list[TimelineEvent]:
        """What came after an event (0: all), of one run or of one kind; oldest first."""

    def list_events_since(self, target: str, kind: str, since: Millis) -> list[TimelineEvent]:
        """Events of a kind about a target, from later than `since`; oldest first."""

    def list_times(self, target: str, kind: str) -> list[Millis]:
        """When something of a kind befell a target, oldest first."""

    def last_event_id(self) -> int:
        """0 while there is none."""

    def last_event_kind(self, target: str, kinds: Collection[str]) -> str | None:
        """The kind of the newest event of a target that is one of these."""


class MachineReader(Protocol):
    def list_machines(self) -> list[tuple[MachineKey, dict[str, Any]]]: ...


class TargetReader(Protocol):
    def get_state(self, target: str, now: Millis) -> TargetState:
        """What is known of a target; a new one starts its epoch now."""

    def find_latch_reason(self, target: str) -> str | None:
        """Why a target is latched; None when it is not, or is not known."""

    def list_states(self) -> list[TargetState]:
        """All that were ever configured, or had something done to them."""

    def list_latched(self) -> list[TargetState]:
        """Targets whose latch is closed, whether a file still names them or not."""


class PeakReader(Protocol):
    def list_peaks(self) -> list[tuple[str, Millis, float]]:
        """(series as JSON, t, v), oldest first."""


class RunReader(Protocol):
    def get_run(self, run: int) -> PlanRun: ...

    def find_run(self, run: int) -> PlanRun | None:
        """As `get_run`; None when there is no such run."""

    def list_all(self) -> list[PlanRun]:
        """The oldest first: of a journal that holds few."""
        ...

    def find_last_ended(self, target: str) -> PlanRun | None:
        """The run that left the target as it is: one that never began did not."""

    def list_targets_with_unfinished_runs(self) -> list[str]:
        """Targets with runs that are not over, whether a file still names them or not."""

    def list_unfinished(self, target: str) -> list[PlanRun]:
        """Runs of a target that are not over: halts first, then what is under way, then people's, then in the order queued.

        A rule's repair may wait for hours, held or for approval; what a person asks for does not wait behind it.
        """

    def list_for_incident(self, incident: int) -> list[PlanRun]: ...

    def list_ended_since(self, target: str, since: Millis) -> list[PlanRun]:
        """Runs of a target that ended then or later, or are not over; in the order they were queued."""

    def list_that_acted(self, target: str, place: str | None = None) -> list[PlanRun]:
        """Runs of plans that changed something of the target, or may have; oldest first.

        `place`: where it is; what was done there under another name counts, too.
        """

    def list_recent_automatic(self, target: str, since: Millis) -> list[PlanRun]:
        """Runs that rules started (people's are no budget's business) and that ended or began after `since`.

        Without those that touched nothing: not needed, not approved, overtaken before their first step.
        """

    def list_steps(self, run: int) -> list[Step]:
        """In the order they were done."""


class MessageReader(Protocol):
    def due(self, now: Millis, channel: str | None = None) -> list[OutboxMessage]:
        """What is to be tried now, on one channel or on all, one of each incident and channel, or two where one of them is
        critical: critical ones first, then the oldest."""

    def list_waiting(
        self,
        channel: str,
        lane: int,
        now: Millis,
        *,
        incident: int | None = None,
        behind: int = 0,
        after: int = 0,
        limit: int = 500,
    ) -> list[OutboxMessage]:
        """What waits on a channel in a lane, oldest first, behind the number `after`: of an incident all of it from the number
        `behind` on, and what was held before, but not what stands for others; else all that nothing holds any more."""
        ...

    def count_waiting_incidents(self, channel: str, written_by: Millis) -> int:
        """Of how many incidents something waits on a channel since then or longer that is not critical."""

    def find_counted(self, channel: str, n: int) -> Millis | None:
        """When the last but n - 1 of the messages was sent that count under the channel's limit."""

    def was_critical_since(self, channel: str, t: Millis) -> bool:
        """Whether something critical was sent there since."""

    def has_other_hold(self, channel: str, until: Millis, now: Millis, *, relief: bool) -> bool:
        """Whether `hold_channel` would change anything."""

    def next_due(self) -> dict[str, Millis]:
        """For each channel with something unsent: when it is to be tried."""

    def thread_handle(self, channel: str, incident: int | None) -> str | None:
        """Handle of the incident's first message that arrived on a channel."""

    def find_first_sent(self, channel: str, incident: int) -> tuple[str, Message] | None:
        """(handle, message) of the incident's first message that arrived on a channel."""

    def find_about(self, channel: str, incident: int) -> tuple[str, ...] | None:
        """What stays, for the channel, of the message that begins the incident there, whether or not that has arrived."""

    def begins_thread(self, channel: str, incident: int | None) -> bool:
        """Whether a message on a channel would be the first of its incident there."""

    def list_told(self, topics: Collection[str]) -> set[str]:
        """Channels that were told of one of these and not yet how it ended."""

    def list_open_topics(self) -> list[str]:
        """Whatever some channel was told of, and not yet how it ended."""

    def list_open(self) -> list[tuple[str, str]]:
        """(channel, topic) of all that is open."""
        ...

    def last_message_id(self) -> int:
        """Number of the newest message; 0: there is none."""
        ...

    def list_channels_after(self, message: int) -> set[str]:
        """Channels for which messages were written after that one."""

    def list_unsent(self) -> list[tuple[str, Message]]:
        """(channel, message), in order, of all that is neither delivered nor given up."""
        ...

    def list_opened_topics(self, channel: str, ended_since: Millis) -> list[OpenedTopic]:
        """What a channel was told is bad and is not over, or is over since then."""

    def count_sent(self, incident: int) -> int:
        """How many messages of an incident were delivered."""

    def last_sent(self, channel: str, incident: int) -> Millis | None:
        """When the newest of an incident's messages that arrived on a channel was written."""

    def list_undelivered(self, incident: int) -> list[UndeliveredMessage]:
        """An incident's messages that did not arrive, or not yet."""

    def list_unreported(self, until: Millis) -> list[UndeliveredMessage]:
        """What was refused, and what is unsent since `until` or longer, if no other channel was told of it; critical first."""

    def next_late(self, now: Millis) -> Millis | None:
        """When the next unsent message becomes late that is not yet."""

    def list_queues(self) -> dict[str, ChannelQueue]:
        """What waits, by channel; nothing of those for which nothing does."""

    def paused_until(self, channel: str) -> Millis:
        """Until when a channel's service has asked to be left alone; 0: it has not."""

    def count_refusals(self, channel: str) -> int:
        """How often a channel's service has asked to be left alone since it last took something."""

    def was_enqueued_since(self, title: str, t: Millis, severity: Severity | None = None) -> bool:
        """Whether a message of this title, and of this severity, was written after `t`, on whatever channel."""


class RequestReader(Protocol):
    def list_unanswered(self) -> list[Request]: ...

    def find_answer(self, request: int) -> tuple[bool, str] | None: ...


class HeadReader(Protocol):
    def list_heads(self, channel: str | None = None) -> list[Head]:
        """Those that may still change."""


class ChatReader(Protocol):
    def list_unanswered(self) -> list[ChatRecord]:
        """Oldest first."""

    def find_confirmation(self, number: int) -> Confirmation | None: ...

    def list_open_confirmations(self, now: Millis) -> list[Confirmation]:
        """Neither used nor past their time; oldest first."""


class SummaryReader(Protocol):
    def find_last(self, kind: str) -> SummaryRecord | None:
        """The last one of a kind that was due; None: none ever was."""


class SuppressionReader(Protocol):
    def list_unended(self) -> list[Suppression]:
        """All that nobody has ended; some may be past their time."""

    def find_active(self, kind: SuppressionKind, subject: str, now: Millis) -> Suppression | None:
        """The one that holds now."""


class BackupReader(Protocol):
    def list_for_incident(self, incident: int) -> list[FileBackup]:
        """What is not undone yet, the oldest first."""

    def list_for_level(self, run: int, phase: str, level: int) -> list[FileBackup]: ...

    def list_expired_runs(self, now: Millis) -> list[int]:
        """Runs whose copies need not be kept any longer."""


class ProvenanceReader(Protocol):
    def find_configuration(self) -> str | None:
        """Full path of the watchdog.yaml that the journal belongs to; None while no daemon has run on it."""

    def find_inventory(self) -> JsonObject | None:
        """What people last agreed to have watched; None while no daemon of this version has run on it."""

    def list_delivered(self) -> list[tuple[str, str]]:
        """(source, metric) of all that rules read and that has ever come."""


class BaselineReader(Protocol):
    def list_baselines(self) -> list[Baseline]: ...

    def list_points(self, kpi: str, asked: str, target: str) -> list[tuple[Millis, float]]:
        """Values taken of a KPI, oldest first."""

    def list_kpis_of_nobody(self) -> list[str]:
        """KPIs of which something stands there from before each target had its own."""
