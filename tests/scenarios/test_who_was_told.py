"""Whoever was told that something is bad, or was not done, is told how it ended: on every channel, whatever it wants to hear."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scenarios.harness import ScenarioHarness
from tests.support.pipeline_harness import MAIN_YAML, MINUTE, RULES_YAML, PipelineHarness
from tests.support.property_settings import examples
from watchdog.journal.topics import latch_topic
from watchdog.sources.series_limits import Cut

MakeHarness = Callable[..., ScenarioHarness]

FOUR_CHANNELS = MAIN_YAML.replace(
    "  pager:",
    """  desk: {type: slack, token: xoxb-12345678, channel: C0123458, from: warn}
  ops: {type: slack, token: xoxb-12345678, channel: C0123459, from: crit}
  pager:""",
)
MORE_RULES = """\
  - {name: slow, kpi: age, warn: {above: 4s}, notify: [desk]}
  - {name: unheard, kpi: errors, warn: {above: 20%}, notify: []}
  - {name: pages, kpi: age, crit: {above: 20s}, notify: [ops]}
"""


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path)
    made.rounds(2)
    yield made
    made.journal.close()


def shown_in_channel(harness: PipelineHarness, channel: str) -> list[str]:
    """What is seen without opening a thread: its first message, and what is sent to the channel as well."""
    rows = harness.journal.query("SELECT title, broadcast FROM message WHERE channel = ? ORDER BY id", channel)
    return [row["title"] for n, row in enumerate(rows) if row["broadcast"] or n == 0]


# ─ what was not done ─


@pytest.mark.slow
def test_a_repair_that_was_refused_and_starts_after_all_is_told_where_the_refusal_was(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(target=", settling: 15s", replacement=("settling: 1m, settling: 15s", "settling: 15s"))
    harness.advance_seconds(6, error_ratio=0.01)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", unsettled=harness.now)  # somebody deploys
    harness.advance_until(lambda: any(one.closed for one in harness.list_incidents()))

    for told in (
        harness.message_titles("pager"),
        shown_in_channel(harness, "pager"),
        shown_in_channel(harness, "chat"),
    ):
        assert told[:2] == ["bot: errors tripped, ladder is not started", "bot: ladder starts"]
        assert "incident 1 closed after" in told[-1]
        assert len(told) == 3
    assert harness.journal.messages.list_open_topics() == []


def test_of_a_refusal_that_outlives_its_reason_the_end_of_the_incident_is_the_last_word(
    harness: PipelineHarness,
) -> None:
    harness.requests.hold_target("bot", 60 * MINUTE, "ann: known", harness.now)
    harness.rounds(4, error_ratio=0.5)
    assert harness.message_titles("pager")[-1] == "bot: errors tripped, ladder is not started"
    harness.round(error_ratio=0.01)

    assert "incident 1 closed after" in harness.message_titles("pager")[-1]
    assert "incident 1 closed after" in shown_in_channel(harness, "pager")[-1]


# ─ a halt, its latch ─


def test_a_pager_hears_that_a_halt_is_proven_that_it_latched_and_who_resumed(make_harness: MakeHarness) -> None:
    harness = make_harness(levels="      - {name: none, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}\n")
    harness.bad_since_model = 3
    harness.advance_seconds(3)
    harness.advance_seconds(1, equity=800)
    harness.advance_until(lambda: ("halt", "proven") in harness.outcomes())

    assert harness.message_titles("pager") == ["bot: drawdown tripped", "bot: halt proven"]
    rows = harness.journal.query("SELECT lines FROM message WHERE title = 'bot: halt proven' AND channel = 'pager'")
    assert "latched: repairs wait for trading-watchdog resume bot" in rows[0]["lines"]
    assert latch_topic("bot") in harness.journal.messages.list_open_topics()

    assert harness.requests.resume_target("bot", "ann: fixed", harness.now)[0]
    assert harness.message_titles("pager")[-1] == shown_in_channel(harness, "pager")[-1] == "bot: resumed"
    assert harness.journal.messages.list_open_topics() == []


def test_a_latch_that_outlives_its_incident_is_ended_for_whoever_heard_of_it(make_harness: MakeHarness) -> None:
    harness = make_harness(
        levels="      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}\n",
        replacement=("exhausted: halt", "exhausted: leave-running"),
    )
    harness.advance_until(lambda: ("ladder", "exhausted") in harness.outcomes())
    harness.bad_since_model = 3
    harness.advance_until(lambda: harness.incident is None)
    assert "incident 1 closed after" in harness.message_titles("pager")[-1]

    harness.requests.resume_target("bot", "ann: fixed", harness.now)
    assert harness.message_titles("pager")[-1] == "bot: resumed"


# ─ people ─


@pytest.mark.parametrize("answer", ["approved", "denied", "lapsed"])
def test_who_was_asked_hears_the_answer(make_harness: MakeHarness, answer: str) -> None:
    harness = make_harness(replacement=("mode: auto", "mode: approve\n    approve_within: 30s"))
    harness.advance_until(lambda: "bot: ladder waits for approval" in harness.message_titles("pager"))
    before = len(harness.message_titles("pager"))
    (run,) = harness.runs
    if answer != "lapsed":
        harness.requests.decide_approval(run.id, answer == "approved", "ann: so be it", harness.now)
    harness.advance_until(
        lambda: not harness.journal.runs.list_unfinished("bot") or harness.runs[0].status == "running"
    )

    expected = "bot: ladder exhausted" if answer == "lapsed" else f"bot: ladder {answer}"
    assert harness.message_titles("pager")[before:][:1] == [expected]
    assert harness.message_titles("chat").count(expected) == 1


def test_a_rule_that_is_silenced_once_it_has_tripped_is_told_at_the_end_of_its_incident(
    harness: PipelineHarness,
) -> None:
    harness.rounds(2, error_ratio=0.07)
    harness.requests.silence_rule("errors", 60 * MINUTE, "ann: known", harness.now)
    harness.rounds(2, error_ratio=0.01)

    assert harness.message_titles()[-1].startswith("bot: incident 1 closed after")


def test_of_what_a_silence_kept_back_nobody_hears_the_end(harness: PipelineHarness) -> None:
    harness.requests.silence_rule("errors", 60 * MINUTE, "ann: known", harness.now)
    harness.rounds(2, error_ratio=0.07)
    before = harness.message_titles()
    harness.rounds(2, error_ratio=0.01)

    assert harness.incident is None
    assert harness.message_titles() == before


def test_a_channel_with_another_name_by_now_hears_the_end(harness: PipelineHarness) -> None:
    harness.rounds(2, error_ratio=0.07)
    harness.write_config((harness.folder / "rules" / "rules.yaml").read_text(), MAIN_YAML.replace("  chat:", "  desk:"))
    harness.pipeline.apply_config(harness.config, harness.now)
    harness.rounds(2, error_ratio=0.01)

    assert "incident 1 closed after" in harness.message_titles("desk")[-1]


def test_the_end_of_a_hold_reaches_those_who_heard_of_it(harness: PipelineHarness) -> None:
    harness.requests.hold_target("bot", MINUTE, "ann: exchange", harness.now)
    harness.reload((harness.folder / "rules" / "rules.yaml").read_text())
    harness.now += MINUTE
    harness.requests.end_suppressions(harness.now)

    assert harness.message_titles()[-1] == "bot: hold on bot ended"
    assert harness.journal.messages.list_open_topics() == []


# ─ what the watchdog says of itself, over restarts ─


def test_that_sources_deliver_again_is_told_by_the_next_process_and_not_before_they_do(
    harness: PipelineHarness,
) -> None:
    harness.lost_sources = {"bot", "host"}
    harness.rounds(40)
    assert harness.message_titles("pager")[-1] == "blind: no source delivers"

    harness.restart()
    harness.rounds(3)
    assert harness.message_titles("pager")[-1] == "blind: no source delivers"
    harness.lost_sources = set()
    harness.rounds(2)
    assert "sources deliver again" in harness.message_titles("pager")
    assert "sources deliver again" in shown_in_channel(harness, "pager")


def test_that_sources_deliver_again_is_sent_ahead_of_the_critical_message_that_follows_from_it(
    harness: PipelineHarness,
) -> None:
    harness.lost_sources = {"bot", "host"}
    harness.rounds(40)
    with harness.journal.transaction() as tx:
        for one in harness.journal.messages.list_unreported(harness.now):
            tx.messages.mark_sent(one.id, None, harness.now)
    harness.lost_sources = set()
    harness.rounds(4, error_ratio=0.5, tick_age=90)

    first, *rest = [one.message for one in harness.journal.messages.due(harness.now, "pager")]
    assert first.title == "sources deliver again"
    assert [one.severity for one in rest] == ["crit"]


def test_what_trips_while_no_source_delivers_says_by_what_it_is_judged(tmp_path: Path) -> None:
    """As a window moves on, good samples leave it ahead of the bad ones."""
    rules = RULES_YAML.replace("expr: tick_age", "expr: 'avg_over_time(tick_age[50s])'").replace(
        "if_missing: {after: 10s, then: crit}", "if_missing: {after: 10m, then: crit}"
    )
    harness = PipelineHarness(tmp_path, rules, MAIN_YAML.replace("every: 1s}", "every: 30s}", 1))
    harness.rounds(60, tick_age=50)
    harness.rounds(2, tick_age=120)
    harness.lost_sources = {"bot", "host"}
    harness.rounds(45)

    assert harness.message_titles("pager") == ["blind: no source delivers", "bot: no-ticks tripped"]
    rows = harness.journal.query("SELECT lines FROM message WHERE channel = 'pager' ORDER BY id")
    assert "what was read last is believed until it is too old" in rows[0]["lines"]
    assert "no source delivers: by what was read " in rows[1]["lines"]
    harness.journal.close()


@pytest.mark.parametrize("end", ["whole", "removed"])
def test_a_source_that_was_cut_before_a_restart_is_told_of_after_it(harness: PipelineHarness, end: str) -> None:
    harness.pipeline.note_cut("bot", Cut({"series": 3}, frozenset({"left"}), "3 series left out"), harness.now)
    harness.round()
    assert harness.message_titles()[-1] == "source bot is cut"
    harness.pipeline.note_cut("bot", None, harness.now)
    harness.restart()
    if end == "removed":
        text = MAIN_YAML.replace("  bot: {type: scrape", "  other: {type: scrape")
        harness.write_config((harness.folder / "rules" / "rules.yaml").read_text(), text)
        harness.pipeline.apply_config(harness.config, harness.now)
        harness.round()
        assert "source bot, which was cut, is no longer configured" in harness.message_titles()
    else:
        harness.round()
        assert harness.message_titles()[-1] == "source bot is cut"
        harness.now += 6 * MINUTE
        harness.round()
        assert "source bot is whole again" in harness.message_titles()


# ─ what an incident is called ─


@pytest.mark.slow
def test_an_incident_is_called_after_the_rule_whose_plan_ran_and_not_after_the_first_warning(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(rules="  - {name: slow, kpi: age, warn: {above: 4s}}\n")
    harness.advance_seconds(1, tick_age=5, error_ratio=0.01)
    assert [one.title.split(":")[0] for one in harness.list_incidents()] == ["slow"]
    harness.advance_until(lambda: ("ladder", "proven") in harness.outcomes())
    assert [one.title.split(":")[0] for one in harness.list_incidents()] == ["errors"]
    harness.advance_until(lambda: harness.incident is None, tick_age=1)

    (row,) = harness.journal.query("SELECT lines FROM message WHERE channel = 'chat' AND title LIKE '%closed after%'")
    assert row["lines"].startswith('["age 1 s is not above 4 s","was 5 s at worst, fired for ')
    assert ',"errors: errors 50 % is above 10 %","beside it slow: age 5 s is above 4 s"' in row["lines"]


def test_an_incident_in_which_no_plan_ran_is_called_after_the_worst_of_it(harness: PipelineHarness) -> None:
    harness.requests.hold_target("bot", 60 * MINUTE, "ann: known", harness.now)
    harness.rounds(1, error_ratio=0.07)
    harness.rounds(3, tick_age=70)
    assert harness.incident is not None
    assert harness.incident.title.startswith("no-ticks: ")


# ─ random histories ─

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *(
                    "errors",
                    "errors",
                    "well",
                    "well",
                    "drawdown",
                    "slow",
                    "silent",
                    "lost",
                    "deploy",
                    "hold",
                    "silence",
                ),
                *("resume", "approve", "deny", "abort", "rollback", "reload", "restart"),
            ]
        ),
        st.integers(1, 12),
    ),
    min_size=2,
    max_size=9,
)


class Night:
    """A bot with four channels; whatever happens, and then all of it ends."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.harness = ScenarioHarness(
            folder,
            rules=MORE_RULES,
            main=FOUR_CHANNELS,
            replacement=("mode: auto", f"mode: {mode}"),
            levels="      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}\n"
            "      - {name: model, steps: [{do: flag, file: config.py, set: {MODEL: 1}}]}\n",
        )
        self.rules_text = (folder / "rules" / "rules.yaml").read_text()
        self.harness.bad_since_model = 3
        self.values: dict[str, float] = {}

    def play(self, what: str, seconds: int) -> None:
        harness, now = self.harness, self.harness.now
        waiting = [run.id for run in harness.journal.runs.list_unfinished("bot")]
        match what:
            case "errors":
                harness.bad_since_model = 2
            case "well":
                harness.bad_since_model = 3
                self.values = {"equity": 1_000, "tick_age": 1}
                harness.lost_sources = set()
            case "drawdown":
                self.values["equity"] = 850
            case "slow":
                self.values["tick_age"] = 8
            case "silent":
                self.values["tick_age"] = 40
            case "lost":
                harness.lost_sources = {"bot", "host"}
            case "deploy":
                with harness.journal.transaction() as tx:
                    tx.targets.update_target("bot", unsettled=now)
            case "hold":
                harness.requests.hold_target("bot", 20_000, "ann: x", now)
            case "silence":
                harness.requests.silence_rule("errors", 20_000, "ann: x", now)
            case "resume":
                harness.requests.resume_target("bot", "ann: x", now)
            case "approve" | "deny" if waiting:
                harness.requests.decide_approval(waiting[0], what == "approve", "ann: x", now)
            case "abort":
                harness.requests.abort("bot", "ann: x", now)
            case "rollback":
                harness.requests.start_plan("ladder", None, None, "ann: x", now)
            case "reload":
                harness.reload(self.rules_text, FOUR_CHANNELS)
            case "restart":
                harness.restart()
        harness.advance_seconds(seconds, **self.values)

    def end(self) -> None:
        """All is well, and a person resumes."""
        self.play("well", 1)
        for _ in range(8):
            self.harness.advance_seconds(25, **self.values)
            self.harness.requests.resume_target("bot", "ann: done", self.harness.now)
            if self.is_over():
                break
        assert self.is_over()

    def is_over(self) -> bool:
        journal = self.harness.journal
        unended = journal.suppressions.list_unended()
        return not (
            self.harness.incident or journal.runs.list_unfinished("bot") or self.harness.is_latched() or unended
        )


