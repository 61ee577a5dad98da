"""States of rules through nights of all kinds: restart, reload, lost data, clock jumps, label sets that come and go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import RULES_YAML, SECOND, START, PipelineHarness
from watchdog.core.model import Millis
from watchdog.rules.state_machine import MachineState


def rules_yaml(*listed: str, kpis: str = "") -> str:
    """The desk's file with these rules instead of its own."""
    head, plans = RULES_YAML.split("rules:\n")[0], RULES_YAML[RULES_YAML.index("plans:\n") :]
    return head + kpis + "rules:\n" + "".join(f"  - {{target: bot, {rule}}}\n" for rule in listed) + plans


def get_machine(harness: PipelineHarness, rule: str, level: str = "crit", **labels: str) -> MachineState:
    (found,) = [
        m
        for key, m in harness.pipeline.machines.items()
        if (key.rule, key.level, dict(key.labels) | labels) == (rule, level, {"source": "bot"} | labels)
        or (key.rule, key.level, dict(key.labels)) == (rule, level, labels)
    ]
    return found


def message_lines(harness: PipelineHarness, title: str) -> list[str]:
    row = harness.journal.query_one("SELECT lines FROM message WHERE title = ? ORDER BY id DESC", title)
    assert row is not None, harness.message_titles()
    return [str(line) for line in json.loads(row["lines"])]


SLOW_RULE = (
    "name: errors, kpi: errors, crit: {above: 10%, for: 10s, clear: 5%, clear_for: 10s}, if_missing: {after: 5s}"
)


def test_a_whole_night_ok_pending_firing_easing_ok_through_restart_reload_lost_data_and_clock_jump(
    tmp_path: Path,
) -> None:
    desk = PipelineHarness(tmp_path, rules_yaml(SLOW_RULE))
    desk.rounds(3)
    assert get_machine(desk, "errors").phase == "ok"

    desk.rounds(5, error_ratio=0.2)
    desk.restart(downtime=60 * SECOND)  # nobody looked: not a second of it counts
    desk.round()
    held = get_machine(desk, "errors").held
    assert (get_machine(desk, "errors").phase, held) == ("pending", 5 * SECOND)

    desk.lost_sources = {"bot"}
    desk.rounds(4)  # what is lost neither adds nor takes away
    assert (get_machine(desk, "errors").phase, get_machine(desk, "errors").held) == ("pending", held)
    desk.lost_sources = set()
    desk.rounds(2)
    desk.reload(rules_yaml(SLOW_RULE.replace("for: 10s", "for: 12s")))  # the same rule by name: its clock goes on
    desk.rounds(4)
    assert get_machine(desk, "errors").phase == "pending"
    desk.rounds(5)
    assert get_machine(desk, "errors").phase == "firing"
    assert desk.message_titles().count("bot: errors tripped") == 1

    desk.lost_sources = {"bot"}
    desk.rounds(30)  # lost data resolves nothing
    assert get_machine(desk, "errors").phase == "firing"
    desk.lost_sources = set()
    desk.rounds(5, error_ratio=0.01)
    assert get_machine(desk, "errors").phase == "easing"
    desk.now += 3_600 * SECOND  # the machine slept
    desk.pipeline.handle_clock_jump(desk.now)
    desk.rounds(3)
    assert get_machine(desk, "errors").phase == "easing"  # an hour of sleep is no hour of health
    desk.now -= 1_800 * SECOND  # and somebody set the clock back
    desk.pipeline.handle_clock_jump(desk.now)
    desk.rounds(2)
    assert get_machine(desk, "errors").phase == "easing"
    desk.rounds(3)
    assert get_machine(desk, "errors").phase == "ok"
    assert desk.message_titles() == ["bot: errors tripped", "bot: errors recovered, incident 1 closed after 30 m 46 s"]
    assert desk.incident is None


def play_all_phases(harness: PipelineHarness) -> Iterator[None]:
    """Bad, half well, lost, bad, well: every phase is passed."""
    for number, error, seen in [
        (3, 0.01, True),
        (8, 0.2, True),
        (3, 0.2, False),
        (8, 0.2, True),
        (4, 0.07, True),
        (5, 0.01, True),
        (12, 0.01, False),
        (14, 0.01, True),
        (6, 0.2, True),
        (4, 0.01, True),
    ]:
        harness.lost_sources = set() if seen else {"bot"}
        for _ in range(number):
            harness.round(error_ratio=error)
            yield


