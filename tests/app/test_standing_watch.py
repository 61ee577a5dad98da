"""What stands is looked at in the background: whoever asks is not kept waiting, and is never told that nothing stands unseen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rollback.harness import RollbackHarness
from watchdog.app.standing_watch import StandingWatch
from watchdog.core.errors import ActionError
from watchdog.core.executor import DirectExecutor, Executor
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.rollback.standing import describe_standing


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class HookedExecutor(DirectExecutor):
    """Does something of the test's at each look."""

    def __init__(self, hook: Callable[[], None] = lambda: None) -> None:
        self.hook = hook
        self.looks = 0

    def act_as_owner(self, action: Action, target: Target) -> Action:
        self.looks += 1
        self.hook()
        return action


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[RollbackHarness]:
    """A bot that was halted: its trading is off."""
    made = RollbackHarness(tmp_path)
    made.run_to_end(made.queue_run("halt"))
    yield made
    made.journal.close()


def make_watch(
    harness: RollbackHarness, executor: Executor, clock: Callable[[], float] = time.monotonic, timeout: float = 10
) -> StandingWatch:
    targets = {"bot": Target(repo=str(harness.folder / "bot")), "calm": Target(repo="/srv/calm")}
    return StandingWatch(harness.journal, executor, lambda: targets, lambda: harness.now, clock=clock, timeout=timeout)


def lines_of(watch: StandingWatch) -> list[str]:
    return describe_standing(watch.changes("bot"))


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def test_whoever_asks_gets_what_is_so_now(harness: RollbackHarness) -> None:
    async def play() -> None:
        watch = make_watch(harness, DirectExecutor())

        await watch.look(["bot"], patience=60)

        assert watch.is_fresh("bot")
        assert lines_of(watch) == ["off: TRADING"]
        watch.close()

    asyncio.run(play())


def test_what_was_seen_just_now_is_not_looked_at_again_and_later_it_is(harness: RollbackHarness) -> None:
    async def play() -> None:
        clock, executor = FakeClock(), HookedExecutor()
        watch = make_watch(harness, executor, clock=clock)
        for _ in range(20):
            await watch.look(["bot"], patience=60)
        assert executor.looks == 1

        file = harness.folder / "bot" / "config.py"
        file.write_text(file.read_text().replace("TRADING = False", "TRADING = True"))
        clock.now += 5
        await watch.look(["bot"], patience=60)

        assert executor.looks == 2
        assert lines_of(watch) == []
        watch.close()

    asyncio.run(play())


def test_a_folder_that_hangs_keeps_nobody_waiting_and_is_not_called_well(harness: RollbackHarness) -> None:
    async def play() -> None:
        clock, answered, asked = FakeClock(), threading.Event(), threading.Event()

        def hang() -> None:
            asked.set()
            answered.wait()

        watch = make_watch(harness, HookedExecutor(hang), clock=clock)
        await watch.look(["bot"], patience=0.01)
        await wait_until(asked.is_set)
        assert lines_of(watch) == ["left off, and cannot be looked at: TRADING (there is no answer yet)"]

        clock.now += 7_200
        await watch.look(["bot"], patience=3_600)  # one that hangs already is not waited for again
        assert not watch.is_fresh("bot")

        answered.set()
        await wait_until(lambda: watch.is_fresh("bot"))
        assert lines_of(watch) == ["off: TRADING"]
        watch.close()

    asyncio.run(play())


def test_a_look_that_began_ahead_of_a_change_says_nothing_of_it(harness: RollbackHarness) -> None:
    async def play() -> None:
        answered, asked = threading.Event(), threading.Event()

        def hang() -> None:
            asked.set()
            answered.wait()

        watch = make_watch(harness, executor := HookedExecutor(hang))
        await watch.look(["bot"], patience=0)
        await wait_until(asked.is_set)

        watch.forget("bot")  # as at the end of a run
        answered.set()
        await watch.look(["bot"], patience=60)  # whoever waited has what a second one says
        assert watch.is_fresh("bot")
        assert executor.looks == 2
        watch.forget("bot")
        assert not watch.is_fresh("bot")
        assert lines_of(watch) == ["left off, and cannot be looked at: TRADING (there is no answer yet)"]
        watch.close()

    asyncio.run(play())


def test_a_look_that_takes_too_long_is_given_up_in_words(harness: RollbackHarness) -> None:
    async def play() -> None:
        answered = threading.Event()
        watch = make_watch(harness, HookedExecutor(lambda: void(answered.wait())), timeout=0.01)

        await watch.look(["bot"], patience=60)

        assert lines_of(watch) == ["left off, and cannot be looked at: TRADING (no answer within 0.01 s)"]
        answered.set()
        watch.close()

    asyncio.run(play())


def test_a_mistake_of_ours_while_looking_is_not_nothing_either(harness: RollbackHarness) -> None:
    async def play() -> None:
        def break_down() -> None:
            raise RuntimeError("boo")

        watch = make_watch(harness, HookedExecutor(break_down))
        await watch.look(["bot"], patience=60)

        assert lines_of(watch) == ["left off, and cannot be looked at: TRADING (internal error: RuntimeError('boo'))"]
        watch.close()

    asyncio.run(play())


def test_a_target_that_cannot_be_asked_hides_nothing_of_another(harness: RollbackHarness) -> None:
    def refuse() -> None:
        raise ActionError("nobody may act as its owner")

    async def play() -> None:
        watch = make_watch(harness, HookedExecutor(refuse))
        await watch.look(["bot", "calm"], patience=60)

        assert lines_of(watch) == ["left off, and cannot be looked at: TRADING (nobody may act as its owner)"]
        assert watch.changes("calm") == []
        watch.close()

    asyncio.run(play())


def void(_: object) -> None:
    return None


def test_an_incident_is_told_what_its_own_plans_have_left(harness: RollbackHarness) -> None:
    async def play() -> None:
        watch = make_watch(harness, DirectExecutor())
        await watch.look(["bot"], patience=60)
        (own,) = {one.incident for one in watch.changes("bot")}
        assert own is not None
        incident = harness.journal.incidents.find_incident(own)
        assert incident is not None

        left = watch.describe_left(incident)

        assert left == ["still off: TRADING — TRADING = True in config.py, then restart the bot"]
        assert watch.describe_left(replace(incident, id=own + 1)) == []
        watch.close()

    asyncio.run(play())
