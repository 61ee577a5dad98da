"""Whatever a bot shows, whoever says what, and whenever the watchdog dies: what must hold in every night.

A second a round through the real pipeline, ledger, guard, rollback and journal; only the world that steps change is
made up, since what is to be found here is a decision that must not be made.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.pipeline_harness import MAIN_YAML, RULES_YAML, SECOND, PipelineHarness
from tests.support.property_settings import examples
from watchdog import config
from watchdog.config import Config
from watchdog.core.errors import ActionError
from watchdog.journal.incidents import Incident
from watchdog.journal.requests import Request
from watchdog.journal.runs import NO_EFFECT_OUTCOMES
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.runner import RollbackRunner

NAN = float("nan")
HOUR = 3_600 * SECOND
PROPERTY_RULES = (
    RULES_YAML.replace("cooldown: 1m", "cooldown: 3s")
    .replace("2 per 1h", "1 per 1h")
    .replace("quiet: 1s, watch: 10s", "quiet: 1s, watch: 4s, give_up: 8s")
)


@cache
def load_config() -> Config:
    """Read once: a night is about what is decided, not about files."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules").mkdir()
        (Path(folder) / "watchdog.yaml").write_text(MAIN_YAML)
        (Path(folder) / "rules" / "rules.yaml").write_text(PROPERTY_RULES)
        return config.load(Path(folder), environ={})


class Episode(NamedTuple):
    """For some seconds the bot shows this and steps do or do not work; then a person may speak, or the watchdog die."""

    errors: float
    equity: float
    age: float
    seconds: int
    broken: bool
    ends: str


EPISODES = st.builds(
    Episode,
    errors=st.sampled_from([0.01, 0.07, 0.5, 0.5, 0.5, NAN]),
    equity=st.sampled_from([1_000, 1_000, 1_000, 1_000, 850, NAN]),
    age=st.sampled_from([1, 1, 1, 61, NAN]),
    seconds=st.integers(1, 9),
    broken=st.sampled_from([False, False, False, True]),
    ends=st.sampled_from(["", "", "dies", "hold", "abort", "silence"]),
)


