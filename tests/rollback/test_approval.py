"""What people say to a plan: yes, no, stop; and what it does while nobody says anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.rollback.harness import RollbackHarness, make_repair, restart


def queue_approval(harness: RollbackHarness, **said: Any) -> int:
    harness.plans["ladder"] = make_repair(mode="approve", approve_within="30s", **said)
    return harness.queue_run()


def update_run(harness: RollbackHarness, number: int, **fields: Any) -> None:
    with harness.journal.transaction() as tx:
        tx.runs.update_run(number, **fields)


def run_with_event(
    harness: RollbackHarness, *numbers: int, after: Callable[[], object], callback: Callable[[], object]
) -> None:
    """Carries out; when `after` is so, `then` happens."""

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(after)
        callback()
        await harness.advance_until(lambda: not harness.open_runs())
        await harness.stop()

    asyncio.run(play())


def waiting_for_approval(harness: RollbackHarness) -> Callable[[], object]:
    return lambda: any("waits for approval" in title for title in harness.message_titles())


def test_a_repair_that_needs_approval_says_what_it_would_do_and_begins_when_a_person_says_yes(
    harness: RollbackHarness,
) -> None:
    number = queue_approval(harness)

    def approve() -> None:
        assert harness.changed_steps == []
        update_run(harness, number, approval="approved")

    run_with_event(harness, after=waiting_for_approval(harness), callback=approve)

    assert harness.get_run(number).outcome == "proven"
    (page,) = [page for page in harness.critical_messages() if "waits" in page]
    assert f"trading-watchdog approve {number}" in page
    assert "set FEATURE = false in config.py" in page
    assert "without an answer within 30 s the halt runs" in page


def test_a_denied_repair_touches_nothing_latches_nothing_and_uses_up_nothing(harness: RollbackHarness) -> None:
    number = queue_approval(harness)

    run_with_event(
        harness, after=waiting_for_approval(harness), callback=lambda: update_run(harness, number, approval="denied")
    )

    assert harness.get_run(number).outcome == "denied"
    assert harness.changed_steps == []
    assert harness.latch_reason() is None
    assert harness.journal.runs.list_recent_automatic("bot", 0) == []


def test_without_an_answer_in_time_the_repair_is_exhausted_and_its_halt_runs(harness: RollbackHarness) -> None:
    number = queue_approval(harness)
    began = harness.now

    harness.run_to_end()

    assert harness.get_run(number).outcome == "exhausted"
    assert (harness.get_run(number).ended or 0) - began >= 30_000
    assert harness.get_run(number + 1).plan == "halt"
    assert harness.get_run(number + 1).outcome == "proven"


def test_a_restart_does_not_begin_the_time_to_answer_anew(harness: RollbackHarness) -> None:
    number = queue_approval(harness)

    async def wait() -> None:
        harness.start_targets()
        await harness.advance_until(waiting_for_approval(harness))
        await harness.stop()

    asyncio.run(wait())
    heir = restart(harness, downtime=31_000)

    heir.run_to_end()

    assert heir.get_run(number).outcome == "exhausted"
    assert len([title for title in heir.message_titles() if "waits for approval" in title]) == 1
    heir.journal.close()


def test_a_halt_does_not_wait_for_an_approval(harness: RollbackHarness) -> None:
    number = queue_approval(harness)
    halts: list[int] = []

    run_with_event(
        harness, after=waiting_for_approval(harness), callback=lambda: halts.append(harness.queue_run("halt"))
    )

    assert harness.get_run(halts[0]).outcome == "proven"
    assert harness.get_run(number).outcome == "overtaken"


def test_what_a_person_starts_needs_no_approval(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(mode="approve")
    number = harness.queue_run(by="person ann: now")

    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven"


def test_a_held_target_waits_until_the_hold_is_over(harness: RollbackHarness) -> None:
    number = harness.queue_run()
    harness.hold_reason = "bob: the exchange is migrating"
    later = harness.now + 20_000

    def over() -> None:
        assert harness.get_run(number).status == "queued"
        harness.hold_reason = None

    run_with_event(harness, after=lambda: harness.now > later, callback=over)

    assert harness.get_run(number).outcome == "proven"


def test_a_hold_keeps_nobody_from_starting_a_plan_by_hand_and_no_halt(harness: RollbackHarness) -> None:
    harness.hold_reason = "bob: the exchange is migrating"
    by_hand, halt = harness.queue_run(by="person ann: now"), harness.queue_run("halt")

    harness.run_to_end()

    assert harness.get_run(halt).outcome == "proven"
    assert harness.get_run(by_hand).outcome == "overtaken"


def test_an_abort_ends_a_plan_at_the_next_boundary_latches_and_starts_no_halt(harness: RollbackHarness) -> None:
    number = harness.queue_run()

    run_with_event(
        harness,
        after=lambda: harness.changed_steps,
        callback=lambda: update_run(harness, number, abort="ann: I am on it"),
    )

    run = harness.get_run(number)
    assert (run.outcome, run.reason) == ("aborted", "aborted by ann: I am on it")
    assert "ann" in (harness.latch_reason() or "")
    assert len(harness.journal.query("SELECT id FROM run")) == 1


def test_an_abort_before_anything_was_touched_latches_nothing(harness: RollbackHarness) -> None:
    number = queue_approval(harness)

    run_with_event(
        harness, after=waiting_for_approval(harness), callback=lambda: update_run(harness, number, abort="ann: no")
    )

    assert harness.get_run(number).outcome == "aborted"
    assert harness.latch_reason() is None
    assert harness.changed_steps == []


def test_what_a_plan_disturbs_is_muted_while_it_works_and_judged_again_while_it_is_watched(
    harness: RollbackHarness,
) -> None:
    harness.plans["ladder"] = make_repair(disturbs=["no-trades"])
    number = harness.queue_run()
    during: list[str] = []
    harness.before_call = lambda verb, _: during.append(f"{verb} {harness.mute_calls[-1]}")

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(number).status == "watching")
        await harness.advance_until(lambda: harness.mute_calls[-1] == [], 2)
        await harness.advance_until_ended(number)
        await harness.stop()

    asyncio.run(play())

    assert harness.mute_calls == [["no-trades"], []]
    assert "apply ['no-trades']" in during


@pytest.mark.parametrize("ends", ["aborted", "dies"])
def test_nothing_stays_muted_when_a_plan_is_over(harness: RollbackHarness, ends: str) -> None:
    harness.plans["ladder"] = make_repair(disturbs=["no-trades"])
    number = harness.queue_run()
    if ends == "aborted":
        run_with_event(
            harness, after=lambda: harness.changed_steps, callback=lambda: update_run(harness, number, abort="ann")
        )
        assert harness.mute_calls == [["no-trades"], []]
        return
    harness.crash_points.crash_after = 8
    assert harness.crashes()
    heir = restart(harness)
    heir.run_to_end()
    assert heir.mute_calls[0] == ["no-trades"]
    assert heir.mute_calls[-1] == []
    heir.journal.close()
