"""The rules that ship find a bad version before a halt latches the bot, at every pace, and leave good ones alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.bot_lives import RESTART_MS, Pages, scrape
from benchmarks.shipped_rules import (
    FULL,
    PACES,
    Deployment,
    FirstPlan,
    PaceResult,
    format_tables,
    judge,
    load_rules,
    walk_bots,
)
from watchdog.offline.replay.outcome import PlanStart
from watchdog.promql import parse, required_lookback

GOOD, BAD = 0.08, 0.54
"""Shares of bars whose regime changes: at most 9 % of 600 bars in a good version."""
T = 1_700_000_000_000
STALE = 300_000
"""ms that a look for the newest sample reaches back, whatever the window."""


def make_pages(bars: int, share: float, confidence: float) -> Pages:
    """A model that changes its mind on that share of the bars, evenly, and is that sure of itself."""
    n = np.arange(1, bars + 1, dtype=np.float64)
    series = {
        "hmm_bars_total": n,
        "hmm_regime_changes_total": np.floor(n * share),
        "hmm_confidence_sum_total": n * confidence,
        "last_tick_timestamp_seconds": n,
        "market_open": np.ones(bars),
    }
    return Pages([(name, ()) for name in series], np.array(list(series.values())), {})


@pytest.mark.parametrize("pace", PACES)
def test_a_bad_version_is_rolled_back_within_its_first_bars_at_every_pace(pace: int) -> None:
    result = judge([], [Deployment(0, 1, make_pages(700, GOOD, 0.97), make_pages(400, BAD, 0.41))], pace)

    (first,) = result.first_plans
    assert first is not None
    assert (first.plan, first.kind) == ("rollback", "repair")
    assert 10 <= first.bars <= (40 if pace < 50 else 200)  # fifty bars come between two reads


@pytest.mark.parametrize("pace", PACES)
def test_a_healthy_bot_trips_nothing_at_any_pace(pace: int) -> None:
    assert judge([make_pages(3_000, GOOD, 0.97)], [], pace).false_plans == []


@pytest.mark.parametrize("pace", PACES)
def test_a_version_that_is_only_somewhat_worse_is_found_by_the_slow_rules(pace: int) -> None:
    result = judge([], [Deployment(0, 1, make_pages(700, GOOD, 0.97), make_pages(2_000, 0.18, 0.97))], pace)

    (first,) = result.first_plans
    assert first is not None
    assert first.rule == "regime-flapping"
    assert first.bars <= 900


def test_the_pace_of_a_target_moves_every_window_that_counts_bars(tmp_path: Path) -> None:
    def windows(bar: int) -> dict[str, int]:
        (tmp_path / str(bar)).mkdir()
        rules = load_rules(tmp_path / str(bar), bar)
        return {name: max(required_lookback(parse(kpi.expr)).values()) - STALE for name, kpi in rules.kpis.items()}

    second, fast = windows(1_000), windows(200)
    counted = [
        "regime_change_rate",
        "regime_change_rate_fast",
        "confidence",
        "confidence_fast",
        "prediction_error_rate",
    ]
    assert {name: fast[name] * 5 for name in counted} == {name: second[name] for name in counted}
    assert fast["drawdown"] == second["drawdown"]


def test_a_scrape_once_a_second_sees_every_fiftieth_bar_and_no_bar_of_a_restart() -> None:
    history = scrape([make_pages(100, GOOD, 0.97), make_pages(150, BAD, 0.4)], 20, T, phase=0)

    (page,) = history.pages.pages
    bars = page.v[[dict(key)["__name__"] for key in page.keys].index("hmm_bars_total")].tolist()
    assert bars == [1, 51, 1, 51, 101]
    assert history.began == [T, T + 2_000 + RESTART_MS]
    assert ((page.t - T) // 1_000).tolist() == [0, 1, 5, 6, 7]


def test_the_last_tick_is_as_old_as_the_pace_makes_it() -> None:
    (page,) = scrape([make_pages(4, GOOD, 0.97)], 3_000, T, phase=500).pages.pages

    ticks = page.v[[dict(key)["__name__"] for key in page.keys].index("last_tick_timestamp_seconds")]
    assert (page.t - ticks * 1_000).tolist()[:4] == [500, 1_500, 2_500, 500]


def test_the_tables_say_what_ran_first_and_what_was_false() -> None:
    pages = make_pages(1, GOOD, 0.97)
    deployments = [Deployment(1_010, 1, pages, pages), Deployment(1_345, 1, pages, pages)]
    first: list[FirstPlan | None] = [
        FirstPlan("rollback", "repair", "fast", 25),
        FirstPlan("halt", "halt", "streak", 9),
    ]
    result = PaceResult(first, [PlanStart(T, "bot", "halt", "halt", "drawdown", None)], 4.0)

    said = format_tables(deployments, {1: result})

    assert "| 1010, 1 | rollback, 25 (fast) |" in said
    assert "| 1345, 1 | halt, 9 (streak) |" in said
    assert "| 1 | 1 | 1 | 0 | 25, 25, 25 | 4 | 0.000 | 0.250 (1 drawdown) |" in said


@pytest.mark.slow
def test_real_deployments_of_the_bad_version_are_rolled_back_and_not_halted() -> None:
    pytest.importorskip("hmmlearn")
    healthy, deployments = walk_bots(FULL._replace(starts=3, seeds=1, healthy_bars=800, bad_bars=300))

    for pace in PACES:
        result = judge(healthy, deployments, pace)
        assert [one and one.kind for one in result.first_plans] == ["repair"] * 3
        assert max(one.bars for one in result.first_plans if one) <= (60 if pace < 50 else 250)
        assert {one.rule for one in result.false_plans} <= {"drawdown"}  # a tenth of the account is really lost there
