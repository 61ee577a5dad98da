"""Targets that a reload takes away, and those that get another name: nothing of them is lost without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MAIN_YAML, RULES_YAML, PipelineHarness
from watchdog.app.status import build_status
from watchdog.cli.command_line import main

BAD_VALUES = {"error_ratio": 0.5}
OTHER_TARGET_RULES = RULES_YAML.replace("bot: {repo: /srv/bot,", "other: {repo: /srv/other,").replace(
    "target: bot,", "target: other,"
)
RENAMED_TARGET_RULES = OTHER_TARGET_RULES.replace("/srv/other", "/srv/bot")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path)
    made.rounds(2)
    yield made
    made.journal.close()


def latch_reasons(harness: PipelineHarness) -> dict[str, str | None]:
    return {one.name: one.latch_why for one in harness.journal.targets.list_latched()}


def run_halt(harness: PipelineHarness) -> None:
    """The bot is halted, as the rollback leaves it, and its incident goes on."""
    harness.rounds(2, equity=800)
    (run,) = harness.runs
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    harness.end_run(run, "proven")


def last_lines(harness: PipelineHarness, title: str) -> str:
    row = harness.journal.query_one("SELECT lines FROM message WHERE channel = 'chat' AND title = ?", title)
    assert row is not None, harness.message_titles()
    return str(row["lines"])


def test_the_incident_of_a_target_that_is_taken_away_is_closed_and_says_why(harness: PipelineHarness) -> None:
    harness.rounds(3, error_ratio=0.06)  # warns; no plan
    assert harness.incident is not None

    harness.reload(OTHER_TARGET_RULES.replace("name: errors", "name: mistakes"))
    harness.rounds(1, error_ratio=0.01)

    assert harness.incident is None
    assert "bot: incident 1 closed after 3 s: its target is no longer configured" in harness.message_titles()
    assert [event.text for event in harness.journal.timeline.list_events(1)][
        -1
    ] == "closed after 3 s: its target is no longer configured"


def test_an_incident_whose_plan_is_at_work_is_closed_when_that_has_ended(harness: PipelineHarness) -> None:
    harness.rounds(5, **BAD_VALUES)
    (run,) = harness.runs
    harness.reload(OTHER_TARGET_RULES)
    harness.rounds(2, error_ratio=0.01)
    assert harness.incident is not None

    harness.end_run(run, "stopped")
    harness.rounds(1)
    assert harness.incident is None


def test_the_latch_of_a_target_that_is_taken_away_is_told_once_kept_and_back_with_the_name(
    harness: PipelineHarness,
) -> None:
    run_halt(harness)
    harness.reload(OTHER_TARGET_RULES)
    harness.restart()
    harness.round()

    title = "bot: latched, and no longer configured"
    assert harness.message_titles().count(title) == 1
    assert "trading-watchdog resume bot" in last_lines(harness, title)
    shown = build_status(harness.config, harness.pipeline, harness.journal, {}, harness.now)["targets"]
    assert isinstance(shown, dict)
    assert [(name, one["configured"], one["latched"]) for name, one in shown.items()] == [
        ("other", True, None),
        ("bot", False, "halt"),
    ]

    harness.reload(RULES_YAML)
    harness.rounds(5, equity=1_000, **BAD_VALUES)
    assert latch_reasons(harness) == {"bot": "halt"}
    assert harness.message_titles().count("bot: configured again, and still latched") == 1
    assert [run.plan for run in harness.runs] == ["halt"]  # the repair is refused


def test_a_halted_bot_is_not_free_because_it_was_renamed(harness: PipelineHarness) -> None:
    run_halt(harness)
    harness.write_config(RENAMED_TARGET_RULES)
    harness.restart()  # renamed while nobody watched
    harness.rounds(5, equity=1_000, **BAD_VALUES)

    assert latch_reasons(harness) == {"other": "halt"}
    assert "other: latched, as bot was, which had this place" in harness.message_titles()
    assert [run.plan for run in harness.runs] == ["halt"]

    harness.reload(RULES_YAML)
    assert latch_reasons(harness) == {"bot": "halt"}


def test_what_a_plan_latches_after_its_target_was_renamed_is_the_renamed_one(harness: PipelineHarness) -> None:
    harness.rounds(5, **BAD_VALUES)
    (run,) = harness.runs
    harness.reload(RENAMED_TARGET_RULES)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="ladder exhausted")
    harness.end_run(run, "exhausted")
    harness.rounds(1)

    assert latch_reasons(harness) == {"other": "ladder exhausted"}


def test_two_bots_without_a_place_are_never_taken_for_one(harness: PipelineHarness) -> None:
    nowhere = RULES_YAML.replace("repo: /srv/bot, ", "")
    for flag in ("{TRADING: false}", "{FEATURE: false}", "{MODEL: 1}"):
        nowhere = nowhere.replace(f"do: flag, file: config.py, set: {flag}", "do: command, run: [/bin/true]")
    harness.reload(nowhere)
    run_halt(harness)
    harness.reload(nowhere.replace("  bot: {", "  other: {").replace("target: bot", "target: other"))

    assert latch_reasons(harness) == {"bot": "halt"}


def test_a_person_opens_the_latch_of_what_is_no_longer_configured(harness: PipelineHarness) -> None:
    run_halt(harness)
    harness.reload(OTHER_TARGET_RULES)
    harness.round()

    assert harness.requests.resume_target("bot", "ada", harness.now) == (
        True,
        "bot resumed; it is no longer configured",
    )
    assert latch_reasons(harness) == {}
    assert harness.requests.resume_target("bot", "ada", harness.now)[0] is False
    harness.reload(RULES_YAML)
    assert "bot: configured again, and still latched" not in harness.message_titles()


def test_check_says_what_is_latched_or_open_and_no_longer_configured(
    harness: PipelineHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    said = MAIN_YAML.replace("state: state", f"state: {harness.folder}")
    run_halt(harness)
    harness.write_config(RULES_YAML, said)
    main(["check", "--config", str(harness.folder)])
    assert "bot is" not in capsys.readouterr().out

    harness.write_config(OTHER_TARGET_RULES, said)
    main(["check", "--config", str(harness.folder)])
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: target bot")]
    assert notes == [
        "note: target bot is latched (halt) and no longer configured: the latch holds again when the target is back",
        "note: target bot has an open incident and is no longer configured: reload --yes closes it",
    ]

    harness.write_config(RENAMED_TARGET_RULES, said)
    main(["check", "--config", str(harness.folder)])
    assert "no longer configured: other is at its place and will be latched" in capsys.readouterr().out
    assert latch_reasons(harness) == {"bot": "halt"}


# ─ our own metrics ─


def metric_samples(harness: PipelineHarness, name: str) -> dict[tuple[str, ...], float]:
    families = {family.name: family for family in harness.pipeline.telemetry.registry.collect()}
    return {tuple(sample.labels.values()): sample.value for sample in families[name].samples}


def test_what_a_reload_took_away_is_no_longer_exported(harness: PipelineHarness) -> None:
    assert ("errors", "bot", "critical", "upper") in metric_samples(harness, "watchdog_rule_limit")
    assert ("host",) in metric_samples(harness, "watchdog_source_up")
    fewer = MAIN_YAML.replace("  host: {type: host, every: 1s, disks: [/]}\n", "")
    harness.write_config(OTHER_TARGET_RULES.replace("name: errors", "name: mistakes"), fewer)
    harness.pipeline.apply_config(harness.config, harness.now)

    assert {rule for rule, *_ in metric_samples(harness, "watchdog_rule_limit")} == {"mistakes", "drawdown", "no-ticks"}
    assert metric_samples(harness, "watchdog_source_up") == {("bot",): 1}
    assert metric_samples(harness, "watchdog_target_latched") == {("other",): 0}


def test_a_latch_and_an_incident_are_exported_as_the_journal_has_them(harness: PipelineHarness) -> None:
    run_halt(harness)
    assert metric_samples(harness, "watchdog_target_latched") == {("bot",): 1}
    assert metric_samples(harness, "watchdog_incidents_open") == {(): 1}
    harness.reload(OTHER_TARGET_RULES)
    assert metric_samples(harness, "watchdog_target_latched") == {("other",): 0, ("bot",): 1}


def test_both_limits_of_outside_are_exported(harness: PipelineHarness) -> None:
    harness.reload(
        RULES_YAML.replace("warn: {above: 5%}, crit: {above: 10%,", "warn: {below: 5%}, crit: {outside: [1%, 10%],")
    )

    limits = {key: value for key, value in metric_samples(harness, "watchdog_rule_limit").items() if key[0] == "errors"}
    assert limits == {
        ("errors", "bot", "warning", "lower"): 0.05,
        ("errors", "bot", "critical", "lower"): 0.01,
        ("errors", "bot", "critical", "upper"): 0.1,
    }


def test_no_counter_says_when_it_was_made(harness: PipelineHarness) -> None:
    harness.rounds(5, **BAD_VALUES)
    names = {sample.name for family in harness.pipeline.telemetry.registry.collect() for sample in family.samples}

    assert "watchdog_rule_trips_total" in names
    assert not [name for name in names if name.endswith("_created")]
