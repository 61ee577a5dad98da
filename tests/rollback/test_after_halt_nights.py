"""Nights in which halts that let repairs follow come at any moment, beside one that does not: what must hold in each."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rollback.test_invariants import PROPERTY_RULES, Episode, PropertyHarness
from tests.support.pipeline_harness import MAIN_YAML
from tests.support.property_settings import examples
from watchdog import config
from watchdog.config import Config
from watchdog.journal.runs import PlanRun, Step

SAFE_RULES = (
    PROPERTY_RULES.replace("budget: [1 per 1h]", "budget: [20 per 1h]")
    .replace(
        "plans:\n",
        "  - {name: losses, kpi: drawdown, target: bot, crit: {at_least: 5%, plan: safe}}\n"
        "plans:\n"
        "  safe:\n"
        "    kind: halt\n"
        "    after: repair\n"
        "    repair_within: 20s\n"
        "    levels:\n"
        "      - {name: no-entries, steps: [{do: flag, file: config.py, set: {TRADING: false}}],"
        " verify: {that: [alive == 1], give_up: 5s}}\n",
    )
    .replace(
        "    exhausted: halt\n",
        "    exhausted: halt\n    proven: [{do: flag, file: config.py, set: {TRADING: true}}]\n",
    )
)
EPISODES = st.builds(
    Episode,
    errors=st.sampled_from([0.01, 0.07, 0.5, 0.5, 0.5]),
    equity=st.sampled_from([1_000, 1_000, 1_000, 940, 940, 850]),
    age=st.sampled_from([1, 1, 1, 61]),
    seconds=st.integers(1, 9),
    broken=st.sampled_from([False, False, False, False, True]),
    ends=st.sampled_from(["", "", "", "dies", "dies", "hold", "abort"]),
)


@cache
def load_safe_config() -> Config:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules").mkdir()
        (Path(folder) / "watchdog.yaml").write_text(MAIN_YAML)
        (Path(folder) / "rules" / "rules.yaml").write_text(SAFE_RULES)
        return config.load(Path(folder), environ={})


class SafeHarness(PropertyHarness):
    def write_config(self, rules: str, watchdog: str = "") -> None:
        self.config = load_safe_config()

    def steps(self, run: PlanRun) -> list[Step]:
        return self.journal.runs.list_steps(run.id)


def assert_what_must_hold(harness: SafeHarness) -> None:
    """Nobody resumes in these nights: from the first halt on the bot is latched."""
    runs = harness.runs
    halts = [run for run in runs if run.kind == "halt"]
    for repair in [run for run in runs if run.kind == "repair"]:
        for step in harness.steps(repair):
            started = step.started or 0
            ahead = [halt for halt in halts if halt.queued < started]
            for halt in ahead:
                assert halt.plan == "safe", "a repair went on after a halt for good was queued"
                assert halt.by.startswith("rule "), "a repair went on behind the end of another one"
                assert halt.ended is not None, "a repair went on beside a halt"
                assert started >= halt.ended, "a repair went on beside a halt"
                assert halt.outcome == "proven", "a repair went on behind a halt that is not proven"
            if ahead:
                assert step.phase in ("before", "level"), "a repair put the bot back to work behind a halt"
    tried = Counter(
        (run.incident, run.plan, step.level)
        for run in runs
        if run.kind == "repair"
        for step in harness.steps(run)
        if step.phase == "level"
    )
    assert all(count == 1 for count in tried.values()), "a level was repeated"
    for one in harness.journal.incidents.list_incidents():
        for trip in harness.journal.incidents.list_trips(one.id):
            if trip.plan in ("safe", "halt"):
                mine = [run for run in halts if run.plan == trip.plan and run.incident == one.id]
                assert [run for run in mine if run.ended is None or run.ended >= trip.t], "a halt was refused"
    if halts:
        assert harness.journal.targets.get_state("bot", harness.now).latched is not None or all(
            halt.status == "queued" for halt in halts
        )


@pytest.mark.slow
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(EPISODES, min_size=3, max_size=8))
def test_what_must_hold_in_every_night_with_halts_that_repairs_follow(spells: list[Episode]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        harness = SafeHarness(Path(folder))
        try:
            asyncio.run(harness.run_episodes(spells, lambda: None))
            assert_what_must_hold(harness)
        finally:
            harness.journal.close()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[SafeHarness]:
    made = SafeHarness(tmp_path)
    yield made
    made.journal.close()


def test_in_a_night_of_this_kind_a_repair_goes_on_behind_a_halt(harness: SafeHarness) -> None:
    """What the nights above are made of does come to pass in them."""
    well, lost = Episode(0.01, 1_000, 1, 3, False, ""), Episode(0.5, 940, 1, 4, False, "")

    asyncio.run(harness.run_episodes([well, lost, well._replace(equity=940, seconds=9)], lambda: None))

    assert [(run.plan, run.outcome) for run in harness.runs] == [("safe", "proven"), ("ladder", "proven")]
    assert_what_must_hold(harness)
