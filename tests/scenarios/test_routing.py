"""Who hears of a target, and who is told when nobody acknowledges it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pipeline_harness import MAIN_YAML, MINUTE, RULES_YAML, SECOND, PipelineHarness

MAIN = MAIN_YAML.replace(
    "state: state",
    "  boss: {type: slack, token: xoxb-12345678, channel: C0123458, standby: true}\nremind: off\n"
    "escalate: {after: 5m, to: [boss]}\nstate: state",
)
BOT = "  bot: {repo: /srv/bot,"


def make(folder: Path, *, bot: str = "", main: str = MAIN, rule: str = "") -> PipelineHarness:
    rules = RULES_YAML.replace(BOT, f"{BOT} {bot}").replace("name: errors, kpi", f"name: errors, {rule}kpi")
    return PipelineHarness(folder, rules, main)


def wait(harness: PipelineHarness, minutes: float) -> None:
    for _ in range(round(minutes * 6)):
        harness.now += 9 * SECOND
        harness.requests.end_suppressions(harness.now)
        harness.round()


def test_a_target_says_which_channels_hear_of_it_its_plans_and_its_end(tmp_path: Path) -> None:
    harness = make(tmp_path, bot="notify: [boss],")
    harness.rounds(3)
    harness.rounds(5, error_ratio=0.5)
    for run in harness.runs:
        harness.end_run(run, "proven")
    harness.rounds(60, error_ratio=0.01)

    assert any("tripped" in title for title in harness.message_titles("boss"))
    assert "closed" in harness.message_titles("boss")[-1]
    assert [one for one in harness.message_titles("chat") if one.startswith("bot: ")] == []


def test_what_a_rule_says_of_its_channels_wins(tmp_path: Path) -> None:
    harness = make(tmp_path, bot="notify: [boss],", rule="notify: [chat], ")
    harness.rounds(3)
    harness.rounds(1, error_ratio=0.07)

    assert harness.message_titles("chat") == ["bot: errors tripped"]
    assert harness.message_titles("boss") == []


def test_a_channel_on_standby_hears_only_what_names_it(tmp_path: Path) -> None:
    harness = make(tmp_path)
    harness.rounds(3)
    harness.rounds(5, error_ratio=0.5)

    assert harness.message_titles("pager") != []
    assert harness.message_titles("boss") == []


@pytest.mark.parametrize("restart", [False, True])
def test_a_further_channel_is_told_once_when_nobody_acknowledges_and_hears_how_it_ended(
    tmp_path: Path, restart: bool
) -> None:
    harness = make(tmp_path)
    harness.rounds(3)
    harness.rounds(3, equity=800)
    wait(harness, 4)
    assert harness.message_titles("boss") == []
    wait(harness, 2)
    if restart:
        harness.restart()
    wait(harness, 20)

    (told,) = harness.message_titles("boss")
    assert told.startswith("bot: drawdown: nobody has acknowledged it for 5 m")
    assert harness.incident is not None
    harness.requests.acknowledge(harness.incident.id, "ann", None, harness.now)
    assert harness.message_titles("boss")[1:] == [f"bot: incident {harness.incident.id} acknowledged"]
    harness.end_run(harness.runs[0], "proven")
    harness.requests.resume_target("bot", "ann", harness.now)
    harness.rounds(90, equity=1_000)
    assert harness.incident is None
    assert len(harness.message_titles("boss")) == 3, "and hears the end"


def test_who_acknowledges_in_time_wakes_nobody_else(tmp_path: Path) -> None:
    harness = make(tmp_path)
    harness.rounds(3)
    harness.rounds(3, equity=800)
    assert harness.incident is not None
    harness.requests.acknowledge(harness.incident.id, "ann", None, harness.now)
    wait(harness, 20)

    assert harness.message_titles("boss") == []


@pytest.mark.parametrize(
    ("bot", "minutes", "told"), [("escalate: off,", 20, []), ("escalate: {after: 10m, to: [chat]},", 11, ["chat"])]
)
def test_a_target_may_say_otherwise(tmp_path: Path, bot: str, minutes: int, told: list[str]) -> None:
    harness = make(tmp_path, bot=bot)
    harness.rounds(3)
    harness.rounds(3, equity=800)
    wait(harness, minutes)

    heard = [name for name in ("chat", "pager", "boss") if any("nobody" in one for one in harness.message_titles(name))]
    assert heard == told


def test_a_warning_and_what_is_silenced_are_no_reason_and_a_silence_that_ends_gives_people_their_time(
    tmp_path: Path,
) -> None:
    harness = make(tmp_path)
    harness.rounds(3)
    with harness.journal.transaction() as tx:
        tx.suppressions.add_suppression("silence", "no-ticks", harness.now + 15 * MINUTE, "ann", harness.now)
    harness.rounds(3, error_ratio=0.07, tick_age=100)
    wait(harness, 16)
    assert harness.message_titles("boss") == []
    wait(harness, 3)
    assert harness.message_titles("boss") == []
    wait(harness, 4)
    assert len(harness.message_titles("boss")) == 1


@pytest.mark.parametrize(
    ("was", "to", "error"),
    [
        ("to: [boss]", "to: [bos]", "there is no channel bos"),
        ("to: [boss]", "to: []", "escalate names no channel to tell"),
        ("after: 5m", "after: 0s", "after"),
        (", to: [boss]", "", "to is missing"),
    ],
)
def test_an_escalation_that_reaches_nobody_is_refused(tmp_path: Path, was: str, to: str, error: str) -> None:
    with pytest.raises(Exception, match=error.replace("[", r"\[")):
        make(tmp_path, main=MAIN.replace(was, to))


def test_channels_that_there_are_not_are_found_where_a_target_names_them(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"rules\.yaml:2:.*there is no channel bos"):
        make(tmp_path, bot="notify: [bos],")
