"""What the first message of an incident says: its state in the title, what is so below it, what may be answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MINUTE, RULES_YAML, SECOND, PipelineHarness
from watchdog.chat.head import describe_head
from watchdog.core.chat import STATE_SYMBOLS, IncidentHead
from watchdog.core.model import Message
from watchdog.journal.runs import PlanRun, Step
from watchdog.journal.serialization import to_json

ERRORS = "errors 12.3 % above 10 %"


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path)
    made.rounds(2)
    yield made
    made.journal.close()


def head(harness: PipelineHarness, number: int = 1, channel: str = "chat") -> IncidentHead:
    incident = harness.journal.incidents.find_incident(number)
    assert incident is not None
    about = harness.journal.messages.find_about(channel, number) or ()
    return describe_head(harness.journal, harness.config, incident, about)


def said(harness: PipelineHarness, number: int = 1) -> Message:
    return head(harness, number).message


def answers(message: Message) -> list[str]:
    return [button.answer for button in message.buttons]


def begin_step(harness: PipelineHarness, run: PlanRun, phase: str, level: int, say: str, n: int = 0) -> None:
    with harness.journal.transaction() as tx:
        row = Step(run.id, phase, level, n, say, "started", None, "", harness.now, None, None, None)  # type: ignore[arg-type]
        tx.runs.start_step(row)
        tx.runs.update_run(run.id, status="running", **({"level": level} if phase == "level" else {}))  # type: ignore[arg-type]


def end_step(harness: PipelineHarness, run: PlanRun, level: int) -> None:
    (row,) = [row for row in harness.journal.runs.list_steps(run.id) if (row.phase, row.level) == ("level", level)]
    with harness.journal.transaction() as tx:
        tx.runs.end_step(row.id, "done", "", harness.now)
        tx.runs.update_run(run.id, acted=harness.now)


def test_the_title_says_the_state_by_symbol_and_by_word_and_value_against_limit(harness: PipelineHarness) -> None:
    harness.rounds(1, error_ratio=0.123)

    message = said(harness)
    assert message.title == "🟠 bot: errors 12.3 % above 5 % — tripped"
    assert message.severity == "warn"
    assert message.lines[0] == "since 2023-11-14 22:13 UTC"
    assert answers(message) == ["ack 1", "silence 1 1h", "hold 1 2h", "chart 1"]


def test_each_state_of_a_ladder_is_seen_in_the_title(harness: PipelineHarness) -> None:
    harness.rounds(4, error_ratio=0.123)
    (run,) = harness.runs
    seen = [said(harness).title]
    begin_step(harness, run, "level", 0, "set FEATURE = false in config.py")
    seen.append(said(harness).title)
    assert "next 1" in answers(said(harness))
    end_step(harness, run, 0)
    seen.append(said(harness).title)
    begin_step(harness, run, "level", 1, "set MODEL = 1 in config.py")
    seen.append(said(harness).title)
    assert "ladder: set MODEL = 1 in config.py" in said(harness).lines
    assert "next 1" not in answers(said(harness))  # there is none behind it
    end_step(harness, run, 1)
    seen.append(said(harness).title)
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run.id, status="watching", watch_until=harness.now + 10 * MINUTE)
    seen.append(said(harness).title)
    harness.end_run(harness.runs[0], "proven", level=1)
    harness.rounds(5, error_ratio=0.01)
    seen.append(said(harness).title)

    assert seen == [
        f"🔴 bot: {ERRORS} — ladder is about to start",
        f"🔴 bot: {ERRORS} — rolling back, level 1 of 2 (feature)",
        f"🟡 bot: {ERRORS} — verifying, level 1 of 2 (feature)",
        f"🔴 bot: {ERRORS} — rolling back, level 2 of 2 (version)",
        f"🟡 bot: {ERRORS} — verifying, level 2 of 2 (version)",
        f"🟡 bot: {ERRORS} — level version helped, watched until 2023-11-14 22:23 UTC",
        f"✅ bot: {ERRORS} — recovered after 4 s, level version of ladder helped",
    ]
    last = head(harness)
    assert last.is_final
    assert last.message.buttons == ()
    assert last.message.severity == "info"
    assert all(title.startswith(STATE_SYMBOLS) for title in seen)


def test_why_a_level_did_not_help_stands_below_the_next_one(harness: PipelineHarness) -> None:
    harness.rounds(4, error_ratio=0.123)
    (run,) = harness.runs
    begin_step(harness, run, "level", 0, "set FEATURE = false in config.py")
    end_step(harness, run, 0)
    with harness.journal.transaction() as tx:
        tx.timeline.add_event(
            "plan", "ladder: level feature starts: set FEATURE", harness.now, incident=1, run=run.id, target="bot"
        )
        why = "ladder: level feature disproven: errors 13 % is above 10 %"
        tx.timeline.add_event("plan", why, harness.now, incident=1, run=run.id, target="bot")
    begin_step(harness, run, "level", 1, "set MODEL = 1 in config.py")

    assert "level feature disproven: errors 13 % is above 10 %" in said(harness).lines


def test_a_plan_that_waits_says_until_when_and_what_it_would_do_and_can_be_approved(harness: PipelineHarness) -> None:
    harness.rounds(4, error_ratio=0.123)
    (run,) = harness.runs
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run.id, approve_by=harness.now + 10 * MINUTE)

    message = said(harness)
    assert message.title == f"✋ bot: {ERRORS} — ladder waits for approval until 2023-11-14 22:23 UTC"
    assert "ladder: level feature: set FEATURE = false in config.py" in message.lines
    assert answers(message)[:3] == ["approve 1", "deny 1", "ack 1"]
    assert [button.style for button in message.buttons if button.style == "primary"] == ["primary"]

    harness.requests.decide_approval(run.id, True, "ann: go on", harness.now)
    message = said(harness)
    assert "approve 1" not in answers(message)
    assert "ladder approved by ann: go on" in message.lines


def test_who_is_on_it_stands_there_and_the_button_goes(harness: PipelineHarness) -> None:
    harness.rounds(1, error_ratio=0.123)

    harness.requests.acknowledge(1, "ann", "the exchange has an outage", harness.now)
    harness.requests.acknowledge(1, "bob", None, harness.now)
    message = said(harness)

    assert "ann is on it: the exchange has an outage" in message.lines
    assert "bob is on it" in message.lines
    assert "ack 1" not in answers(message)


def test_a_silence_and_a_hold_stand_there_with_who_and_can_not_be_asked_for_twice(harness: PipelineHarness) -> None:
    harness.rounds(1, error_ratio=0.123)

    harness.requests.silence_rule("errors", 60 * MINUTE, "ann: known", harness.now)
    harness.requests.hold_target("bot", 120 * MINUTE, "bob: no reason given", harness.now)
    message = said(harness)

    assert "errors is not told for 1 h by ann: known" in message.lines
    assert "no repairs on bot for 2 h by bob" in message.lines
    assert answers(message) == ["ack 1", "chart 1"]

    harness.requests.silence_rule("errors", None, "ann: done", harness.now)
    assert "silence 1 1h" in answers(said(harness))


def test_a_refused_plan_is_seen_in_the_title_and_why_below_it(harness: PipelineHarness) -> None:
    harness.requests.hold_target("bot", 120 * MINUTE, "bob: deploying", harness.now)
    harness.rounds(4, error_ratio=0.123)

    message = said(harness)
    assert message.title == f"🔴 bot: {ERRORS} — tripped, ladder is not started"
    assert any(line.startswith("ladder is not started: ") and "bob" in line for line in message.lines)


def test_a_halt_latches_and_the_head_stays_alive_until_a_person_resumes(harness: PipelineHarness) -> None:
    harness.rounds(3, equity=800)
    (run,) = harness.runs
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    begin_step(harness, run, "level", 0, "set TRADING = false in config.py")
    assert said(harness).title == "🔴 bot: drawdown 20 % at least 10 % — making safe (no-entries)"
    end_step(harness, run, 0)
    harness.end_run(run, "proven")
    assert said(harness).title == "🔒 bot: drawdown 20 % at least 10 % — latched, halt proven"
    assert "resume 1" in answers(said(harness))

    harness.rounds(3, equity=1_000)
    closed = head(harness)
    assert closed.message.title.startswith("🔒 bot: drawdown 20 % at least 10 % — recovered after ")
    assert closed.message.title.endswith(", latched")
    assert not closed.is_final
    assert answers(closed.message) == ["resume 1"]

    harness.requests.resume_target("bot", "ann: the feed is back", harness.now)
    resumed = head(harness)
    assert resumed.is_final
    assert resumed.message.title.startswith("✅ ")
    assert "resumed by ann: the feed is back" in resumed.message.lines
    assert resumed.message.buttons == ()


def test_a_latch_offers_no_resume_while_a_plan_is_at_work(harness: PipelineHarness) -> None:
    harness.rounds(3, equity=800)
    (run,) = harness.runs
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    begin_step(harness, run, "level", 0, "set TRADING = false in config.py")

    assert "resume 1" not in answers(said(harness))


def test_what_has_helped_is_not_told_as_tripped_while_its_rule_is_not_quiet_for_long_enough(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, RULES_YAML.replace("warn: {above: 5%}, crit: {", "crit: {clear_for: 1h, "))
    harness.rounds(4, error_ratio=0.123)
    (run,) = harness.runs
    harness.end_run(run, "proven", level=1)
    harness.rounds(2, error_ratio=0.01)

    assert said(harness).title == f"🟡 bot: {ERRORS} — level version of ladder helped"
    assert not head(harness).is_final
    harness.journal.close()


def test_stages_back_to_work_are_seen_one_by_one(tmp_path: Path) -> None:
    stages = """    recover:
      - {name: paper, steps: [{do: flag, file: config.py, set: {PAPER: true}}], verify: {quiet: 1s}}
      - {name: live, steps: [{do: flag, file: config.py, set: {PAPER: false}}], verify: {quiet: 1s}}
