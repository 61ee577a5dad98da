"""Baselines through the pipeline: learned, frozen, captured, kept."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import RULES, SECOND, Desk
from watchdog.journal import baselines
from watchdog.journal import incidents as records
from watchdog.journal.outbox import Request
from watchdog.status import status

LEARNED = """\
  latency: {expr: latency, unit: seconds, baseline: {learn: 20s, min_samples: 15}}
"""
CAPTURED = """\
  latency: {expr: latency, unit: seconds, baseline: captured}
"""
SLOW = "  - {name: slow, kpi: latency, target: bot, crit: {above: 2x baseline, ceiling: 60s}}\n"


def rules(kpi: str, rule: str = SLOW) -> str:
    head, plans = RULES.split("rules:\n")[0], RULES[RULES.index("plans:\n") :]
    return head + kpi + "rules:\n" + rule + plans


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, rules(LEARNED))
    yield made
    made.journal.close()


def limit(desk: Desk) -> float | None:
    labels = {"rule": "slow", "severity": "critical", "bound": "upper"}
    return desk.pipeline.telemetry.registry.get_sample_value("watchdog_rule_limit", labels)


def says(desk: Desk, kpi: str = "latency") -> str | None:
    kpis = status(desk.config, desk.pipeline, desk.journal, {}, desk.now)["kpis"]
    assert isinstance(kpis, dict)
    return kpis[kpi]["baseline"] if kpis[kpi]["warning"] is None else f"{kpis[kpi]['baseline']}: {kpis[kpi]['warning']}"


def learn(desk: Desk) -> None:
    desk.rounds(100, latency=10)
    assert limit(desk) == 20


def test_a_baseline_is_learned_and_until_then_the_ceiling_counts(desk: Desk) -> None:
    desk.rounds(5, latency=50)
    assert not desk.fires("slow")
    assert limit(desk) == 60
    assert says(desk) == "learning 0 ms of 20 s"  # said anew once a minute
    desk.round(latency=70)
    assert desk.fires("slow")
    desk.rounds(3, latency=10)
    assert not desk.fires("slow")

    desk.rounds(95)
    assert limit(desk) == 20
    assert says(desk) == "10 s"
    desk.round(latency=21)
    assert desk.fires("slow")


def test_what_is_learned_is_frozen_while_something_fires_a_plan_works_or_the_target_is_latched(desk: Desk) -> None:
    learn(desk)
    assert desk.journal.rows("SELECT count(*) FROM baseline_point")[0][0] >= 20
    desk.rounds(700, latency=25)
    assert desk.fires("slow")
    assert limit(desk) == 20
    assert desk.journal.rows("SELECT count(*) FROM baseline_point WHERE v > 10")[0][0] == 0

    with desk.journal.write() as db:
        records.stand(db, "bot", latched=desk.now, latch_why="test")
    desk.rounds(400, latency=12)
    assert not desk.fires("slow")
    assert limit(desk) == 20


def test_what_was_learned_outlives_a_restart_and_follows_what_is_normal(desk: Desk) -> None:
    learn(desk)
    desk.restart()
    desk.round()
    assert limit(desk) == 20

    desk.rounds(700, latency=15)
    assert limit(desk) == 30


def test_values_that_cannot_be_written_stop_nothing_and_are_written_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.rounds(30, latency=10)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(baselines, "take", full)
    desk.rounds(30)
    monkeypatch.undo()
    desk.rounds(41)

    assert limit(desk) == 20
    written = [row["t"] for row in desk.journal.rows("SELECT t FROM baseline_point ORDER BY t")]
    assert written[-1] >= desk.now - 10_000
    assert all(after - before == SECOND for before, after in itertools.pairwise(written))


def test_a_baseline_of_another_expression_is_none(desk: Desk) -> None:
    learn(desk)
    desk.reload(rules(LEARNED.replace("expr: latency", "expr: latency * 1")))

    assert limit(desk) == 60


def capture(desk: Desk, span: int = 0, *kpis: str) -> tuple[bool, str]:
    return desk.people.answer(Request(1, desk.now, "capture", {"kpis": list(kpis), "for": span}, "anna"), desk.now)


def told(desk: Desk) -> list[str]:
    return [row["text"] for row in desk.journal.rows("SELECT text FROM event WHERE kind = 'baseline' ORDER BY id")]


def test_a_captured_baseline_says_who_when_how_much_and_of_which_revision(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rules(CAPTURED, SLOW.replace(", ceiling: 60s", "")))
    desk.rounds(2, latency=10)
    (state,) = [m for key, m in desk.pipeline.machines.items() if key.rule == "slow"]
    assert (state.outcome, state.reason) == (
        "nodata",
        "latency: not captured yet: trading-watchdog baseline capture latency",
    )
    with desk.journal.write() as db:
        records.stand(db, "bot", head="0123456789abcdef")

    assert capture(desk, 5 * SECOND) == (True, "latency")
    for value in (10, 11, 12, 90, 9):
        assert told(desk) == []
        desk.round(latency=value)
        desk.reload(rules(CAPTURED, SLOW.replace(", ceiling: 60s", "")))  # a reload in between does no harm

    assert told(desk) == ["latency: captured 11 s from 5 samples over 5 s for anna"]
    (kept,) = baselines.known(desk.journal)
    assert (kept.kind, kept.who, kept.revision, kept.span) == ("captured", "anna", "0123456789abcdef", 5 * SECOND)
    assert (kept.value, kept.samples, limit(desk)) == (11, 5, 22)
    desk.restart()
    desk.round()
    assert limit(desk) == 22


def test_what_is_not_normal_is_not_captured(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rules(CAPTURED))
    desk.rounds(2, latency=10)
    assert capture(desk, 0, "latncy")[1].startswith("there is no KPI 'latncy'")
    assert (
        capture(desk, 0, "errors")[1]
        == "the baseline of errors is not captured: say baseline: captured in its file first"
    )

    assert capture(desk, 10 * SECOND)[0]
    desk.rounds(2, latency=70)
    assert told(desk) == ["latency: not captured: a rule of bot fires"]
    assert capture(desk)[1] == "not now: a rule of bot fires, and what is so now is not how it is when all is well"

    desk.rounds(2, latency=10)
    assert capture(desk)[0]
    desk.lost = {"bot"}
    desk.rounds(1)
    assert told(desk)[1:] == ["latency: not captured: latency has no samples"]


def test_status_warns_of_a_value_that_is_far_off_its_baseline(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path,
        rules(
            "  share: {expr: share, unit: ratio, baseline: 8.3%}\n",
            "  - {name: s, kpi: share, target: bot, crit: {above: 99%}}\n",
        ),
    )
    desk.rounds(2, share=8.3)

    assert says(desk, "share") == (
        "8.3 %: the value is 100 × its baseline; if it is always so, a ratio was taken for a percent"
    )
