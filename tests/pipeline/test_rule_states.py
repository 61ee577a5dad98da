"""States of rules through nights of all kinds: restart, reload, lost data, clock jumps, label sets that come and go."""

from __future__ import annotations

import json
import socket
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
    harness = PipelineHarness(tmp_path, rules_yaml(SLOW_RULE))
    harness.rounds(3)
    assert get_machine(harness, "errors").phase == "ok"

    harness.rounds(5, error_ratio=0.2)
    harness.restart(downtime=60 * SECOND)  # nobody looked: not a second of it counts
    harness.round()
    held = get_machine(harness, "errors").held
    assert (get_machine(harness, "errors").phase, held) == ("pending", 5 * SECOND)

    harness.lost_sources = {"bot"}
    harness.rounds(4)  # what is lost neither adds nor takes away
    assert (get_machine(harness, "errors").phase, get_machine(harness, "errors").held) == ("pending", held)
    harness.lost_sources = set()
    harness.rounds(2)
    harness.reload(rules_yaml(SLOW_RULE.replace("for: 10s", "for: 12s")))  # the same rule by name: its clock goes on
    harness.rounds(4)
    assert get_machine(harness, "errors").phase == "pending"
    harness.rounds(5)
    assert get_machine(harness, "errors").phase == "firing"
    assert harness.message_titles().count("bot: errors tripped") == 1

    harness.lost_sources = {"bot"}
    harness.rounds(30)  # lost data resolves nothing
    assert get_machine(harness, "errors").phase == "firing"
    harness.lost_sources = set()
    harness.rounds(5, error_ratio=0.01)
    assert get_machine(harness, "errors").phase == "easing"
    harness.now += 3_600 * SECOND  # the machine slept
    harness.pipeline.handle_standstill(harness.now - 3_600 * SECOND, harness.now)
    harness.rounds(3)
    assert get_machine(harness, "errors").phase == "easing"  # an hour of sleep is no hour of health
    harness.set_clock(-1_800 * SECOND)  # and somebody set the clock back
    harness.rounds(2)
    assert get_machine(harness, "errors").phase == "easing"
    harness.rounds(3)
    assert get_machine(harness, "errors").phase == "ok"
    assert harness.message_titles() == [
        "bot: errors tripped",
        "bot: errors recovered, incident 1 closed after 1 h 46 s",
    ]
    assert harness.incident is None


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


@pytest.mark.slow
def test_a_restart_at_any_point_gives_the_same_night(tmp_path: Path) -> None:
    whole = PipelineHarness(tmp_path / "whole", rules_yaml(SLOW_RULE))
    length = sum(1 for _ in play_all_phases(whole))
    told = recorded_events(whole)
    assert [kind for _, kind, _ in told] == ["tripped", "lost", "back", "cleared", "closed"]

    for cut in range(0, length, 5):
        harness = PipelineHarness(tmp_path / str(cut), rules_yaml(SLOW_RULE))
        for number, _ in enumerate(play_all_phases(harness)):
            if number == cut:
                harness.journal.close()  # kill -9, and a new process before the second is over
                harness.open()
        assert recorded_events(harness) == told, f"cut after {cut} s"
        harness.journal.close()


# ─ missing data, four ways ─


@pytest.mark.parametrize("then", ["hold", "ok", "warn", "crit"])
def test_missing_data_does_what_the_rule_says_and_never_ends_what_fires(tmp_path: Path, then: str) -> None:
    rule = (
        f"name: errors, kpi: errors, warn: {{above: 5%}}, crit: {{above: 10%}}, if_missing: {{after: 5s, then: {then}}}"
    )
    harness = PipelineHarness(tmp_path, rules_yaml(rule))
    harness.round()
    harness.lost_sources = {"bot"}
    harness.rounds(12)

    fires = {level: get_machine(harness, "errors", level).is_firing for level in ("warn", "crit")}
    assert fires == {"warn": then == "warn", "crit": then == "crit"}
    assert get_machine(harness, "errors").lost == (then != "ok")

    harness.lost_sources = set()
    harness.rounds(2, error_ratio=0.2)
    harness.lost_sources = {"bot"}
    harness.rounds(60)
    assert get_machine(harness, "errors").is_firing
    assert get_machine(harness, "errors", "warn").is_firing


def test_a_pending_rule_is_ok_again_when_data_is_missing_for_too_long(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, rules_yaml(SLOW_RULE))
    harness.rounds(5, error_ratio=0.2)
    harness.lost_sources = {"bot"}
    harness.rounds(12)

    assert get_machine(harness, "errors").phase == "ok"
    harness.lost_sources = set()
    harness.rounds(9)
    assert get_machine(harness, "errors").phase == "pending"


def test_nobody_waits_with_resume_for_a_metric_that_may_be_absent(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path,
        rules_yaml(
            "name: rare, warn: {expr: rejects > 3}, if_missing: {then: ok}",
            "name: errors, kpi: errors, crit: {above: 10%}",
        ),
    )
    harness.round()

    assert harness.pipeline.find_stale_rule("bot", harness.now) is None
    harness.reload(rules_yaml("name: rare, crit: {expr: rejects > 3}"))
    assert (
        harness.pipeline.find_stale_rule("bot", harness.now)
        == "rule rare cannot be judged: rare: rejects > 3 has no samples"
    )


