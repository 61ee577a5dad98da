"""Time stamps that lie ahead of now: nobody knows how it is now, and people are told by how much, and where to look."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pipeline_harness import MINUTE, SECOND, PipelineHarness
from watchdog.core.model import Sample

HOUR = 60 * MINUTE
RULES = """\
targets: {bot: {repo: /srv/bot}}
kpis: {x: {expr: x}, mean: {expr: "avg_over_time(x[20s])"}, y: {expr: y}, pairs: {expr: p}}
rules:
  - {name: x, kpi: x, target: bot, crit: {above: 5}}
  - {name: mean, kpi: mean, target: bot, crit: {above: 5}}
  - {name: y, kpi: y, target: bot, crit: {above: 5}}
  - {name: pairs, kpi: pairs, target: bot, crit: {above: 5}}
"""
LOOK = "compare the clocks of both, and look at the unit of its time stamps"


def seconds(harness: PipelineHarness, count: int, ahead: int, value: float = 9) -> None:
    for _ in range(count):
        harness.now += SECOND
        at = harness.now + ahead
        samples = [Sample("x", (), at, value), Sample("y", (), harness.now, 1)]
        samples += [Sample("p", (("pair", "a"),), at, value), Sample("p", (("pair", "b"),), harness.now, value)]
        harness.pipeline.add_samples("bot", samples, harness.now)
        harness.pipeline.judge(harness.now)


def outcomes(harness: PipelineHarness) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {}
    for key, machine in harness.pipeline.machines.items():
        found.setdefault(key.rule, set()).add((machine.outcome, machine.reason))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (3 * HOUR + 2 * MINUTE, "3 h 2 m"),
        (5 * MINUTE, "5 m"),  # the store keeps it for then, and what is seen now would be five minutes old
        (1_700_000_000_000 * 999, None),  # microseconds
    ],
)
def test_what_is_ahead_is_no_data_and_people_read_by_how_much(tmp_path: Path, ahead: int, said: str | None) -> None:
    harness = PipelineHarness(tmp_path, RULES)
    seconds(harness, 8 * 60 if ahead == 5 * MINUTE else 30, ahead)

    found = outcomes(harness)
    ((outcome, reason),) = found["x"]
    assert outcome == "nodata"
    assert reason.startswith("x has no samples of now: its time is ")
    assert reason.endswith(f" ahead of this machine's clock (x of the source bot) — {LOOK}")
    assert said is None or f" {said} ahead" in reason
    assert {outcome for outcome, _ in found["mean"]} == {"nodata"}
    assert {outcome for outcome, _ in found["y"]} == {"ok"}
    assert not harness.is_firing("x")
    assert not harness.is_firing("mean")
    assert harness.is_firing("pairs")  # one series with a wrong clock hides no other
    assert harness.pipeline.condition_holds("x > 5", harness.now) is None

    seconds(harness, 25, 0)
    assert harness.is_firing("x")


def test_what_is_a_little_ahead_is_of_now(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, RULES)
    seconds(harness, 5, 900)
    assert harness.is_firing("x")


def test_after_our_own_clock_is_set_right_it_counts_at_once(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, RULES)
    seconds(harness, 30, 5 * MINUTE)
    harness.set_clock(5 * MINUTE)
    seconds(harness, 2, 0)

    assert harness.is_firing("x")
