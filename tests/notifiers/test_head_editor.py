"""The first message of an incident is edited: only its newest state, when nothing else waits, until it is over."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.harness import run_in_fork
from tests.notifiers.test_outbox import FakeChannel, FakeClock, OutboxHarness, with_timeout
from watchdog.core.chat import IncidentHead
from watchdog.core.errors import NotifyError
from watchdog.core.model import Button, Message, Millis, Severity
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.notifiers.head_editor import HeadEditor, shown_text
from watchdog.notifiers.outbox import OutboxSender

SECOND = 1_000
ABOUT = ("incident 1 on host",)


class EditableChat(FakeChannel):
    """A service that keeps what its messages say."""

    def __init__(self, *answers: str | Exception | None) -> None:
        super().__init__(*answers)
        self.shown: dict[str, Message] = {}
        self.edits: list[str] = []
        self.faults: list[Exception] = []
        """What the next edits meet."""

    def send(self, message: Message) -> str | None:
        handle = super().send(message)
        if handle is not None:
            self.shown[handle] = message
        return handle

    def edit(self, handle: str, message: Message) -> None:
        self.edits.append(message.title)
        if self.faults:
            raise self.faults.pop(0)
        self.shown[handle] = message


class WebhookChat(EditableChat):
    can_edit = False


class HeadHarness(OutboxHarness):
    """Each incident's title is its state."""

    def open(self, channels: dict[str, Any]) -> None:
        self.described: list[int] = []
        self.mistaken = 0
        """Incident whose words cannot be found."""
        self.journal = SqliteJournal(self.path)
        self.outbox = OutboxSender(
            self.journal, self.telemetry, self.clock, self.pool, channels, pace=0, describe_head=self.describe
        )

    def describe(self, incident: int, about: Collection[str]) -> IncidentHead | None:
        self.described.append(incident)
        if incident == self.mistaken:
            raise KeyError("a mistake")
        return describe(self.journal, incident, about)

    def begin(self, *channels: str, severity: Severity = "crit", target: str = "bot") -> int:
        number = self.open_incident(target)
        with self.journal.transaction() as tx:
            message = Message(severity, f"{target} tripped", ("12 %",), number, about=ABOUT)
            tx.messages.enqueue(message, channels or ("chat",), self.clock.now)
        return number

    def move(self, incident: int, state: str) -> None:
        with self.journal.transaction() as tx:
            tx.incidents.rename_incident(incident, state)

    def close_incident(self, incident: int) -> None:
        with self.journal.transaction() as tx:
            tx.incidents.close_incident(incident, self.clock.now)

    def heads(self) -> list[tuple[str, int, bool]]:
        rows = self.journal.query("SELECT channel, incident, final FROM head ORDER BY incident, channel")
        return [(row[0], row[1], bool(row[2])) for row in rows]


def describe(journal: SqliteJournal, incident: int, about: Collection[str]) -> IncidentHead | None:
    known = journal.incidents.find_incident(incident)
    if known is None:
        return None
    over = known.closed is not None
    buttons = () if over else (Button("Acknowledge", f"ack {incident}"),)
    message = Message("crit", f"🔴 {known.title}", tuple(about), incident, buttons=buttons)
    return IncidentHead(message, over)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., HeadHarness]]:
    posts: list[HeadHarness] = []

    def build(**channels: Any) -> HeadHarness:
        posts.append(HeadHarness(tmp_path / "journal.db", **channels))
        return posts[-1]

    yield build
    for post in posts:
        post.close()


def test_the_first_message_is_sent_as_a_head_and_edited_as_its_incident_moves(
    make: Callable[..., HeadHarness],
) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()

    assert chat.titles == ["🔴 x"]
    assert chat.shown["1"].lines == ABOUT
    assert chat.shown["1"].buttons == (Button("Acknowledge", f"ack {number}"),)
    assert chat.edits == []  # it shows that already

    post.move(number, "rolling back")
    post.drain()
    assert chat.shown["1"].title == "🔴 rolling back"
    assert chat.edits == ["🔴 rolling back"]
    assert post.notification_count("chat", "edited") == 1


