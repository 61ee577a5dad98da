"""What people say in a chat does what the command line's requests do: once, by those who may, and told."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chat_harness import APPROVE_RULES, TWO_PEOPLE_RULES, ChatHarness
from tests.support.pipeline_harness import MINUTE, SECOND
from watchdog.core.model import Message
from watchdog.journal.errors import JournalUnavailableError

HOUR = 60 * MINUTE


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ChatHarness]:
    made = ChatHarness(tmp_path)
    made.rounds(2)
    yield made
    made.journal.close()


@pytest.fixture
def approving(tmp_path: Path) -> Iterator[ChatHarness]:
    made = ChatHarness(tmp_path, APPROVE_RULES)
    made.rounds(2)
    yield made
    made.journal.close()


@pytest.fixture
def careful(tmp_path: Path) -> Iterator[ChatHarness]:
    made = ChatHarness(tmp_path, TWO_PEOPLE_RULES)
    made.rounds(2)
    yield made
    made.journal.close()


# ─ who ─


def test_a_stranger_is_told_no_politely_and_once_and_nothing_is_written_down(
    harness: ChatHarness, caplog: pytest.LogCaptureFixture
) -> None:
    number = harness.trip()
    for _ in range(50):
        assert harness.press("eve", f"ack {number}") == ""

    assert harness.incident is not None
    assert harness.incident.acked is None
    assert harness.outcomes() == {"stranger": 50}
    assert harness.journal.query("SELECT 1 FROM chat_event") == []
    assert [line for line in caplog.messages if "refused" in line] == [
        f"chat chat: refused: Eve (666) said 'ack {number}'"
    ]


def test_what_is_said_in_another_chat_does_nothing(harness: ChatHarness) -> None:
    number = harness.trip()

    assert harness.say("ann", f"ack {number}", chat="11") == ""
    assert harness.outcomes() == {"elsewhere": 1}
    assert harness.incident is not None
    assert harness.incident.acked is None


@pytest.mark.parametrize(
    ("person", "answer", "right"),
    [
        ("dan", "ack 1", "ack"),
        ("dan", "silence 1 1h", "ack"),
        ("dan", "hold 1 2h", "ack"),
        ("cid", "approve 1", "act"),
        ("cid", "deny 1", "act"),
        ("cid", "resume 1", "act"),
        ("cid", "next 1", "act"),
        ("cid", "rollback ladder", "act"),
        ("cid", "halt bot", "act"),
        ("cid", "confirm 1", "act"),
    ],
)
def test_who_may_not_is_told_what_it_wants(harness: ChatHarness, person: str, answer: str, right: str) -> None:
    harness.trip()
    runs = harness.runs

    said = harness.press(person, answer)

    assert said.startswith(f"not done: {person} may not {answer.split()[0]}\nit wants may: {right}")
    assert harness.outcomes() == {"not_allowed": 1}
    assert harness.journal.query("SELECT 1 FROM request") == []
    assert harness.runs == runs


def test_rights_are_those_of_the_configuration_when_it_is_decided(harness: ChatHarness) -> None:
    number = harness.trip()
    harness.hear("chat", harness.event("ann", f"ack {number}"))
    people = {name: one for name, one in harness.config.people.items() if name != "ann"}
    object.__setattr__(harness.config, "people", people)

    harness.answer()

    assert harness.outcomes() == {"stranger": 1}
    assert harness.journal.query("SELECT 1 FROM request") == []


# ─ what is done ─


def test_an_acknowledgement_stands_in_the_timeline_with_the_person_and_is_told_once(harness: ChatHarness) -> None:
    number = harness.trip()

    said = harness.press("cid", f"ack {number}")

    assert said == f"bot: incident {number} acknowledged\ncid (chat chat): on it"
    assert harness.event_texts("ack") == [f"incident {number} acknowledged: cid (chat chat): on it"]
    assert harness.incident is not None
    assert harness.incident.acked_by == "cid (chat chat)"
    assert harness.outcomes() == {"done": 1}


def test_a_channel_that_hears_nothing_of_it_is_answered_itself(harness: ChatHarness) -> None:
    number = harness.trip()

    harness_chat = harness.pager
    harness_chat.channel = "C0123457"  # type: ignore[attr-defined]
    harness.hear("pager", harness.event("ann", f"ack {number}")._replace(user="U0000ANN", chat="C0123457"))
    harness.answer()

    (answer,) = [one for one in harness.messages(0, "pager") if "acknowledged by" in one.title]
    assert answer.title == f"incident {number} acknowledged by ann (chat pager)"
    assert answer.incident == number


def test_of_two_who_press_at_once_the_second_is_told_who_was_faster(harness: ChatHarness) -> None:
    number = harness.trip()
    harness.hear("chat", harness.event("cid", f"ack {number}", button=True))
    harness.hear("chat", harness.event("ann", f"ack {number}", button=True))
    harness.answer()

    assert len(harness.event_texts("ack")) == 1
    assert harness.messages()[-1].title == f"cid (chat chat) is on it already: incident {number}"
    assert harness.outcomes() == {"done": 1, "over": 1}


def test_what_the_service_delivers_twice_counts_once(harness: ChatHarness) -> None:
    number = harness.trip()
    first = harness.event("ann", f"ack {number} on it")
    for _ in range(3):
        harness.hear("chat", first)
        harness.answer()

    assert len(harness.event_texts("ack")) == 1
    assert harness.outcomes() == {"done": 1}


def test_a_target_is_held_and_a_rule_silenced_for_as_long_as_is_said(harness: ChatHarness) -> None:
    number = harness.trip()
    harness.press("cid", f"hold {number} 2h")
    harness.press("cid", f"silence {number} 1h")

    known = {one.kind: one for one in harness.journal.suppressions.list_unended()}
    assert known["hold"].subject == "bot"
    assert known["hold"].until == harness.now + 2 * HOUR
    assert known["hold"].who == "cid (chat chat): pressed a button"
    assert (known["silence"].subject, known["silence"].until) == ("errors", harness.now + HOUR)

    assert "held already" in harness.press("cid", f"hold {number} 2h")
    assert "silenced already" in harness.press("cid", f"silence {number} 1h")
    assert "hold on bot ended" in harness.say("cid", "hold bot off")
    assert "silence on errors ended" in harness.say("cid", "silence errors off thanks")
    assert harness.journal.suppressions.list_unended() == []


def test_all_that_fires_in_an_incident_is_silenced_by_one_button(harness: ChatHarness) -> None:
    harness.rounds(5, error_ratio=0.5, equity=800)
    assert harness.incident is not None
    harness.press("ann", f"silence {harness.incident.id} 1h")

    silenced = {one.subject for one in harness.journal.suppressions.list_unended()}
    assert silenced == {"errors", "drawdown"}


def test_a_plan_that_waits_is_approved_once(approving: ChatHarness) -> None:
    approving.trip()
    run = approving.ask_approval()

    assert "ladder approved\nann (chat chat)" in approving.press("ann", f"approve {run}")
    assert approving.runs[-1].approval == "approved"
    said = approving.press("bob", f"deny {run}")
    assert said == f"ladder (run {run}) waits for no approval (approved): nothing changed"
    assert approving.runs[-1].approval == "approved"
    assert approving.outcomes() == {"done": 1, "over": 1}


# ─ what is asked once more ─


def test_a_rollback_runs_once_it_is_confirmed_by_who_asked(harness: ChatHarness) -> None:
    asked = harness.say("ann", "rollback ladder bot enough")
    yes, no = harness.buttons()

    assert asked.startswith("run ladder on bot?\n")
    assert harness.runs == []
    assert (yes, no) == ("confirm 1", "cancel 1")
    assert "ann was asked" in harness.press("bob", yes)
    assert harness.runs == []
    harness.press("ann", yes, message="m7")
    assert [(run.plan, run.by) for run in harness.runs] == [("ladder", "person ann (chat chat): enough")]
    assert "was answered already" in harness.press("ann", yes)
    assert "was answered already" in harness.press("ann", no)
    assert len(harness.runs) == 1


def test_the_buttons_of_a_question_go_once_it_is_answered(harness: ChatHarness) -> None:
    harness.say("ann", "rollback ladder")
    harness.press("bob", "cancel 1", message="m7")

    ((handle, message),) = harness.chat.edits
    assert (handle, message.buttons) == ("m7", ())
    assert message.title.endswith("not done, bob said no")
    assert harness.runs == []


def test_a_confirmation_that_comes_too_late_does_nothing(harness: ChatHarness) -> None:
    harness.say("ann", "rollback ladder")
    harness.now += 2 * MINUTE + 1
    assert "too late, nothing done" in harness.press("ann", "confirm 1")
    assert harness.runs == []


def test_a_halt_that_says_halt_is_not_asked_twice_and_runs_once(harness: ChatHarness) -> None:
    harness.say("ann", "halt bot now")
    harness.say("bob", "halt")

    assert [(run.plan, run.kind) for run in harness.runs] == [("halt", "halt")]
    assert harness.runs[0].by == "person ann (chat chat): now"
    assert harness.messages()[-1].title == "halt bot: begins (run 1)"


def test_a_latch_opens_after_a_second_word_and_only_the_one_that_was_meant(harness: ChatHarness) -> None:
    assert "bot is not latched" in harness.say("ann", "resume bot")
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    assert "latched: halt" in harness.say("ann", "resume bot")
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now + 1, latch_why="another")
    assert "it is another thing by now" in harness.press("ann", "confirm 1")

    assert "latched: another" in harness.say("ann", "resume bot all is well")
    assert "bot: resumed\nann (chat chat): all is well" in harness.press("ann", "confirm 2")
    assert harness.journal.targets.find_latch_reason("bot") is None


def test_the_button_of_an_old_incident_opens_no_latch_that_came_later(harness: ChatHarness) -> None:
    first = harness.trip()
    harness.end_run(harness.runs[-1], "proven")
    harness.rounds(30, error_ratio=0.01)
    assert harness.incident is None
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt by hand")

    said = harness.press("ann", f"resume {first}")

    assert f"the latch of bot is not of incident {first}: nothing changed" in said
    assert harness.outcomes() == {"over": 1}


def test_buttons_from_yesterday_say_so_and_change_nothing(harness: ChatHarness) -> None:
    number = harness.trip()
    run = harness.runs[-1]
    harness.end_run(run, "proven")
    harness.rounds(30, error_ratio=0.01)
    assert harness.incident is None
    before = harness.journal.query("SELECT count(*) FROM event")[0][0]

    for answer in (f"ack {number}", f"hold {number} 2h", f"silence {number} 1h", f"halt {number}"):
        assert f"incident {number} is over for" in harness.press("ann", answer)
    for answer in (f"approve {run.id}", f"deny {run.id}", f"next {run.id}"):
        assert "nothing changed" in harness.press("ann", answer)
    assert "not latched" in harness.press("ann", f"resume {number}")
    assert harness.journal.query("SELECT count(*) FROM event")[0][0] == before
    assert harness.journal.query("SELECT 1 FROM request") == []
    assert harness.outcomes() == {"over": 8}


def test_the_next_level_is_asked_for_once_more_and_marked_once(harness: ChatHarness) -> None:
    harness.trip()
    run = harness.runs[-1]
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run.id, status="running")

    asked = harness.press("ann", f"next {run.id}")
    assert f"next level of ladder (run {run.id})?" in asked
    harness.press("ann", "confirm 1")
    assert harness.runs[-1].marks["next"]["level"] == 0
    harness.press("bob", f"next {run.id}")
    assert "gives level" in harness.press("bob", "confirm 2")
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run.id, level=1)
    assert "is at its last level" in harness.press("ann", f"next {run.id}")


# ─ two people ─


def test_a_plan_for_two_people_is_approved_by_two_different_ones(careful: ChatHarness) -> None:
    careful.trip()
    run = careful.ask_approval()

    assert "a second person than ann" in careful.press("ann", f"approve {run}")
    assert "waits for a second person" in careful.press("ann", f"approve {run}")
    assert "wants a second person than ann" in careful.press("ann", "confirm 1")
    assert "may not confirm" in careful.press("cid", "confirm 1")
    assert careful.runs[-1].approval is None
    careful.press("bob", "confirm 1")
    assert careful.runs[-1].approval == "approved"
    assert careful.event_texts() == ["ladder approved: ann and bob (chat chat): pressed a button"]


def test_the_second_person_may_press_the_same_button_and_two_services_are_one_person(
    careful: ChatHarness,
) -> None:
    careful.trip()
    run = careful.ask_approval()
    careful.pager.channel = "C0123457"  # type: ignore[attr-defined]

    careful.press("ann", f"approve {run}")
    again = careful.event("ann", f"approve {run}", button=True)._replace(user="U0000ANN", chat="C0123457")
    careful.hear("pager", again)
    careful.answer()
    assert careful.runs[-1].approval is None
    careful.press("bob", f"approve {run}")
    assert careful.runs[-1].approval == "approved"


def test_who_lost_the_right_meanwhile_counts_as_nobody(careful: ChatHarness) -> None:
    careful.say("ann", "rollback ladder")
    ann = careful.config.people["ann"].model_copy(update={"may": "see"})
    object.__setattr__(careful.config, "people", {**careful.config.people, "ann": ann})

    assert "may not act any more" in careful.press("bob", "confirm 1")
    assert careful.runs == []


# ─ too old ─


def test_what_was_said_while_nobody_listened_is_too_old_to_be_done(harness: ChatHarness) -> None:
    number = harness.trip()
    said = harness.press("ann", f"ack {number}", age=61 * SECOND)

    assert said == f"too old, nothing done\nann said 'ack {number}' 1 m 1 s ago — say it again"
    assert harness.incident is not None
    assert harness.incident.acked is None
    assert "1 incident open" in harness.say("ann", "status", age=61 * SECOND)
    assert "too old" in harness.say("ann", "status", age=HOUR)
    assert "acknowledged" in harness.press("ann", f"ack {number}", age=59 * SECOND)
    assert harness.outcomes() == {"too_old": 2, "answered": 1, "done": 1}


def test_what_was_taken_in_before_a_long_outage_is_not_done_after_it_and_is_told(harness: ChatHarness) -> None:
    number = harness.trip()
    harness.hear("chat", harness.event("ann", f"ack {number}"))  # and nobody decides it
    harness.restart(5 * MINUTE)
    harness.answer()

    assert harness.messages()[-1].title == "too old, nothing done"
    harness.hear("chat", harness.event("ann", "halt bot"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.queue, "answer", lambda _: None)  # dies once it is decided
        harness.answer()
    assert harness.journal.query("SELECT kind FROM request WHERE answered IS NULL")[0][0] == "halt"
    harness.restart(5 * MINUTE)
    harness.answer()

    (told,) = [one for one in harness.messages() if one.title == "not done: halt bot"]
    assert told.lines == ("too old: whoever asked for it does not wait for it any more",)
    assert [run for run in harness.runs if run.kind == "halt"] == []
    harness.answer()
    assert len([one for one in harness.messages() if one.title == "not done: halt bot"]) == 1


def test_what_somebody_else_has_answered_is_told_all_the_same(harness: ChatHarness) -> None:
    harness.hear("chat", harness.event("ann", "halt bot"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.queue, "answer", lambda _: None)
        harness.answer()
    with harness.journal.transaction() as tx:
        tx.requests.answer_request(1, False, "withdrawn", harness.now)
    harness.answer()

    told = harness.messages()[-1]
    assert (told.title, told.lines) == ("not done: halt bot", ("withdrawn",))


# ─ what is told ─


def test_how_things_are_is_told_in_a_few_lines(harness: ChatHarness) -> None:
    assert harness.say("dan", "status") == "all is quiet: 1 target"
    assert harness.say("dan", "incidents") == "there has been no incident yet"
    number = harness.trip()
    harness.say("ann", f"ack {number}")

    status = harness.say("dan", "status")
    assert status.splitlines()[0] == "1 incident open, 1 critical"
    assert f"bot: incident {number} (critical) for 4 s, ann (chat chat) is on it: errors" in status
    assert "ladder waits for its turn (run 1)" in status
    assert f"{number} bot (critical) for 4 s" in harness.say("dan", "incidents")
    told = harness.say("dan", f"incident {number}")
    assert told.splitlines()[0] == f"incident {number}: bot, critical, for 4 s"
    assert "errors (crit) for 2 s: " in told
    assert f"trading-watchdog report {number} -o incident-{number}.md" in harness.say("dan", f"report {number}")
    assert "there is no incident 99" in harness.say("dan", "incident 99")


def test_the_answers_about_an_incident_stand_in_its_thread_where_it_has_one(harness: ChatHarness) -> None:
    number = harness.trip()
    harness.press("cid", f"ack {number}")
    harness.press("ann", f"ack {number}")

    assert harness.messages()[-1].incident == number
    assert [one for one in harness.messages(0, "pager") if "already" in one.title] == []


def test_a_chart_is_asked_for_by_its_kpi_or_its_incident(harness: ChatHarness) -> None:
    harness.say("dan", "chart errors 6h")
    number = harness.trip()
    harness.press("dan", f"chart {number}")

    charts = [one["chart"] for one in harness.extras() if one.get("chart")]
    asked = charts[0], charts[-1]  # between them, those of the trip
    assert [(chart["kpi"], chart["target"], chart["span"], chart["incident"]) for chart in asked] == [
        ("errors", "bot", 6 * HOUR, None),
        ("errors", "bot", HOUR, number),
    ]
    assert "did you mean errors?" in harness.say("dan", "chart error")


def test_help_tells_each_person_what_they_may_say(harness: ChatHarness) -> None:
    assert "ack N" not in harness.say("dan", "help")
    assert "rollback" not in (said := harness.say("cid", "help"))
    assert "ack N [note]: somebody is on it" in said
    assert "halt TARGET|N [reason]" in harness.say("ann", "help")


@pytest.mark.parametrize(
    "text",
    ["rollback /etc/passwd", "rollback ../ladder", "rollback $(reboot)", "silence {{x}}", "chart ${HOME}", "halt /"],
)
def test_chat_names_nothing_that_is_not_configured(harness: ChatHarness, text: str) -> None:
    said = harness.say("ann", text)

    assert "there is no" in said
    assert harness.runs == []
    assert harness.journal.query("SELECT 1 FROM request") == []


def test_a_mistake_of_ours_is_told_and_does_not_come_back(
    harness: ChatHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr("watchdog.app.chat_desk.decide", broken)
    assert "internal error" in harness.say("ann", "status")
    harness.answer()
    assert harness.outcomes() == {"failed": 1}


def test_two_that_wait_for_their_answers_are_each_told_once(harness: ChatHarness) -> None:
    number = harness.trip()
    for person, answer in (("ann", "hold bot 1h"), ("bob", f"ack {number}")):
        harness.hear("chat", harness.event(person, answer))
    for record in harness.journal.chat.list_unanswered():  # decided, and then killed
        harness.desk._decide(record)
    newest = harness.journal.messages.last_message_id()

    harness.answer()

    told = [one.title for one in harness.messages(newest)]
    assert told == ["bot: no repairs on bot for 1 h", f"bot: incident {number} acknowledged"]
    assert harness.outcomes() == {"done": 2}


@pytest.mark.parametrize(("said", "taken", "outcome"), [("help", 0, "answered"), ("ack 1", 1, "done")])
def test_what_the_journal_does_not_take_is_told_to_nobody_until_it_does(
    harness: ChatHarness, monkeypatch: pytest.MonkeyPatch, said: str, taken: int, outcome: str
) -> None:
    """`taken`: transactions that are written down before the one that is not."""
    commits, run = itertools.count(), harness.journal._run

    def run_until_full(sql: str, *args: Any) -> Any:
        if sql == "COMMIT" and next(commits) == taken:
            raise JournalUnavailableError("the disk is full", "full")
        return run(sql, *args)

    harness.trip()
    harness.hear("chat", harness.event("ann", said, key="k1"))
    with monkeypatch.context() as full:
        full.setattr(harness.journal, "_run", run_until_full)
        with pytest.raises(JournalUnavailableError):
            harness.answer()
    assert (harness.outcomes(), harness.chat.acknowledged) == ({}, [])

    harness.answer()

    assert harness.outcomes() == {outcome: 1}
    assert [key for key, _ in harness.chat.acknowledged] == ["k1"]


def test_the_button_of_an_incident_opens_its_own_latch_though_many_incidents_came_later(harness: ChatHarness) -> None:
    first = harness.trip()
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="exhausted")
    harness.end_run(harness.runs[-1], "proven")
    harness.rounds(30, error_ratio=0.01)
    assert harness.incident is None
    with harness.journal.transaction() as tx:
        for _ in range(1_000):
            other = tx.incidents.open_incident("other", "warn", "lag: late", harness.now)
            tx.incidents.close_incident(other, harness.now)

    assert "latched: exhausted" in harness.press("ann", f"resume {first}")

    harness.trip()
    assert "latched: exhausted" in harness.press("ann", f"resume {first}")


def test_a_question_that_cannot_be_closed_keeps_no_watchdog_from_ending(
    harness: ChatHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_end = threading.Event(), threading.Event()

    def edit(*_: object) -> None:
        began.set()
        may_end.wait()

    async def main() -> None:
        harness.desk._edit("chat", "m1", Message("info", "over"))
        while not began.is_set():
            await asyncio.sleep(0.005)
        await harness.desk.stop()

    monkeypatch.setattr(harness.chat, "edit", edit)
    ending = threading.Thread(target=asyncio.run, args=(main(),))
    ending.start()
    ending.join(60)
    has_ended = not ending.is_alive()
    may_end.set()
    ending.join()

    assert has_ended
