"""Proof, disproof and doubt; the watch after it; and time that nobody watched."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.rollback.rig import START, KilledError, Rig, again, flag, once, repair
from watchdog.actions.plan import HttpCheck, LogCheck
from watchdog.offload import DeadlineError, Offload
from watchdog.rollback.checks import LogReader

# ─ proof, doubt and the watch ─


def relapsing(rig: Rig, watched: list[int] | None = None) -> list[int]:
    """The feature's flag helps until trading is on again for a while; the old model helps for good.

    Returns when that was, for the next process.
    """
    rig.plans["ladder"] = repair(verify={"settle": "1s", "quiet": "1s", "give_up": "20s", "watch": "12s"})
    since = [] if watched is None else watched

    def errors(config: dict[str, str]) -> Any:
        if config["MODEL"] == "1":
            return "ok"
        if rig.run(1).status == "watching":
            since.append(rig.now)
        return "bad" if config["FEATURE"] == "True" or (since and rig.now > since[0] + 5_000) else "ok"

    rig.errors = errors
    return since


def test_a_relapse_within_the_watch_goes_on_at_the_next_level_with_trading_off_again(rig: Rig) -> None:
    relapsing(rig)
    trading = []
    rig.meddle = lambda verb, say: trading.append((verb, say, rig.config()["TRADING"]))
    run = rig.queue()

    rig.play()

    assert rig.did(run) == [
        ("before", 0, "set TRADING = false in config.py", "done"),
        ("level", 0, "set FEATURE = false in config.py", "done"),
        ("proven", 0, "set TRADING = true in config.py", "done"),
        ("before", 1, "set TRADING = false in config.py", "done"),
        ("level", 1, "set MODEL = 1 in config.py", "done"),
        ("level", 1, "set size = 1 in other.yaml", "done"),
        ("proven", 1, "set TRADING = true in config.py", "done"),
    ]
    assert ("apply", "set MODEL = 1 in config.py", "False") in trading
    assert (rig.run(run).outcome, rig.run(run).level) == ("proven", 1)
    assert "bot: ladder: tripped again within the watch, level version starts" in rig.told()


def test_wherever_it_dies_in_a_relapse_no_level_runs_twice(folder: Callable[[], Path]) -> None:
    whole = Rig(folder())
    relapsing(whole)
    whole.queue()
    start = len(whole.boundary.seen)
    whole.play()
    points = whole.boundary.seen[start:]
    relapse = next(number for number, point in enumerate(points) if point == "after set TRADING = true in config.py")

    for number in range(relapse + 1, len(points) + 1):
        first = Rig(folder())
        watched = relapsing(first)
        first.queue()
        first.boundary.kill_at = number
        assert first.dies(), number
        heir = again(first)
        relapsing(heir, watched)
        heir.play()

        assert heir.run(1).outcome == "proven", number
        assert [step[:3] for step in heir.did(1)] == [step[:3] for step in whole.did(1)], number
        assert first.changes + heir.changes == whole.changes, number
        heir.journal.close()
    whole.journal.close()


def test_a_relapse_that_was_seen_is_acted_upon_however_long_the_watchdog_was_away(rig: Rig) -> None:
    watched = relapsing(rig)
    run = rig.queue()

    async def seen() -> None:
        rig.tend()
        await rig.until(lambda: rig.run(run).status == "watching")
        rig.boundary.kill_at = 2  # the first is what tells of it
        await rig.until(lambda: False)

    with pytest.raises(KilledError):
        asyncio.run(seen())
    assert rig.told()[-1] == "bot: ladder: tripped again within the watch, level version starts"
    heir = again(rig, 3_600_000)
    relapsing(heir, watched)
    heir.play()

    assert (heir.run(run).outcome, heir.run(run).level) == ("proven", 1)
    heir.journal.close()


def test_what_somebody_changes_during_the_watch_is_no_reason_to_stop_when_the_watchdog_restarts(rig: Rig) -> None:
    rig.plans["ladder"] = repair(verify={"settle": "1s", "quiet": "1s", "give_up": "20s", "watch": "12s"})
    run = rig.queue()

    async def watched() -> None:
        rig.tend()
        await rig.until(lambda: rig.run(run).status == "watching")
        await rig.stop()

    asyncio.run(watched())
    config = rig.folder / "bot" / "config.py"
    config.write_text(config.read_text().replace("TRADING = True", "TRADING = False"))
    heir = again(rig, 60_000)
    heir.play()

    assert heir.run(run).outcome == "proven"
    assert heir.config()["TRADING"] == "False"
    heir.journal.close()


def test_a_watch_that_another_plan_ends_does_not_say_that_all_stayed_well(rig: Rig) -> None:
    rig.plans["ladder"] = repair(verify={"settle": "1s", "quiet": "1s", "give_up": "20s", "watch": "12s"})
    rig.plans["other"] = repair(before=[], proven=[], levels=[{"name": "size", "steps": [flag("other.yaml", size=9)]}])
    run = rig.queue()

    async def story() -> None:
        rig.tend()
        await rig.until(lambda: rig.run(run).status == "watching")
        other = rig.queue("other")
        await rig.ended(run, other)
        await rig.stop()

    asyncio.run(story())

    assert rig.run(run).outcome == "proven"
    assert rig.run(run).reason == "level version helped, and other is wanted before the watch is over"


def test_without_proof_in_time_nothing_more_is_tried_and_the_bot_is_halted(rig: Rig) -> None:
    rig.errors = lambda _: "nodata"
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "exhausted"
    assert [step[1] for step in rig.did(run)] == [0, 0]
    assert [rig.run(row[0]).outcome for row in rig.journal.rows("SELECT id FROM run WHERE plan = 'halt'")] == ["proven"]
    assert (rig.latched() or "").startswith("ladder exhausted: level feature: no proof within 20 s")
    assert any("ladder exhausted" in page and "next: halt" in page for page in rig.pages())


def test_a_repair_that_may_leave_the_bot_running_latches_and_halts_nothing(rig: Rig) -> None:
    rig.errors = lambda _: "bad"
    rig.plans["ladder"] = repair(exhausted="leave-running")
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "exhausted"
    assert rig.latched()
    assert rig.unended() == []
    assert rig.journal.rows("SELECT 1 FROM run WHERE kind = 'halt'") == []


def test_downtime_does_not_count_towards_giving_up(rig: Rig) -> None:
    rig.errors = lambda _: "nodata"
    run = rig.queue()

    async def waiting() -> None:
        rig.tend()
        await rig.until(lambda: rig.now >= START + 15_000)
        await rig.stop()

    asyncio.run(waiting())
    heir = again(rig, 3_600_000)
    began = heir.now
    heir.errors = lambda _: "nodata" if heir.now < began + 15_000 else "ok"
    heir.play()

    assert heir.run(run).outcome == "proven"
    assert heir.run(run).level == 0
    heir.journal.close()


def test_what_was_well_before_the_last_step_proves_nothing(rig: Rig) -> None:
    since = []
    real = rig._evidence

    def evidence(target: str, terms: Any, that: Any, after: int, now: int) -> Any:
        since.append(after)
        return real(target, terms, that, after, now)

    rig._evidence = evidence  # type: ignore[assignment,method-assign]
    run = rig.queue()

    rig.play()

    steps = {(step.phase, step.level, step.n): step.ended for step in rig.steps(run)}
    assert set(since) == {steps["level", 0, 0], steps["level", 1, 1], steps["proven", 1, 0]}


def test_a_bot_that_was_restarted_and_does_not_stay_up_is_disproof(rig: Rig) -> None:
    levels = [{"name": "restart", "steps": [once("restart")]}, {"name": "version", "steps": [flag(MODEL=1)]}]
    rig.plans["ladder"] = repair(levels=levels, verify={"settle": "1m", "quiet": "1s", "give_up": "10m"})
    rig.errors = lambda _: "ok"

    def meddle(verb: str, say: str) -> None:
        if rig.now >= START + 5_000:
            (rig.folder / "bot" / "effects").unlink(missing_ok=True)

    rig.meddle = meddle
    run = rig.queue()

    rig.play()

    assert rig.run(run).level == 1
    second = next(step for step in rig.steps(run) if step.level == 1)
    assert (second.started or 0) < START + 10_000  # and not after the minute that it is left to settle


# ─ verify commands ─


def checked(*argv: str) -> Any:
    verify = {"settle": "0s", "run": list(argv), "quiet": "1s", "give_up": "5m"}
    levels = [{"name": "one", "steps": [flag(FEATURE=False)]}, {"name": "two", "steps": [flag(MODEL=1)]}]
    return repair(verify=verify, levels=levels)


@pytest.mark.parametrize(
    ("argv", "outcome", "level"),
    [
        (["true"], "proven", 0),
        (["sh", "-c", "grep -q 'MODEL = 1' config.py"], "proven", 1),
        (["false"], "exhausted", 1),
    ],
)
def test_a_verify_command_that_says_no_is_disproof(rig: Rig, argv: list[str], outcome: str, level: int) -> None:
    rig.errors = lambda _: "ok"
    rig.plans["ladder"] = checked(*argv)
    run = rig.queue()

    rig.play()

    assert (rig.run(run).outcome, rig.run(run).level) == (outcome, level)


def test_a_verify_command_that_is_not_there_says_nothing_about_the_bot(rig: Rig) -> None:
    rig.errors = lambda _: "ok"
    rig.plans["ladder"] = checked("./no-such-script.sh")
    run = rig.queue()

    rig.play()

    assert (rig.run(run).outcome, rig.run(run).level) == ("exhausted", 0)
    assert "./no-such-script.sh was not found" in rig.run(run).reason
    assert rig.config()["MODEL"] == "2"


def test_a_halt_does_not_wait_for_a_verify_command_and_nothing_of_it_is_left(rig: Rig) -> None:
    rig.plans["ladder"] = checked("sh", "-c", "echo $$ > pid; exec sleep 300")
    rig.pool = Offload(2, "acting")
    run = rig.queue()
    pid = rig.folder / "bot" / "pid"

    async def story() -> int:
        rig.tend()
        await really(lambda: pid.exists() and pid.read_text())
        halting = rig.queue("halt", by="rule drawdown")
        rig.rollback.wake()
        await really(lambda: rig.run(halting).ended)
        await rig.stop()
        return halting

    halting = asyncio.run(story())

    assert rig.run(run).outcome == "overtaken"
    assert rig.run(halting).outcome == "proven"
    assert not psutil.pid_exists(int(pid.read_text()))
    rig.pool.close()


def test_a_stop_of_the_daemon_does_not_wait_for_a_verify_command(rig: Rig) -> None:
    rig.plans["ladder"] = checked("sh", "-c", "echo $$ > pid; exec sleep 300")
    rig.pool = Offload(2, "acting")
    run = rig.queue()
    pid = rig.folder / "bot" / "pid"

    async def story() -> None:
        rig.tend()
        await really(lambda: pid.exists() and pid.read_text())
        await asyncio.wait_for(rig.rollback.stop(), 60)

    asyncio.run(story())

    assert rig.run(run).status == "running"
    assert not psutil.pid_exists(int(pid.read_text()))
    rig.pool.close()


def test_a_halt_does_not_wait_for_what_hangs_in_a_repair(rig: Rig) -> None:
    let_go = threading.Event()
    rig.pool = Offload(2, "acting")

    async def story() -> None:
        assert rig.pool is not None
        with pytest.raises(DeadlineError):
            await rig.pool("repair bot", 0.01, let_go.wait, 60)
        halting = rig.queue("halt")
        rig.tend()
        await really(lambda: rig.run(halting).ended)
        await rig.stop()
        assert rig.run(halting).outcome == "proven"

    asyncio.run(story())
    let_go.set()
    rig.pool.close()


async def really(fact: Callable[[], object]) -> None:
    """Waits for what takes real time."""
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.01)


# ─ time that nobody watched ─


async def jump(rig: Rig, run: int, when: Callable[[], object], by: int) -> None:
    rig.tend()
    await rig.until(when)
    rig.now += by
    await rig.ended(run)
    await rig.stop()


@pytest.mark.parametrize("by", [3_600_000, -3_600_000], ids=["asleep for an hour", "set back by an hour"])
def test_a_clock_that_jumps_counts_neither_towards_giving_up_nor_against_the_proof(rig: Rig, by: int) -> None:
    rig.errors = lambda _: "nodata" if abs(rig.now - START) < 15_000 else "ok"
    run = rig.queue()

    asyncio.run(jump(rig, run, lambda: rig.now >= START + 12_000, by))

    assert (rig.run(run).outcome, rig.run(run).level) == ("proven", 0)


def test_an_hour_asleep_is_no_hour_of_quiet(rig: Rig) -> None:
    rig.errors = lambda _: "ok"
    rig.plans["ladder"] = repair(verify={"settle": "0s", "quiet": "10s", "give_up": "1m"})
    run = rig.queue()

    asyncio.run(jump(rig, run, lambda: rig.now >= START + 3_000, 3_600_000))

    assert rig.run(run).outcome == "proven"
    assert (rig.run(run).ended or 0) - START > 3_600_000 + 9_000


def test_an_hour_asleep_is_no_hour_of_watch(rig: Rig) -> None:
    relapsing(rig)
    run = rig.queue()

    asyncio.run(jump(rig, run, lambda: rig.run(run).status == "watching", 3_600_000))

    assert (rig.run(run).outcome, rig.run(run).level) == ("proven", 1)


def test_a_repair_that_waits_for_its_turn_waits_until_the_bot_is_seen_again(rig: Rig) -> None:
    """After a restart nobody knows yet whether what was wanted then is still wanted."""
    rig.wanted = lambda _: None if rig.now < START + 10_000 else True
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "proven"
    assert min(step.started or 0 for step in rig.steps(run)) >= START + 10_000


def test_a_halt_does_not_wait_for_a_repair_that_waits_to_see_the_bot(rig: Rig) -> None:
    rig.wanted = lambda _: None
    run, halting = rig.queue(), 0

    async def story() -> None:
        nonlocal halting
        rig.tend()
        await rig.until(lambda: rig.now > START + 5_000)
        halting = rig.queue("halt")
        await rig.ended(run, halting)
        await rig.stop()

    asyncio.run(story())

    assert (rig.run(run).outcome, rig.run(halting).outcome) == ("overtaken", "proven")


def test_a_repair_that_nobody_wants_any_more_does_not_run(rig: Rig) -> None:
    rig.wanted = lambda _: False
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "not-needed"
    assert rig.steps(run) == []
    assert rig.latched() is None


def test_a_log_that_never_ends_its_line_is_read_and_not_collected(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.write_bytes(b"")
    reader = LogReader(LogCheck(file="bot.log", absent="PANIC"), log, {})
    with log.open("ab") as file:
        for _ in range(3):
            file.write(b"." * (1 << 20))
            file.flush()
            assert reader.look().bad is None
        file.write(b"\rPANIC: out of margin\n")
    for _ in range(3):
        seen = reader.look()

    assert len(reader._rest) <= 1 << 20
    assert seen.bad is not None


def test_a_page_that_proves_is_told_without_its_password() -> None:
    assert HttpCheck(url="http://ada:hush@127.0.0.1:1/ping?key=hush").say() == "http://127.0.0.1:1/ping answers 200"
