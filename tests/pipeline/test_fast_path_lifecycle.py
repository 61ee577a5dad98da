"""The quick and quiet way says what judging everything by arrays says: over gaps, restarts, resumes, jumps and reloads.

`test_fast_path` asks it of samples alone. Here people and clocks do their part, recorded metrics and drawdowns since the
last resume are among the rules, and what is compared is the whole journal.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.offline.replay.test_equals_live import RULES, T, make_sample
from tests.pipeline.test_fast_path import normalize_machine
from watchdog import config
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.pipeline.check_tracker import CheckTracker
from watchdog.pipeline.pipeline import Pipeline
from watchdog.promql import EmbeddedEvaluator

MAIN = """\
sources:
  bot: {type: scrape, url: "http://127.0.0.1:9/metrics", every: 1s}
  two: {type: scrape, url: "http://127.0.0.1:9/two", every: 2s}
state: state
web: {listen: "127.0.0.1:0"}
"""
RECORDING_RULES = """\
groups:
  - name: g
    interval: 2s
    rules:
      - {record: "job:a:mean", expr: "avg_over_time(a[5s])"}
      - {record: "job:e:sum", expr: "sum(d) + e"}
"""
KPIS = """\
  rec: {expr: "job:a:mean"}
  recmax: {expr: "max_over_time(job:a:mean[8s])"}
  rectwo: {expr: "job:e:sum"}
  low: {expr: "e / min_over_time(e[20s])", since: resume}
  dd: {expr: "max_drawdown_over_time(b[30s])", since: resume}
  sume: {expr: "sum_over_time(e[6s])"}
  offs: {expr: "e offset 3s"}
  worst: {expr: "max by (x) (max_over_time(d[4s]))"}
defaults:"""
MORE_RULES = """\
  - {name: rec, kpi: rec, crit: {above: 3, for: 2s, clear: 2}}
  - {name: recmax, kpi: recmax, warn: {above: 4}}
  - {name: rectwo, kpi: rectwo, crit: {above: 8, for: 2 of 3}}
  - {name: low, kpi: low, crit: {above: 2, for: 1s, plan: halt}}
  - {name: dd, kpi: dd, crit: {above: 0.6, clear: 0.5}}
  - {name: sume, kpi: sume, warn: {above: 15, for: 1s}}
  - {name: offs, kpi: offs, warn: {above: 4}}
  - {name: absent, kpi: sume, crit: {expr: absent(e), for: 3s}}
  - {name: worst, kpi: worst, each: [x], warn: {above: 5}}
  - {name: fresh, kpi: offs, if_missing: {after: 3s, then: crit}, crit: {above: 100}}
plans:"""
TABLES = ("event", "incident", "run", "message", "trip", "peak", "target")


class RandomPipeline:
    """One pipeline, and the chances of its life: the same for the same seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        (folder / "rules").mkdir(parents=True)
        (folder / "watchdog.yaml").write_text(MAIN)
        (folder / "rules" / "own.yaml").write_text(RULES.replace("defaults:", KPIS).replace("plans:", MORE_RULES))
        (folder / "rules" / "recorded.yaml").write_text(RECORDING_RULES)
        self.folder, self.random, self.now = folder, random.Random(seed), T
        self.config = config.load(folder, environ={})
        self.values = {"a": 2.0, "b": 5.0, "c": 0.0, "e": 2.0, 'd{x="p"}': 1.0, 'd{x="q"}': 2.0}
        self.open()

    def open(self) -> None:
        self.journal = SqliteJournal(self.folder / "journal.db", durable=False)
        self.pipeline = Pipeline(self.config, self.journal, Telemetry("t"), self.now)

    def change_values(self) -> None:
        for name, value in self.values.items():
            if name == "c":
                self.values[name] = value + self.random.choice([0, 0, 1, 3])
            elif self.random.random() < 0.3:
                self.values[name] = self.random.choice([0.5, 1, 2, 2, 2.5, 3, 4, 4.5, 6, math.nan, math.inf, -math.inf])

    def read_source(self, source: str, names: list[str], lost: float) -> None:
        if self.random.random() < lost:
            self.pipeline.mark_source_down(source, self.now)
        else:
            there = [make_sample(name, self.now, self.values[name]) for name in names if self.random.random() > 0.03]
            self.pipeline.add_samples(source, there, self.now)
        self.pipeline.judge(self.now, source)

    def advance(self) -> None:
        self.now += self.random.choice([200, 500, 1_000])
        self.change_values()
        if self.random.random() < 0.85:
            self.read_source("bot", [name for name in self.values if name != "e"], 0.1)
        if self.random.random() < 0.5:
            self.read_source("two", ["e"], 0.1)
        self.pipeline.judge(self.now)

    def run_events(self, events: int) -> None:
        for _ in range(events):
            for _ in range(self.random.randint(1, 6)):
                self.advance()
            match self.random.choice(
                ["", "", "", "", "restart", "resume", "rest", "mute", "wake", "reload", "back", "asleep", "ended"]
            ):
                case "restart":
                    self.journal.close()
                    self.now += self.random.choice([1_000, 3_000, 20_000])
                    self.open()
                case "resume":
                    self.pipeline.resume("bot", "ann", self.now)
                case "rest":
                    for _ in range(self.random.randint(1, 8)):
                        self.now += 1_000
                        self.pipeline.judge(self.now)
                case "mute":
                    self.pipeline.mute_rules("bot", self.random.choice([(), ("hold", "rec"), ("dd", "low", "peak")]))
                case "wake":
                    self.pipeline.handle_standstill(self.now, self.now)
                case "reload":
                    self.pipeline.apply_config(config.load(self.folder, environ={}), self.now)
                case "back":
                    step = self.random.choice([-90_000, -2_500, 7_000])
                    self.now += step
                    self.pipeline.follow_clock_step(step, self.now)
                case "asleep":
                    self.now += 40_000
                    self.pipeline.handle_standstill(self.now - 40_000, self.now)
                case "ended":
                    for run in self.journal.runs.list_unfinished("bot"):
                        with self.journal.transaction() as tx:
                            tx.runs.update_run(run.id, status="ended", outcome="proven", acted=self.now, ended=self.now)

    def journal_and_machines(self) -> Iterator[tuple[str, Any]]:
        for table in TABLES:
            for row in self.journal.query(f"SELECT * FROM {table} ORDER BY 1, 2, 3"):
                yield table, repr(tuple(row))
        for key, machine in sorted(self.pipeline.machines.items(), key=str):
            yield "machine", (key, repr(normalize_machine(machine)))


def run_and_record(
    folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch, *, fast_path: bool
) -> list[tuple[str, Any]]:
    with monkeypatch.context() as patch:
        if not fast_path:
            patch.setattr(CheckTracker, "still_clearly_ok", lambda *_: False)
            patch.setattr(CheckTracker, "skippable", lambda *_: False)
            patch.setattr(EmbeddedEvaluator, "compile", lambda *_: None)
        world = RandomPipeline(folder, seed)
        world.run_events(25)
        said = list(world.journal_and_machines())
        world.journal.close()
        return said


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_quiet_way_writes_the_same_journal(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = run_and_record(tmp_path / "quick", seed, monkeypatch, fast_path=True)
    slow = run_and_record(tmp_path / "slow", seed, monkeypatch, fast_path=False)

    assert quick == slow
    assert {table for table, _ in quick} >= {"event", "incident", "trip", "peak"}
