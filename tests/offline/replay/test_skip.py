"""Stretches that replay passes over change nothing in what it says."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.offline.replay.test_equals_live import RULES, T
from tests.support.property_settings import examples
from watchdog import config
from watchdog.config import Config
from watchdog.offline.replay import skip
from watchdog.offline.replay.engine import ReplayReport, replay
from watchdog.offline.replay.skip import Segment, Segmenter
from watchdog.offline.replay.threshold import ThresholdReplay
from watchdog.rules import Check
from watchdog.tsdb.page import STALE, PageList, SeriesPage

MORE_RULES = """\
  - {name: share, kpi: share, crit: {above: 0.2, for: 3s, plan: mend}}
  - {name: falls, kpi: falls, warn: {above: 0.2, for: 20s}, crit: {above: 0.4, clear_for: 10s}, only: {when: "c > 20"}}
  - {name: rises, kpi: rises, warn: {below: 0.01}, crit: {outside: [0.001, 3]}}
"""
KPIS = """\
  share: {expr: "change_share_over_time(a[60s])"}
  falls: {expr: "max_drawdown_over_time(b[5m])"}
  rises: {expr: "rate(c[10m])", needs: "count_over_time(c[10m]) > 500"}
"""


@pytest.fixture(scope="module")
def loaded_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = tmp_path_factory.mktemp("calm") / "rules.yaml"
    path.write_text(RULES.replace("defaults:", KPIS + "defaults:").replace("plans:\n", MORE_RULES + "plans:\n"))
    known, problems = config.check_files([path], environ={})
    assert known is not None, problems
    return known


def random_history(seed: int, size: int, jitter: int) -> PageList:
    """What `RULES` read: hours in which little happens, and minutes in which much does."""
    dice = random.Random(seed)
    wild = np.zeros(size, np.bool_)
    for _ in range(dice.randint(0, 6)):
        at = dice.randrange(size)
        wild[at : at + dice.randint(1, 60)] = True
    rows: list[list[float]] = []
    a, b, c = 1.5, 10.0, 0.0
    for i in range(size):
        if wild[i]:
            a, b = dice.choice([0.0, 1.5, 2.5, 3.5, 5.0]), max(0.5, b + dice.choice([-3, -1, 0, 1, 2]))
        c = 0.0 if wild[i] and dice.random() < 0.1 else c + (dice.random() < 0.5)
        gone = wild[i] and dice.random() < 0.1
        rows.append([float(STALE) if gone else a, b, c, a + 1, float(STALE) if i % 900 > 700 else 5 - a])
    t = T + 1_000 * np.arange(size, dtype=np.int64)
    if jitter:
        t += np.random.default_rng(seed).integers(0, jitter, size)
    if dice.random() < 0.5:  # nobody looked for a while
        t[dice.randrange(size) :] += dice.randint(2_000, 400_000)
    v = np.array(rows).T.copy()
    v[np.isnan(v)] = STALE
    keys = [
        (("__name__", name), *((("x", x),) if x else ()))
        for name, x in [("a", ""), ("b", ""), ("c", ""), ("d", "1"), ("d", "2")]
    ]
    return PageList([SeriesPage(t, v, keys, int(t[0]))])


def replay_changes(
    loaded_config: Config, pages: PageList, patch: pytest.MonkeyPatch, every: int | None = None
) -> tuple[list[Any], ReplayReport]:
    courses: list[ThresholdReplay] = []
    make = ThresholdReplay.__init__

    def noted(self: ThresholdReplay, check: Check, index: int) -> None:
        make(self, check, index)
        courses.append(self)

    patch.setattr(ThresholdReplay, "__init__", noted)
    report = replay(loaded_config, pages, every=every)
    # How long something pended that needs N of M is said from where it was looked at closely.
    said = [
        (c.time, c.key, c.kind, c.reason, not course.check.patience.m and c.duration, verdict)
        for course in courses
        for c, verdict in course.changes
    ]
    return sorted(said, key=lambda one: one[:3]), report


@settings(max_examples=examples(15), deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.integers(20, 4_000),
    st.sampled_from([0, 0, 700]),
    st.sampled_from([None, None, 5_000]),
    st.sampled_from([4, 32, 200]),
    st.sampled_from([1, 3]),
)
def test_what_happens_is_the_same_whether_or_not_calm_stretches_are_passed_over(
    loaded_config: Config, seed: int, size: int, jitter: int, every: int | None, looks: int, worth: int
) -> None:
    pages = random_history(seed, size, jitter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skip, "ROUNDS_PER_STRETCH", looks)
        patch.setattr(skip, "MIN_STRETCHES", worth)
        passed = replay_changes(loaded_config, pages, patch, every)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Segmenter, "segments", lambda self, *_: [Segment(int(self._stretches.starts[0]), self._end, False)]
        )
        assert passed == replay_changes(loaded_config, pages, patch, every)


def test_a_quiet_day_is_passed_over(loaded_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    go = ThresholdReplay.process

    def counted(self: ThresholdReplay, seen: Any, *rest: Any) -> None:
        looked.append(seen.times.size)
        go(self, seen, *rest)

    monkeypatch.setattr(ThresholdReplay, "process", counted)
    size = 86_400
    t = T + 1_000 * np.arange(size, dtype=np.int64)
    rows = np.array([np.full(size, 1.5), np.full(size, 10.0), np.arange(size) * 0.5, np.full(size, 2.0)])
    keys = [(("__name__", name), *((("x", "1"),) if name == "d" else ())) for name in "abcd"]
    replay(loaded_config, PageList([SeriesPage(t, rows, keys, int(t[0]))]))
    assert 0 < sum(looked) < 0.1 * size * len(loaded_config.checks)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a history of an hour has several."""
    monkeypatch.setattr("watchdog.offline.replay.engine._CHUNK_ROUNDS", 1_000)
