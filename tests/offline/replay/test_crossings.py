"""What goes to and fro across a limit is passed over only where nothing comes of it."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.offline.replay.test_equals_live import T, run_live, run_replay, write_config
from tests.offline.replay.test_skip import replay_changes
from tests.support.property_settings import examples
from watchdog import config
from watchdog.config import Config
from watchdog.offline.replay.engine import replay
from watchdog.offline.replay.threshold import ThresholdReplay
from watchdog.tsdb.page import STALE, Floats, PageList, SeriesPage

RULES = """\
targets: {bot: {}}
kpis:
  one: {expr: a}
  many: {expr: d}
  mean: {expr: "avg_over_time(a[7s])", needs: "count_over_time(b[4s]) >= 3"}
defaults: {target: bot, if_missing: {after: 5s, then: hold}}
rules:
  - {name: hold, kpi: one, warn: {above: 1, for: 3s}, crit: {above: 1.5, for: 9s, clear: 0.5, clear_for: 4s}}
  - {name: at-once, kpi: one, crit: {above: 2.5}}
  - {name: slow, kpi: one, crit: {below: 0, for: 6s, clear: 0.7, clear_for: 10s}}
  - {name: often, kpi: one, warn: {above: 1, for: 3 of 5}, crit: {above: 1.4, for: 5 of 6, clear: 1, clear_for: 3s}}
  - {name: each, kpi: many, each: [x], warn: {above: 1, for: 4s, clear: 0.5, clear_for: 5s}, crit: {above: 1, for: 4 of 5}}
  - {name: worst, kpi: many, each: [], crit: {above: 1.5, for: 3s, clear_for: 2s}}
  - {name: mean, kpi: mean, crit: {above: 0.8, for: 3s, clear_for: 2s}}
  - {name: band, kpi: one, crit: {outside: [-1.5, 1.5], clear: [-1, 1], for: 2s, clear_for: 3s}}
  - {name: asked, each: [x], warn: {expr: "d > 1", for: 3s, clear_for: 4s}, crit: {expr: "d > 1.4", for: 3 of 4}}
  - {name: hours, kpi: one, crit: {above: 1, for: 3s}, only: {when: "b > 0"}}
"""


def noisy_values(seed: int, size: int) -> Floats:
    """[4, n] rows that cross their limits all the time, sometimes for long; some of them missing now and then."""
    dice = np.random.default_rng(seed)
    rows = dice.normal(0, 1, (4, size))
    rows += np.repeat(dice.choice([0.0, 0.0, 0.0, 1.0, 3.0, -3.0], (4, size // 20 + 1)), 20, axis=1)[:, :size]
    smooth = dice.integers(1, 12)
    rows = np.array([np.convolve(row, np.ones(smooth) / np.sqrt(smooth), "same") for row in rows])
    holes = float(dice.choice([0.0, 0.0, 0.002, 0.02]))
    rows[dice.random(rows.shape) < holes] = np.nan if dice.random() < 0.3 else STALE
    return np.asarray(rows)


KEYS = [(("__name__", name), *((("x", x),) if x else ())) for name, x in [("a", ""), ("b", ""), ("d", "1"), ("d", "2")]]


@pytest.fixture(scope="module")
def loaded_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = tmp_path_factory.mktemp("turns") / "rules.yaml"
    path.write_text(RULES)
    known, problems = config.check_files([path], environ={})
    assert known is not None, problems
    return known


@pytest.mark.slow
@settings(max_examples=examples(12), deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.integers(5, 600),
    st.sampled_from([0, 0, 700]),
    st.sampled_from([1_000, 300, 2_500]),
    st.sampled_from([40, 333, 100_000]),
)
def test_what_happens_is_the_same_whether_or_not_turns_are_passed_over(
    loaded_config: Config, seed: int, size: int, jitter: int, every: int, at_once: int
) -> None:
    t = T + every * np.arange(size, dtype=np.int64)
    if jitter:
        t += np.random.default_rng(seed).integers(0, min(jitter, every), size)
    pages = PageList([SeriesPage(t, noisy_values(seed, size), KEYS, int(t[0]))])

    def happened(patch: pytest.MonkeyPatch) -> tuple[Any, ...]:
        patch.setattr("watchdog.offline.replay.engine._CHUNK_ROUNDS", at_once)
        said, report = replay_changes(loaded_config, pages, patch)
        return said, report.trips, report.plans, report.no_data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("watchdog.offline.replay.threshold._MIN_CROSSINGS", 0)
        passed = happened(patch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThresholdReplay, "_steady_rows", lambda *_: None)
        assert passed == happened(patch)


@settings(max_examples=examples(4), deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([300, 1_000]))
@pytest.mark.slow
def test_noise_replayed_is_what_the_daemon_makes_of_it(seed: int, every: int) -> None:
    names = ["a", "b", 'd{x="1"}', 'd{x="2"}']
    rows: list[tuple[int, dict[str, float] | None]] = [
        (T + every * i, {name: v if v == v else math.nan for name, v in zip(names, column, strict=True)})
        for i, column in enumerate(noisy_values(seed, 150).T.tolist())
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = write_config(folder, every, RULES)
        expected, _ = run_live(folder, known, rows)
        replayed, _ = run_replay(known, folder / "h.csv", rows)
    assert sorted(replayed) == sorted(expected)


@pytest.mark.slow
def test_of_a_day_of_noise_at_the_limit_few_looks_are_taken(
    loaded_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    look = ThresholdReplay._evaluate_round

    def counted(self: ThresholdReplay, *args: Any) -> bool:
        taken.append(1)
        return look(self, *args)

    monkeypatch.setattr(ThresholdReplay, "_evaluate_round", counted)
    size = 86_400
    t = T + 1_000 * np.arange(size, dtype=np.int64)
    noise = np.random.default_rng(1).normal(0, 1, (1, size))
    report = replay(loaded_config, PageList([SeriesPage(t, noise, KEYS[:1], int(t[0]))]))
    assert {trip.rule for trip in report.trips} >= {"at-once", "often"}
    assert len(taken) < size