class PropertyHarness(PipelineHarness):
    """A pipeline and a rollback that carries out what it queues, as the daemon joins them."""

    def __init__(self, make_folder: Path) -> None:
        self.broken = False
        self.done_steps: set[str] = set()
        """Steps that have been done: the world that they change."""
        super().__init__(make_folder)

    def write_config(self, rules: str, watchdog: str = "") -> None:
        self.config = load_config()

    def describe_left(self, incident: Incident) -> list[str]:
        return []  # nothing of what its steps do is in a file

    def open(self) -> None:
        super().open()
        self.rollback = RollbackRunner(self._make_context())

    async def run_episodes(self, episodes: Sequence[Episode], check_invariants: Callable[[], None]) -> None:
        self.rollback.start_target("bot")
        for spell in episodes:
            self.broken = spell.broken
            for _ in range(spell.seconds):
                self.round(error_ratio=spell.errors, equity=spell.equity, tick_age=spell.age)
                self.requests.end_suppressions(self.now)
                check_invariants()
                self.rollback.wake()
                for _ in range(8):
                    await asyncio.sleep(0)
                check_invariants()
            await self._end_episode(spell.ends)
        await self._kill()

    async def _end_episode(self, how: str) -> None:
        ask: dict[str, dict[str, Any]] = {
            "hold": {"target": "bot", "for": 3 * SECOND},
            "abort": {"what": "bot"},
            "silence": {"rule": "errors", "for": 3 * SECOND},
        }
        if how in ask:
            self.requests.answer(Request(1, self.now, how, ask[how], "ann"), self.now)
        if how == "dies":
            await self._kill()
            self.restart(7 * SECOND)
            self.rollback.start_target("bot")

    async def _kill(self) -> None:
        """Not one more step is taken by this process."""
        for task in self.rollback.tasks:
            task.cancel()
        await asyncio.gather(*self.rollback.tasks, return_exceptions=True)

    def _make_context(self) -> RollbackContext:
        async def offload(key: str, deadline: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return self._simulate_call(call)

        return self.make_context(offload, run_ended=lambda _: None)

    def _simulate_call(self, call: Callable[..., Any]) -> Any:
        """What a step would find and do."""
        step = getattr(call, "__self__", None)
        name = "" if step is None else step.describe()
        match call.__name__:
            case "capture":
                return {"file": "/nowhere"}
            case "state":
                return "after" if name in self.done_steps else "before"
            case "deviations":
                return {}
            case "apply":
                if self.broken:
                    raise ActionError("it does not work tonight")
                self.done_steps.add(name)
                return name
        return ""


@pytest.mark.slow
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(EPISODES, min_size=3, max_size=8))
def test_what_must_hold_in_every_night(spells: list[Episode]) -> None:
    """No repair on missing data, no latch that opens by itself, no budget exceeded, no level repeated, no halt refused."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        town = PropertyHarness(Path(folder))
        try:
            asyncio.run(town.run_episodes(spells, InvariantChecker(town).check))
            assert_final_invariants(town)
        finally:
            town.journal.close()


class InvariantChecker:
    """What must hold at every moment."""

    def __init__(self, harness: PropertyHarness) -> None:
        self._town = harness
        self._known: set[int] = set()
        self._latched: int | None = None

    def check(self) -> None:
        town = self._town
        for run in town.runs:
            if run.id not in self._known and run.kind == "repair" and run.by.startswith("rule "):
                crit = [machine for key, machine in town.pipeline.machines.items() if key[:2] == ("errors", "crit")]
                assert any(one.is_firing and one.outcome == "bad" for one in crit), (
                    "a repair was queued on missing data"
                )
                assert self._latched is None, "a repair was queued on a latched target"
                assert town.pipeline.incident_manager.hold_reason("bot", town.now) is None, (
                    "a repair was queued while it was held"
                )
            self._known.add(run.id)
        since = town.journal.targets.get_state("bot", town.now).latched
        assert self._latched in (None, since), "a latch opened by itself"
        self._latched = since
        if town.incident is None:
            town.done_steps.clear()  # a person deploys the bad version again


def assert_final_invariants(harness: PropertyHarness) -> None:
    """What must hold when the night is over."""
    every = harness.runs
    for repair in [run for run in every if run.kind == "repair" and run.by.startswith("rule ")]:
        lately = [
            run
            for run in every
            if run.by.startswith("rule ")
            and run.id < repair.id
            and run.outcome not in NO_EFFECT_OUTCOMES
            and repair.queued - run.queued < HOUR
        ]
        assert not lately, "the budget was exceeded"
    for incident in harness.journal.incidents.list_incidents():
        mine = harness.journal.runs.list_for_incident(incident.id)
        tried = [
            Counter(
                {(run.plan, step.level) for step in harness.journal.runs.list_steps(run.id) if step.phase == "level"}
            )
            for run in mine
            if run.kind == "repair"
        ]
        assert all(count == 1 for count in sum(tried, Counter()).values()), "a level was repeated"
        halts = [run for run in mine if run.kind == "halt"]
        for trip in harness.journal.incidents.list_trips(incident.id):
            if trip.plan == "halt":
                assert [run for run in halts if run.ended is None or run.ended >= trip.t], "a halt was refused"
        for run in mine:
            late = [
                step
                for step in harness.journal.runs.list_steps(run.id)
                if run.kind == "repair" and halts and (step.started or 0) > halts[0].queued
            ]
            assert not late, "a repair went on after the halt was queued"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PropertyHarness]:
    made = PropertyHarness(tmp_path)
    yield made
    made.journal.close()


def test_a_night_of_this_kind_repairs_relapses_and_halts(harness: PropertyHarness) -> None:
    """What the nights above are made of does come to pass in them."""
    well, bad = Episode(0.01, 1_000, 1, 6, False, ""), Episode(0.5, 1_000, 1, 6, False, "")

    asyncio.run(harness.run_episodes([well, bad, well, bad, well, well, bad._replace(equity=850), bad], lambda: None))

    assert ("ladder", "proven") in [(run.plan, run.outcome) for run in harness.runs]
    assert ("halt", "proven") in [(run.plan, run.outcome) for run in harness.runs]
    assert_final_invariants(harness)
