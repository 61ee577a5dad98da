"""Keeps the first message of each incident up to date, where the channel can edit.

What it is to show is asked for when something was written into the journal, and the newest of it is what goes out: what was
so in between is told by the replies, and is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

from watchdog.core.chat import EditingNotifier, IncidentHead, find_editor
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message, Millis
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.heads import Head
from watchdog.journal.serialization import to_json
from watchdog.journal.storage import Journal, Transaction

MAX_RETRY_PAUSE = 300_000
"""Longest pause between two tries, ms."""

DescribeHead = Callable[[int, Collection[str]], IncidentHead | None]
"""(incident, what stays of the message as it was written) → what its first message says now; None: there is no such incident."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What a message is to say from now on."""

    head: Head
    editor: EditingNotifier | None
    """None: the channel is gone, or cannot edit any more."""
    handle: str
    said: IncidentHead

    @property
    def shown(self) -> str:
        return shown_text(self.said.message)


def shown_text(message: Message) -> str:
    """All of a message that people see."""
    return to_json([message.title, message.lines, [astuple(button) for button in message.buttons]])


class HeadEditor:
    """Finds what is to be edited, and writes down what became of it. Sends nothing."""

    def __init__(
        self, journal: Journal, clock: Callable[[], Millis], describe_head: DescribeHead, pause: Millis
    ) -> None:
        """`pause`: ms from one edit on a channel to the next."""
        self._journal = journal
        self._clock = clock
        self._pause = pause
        self._describe_head = describe_head
        self._channels: Mapping[str, Any] | None = None
        self._read_at: int | None = None
        """`changes` of the journal when it was last read."""
        self._edits: dict[str, list[Edit]] = {}
        self._open = 0
        self._first_sent: dict[tuple[str, int], tuple[str, Message] | None] = {}
        self._rests: dict[str, Millis] = {}
        """Channel → until when no edit is tried there: after one that was not taken, and for a moment after each."""

    @property
    def has_open(self) -> bool:
        """Whether some message may still change."""
        return self._open > 0

    def first_form(self, channel: Any, name: str, message: Message) -> IncidentHead | None:
        """What a message is sent as that begins its incident on a channel that can edit it; None: as it was written."""
        if message.incident is None or find_editor(channel) is None:
            return None
        if self._journal.messages.thread_handle(name, message.incident) is not None:
            return None
        head = self._describe(message.incident, name, message)
        if head is None:
            return None
        # The picture is that of the moment, and how loud it is was decided then.
        said = replace(head.message, severity=message.severity, broadcast=message.broadcast, key=message.key)
        return head._replace(message=replace(said, chart=message.chart, picture=message.picture))

    def _describe(self, incident: int, channel: str, message: Message) -> IncidentHead | None:
        about = message.about
        if about is None:  # what is critical may have gone ahead of the message that begins the incident
            begun = self._journal.messages.find_about(channel, incident)
            if begun is None:
                return None
            about = tuple(dict.fromkeys([*message.lines, *begun]))
        try:
            return self._describe_head(incident, about)
        except JournalUnavailableError:
            raise
        except Exception:  # a mistake in the words must not keep the message from being sent
            log.exception("incident %d: its first message cannot be brought up to date", incident)
            return None

    def next_due(self, channels: Mapping[str, Any]) -> dict[str, Millis]:
        """For each channel with something to be edited: when that is to be tried."""
        self._refresh(channels)
        return {
            name: max(min(edit.head.next_try for edit in edits), self._earliest(name))
            for name, edits in self._edits.items()
            if edits
        }

    def take_due(self, channels: Mapping[str, Any], channel: str) -> Edit | None:
        """What is to be edited next on a channel: what is critical, then what has been as it is for the longest time."""
        self._refresh(channels)
        now = self._clock()
        if now < self._earliest(channel):
            return None
        due = [edit for edit in self._edits.get(channel, ()) if edit.head.next_try <= now]
        return min(due, key=lambda edit: (edit.said.message.severity != "crit", edit.head.t), default=None)

    def _earliest(self, channel: str) -> Millis:
        rests = self._rests.get(channel, 0)
        if rests > self._clock() + MAX_RETRY_PAUSE:  # the clock was set back
            rests = 0
        return max(rests, self._journal.messages.paused_until(channel))

    def _refresh(self, channels: Mapping[str, Any]) -> None:
        """Reads the journal, if anything was written since that was last done."""
        changes = self._journal.changes
        if changes == self._read_at and channels is self._channels:
            return
        heads = self._journal.heads.list_heads()
        edits: dict[str, list[Edit]] = {}
        over: list[Head] = []
        for head in heads:
            editor = find_editor(channels.get(head.channel))
            edit = self._find_edit(head, editor)
            is_final = edit is None or edit.said.is_final
            if edit is not None and edit.editor is not None and edit.shown != head.shown:
                edits.setdefault(head.channel, []).append(edit)
            elif is_final:  # it shows the last there is to show, or nobody can change it
                over.append(head)
        self._first_sent = {(head.channel, head.incident): self._find_first(head) for head in heads}
        self._open = len(heads) - len(over)
        self._edits, self._channels, self._read_at = edits, channels, changes
        if over:
            try:
                with self._journal.transaction(defer_sync=True) as tx:
                    for head in over:
                        tx.heads.end_head(head.channel, head.incident)
            except JournalUnavailableError:
                pass  # it is found again when something else is written

    def _find_first(self, head: Head) -> tuple[str, Message] | None:
        known = head.channel, head.incident
        if self._first_sent.get(known) is None:
            self._first_sent[known] = self._journal.messages.find_first_sent(*known)
        return self._first_sent[known]

    def _find_edit(self, head: Head, editor: EditingNotifier | None) -> Edit | None:
        first = self._find_first(head)
        if first is None:
            return None
        handle, message = first
        said = self._describe(head.incident, head.channel, message)
        if said is None:
            return None
        return Edit(head, editor, handle, said._replace(message=replace(said.message, chart=message.chart)))

    # ─ what became of it ─

    def record_first(self, tx: Transaction, channel: str, said: IncidentHead, handle: str | None, now: Millis) -> None:
        """The first message of an incident was sent as that: within the caller's transaction."""
        number = said.message.incident
        if number is None or handle is None:  # what has no handle cannot be edited
            return
        tx.heads.begin_head(channel, number, now)
        tx.heads.note_edit(channel, number, shown_text(said.message), now, final=said.is_final)

    def record_edit(self, edit: Edit, error: NotifyError | None, now: Millis) -> None:
        """In a transaction of its own: forgotten, it is edited once more."""
        head, channel = edit.head, edit.head.channel
        with self._journal.transaction(defer_sync=True) as tx:
            if error is None:
                self._rests[channel] = now + self._pause
                tx.heads.note_edit(channel, head.incident, edit.shown, now, final=edit.said.is_final)
                tx.messages.note_delivery(channel, now)
            elif error.permanent:
                tx.heads.end_head(channel, head.incident, str(error))
            else:
                until = now + min(MAX_RETRY_PAUSE, 1_000 * 2 ** min(head.tries, 9))
                self._rests[channel] = until  # the others would meet the same
                tx.heads.postpone_edit(channel, head.incident, until, str(error))
                if error.retry_after is not None:
                    tx.messages.pause_channel(channel, now + round(error.retry_after * 1_000), now, now)
