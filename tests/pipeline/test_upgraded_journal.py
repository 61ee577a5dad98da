"""A journal from before a rule could speak for several targets: what it knows goes to the bot that it was known of."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from watchdog import config
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.pipeline.baseline_tracker import expression_digest
from watchdog.pipeline.pipeline import Pipeline
from watchdog.rules.state_machine import StateKey

V5 = Path(__file__).parents[1] / "journal" / "data" / "journal_v5.sql"
NOW = 1_700_000_001_000
MAIN = "sources: {bot: {type: scrape, url: 'http://127.0.0.1:1/', every: 1s}}\nstate: state\n"
RULES = """\
kpis:
  flaps: {expr: flaps}
  latency: {expr: latency, baseline: captured}
rules:
  - {name: flapping, kpi: flaps, target: all, each: [pair], crit: {above: 1, plan: halt}}
  - {name: latency, kpi: latency, target: all, warn: {above: 2 x baseline}}
plans:
  halt:
    kind: halt
    levels:
      - {name: stop, steps: [{do: flag, file: config.py, set: {T: false}}], verify: {that: [equity > 0]}}
"""


def upgraded(folder: Path, targets: str) -> Pipeline:
    (folder / "rules").mkdir()
    (folder / "watchdog.yaml").write_text(MAIN)
    (folder / "rules" / "rules.yaml").write_text(f"targets: {targets}\n{RULES}")
    loaded = config.load(folder, environ={})
    db = sqlite3.connect(folder / "journal.db")
    db.executescript(V5.read_text())
    db.execute(
        "INSERT INTO baseline VALUES ('latency', 'captured', ?, 20.5, 1, 40, 60000, 'anna', NULL)",
        (expression_digest(loaded.kpis["latency"]),),
    )
    db.commit()
    db.close()
    return Pipeline(loaded, SqliteJournal(folder / "journal.db", durable=False), Telemetry("test"), NOW)


ONE = "{bot: {repo: /srv/bot}}"
TWO = "{aaa: {repo: /srv/aaa, sources: []}, bot: {repo: /srv/bot, sources: [bot]}}"


@pytest.mark.parametrize("targets", [ONE, TWO])
def test_what_fires_goes_on_firing_for_the_bot_whose_incident_it_is(tmp_path: Path, targets: str) -> None:
    pipeline = upgraded(tmp_path, targets)

    firing = [key for key, machine in pipeline.machines.items() if machine.is_firing]
    assert firing == [StateKey("flapping", "crit", (("pair", "BTC"),), "bot")]
    pipeline.journal.close()


def test_what_was_captured_of_one_bot_is_no_baseline_of_another(tmp_path: Path) -> None:
    pipeline = upgraded(tmp_path, TWO)

    assert pipeline.baselines.current("latency", "bot").value == 20.5
    assert pipeline.baselines.current("latency", "aaa").value is None
    pipeline.journal.close()
