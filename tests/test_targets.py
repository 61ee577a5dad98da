"""Targets that a reload takes away, and those that get another name: nothing of them is lost without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import RULES, WATCHDOG, Desk
from watchdog.cli import main
from watchdog.journal import incidents
from watchdog.status import status

BAD = {"error_ratio": 0.5}
OTHER = RULES.replace("bot: {repo: /srv/bot,", "other: {repo: /srv/other,").replace("target: bot,", "target: other,")
RENAMED = OTHER.replace("/srv/other", "/srv/bot")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.rounds(2)
    yield made
    made.journal.close()


def latched(desk: Desk) -> dict[str, str | None]:
    return {one.name: one.latch_why for one in incidents.latched(desk.journal)}


def halt(desk: Desk) -> None:
    """The bot is halted, as the rollback leaves it, and its incident goes on."""
    desk.rounds(2, equity=800)
    (run,) = desk.runs
    with desk.journal.write() as db:
        incidents.stand(db, "bot", latched=desk.now, latch_why="halt halt")
    desk.end(run, "proven")


def last_lines(desk: Desk, title: str) -> str:
    row = desk.journal.row("SELECT lines FROM message WHERE channel = 'chat' AND title = ?", title)
    assert row is not None, desk.told()
    return str(row["lines"])


def test_the_incident_of_a_target_that_is_taken_away_is_closed_and_says_why(desk: Desk) -> None:
    desk.rounds(3, error_ratio=0.06)  # warns; no plan
    assert desk.incident is not None

    desk.reload(OTHER.replace("name: errors", "name: mistakes"))
    desk.rounds(1, error_ratio=0.01)

    assert desk.incident is None
    assert "bot: incident 1 closed after 3 s: its target is no longer configured" in desk.told()
    assert [event["text"] for event in incidents.events(desk.journal, 1)][
        -1
    ] == "closed after 3 s: its target is no longer configured"


def test_an_incident_whose_plan_is_at_work_is_closed_when_that_has_ended(desk: Desk) -> None:
    desk.rounds(5, **BAD)
    (run,) = desk.runs
    desk.reload(OTHER)
    desk.rounds(2, error_ratio=0.01)
    assert desk.incident is not None

    desk.end(run, "stopped")
    desk.rounds(1)
    assert desk.incident is None


def test_the_latch_of_a_target_that_is_taken_away_is_told_once_kept_and_back_with_the_name(desk: Desk) -> None:
    halt(desk)
    desk.reload(OTHER)
    desk.restart()
    desk.round()

    title = "bot: latched, and no longer configured"
    assert desk.told().count(title) == 1
    assert "trading-watchdog resume bot" in last_lines(desk, title)
    shown = status(desk.config, desk.pipeline, desk.journal, {}, desk.now)["targets"]
    assert isinstance(shown, dict)
    assert [(name, one["configured"], one["latched"]) for name, one in shown.items()] == [
        ("other", True, None),
        ("bot", False, "halt halt"),
    ]

    desk.reload(RULES)
    desk.rounds(5, equity=1_000, **BAD)
    assert latched(desk) == {"bot": "halt halt"}
    assert desk.told().count("bot: configured again, and still latched") == 1
    assert [run.plan for run in desk.runs] == ["halt"]  # the repair is refused


def test_a_halted_bot_is_not_free_because_it_was_renamed(desk: Desk) -> None:
    halt(desk)
    desk.write(RENAMED)
    desk.restart()  # renamed while nobody watched
    desk.rounds(5, equity=1_000, **BAD)

    assert latched(desk) == {"other": "halt halt"}
    assert "other: latched, as bot was, which had this place" in desk.told()
    assert [run.plan for run in desk.runs] == ["halt"]

    desk.reload(RULES)
    assert latched(desk) == {"bot": "halt halt"}


def test_what_a_plan_latches_after_its_target_was_renamed_is_the_renamed_one(desk: Desk) -> None:
    desk.rounds(5, **BAD)
    (run,) = desk.runs
    desk.reload(RENAMED)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", latched=desk.now, latch_why="ladder exhausted")
    desk.end(run, "exhausted")
    desk.rounds(1)

    assert latched(desk) == {"other": "ladder exhausted"}


def test_two_bots_without_a_place_are_never_taken_for_one(desk: Desk) -> None:
    nowhere = RULES.replace("repo: /srv/bot, ", "")
    for flag in ("{TRADING: false}", "{FEATURE: false}", "{MODEL: 1}"):
        nowhere = nowhere.replace(f"do: flag, file: config.py, set: {flag}", "do: command, run: [/bin/true]")
    desk.reload(nowhere)
    halt(desk)
    desk.reload(nowhere.replace("  bot: {", "  other: {").replace("target: bot", "target: other"))

    assert latched(desk) == {"bot": "halt halt"}


def test_a_person_opens_the_latch_of_what_is_no_longer_configured(desk: Desk) -> None:
    halt(desk)
    desk.reload(OTHER)
    desk.round()

    assert desk.people.resume("bot", "ada", desk.now) == (True, "bot resumed; it is no longer configured")
    assert latched(desk) == {}
    assert desk.people.resume("bot", "ada", desk.now)[0] is False
    desk.reload(RULES)
    assert "bot: configured again, and still latched" not in desk.told()


def test_check_says_what_is_latched_or_open_and_no_longer_configured(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    said = WATCHDOG.replace("state: state", f"state: {desk.folder}")
    halt(desk)
    desk.write(RULES, said)
    main(["check", "--config", str(desk.folder)])
    assert "bot is" not in capsys.readouterr().out

    desk.write(OTHER, said)
    main(["check", "--config", str(desk.folder)])
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: target bot")]
    assert notes == [
        "note: target bot is latched (halt halt) and no longer configured: the latch holds again when the target is back",
        "note: target bot has an open incident and is no longer configured: a reload closes it",
    ]

    desk.write(RENAMED, said)
    main(["check", "--config", str(desk.folder)])
    assert "no longer configured: other is at its place and will be latched" in capsys.readouterr().out
    assert latched(desk) == {"bot": "halt halt"}


# ─ our own metrics ─


def exported(desk: Desk, name: str) -> dict[tuple[str, ...], float]:
    families = {family.name: family for family in desk.pipeline.telemetry.registry.collect()}
    return {tuple(sample.labels.values()): sample.value for sample in families[name].samples}


def test_what_a_reload_took_away_is_no_longer_exported(desk: Desk) -> None:
    assert ("errors", "critical", "upper") in exported(desk, "watchdog_rule_limit")
    assert ("host",) in exported(desk, "watchdog_source_up")
    fewer = WATCHDOG.replace("  host: {type: host, every: 1s, disks: [/]}\n", "")
    desk.write(OTHER.replace("name: errors", "name: mistakes"), fewer)
    desk.pipeline.use(desk.config, desk.now)

    assert {rule for rule, *_ in exported(desk, "watchdog_rule_limit")} == {"mistakes", "drawdown", "no-ticks"}
    assert exported(desk, "watchdog_source_up") == {("bot",): 1}
    assert exported(desk, "watchdog_target_latched") == {("other",): 0}


def test_a_latch_and_an_incident_are_exported_as_the_journal_has_them(desk: Desk) -> None:
    halt(desk)
    assert exported(desk, "watchdog_target_latched") == {("bot",): 1}
    assert exported(desk, "watchdog_incidents_open") == {(): 1}
    desk.reload(OTHER)
    assert exported(desk, "watchdog_target_latched") == {("other",): 0, ("bot",): 1}


def test_both_limits_of_outside_are_exported(desk: Desk) -> None:
    desk.reload(RULES.replace("warn: {above: 5%}, crit: {above: 10%,", "warn: {below: 5%}, crit: {outside: [1%, 10%],"))

    limits = {key: value for key, value in exported(desk, "watchdog_rule_limit").items() if key[0] == "errors"}
    assert limits == {
        ("errors", "warning", "lower"): 0.05,
        ("errors", "critical", "lower"): 0.01,
        ("errors", "critical", "upper"): 0.1,
    }


def test_no_counter_says_when_it_was_made(desk: Desk) -> None:
    desk.rounds(5, **BAD)
    names = {sample.name for family in desk.pipeline.telemetry.registry.collect() for sample in family.samples}

    assert "watchdog_rule_trips_total" in names
    assert not [name for name in names if name.endswith("_created")]
