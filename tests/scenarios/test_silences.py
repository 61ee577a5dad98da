"""At the end of a silence people hear once what fires all the same, and nothing of what has recovered in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MINUTE, RULES_YAML, SECOND, PipelineHarness

RULES = RULES_YAML.replace(
    "rules:\n",
    "rules:\n  - {name: slow, kpi: age, target: bot, warn: {above: 3s}, crit: {above: 20s}}\n"
    "  - {name: pair, kpi: left, target: bot, each: [side], warn: {above: 5}}\n",
).replace("kpis:\n", "kpis:\n  left: {expr: left}\n")
END = "bot: slow still fires after its silence"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path, RULES)
    made.rounds(2)
    yield made
    made.journal.close()


def silence(harness: PipelineHarness, rule: str = "slow", span: int = MINUTE) -> None:
    assert harness.requests.silence_rule(rule, span, "ann: known", harness.now)[0]


def expire(harness: PipelineHarness, seconds: int = 60) -> None:
    """Time goes by; the silences that are over by then end."""
    for _ in range(seconds):
        harness.round()
        harness.requests.end_suppressions(harness.now)


def said(harness: PipelineHarness, title: str, channel: str = "chat") -> list[str]:
    (row,) = harness.journal.query("SELECT lines FROM message WHERE title = ? AND channel = ?", title, channel)
    return list(json.loads(row["lines"]))


def switch_off(harness: PipelineHarness) -> None:
    harness.requests.silence_rule("slow", None, "ben: enough", harness.now)


def be_killed_while_it_runs_out(harness: PipelineHarness) -> None:
    harness.restart(2 * MINUTE)
    expire(harness, 3)


@pytest.mark.slow
@pytest.mark.parametrize("end", [expire, switch_off, be_killed_while_it_runs_out])
def test_what_still_fires_at_the_end_of_a_silence_is_told_once_with_since_when(
    harness: PipelineHarness, end: Callable[[PipelineHarness], None]
) -> None:
    silence(harness)
    harness.rounds(5, tick_age=30)
    assert harness.message_titles("pager") == []
    end(harness)
    harness.restart()
    expire(harness, 60)

    for channel in ("chat", "pager"):
        assert harness.message_titles(channel).count(END) == 1
    (row,) = harness.journal.query("SELECT severity, incident FROM message WHERE title = ? AND channel = 'pager'", END)
    assert tuple(row) == ("crit", 1)
    lines = said(harness, END)
    assert lines[0] == "age 30 s is above 20 s"
    assert any(line.startswith("fires for ") for line in lines)
    assert any(line.startswith("was silenced by ann: known; ") for line in lines)
    assert "bot: silence on slow ended" not in harness.message_titles()


def test_whoever_heard_it_at_the_end_of_the_silence_hears_how_it_ended(harness: PipelineHarness) -> None:
    silence(harness)
    harness.rounds(2, tick_age=30)
    expire(harness)
    harness.round(tick_age=1)

    assert "incident 1 closed after" in harness.message_titles("pager")[-1]
    assert harness.journal.messages.list_open_topics() == []


def test_of_what_recovered_in_a_silence_nobody_hears_although_another_rule_was_told(harness: PipelineHarness) -> None:
    silence(harness)
    harness.rounds(2, tick_age=30, error_ratio=0.07)
    harness.rounds(2, tick_age=1)
    expire(harness)
    harness.round(error_ratio=0.01)

    told = harness.message_titles()
    assert "bot: errors tripped" in told
    assert "bot: silence on slow ended" in told
    assert not [title for title in told if "slow tripped" in title or "slow recovered" in title or "still" in title]
    rows = harness.journal.query("SELECT lines FROM message WHERE severity != 'info' OR title LIKE '%closed%'")
    assert not [row["lines"] for row in rows if "beside it slow" in row["lines"]]


def test_a_rule_that_was_told_before_its_silence_is_told_again_at_its_end(harness: PipelineHarness) -> None:
    harness.rounds(2, tick_age=5)
    silence(harness)
    expire(harness)

    assert harness.message_titles().count(END) == 1


def test_what_became_critical_in_a_silence_reaches_those_who_only_hear_what_is(harness: PipelineHarness) -> None:
    harness.rounds(2, tick_age=5)
    silence(harness)
    harness.rounds(2, tick_age=30)
    assert harness.message_titles("pager") == []
    expire(harness)

    assert harness.message_titles("pager") == [END]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["slow", "slow@bot"])
def test_of_two_silences_the_last_end_counts(harness: PipelineHarness, first: str) -> None:
    second = {"slow": "slow@bot", "slow@bot": "slow"}[first]
    silence(harness, first)
    silence(harness, second, 2 * MINUTE)
    harness.rounds(2, tick_age=30)
    expire(harness, 100)
    assert END not in harness.message_titles()
    expire(harness, 60)

    assert harness.message_titles().count(END) == 1


def test_a_silence_that_is_made_longer_has_not_ended(harness: PipelineHarness) -> None:
    silence(harness)
    harness.rounds(2, tick_age=30)
    silence(harness, span=3 * MINUTE)
    expire(harness, 90)
    assert END not in harness.message_titles()


def test_many_label_sets_that_still_fire_are_one_message(harness: PipelineHarness) -> None:
    silence(harness, "pair")
    harness.labelled_series = [("left", (("side", f"{number:02}"),), number) for number in range(10, 50)]
    harness.rounds(2)
    expire(harness)

    title = "bot: pair (40 label sets) still fires after its silence"
    assert harness.message_titles()[-1] == title
    assert said(harness, title)[0] == "40 label sets, the worst: left 49 is above 5"


def test_what_trips_as_the_silence_is_over_is_told_once(harness: PipelineHarness) -> None:
    silence(harness)
    harness.now += MINUTE - SECOND
    harness.round(tick_age=30)
    harness.requests.end_suppressions(harness.now)
    harness.rounds(3)
    harness.requests.end_suppressions(harness.now)

    titles = harness.message_titles("pager")
    assert titles == ["bot: slow tripped"]


def test_who_hears_of_a_trip_as_the_silence_is_over_need_not_hear_of_its_end_behind_it(
    harness: PipelineHarness,
) -> None:
    silence(harness)
    harness.now += MINUTE - SECOND
    harness.round(tick_age=30)
    harness.requests.end_suppressions(harness.now)

    assert harness.message_titles()[-1] == "bot: slow tripped"
    events = harness.journal.query("SELECT text FROM event WHERE text LIKE '%silence on slow ended%'")
    assert [row["text"] for row in events] == ["silence on slow ended: its time is over"]


def test_a_halt_that_starts_in_a_silence_is_told_to_those_who_only_hear_what_is_critical(
    harness: PipelineHarness,
) -> None:
    silence(harness, "drawdown")
    harness.rounds(2, equity=800)

    assert [run.plan for run in harness.runs] == ["halt"]
    for channel in ("chat", "pager"):
        assert harness.message_titles(channel)[-1] == "bot: halt starts"


def test_a_repair_that_starts_in_a_silence_is_told_from_warnings_on(harness: PipelineHarness) -> None:
    silence(harness, "errors")
    harness.rounds(4, error_ratio=0.2)

    assert [run.plan for run in harness.runs] == ["ladder"]
    assert harness.message_titles()[-1] == "bot: ladder starts"
    assert harness.message_titles("pager") == []


@pytest.mark.parametrize("left", ["silence", "hold"])
def test_that_less_is_told_or_done_is_a_warning_and_its_end_is_none(harness: PipelineHarness, left: str) -> None:
    if left == "silence":
        silence(harness, span=10 * SECOND)
    else:
        assert harness.requests.hold_target("bot", 10 * SECOND, "ann: known", harness.now)[0]
    expire(harness, 11)

    rows = harness.journal.query("SELECT severity, title FROM message WHERE channel = 'chat' ORDER BY id DESC LIMIT 2")
    assert [row["severity"] for row in rows] == ["info", "warn"], [row["title"] for row in rows]


def test_what_recovered_while_the_watchdog_was_down_is_not_said_to_fire(harness: PipelineHarness) -> None:
    silence(harness)
    harness.rounds(2, tick_age=30)
    harness.restart(2 * MINUTE)
    harness.requests.end_suppressions(harness.now)  # the first tick comes ahead of the first read
    harness.rounds(2, tick_age=1)
    harness.requests.end_suppressions(harness.now)

    assert END not in harness.message_titles()
    assert harness.message_titles("pager") == []
    assert "bot: silence on slow ended" in harness.message_titles()


def test_what_nobody_can_see_after_a_restart_is_told_as_firing_all_the_same(harness: PipelineHarness) -> None:
    silence(harness)
    harness.rounds(2, tick_age=30)
    harness.restart(2 * MINUTE)
    harness.lost_sources = {"bot"}
    expire(harness, 40)

    assert harness.message_titles("pager").count(END) == 1


def test_the_end_of_a_silence_of_a_rule_that_a_reload_took_away_says_just_that(harness: PipelineHarness) -> None:
    silence(harness)
    harness.rounds(2, tick_age=30)
    harness.reload(RULES_YAML)
    expire(harness, 70)

    assert not [title for title in harness.message_titles() if "still fires" in title]
    assert [title for title in harness.message_titles() if title.endswith("silence on slow ended")]


def test_a_label_set_that_leaves_in_a_silence_is_not_told(harness: PipelineHarness) -> None:
    silence(harness, "pair", 60 * MINUTE)
    harness.labelled_series = [("left", (("side", "a"),), 9), ("left", (("side", "b"),), 1)]
    harness.rounds(2)
    harness.labelled_series.pop(0)
    before = harness.message_titles()
    for _ in range(30):
        harness.now += 5 * MINUTE
        harness.round()

    assert not [title for title in harness.message_titles()[len(before) :] if "pair" in title]


# ─ reminders ─


def deliver_all(harness: PipelineHarness, *channels: str) -> None:
    with harness.journal.transaction() as tx:
        for one in harness.journal.messages.list_unreported(harness.now):
            if one.channel in (channels or ("chat", "pager")):
                tx.messages.mark_sent(one.id, None, harness.now)


def pass_hours(harness: PipelineHarness, hours: float, steps: int = 60) -> None:
    for _ in range(steps):
        deliver_all(harness)
        harness.now += round(hours * 60 * MINUTE / steps)
        harness.round()


def reminders(harness: PipelineHarness, channel: str = "pager") -> list[str]:
    return [title for title in harness.message_titles(channel) if "still critical" in title]


@pytest.mark.slow
def test_a_critical_incident_that_nobody_acknowledges_is_told_again_more_and_more_rarely(
    harness: PipelineHarness,
) -> None:
    harness.rounds(2, tick_age=30)
    pass_hours(harness, 0.9)
    assert reminders(harness) == []
    pass_hours(harness, 0.2)
    harness.restart()
    (title,) = reminders(harness)
    assert title.startswith("bot: slow still critical after 1 h")
    assert said(harness, title, "pager")[0] == "age 30 s is above 20 s"
    assert "nobody has acknowledged it: trading-watchdog ack 1" in said(harness, title, "pager")
    pass_hours(harness, 24, 240)
    assert len(reminders(harness)) == 4  # after 1 h, 3 h, 7 h, 15 h
    pass_hours(harness, 72, 240)
    assert 6 <= len(reminders(harness)) <= 8  # then once a day


def test_a_reminder_without_data_says_how_bad_it_was(harness: PipelineHarness) -> None:
    harness.rounds(2, tick_age=30)
    harness.rounds(2, tick_age=25)
    harness.lost_sources = {"bot"}
    pass_hours(harness, 1.1)

    (title,) = reminders(harness)
    assert "was 30 s at worst, while it could be seen" in said(harness, title, "pager")


def acknowledge(harness: PipelineHarness) -> None:
    harness.requests.acknowledge(1, "ann", None, harness.now)


def silence_long(harness: PipelineHarness) -> None:
    silence(harness, span=30 * 60 * MINUTE)


def recover_to_a_warning(harness: PipelineHarness) -> None:
    harness.rounds(2, tick_age=5)


def never(harness: PipelineHarness) -> None:
    (harness.folder / "watchdog.yaml").write_text((harness.folder / "watchdog.yaml").read_text())
    main = (harness.folder / "watchdog.yaml").read_text() + "remind: off\n"
    harness.reload((harness.folder / "rules" / "rules.yaml").read_text(), main)


@pytest.mark.parametrize("end", [acknowledge, silence_long, recover_to_a_warning, never])
def test_nobody_is_reminded_of_what_somebody_knows_or_what_is_not_critical_any_more(
    harness: PipelineHarness, end: Callable[[PipelineHarness], None]
) -> None:
    harness.rounds(2, tick_age=30)
    end(harness)
    pass_hours(harness, 5)

    assert reminders(harness) == []


def test_a_channel_for_which_messages_of_the_incident_wait_is_not_reminded(harness: PipelineHarness) -> None:
    harness.rounds(2, tick_age=30)
    deliver_all(harness, "chat")
    harness.now += 90 * MINUTE
    harness.rounds(2)

    assert (len(reminders(harness)), len(reminders(harness, "chat"))) == (0, 1)


# ─ what is sent where messages did not arrive ─


def test_the_present_state_of_an_incident_is_what_fires_now(harness: PipelineHarness) -> None:
    harness.requests.hold_target("bot", 60 * MINUTE, "ann: known", harness.now)
    harness.rounds(4, tick_age=30, error_ratio=0.5)
    harness.rounds(2, tick_age=1)
    message = harness.pipeline.incident_manager.firing.describe_incident(1, "pager", harness.now)

    assert message is not None
    assert (message.severity, message.title) == ("crit", "bot: errors fires (incident 1)")
    assert message.lines[0] == "errors 50 % is above 10 %"
    assert "slow" not in " ".join(message.lines)
    harness.rounds(2, error_ratio=0.01)
    assert (
        harness.pipeline.incident_manager.firing.describe_incident(1, "pager", harness.now) is None
    )  # it is over, and nothing of it arrived


def test_two_silences_of_a_rule_that_end_at_once_tell_once_what_still_fires(harness: PipelineHarness) -> None:
    silence(harness)
    silence(harness, "slow@bot")
    harness.rounds(5, tick_age=30)
    expire(harness)

    assert harness.message_titles("pager").count(END) == 1
