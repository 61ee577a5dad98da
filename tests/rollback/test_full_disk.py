"""A journal that cannot be written for a moment: nothing is done that is not written down, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rollback.harness import RollbackHarness, command_step, make_halt
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.runs import PlanRun, SqlRunReader, SqlRunWriter, Step


class FullDiskHarness(RollbackHarness):
    """The n-th commit fails, as on a full disk."""

    failing_commit = 0

    def fail_commit(self, n: int) -> None:
        self.failing_commit = n
        seen = self.crash_points.__call__

        def boundary(what: str) -> None:
            seen(what)
            if what == "commit":
                self.failing_commit -= 1
                if self.failing_commit == 0:
                    raise JournalUnavailableError("database or disk is full", "full")

        self.replace_crash_points(boundary)

    def replace_crash_points(self, call: Callable[[str], None]) -> None:
        self.journal._crash_points = call  # type: ignore[assignment]


@pytest.mark.parametrize("kind", ["ladder", "halt"])
@pytest.mark.slow
def test_a_run_goes_on_when_the_disk_has_room_again(make_folder: Callable[[], Path], kind: str) -> None:
    failed = 0
    for n in range(1, 60):
        harness = FullDiskHarness(make_folder())
        harness.plans["halt"] = make_halt(
            levels=[
                {
                    "name": "stop",
                    "steps": [command_step("stopped")],
                    "verify": {"that": ["alive == 1"], "give_up": "5s"},
                }
            ]
        )
        number = harness.queue_run(kind)
        harness.fail_commit(n)
        harness.run_to_end()
        assert harness.get_run(number).outcome == "proven", n
        assert harness.effects() == (["stopped"] if kind == "halt" else [])
        assert len(harness.changed_steps) == len(set(harness.changed_steps))
        failed += harness.failing_commit <= 0
        harness.journal.close()
        if harness.failing_commit > 0:
            break
    assert failed >= 5


def test_a_mistake_in_our_own_sql_ends_the_run_and_is_not_tried_for_ever(
    make_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = RollbackHarness(make_folder())
    number = harness.queue_run("ladder")

    def start_step(writer: SqlRunWriter, step: Step) -> None:
        harness.journal.execute("UPDATE step SET colour = ?", step.n)

    monkeypatch.setattr(SqlRunWriter, "start_step", start_step)
    harness.run_to_end()

    run = harness.get_run(number)
    assert (run.status, run.outcome) == ("ended", "stopped")
    assert "internal error: OperationalError('no such column: colour')" in run.reason
    harness.journal.close()


def test_a_journal_that_cannot_be_read_for_a_moment_ends_nobody_s_tending(
    make_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = RollbackHarness(make_folder())
    number = harness.queue_run("halt")
    read, tries = SqlRunReader.list_unfinished, []

    def list_unfinished(reader: SqlRunReader, target: str) -> list[PlanRun]:
        tries.append(target)
        if len(tries) == 1:
            raise JournalUnavailableError("disk I/O error", "io")
        return read(reader, target)

    monkeypatch.setattr(SqlRunReader, "list_unfinished", list_unfinished)
    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven"
    harness.journal.close()
