"""What stands beside a halt's trip: of the same bot, and only what is so now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from watchdog import config
from watchdog.config import Config
from watchdog.journal.sqlite import SqliteJournal
from watchdog.pipeline.halt_circumstances import describe_circumstances
from watchdog.rules.state_machine import MachineState, StateKey

NOW = 1_700_000_000_000
MINUTE = 60_000
MAIN = """\
sources:
  alpha: {type: scrape, url: "http://127.0.0.1:1/metrics"}
  beta: {type: scrape, url: "http://127.0.0.1:2/metrics"}
state: state
"""
RULES = """\
targets:
  alpha: {repo: /srv/alpha, sources: [alpha], settling: 10m}
  beta: {repo: /srv/beta, sources: [beta], settling: 10m}
kpis: {errors: {expr: error_ratio}, streak: {expr: losing_streak}}
defaults: {target: [alpha, beta]}
rules:
  - {name: flapping, kpi: errors, crit: {above: 1, for: 2m, plan: ladder}}
  - {name: often, kpi: errors, crit: {above: 2, for: 3 of 5, plan: ladder}}
  - {name: told, kpi: errors, crit: {above: 1, for: 2m}}
  - {name: streak, kpi: streak, crit: {above: 4, for: 10m, plan: halt}}
plans:
  halt: {kind: halt, levels: [{name: l, steps: [{do: flag, file: c.py, set: {A: 0}}], verify: {that: [a == 0]}}]}
  ladder:
    kind: repair
    mode: auto
    exhausted: halt
    levels: [{name: l, steps: [{do: flag, file: c.py, set: {B: 0}}], verify: {quiet: 1m}}]
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Config:
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text(MAIN)
    (tmp_path / "rules" / "rules.yaml").write_text(RULES)
    return config.load(tmp_path, environ={})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    opened = SqliteJournal(tmp_path / "journal.db", durable=False)
    yield opened
    opened.close()


def make_pending(rule: str = "flapping", target: str = "alpha", held: int = 80_000) -> dict[StateKey, MachineState]:
    return {StateKey(rule, "crit", (), target): MachineState("pending", held=held)}


def test_a_pending_repair_of_the_same_bot_is_named_and_that_of_another_is_not(
    loaded: Config, journal: SqliteJournal
) -> None:
    machines = make_pending() | make_pending(target="beta", held=10_000)

    assert describe_circumstances(loaded, machines, journal, "alpha", NOW) == [
        "flapping has been bad for 1 m 20 s of 2 m"
    ]
    assert describe_circumstances(loaded, machines, journal, "beta", NOW) == ["flapping has been bad for 10 s of 2 m"]


def test_patience_in_reads_is_told_in_reads(loaded: Config, journal: SqliteJournal) -> None:
    machines = {StateKey("often", "crit", (), "alpha"): MachineState("pending", recent=(True, False, True))}

    assert describe_circumstances(loaded, machines, journal, "alpha", NOW) == [
        "often was bad in 2 of its last 3 reads and trips at 3 of 5"
    ]


def test_of_many_label_sets_the_one_nearest_to_its_trip_is_told(loaded: Config, journal: SqliteJournal) -> None:
    machines = {
        StateKey("flapping", "crit", (("pair", pair),), "alpha"): MachineState("pending", held=held)
        for pair, held in (("a", 10_000), ("b", 70_000), ("c", 20_000))
    }

    assert describe_circumstances(loaded, machines, journal, "alpha", NOW) == [
        "flapping has been bad for 1 m 10 s of 2 m"
    ]


@pytest.mark.parametrize(
    "machines",
    [
        {StateKey("flapping", "crit", (), "alpha"): MachineState("ok")},
        {StateKey("flapping", "crit", (), "alpha"): MachineState("firing")},
        make_pending("told"),
        make_pending("streak"),
    ],
    ids=["well", "firing", "starts nothing", "starts a halt"],
)
def test_what_is_well_or_fires_or_starts_no_repair_is_not_told(
    machines: dict[StateKey, MachineState], loaded: Config, journal: SqliteJournal
) -> None:
    assert describe_circumstances(loaded, machines, journal, "alpha", NOW) == []


def test_what_was_deployed_is_told_while_it_settles_and_of_the_same_bot(loaded: Config, journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        for ago, text, target in (
            (10, "somebody else deployed 0000000 to the bot", "alpha"),
            (9, "somebody else deployed abc1234 to the bot", "alpha"),
            (8, "somebody else restarted the bot", "alpha"),
            (2, "somebody else restarted the bot", "alpha"),
            (1, "somebody else deployed def5678 to the bot", "beta"),
        ):
            tx.timeline.add_event("settling", text, NOW - ago * MINUTE, target=target)

    assert describe_circumstances(loaded, {}, journal, "alpha", NOW) == [
        "2 m after somebody else restarted the bot",
        "9 m after somebody else deployed abc1234 to the bot",
    ]
