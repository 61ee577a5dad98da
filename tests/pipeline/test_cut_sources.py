"""A source that brings more than it may: what is cut is never judged as if it were whole, and people are told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline_harness import PipelineHarness
from watchdog.core.model import Labels, Verdict
from watchdog.pipeline.cut_reports import WHOLE_AFTER
from watchdog.rules.judge import MAX_LABEL_SETS
from watchdog.rules.state_machine import MachineState, advance
from watchdog.sources.series_limits import ALL_METRICS, Cut

pytestmark = pytest.mark.slow

RULES = """
targets: {bot: {}}
kpis:
  equity: {expr: equity, unit: currency}
  errors: {expr: error_ratio, unit: ratio}
  recent: {expr: "avg_over_time(equity[10s])", unit: currency}
  per_pair: {expr: pair_equity, unit: currency}
rules:
  - {name: equity-low, target: bot, kpi: equity, crit: {below: 500}}
  - {name: recent-low, target: bot, kpi: recent, crit: {below: 500}}
  - {name: errors-high, target: bot, kpi: errors, crit: {above: 10%}}
  - {name: pair-low, target: bot, kpi: per_pair, crit: {below: 500}}
"""


@pytest.fixture
def harness(tmp_path: Path) -> PipelineHarness:
    harness = PipelineHarness(tmp_path, RULES)
    harness.labelled_series = [("pair_equity", (("pair", "BTC"),), 1_000.0)]
    return harness


def cut_of(*metrics: str) -> Cut:
    return Cut(Counter({"series": 7}), frozenset(metrics), "7 samples left out: max_series")


def outcome(harness: PipelineHarness, rule: str) -> tuple[str, str]:
    machines = {key.labels: m for key, m in harness.pipeline.machines.items() if key.rule == rule}
    (found,) = {(m.outcome, m.reason) for labels, m in machines.items() if labels or len(machines) == 1}
    return found


def test_what_reads_a_cut_metric_has_no_data_and_names_the_limit(harness: PipelineHarness) -> None:
    harness.rounds(15)
    assert outcome(harness, "equity-low")[0] == "ok"
    harness.pipeline.note_cut("bot", cut_of("equity"), harness.now)
    harness.round(equity=100)
    assert outcome(harness, "equity-low") == ("nodata", "the source bot is cut: 7 samples left out: max_series")
    assert outcome(harness, "recent-low")[0] == "nodata"
    assert outcome(harness, "errors-high")[0] == "ok"
    assert harness.incident is None


def test_what_is_cut_of_one_source_says_nothing_of_what_is_asked_of_another(tmp_path: Path) -> None:
    """A page that sends the metrics of another bot without end would keep that one from being halted."""
    of_bot = RULES.replace("expr: equity,", "expr: 'equity{source=\"bot\"}',").replace(
        "expr: error_ratio,", "expr: 'error_ratio{source=~\".*\"}',"
    )
    harness = PipelineHarness(tmp_path, of_bot)
    harness.rounds(15)
    harness.pipeline.note_cut("host", cut_of("equity", "error_ratio"), harness.now)
    harness.round(equity=100)
    assert outcome(harness, "equity-low")[0] == "bad"
    assert outcome(harness, "errors-high")[0] == "nodata"
    harness.journal.close()


def test_a_cut_never_resolves_an_incident(harness: PipelineHarness) -> None:
    harness.rounds(15, equity=100)
    assert harness.incident is not None
    harness.pipeline.note_cut("bot", cut_of("equity"), harness.now)
    harness.rounds(30, equity=1_000)
    assert harness.incident is not None
    harness.pipeline.note_cut("bot", None, harness.now)
    harness.rounds(30, equity=1_000)
    assert harness.incident is None


def test_conditions_and_proofs_on_what_is_cut_cannot_be_told(harness: PipelineHarness) -> None:
    harness.rounds(15)
    assert harness.pipeline.condition_holds("equity > 0", harness.now) is True
    harness.pipeline.note_cut("bot", cut_of("equity"), harness.now)
    harness.round()
    assert harness.pipeline.condition_holds("equity > 0", harness.now) is None
    assert harness.pipeline.condition_holds("error_ratio > 0", harness.now) is True
    keys = [key for key in harness.pipeline.machines if key.rule == "equity-low"]
    verdicts, _ = harness.pipeline.gather_evidence("bot", keys, (), harness.now - 5_000, harness.now)
    assert [verdict.outcome for verdict in verdicts] == ["nodata"]
    assert "is cut" in str(harness.pipeline.find_stale_rule("bot", harness.now))


def test_where_nobody_knows_what_is_missing_everything_of_the_source_is_cut(harness: PipelineHarness) -> None:
    harness.rounds(15)
    harness.pipeline.note_cut("bot", cut_of(ALL_METRICS), harness.now)
    harness.round()
    assert {outcome(harness, rule)[0] for rule in ("equity-low", "errors-high")} == {"nodata"}
    harness.pipeline.note_cut("bot", None, harness.now)
    harness.pipeline.note_cut("host", cut_of(ALL_METRICS), harness.now)
    harness.round()
    assert {outcome(harness, rule)[0] for rule in ("equity-low", "errors-high")} == {"ok"}


def test_a_series_that_was_left_out_counts_as_watched_from_when_it_is_taken(harness: PipelineHarness) -> None:
    harness.rounds(60, equity=float("nan"))
    harness.pipeline.note_cut("bot", cut_of("equity"), harness.now)
    harness.rounds(3, equity=float("nan"))
    harness.pipeline.note_cut("bot", None, harness.now)
    harness.rounds(5, equity=100)
    assert outcome(harness, "equity-low")[0] == "bad"
    assert outcome(harness, "recent-low")[0] == "nodata", "what it was while it was left out is not known"
    harness.rounds(10, equity=100)
    assert outcome(harness, "recent-low")[0] == "bad"


def test_people_are_told_once_and_of_its_end(harness: PipelineHarness) -> None:
    harness.round()
    for _ in range(50):  # cut every other second
        harness.pipeline.note_cut("bot", cut_of("junk"), harness.now)
        harness.round()
        harness.pipeline.note_cut("bot", None, harness.now)
        harness.round()
    assert harness.message_titles() == ["source bot is cut"]
    harness.rounds(WHOLE_AFTER // 1_000 + 1)
    assert harness.message_titles() == ["source bot is cut", "source bot is whole again"]
    assert harness.pipeline.source_reports.cuts.current() == {}


def test_what_was_left_out_is_counted_by_source_and_reason(harness: PipelineHarness) -> None:
    harness.pipeline.note_cut("bot", cut_of("junk"), harness.now)
    harness.pipeline.note_cut("bot", cut_of("junk"), harness.now)
    value = harness.pipeline.telemetry.registry.get_sample_value(
        "watchdog_source_dropped_total", {"source": "bot", "reason": "series"}
    )
    assert value == 14


def pairs(number: int, value: float = 1_000.0) -> list[tuple[str, Labels, float]]:
    return [("pair_equity", (("pair", f"p{index:05}"),), value) for index in range(number)]


def test_label_sets_beyond_the_cap_are_judged_as_one_and_what_is_bad_trips(harness: PipelineHarness) -> None:
    harness.labelled_series = pairs(MAX_LABEL_SETS + 50)
    harness.rounds(2)
    keys = [key for key in harness.pipeline.machines if key.rule == "pair-low"]
    assert len(keys) == MAX_LABEL_SETS + 1
    assert harness.incident is None
    harness.labelled_series[-1] = (*harness.labelled_series[-1][:2], 100.0)
    harness.rounds(2)
    machine = next(m for key, m in harness.pipeline.machines.items() if key.rule == "pair-low" and not key.labels)
    assert machine.is_firing
    assert machine.reason.startswith(f"pair-low has more than {MAX_LABEL_SETS} label sets: the others")
    assert harness.incident is not None


def test_what_finds_no_room_is_no_data_with_the_reason_while_none_of_it_is_bad(harness: PipelineHarness) -> None:
    harness.labelled_series = pairs(MAX_LABEL_SETS + 50)
    harness.rounds(3)
    machine = next(m for key, m in harness.pipeline.machines.items() if key.rule == "pair-low" and not key.labels)

    assert (machine.outcome, machine.phase) == ("nodata", "ok")
    assert (
        machine.reason == f"pair-low has more than {MAX_LABEL_SETS} label sets: the others have no state of their own"
    )
    assert harness.message_titles() == [f"rule pair-low of bot has had more than {MAX_LABEL_SETS:,} label sets"]

    harness.labelled_series = pairs(MAX_LABEL_SETS)
    harness.rounds(2)
    assert all(key.labels for key in harness.pipeline.machines if key.rule == "pair-low")


def churn(harness: PipelineHarness, rounds: int, size: int = 200) -> None:
    """New label sets at each read, the last ones gone; one stays."""
    for _ in range(rounds):
        harness.labelled_series = pairs(1)
        harness.labelled_series += [
            ("pair_equity", (("pair", f"{harness.now}-{index}"),), 1_000.0) for index in range(size - 1)
        ]
        harness.round()


def test_label_sets_that_come_and_go_make_no_more_machines_than_the_cap(harness: PipelineHarness) -> None:
    churn(harness, 6, MAX_LABEL_SETS // 2)
    keys = [key for key in harness.pipeline.machines if key.rule == "pair-low"]

    assert len(keys) == MAX_LABEL_SETS
    assert all(key.labels for key in keys)
    assert harness.message_titles() == [f"rule pair-low of bot has had more than {MAX_LABEL_SETS:,} label sets"]


def test_what_is_gone_makes_room_and_what_fires_is_never_dropped(harness: PipelineHarness) -> None:
    harness.labelled_series = [("pair_equity", (("pair", "BTC"),), 100.0), *pairs(10)]
    harness.rounds(2)
    churn(harness, 6, MAX_LABEL_SETS // 2)
    harness.labelled_series.append(("pair_equity", (("pair", "ETH"),), 100.0))
    harness.rounds(2)

    fires = {
        dict(key.labels)["pair"]
        for key, m in harness.pipeline.machines.items()
        if key.rule == "pair-low" and m.is_firing
    }
    assert fires == {"BTC", "ETH"}


def test_a_round_costs_no_more_for_what_is_gone(harness: PipelineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(machine: MachineState, verdict: Verdict, *rest: Any) -> Any:
        if verdict.rule == "pair-low":
            calls.append(verdict.rule)
        return advance(machine, verdict, *rest)

    monkeypatch.setattr("watchdog.pipeline.check_tracker.advance", counted)
    churn(harness, 2)
    calls.clear()
    churn(harness, 2)
    soon = len(calls)
    churn(harness, 8)
    calls.clear()
    churn(harness, 2)

    assert len(calls) <= soon
    assert harness.journal.query("SELECT count(*) FROM machine WHERE rule = 'pair-low'")[0][0] == 0


def test_what_is_gone_leaves_in_its_time_and_its_clock_is_seen(harness: PipelineHarness) -> None:
    harness.labelled_series = pairs(5)
    harness.rounds(2)
    harness.labelled_series = pairs(1)
    harness.rounds(61)
    gone = [m for key, m in harness.pipeline.machines.items() if key.rule == "pair-low" and m.outcome == "nodata"]
    assert [(m.missing, m.last) for m in gone] == [(60_000, harness.now)] * 4

    harness.reload((harness.folder / "rules" / "rules.yaml").read_text())
    harness.rounds(60)
    gone = [m for key, m in harness.pipeline.machines.items() if key.rule == "pair-low" and m.outcome == "nodata"]
    assert [(m.missing, m.lost) for m in gone] == [(120_000, True)] * 4