"""
    rules = RULES_YAML.replace("    exhausted: halt\n", "    exhausted: halt\n" + stages)
    harness = PipelineHarness(tmp_path, rules)
    harness.rounds(4, error_ratio=0.123)
    (run,) = harness.runs
    begin_step(harness, run, "level", 0, "set FEATURE = false in config.py")
    end_step(harness, run, 0)
    begin_step(harness, run, "proven", 0, "set TRADING = true in config.py")
    assert said(harness).title.endswith("— level feature helped")
    begin_step(harness, run, "recover", 0, "set PAPER = true in config.py")
    assert said(harness).title.endswith("— going back to work, stage 1 of 2 (paper)")
    begin_step(harness, run, "recover", 1, "set PAPER = false in config.py")
    assert said(harness).title.endswith("— going back to work, stage 2 of 2 (live)")
    harness.now += SECOND
    begin_step(harness, run, "back", 1, "config.py as it was")
    assert said(harness).title.endswith("— stage live goes back")
    harness.journal.close()


def test_the_example_of_the_page_is_what_is_said(tmp_path: Path) -> None:
    rules = """\
targets:
  bot: {repo: /srv/bot}
kpis:
  drawdown: {expr: drawdown, unit: ratio}
rules:
  - {name: drawdown, kpi: drawdown, target: bot, crit: {above: 10%, for: 1s, plan: ladder}}