@pytest.mark.slow
@settings(max_examples=examples(40), deadline=None)
@given(history=STEPS, mode=st.sampled_from(["auto", "auto", "approve", "dry-run"]))
def test_after_any_night_the_last_thing_that_each_channel_heard_of_it_is_the_end(
    history: list[tuple[str, int]], mode: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        night = Night(Path(name), mode)
        try:
            for what, seconds in history:
                night.play(what, seconds)
            night.end()
            check_everybody_heard_the_end(night.harness)
        finally:
            night.harness.close()


def check_everybody_heard_the_end(harness: PipelineHarness) -> None:
    assert harness.journal.messages.list_open_topics() == []
    for channel in harness.config.channels:
        rows = harness.journal.query(
            "SELECT incident, severity, title, broadcast FROM message WHERE channel = ? ORDER BY id", channel
        )
        by_incident: dict[int | None, list[tuple[str, str, bool]]] = {}
        for row in rows:
            by_incident.setdefault(row["incident"], []).append((row["severity"], row["title"], bool(row["broadcast"])))
        for incident, told in by_incident.items():
            told = [one for one in told if not one[1].startswith(("bot: no repairs on ", "bot: errors is not told "))]
            if incident is None or all(severity == "info" for severity, _, _ in told):  # those have ends of their own
                continue
            ends = [n for n, (_, title, _) in enumerate(told) if "closed after" in title or title == "bot: resumed"]
            assert ends, (channel, told)
            assert all(severity == "info" for severity, _, _ in told[ends[-1] :]), (channel, told)
            assert told[ends[-1]][2], (channel, told)  # in the channel itself
        assert not rows or rows[-1]["severity"] == "info", (channel, [row["title"] for row in rows])
