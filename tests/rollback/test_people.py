"""What people say to a plan: yes, no, stop; and what it does while nobody says anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.rollback.rig import Rig, again, repair
from watchdog.journal import runs


def asked(rig: Rig, **said: Any) -> int:
    rig.plans["ladder"] = repair(mode="approve", approve_within="30s", **said)
    return rig.queue()


def says(rig: Rig, number: int, **fields: Any) -> None:
    with rig.journal.write() as db:
        runs.move(db, number, **fields)


def play(rig: Rig, *numbers: int, after: Callable[[], object], then: Callable[[], object]) -> None:
    """Carries out; when `after` is so, `then` happens."""

    async def play() -> None:
        rig.tend()
        await rig.until(after)
        then()
        await rig.until(lambda: not rig.unended())
        await rig.stop()

    asyncio.run(play())


def waits(rig: Rig) -> Callable[[], object]:
    return lambda: any("waits for approval" in title for title in rig.told())


def test_a_repair_that_needs_approval_says_what_it_would_do_and_begins_when_a_person_says_yes(rig: Rig) -> None:
    number = asked(rig)

    def approve() -> None:
        assert rig.changes == []
        says(rig, number, approval="approved")

    play(rig, after=waits(rig), then=approve)

    assert rig.run(number).outcome == "proven"
    (page,) = [page for page in rig.pages() if "waits" in page]
    assert f"trading-watchdog approve {number}" in page
    assert "set FEATURE = false in config.py" in page
    assert "30 s" in page


def test_a_denied_repair_touches_nothing_latches_nothing_and_uses_up_nothing(rig: Rig) -> None:
    number = asked(rig)

    play(rig, after=waits(rig), then=lambda: says(rig, number, approval="denied"))

    assert rig.run(number).outcome == "denied"
    assert rig.changes == []
    assert rig.latched() is None
    assert runs.recent(rig.journal, "bot", 0) == []


def test_without_an_answer_in_time_the_repair_is_exhausted_and_its_halt_runs(rig: Rig) -> None:
    number = asked(rig)
    began = rig.now

    rig.play()

    assert rig.run(number).outcome == "exhausted"
    assert (rig.run(number).ended or 0) - began >= 30_000
    assert rig.run(number + 1).plan == "halt"
    assert rig.run(number + 1).outcome == "proven"


def test_a_restart_does_not_begin_the_time_to_answer_anew(rig: Rig) -> None:
    number = asked(rig)

    async def wait() -> None:
        rig.tend()
        await rig.until(waits(rig))
        await rig.stop()

    asyncio.run(wait())
    heir = again(rig, after=31_000)

    heir.play()

    assert heir.run(number).outcome == "exhausted"
    assert len([title for title in heir.told() if "waits for approval" in title]) == 1
    heir.journal.close()


def test_a_halt_does_not_wait_for_an_approval(rig: Rig) -> None:
    number = asked(rig)
    halts: list[int] = []

    play(rig, after=waits(rig), then=lambda: halts.append(rig.queue("halt")))

    assert rig.run(halts[0]).outcome == "proven"
    assert rig.run(number).outcome == "overtaken"


def test_what_a_person_starts_needs_no_approval(rig: Rig) -> None:
    rig.plans["ladder"] = repair(mode="approve")
    number = rig.queue(by="person ann: now")

    rig.play()

    assert rig.run(number).outcome == "proven"


def test_a_held_target_waits_until_the_hold_is_over(rig: Rig) -> None:
    number = rig.queue()
    rig.held = "bob: the exchange is migrating"
    later = rig.now + 20_000

    def over() -> None:
        assert rig.run(number).status == "queued"
        rig.held = None

    play(rig, after=lambda: rig.now > later, then=over)

    assert rig.run(number).outcome == "proven"


def test_a_hold_keeps_nobody_from_starting_a_plan_by_hand_and_no_halt(rig: Rig) -> None:
    rig.held = "bob: the exchange is migrating"
    by_hand, halt = rig.queue(by="person ann: now"), rig.queue("halt")

    rig.play()

    assert rig.run(halt).outcome == "proven"
    assert rig.run(by_hand).outcome == "overtaken"


def test_an_abort_ends_a_plan_at_the_next_boundary_latches_and_starts_no_halt(rig: Rig) -> None:
    number = rig.queue()

    play(rig, after=lambda: rig.changes, then=lambda: says(rig, number, abort="ann: I am on it"))

    run = rig.run(number)
    assert (run.outcome, run.reason) == ("aborted", "aborted by ann: I am on it")
    assert "ann" in (rig.latched() or "")
    assert len(rig.journal.rows("SELECT id FROM run")) == 1


def test_an_abort_before_anything_was_touched_latches_nothing(rig: Rig) -> None:
    number = asked(rig)

    play(rig, after=waits(rig), then=lambda: says(rig, number, abort="ann: no"))

    assert rig.run(number).outcome == "aborted"
    assert rig.latched() is None
    assert rig.changes == []


def test_what_a_plan_disturbs_is_muted_while_it_works_and_judged_again_while_it_is_watched(rig: Rig) -> None:
    rig.plans["ladder"] = repair(disturbs=["no-trades"])
    number = rig.queue()
    during: list[str] = []
    rig.meddle = lambda verb, _: during.append(f"{verb} {rig.muted[-1]}")

    async def play() -> None:
        rig.tend()
        await rig.until(lambda: rig.run(number).status == "watching")
        await rig.until(lambda: rig.muted[-1] == [], 2)
        await rig.ended(number)
        await rig.stop()

    asyncio.run(play())

    assert rig.muted == [["no-trades"], []]
    assert "apply ['no-trades']" in during


@pytest.mark.parametrize("ends", ["aborted", "dies"])
def test_nothing_stays_muted_when_a_plan_is_over(rig: Rig, ends: str) -> None:
    rig.plans["ladder"] = repair(disturbs=["no-trades"])
    number = rig.queue()
    if ends == "aborted":
        play(rig, after=lambda: rig.changes, then=lambda: says(rig, number, abort="ann"))
        assert rig.muted == [["no-trades"], []]
        return
    rig.boundary.kill_at = 8
    assert rig.dies()
    heir = again(rig)
    heir.play()
    assert heir.muted[0] == ["no-trades"]
    assert heir.muted[-1] == []
    heir.journal.close()