plans:
  ladder:
    kind: repair
    mode: auto
    exhausted: leave-running
    verify: {quiet: 1s}
    levels:
      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}
      - {name: version, steps: [{do: flag, file: config.py, set: {MODEL: 1}}]}
      - {name: stop, steps: [{do: flag, file: config.py, set: {TRADING: false}}]}
"""
    harness = PipelineHarness(tmp_path, rules)
    harness.rounds(2, drawdown=0.01)
    harness.rounds(3, drawdown=0.123)
    (run,) = harness.runs
    begin_step(harness, run, "level", 0, "set FEATURE = false in config.py")
    end_step(harness, run, 0)
    with harness.journal.transaction() as tx:
        why = "ladder: level feature disproven: drawdown 12.5 % is above 10 %"
        tx.timeline.add_event("plan", why, harness.now, incident=1, run=run.id, target="bot")
    begin_step(harness, run, "level", 1, "set MODEL = 1 in config.py")
    harness.requests.acknowledge(1, "ann", "the exchange has an outage", harness.now)

    message = said(harness)
    page = (Path(__file__).parents[2] / "docs" / "chat.md").read_text()
    example = page.partition("```text\n🔴")[2].partition("```")[0].splitlines()
    words = [message.title.removeprefix("🔴"), *message.lines]
    assert [line for line in example if line.startswith(("since ", "incident "))] == [example[1], example[-1]]
    assert [example[0], *example[2:-1]] == [words[0], *words[2:-1]]
    harness.journal.close()


def test_a_resume_that_ends_an_incident_is_no_recovery(harness: PipelineHarness) -> None:
    harness.rounds(3, equity=800)
    (run,) = harness.runs
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    harness.end_run(run, "proven")
    harness.rounds(1)

    harness.requests.resume_target("bot", "ann: it was planned", harness.now)

    ended = head(harness)
    assert ended.is_final
    assert ended.message.title.startswith("⚪ bot: drawdown 20 % at least 10 % — ended after ")
    assert ended.message.title.endswith("resumed by ann: it was planned")


def test_a_rule_that_is_taken_away_is_no_recovery(harness: PipelineHarness) -> None:
    harness.rounds(1, error_ratio=0.123)
    rules = RULES_YAML.replace("  - {name: errors, ", "  - {name: other, ")
    harness.reload(rules)
    harness.rounds(1, error_ratio=0.01)

    ended = head(harness)
    assert ended.is_final
    assert ended.message.title.startswith("⚪ bot: errors 12.3 % above 5 % — ended after ")
    assert "its rule was removed" in ended.message.title


def test_nothing_in_it_moves_while_nothing_happens(harness: PipelineHarness) -> None:
    harness.rounds(4, error_ratio=0.123)
    before = said(harness)

    harness.rounds(90, error_ratio=0.124)

    assert said(harness) == before


def test_a_label_set_that_is_alone_says_nothing_and_one_of_several_says_which(tmp_path: Path) -> None:
    rules = RULES_YAML.replace(
        "  - {name: drawdown,", "  - {name: pairs, kpi: pairs, target: bot, warn: {below: 40}}\n  - {name: drawdown,"
    )
    harness = PipelineHarness(tmp_path, rules)
    harness.labelled_series = [("left", (("side", "buy"),), 30.0), ("right", (("side", "buy"),), 100.0)]
    harness.rounds(1)
    assert not any("side" in line for line in said(harness).lines)

    harness.labelled_series = [
        *(("left", (("side", side),), value) for side, value in (("buy", 30.0), ("sell", 20.0))),
        *(("right", (("side", side),), 100.0) for side in ("buy", "sell")),
    ]
    harness.rounds(1)
    assert said(harness).lines[:2] == (
        "pairs: pairs 30 is below 40 (side=buy)",
        "pairs: pairs 20 is below 40 (side=sell)",
    )
    harness.journal.close()


def test_what_its_rule_says_in_words_and_its_baseline_stand_below(tmp_path: Path) -> None:
    rules = RULES_YAML.replace(
        "errors: {expr: error_ratio, unit: ratio}", "errors: {expr: error_ratio, unit: ratio, baseline: 2%}"
    ).replace(
        "warn: {above: 5%}, crit",
        'summary: "{{name}} for {{duration}}: {{value}}", runbook: "https://wiki/errors", warn: {above: 3x baseline}, crit',
    )
    harness = PipelineHarness(tmp_path, rules)
    harness.rounds(2, error_ratio=0.08)

    message = said(harness)
    assert message.title == "🟠 bot: errors 8 % above 6 % — tripped"
    assert message.lines[0] == "errors: errors 8 % is above 6 % (baseline 2 %)"
    assert any(line.startswith("errors for ") and line.endswith(": 8 %") for line in message.lines)
    assert "https://wiki/errors" in message.lines
    assert message.lines[-1].startswith("incident 1 on ")
    harness.journal.close()


def test_several_rules_stand_each_on_a_line_and_those_that_have_recovered_say_so(harness: PipelineHarness) -> None:
    harness.rounds(1, error_ratio=0.07, tick_age=70)
    harness.rounds(1, tick_age=1)

    lines = said(harness).lines
    assert "errors: errors 7 % is above 5 %" in lines
    assert any(line.startswith("no-ticks: ") and line.endswith(" – has recovered") for line in lines)


def test_a_long_condition_leaves_the_state_in_sight(tmp_path: Path) -> None:
    condition = " or ".join(f"error_ratio > 0.{number}" for number in range(1, 9))
    rules = RULES_YAML.replace(
        "warn: {above: 5%}, crit: {above: 10%, for: 2s, plan: ladder}", f'warn: {{expr: "{condition}"}}'
    )
    harness = PipelineHarness(tmp_path, rules)
    harness.rounds(2, error_ratio=0.95)

    title = said(harness).title
    assert title.endswith("… — tripped")
    assert len(title) < 130
    harness.journal.close()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"levels": 3}', '{"levels": [{}]}'])
def test_a_plan_of_another_version_is_told_as_far_as_it_can_be_read(harness: PipelineHarness, text: str) -> None:
    harness.rounds(4, error_ratio=0.123)
    (run,) = harness.runs
    harness.journal.query("UPDATE run SET text = ? WHERE id = ?", text, run.id)
    begin_step(harness, run, "level", 1, "set MODEL = 1 in config.py")

    assert said(harness).title == f"🔴 bot: {ERRORS} — rolling back (2)"
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run.id, status="queued", approve_by=harness.now + SECOND)
    assert "waits for approval" in said(harness).title


def test_what_others_wrote_is_one_line_and_answers_hold_numbers_alone(harness: PipelineHarness) -> None:
    harness.rounds(4, error_ratio=0.123)
    harness.requests.acknowledge(1, "ann", "one\ntwo \u202e <b>x</b>", harness.now)

    message = said(harness)
    assert "ann is on it: one\\ntwo \\u202e <b>x</b>" in message.lines
    for button in message.buttons:
        assert button.answer.isascii()
        assert len(to_json(button.answer)) <= 62


def test_an_incident_whose_target_no_file_names_offers_nothing_that_would_be_refused(harness: PipelineHarness) -> None:
    harness.rounds(1, error_ratio=0.123)
    incident = harness.incident
    assert incident is not None
    nothing = replace(harness.config, targets={}, rules_by_target={})

    assert answers(describe_head(harness.journal, nothing, incident).message) == ["ack 1"]