def recorded_events(harness: PipelineHarness) -> list[tuple[Millis, str, str]]:
    """The clock of missing data is written down every 5 s: after a death it may be that much late."""
    rows = harness.journal.query("SELECT t, kind, text FROM event ORDER BY id")
    return [(0 if row["kind"] == "lost" else row["t"], row["kind"], row["text"].partition(":")[0]) for row in rows]


def test_a_restart_at_any_point_gives_the_same_night(tmp_path: Path) -> None:
    whole = PipelineHarness(tmp_path / "whole", rules_yaml(SLOW_RULE))
    length = sum(1 for _ in play_all_phases(whole))
    told = recorded_events(whole)
    assert [kind for _, kind, _ in told] == ["tripped", "lost", "back", "cleared", "closed"]

    for cut in range(0, length, 5):
        desk = PipelineHarness(tmp_path / str(cut), rules_yaml(SLOW_RULE))
        for number, _ in enumerate(play_all_phases(desk)):
            if number == cut:
                desk.journal.close()  # kill -9, and a new process before the second is over
                desk.open()
        assert recorded_events(desk) == told, f"cut after {cut} s"
        desk.journal.close()


# ─ missing data, four ways ─


@pytest.mark.parametrize("then", ["hold", "ok", "warn", "crit"])
def test_missing_data_does_what_the_rule_says_and_never_ends_what_fires(tmp_path: Path, then: str) -> None:
    rule = (
        f"name: errors, kpi: errors, warn: {{above: 5%}}, crit: {{above: 10%}}, if_missing: {{after: 5s, then: {then}}}"
    )
    desk = PipelineHarness(tmp_path, rules_yaml(rule))
    desk.round()
    desk.lost_sources = {"bot"}
    desk.rounds(12)

    fires = {level: get_machine(desk, "errors", level).is_firing for level in ("warn", "crit")}
    assert fires == {"warn": then == "warn", "crit": then == "crit"}
    assert get_machine(desk, "errors").lost == (then != "ok")

    desk.lost_sources = set()
    desk.rounds(2, error_ratio=0.2)
    desk.lost_sources = {"bot"}
    desk.rounds(60)
    assert get_machine(desk, "errors").is_firing
    assert get_machine(desk, "errors", "warn").is_firing


def test_a_pending_rule_is_ok_again_when_data_is_missing_for_too_long(tmp_path: Path) -> None:
    desk = PipelineHarness(tmp_path, rules_yaml(SLOW_RULE))
    desk.rounds(5, error_ratio=0.2)
    desk.lost_sources = {"bot"}
    desk.rounds(12)

    assert get_machine(desk, "errors").phase == "ok"
    desk.lost_sources = set()
    desk.rounds(9)
    assert get_machine(desk, "errors").phase == "pending"


def test_nobody_waits_with_resume_for_a_metric_that_may_be_absent(tmp_path: Path) -> None:
    desk = PipelineHarness(
        tmp_path,
        rules_yaml(
            "name: rare, warn: {expr: rejects > 3}, if_missing: {then: ok}",
            "name: errors, kpi: errors, crit: {above: 10%}",
        ),
    )
    desk.round()

    assert desk.pipeline.find_stale_rule("bot", desk.now) is None
    desk.reload(rules_yaml("name: rare, crit: {expr: rejects > 3}"))
    assert (
        desk.pipeline.find_stale_rule("bot", desk.now) == "rule rare cannot be judged: rare: rejects > 3 has no samples"
    )


def test_nobody_waits_with_resume_for_a_rule_that_only_warns_or_that_sleeps(tmp_path: Path) -> None:
    desk = PipelineHarness(
        tmp_path,
        rules_yaml(
            "name: rare, warn: {expr: rejects > 3}",
            "name: nightly, crit: {expr: fills < 3}, only: {when: market_open == 0}",
        ),
    )
    desk.round(market_open=1)

    assert desk.requests.resume_target("bot", "ada", desk.now) == (True, "bot resumed; its rules are judged anew")
    desk.round(market_open=0)
    granted, why = desk.requests.resume_target("bot", "ada", desk.now)
    assert not granted
    assert why.startswith(
        "not while data is stale: rule nightly cannot be judged: nightly: fills < 3 has no samples — "
    )


# ─ conditions and label sets ─


def make_series(name: str, value: float) -> tuple[str, tuple[tuple[str, str], ...], float]:
    return "left", (("side", name),), value