def test_only_the_newest_state_is_sent(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()

    for state in ("one", "two", "three"):
        post.move(number, state)
    post.drain()

    assert chat.edits == ["🔴 three"]


def test_the_end_of_an_incident_is_its_last_edit(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()

    post.close_incident(number)
    post.drain()
    assert chat.shown["1"].buttons == ()
    assert post.heads() == [("chat", number, True)]

    post.move(number, "something else")
    post.drain()
    assert len(chat.edits) == 1


def test_a_channel_that_cannot_edit_gets_the_message_as_it_was_written_and_keeps_no_head(
    make: Callable[..., HeadHarness],
) -> None:
    plain, webhook = FakeChannel(), WebhookChat(None)
    post = make(plain=plain, webhook=webhook)
    number = post.begin("plain", "webhook", "log")
    post.drain()
    post.move(number, "rolling back")
    post.drain()

    assert plain.sent[0].lines == webhook.sent[0].lines == ("12 %",)
    assert plain.titles == webhook.titles == ["bot tripped"]
    assert webhook.edits == []
    assert post.heads() == []


def test_what_belongs_to_no_incident_or_is_no_news_of_it_is_sent_as_it_was_written(
    make: Callable[..., HeadHarness],
) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.open_incident()
    post.post_message("blind", "chat")
    post.post_message("a person holds it", "chat", incident=number)
    post.drain()

    assert chat.titles == ["blind", "a person holds it"]
    assert post.heads() == []


def test_replies_stay_as_they_were_written(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.post_message("level version starts", "chat", incident=number)
    post.drain()

    assert chat.titles == ["🔴 x", "level version starts"]
    assert chat.sent[1].thread == "1"


def test_what_is_critical_may_go_ahead_and_is_the_head_then(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat(NotifyError("slow down"))
    post = make(chat=chat)
    number = post.begin(severity="warn")
    post.drain()
    post.post_message("halted", "chat", incident=number, severity="crit")
    post.drain()
    post.drain(after=5 * SECOND)

    assert chat.titles == ["🔴 x", "🔴 x", "bot tripped"]
    assert chat.sent[1].lines == ("halted!", *ABOUT)  # nothing of what it says is lost
    assert chat.sent[2].thread == "2"  # what the second message was given
    assert post.heads() == [("chat", number, False)]

    post.move(number, "rolling back")
    post.drain()
    (edited,) = [message for message in chat.shown.values() if message.title == "🔴 rolling back"]
    assert edited.lines == ("halted!", *ABOUT)


def test_messages_that_are_due_go_ahead_of_edits(make: Callable[..., HeadHarness]) -> None:
    order: list[str] = []

    class Noting(EditableChat):
        def send(self, message: Message) -> str | None:
            order.append(f"send {message.title}")
            return super().send(message)

        def edit(self, handle: str, message: Message) -> None:
            order.append(f"edit {message.title}")
            super().edit(handle, message)

    post = make(chat=Noting())
    number = post.begin()
    post.drain()
    post.move(number, "rolling back")
    post.post_message("one", "chat", incident=number)
    post.post_message("two", "chat")
    post.drain()

    assert order[0] == "send 🔴 x"
    assert sorted(order[1:3]) == ["send one", "send two"]
    assert order[3:] == ["edit 🔴 rolling back"]


def test_an_edit_that_fails_is_tried_again_later_and_then_with_what_is_so_by_then(
    make: Callable[..., HeadHarness],
) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    first, second = post.begin(target="a"), post.begin(target="b")
    post.drain()
    post.move(first, "one")
    post.move(second, "one of b")
    chat.faults = [NotifyError("HTTP 502")]
    post.drain()
    assert len(chat.edits) == 1  # the other would meet the same

    post.move(first, "two")
    post.drain()
    assert len(chat.edits) == 1

    post.drain(after=2 * SECOND)
    assert sorted(chat.edits[1:]) == ["🔴 one of b", "🔴 two"]
    assert {message.title for message in chat.shown.values()} == {"🔴 one of b", "🔴 two"}
    assert post.notification_count("chat", "edit_retried") == 1


def test_a_rate_limit_of_an_edit_binds_the_channel_and_what_is_critical_may_try_its_luck(
    make: Callable[..., HeadHarness],
) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    post.move(number, "one")
    chat.faults = [NotifyError("slow down", retry_after=60)]
    post.drain()

    post.post_message("news", "chat", incident=number)
    post.drain(after=30 * SECOND)
    assert chat.titles == ["🔴 x"]
    assert len(chat.edits) == 1

    post.post_message("halted", "chat", incident=number, severity="crit")
    post.drain()
    assert chat.titles[1] == "halted"  # and with that the channel takes the rest
    assert chat.shown["1"].title == "🔴 one"


def test_a_rate_limit_of_a_message_binds_edits(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat("1", NotifyError("slow down", retry_after=60))
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    post.post_message("news", "chat", incident=number)
    post.move(number, "one")
    post.drain()
    assert chat.edits == []

    post.drain(after=61 * SECOND)
    assert chat.shown["1"].title == "🔴 one"


def test_a_message_that_is_gone_is_not_edited_any_more_and_nothing_else_suffers(
    make: Callable[..., HeadHarness],
) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    post.move(number, "one")
    chat.faults = [NotifyError("message_not_found", permanent=True)]
    post.drain()
    post.move(number, "two")
    post.post_message("level version starts", "chat", incident=number)
    post.drain(after=600 * SECOND)

    assert chat.edits == ["🔴 one"]
    assert chat.titles[-1] == "level version starts"
    assert post.heads() == [("chat", number, True)]
    assert post.notification_count("chat", "edit_failed") == 1


def test_what_was_refused_for_good_is_tried_once_more_by_another_configuration_and_at_a_start(
    make: Callable[..., HeadHarness],
) -> None:
    chat, cured = EditableChat(), EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    post.move(number, "one")
    chat.faults = [NotifyError("token_revoked", permanent=True)]
    post.drain()

    post.outbox.apply_channels({"chat": cured}, (), post.clock.now)
    post.drain()
    assert cured.shown["1"].title == "🔴 one"

    post.move(number, "two")
    cured.faults = [NotifyError("message_not_found", permanent=True)]
    post.drain()
    post.journal.close()
    post.open({"chat": cured})
    post.outbox.resume(post.clock.now)
    post.drain()
    assert cured.shown["1"].title == "🔴 two"


def test_a_head_of_a_channel_that_is_gone_ends_with_its_incident(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()

    post.outbox.apply_channels({}, (), post.clock.now)
    post.move(number, "one")
    post.drain()
    assert post.heads() == [("chat", number, False)]  # it may come back

    post.outbox.apply_channels({"chat": chat}, (), post.clock.now)
    post.drain()
    assert chat.shown["1"].title == "🔴 one"

    post.outbox.apply_channels({}, (), post.clock.now)
    post.close_incident(number)
    post.drain()
    assert post.heads() == [("chat", number, True)]


def test_nobody_edits_where_this_process_cannot_tell_anything(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    post.outbox.silent = ("chat",)
    post.move(number, "one")
    post.drain()

    assert chat.edits == []


def test_what_moves_every_second_is_edited_every_three_on_a_channel_and_at_once_when_it_was_quiet(
    make: Callable[..., HeadHarness],
) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    editor = HeadEditor(post.journal, post.clock, post.describe, 3 * SECOND)
    seen: list[str] = []
    for second in range(7):
        post.clock.now += SECOND
        post.move(number, f"{second} s")
        if (edit := editor.take_due({"chat": chat}, "chat")) is not None:
            seen.append(edit.said.message.title)
            editor.record_edit(edit, None, post.clock.now)

    assert seen == ["🔴 0 s", "🔴 3 s", "🔴 6 s"]
    assert editor.next_due({"chat": chat}) == {}


def test_a_clock_that_is_set_back_holds_no_edit_back(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    post.move(number, "one")
    chat.faults = [NotifyError("HTTP 502")]
    post.drain()
    with post.journal.transaction() as tx:
        tx.handle_clock_jump(post.clock.now - 7_200 * SECOND)
    post.drain(after=-7_200 * SECOND)

    assert chat.shown["1"].title == "🔴 one"


def test_a_mistake_in_the_words_keeps_no_message_from_being_sent(
    make: Callable[..., HeadHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = EditableChat()
    post = make(chat=chat)

    def broken(*_: object) -> IncidentHead | None:
        raise KeyError("a mistake")

    monkeypatch.setattr(post, "describe", broken)
    post.open({"chat": chat})
    post.begin()
    post.drain()
    assert chat.titles == ["bot tripped"]


def test_a_mistake_in_the_words_of_one_incident_leaves_the_others_and_is_made_up_for_once_it_is_mended(
    make: Callable[..., HeadHarness],
) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    first, second = post.begin(target="a"), post.begin(target="b")
    post.drain()
    post.mistaken = first
    post.move(first, "one")
    post.move(second, "two")
    post.drain()
    assert chat.edits == ["🔴 two"]

    post.mistaken = 0
    post.move(second, "three")
    post.drain()
    assert sorted(chat.edits[1:]) == ["🔴 one", "🔴 three"]


@pytest.mark.slow
def test_of_a_thousand_only_so_many_are_worked_out_in_one_go_and_all_in_the_end(
    make: Callable[..., HeadHarness],
) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    numbers = [post.open_incident(f"bot-{n}") for n in range(200)]
    with post.journal.transaction() as tx:
        for number in numbers:
            tx.messages.enqueue(Message("crit", "tripped", (), number, about=ABOUT), ["chat"], post.clock.now)
            tx.messages.mark_sent(number, str(number), post.clock.now)
            tx.heads.begin_head("chat", number, post.clock.now)
    editor = HeadEditor(post.journal, post.clock, post.describe, 0)
    post.described.clear()
    channels = {"chat": chat}

    editor.next_due(channels)
    assert len(post.described) == 50
    assert editor.has_more
    for _ in range(3):
        editor.next_due(channels)
    assert sorted(post.described) == numbers
    assert not editor.has_more

    post.drain()
    assert len(chat.edits) == 200


def test_an_async_channel_is_edited_too(make: Callable[..., HeadHarness]) -> None:
    class AsyncChat(EditableChat):
        async def edit(self, handle: str, message: Message) -> None:  # type: ignore[override]
            super().edit(handle, message)

    chat = AsyncChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    post.move(number, "one")
    post.drain()

    assert chat.shown["1"].title == "🔴 one"


def test_forty_open_incidents_are_read_anew_only_when_something_was_written(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    numbers = [post.begin(target=f"bot-{n}") for n in range(40)]
    post.drain()
    post.drain()
    post.described.clear()

    for _ in range(100):
        post.drain(after=SECOND)
    assert post.described == []

    post.move(numbers[7], "one")
    post.drain()
    assert chat.edits == ["🔴 one"]


def test_an_incident_of_before_is_brought_up_to_date_after_an_outage(make: Callable[..., HeadHarness]) -> None:
    chat = EditableChat()
    post = make(chat=chat)
    number = post.begin()
    post.drain()
    post.journal.close()

    with_other = SqliteJournal(post.path)
    with with_other.transaction() as tx:
        tx.incidents.close_incident(number, post.clock.now)
    with_other.close()
    post.open({"chat": chat})
    post.drain()

    assert chat.shown["1"].buttons == ()
    assert post.heads() == [("chat", number, True)]


def test_the_sender_notices_by_itself_that_an_incident_has_moved(make: Callable[..., HeadHarness]) -> None:
    """What plans do is not told each time."""
    edited = asyncio.Event()

    class Telling(EditableChat):
        async def edit(self, handle: str, message: Message) -> None:  # type: ignore[override]
            super().edit(handle, message)
            edited.set()

    chat = Telling()
    post = make(chat=chat)
    number = post.begin()

    async def live() -> None:
        running = asyncio.create_task(post.outbox.run())
        while not post.heads():
            await asyncio.sleep(0.01)
        post.move(number, "rolling back")
        await edited.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(with_timeout(live()))
    assert chat.shown["1"].title == "🔴 rolling back"


# ─ killed ─


class KillingChat:
    """A service in a file, so that it outlives its client, which may be killed at once after the service has taken something."""

    from_: Severity = "info"

    def __init__(self, path: Path, *, dies_after: str = "", survives: int = 0) -> None:
        self._path, self._dies_after, self._survives = path, dies_after, survives

    def messages(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def _write(self, handle: str, key: str, message: Message) -> None:
        made = self._path.with_suffix(".new")
        made.write_text(json.dumps(self.messages() | {handle: {"key": key, "shown": shown_text(message)}}))
        made.replace(self._path)

    def _may_die(self, verb: str) -> None:
        if verb == self._dies_after:
            if not self._survives:
                os.kill(os.getpid(), signal.SIGKILL)
            self._survives -= 1

    async def send(self, message: Message) -> str:
        handle = str(len(self.messages()) + 1)
        self._write(handle, message.key, message)
        self._may_die("send")
        return handle

    async def edit(self, handle: str, message: Message) -> None:
        self._write(handle, self.messages()[handle]["key"], message)
        self._may_die("edit")


def _never(*_: object) -> Any:
    raise AssertionError("nothing here blocks")


def _live(folder: Path, now: Millis, dies_after: str = "", survives: int = 0, moves: Collection[str] = ()) -> None:
    """One process: it moves the incident, and sends all that is due."""
    clock = FakeClock()
    clock.now = now
    journal = SqliteJournal(folder / "journal.db", durable=False)
    chat = KillingChat(folder / "chat.json", dies_after=dies_after, survives=survives)
    outbox = OutboxSender(
        *(journal, Telemetry("test"), clock, _never, {"chat": chat}),
        pace=0,
        describe_head=lambda incident, about: describe(journal, incident, about),
    )
    outbox.resume(now)
    for state in [*moves, None]:
        if state is not None:
            with journal.transaction() as tx:
                tx.incidents.rename_incident(1, state)
                tx.messages.enqueue(Message("warn", f"reply {state}", (), 1), ["chat"], now)
        asyncio.run(with_timeout(outbox.drain()))
    journal.close()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["send", "edit"])
def test_killed_between_a_deed_and_its_mark_every_message_arrives_and_edits_converge(tmp_path: Path, verb: str) -> None:
    """Fifty deaths each, at whichever of them."""
    chance, killed = random.Random(6), 0
    for number in range(50):
        folder = tmp_path / str(number)
        folder.mkdir()
        journal = SqliteJournal(folder / "journal.db", durable=False)
        now = FakeClock().now
        with journal.transaction() as tx:
            incident = tx.incidents.open_incident("bot", "crit", "tripped", now)
            tx.messages.enqueue(Message("crit", "tripped", (), incident, about=ABOUT), ["chat"], now)
        journal.close()
        survives = chance.randrange(3)
        states = [f"state {n}" for n in range(4)]
        code, text = run_in_fork(lambda: _live(folder, now, verb, survives, states))  # noqa: B023 - called at once
        assert code == -signal.SIGKILL, text
        killed += 1
        code, text = run_in_fork(lambda: _live(folder, now + SECOND, "", 0, ["the last"]))  # noqa: B023
        assert code == 0, text

        shown = KillingChat(folder / "chat.json").messages()
        journal = SqliteJournal(folder / "journal.db")
        assert journal.messages.next_due() == {}
        keys = {str(row[0]) for row in journal.query("SELECT id FROM message")}
        assert {one["key"] for one in shown.values()} == keys
        handle = journal.messages.thread_handle("chat", 1)
        assert handle is not None
        known = describe(journal, 1, ABOUT)
        assert known is not None
        assert shown[handle]["shown"] == shown_text(known.message)
        (head,) = journal.heads.list_heads("chat")
        assert head.shown == shown[handle]["shown"]
        assert len(shown) <= len(keys) + (verb == "send")  # one copy at most, of what was not marked
        journal.close()
    assert killed == 50
