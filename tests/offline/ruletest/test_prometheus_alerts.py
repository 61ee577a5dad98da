"""Prometheus's alerts as the daemon judges them: states, plans, and what people are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchdog import config
from watchdog.core.model import Sample
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.offline.ruletest.runner import run_tests
from watchdog.offline.ruletest.test_definition import load_test_file
from watchdog.pipeline.pipeline import Pipeline

OWN_RULES = """\
targets: {bot: {}}
plans:
  stop: {kind: halt, levels: [{name: a, steps: [{do: command, run: ["true"]}], verify: {that: [up == 0]}}]}
"""
PROMETHEUS_RULES = """\
groups:
  - name: g
    interval: 10s
    rules:
      - {record: 'job:e:rate', expr: 'sum by (job) (rate(errors_total[1m]))'}
      - alert: Errors
        expr: job:e:rate{job="bot"} > 1
        for: 1m
        keep_firing_for: 1m
        labels: {severity: critical, watchdog_plan: stop}
        annotations:
          summary: >-
            {{ $labels.job }} at {{ $value | humanize }}, most {{ query `max(job:e:rate)` | first | value | printf `%.1f` }}
          broken: "{{ query `nobody` | first | value }}"
      - {alert: Peak, expr: 'max_over_time(job:e:rate[2m]) > 1'}
      - {alert: Gone, expr: absent(beat), for: 30s}
      - {alert: Late, expr: minute() >= 5}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ours.yaml").write_text(OWN_RULES)
    (tmp_path / "theirs.yml").write_text(PROMETHEUS_RULES)
    return tmp_path


def test_their_alerts_have_states_plans_and_recorded_metrics(folder: Path) -> None:
    (folder / "test.yml").write_text("""\
rule_files: [ours.yaml, theirs.yml]
evaluation_interval: 10s
tests:
  - interval: 10s
    input_series:
      - {series: 'errors_total{job="bot"}', values: '0+1x12 32+20x11 252x40'}    # bad from 2m to 4m
      - {series: beat, values: '1x30 stale _x30'}                                # gone after 5m
    watchdog_rule_test:
      - {eval_time: 2m, rule: Errors, state: ok, plan: none}
      - {eval_time: 2m40s, rule: Errors, state: pending}
      - {eval_time: 3m50s, rule: Errors, state: crit, plan: stop}
      - {eval_time: 4m, rule: Peak, state: warn}
      - {eval_time: 5m10s, rule: Errors, state: crit}      # kept
      - {eval_time: 5m30s, rule: Peak, state: warn}        # the peak is in its window
      - {eval_time: 7m20s, rule: Errors, state: ok}
      - {eval_time: 7m20s, rule: Peak, state: ok}
      - {eval_time: 5m, rule: Gone, state: ok}
      - {eval_time: 6m, rule: Gone, state: warn}
      - {eval_time: 4m50s, rule: Late, state: ok}
      - {eval_time: 5m10s, rule: Late, state: warn}
""")

    file, problems = load_test_file(folder / "test.yml", {})

    assert not problems
    assert file is not None
    assert [f"{case.subject}: {case.got} {case.detail}" for case in run_tests(file) if not case.passed] == []


def test_people_read_what_the_annotations_say(folder: Path) -> None:
    known, problems = config.check_files([folder], environ={})
    assert not problems
    assert known is not None
    journal = SqliteJournal(folder / "journal.db")
    pipeline = Pipeline(known, journal, Telemetry("test"), 0)
    for t in range(1_000, 200_000, 1_000):
        pipeline.add_samples(
            "test", [Sample("errors_total", (("job", "bot"),), t, t / 250), Sample("beat", (), t, 1)], t
        )
        pipeline.judge(t)
    said = [
        line
        for row in journal.query("SELECT * FROM message")
        for value in tuple(row)
        if isinstance(value, str)
        for line in [value]
        if "bot at" in line
    ]
    journal.close()

    assert len(said) == 1
    assert "bot at 4, most 4.0" in said[0]
    assert "broken: <error expanding template: first() called on vector with no elements>" in said[0]