def test_a_condition_has_a_state_for_each_label_set_that_it_names_and_none_for_the_rest(tmp_path: Path) -> None:
    desk = PipelineHarness(
        tmp_path, rules_yaml("name: pair, each: [side], labels: {team: fx}, crit: {expr: left > 5, for: 2s}")
    )
    desk.labelled_series = [make_series("a", 1), make_series("b", 1)]
    desk.rounds(3)
    desk.labelled_series = [make_series("a", 9), make_series("b", 1)]
    desk.rounds(3)

    assert get_machine(desk, "pair", side="a").is_firing
    assert message_lines(desk, "bot: pair tripped") == [
        "pair 9: left > 5",
        "side=a, team=fx",
        "incident 1: trading-watchdog incidents 1",
    ]
    assert (("side", "a"), ("team", "fx")) in {labels for _, _, labels in desk.pipeline.telemetry.snapshot().alerts}

    desk.labelled_series = [make_series("a", 1), make_series("b", 1)]
    desk.rounds(2)
    assert {key.labels for key in desk.pipeline.machines} <= {()}
    desk.restart()
    desk.rounds(2)
    assert not desk.is_firing("pair")
    assert desk.incident is None


def test_a_condition_beside_a_kpi_tells_the_kpis_value(tmp_path: Path) -> None:
    desk = PipelineHarness(
        tmp_path, rules_yaml("name: errors, kpi: errors, crit: {expr: alive == 0}, summary: 'at {{ value }}'")
    )
    desk.round()
    desk.round(alive=0, error_ratio=0.07)

    told = message_lines(desk, "bot: errors tripped")
    assert told == ["at 7 %", "errors 7 %: alive == 0", "source=bot", "incident 1: trading-watchdog incidents 1"]


def test_an_absence_halts_and_repairs_nothing(tmp_path: Path) -> None:
    desk = PipelineHarness(
        tmp_path, rules_yaml("name: gone, crit: {expr: vector(1) unless on() heartbeat, for: 2s, plan: ladder}")
    )
    desk.rounds(4)

    assert get_machine(desk, "gone").is_firing
    assert desk.runs == []
    assert desk.refusal_reasons() == ["no fresh samples since the watchdog started"]
    desk.reload(rules_yaml("name: gone, crit: {expr: absent(heartbeat), for: 2s, plan: halt}"))
    desk.round()
    assert [run.plan for run in desk.runs] == ["halt"]


def test_a_label_set_that_is_gone_for_long_leaves_with_a_message_even_when_it_fired(tmp_path: Path) -> None:
    desk = PipelineHarness(
        tmp_path,
        rules_yaml("name: pair, kpi: left, each: [side], forget: 10s, crit: {above: 5}", kpis="  left: {expr: left}\n"),
    )
    desk.labelled_series = [make_series("a", 9), make_series("b", 1)]
    desk.rounds(2)
    assert get_machine(desk, "pair", side="a").is_firing

    desk.labelled_series = [make_series("b", 1)]
    desk.rounds(5)
    desk.restart()
    desk.rounds(3)
    assert get_machine(desk, "pair", side="a").is_firing  # gone is not well
    desk.rounds(10)

    assert {key.labels for key in desk.pipeline.machines} == {(("side", "b"),)}
    title = "bot: pair is no longer judged for what is gone"
    assert desk.message_titles().count(title) == 1
    assert message_lines(desk, title) == ["side=a: no value for 10 s, it was firing"]
    assert desk.incident is None
    desk.restart()
    assert {key.labels for key in desk.pipeline.machines} <= {(("side", "b"),)}


def test_when_every_label_set_is_lost_none_of_them_leaves(tmp_path: Path) -> None:
    desk = PipelineHarness(
        tmp_path,
        rules_yaml("name: pair, kpi: left, each: [side], forget: 5s, crit: {above: 5}", kpis="  left: {expr: left}\n"),
    )
    desk.labelled_series = [make_series("a", 9), make_series("b", 1)]
    desk.rounds(2)
    desk.lost_sources = {"bot"}
    desk.rounds(30)

    assert get_machine(desk, "pair", side="a").is_firing


def test_outside_its_hours_a_rule_holds_its_state_and_its_clock_stands_still(tmp_path: Path) -> None:
    hours = 'only: {between: "22:13-22:14"}'  # the desk's night begins at 22:13:20 UTC
    assert START // SECOND % 86_400 == 22 * 3_600 + 13 * 60 + 20
    desk = PipelineHarness(tmp_path, rules_yaml(f"name: errors, kpi: errors, {hours}, crit: {{above: 10%, for: 60s}}"))
    desk.rounds(30, error_ratio=0.2)
    before = get_machine(desk, "errors")
    assert (before.phase, before.held) == ("pending", 29 * SECOND)

    desk.rounds(60)
    assert (get_machine(desk, "errors").phase, get_machine(desk, "errors").held) == (
        "pending",
        before.held + 9 * SECOND,
    )
