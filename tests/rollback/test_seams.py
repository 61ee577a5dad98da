"""Where two things meet at night: a hang and a halt, a hold and an approval, a crash and a stage, a relapse and a stage."""

from __future__ import annotations

import asyncio
import threading

from tests.rollback.rig import Rig, again, flag, halt, repair
from tests.rollback.test_recover import QUIET, resumed, stages
from watchdog.actions.flag import Flag
from watchdog.actions.plan import Halt
from watchdog.journal import runs
from watchdog.offload import Offload


def two_rungs() -> Halt:
    that = {"that": ["alive == 1"], "give_up": "2s"}
    return halt(
        levels=[
            {"name": "flag", "steps": [flag(TRADING=False)], "verify": that},
            {"name": "model", "steps": [flag("other.yaml", size=0)], "verify": that},
        ]
    )


def test_a_halt_whose_first_level_hangs_goes_on_with_the_next_one(rig: Rig) -> None:
    """A disk or a resolver that never answers holds its thread for good: the next level must not wait for it."""
    rig.plans["halt"] = two_rungs()
    let_go = threading.Event()
    pool = Offload(4, "test")

    async def hangs(key: str, deadline: float, call: object, *args: object, **kwargs: object) -> object:
        owner = getattr(call, "__self__", None)
        if isinstance(owner, Flag) and owner.file.endswith("config.py") and getattr(call, "__name__", "") == "apply":
            return await pool(key, 0.05, let_go.wait)
        return await pool(key, deadline, call, *args, **kwargs)  # type: ignore[arg-type]

    rig._offload = hangs  # type: ignore[method-assign]
    number = rig.queue("halt", by="rule drawdown")

    async def play() -> None:
        rig.rollback = type(rig.rollback)(rig._hands())
        rig.tend()
        for _ in range(400):
            rig.now += 500
            rig.rollback.wake()
            await asyncio.sleep(0.01)
            if rig.run(number).ended is not None:
                break
        let_go.set()
        await rig.stop()

    try:
        asyncio.run(play())
    finally:
        let_go.set()
        pool.close()

    assert (rig.folder / "bot" / "other.yaml").read_text() == "size: 0\n"
    assert rig.latched() is not None


def test_a_mistake_of_ours_in_one_level_of_a_halt_does_not_keep_the_next_from_being_tried(rig: Rig) -> None:
    rig.plans["halt"] = two_rungs()

    def breaks(_: str) -> bool:
        if (rig.folder / "bot" / "other.yaml").read_text() != "size: 0\n":
            raise KeyError("a mistake of ours")
        return True

    rig.that = breaks
    number = rig.queue("halt", by="rule drawdown")

    rig.play()

    assert (rig.folder / "bot" / "other.yaml").read_text() == "size: 0\n"
    assert (rig.run(number).outcome, rig.latched() is not None) == ("proven", True)
    assert any("a mistake of ours" in row["lines"] for row in rig.journal.rows("SELECT lines FROM message"))


def test_a_queued_repair_of_which_nobody_knows_whether_it_is_wanted_can_be_aborted(rig: Rig) -> None:
    rig.wanted = lambda _: None
    number = rig.queue()

    async def play() -> None:
        rig.tend()
        await rig.until(lambda: rig.now > rig.run(number).queued + 3_000)
        with rig.journal.write() as db:
            runs.move(db, number, abort="ann: it waits for ever")
        await rig.ended(number, seconds=10)
        await rig.stop()

    asyncio.run(play())

    assert (rig.run(number).outcome, rig.latched()) == ("aborted", None)


def test_a_hold_stops_the_clock_of_an_approval_and_people_are_asked_anew_after_it(rig: Rig) -> None:
    """Who holds a target for two hours does not want its approval to run out, and a halt to follow, when the hold ends."""
    rig.plans["ladder"] = repair(mode="approve", approve_within="30s")
    number = rig.queue()

    async def play() -> None:
        rig.tend()
        await rig.until(lambda: rig.told().count("bot: ladder waits for approval") == 1)
        rig.held = "ann: migration"
        held = rig.now
        await rig.until(lambda: rig.now > held + 90_000)
        rig.held = None
        await rig.until(lambda: rig.told().count("bot: ladder waits for approval") == 2, 10)
        assert (rig.run(number).approve_by or 0) > rig.now + 20_000
        with rig.journal.write() as db:
            runs.move(db, number, approval="approved")
        await rig.ended(number)
        await rig.stop()

    asyncio.run(play())

    assert (rig.run(number).outcome, rig.latched()) == ("proven", None)


def test_what_a_person_asks_for_does_not_wait_behind_a_repair_that_is_held(rig: Rig) -> None:
    rig.held = "ann: migration"
    waiting = rig.queue(by="rule errors")
    rig.plans["mine"] = repair(levels=[{"name": "model", "steps": [flag(MODEL=1)]}], before=[], proven=[])
    mine = rig.queue("mine", by="person ann: now")

    async def play() -> None:
        rig.tend()
        await rig.until(lambda: rig.run(mine).status in ("watching", "ended"), 60)
        await rig.stop()

    asyncio.run(play())

    assert rig.config()["MODEL"] == "1"
    assert rig.run(waiting).status == "queued"


def test_a_rule_that_tripped_before_a_crash_still_takes_its_stage_back(rig: Rig) -> None:
    number = resumed(rig)
    tripped: list[int] = []

    def trips(_: str, since: int) -> str | None:
        if rig.config()["TRADING"] == "True" and not tripped:
            tripped.append(rig.now)
        return "drawdown" if tripped and tripped[0] > since else None

    rig.trips_since = trips
    rig.boundary.die_at = "after set TRADING = true in config.py"
    assert rig.dies()
    heir = again(rig, 5_000)
    tripped.append(rig.now + 1_000)  # while nobody looked
    heir.trips_since = trips

    heir.play()

    assert heir.run(number).outcome == "stopped"
    assert ("back", 1, "done") in stages(heir, number)
    assert heir.config()["TRADING"] == "False"
    heir.journal.close()


def test_after_a_relapse_in_the_watch_the_stages_are_gone_through_again(rig: Rig) -> None:
    """The next level may have put the stage's own change back: what was proven before it proves nothing now."""
    size = [{"name": "small", "steps": [flag("other.yaml", size=1)], "verify": QUIET}]
    rig.plans["ladder"] = repair(
        recover=size,
        levels=[
            {"name": "feature", "steps": [flag(FEATURE=False)]},
            {"name": "version", "steps": [flag(MODEL=1), flag("other.yaml", size=5)]},
        ],
    )
    rig.errors = lambda config: "ok" if config["MODEL"] == "1" or not relapsed else "bad"
    relapsed: list[bool] = []
    number = rig.queue()

    async def play() -> None:
        rig.tend()
        await rig.until(lambda: rig.run(number).status == "watching")
        assert (rig.folder / "bot" / "other.yaml").read_text() == "size: 1\n"
        relapsed.append(True)
        await rig.ended(number)
        await rig.stop()

    asyncio.run(play())

    assert rig.run(number).outcome == "proven"
    assert (rig.folder / "bot" / "other.yaml").read_text() == "size: 1\n"
