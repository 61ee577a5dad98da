"""People in a chat, a pipeline, and what stands between them: without a daemon, a second a round."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

from tests.support.listening import FakeChat
from tests.support.pipeline_harness import RULES_YAML, SECOND, PipelineHarness
from watchdog.app.chat_desk import ChatDesk
from watchdog.app.request_queue import RequestQueue
from watchdog.app.slow_requests import SlowRequests
from watchdog.config import Config
from watchdog.core.chat import ChatEvent
from watchdog.core.model import Button, Message
from watchdog.core.offload import ThreadOffload
from watchdog.journal.requests import Request
from watchdog.journal.serialization import from_json

MAIN_YAML = """\
sources:
  bot: {type: scrape, url: "http://127.0.0.1:1/metrics", every: 1s}
  host: {type: host, every: 1s, disks: [/]}
channels:
  chat: {type: telegram, token: "1:abc", chat: -100, from: info}
  pager: {type: slack, token: xoxb-12345678, channel: C0123457, from: crit}
people:
  ann: {telegram: 11, slack: U0000ANN, may: act}
  bob: {telegram: 12, may: act}
  cid: {telegram: 13, may: ack}
  dan: {telegram: 14, may: see}
state: state
"""
PEOPLE = {"ann": "11", "bob": "12", "cid": "13", "dan": "14", "eve": "666"}
APPROVE_RULES = RULES_YAML.replace("mode: auto", "mode: approve")
TWO_PEOPLE_RULES = RULES_YAML.replace("mode: auto", "mode: approve\n    two_people: true")


class _NothingToSee:
    """Targets that need no look before an answer."""

    async def may_answer(self, request: Request) -> bool:
        return True


class ChatHarness(PipelineHarness):
    """`chat` is where people talk; what they are told is what the journal has for it."""

    def __init__(self, folder: Path, rules: str = RULES_YAML, main: str = MAIN_YAML) -> None:
        self.chat, self.pager = FakeChat(), FakeChat("slack", "C0123457", "crit")
        self._keys = itertools.count(1)
        super().__init__(folder, rules, main)

    def open(self) -> None:
        super().open()
        self.queue = RequestQueue(
            self.journal,
            self.requests,
            SlowRequests({}, self.journal, lambda: self.now),
            cast(Any, _NothingToSee()),
            lambda: self.now,
            lambda: None,
        )
        self.desk = ChatDesk(
            self.journal,
            self.pipeline.telemetry,
            lambda: self.now,
            lambda: self.heard_config,
            ThreadOffload(None, "sending"),
            answer_requests=self.queue.answer_all,
            notify_pending=lambda: None,
        )
        self.queue.tell_answer = self.desk.tell_answer

    @property
    def heard_config(self) -> Config:
        channels: Any = {"chat": self.chat, "pager": self.pager}
        return dataclasses.replace(self.config, channels={name: channels[name] for name in self.config.channels})

    def event(
        self,
        person: str,
        text: str,
        *,
        button: bool = False,
        key: str = "",
        age: int = 0,
        chat: str = "-100",
        **more: Any,
    ) -> ChatEvent:
        """`age` in ms."""
        key = key or f"e{next(self._keys)}"
        return ChatEvent(key, PEOPLE[person], person.title(), chat, text, self.now - age, button, **more)

    def hear(self, channel: str, event: ChatEvent) -> None:
        """Taken in, and not yet decided."""
        asyncio.run(self._and_settle(self.desk.receive(channel, event)))

    def answer(self) -> None:
        asyncio.run(self._and_settle(self.desk.answer_all()))

    async def _and_settle(self, doing: Coroutine[Any, Any, None]) -> None:
        """Until every word to who pressed a button has arrived, too."""
        try:
            await doing
        finally:
            await asyncio.gather(*(task for tasks in self.desk._saying.values() for task in tasks))

    def say(self, person: str, text: str, *, channel: str = "chat", **more: Any) -> str:
        """Said and answered; what the channel was told by it, the newest message last."""
        newest = self.journal.messages.last_message_id()
        self.hear(channel, self.event(person, text, **more))
        self.answer()
        return "\n".join("\n".join([one.title, *one.lines]) for one in self.messages(newest, channel))

    def press(self, person: str, answer: str, **more: Any) -> str:
        return self.say(person, answer, button=True, **more)

    def messages(self, after: int = 0, channel: str = "chat") -> list[Message]:
        rows = self.journal.query("SELECT * FROM message WHERE id > ? AND channel = ? ORDER BY id", after, channel)
        return [
            Message(
                row["severity"],
                row["title"],
                tuple(from_json(row["lines"])),
                row["incident"],
                buttons=tuple(Button(*each) for each in from_json(row["extra"]).get("buttons", ()))
                if row["extra"]
                else (),
            )
            for row in rows
        ]

    def extras(self) -> list[dict[str, Any]]:
        """Buttons and charts, as the journal keeps them."""
        rows = self.journal.query("SELECT extra FROM message WHERE extra IS NOT NULL ORDER BY id")
        return [from_json(row["extra"]) for row in rows]

    def buttons(self) -> list[str]:
        """What the buttons of the newest message that has any answer."""
        return [button.answer for button in [one for one in self.messages() if one.buttons][-1].buttons]

    def outcomes(self, channel: str = "chat") -> dict[str, float]:
        """As the metrics have them."""
        return {
            sample.labels["outcome"]: sample.value
            for family in self.pipeline.telemetry.registry.collect()
            for sample in family.samples
            if sample.name == "watchdog_chat_answers_total" and sample.labels["channel"] == channel
        }

    def trip(self) -> int:
        """The bot makes errors until its ladder is queued; the number of the incident."""
        self.rounds(5, error_ratio=0.5)
        incident = self.incident
        assert incident is not None
        return incident.id

    def ask_approval(self) -> int:
        """The run that was queued waits for approval, as the rollback leaves it; its number."""
        run = self.runs[-1]
        with self.journal.transaction() as tx:
            tx.runs.update_run(run.id, approve_by=self.now + 15 * 60 * SECOND)
        return run.id

    def event_texts(self, kind: str = "person") -> list[str]:
        return [row["text"] for row in self.journal.query("SELECT text FROM event WHERE kind = ? ORDER BY id", kind)]
