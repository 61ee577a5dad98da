"""Proof, disproof and doubt; the watch after it; and time that nobody watched."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.rollback.harness import (
    START,
    RollbackHarness,
    SimulatedKill,
    command_step,
    flag_step,
    make_halt,
    make_repair,
    restart,
)
from watchdog.core.offload import DeadlineExceededError, ThreadOffload
from watchdog.plans.models import HttpCheck, LogCheck
from watchdog.rollback.checks import MAX_LOG_BYTES, LogFile, LogMatches, LogReader, read_log

# ─ proof, doubt and the watch ─


def with_relapse(harness: RollbackHarness, watched: list[int] | None = None) -> list[int]:
    """The feature's flag helps until trading is on again for a while; the old model helps for good.

    Returns when that was, for the next process.
    """
    harness.plans["ladder"] = make_repair(verify={"settle": "1s", "quiet": "1s", "give_up": "20s", "watch": "12s"})
    since = [] if watched is None else watched

    def errors(config: dict[str, str]) -> Any:
        if config["MODEL"] == "1":
            return "ok"
        if harness.get_run(1).status == "watching":
            since.append(harness.now)
        return "bad" if config["FEATURE"] == "True" or (since and harness.now > since[0] + 5_000) else "ok"

    harness.errors_outcome = errors
    return since


def test_a_relapse_within_the_watch_goes_on_at_the_next_level_with_trading_off_again(harness: RollbackHarness) -> None:
    with_relapse(harness)
    trading = []
    harness.before_call = lambda verb, say: trading.append((verb, say, harness.config_values()["TRADING"]))
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.step_outcomes(run) == [
        ("before", 0, "set TRADING = false in config.py", "done"),
        ("level", 0, "set FEATURE = false in config.py", "done"),
        ("proven", 0, "set TRADING = true in config.py", "done"),
        ("before", 1, "set TRADING = false in config.py", "done"),
        ("level", 1, "set MODEL = 1 in config.py", "done"),
        ("level", 1, "set size = 1 in other.yaml", "done"),
        ("proven", 1, "set TRADING = true in config.py", "done"),
    ]
    assert ("apply", "set MODEL = 1 in config.py", "False") in trading
    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 1)
    assert "bot: ladder: tripped again within the watch, level version starts" in harness.message_titles()


@pytest.mark.slow
def test_wherever_it_dies_in_a_relapse_no_level_runs_twice(make_folder: Callable[[], Path]) -> None:
    whole = RollbackHarness(make_folder())
    with_relapse(whole)
    whole.queue_run()
    start = len(whole.crash_points.passed)
    whole.run_to_end()
    points = whole.crash_points.passed[start:]
    relapse = next(number for number, point in enumerate(points) if point == "after set TRADING = true in config.py")

    for number in range(relapse + 1, len(points) + 1):
        first = RollbackHarness(make_folder())
        watched = with_relapse(first)
        first.queue_run()
        first.crash_points.crash_after = number
        assert first.crashes(), number
        heir = restart(first)
        with_relapse(heir, watched)
        heir.run_to_end()

        assert heir.get_run(1).outcome == "proven", number
        assert [step[:3] for step in heir.step_outcomes(1)] == [step[:3] for step in whole.step_outcomes(1)], number
        assert first.changed_steps + heir.changed_steps == whole.changed_steps, number
        heir.journal.close()
    whole.journal.close()


def test_a_relapse_that_was_seen_is_acted_upon_however_long_the_watchdog_was_away(harness: RollbackHarness) -> None:
    watched = with_relapse(harness)
    run = harness.queue_run()

    async def seen() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(run).status == "watching")
        harness.crash_points.crash_after = 2  # the first is what tells of it
        await harness.advance_until(lambda: False)

    with pytest.raises(SimulatedKill):
        asyncio.run(seen())
    assert harness.message_titles()[-1] == "bot: ladder: tripped again within the watch, level version starts"
    heir = restart(harness, 3_600_000)
    with_relapse(heir, watched)
    heir.run_to_end()

    assert (heir.get_run(run).outcome, heir.get_run(run).level) == ("proven", 1)
    heir.journal.close()


def test_what_somebody_changes_during_the_watch_is_no_reason_to_stop_when_the_watchdog_restarts(
    harness: RollbackHarness,
) -> None:
    harness.plans["ladder"] = make_repair(verify={"settle": "1s", "quiet": "1s", "give_up": "20s", "watch": "12s"})
    run = harness.queue_run()

    async def watched() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(run).status == "watching")
        await harness.stop()

    asyncio.run(watched())
    config = harness.folder / "bot" / "config.py"
    config.write_text(config.read_text().replace("TRADING = True", "TRADING = False"))
    heir = restart(harness, 60_000)
    heir.run_to_end()

    assert heir.get_run(run).outcome == "proven"
    assert heir.config_values()["TRADING"] == "False"
    heir.journal.close()


def test_a_watch_that_another_plan_ends_does_not_say_that_all_stayed_well(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(verify={"settle": "1s", "quiet": "1s", "give_up": "20s", "watch": "12s"})
    harness.plans["other"] = make_repair(
        before=[], proven=[], levels=[{"name": "size", "steps": [flag_step("other.yaml", size=9)]}]
    )
    run = harness.queue_run()

    async def story() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.get_run(run).status == "watching")
        other = harness.queue_run("other")
        await harness.advance_until_ended(run, other)
        await harness.stop()

    asyncio.run(story())

    assert harness.get_run(run).outcome == "proven"
    assert harness.get_run(run).reason == "level version helped, and other is wanted before the watch is over"


def test_without_proof_in_time_nothing_more_is_tried_and_the_bot_is_halted(harness: RollbackHarness) -> None:
    harness.errors_outcome = lambda _: "nodata"
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "exhausted"
    assert [step[1] for step in harness.step_outcomes(run)] == [0, 0]
    assert [
        harness.get_run(row[0]).outcome for row in harness.journal.query("SELECT id FROM run WHERE plan = 'halt'")
    ] == ["proven"]
    assert (harness.latch_reason() or "").startswith("ladder exhausted: level feature: no proof within 20 s")
    assert any("ladder exhausted" in page and "next: halt" in page for page in harness.critical_messages())


def test_a_repair_that_may_leave_the_bot_running_latches_and_halts_nothing(harness: RollbackHarness) -> None:
    harness.errors_outcome = lambda _: "bad"
    harness.plans["ladder"] = make_repair(exhausted="leave-running")
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "exhausted"
    assert harness.latch_reason()
    assert harness.open_runs() == []
    assert harness.journal.query("SELECT 1 FROM run WHERE kind = 'halt'") == []


def test_downtime_does_not_count_towards_giving_up(harness: RollbackHarness) -> None:
    harness.errors_outcome = lambda _: "nodata"
    run = harness.queue_run()

    async def waiting() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: harness.now >= START + 15_000)
        await harness.stop()

    asyncio.run(waiting())
    heir = restart(harness, 3_600_000)
    began = heir.now
    heir.errors_outcome = lambda _: "nodata" if heir.now < began + 15_000 else "ok"
    heir.run_to_end()

    assert heir.get_run(run).outcome == "proven"
    assert heir.get_run(run).level == 0
    heir.journal.close()


def test_what_was_well_before_the_last_step_proves_nothing(harness: RollbackHarness) -> None:
    since = []
    real = harness._evidence

    def evidence(target: str, terms: Any, that: Any, after: int, now: int, siblings: Any) -> Any:
        since.append(after)
        return real(target, terms, that, after, now, siblings)

    harness._evidence = evidence  # type: ignore[assignment,method-assign]
    run = harness.queue_run()

    harness.run_to_end()

    steps = {(step.phase, step.level, step.n): step.ended for step in harness.steps(run)}
    assert set(since) == {steps["level", 0, 0], steps["level", 1, 1], steps["proven", 1, 0]}


def test_a_bot_that_was_restarted_and_does_not_stay_up_is_disproof(harness: RollbackHarness) -> None:
    levels = [
        {"name": "restart", "steps": [command_step("restart")]},
        {"name": "version", "steps": [flag_step(MODEL=1)]},
    ]
    harness.plans["ladder"] = make_repair(levels=levels, verify={"settle": "1m", "quiet": "1s", "give_up": "10m"})
    harness.errors_outcome = lambda _: "ok"

    def meddle(verb: str, say: str) -> None:
        if harness.now >= START + 5_000:
            (harness.folder / "bot" / "effects").unlink(missing_ok=True)

    harness.before_call = meddle
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).level == 1
    second = next(step for step in harness.steps(run) if step.level == 1)
    assert (second.started or 0) < START + 10_000  # and not after the minute that it is left to settle


# ─ verify commands ─


def with_verify_command(*argv: str) -> Any:
    verify = {"settle": "0s", "run": list(argv), "quiet": "1s", "give_up": "5m"}
    levels = [{"name": "one", "steps": [flag_step(FEATURE=False)]}, {"name": "two", "steps": [flag_step(MODEL=1)]}]
    return make_repair(verify=verify, levels=levels)


@pytest.mark.parametrize(
    ("argv", "outcome", "level"),
    [
        (["true"], "proven", 0),
        (["sh", "-c", "grep -q 'MODEL = 1' config.py"], "proven", 1),
        (["false"], "exhausted", 1),
    ],
)
def test_a_verify_command_that_says_no_is_disproof(
    harness: RollbackHarness, argv: list[str], outcome: str, level: int
) -> None:
    harness.errors_outcome = lambda _: "ok"
    harness.plans["ladder"] = with_verify_command(*argv)
    run = harness.queue_run()

    harness.run_to_end()

    assert (harness.get_run(run).outcome, harness.get_run(run).level) == (outcome, level)


@pytest.mark.parametrize(
    ("verify", "reason"),
    [
        ({"run": ["sh", "-c", "exit 0"]}, "sh -c 'exit 0' ended with 0"),
        ({"log": {"file": "bot.log", "absent": "PANIC"}}, "bot.log says nothing with /PANIC/"),
    ],
)
def test_a_halt_says_what_it_was_proven_by_also_where_no_rule_was_asked(
    harness: RollbackHarness, verify: dict[str, Any], reason: str
) -> None:
    level = {"name": "stop", "steps": [flag_step(TRADING=False)], "verify": {**verify, "give_up": "60s"}}
    harness.plans["halt"] = make_halt(levels=[level])
    (harness.make_target() / "bot.log").touch()
    run = harness.queue_run("halt")

    harness.run_to_end()

    assert (harness.get_run(run).outcome, harness.get_run(run).reason) == ("proven", f"level stop: {reason}")


def test_a_verify_command_that_is_not_there_says_nothing_about_the_bot(harness: RollbackHarness) -> None:
    harness.errors_outcome = lambda _: "ok"
    harness.plans["ladder"] = with_verify_command("./no-such-script.sh")
    run = harness.queue_run()

    harness.run_to_end()

    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("exhausted", 0)
    assert "./no-such-script.sh was not found" in harness.get_run(run).reason
    assert harness.config_values()["MODEL"] == "2"


def test_a_halt_does_not_wait_for_a_verify_command_and_nothing_of_it_is_left(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = with_verify_command("sh", "-c", "echo $$ > pid; exec sleep 300")
    harness.pool = ThreadOffload(2, "acting")
    run = harness.queue_run()
    pid = harness.folder / "bot" / "pid"

    async def story() -> int:
        harness.start_targets()
        await wait_real_time(lambda: pid.exists() and pid.read_text())
        halting = harness.queue_run("halt", by="rule drawdown")
        harness.rollback.wake()
        await wait_real_time(lambda: harness.get_run(halting).ended)
        await harness.stop()
        return halting

    halting = asyncio.run(story())

    assert harness.get_run(run).outcome == "overtaken"
    assert harness.get_run(halting).outcome == "proven"
    assert not psutil.pid_exists(int(pid.read_text()))
    harness.pool.close()


def test_a_stop_of_the_daemon_does_not_wait_for_a_verify_command(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = with_verify_command("sh", "-c", "echo $$ > pid; exec sleep 300")
    harness.pool = ThreadOffload(2, "acting")
    run = harness.queue_run()
    pid = harness.folder / "bot" / "pid"

    async def story() -> None:
        harness.start_targets()
        await wait_real_time(lambda: pid.exists() and pid.read_text())
        await asyncio.wait_for(harness.rollback.stop(), 60)
        await wait_real_time(lambda: not psutil.pid_exists(int(pid.read_text())))  # ended, and seen to have

    asyncio.run(story())

    assert harness.get_run(run).status == "running"
    harness.pool.close()


def test_a_halt_does_not_wait_for_what_hangs_in_a_repair(harness: RollbackHarness) -> None:
    let_go = threading.Event()
    harness.pool = ThreadOffload(2, "acting")

    async def story() -> None:
        assert harness.pool is not None
        with pytest.raises(DeadlineExceededError):
            await harness.pool("repair bot", 0.01, let_go.wait, 60)
        halting = harness.queue_run("halt")
        harness.start_targets()
        await wait_real_time(lambda: harness.get_run(halting).ended)
        await harness.stop()
        assert harness.get_run(halting).outcome == "proven"

    asyncio.run(story())
    let_go.set()
    harness.pool.close()


async def wait_real_time(fact: Callable[[], object]) -> None:
    """Waits for what takes real time."""
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.01)


# ─ time that nobody watched ─


async def disrupt(
    harness: RollbackHarness, run: int, when: Callable[[], object], *disruptions: Callable[[], None]
) -> None:
    """Each of them a second after the one before."""
    harness.start_targets()
    await harness.advance_until(when)
    for disruption in disruptions:
        disruption()
        after = harness.now + 1_000
        await harness.advance_until(lambda after=after: harness.now >= after)  # type: ignore[misc]
    await harness.advance_until_ended(run)
    await harness.stop()


HOUR = 3_600_000


@pytest.mark.slow
@pytest.mark.parametrize("steps", [[-HOUR], [-20_000], [-1_000], [20_000], [HOUR], [30 * 24 * HOUR], [HOUR, -2 * HOUR]])
def test_setting_the_clock_changes_nothing_of_a_verify(harness: RollbackHarness, steps: list[int]) -> None:
    """What is `quiet` and `give_up` on the way to a proof takes as long as ever."""
    harness.errors_outcome = lambda _: "nodata" if harness.now - START - harness.uncounted.total < 15_000 else "ok"
    harness.plans["ladder"] = make_repair(verify={"settle": "4s", "quiet": "5s", "give_up": "30s", "watch": "8s"})
    run = harness.queue_run()
    set_clock = [partial(harness.set_clock, step) for step in steps]

    asyncio.run(disrupt(harness, run, lambda: harness.now >= START + 12_000, *set_clock))

    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 0)
    took = (harness.get_run(run).ended or 0) - START - sum(steps)
    assert 15_000 + 5_000 + 8_000 <= took <= 32_000


def test_an_hour_asleep_counts_neither_towards_giving_up_nor_against_the_proof(harness: RollbackHarness) -> None:
    harness.errors_outcome = lambda _: "nodata" if harness.now - START < 15_000 else "ok"
    run = harness.queue_run()

    asyncio.run(disrupt(harness, run, lambda: harness.now >= START + 12_000, partial(harness.sleep, HOUR)))

    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 0)


def test_an_hour_asleep_is_no_hour_of_quiet(harness: RollbackHarness) -> None:
    harness.errors_outcome = lambda _: "ok"
    harness.plans["ladder"] = make_repair(verify={"settle": "0s", "quiet": "10s", "give_up": "1m"})
    run = harness.queue_run()

    asyncio.run(disrupt(harness, run, lambda: harness.now >= START + 3_000, partial(harness.sleep, HOUR)))

    assert harness.get_run(run).outcome == "proven"
    assert (harness.get_run(run).ended or 0) - START > 3_600_000 + 9_000


def test_an_hour_asleep_is_no_hour_of_watch(harness: RollbackHarness) -> None:
    with_relapse(harness)
    run = harness.queue_run()

    asyncio.run(disrupt(harness, run, lambda: harness.get_run(run).status == "watching", partial(harness.sleep, HOUR)))

    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 1)


def test_a_repair_that_waits_for_its_turn_waits_until_the_bot_is_seen_again(harness: RollbackHarness) -> None:
    """After a restart nobody knows yet whether what was wanted then is still wanted."""
    harness.is_wanted = lambda _: None if harness.now < START + 10_000 else True
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "proven"
    assert min(step.started or 0 for step in harness.steps(run)) >= START + 10_000


def test_a_halt_does_not_wait_for_a_repair_that_waits_to_see_the_bot(harness: RollbackHarness) -> None:
    harness.is_wanted = lambda _: None
    run, halting = harness.queue_run(), 0

    async def story() -> None:
        nonlocal halting
        harness.start_targets()
        await harness.advance_until(lambda: harness.now > START + 5_000)
        halting = harness.queue_run("halt")
        await harness.advance_until_ended(run, halting)
        await harness.stop()

    asyncio.run(story())

    assert (harness.get_run(run).outcome, harness.get_run(halting).outcome) == ("overtaken", "proven")


def test_a_repair_that_nobody_wants_any_more_does_not_run(harness: RollbackHarness) -> None:
    harness.is_wanted = lambda _: False
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "not-needed"
    assert harness.steps(run) == []
    assert harness.latch_reason() is None


def poll_log(reader: LogReader, log: Path) -> LogMatches:
    return reader.add(read_log(LogFile(str(log.parent), log.name), reader.inode, reader.offset, MAX_LOG_BYTES))


def test_a_log_that_never_ends_its_line_is_read_and_not_collected(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.write_bytes(b"")
    reader = LogReader(LogCheck(file="bot.log", absent="PANIC"), {}, (log.stat().st_ino, 0))
    poll = partial(poll_log, reader, log)
    with log.open("ab") as file:
        for _ in range(3):
            file.write(b"." * (1 << 20))
            file.flush()
            assert poll().forbidden_line is None
        file.write(b"\rPANIC: out of margin\n")
    for _ in range(3):
        seen = poll()

    assert len(reader._line_start) < 1 << 16
    assert seen.forbidden_line is not None


def test_a_long_line_is_looked_at_to_its_end_and_what_it_costs_is_linear(tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    log.write_bytes(b"")
    reader = LogReader(LogCheck(file="bot.log", absent="(a+)+PANIC", present="^$"), {}, (log.stat().st_ino, 0))
    log.write_bytes(b"a" * 900_000 + b"PANIC\n")  # Python's re would backtrack for years in what lies before

    assert poll_log(reader, log) == (("a" * 300), False)

    with log.open("ab") as file:
        file.write(b"\n")
    assert poll_log(reader, log).required_found


def test_a_page_that_proves_is_told_without_its_password() -> None:
    assert (
        HttpCheck(url="http://ada:hush@127.0.0.1:1/ping?key=hush").describe() == "http://127.0.0.1:1/ping answers 200"
    )


def test_what_nobody_watched_is_not_said_to_have_stayed_well(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(verify={"settle": "1s", "quiet": "1s", "give_up": "20s"})
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "proven"
    assert harness.get_run(run).reason == "level version helped"
    events = [event.text for event in harness.journal.timeline.list_events_after(0, kind="watch")]
    assert events == ["proven, and no watch was asked for"]


def test_a_plan_that_is_called_what_it_is_is_not_named_twice(harness: RollbackHarness) -> None:
    harness.plans["freeze"] = harness.plans["halt"]
    harness.queue_run("halt")
    harness.run_to_end()
    with harness.journal.transaction() as tx:
        assert harness.latch_reason() == "halt"
        tx.targets.update_target("bot", latched=None, latch_why=None)
    harness.queue_run("freeze")

    harness.run_to_end()

    assert harness.latch_reason() == "halt freeze"
