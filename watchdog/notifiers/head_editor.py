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
_MAX_AT_ONCE = 50
"""Messages that are worked out in one go, a fifth of a millisecond each: nothing that acts waits longer for a thousand of them."""

_Key = tuple[str, int]
"""(channel, incident)"""
DescribeHead = Callable[[int, Collection[str]], IncidentHead | None]
"""(incident, what stays of the message as it was written) → what its first message says now; None: there is no such incident."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What a message is to say from now on."""

    head: Head
    editor: EditingNotifier
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
        self._worked_out: dict[_Key, tuple[int, Edit | None]] = {}
        """(channel, incident) → `changes` of the journal when it was last worked out, and what is to be edited; None: nothing."""
        self._read_at: int | None = None
        """`changes` when all was worked out; None: not all is."""
        self._first_sent: dict[_Key, tuple[str, Message]] = {}
        self._mistaken: set[int] = set()
        self._rests: dict[str, Millis] = {}
        """Channel → until when no edit is tried there: after one that was not taken, and for a moment after each."""

    @property
    def has_open(self) -> bool:
        """Whether some message may still change."""
        return bool(self._worked_out) or self.has_more

    @property
    def has_more(self) -> bool:
        """Whether something was written that was not looked at yet."""
        return self._read_at is None

    def first_form(self, channel: Any, name: str, message: Message) -> IncidentHead | None:
        """What a message is sent as that begins its incident on a channel that can edit it; None: as it was written."""
        if message.incident is None or find_editor(channel) is None:
            return None
        if self._journal.messages.thread_handle(name, message.incident) is not None:
            return None
        try:
            head = self._describe(message.incident, name, message)
        except JournalUnavailableError:
            raise
        except Exception:  # a mistake in the words must not keep the message from being sent
            self._note_mistake(message.incident)
            return None
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
        return self._describe_head(incident, about)

    def _note_mistake(self, incident: int) -> None:
        """In the log, once an incident: what is so is tried again whenever something is written."""
        if incident not in self._mistaken:
            self._mistaken.add(incident)
            log.exception("incident %d: its first message cannot be brought up to date", incident)

    def next_due(self, channels: Mapping[str, Any]) -> dict[str, Millis]:
        """For each channel with something to be edited: when that is to be tried."""
        self._refresh(channels)
        due: dict[str, Millis] = {}
        for (name, _), (_, edit) in self._worked_out.items():
            if edit is not None:
                due[name] = min(edit.head.next_try, due.get(name, edit.head.next_try))
        return {name: max(t, self._earliest(name)) for name, t in due.items()}

    def take_due(self, channels: Mapping[str, Any], channel: str) -> Edit | None:
        """What is to be edited next on a channel: what is critical, then what has been as it is for the longest time."""
        self._refresh(channels)
        now = self._clock()
        if now < self._earliest(channel):
            return None
        found = [edit for (name, _), (_, edit) in self._worked_out.items() if name == channel and edit is not None]
        due = [edit for edit in found if edit.head.next_try <= now]
        for edit in sorted(due, key=lambda edit: (edit.said.message.severity != "crit", edit.head.t)):
            if (newest := self._work_out(edit.head, channels)) is not None:
                return newest
        return None

    def _earliest(self, channel: str) -> Millis:
        rests = self._rests.get(channel, 0)
        if rests > self._clock() + MAX_RETRY_PAUSE:  # the clock was set back
            rests = 0
        return max(rests, self._journal.messages.paused_until(channel))

    def _refresh(self, channels: Mapping[str, Any]) -> None:
        """Works out what every message is to say, if anything was written since; of many, those that waited for longest."""
        changes = self._journal.changes
        if channels is not self._channels:
            self._worked_out, self._channels, self._read_at = {}, channels, None
        if changes == self._read_at:
            return
        heads = {(head.channel, head.incident): head for head in self._journal.heads.list_heads()}
        self._worked_out = {key: known for key, known in self._worked_out.items() if key in heads}
        self._first_sent = {key: known for key, known in self._first_sent.items() if key in heads}
        ages = {key: self._worked_out[key][0] if key in self._worked_out else -1 for key in heads}
        stale = sorted((key for key, age in ages.items() if age != changes), key=lambda key: ages[key])
        for key in stale[:_MAX_AT_ONCE]:
            self._work_out(heads[key], channels)
        self._read_at = changes if len(stale) <= _MAX_AT_ONCE else None

    def _work_out(self, head: Head, channels: Mapping[str, Any]) -> Edit | None:
        """What is to be edited of one; None: nothing. One that shows the last there is to show ends here."""
        key, changes = (head.channel, head.incident), self._journal.changes
        known = self._worked_out.get(key)
        if known is not None and known[0] == changes:
            return known[1]
        self._worked_out[key] = changes, None
        try:
            said, handle = self._describe_sent(head)
        except JournalUnavailableError:
            raise
        except Exception:
            self._note_mistake(head.incident)
            return None
        editor = find_editor(channels.get(head.channel))
        edit = None
        if said is not None and editor is not None:
            edit = Edit(head, editor, handle, said)
            edit = None if edit.shown == head.shown else edit
        self._worked_out[key] = changes, edit
        if edit is None and (said is None or said.is_final):
            try:
                with self._journal.transaction(defer_sync=True) as tx:
                    tx.heads.end_head(*key)
            except JournalUnavailableError:
                pass  # it is found again when something else is written
        return edit

    def _describe_sent(self, head: Head) -> tuple[IncidentHead | None, str]:
        """(what it says now, its handle). None: there is no such message, or nobody knows what it is to say."""
        key = head.channel, head.incident
        first = self._first_sent.get(key) or self._journal.messages.find_first_sent(*key)
        if first is None:
            return None, ""
        self._first_sent[key] = first
        handle, message = first
        said = self._describe(head.incident, head.channel, message)
        return None if said is None else said._replace(message=replace(said.message, chart=message.chart)), handle

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
        self._worked_out.pop((channel, head.incident), None)
        self._read_at = None
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
