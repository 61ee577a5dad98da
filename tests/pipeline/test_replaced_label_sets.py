"""A rollback that changes the labels of what tripped is proven by what has come in their place; what is gone is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rollback.harness import unwrap_call
from tests.support.pipeline_harness import MAIN_YAML, SECOND, PipelineHarness
from watchdog.core.model import Labels
from watchdog.rollback.runner import RollbackRunner

pytestmark = pytest.mark.slow

RULES = """\
targets: {bot: {repo: REPO, cooldown: 1s, settling: 0s}}
kpis: {x: {expr: x}}
rules:
  - {name: high, kpi: x, target: bot, EACH warn: {above: 3}, crit: {above: 5, for: 1s, plan: back}}
plans:
  stop:
    kind: halt
    levels: [{name: stop, steps: [{do: flag, file: config.py, set: {TRADING: false}}], verify: {that: [alive == 1]}}]
  back:
    kind: repair
    mode: auto
    exhausted: stop
    verify: {that: [alive == 1], quiet: 3s, give_up: 20s, VERIFY}
    levels:
      - {name: v1, steps: [{do: flag, file: config.py, set: {MODEL: 1}}]}
"""
WARN_ONLY = """\
targets: {bot: {}}
kpis: {x: {expr: x}}
rules: [{name: high, kpi: x, target: bot, EACH warn: {above: 5}}]
"""
HELPED, HALTED = "proven", "exhausted"


def labels(**pairs: str) -> Labels:
    return tuple(sorted(pairs.items()))


def make_harness(folder: Path, rules: str = RULES, each: str = "", verify: str = "watch: 0s") -> PipelineHarness:
    repo = folder / "repo"
    repo.mkdir()
    (repo / "config.py").write_text("TRADING = True\nMODEL = 2\n")
    return PipelineHarness(
        folder, rules.replace("REPO", str(repo)).replace("EACH", each).replace("VERIFY", verify), MAIN_YAML
    )


def set_series(harness: PipelineHarness, series: dict[Labels, float]) -> None:
    harness.labelled_series = [("x", key, value) for key, value in series.items()] + [("y", key, 1) for key in series]


def run_repair(harness: PipelineHarness, after: Callable[[int], dict[Labels, float]], *, restart_at: int = -1) -> str:
    """Carries the plan out. `after(s)`: the series so many seconds after its step. Says what came of it."""

    async def offload(key: str, deadline: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call, args = unwrap_call(call, args)
        return call(*args, **kwargs)

    async def play() -> str:
        runner = RollbackRunner(harness.make_context(offload, run_ended=lambda _: None))
        runner.start_target("bot")
        acted = 0
        for _ in range(200):
            for _ in range(8):
                await asyncio.sleep(0)
            (run, *_) = harness.runs
            if run.ended is not None:
                break
            if run.acted:
                acted += 1
                set_series(harness, after(acted))
            if acted == restart_at:
                stopping = asyncio.ensure_future(runner.stop())
                while not stopping.done():
                    runner.wake()
                    await asyncio.sleep(0)
                harness.restart()
                runner = RollbackRunner(harness.make_context(offload, run_ended=lambda _: None))
                runner.start_target("bot")
            harness.round()
            runner.wake()
        stopping = asyncio.ensure_future(runner.stop())
        while not stopping.done():
            runner.wake()
            await asyncio.sleep(0)
        return str(harness.runs[0].outcome)

    return asyncio.run(play())


V1, V2 = labels(version="v1"), labels(version="v2")
BTC, ETH, SOL = labels(pair="BTC"), labels(pair="ETH"), labels(pair="SOL")

CASES: dict[str, tuple[list[dict[Labels, float]], Callable[[int], dict[Labels, float]], str]] = {
    "v1 has come and is well": ([{V2: 9}], lambda _: {V1: 1}, HELPED),
    "v1, which had been there before v2, has come again": ([{V1: 1}, {V2: 9}], lambda _: {V1: 1}, HELPED),
    "v1 comes after the page was down": ([{V2: 9}], lambda s: {} if s < 5 else {V1: 1}, HELPED),
    "the old version says no version": ([{V2: 9}], lambda _: {(): 1}, HELPED),
    "v1 is bad, too": ([{V2: 9}], lambda _: {V1: 9}, HALTED),
    "v1 comes without a value": ([{V2: 9}], lambda _: {V1: float("nan")}, HALTED),
    "nothing comes": ([{V2: 9}], lambda _: {}, HALTED),
    "v1 was there all along": ([{V1: 1, V2: 9}], lambda _: {V1: 1}, HALTED),
    "another pair was there all along": ([{BTC: 9, ETH: 1}], lambda _: {ETH: 1}, HALTED),
    "another pair opens beside one that was there": ([{BTC: 9, ETH: 1}], lambda _: {ETH: 1, SOL: 1}, HALTED),
    "another pair opened before the repair": ([{BTC: 9}, {BTC: 9, SOL: 1}], lambda _: {SOL: 1}, HALTED),
    "another pair opens after it, and there is no other": ([{BTC: 9}], lambda _: {SOL: 1}, HALTED),
    "a pair that tripped is well again": ([{BTC: 9, ETH: 1}], lambda _: {BTC: 1, ETH: 1}, HELPED),
}


@pytest.mark.parametrize("case", CASES)
def test_a_repair_that_changes_the_labels_of_what_tripped_is_proven_by_what_has_come(tmp_path: Path, case: str) -> None:
    before, after, outcome = CASES[case]
    harness = make_harness(tmp_path)
    for series in before:
        set_series(harness, series)
        harness.rounds(4)

    assert run_repair(harness, after) == outcome

    harness.rounds(3)
    assert (harness.incident is None) == (outcome == HELPED)
    harness.journal.close()


@pytest.mark.parametrize("restart_at", [1, 3, 6], ids=["nothing there yet", "while the page is down", "v1 is there"])
def test_a_watchdog_that_dies_on_the_way_still_knows_what_was_there_before_the_repair(
    tmp_path: Path, restart_at: int
) -> None:
    harness = make_harness(tmp_path)
    set_series(harness, {V2: 9})
    harness.rounds(4)

    assert run_repair(harness, lambda s: {} if s < 5 else {V1: 1}, restart_at=restart_at) == HELPED

    harness.rounds(3)
    assert harness.incident is None
    harness.journal.close()


def test_what_was_there_all_along_proves_nothing_after_a_restart_either(tmp_path: Path) -> None:
    harness = make_harness(tmp_path)
    set_series(harness, {BTC: 9, ETH: 1})
    harness.rounds(4)

    assert run_repair(harness, lambda _: {ETH: 1}, restart_at=2) == HALTED
    harness.journal.close()


def test_a_rule_that_a_level_names_is_quiet_by_what_has_come_too(tmp_path: Path) -> None:
    rules = RULES.replace("kpis: {x: {expr: x}}", "kpis: {x: {expr: x}, y: {expr: y}}").replace(
        "rules:\n", "rules:\n  - {name: other, kpi: y, target: bot, warn: {above: 5}}\n"
    )
    harness = make_harness(tmp_path, rules, verify="rules: [other]")
    set_series(harness, {V2: 9})
    harness.rounds(4)

    assert run_repair(harness, lambda _: {V1: 1}) == HELPED
    harness.journal.close()


def test_a_warning_whose_label_set_was_replaced_ends_its_incident(tmp_path: Path) -> None:
    """A person deploys; nobody waits a day for the process that is no more."""
    harness = make_harness(tmp_path, WARN_ONLY)
    set_series(harness, {labels(pid="1", pair="BTC"): 9})
    harness.rounds(2)
    assert harness.incident is not None

    harness.restart()  # the machine is booted, the bot comes up anew meanwhile
    set_series(harness, {labels(pid="2", pair="BTC"): 1})
    harness.rounds(3)

    assert harness.incident is None
    assert {dict(key.labels)["pid"] for key in harness.pipeline.machines} == {"2"}
    harness.journal.close()


def test_a_warning_of_a_dead_source_goes_on(tmp_path: Path) -> None:
    harness = make_harness(tmp_path, WARN_ONLY)
    set_series(harness, {V2: 9})
    harness.rounds(2)

    harness.lost_sources.add("bot")
    harness.rounds(30)

    assert harness.incident is not None
    harness.journal.close()


def test_a_warning_of_a_pair_that_is_gone_goes_on_beside_pairs_that_were_there(tmp_path: Path) -> None:
    harness = make_harness(tmp_path, WARN_ONLY, each="each: [pair],")
    set_series(harness, {BTC: 9, ETH: 1})
    harness.rounds(2)

    set_series(harness, {ETH: 1})
    harness.rounds(5)
    harness.lost_sources.add("bot")
    harness.rounds(5)
    harness.lost_sources.clear()
    harness.rounds(5)

    assert harness.incident is not None
    assert harness.now - harness.incident.opened < 60 * SECOND
    harness.journal.close()
