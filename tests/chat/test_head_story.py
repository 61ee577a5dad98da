"""From the trip to the end: what stands in the chat, by the pipeline's own messages and the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notifiers.test_head_editor import EditableChat
from tests.notifiers.test_outbox import FakeChannel, with_timeout
from tests.support.pipeline_harness import MAIN_YAML, RULES_YAML, PipelineHarness
from watchdog.chat.head import head_describer
from watchdog.core.errors import NotifyError
from watchdog.core.offload import ThreadOffload
from watchdog.core.telemetry import Telemetry
from watchdog.notifiers.outbox import OutboxSender


class Story:
    """A pipeline whose messages go out each second: to `chat`, which can edit, and `plain`, which cannot."""

    def __init__(self, folder: Path, rules: str = RULES_YAML) -> None:
        main = MAIN_YAML.replace("  pager:", '  plain: {type: slack, webhook: "https://127.0.0.1/x"}\n  pager:')
        self.pipeline = PipelineHarness(folder, rules, main)
        self.chat, self.plain = EditableChat(), FakeChannel()
        self.pool = ThreadOffload(2, "sending")
        self.outbox = OutboxSender(
            *(self.pipeline.journal, Telemetry("test"), lambda: self.pipeline.now, self.pool),
            {"chat": self.chat, "plain": self.plain},
            pace=0,
            describe_incident=self.pipeline.pipeline.incident_manager.firing.describe_incident,
            describe_head=head_describer(self.pipeline.journal, lambda: self.pipeline.config),
        )

    def rounds(self, number: int, **values: float) -> None:
        for _ in range(number):
            self.pipeline.round(**values)
            self.drain()

    def drain(self) -> None:
        asyncio.run(with_timeout(self.outbox.drain()))

    def close(self) -> None:
        self.pool.close()
        self.pipeline.journal.close()


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path)
    made.rounds(2)
    yield made
    made.close()


def test_the_list_of_chats_shows_each_state_and_replies_tell_the_steps(story: Story) -> None:
    story.rounds(1, error_ratio=0.123)
    story.rounds(4)
    (run,) = story.pipeline.runs
    story.pipeline.end_run(run, "proven", level=0)
    story.rounds(6, error_ratio=0.01)

    (first,) = [message for message in story.chat.shown.values() if message.title.startswith("✅")]
    assert story.chat.shown["1"] is first
    assert story.chat.sent[0].title == "🟠 bot: errors 12.3 % above 5 % — tripped"
    assert story.chat.edits[0] == "🔴 bot: errors 12.3 % above 10 % — ladder is about to start"
    assert first.buttons == ()
    assert [message.thread for message in story.chat.sent[1:]] == ["1"] * (len(story.chat.sent) - 1)
    assert story.pipeline.journal.heads.list_heads() == []


def test_where_nothing_can_be_edited_all_is_said_as_it_was_written(story: Story) -> None:
    story.rounds(5, error_ratio=0.123)

    assert story.plain.titles[0] == "bot: errors tripped"
    assert story.plain.sent[0].lines[0] == "errors 12.3 % is above 5 %"
    assert story.plain.sent[0].buttons == ()


def test_a_head_that_is_up_to_date_is_left_alone(story: Story) -> None:
    story.rounds(5, error_ratio=0.123)
    count = len(story.chat.edits)

    story.rounds(30, error_ratio=0.124)

    assert len(story.chat.edits) == count


def test_who_is_on_it_is_seen_at_once(story: Story) -> None:
    story.rounds(1, error_ratio=0.123)
    story.pipeline.requests.acknowledge(1, "ann", None, story.pipeline.now)
    story.drain()

    assert "ann is on it" in story.chat.shown["1"].lines
    assert "ack 1" not in [button.answer for button in story.chat.shown["1"].buttons]


def test_a_hold_told_where_nobody_heard_of_the_incident_is_no_head(tmp_path: Path) -> None:
    quiet = RULES_YAML.replace(
        "{name: errors, kpi: errors, target: bot,", "{name: errors, kpi: errors, target: bot, notify: [plain],"
    )
    story = Story(tmp_path, quiet)
    story.rounds(2, error_ratio=0.07)
    story.pipeline.requests.hold_target("bot", 60_000, "ann: deploying", story.pipeline.now)
    story.drain()

    assert story.chat.titles == ["bot: no repairs on bot for 1 m"]
    assert story.chat.edits == []
    story.close()


def test_what_makes_up_for_a_refused_first_message_is_the_head(story: Story) -> None:
    story.chat.answers = [NotifyError("no such chat", permanent=True)]
    story.rounds(1, error_ratio=0.07)
    assert story.chat.shown == {}

    story.rounds(65)
    (first,) = story.chat.shown.values()
    assert first.title == "🟠 bot: errors 7 % above 5 % — tripped"
    assert "messages before this one did not arrive here" in first.lines

    story.rounds(4, error_ratio=0.123)
    (edited,) = [message for message in story.chat.shown.values() if " — " in message.title]
    assert edited.title == "🔴 bot: errors 12.3 % above 10 % — ladder is about to start"


def test_many_bots_told_in_one_message_get_their_heads_with_the_next_one(tmp_path: Path) -> None:
    bots = [f"bot{n}" for n in range(7)]
    rules = """\
targets: {TARGETS}
kpis: {errors: {expr: error_ratio, unit: ratio}}
rules: [{name: errors, kpi: errors, target: all, crit: {above: 10%}}]
""".replace("TARGETS", ", ".join(f"{bot}: {{sources: []}}" for bot in bots))
    story = Story(tmp_path, rules)
    story.rounds(2, error_ratio=0.2)
    assert story.chat.titles == ["errors tripped on 7 targets"]

    number = story.pipeline.journal.incidents.find_open("bot3")
    assert number is not None
    story.pipeline.requests.acknowledge(number.id, "ann", None, story.pipeline.now)
    story.drain()

    last = story.chat.sent[-1]
    assert last.title == "🔴 bot3: errors 20 % above 10 % — tripped"
    assert "ann is on it" in last.lines
    assert not any("acknowledged" in line for line in last.lines)
    story.close()


def test_what_came_first_in_a_list_of_chats_says_it_all_when_its_incident_was_over_before_it_was_sent(
    story: Story,
) -> None:
    story.chat.answers = [NotifyError("HTTP 502"), NotifyError("HTTP 502")]
    story.rounds(1, error_ratio=0.07)
    story.rounds(8, error_ratio=0.01)

    assert story.chat.shown[min(story.chat.shown)].title.startswith("✅ bot: errors 7 % above 5 % — recovered after ")
    assert story.pipeline.journal.heads.list_heads() == []
