"""What stands for a rule while no label set of its KPI is known leaves as soon as there are some: one row per state that is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pipeline_harness import RULES_YAML, PipelineHarness
from watchdog.app.status import build_status
from watchdog.core.model import Labels
from watchdog.pipeline.metrics_snapshot import metrics_snapshot

PAIR_RULE = "  - {{name: pair, kpi: left, target: bot, each: [side], crit: {crit}{more}}}\n"
BUY: Labels = (("side", "buy"),)
SELL: Labels = (("side", "sell"),)

MakePair = Callable[..., PipelineHarness]


@pytest.fixture
def make_pair(tmp_path: Path) -> MakePair:
    def make(crit: str, more: str = "") -> PipelineHarness:
        text = RULES_YAML.replace("kpis:\n", "kpis:\n  left: {expr: left}\n")
        return PipelineHarness(tmp_path, text.replace("rules:\n", f"rules:\n{PAIR_RULE.format(crit=crit, more=more)}"))

    return make


def rows(harness: PipelineHarness) -> list[tuple[dict[str, str], str, str]]:
    status = build_status(harness.config, harness.pipeline, harness.journal, {}, harness.now)
    listed = status["rules"]
    assert isinstance(listed, list)
    return [(row["labels"], row["phase"], row["outcome"]) for row in listed if row["rule"] == "pair"]


def pair_label_sets_in_journal(harness: PipelineHarness) -> list[Labels]:
    return [labels for (rule, _, labels), _ in harness.journal.machines.list_machines() if rule == "pair"]


def test_beside_a_label_set_that_fires_no_row_without_labels_says_ok(make_pair: MakePair) -> None:
    harness = make_pair("{above: 5}")
    harness.rounds(3)
    assert rows(harness) == [({}, "ok", "nodata")]

    harness.labelled_series = [("left", BUY, 9), ("left", SELL, 1)]
    harness.rounds(2)

    assert rows(harness) == [({"side": "buy"}, "firing", "bad"), ({"side": "sell"}, "ok", "ok")]
    harness.labelled_series = []
    harness.rounds(2)  # lost as a whole, nothing leaves, and nothing comes beside it
    assert rows(harness) == [({"side": "buy"}, "firing", "nodata"), ({"side": "sell"}, "ok", "nodata")]


@pytest.mark.parametrize("crit", ["{above: 5, for: 3s}", "{above: 5}", '{expr: "left > 5", for: 2s}'])
def test_the_page_for_prometheus_counts_no_state_without_labels(make_pair: MakePair, crit: str) -> None:
    harness = make_pair(crit)
    harness.rounds(3)
    harness.labelled_series = [("left", BUY, 9)]
    harness.rounds(6)

    snapshot = metrics_snapshot(harness.config, harness.config.checks, {}, harness.pipeline.machines, harness.journal)
    alerts = {labels for rule, _, labels in snapshot.alerts if rule == "pair"}
    assert alerts == {BUY}
    assert [key.labels for key in harness.pipeline.machines if key.rule == "pair"] == [BUY]


def test_what_fired_while_nothing_was_there_is_cleared_and_told_before_it_leaves(make_pair: MakePair) -> None:
    harness = make_pair("{above: 5, clear_for: 3s}", ", if_missing: {after: 5s, then: crit}")
    harness.rounds(8)
    assert rows(harness) == [({}, "firing", "nodata")]
    assert harness.incident is not None

    harness.labelled_series = [("left", BUY, 1)]
    harness.rounds(2)
    assert ({}, "easing", "ok") in rows(harness)
    harness.restart()
    harness.rounds(4)

    assert rows(harness) == [({"side": "buy"}, "ok", "ok")]
    assert harness.incident is None
    (trip,) = harness.journal.incidents.list_trips(1)
    assert (trip.labels, trip.cleared is not None) == ((), True)
    assert "pair recovered, incident 1 closed" in harness.message_titles()[-1]
    assert pair_label_sets_in_journal(harness) == []


def test_a_condition_stands_for_itself_only_while_it_names_nothing(make_pair: MakePair) -> None:
    harness = make_pair('{expr: "left > 5", clear_for: 2s}')
    harness.labelled_series = [("left", BUY, 1)]
    harness.rounds(2)
    assert rows(harness) == [({}, "ok", "ok")]

    harness.labelled_series = [("left", BUY, 9)]
    harness.rounds(2)
    assert rows(harness) == [({"side": "buy"}, "firing", "bad")]
    harness.labelled_series = [("left", BUY, 1)]
    harness.round()
    assert rows(harness) == [({"side": "buy"}, "easing", "ok")]
    harness.rounds(3)
    assert rows(harness) == [({}, "ok", "ok")]  # and at no round is there no row at all
    harness.rounds(3)
    assert rows(harness) == [({}, "ok", "ok")]


def test_at_every_round_a_rule_has_a_row(make_pair: MakePair) -> None:
    harness = make_pair('{expr: "left > 5"}')
    for value in (1, 9, 1, 9, 9, 1, 1):
        harness.labelled_series = [("left", BUY, value)]
        harness.round()
        assert [labels for labels, _, _ in rows(harness)] == [{"side": "buy"} if value == 9 else {}]
