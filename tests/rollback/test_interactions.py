"""Where two things meet at night: a hang and a halt, a hold and an approval, a crash and a stage, a relapse and a stage."""

from __future__ import annotations

import asyncio
import threading

from tests.rollback.harness import RollbackHarness, flag_step, make_halt, make_repair, restart
from tests.rollback.test_recover import VERIFY_QUIET, queue_recovery, recovery_steps
from watchdog.actions.flag import FlagAction
from watchdog.core.offload import ThreadOffload
from watchdog.plans.models import Halt


def two_level_halt() -> Halt:
    that = {"that": ["alive == 1"], "give_up": "2s"}
    return make_halt(
        levels=[
            {"name": "flag", "steps": [flag_step(TRADING=False)], "verify": that},
            {"name": "model", "steps": [flag_step("other.yaml", size=0)], "verify": that},
        ]
    )


def test_a_halt_whose_first_level_hangs_goes_on_with_the_next_one(harness: RollbackHarness) -> None:
    """A disk or a resolver that never answers holds its thread for good: the next level must not wait for it."""
    harness.plans["halt"] = two_level_halt()
    let_go = threading.Event()
    pool = ThreadOffload(4, "test")

    async def hangs(key: str, deadline: float, call: object, *args: object, **kwargs: object) -> object:
        owner = getattr(call, "__self__", None)
        if (
            isinstance(owner, FlagAction)
            and owner.file.endswith("config.py")
            and getattr(call, "__name__", "") == "apply"
        ):
            return await pool(key, 0.05, let_go.wait)
        return await pool(key, deadline, call, *args, **kwargs)  # type: ignore[arg-type]

    harness._offload = hangs  # type: ignore[method-assign]
    number = harness.queue_run("halt", by="rule drawdown")

    async def play() -> None:
        harness.rollback = type(harness.rollback)(harness._make_context())
        harness.start_targets()
        for _ in range(400):
            harness.now += 500
            harness.rollback.wake()
            await asyncio.sleep(0.01)
            if harness.get_run(number).ended is not None:
                break
        let_go.set()
        await harness.stop()

    try:
        asyncio.run(play())
    finally:
        let_go.set()
        pool.close()

    assert (harness.folder / "bot" / "other.yaml").read_text() == "size: 0\n"
    assert harness.latch_reason() is not None


def test_a_mistake_of_ours_in_one_level_of_a_halt_does_not_keep_the_next_from_being_tried(
    harness: RollbackHarness,
) -> None:
    harness.plans["halt"] = two_level_halt()

    def breaks(_: str) -> bool:
        if (harness.folder / "bot" / "other.yaml").read_text() != "size: 0\n":
            raise KeyError("a mistake of ours")
        return True

    harness.condition_result = breaks
    number = harness.queue_run("halt", by="rule drawdown")

    harness.run_to_end()

    assert (harness.folder / "bot" / "other.yaml").read_text() == "size: 0\n"
    assert (harness.get_run(number).outcome, harness.latch_reason() is not None) == ("proven", True)
    assert any("a mistake of ours" in row["lines"] for row in harness.journal.query("SELECT lines FROM message"))


def test_a_queued_repair_of_which_nobody_knows_whether_it_is_wanted_can_be_aborted(harness: RollbackHarness) -> None:
    harness.is_wanted = lambda _: None
    number = harness.queue_run()

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.now > harness.get_run(number).queued + 3_000)
        with harness.journal.transaction() as tx:
            tx.runs.update_run(number, abort="ann: it waits for ever")
        await harness.advance_until_ended(number, seconds=10)
        await harness.stop()

    asyncio.run(play())

    assert (harness.get_run(number).outcome, harness.latch_reason()) == ("aborted", None)


def test_a_hold_stops_the_clock_of_an_approval_and_people_are_asked_anew_after_it(harness: RollbackHarness) -> None:
    """Who holds a target for two hours does not want its approval to run out, and a halt to follow, when the hold ends."""
    harness.plans["ladder"] = make_repair(mode="approve", approve_within="30s")
    number = harness.queue_run()

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.message_titles().count("bot: ladder waits for approval") == 1)
        harness.hold_reason = "ann: migration"
        held = harness.now
        await harness.advance_until(lambda: harness.now > held + 90_000)
        harness.hold_reason = None
        await harness.advance_until(lambda: harness.message_titles().count("bot: ladder waits for approval") == 2, 10)
        assert (harness.get_run(number).approve_by or 0) > harness.now + 20_000
        with harness.journal.transaction() as tx:
            tx.runs.update_run(number, approval="approved")
        await harness.advance_until_ended(number)
        await harness.stop()

    asyncio.run(play())

    assert (harness.get_run(number).outcome, harness.latch_reason()) == ("proven", None)


def test_what_a_person_asks_for_does_not_wait_behind_a_repair_that_is_held(harness: RollbackHarness) -> None:
    harness.hold_reason = "ann: migration"
    waiting = harness.queue_run(by="rule errors")
    harness.plans["mine"] = make_repair(levels=[{"name": "model", "steps": [flag_step(MODEL=1)]}], before=[], proven=[])
    mine = harness.queue_run("mine", by="person ann: now")

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(mine).status in ("watching", "ended"), 60)
        await harness.stop()

    asyncio.run(play())

    assert harness.config_values()["MODEL"] == "1"
    assert harness.get_run(waiting).status == "queued"


def test_a_rule_that_tripped_before_a_crash_still_takes_its_stage_back(harness: RollbackHarness) -> None:
    number = queue_recovery(harness)
    tripped: list[int] = []

    def trips(_: str, since: int) -> str | None:
        if harness.config_values()["TRADING"] == "True" and not tripped:
            tripped.append(harness.now)
        return "drawdown" if tripped and tripped[0] > since else None

    harness.tripped_rule_since = trips
    harness.crash_points.crash_at = "after set TRADING = true in config.py"
    assert harness.crashes()
    heir = restart(harness, 5_000)
    tripped.append(harness.now + 1_000)  # while nobody looked
    heir.tripped_rule_since = trips

    heir.run_to_end()

    assert heir.get_run(number).outcome == "stopped"
    assert ("back", 1, "done") in recovery_steps(heir, number)
    assert heir.config_values()["TRADING"] == "False"
    heir.journal.close()


def test_after_a_relapse_in_the_watch_the_stages_are_gone_through_again(harness: RollbackHarness) -> None:
    """The next level may have put the stage's own change back: what was proven before it proves nothing now."""
    size = [{"name": "small", "steps": [flag_step("other.yaml", size=1)], "verify": VERIFY_QUIET}]
    harness.plans["ladder"] = make_repair(
        recover=size,
        levels=[
            {"name": "feature", "steps": [flag_step(FEATURE=False)]},
            {"name": "version", "steps": [flag_step(MODEL=1), flag_step("other.yaml", size=5)]},
        ],
    )
    harness.errors_outcome = lambda config: "ok" if config["MODEL"] == "1" or not relapsed else "bad"
    relapsed: list[bool] = []
    number = harness.queue_run()

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(number).status == "watching")
        assert (harness.folder / "bot" / "other.yaml").read_text() == "size: 1\n"
        relapsed.append(True)
        await harness.advance_until_ended(number)
        await harness.stop()

    asyncio.run(play())

    assert harness.get_run(number).outcome == "proven"
    assert (harness.folder / "bot" / "other.yaml").read_text() == "size: 1\n"
