"""How much a night says: what happens at once is one message, and the last one of an incident says what is left to do."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.harness import ScenarioHarness
from tests.support.pipeline_harness import RULES_YAML, PipelineHarness

PAIRS_RULES = RULES_YAML.replace(
    "rules:\n",
    """rules:
  - {name: pair, kpi: left, target: bot, each: [side], warn: {above: 5}, notify: [chat]}
  - {name: slow, kpi: age, target: bot, warn: {above: 3s}}
""",
).replace("kpis:\n", "kpis:\n  left: {expr: left}\n")

MakeHarness = Callable[..., ScenarioHarness]


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path, PAIRS_RULES)
    made.rounds(2)
    yield made
    made.journal.close()


def message_lines(harness: PipelineHarness, title: str, channel: str = "chat") -> list[str]:
    (row,) = harness.journal.query("SELECT lines FROM message WHERE title = ? AND channel = ?", title, channel)
    return list(json.loads(row["lines"]))


@pytest.mark.slow
def test_a_repair_of_two_levels_says_three_things_and_the_last_one_says_what_is_left_to_do(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness()
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()))

    told = harness.message_titles()
    assert [title.split(" closed after")[0] for title in told] == [
        "bot: errors tripped",
        "bot: ladder: level feature disproven, level version starts",
        "bot: incident 1",
    ]
    assert message_lines(harness, told[0])[-2:] == [
        "ladder starts: set TRADING = false in config.py; level feature: set FEATURE = false in config.py",
        f"incident 1 on {socket.gethostname()}: trading-watchdog incidents 1",
    ]
    assert told[-1].endswith(": level version of ladder helped")
    what, how, still, more = message_lines(harness, told[-1])
    assert what == "errors: errors 50 % is above 10 %"
    assert how.startswith("ladder: proven after ")
    assert harness.config_values()["FEATURE"] == "True"  # the flag of the first level went with the version
    assert still == f"still reverted: v2-merge — git -C {harness.repo.path} revert {harness.repo.head()[:12]}"
    assert more == "all of it: trading-watchdog report 1"
    assert [event.text.split(":")[0] for event in harness.journal.timeline.list_events(1)][-2:] == [
        "ladder proven",
        "closed after 12 s",
    ]


def errors_while_the_feature_is_on(harness: ScenarioHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def values() -> dict[str, float]:
        config = harness.config_values()
        return {
            "error_ratio": 0.5 if config.get("FEATURE") == "True" else 0.01,
            "entries": float(config["TRADING"] == "True"),
        }

    monkeypatch.setattr(harness, "bot_values", values)


def test_the_end_of_an_incident_says_what_is_still_so_and_what_puts_it_back(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness()
    errors_while_the_feature_is_on(harness, monkeypatch)
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()))

    still = [line for line in message_lines(harness, harness.message_titles()[-1]) if line.startswith("still")]
    assert still == ["still off: FEATURE — FEATURE = True in config.py, then restart the bot"]


def test_the_end_of_an_incident_does_not_say_what_somebody_has_put_back(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness()
    errors_while_the_feature_is_on(harness, monkeypatch)
    harness.advance_until(lambda: any(run.status == "watching" for run in harness.runs))
    config = harness.repo.path / "config.py"
    config.write_text(config.read_text().replace("FEATURE = False", "FEATURE = None"))
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()))

    assert not [line for line in message_lines(harness, harness.message_titles()[-1]) if line.startswith("still")]


def test_what_recovers_at_once_is_one_message_and_with_it_the_end_of_the_incident(harness: PipelineHarness) -> None:
    harness.labelled_series = [("left", (("side", f"{number:02}"),), max(6, number)) for number in range(30)]
    harness.rounds(2, tick_age=5, error_ratio=0.07)
    harness.labelled_series = [("left", (("side", f"{number:02}"),), number / 10) for number in range(30)]
    assert harness.message_titles() == ["bot: pair (30 label sets), slow, errors tripped"]
    told = message_lines(harness, "bot: pair (30 label sets), slow, errors tripped")
    assert told[:2] == ["pair: 30 label sets, the worst: left 29 is above 5", "side=29"]
    assert told[2:7] == [*(f"left {n} is above 5 (side={n})" for n in (28, 27, 26, 25)), "and 25 more label sets"]
    before = len(harness.message_titles())
    harness.round(tick_age=1)

    assert harness.message_titles()[before:] == ["bot: pair (30 label sets), slow recovered"]
    said = message_lines(harness, "bot: pair (30 label sets), slow recovered")
    assert said[0] == "pair: left 2.9 is not above 5 (side=29), was 29 at worst, fired for 2 s"
    assert said[5:] == [
        "pair: and 25 more label sets",
        "slow: age 1 s is not above 3 s, was 5 s at worst, fired for 2 s",
    ]

    harness.round(error_ratio=0.01)
    assert harness.message_titles()[before + 1 :] == ["bot: errors recovered, incident 1 closed after 3 s"]
    assert "errors 1 % is not above 5 %" in message_lines(harness, harness.message_titles()[-1])


def test_a_channel_for_what_is_critical_hears_nothing_of_warnings_that_recover_beside_it(
    harness: PipelineHarness,
) -> None:
    harness.requests.hold_target("bot", 3_600_000, "ann: known", harness.now)  # no plan is at work
    harness.labelled_series = [("left", (), 9)]
    harness.rounds(4, tick_age=5, error_ratio=0.5)
    harness.round(tick_age=1, error_ratio=0.01)

    assert harness.message_titles()[-1] == "bot: slow, errors recovered"
    assert harness.message_titles("pager")[-1] == "bot: errors recovered"
    assert message_lines(harness, "bot: errors recovered", "pager")[0] == "errors 1 % is not above 10 %"


def test_of_a_rule_that_trips_at_both_levels_at_once_people_hear_once_and_critically(harness: PipelineHarness) -> None:
    harness.reload(PAIRS_RULES.replace("warn: {above: 5%}", "warn: {above: 5%, for: 2s}"))
    harness.rounds(3, error_ratio=0.5)

    rows = harness.journal.query(
        "SELECT severity, lines FROM message WHERE title = 'bot: errors tripped' AND channel = 'chat'"
    )
    assert [row["severity"] for row in rows] == ["crit"]
    assert f"incident 1 on {socket.gethostname()}: trading-watchdog incidents 1" in rows[0]["lines"]
    assert harness.message_titles("pager") == ["bot: errors tripped"]
    assert {trip.level for trip in harness.journal.incidents.list_trips(1)} == {"warn", "crit"}


def test_what_is_silenced_is_not_told_of_in_company_either(harness: PipelineHarness) -> None:
    harness.requests.silence_rule("slow", 3_600_000, "ann: known", harness.now)
    harness.rounds(2, tick_age=5, error_ratio=0.07)
    harness.labelled_series = [("left", (), 9)]
    harness.rounds(2)
    harness.labelled_series = [("left", (), 1)]
    harness.round(tick_age=1, error_ratio=0.01)

    assert harness.message_titles()[-1].startswith("bot: pair, errors recovered, incident 1 closed")


def test_a_latch_is_said_with_the_end_of_its_incident(harness: PipelineHarness) -> None:
    harness.rounds(5, error_ratio=0.5)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    harness.end_run(harness.runs[0], "exhausted")
    harness.rounds(1, error_ratio=0.01)

    assert 'latched: repairs wait for trading-watchdog resume bot --reason "…"' in message_lines(
        harness, harness.message_titles()[-1]
    )


def test_the_way_a_run_ended_is_told_by_itself_while_its_incident_goes_on(make_harness: MakeHarness) -> None:
    harness = make_harness(rules="  - {name: noisy, kpi: errors, warn: {above: 0.1%}}")
    harness.advance_until(lambda: ("ladder", "proven") in harness.outcomes())

    assert harness.message_titles()[-1] == "bot: ladder proven"
    assert harness.incident is not None


def test_the_pager_hears_of_an_exhausted_repair_though_its_level_is_not_told_apart(make_harness: MakeHarness) -> None:
    harness = make_harness(
        levels="      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}\n"
    )
    harness.advance_until(lambda: ("ladder", "exhausted") in harness.outcomes())

    assert "bot: ladder exhausted" in harness.message_titles("pager")
    assert message_lines(harness, "bot: ladder exhausted", "pager")[0].startswith(
        "level feature: errors: errors 50 % is above 10 %"
    )
    assert "bot: ladder: level feature disproven" not in harness.message_titles()