def test_nobody_waits_with_resume_for_a_rule_that_only_warns_or_that_sleeps(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path,
        rules_yaml(
            "name: rare, warn: {expr: rejects > 3}",
            "name: nightly, crit: {expr: fills < 3}, only: {when: market_open == 0}",
        ),
    )
    harness.round(market_open=1)

    assert harness.requests.resume_target("bot", "ada", harness.now) == (True, "bot resumed; its rules are judged anew")
    harness.round(market_open=0)
    granted, why = harness.requests.resume_target("bot", "ada", harness.now)
    assert not granted
    assert why.startswith(
        "not while data is stale: rule nightly cannot be judged: nightly: fills < 3 has no samples — "
    )


# ─ conditions and label sets ─


def make_series(name: str, value: float) -> tuple[str, tuple[tuple[str, str], ...], float]:
    return "left", (("side", name),), value


def test_a_condition_has_a_state_for_each_label_set_that_it_names_and_none_for_the_rest(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path, rules_yaml("name: pair, each: [side], labels: {team: fx}, crit: {expr: left > 5, for: 2s}")
    )
    harness.labelled_series = [make_series("a", 1), make_series("b", 1)]
    harness.rounds(3)
    harness.labelled_series = [make_series("a", 9), make_series("b", 1)]
    harness.rounds(3)

    assert get_machine(harness, "pair", side="a").is_firing
    assert message_lines(harness, "bot: pair tripped") == [
        "pair 9: left > 5",
        "side=a, team=fx",
        f"incident 1 on {socket.gethostname()}: trading-watchdog incidents 1",
    ]
    assert (("side", "a"), ("team", "fx")) in {
        labels for _, _, _, labels in harness.pipeline.telemetry.snapshot().alerts
    }

    harness.labelled_series = [make_series("a", 1), make_series("b", 1)]
    harness.rounds(2)
    assert {key.labels for key in harness.pipeline.machines} <= {()}
    harness.restart()
    harness.rounds(2)
    assert not harness.is_firing("pair")
    assert harness.incident is None


def test_a_condition_beside_a_kpi_tells_the_kpis_value(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path, rules_yaml("name: errors, kpi: errors, crit: {expr: alive == 0}, summary: 'at {{ value }}'")
    )
    harness.round()
    harness.round(alive=0, error_ratio=0.07)

    told = message_lines(harness, "bot: errors tripped")
    assert told[:-1] == ["at 7 %", "errors 7 %: alive == 0", "source=bot"]


def test_an_absence_halts_and_repairs_nothing(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path, rules_yaml("name: gone, crit: {expr: vector(1) unless on() heartbeat, for: 2s, plan: ladder}")
    )
    harness.rounds(4)

    assert get_machine(harness, "gone").is_firing
    assert harness.runs == []
    assert harness.refusal_reasons() == ["no fresh samples since the watchdog started"]
    harness.reload(rules_yaml("name: gone, crit: {expr: absent(heartbeat), for: 2s, plan: halt}"))
    harness.round()
    assert [run.plan for run in harness.runs] == ["halt"]


def test_a_label_set_that_is_gone_for_long_leaves_with_a_message_even_when_it_fired(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path,
        rules_yaml("name: pair, kpi: left, each: [side], forget: 10s, crit: {above: 5}", kpis="  left: {expr: left}\n"),
    )
    harness.labelled_series = [make_series("a", 9), make_series("b", 1)]
    harness.rounds(2)
    assert get_machine(harness, "pair", side="a").is_firing

    harness.labelled_series = [make_series("b", 1)]
    harness.rounds(5)
    harness.restart()
    harness.rounds(3)
    assert get_machine(harness, "pair", side="a").is_firing  # gone is not well
    harness.rounds(10)

    assert {key.labels for key in harness.pipeline.machines} == {(("side", "b"),)}
    (title,) = [one for one in harness.message_titles() if "bot: pair is no longer judged for what is gone" in one]
    assert "incident 1 closed after" in title
    assert "side=a: no value for 10 s, it was firing" in message_lines(harness, title)
    assert harness.incident is None
    harness.restart()
    assert {key.labels for key in harness.pipeline.machines} <= {(("side", "b"),)}


def test_when_every_label_set_is_lost_none_of_them_leaves(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path,
        rules_yaml("name: pair, kpi: left, each: [side], forget: 5s, crit: {above: 5}", kpis="  left: {expr: left}\n"),
    )
    harness.labelled_series = [make_series("a", 9), make_series("b", 1)]
    harness.rounds(2)
    harness.lost_sources = {"bot"}
    harness.rounds(30)

    assert get_machine(harness, "pair", side="a").is_firing


def test_outside_its_hours_a_rule_holds_its_state_and_its_clock_stands_still(tmp_path: Path) -> None:
    hours = 'only: {between: "22:13-22:14"}'  # the desk's night begins at 22:13:20 UTC
    assert START // SECOND % 86_400 == 22 * 3_600 + 13 * 60 + 20
    harness = PipelineHarness(
        tmp_path, rules_yaml(f"name: errors, kpi: errors, {hours}, crit: {{above: 10%, for: 60s}}")
    )
    harness.rounds(30, error_ratio=0.2)
    before = get_machine(harness, "errors")
    assert (before.phase, before.held) == ("pending", 29 * SECOND)

    harness.rounds(60)
    assert (get_machine(harness, "errors").phase, get_machine(harness, "errors").held) == (
        "pending",
        before.held + 9 * SECOND,
    )
