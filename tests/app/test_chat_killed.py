"""kill -9 between what somebody says and what comes of it: nothing is done twice, nothing is forgotten, every answer is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.rollback.harness import SimulatedKill
from tests.support.chat_harness import APPROVE_RULES, ChatHarness
from tests.support.pipeline_harness import SECOND
from watchdog.journal.sqlite import SqliteJournal, SqliteTransaction


class MortalJournal(SqliteJournal):
    """Dies at the n-th thing that it is asked: a question, a write, a begin, or a commit; what was committed stays."""

    points = 0
    dies_at = 0

    def _count(self) -> None:
        if self.dies_at:
            self.points += 1
            if self.points == self.dies_at:
                raise SimulatedKill

    @contextmanager
    def transaction(self, *, defer_sync: bool = False) -> Iterator[SqliteTransaction]:
        is_outer = not self._db.in_transaction
        if is_outer:
            self._count()
        with super().transaction(defer_sync=defer_sync) as tx:
            yield tx
            if is_outer:
                self._count()  # ahead of the commit
        if is_outer:
            self._count()  # behind it

    def query(self, sql: str, *args: object) -> Any:
        self._count()
        return super().query(sql, *args)

    def execute(self, sql: str, *args: object) -> None:
        self._count()
        super().execute(sql, *args)

    def insert(self, sql: str, *args: object) -> int:
        self._count()
        return super().insert(sql, *args)


class MortalHarness(ChatHarness):
    """Whoever says something says it again until it was taken in, as the services do."""

    def open(self) -> None:
        super().open()
        self.journal.close()
        journal = MortalJournal(self.folder / "journal.db", durable=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.support.pipeline_harness.SqliteJournal", lambda *_, **__: journal)
            super().open()

    def say_and_die(self, person: str, text: str, point: int) -> bool:
        """It dies at that point, comes back, and gets it told again; False: there are not so many points."""
        journal = self.journal
        assert isinstance(journal, MortalJournal)
        said = self.event(person, text, button=True)
        journal.dies_at = point
        try:
            self.hear("chat", said)
            self.answer()
            died = False
        except SimulatedKill:
            died = True
        journal.dies_at = 0
        if died:
            self.restart(SECOND)
        self.hear("chat", said)
        self.answer()
        self.hear("chat", said)
        self.answer()
        return died


STORIES: dict[str, tuple[list[str], str]] = {
    "ack": (["ack 1"], "SELECT count(*) FROM event WHERE kind = 'ack'"),
    "hold": (["hold 1 2h"], "SELECT count(*) FROM stay"),
    "approve": (["approve 1"], "SELECT count(*) FROM event WHERE text LIKE 'ladder approved%'"),
    "halt": (["halt 1"], "SELECT count(*) FROM run WHERE plan = 'halt'"),
    "rollback": (["rollback halt", "confirm 1"], "SELECT count(*) FROM run WHERE plan = 'halt'"),
}
"""What is said, one after the other, and how often it has taken effect."""


@pytest.mark.parametrize(
    "story", [pytest.param(name, marks=[] if name == "rollback" else [pytest.mark.slow]) for name in STORIES]
)
def test_wherever_it_dies_it_takes_effect_once_and_is_told(tmp_path: Path, story: str) -> None:
    words, effects = STORIES[story]
    deaths, point = 0, 0
    while True:
        point += 1
        harness = MortalHarness(tmp_path / f"{point}", APPROVE_RULES)
        harness.rounds(2)
        harness.trip()
        harness.ask_approval()
        newest = harness.journal.messages.last_message_id()
        *before, last = words
        for text in before:
            harness.say("ann", text)
        died = harness.say_and_die("ann", last, point)
        deaths += died

        assert harness.journal.query(effects)[0][0] == 1, point
        assert harness.journal.query("SELECT count(*) FROM chat_event WHERE answered IS NULL")[0][0] == 0, point
        assert harness.journal.query("SELECT count(*) FROM request")[0][0] == 1, point
        assert harness.journal.query("SELECT count(*) FROM request WHERE answered IS NULL OR ok = 0")[0][0] == 0, point
        told = [one.title for one in harness.messages(newest) if "?" not in one.title]
        assert len(told) == len(set(told)) > 0, (point, told)
        harness.journal.close()
        if not died:
            break
    assert deaths >= 25, deaths
