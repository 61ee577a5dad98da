"""The quick and quiet way says what judging everything by arrays says: over gaps, restarts, resumes, jumps and reloads.

`tests/test_calm.py` asks it of samples alone. Here people and clocks do their part, recorded metrics and drawdowns since the
last resume are among the rules, and what is compared is the whole journal.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.replay.test_replay_equals_live import RULES, T, sample
from tests.test_calm import meant
from watchdog import config
from watchdog.journal import Journal, runs
from watchdog.pipeline import Pipeline
from watchdog.pipeline.watch import Watch
from watchdog.promql import Live
from watchdog.telemetry import Telemetry

MAIN = """\
sources:
  bot: {type: scrape, url: "http://127.0.0.1:9/metrics", every: 1s}
  two: {type: scrape, url: "http://127.0.0.1:9/two", every: 2s}
state: state
web: {listen: "127.0.0.1:0"}
"""
RECORDED = """\
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
MORE = """\
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


class World:
    """One pipeline, and the chances of its life: the same for the same seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        (folder / "rules").mkdir(parents=True)
        (folder / "watchdog.yaml").write_text(MAIN)
        (folder / "rules" / "own.yaml").write_text(RULES.replace("defaults:", KPIS).replace("plans:", MORE))
        (folder / "rules" / "recorded.yaml").write_text(RECORDED)
        self.folder, self.chance, self.now = folder, random.Random(seed), T
        self.config = config.load(folder, environ={})
        self.values = {"a": 2.0, "b": 5.0, "c": 0.0, "e": 2.0, 'd{x="p"}': 1.0, 'd{x="q"}': 2.0}
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.folder / "journal.db")
        self.journal.rows("PRAGMA synchronous=OFF")
        self.pipeline = Pipeline(self.config, self.journal, Telemetry("t"), self.now)

    def moves(self) -> None:
        for name, value in self.values.items():
            if name == "c":
                self.values[name] = value + self.chance.choice([0, 0, 1, 3])
            elif self.chance.random() < 0.3:
                self.values[name] = self.chance.choice([0.5, 1, 2, 2, 2.5, 3, 4, 4.5, 6, math.nan])

    def reads(self, source: str, names: list[str], lost: float) -> None:
        if self.chance.random() < lost:
            self.pipeline.lose(source, self.now)
        else:
            there = [sample(name, self.now, self.values[name]) for name in names if self.chance.random() > 0.03]
            self.pipeline.keep(source, there, self.now)
        self.pipeline.judge(self.now, source)

    def tick(self) -> None:
        self.now += self.chance.choice([200, 500, 1_000])
        self.moves()
        if self.chance.random() < 0.85:
            self.reads("bot", [name for name in self.values if name != "e"], 0.1)
        if self.chance.random() < 0.5:
            self.reads("two", ["e"], 0.1)
        self.pipeline.judge(self.now)

    def lives(self, events: int) -> None:
        for _ in range(events):
            for _ in range(self.chance.randint(1, 6)):
                self.tick()
            match self.chance.choice(
                ["", "", "", "", "restart", "resume", "rest", "mute", "wake", "reload", "back", "ended"]
            ):
                case "restart":
                    self.journal.close()
                    self.now += self.chance.choice([1_000, 3_000, 20_000])
                    self.open()
                case "resume":
                    self.pipeline.resume("bot", "ann", self.now)
                case "rest":
                    for _ in range(self.chance.randint(1, 8)):
                        self.now += 1_000
                        self.pipeline.judge(self.now)
                case "mute":
                    self.pipeline.mute("bot", self.chance.choice([(), ("hold", "rec"), ("dd", "low", "peak")]))
                case "wake":
                    self.pipeline.wake(self.now)
                case "reload":
                    self.pipeline.use(config.load(self.folder, environ={}), self.now)
                case "back":
                    self.now += self.chance.choice([-90_000, -2_500, 7_000])
                    self.pipeline.wake(self.now)
                case "ended":
                    for run in runs.unended(self.journal, "bot"):
                        with self.journal.write() as db:
                            runs.move(db, run.id, status="ended", outcome="proven", acted=self.now, ended=self.now)

    def said(self) -> Iterator[tuple[str, Any]]:
        for table in TABLES:
            for row in self.journal.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3"):
                yield table, repr(tuple(row))
        for key, machine in sorted(self.pipeline.machines.items(), key=str):
            yield "machine", (key, repr(meant(machine)))


def told(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch, *, quick: bool) -> list[tuple[str, Any]]:
    with monkeypatch.context() as patch:
        if not quick:
            patch.setattr(Watch, "passes", lambda *_: False)
            patch.setattr(Watch, "holds", lambda *_: False)
            patch.setattr(Live, "plan", lambda *_: None)
        world = World(folder, seed)
        world.lives(25)
        said = list(world.said())
        world.journal.close()
        return said


@pytest.mark.parametrize("seed", range(2))
def test_the_quiet_way_writes_the_same_journal(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = told(tmp_path / "quick", seed, monkeypatch, quick=True)
    slow = told(tmp_path / "slow", seed, monkeypatch, quick=False)

    assert quick == slow
    assert {table for table, _ in quick} >= {"event", "incident", "trip", "peak"}
