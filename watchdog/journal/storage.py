"""The journal as everybody else sees it: what it promises, whatever database keeps it.

- A transaction is committed as a whole, or nothing of it is. A nested one joins the outer one, and shares its promise.
- Reads through the journal see what the transaction under way has written.
- One thread writes at a time: another one waits for the end of the transaction.
- What was committed survives ``kill -9`` and a power cut.
- Any read or write may raise JournalUnavailableError (try again) or JournalError (act no more).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from watchdog.core.model import Millis
from watchdog.journal import readers, writers
from watchdog.journal.disk_reserve import DiskReserve
from watchdog.journal.lock import StateLock


class Transaction(Protocol):
    """Changes that belong together. Writes nothing any more once it has ended."""

    @property
    def incidents(self) -> writers.IncidentWriter: ...
    @property
    def timeline(self) -> writers.TimelineWriter: ...
    @property
    def machines(self) -> writers.MachineWriter: ...
    @property
    def targets(self) -> writers.TargetWriter: ...
    @property
    def peaks(self) -> writers.PeakWriter: ...
    @property
    def runs(self) -> writers.RunWriter: ...
    @property
    def messages(self) -> writers.MessageWriter: ...
    @property
    def requests(self) -> writers.RequestWriter: ...
    @property
    def suppressions(self) -> writers.SuppressionWriter: ...
    @property
    def backups(self) -> writers.BackupWriter: ...
    @property
    def baselines(self) -> writers.BaselineWriter: ...
    @property
    def provenance(self) -> writers.ProvenanceWriter: ...
    @property
    def heads(self) -> writers.HeadWriter: ...
    @property
    def chat(self) -> writers.ChatWriter: ...
    @property
    def summaries(self) -> writers.SummaryWriter: ...

    def on_commit(self, call: Callable[..., object], *args: object) -> None:
        """Done once all of the transaction is written down: what is not is neither logged nor counted."""

    def follow_clock_step(self, step: Millis, now: Millis, span: Millis) -> None:
        """The clock was set by `step` while this process ran; it was `now` before that. Whatever still runs (holds, approvals,
        patience with a channel, runs, and ended ones for `span` after) goes on as if nothing had been."""

    def handle_clock_jump(self, now: Millis) -> None:
        """The clock was set back: what stands in the journal for a time that has not come yet was just now.

        Not at boot: a machine may begin with a clock that is behind, and then the journal is right.
        """


class Journal(Protocol):
    """The durable record of incidents, plan runs, steps and messages. Readers, and the way to write."""

    fencing_lock: StateLock | None
    """The lock under which its owner acts. Once somebody took that over, nothing more is written."""

    @property
    def incidents(self) -> readers.IncidentReader: ...
    @property
    def timeline(self) -> readers.TimelineReader: ...
    @property
    def machines(self) -> readers.MachineReader: ...
    @property
    def targets(self) -> readers.TargetReader: ...
    @property
    def peaks(self) -> readers.PeakReader: ...
    @property
    def runs(self) -> readers.RunReader: ...
    @property
    def messages(self) -> readers.MessageReader: ...
    @property
    def requests(self) -> readers.RequestReader: ...
    @property
    def suppressions(self) -> readers.SuppressionReader: ...
    @property
    def backups(self) -> readers.BackupReader: ...
    @property
    def baselines(self) -> readers.BaselineReader: ...
    @property
    def provenance(self) -> readers.ProvenanceReader: ...
    @property
    def heads(self) -> readers.HeadReader: ...
    @property
    def chat(self) -> readers.ChatReader: ...
    @property
    def summaries(self) -> readers.SummaryReader: ...

    @property
    def location(self) -> str:
        """Where it is, for people."""
        ...

    @property
    def disk_reserve(self) -> DiskReserve | None:
        """Room kept on its disk; None where that is not a disk of ours."""
        ...

    @property
    def changes(self) -> int:
        """Grows with whatever is written through this journal: where it is the same, all that was read is so still."""
        ...

    def transaction(self, *, defer_sync: bool = False) -> AbstractContextManager[Transaction]:
        """One transaction: all of it is committed, or nothing. Nested calls join the outer one, and share its promise.

        `defer_sync`: the disk is not waited for. It survives ``kill -9`` all the same; a power cut only together with the
        next transaction that does wait, which is flushed in the order of writing. For what is done or said again without
        harm when it was forgotten, on the way to an action: waiting for a busy disk may take longer than everything else.
        """
        ...

    def probe(self) -> None:
        """Raises JournalUnavailableError or JournalError when nothing can be written now. No entry is written; where a write may
        fail, it is tried."""

    def check(self) -> None:
        """Raises JournalError when it cannot be trusted any more, or somebody else acts in our place."""

    def close(self) -> None: ...
