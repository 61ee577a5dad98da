"""What the pipeline does not do for rules that are plainly well makes no difference: not to events, not to machines."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.offline.replay.test_equals_live import random_rows, run_live, write_config
from tests.support.pipeline_harness import RULES_YAML, PipelineHarness
from tests.support.property_settings import examples
from watchdog import rules
from watchdog.core.model import Labels, Verdict
from watchdog.pipeline.check_tracker import CheckTracker
from watchdog.pipeline.pipeline import Pipeline
from watchdog.rules.state_machine import MachineState, StateKey


def run_pipeline(
    folder: Path, every: int, rows: list[Any], *, fast_path: bool
) -> tuple[Any, dict[StateKey, MachineState]]:
    """(changes, machines) of a pipeline that was told these rows."""
    folder.mkdir()
    kept: list[Pipeline] = []
    make = Pipeline.__init__

    def noted(self: Pipeline, *args: Any, **more: Any) -> None:
        make(self, *args, **more)
        kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "__init__", noted)
        if not fast_path:
            patch.setattr(CheckTracker, "still_clearly_ok", lambda *_: False)
            patch.setattr(CheckTracker, "skippable", lambda *_: False)
        told = run_live(folder, write_config(folder, every), rows)
        (pipeline,) = kept
        return told, dict(pipeline.machines)


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.sampled_from([300, 1_000, 2_500]), st.integers(5, 40))
def test_short_cuts_change_no_event_and_no_machine(seed: int, every: int, count: int) -> None:
    rows = random_rows(seed, count, every)
    with tempfile.TemporaryDirectory() as name:
        told, machines = run_pipeline(Path(name, "short"), every, rows, fast_path=True)
        expected, all_the_way = run_pipeline(Path(name, "long"), every, rows, fast_path=False)

    assert told == expected
    assert machines.keys() == all_the_way.keys()
    for key, machine in machines.items():
        assert repr(normalize_machine(machine)) == repr(normalize_machine(all_the_way[key])), key  # a value may be NaN


def normalize_machine(machine: MachineState) -> MachineState:
    """Good evaluations at the front of `recent` mean nothing: they are not all written down."""
    return replace(machine, recent=machine.recent[machine.recent.index(True) :] if True in machine.recent else ())


def test_a_calm_rule_is_judged_by_its_numbers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(3)
    judged: list[str] = []
    judge = rules.judge

    def noted(check: rules.Check, reading: rules.Reading, now: int, known: list[Labels]) -> list[Verdict]:
        judged.append(check.rule)
        return judge(check, reading, now, known)

    monkeypatch.setattr(rules, "judge", noted)
    harness.rounds(3)

    assert judged == []
    assert {machine.last for machine in harness.pipeline.machines.values()} == {harness.now}
    assert judged  # what was put off is done when somebody looks


def test_the_metrics_say_what_is_so_when_they_are_read(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(3)
    told = harness.pipeline.telemetry.registry.get_sample_value
    assert told("watchdog_kpi_value", {"kpi": "errors", "target": "bot"}) == 0.01
    assert told("watchdog_rule_state", {"rule": "errors", "target": "bot"}) == 0

    harness.round(error_ratio=0.012)

    assert told("watchdog_kpi_value", {"kpi": "errors", "target": "bot"}) == 0.012


def test_a_condition_whose_value_is_infinite_is_no_data_and_ends_no_judging(tmp_path: Path) -> None:
    """It was forgotten in the round that judged it, and the next round that looked at it found nothing to write to."""
    rules = RULES_YAML.replace("plans:", "  - {name: endless, target: bot, crit: {expr: equity > 5000}}\nplans:", 1)
    harness = PipelineHarness(tmp_path, rules)
    harness.rounds(3, equity=math.inf)
    harness.pipeline.judge(harness.now + 100)
    reasons = [state.reason for key, state in harness.pipeline.machines.items() if key.rule == "endless"]
    assert reasons == ["endless is infinite"]

    harness.rounds(3, equity=1_000)
    states = [(key.labels, state.outcome) for key, state in harness.pipeline.machines.items() if key.rule == "endless"]
    assert states == [((), "ok")]
    harness.rounds(2, equity=6_000)
    assert harness.incident is not None
    harness.journal.close()
