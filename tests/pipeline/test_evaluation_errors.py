"""What only the samples can tell is wrong becomes a verdict, not a crash."""

from __future__ import annotations

from pathlib import Path

from watchdog.config import load
from watchdog.core.model import Sample
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.pipeline.pipeline import Pipeline

CONFIG = 'sources: {bot: {type: scrape, url: "http://127.0.0.1:9/m", every: 1s}}\nstate: s\n'
RULES = """\
targets: {t: {}}
kpis: {k: {expr: a + on () b}, well: {expr: max(a)}}
rules: [{name: r, kpi: k, target: t, crit: {above: 1}}, {name: well, kpi: well, target: t, crit: {above: 1}}]
"""


def test_an_expression_that_fails_on_these_samples_is_an_error_and_the_other_rules_go_on(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text(CONFIG)
    (tmp_path / "rules" / "a.yaml").write_text(RULES)
    journal = SqliteJournal(tmp_path / "journal.db")
    pipeline = Pipeline(load(tmp_path, environ={}), journal, Telemetry("0"), 1_000)
    many = [Sample("a", (("x", "1"),), 2_000, 5.0), Sample("a", (("x", "2"),), 2_000, 5.0)]

    pipeline.add_samples("bot", [*many, Sample("b", (), 2_000, 1.0), Sample("b", (("y", "1"),), 2_000, 1.0)], 2_000)
    pipeline.judge(2_000)

    outcomes = {key.rule: machine.outcome for key, machine in pipeline.machines.items()}
    assert outcomes == {"r": "error", "well": "bad"}
    assert pipeline.condition_holds("a + on () b", 2_000) is None
    journal.close()
