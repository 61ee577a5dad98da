"""What people say in chats is taken in, decided, done once, and answered: everything that counts is in the journal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from watchdog.app.chat_listeners import ChatListeners
from watchdog.chat.answer import decide
from watchdog.chat.commands import MAX_TEXT_CHARACTERS
from watchdog.chat.decisions import (
    Ask,
    Confirm,
    Decision,
    Outcome,
    Reply,
    View,
    close_question,
    describe_answer,
    reply,
)
from watchdog.chat.rights import PoliteNos, find_person, is_said_in_its_chat
from watchdog.config import Config
from watchdog.core.chat import ChatEvent, ListeningNotifier, find_editor
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message, Millis, NotifyFunction
from watchdog.core.offload import DeadlineExceededError, StillBusyError
from watchdog.core.telemetry import Telemetry, log
from watchdog.core.text import shorten
from watchdog.journal.chat import ChatRecord
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.requests import Request
from watchdog.journal.storage import Journal, Transaction
from watchdog.notifiers.call import call_notifier

_ROUND = 1.0
"""Seconds after which it looks at the journal though nobody has said anything."""
_SAY_TIMEOUT = 20.0
"""Seconds that a word to who pressed a button may take."""
_MAX_SAYING = 10
"""Words to them that are under way at once on a channel; more are left out."""
_NO = "not done: only people who are listed under people: in watchdog.yaml may answer here"
_ELSEWHERE = "not done: I answer only in the chat that I send my messages to"


class ChatDesk:
    """One of a daemon, on its loop."""

    def __init__(
        self,
        journal: Journal,
        telemetry: Telemetry,
        clock: Callable[[], Millis],
        config: Callable[[], Config],
        offload: Callable[..., Awaitable[Any]],
        *,
        answer_requests: Callable[[], Awaitable[None]],
        notify_pending: Callable[[], object],
        sources_down: Callable[[], Mapping[str, str]] = dict,
        notify: NotifyFunction = lambda _: None,
    ) -> None:
        """`answer_requests` answers what is asked in the journal, and `tell_answer` is told of each; `notify_pending`: there may be
        messages to send; `sources_down`: sources that cannot be read, each with the reason."""
        self._journal = journal
        self._telemetry = telemetry
        self._clock = clock
        self._config = config
        self._offload = offload
        self._answer_requests = answer_requests
        self._notify_pending = notify_pending
        self._sources_down = sources_down
        self._wake = asyncio.Event()
        self._nos = PoliteNos()
        self._said: dict[int, ChatEvent] = {}
        """Number in the journal → what was said, as its channel may be answered: of this process alone."""
        self._saying: dict[str, set[asyncio.Task[None]]] = {}
        """Channel → words that are under way."""
        self._task: asyncio.Task[None] | None = None
        self.listeners = ChatListeners(self.receive, telemetry, notify=notify)

    # ─ life ─

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="chats")
        self.apply_config()

    def apply_config(self) -> None:
        """Listens to the channels of the configuration as it is now."""
        if self._task is not None:
            config = self._config()
            channels = {name: one for name, one in config.channels.items() if name not in config.silent_channels}
            self.listeners.apply(channels if config.people else {})

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """None of them may end before `stop`."""
        return [] if self._task is None else [self._task]

    async def stop(self) -> None:
        await self.listeners.stop()
        tasks = [*self.tasks, *(task for tasks in self._saying.values() for task in tasks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ROUND):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.answer_all()
            except JournalUnavailableError as error:  # what was said is in the journal, or with its service still
                log.warning("what people said in chats is not answered yet: %s", error)

    # ─ in ─

    async def receive(self, channel: str, event: ChatEvent) -> None:
        """Takes in what was said, once. Raises JournalUnavailableError: then it is not taken."""
        config, now = self._config(), self._clock()
        notifier = config.channels.get(channel)
        if notifier is None:
            return
        event = event.with_time(now)._replace(text=event.text[:MAX_TEXT_CHARACTERS])
        person = find_person(config.people, notifier.type, event.user)
        if person is None or not is_said_in_its_chat(notifier, event):
            self._refuse(channel, event, "stranger" if person is None else "elsewhere", now)
            return
        with self._journal.transaction() as tx:
            number = tx.chat.add_event(channel, event, person, now)
        if number is not None:
            self._said[number] = event
            self._wake.set()

    def _refuse(self, channel: str, event: ChatEvent, outcome: Outcome, now: Millis) -> None:
        """Nothing of it is written down: a stranger fills no disk, neither by the journal nor by the log."""
        self._telemetry.chat_answers.labels(channel, outcome).inc()
        if self._nos.may_tell(channel, event.user, now):
            who = f"{shorten(event.user_name, 60)} ({shorten(event.user, 60)})"
            where = "" if outcome == "stranger" else f" in another chat ({shorten(event.chat, 60)})"
            log.warning("chat %s: refused: %s said %r%s", channel, who, shorten(event.text, 100), where)
            self._say(channel, event, _NO if outcome == "stranger" else _ELSEWHERE)

    # ─ decided ─

    async def answer_all(self) -> None:
        """Everything that was said and is not answered. Raises JournalUnavailableError."""
        unanswered = self._journal.chat.list_unanswered()
        for record in unanswered:  # ahead of all that is awaited: what is answered meanwhile is told by `tell_answer`
            if (
                record.request is not None
                and (answer := self._journal.requests.find_answer(record.request)) is not None
            ):
                with self._journal.transaction() as tx:  # by somebody who told us nothing, such as another version
                    self._tell_result(tx, record, shorten(record.event.text, 60), {}, *answer, set())
                self._notify_pending()
        if unanswered:
            await self._answer_requests()
        for record in unanswered:
            if record.request is None:
                self._decide(record)
                self._notify_pending()
                await self._answer_requests()  # what was asked first is done before what is asked next is decided

    def _decide(self, record: ChatRecord) -> None:
        try:
            with self._journal.transaction() as tx:
                self._carry_out(tx, record, self._make_decision(record))
        except (JournalError, JournalUnavailableError):
            raise
        except Exception as bug:
            log.exception("chat %s: answering %r", record.channel, record.event.text)
            with self._journal.transaction() as tx:
                self._carry_out(tx, record, reply("failed", f"nothing done: internal error: {bug!r}"))

    def _make_decision(self, record: ChatRecord) -> Decision:
        config = self._config()
        notifier = config.channels.get(record.channel)
        view = View(config, self._journal, self._clock(), self._sources_down())
        return decide(record, getattr(notifier, "type", ""), view)  # it may be gone, or silent

    def _carry_out(self, tx: Transaction, record: ChatRecord, decision: Decision) -> None:
        now, said = self._clock(), shorten(record.event.text, 100)
        if not isinstance(decision, Confirm) and decision.uses is not None:
            self._close_question(tx, record, decision, now)
        if isinstance(decision, Ask):
            words = "chat %s: %s said %r: %s is asked for"
            tx.on_commit(log.warning, words, record.channel, record.person, said, decision.kind)
            request = tx.requests.add_request(decision.kind, decision.args, decision.by, now)
            tx.chat.link_request(record.id, request)
            return
        if isinstance(decision, Confirm):
            name, until = record.person or "", decision.end(now)
            number = tx.chat.add_confirmation(record.channel, name, decision.kind, decision.args, until, now)
            decision = Reply("asked", decision.question(number, name, now))
        tx.on_commit(log.info, "chat %s: %s said %r: %s", record.channel, record.person, said, decision.message.title)
        self._answer(tx, record, decision.outcome, decision.message)

    def _close_question(self, tx: Transaction, record: ChatRecord, decision: Ask | Reply, now: Millis) -> None:
        """It counts once, shows how it ended, and loses its buttons."""
        assert decision.uses is not None
        tx.chat.use_confirmation(decision.uses, record.person or "", now)
        asked = self._journal.chat.find_confirmation(decision.uses)
        if asked is not None and record.event.is_button and record.event.message is not None:
            end = f"yes, said {record.person}" if isinstance(decision, Ask) else decision.message.title
            tx.on_commit(self._edit, record.channel, record.event.message, close_question(asked, end))

    # ─ out ─

    def tell_answer(self, tx: Transaction, request: Request, ok: bool, text: str, told: set[str]) -> None:
        """A request was answered, in this transaction. `told`: channels that hear of it by what was done."""
        for record in self._journal.chat.list_unanswered():
            if record.request == request.id:
                self._tell_result(tx, record, request.kind, request.args, ok, text, told)

    def _tell_result(
        self,
        tx: Transaction,
        record: ChatRecord,
        kind: str,
        args: Mapping[str, Any],
        ok: bool,
        text: str,
        told: set[str],
    ) -> None:
        message = describe_answer(kind, args, ok, text)
        incident = _incident_of(self._journal, args)
        tx.on_commit(log.info, "chat %s: %s: %s", record.channel, record.person, message.title)
        is_told = ok and record.channel in told
        self._answer(tx, record, "done" if ok else "refused", replace(message, incident=incident), is_told=is_told)

    def _answer(
        self, tx: Transaction, record: ChatRecord, outcome: Outcome, message: Message, *, is_told: bool = False
    ) -> None:
        """`is_told`: the channel hears it by another message of this transaction."""
        if not is_told:
            if self._journal.messages.begins_thread(record.channel, message.incident):
                message = replace(message, incident=None)  # the first message of an incident is no answer
            tx.messages.enqueue(replace(message, urgent=True), [record.channel], self._clock())
        text = "; ".join([message.title, *message.lines])
        tx.chat.answer_event(record.id, text, self._clock())
        tx.on_commit(self._note_answer, record, outcome, message.title)

    def _note_answer(self, record: ChatRecord, outcome: Outcome, text: str) -> None:
        """It is written down: counted, and told to who pressed the button."""
        self._telemetry.chat_answers.labels(record.channel, outcome).inc()
        event = self._said.pop(record.id, None)
        if event is not None:
            self._say(record.channel, event, text)

    def _say(self, channel: str, event: ChatEvent, text: str) -> None:
        """To who pressed the button, as far as that goes. Nothing depends on it."""
        notifier = self._config().channels.get(channel)
        if isinstance(notifier, ListeningNotifier):
            self._speak(channel, partial(notifier.acknowledge, event, shorten(text, 180)))

    def _edit(self, channel: str, handle: str, message: Message) -> None:
        """Best effort likewise: buttons of what is over say so when they are pressed."""
        editor = find_editor(self._config().channels.get(channel))
        if editor is not None:
            key = f"end of a question on {channel} {handle}"
            self._speak(channel, partial(call_notifier, self._offload, key, editor.edit, handle, message))

    def _speak(self, channel: str, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        async def speak() -> None:
            try:
                async with asyncio.timeout(_SAY_TIMEOUT):
                    await call()
            except (NotifyError, TimeoutError, DeadlineExceededError, StillBusyError) as error:
                why = str(error) or "no answer in time"
                log.info("chat %s: a word to who answered did not arrive: %s", channel, why)
            except Exception:  # a mistake in one notifier
                log.exception("chat %s: a word to who answered", channel)

        saying = self._saying.setdefault(channel, set())
        if len(saying) < _MAX_SAYING:
            task = asyncio.create_task(speak(), name=f"a word on {channel}")
            saying.add(task)
            task.add_done_callback(saying.discard)


def _incident_of(journal: Journal, args: Mapping[str, Any]) -> int | None:
    """In whose thread the answer to a request belongs."""
    if (number := args.get("incident")) is not None:
        return int(number)
    if (run := args.get("run")) is not None:
        found = journal.runs.find_run(int(run))
        return None if found is None else found.incident
    incident = journal.incidents.find_open(str(args["target"])) if args.get("target") else None
    return None if incident is None else incident.id
