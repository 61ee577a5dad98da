"""From samples to incidents, plans and messages: what is recorded, what is refused, and what people are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MINUTE, RULES_YAML, SECOND, PipelineHarness
from watchdog.core.model import Message, Millis
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.message_writer import SqlMessageWriter


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path)
    yield made
    made.journal.close()


def queued_runs(harness: PipelineHarness) -> list[tuple[str, str, int]]:
    return [(run.plan, run.by, run.level) for run in harness.runs]


# ─ an incident ─


def test_an_incident_opens_with_the_first_trip_is_joined_by_others_and_closes_when_all_is_quiet(
    harness: PipelineHarness,
) -> None:
    harness.rounds(3)
    assert harness.incident is None

    harness.round(error_ratio=0.07)
    opened = harness.incident
    assert opened is not None
    assert (opened.severity, opened.title.startswith("errors: errors 7 %")) == ("warn", True)

    harness.rounds(3, error_ratio=0.5)
    assert harness.incident is not None
    assert harness.incident.title.startswith("errors: errors 50 %")  # the worst that it saw
    assert (harness.incident.id, harness.incident.severity) == (opened.id, "crit")
    assert queued_runs(harness) == [("ladder", "rule errors", 0)]

    harness.rounds(2, error_ratio=0.01)
    assert harness.incident is not None  # its plan is still at work
    harness.end_run(harness.runs[0], "proven")
    harness.round()

    assert harness.incident is None
    assert harness.message_titles() == [
        "bot: errors tripped",
        "bot: errors tripped",
        "bot: incident 1 closed after 6 s: level feature of ladder helped",
    ]
    assert [trip.cleared is not None for trip in harness.journal.incidents.list_trips(opened.id)] == [True, True]


def test_a_channel_hears_what_it_wants_to_hear_and_the_end_of_what_it_heard(harness: PipelineHarness) -> None:
    harness.rounds(2, error_ratio=0.07)
    assert harness.message_titles("pager") == []

    harness.rounds(4, error_ratio=0.5)
    harness.end_run(harness.runs[0], "proven")
    harness.rounds(2, error_ratio=0.01)

    assert harness.message_titles("pager") == [
        "bot: errors tripped",
        "bot: errors recovered, incident 1 closed after 6 s: level feature of ladder helped",
    ]


def test_a_trip_its_plan_and_its_messages_are_one_transaction(
    harness: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written as a whole is not written at all, and is seen anew in the next round."""
    harness.rounds(3)
    real = SqlMessageWriter.enqueue

    def full(*_: object) -> None:
        raise JournalUnavailableError("database or disk is full", "full")

    monkeypatch.setattr(SqlMessageWriter, "enqueue", full)
    with pytest.raises(JournalUnavailableError):
        harness.round(equity=800)
    assert harness.incident is None
    assert harness.runs == []
    assert harness.journal.machines.list_machines() is not None

    monkeypatch.setattr(SqlMessageWriter, "enqueue", real)
    harness.round()

    assert queued_runs(harness) == [("halt", "rule drawdown", 0)]
    assert "bot: drawdown tripped" in harness.message_titles()


def test_what_could_not_be_written_when_sources_died_is_said_later(
    harness: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.rounds(2)
    harness.lost_sources = {"bot", "host"}
    harness.rounds(30)
    monkeypatch.setattr(harness.journal, "transaction", _raise_locked)
    with pytest.raises(JournalUnavailableError):
        harness.rounds(5)
    monkeypatch.undo()

    harness.round()

    assert harness.message_titles().count("blind: no source delivers") == 1


def _raise_locked() -> None:
    raise JournalUnavailableError("database is locked", "busy")


# ─ expressions that fail ─


def test_an_expression_that_fails_on_the_data_is_an_error_of_its_own_rule_alone(tmp_path: Path) -> None:
    rules = RULES_YAML.replace(
        "plans:", "  - {name: pairs, kpi: pairs, target: bot, crit: {above: 1}}\nplans:"
    ).replace("sum by (side) (left) / sum by (side) (right)", "left / on(side) right")
    harness = PipelineHarness(tmp_path, rules)
    for pair in ("btc", "eth"):
        harness.labelled_series += [(name, (("pair", pair), ("side", "long")), 1.0) for name in ("left", "right")]
    harness.rounds(3)

    (verdict,) = [machine for key, machine in harness.pipeline.machines.items() if key.rule == "pairs"]
    assert verdict.outcome == "error"
    assert "several series" in verdict.reason
    harness.rounds(2, equity=800)
    assert queued_runs(harness) == [("halt", "rule drawdown", 0)]
    harness.journal.close()


def test_a_condition_that_fails_on_the_data_cannot_be_told(harness: PipelineHarness) -> None:
    for pair in ("btc", "eth"):
        harness.labelled_series += [(name, (("pair", pair), ("side", "long")), 1.0) for name in ("left", "right")]
    harness.rounds(2)

    assert harness.pipeline.condition_holds("left / on(side) right > 0", harness.now) is None
    assert harness.pipeline.condition_holds("alive == 1", harness.now) is True
    assert harness.pipeline.condition_holds("alive == 0", harness.now) is False
    assert harness.pipeline.condition_holds("nobody_knows == 0", harness.now) is None


# ─ refusals ─


def test_a_refusal_is_told_once_a_reason_in_each_incident(harness: PipelineHarness) -> None:
    harness.rounds(3)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    for _ in range(2):
        harness.rounds(10, error_ratio=0.5)
        harness.rounds(5, error_ratio=0.01)

    assert harness.runs == []
    assert [text.split()[0] for text in harness.refusal_reasons()] == ["latched", "latched"]
    rows = harness.journal.query("SELECT lines FROM message WHERE title LIKE '%is not started' AND channel = 'chat'")
    for row in rows:
        assert 'trading-watchdog resume bot --reason "…"' in json.loads(row["lines"])  # as it can be typed


def test_only_repairs_that_rules_started_use_up_a_budget(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, RULES_YAML.replace("[2 per 1h]", "[3 per 1h]"))
    harness.rounds(2)
    earlier = [
        ("ladder", "repair", "rule errors", "ladder"),
        ("ladder", "repair", "rule errors", "ladder"),
        ("undo 1", "repair", "person ann", "undo"),
        ("halt", "halt", "rule drawdown", "ladder"),
        ("halt", "halt", "rule drawdown", "ladder"),
    ]
    with harness.journal.transaction() as tx:
        for plan, kind, by, part in earlier:
            run = tx.runs.queue_run(
                incident=None,
                target="bot",
                plan=plan,
                kind=kind,
                text="{}",
                place="{}",
                by=by,
                now=harness.now - 20 * MINUTE,
                part=part,  # type: ignore[arg-type]
            )
            tx.runs.update_run(run, status="ended", outcome="proven", ended=harness.now - 10 * MINUTE)

    harness.rounds(5, error_ratio=0.5)

    assert harness.refusal_reasons() == []
    assert queued_runs(harness)[-1] == ("ladder", "rule errors", 0)


def test_the_budget_is_counted_over_restarts(harness: PipelineHarness) -> None:
    for number in range(2):
        harness.rounds(5, error_ratio=0.5)
        assert len(harness.runs) == number + 1
        harness.end_run(harness.runs[-1], "proven")
        harness.rounds(2, error_ratio=0.01)
        harness.restart(2 * MINUTE)

    harness.rounds(6, error_ratio=0.5)

    assert len(harness.runs) == 2
    assert harness.refusal_reasons() == ["the budget of 2 per 1h is used up for another 55 m 46 s"]
    harness.rounds(1, equity=800)
    assert queued_runs(harness)[-1] == ("halt", "rule drawdown", 0)


def test_after_the_cooldown_a_repair_that_is_still_wanted_starts(harness: PipelineHarness) -> None:
    harness.rounds(5, error_ratio=0.5)
    harness.end_run(harness.runs[-1], "proven")
    harness.rounds(3, error_ratio=0.01)
    harness.rounds(10, error_ratio=0.5)
    assert len(harness.runs) == 1
    assert "cooldown is 1 m" in harness.refusal_reasons()[0]

    harness.rounds(60)

    assert len(harness.runs) == 2


def test_while_somebody_elses_deployment_settles_repairs_wait_and_halts_do_not(harness: PipelineHarness) -> None:
    harness.rounds(3)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", unsettled=harness.now)
    harness.rounds(10, error_ratio=0.5)
    assert harness.runs == []
    assert "settling for another" in harness.refusal_reasons()[0]

    harness.rounds(2, equity=800)

    assert queued_runs(harness) == [("halt", "rule drawdown", 0)]


def test_a_clock_that_is_set_back_keeps_nothing_waiting_for_a_time_that_was_wrong(harness: PipelineHarness) -> None:
    right, harness.now = harness.now, harness.now + 5 * 60 * MINUTE  # until the network says what time it is
    harness.rounds(3, equity=2_000)
    harness.pipeline.resume("bot", "ann", harness.now)
    harness.rounds(3, equity=1_200)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", unsettled=harness.now)
        tx.messages.enqueue(Message("warn", "written by the wrong clock"), ["chat"], harness.now)
        tx.suppressions.add_suppression("hold", "bot", harness.now + 5 * MINUTE, "ann", harness.now)

    harness.set_clock(right - harness.now)
    harness.rounds(3)
    assert harness.journal.messages.next_due()["chat"] <= harness.now
    harness.now += 11 * MINUTE
    harness.pipeline.handle_standstill(harness.now - 11 * MINUTE, harness.now)
    harness.rounds(10, error_ratio=0.5)
    assert [run.plan for run in harness.runs] == ["ladder"]
    assert harness.journal.suppressions.find_active("hold", "bot", harness.now) is None

    harness.restart()
    harness.rounds(3, equity=1_100)
    assert not harness.is_firing("drawdown")  # 2000 was before the resume
    harness.rounds(3, equity=1_070)
    assert harness.is_firing("drawdown")  # 1200 was seen after it, whatever the time was


def test_while_a_freshness_rule_fires_no_repair_starts(harness: PipelineHarness) -> None:
    harness.rounds(3)
    harness.rounds(10, error_ratio=0.5, tick_age=61)

    assert harness.runs == []
    assert harness.refusal_reasons() == ["blind: no-ticks fires"]
    harness.rounds(2, tick_age=1)
    assert queued_runs(harness) == [("ladder", "rule errors", 0)]


def test_missing_data_trips_a_freshness_rule_and_starts_no_repair(harness: PipelineHarness) -> None:
    harness.rounds(3)
    harness.rounds(20, error_ratio=float("nan"), tick_age=float("nan"))

    assert harness.is_firing("no-ticks")
    assert not harness.is_firing("errors")
    assert harness.runs == []


def test_a_rule_sleeps_while_its_condition_is_not_so_and_its_clock_stands_still(harness: PipelineHarness) -> None:
    harness.rounds(3, market_open=0)
    harness.rounds(30, tick_age=float("nan"))
    assert not harness.is_firing("no-ticks")

    harness.rounds(8, market_open=1)
    assert not harness.is_firing("no-ticks")
    harness.rounds(8)
    assert harness.is_firing("no-ticks")

    harness.rounds(5, market_open=0, tick_age=1)
    assert harness.is_firing("no-ticks")  # asleep: its state is held
    harness.rounds(2, market_open=1)
    assert not harness.is_firing("no-ticks")


def test_no_plan_starts_before_this_process_has_seen_the_bot(harness: PipelineHarness) -> None:
    harness.rounds(3)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", unsettled=harness.now)
    harness.rounds(5, error_ratio=0.5)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", unsettled=None)
    harness.lost_sources = {"bot"}
    harness.restart(MINUTE)

    harness.rounds(8)
    assert harness.runs == []
    assert harness.is_firing("errors")
    harness.lost_sources = set()
    harness.rounds(1)

    assert queued_runs(harness) == [("ladder", "rule errors", 0)]


# ─ halts ─


def test_of_two_plans_that_trip_in_one_round_the_halt_goes_first_and_the_repair_is_refused(
    harness: PipelineHarness,
) -> None:
    harness.rounds(3)
    harness.rounds(2, error_ratio=0.5)
    harness.round(equity=800)

    assert queued_runs(harness) == [("halt", "rule drawdown", 0)]
    assert harness.refusal_reasons() == ["a halt has already made this incident safe"]


def test_a_halt_is_queued_whatever_refuses_a_repair(harness: PipelineHarness) -> None:
    harness.rounds(3)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="by hand", unsettled=harness.now)
    harness.rounds(3, equity=800, tick_age=61)

    assert queued_runs(harness) == [("halt", "rule drawdown", 0)]


def test_a_rule_that_trips_again_after_its_halt_halts_again(harness: PipelineHarness) -> None:
    harness.rounds(3)
    harness.rounds(2, equity=800)
    harness.end_run(harness.runs[0], "proven")
    harness.rounds(3)
    assert len(harness.runs) == 1

    harness.rounds(3, equity=1_000)
    harness.rounds(2, equity=800)

    assert [run.plan for run in harness.runs] == ["halt", "halt"]


# ─ levels ─


def test_a_rule_that_trips_again_in_the_incident_goes_on_at_the_next_level_and_never_back(
    harness: PipelineHarness,
) -> None:
    harness.rounds(1, error_ratio=0.07)
    harness.rounds(5, error_ratio=0.5)
    harness.end_run(harness.runs[0], "proven", level=0)
    harness.rounds(61, error_ratio=0.07)
    harness.rounds(5, error_ratio=0.5)
    assert queued_runs(harness)[1:] == [("ladder", "rule errors", 1)]
    harness.end_run(harness.runs[1], "not-needed", level=1)
    harness.rounds(61, error_ratio=0.07)

    harness.rounds(5, error_ratio=0.5)
    assert queued_runs(harness)[2:] == [("ladder", "rule errors", 1)]
    harness.end_run(harness.runs[2], "proven", level=1)
    harness.rounds(61, error_ratio=0.07)
    harness.rounds(5, error_ratio=0.5)

    assert len(harness.runs) == 3


def test_a_relapse_that_began_while_the_watch_was_ending_is_acted_upon(harness: PipelineHarness) -> None:
    """The run saw a proof and the end of its watch; the rule had tripped again just before that end."""
    harness.rounds(5, error_ratio=0.5)
    harness.rounds(3, error_ratio=0.01)
    proven = harness.now
    harness.rounds(4, error_ratio=0.5)
    assert harness.is_firing("errors")
    harness.end_run(harness.runs[0], "proven", acted_at=proven)

    harness.rounds(62)

    assert queued_runs(harness)[1:] == [("ladder", "rule errors", 1)]


def test_a_rule_that_has_not_recovered_since_before_the_repair_is_no_relapse(harness: PipelineHarness) -> None:
    """It looks back over hours, the proof did not: what it still sees is what was repaired."""
    harness.rounds(5, error_ratio=0.5)
    acted = harness.now
    harness.rounds(5)
    harness.end_run(harness.runs[0], "proven", acted_at=acted)

    harness.rounds(70)

    assert len(harness.runs) == 1


# ─ restart, reload, resume ─


def test_what_fires_goes_on_firing_over_a_restart_and_no_second_incident_opens(harness: PipelineHarness) -> None:
    harness.rounds(5, error_ratio=0.5)
    harness.restart(10 * MINUTE)
    assert harness.is_firing("errors")

    harness.rounds(5)

    assert len(harness.runs) == 1
    assert len(harness.journal.incidents.list_incidents()) == 1


def test_half_of_a_patience_is_kept_over_a_restart_and_downtime_adds_nothing(harness: PipelineHarness) -> None:
    harness.rounds(3)
    harness.round(error_ratio=0.5)
    harness.restart(10 * MINUTE)
    harness.round()
    assert harness.runs == []

    harness.round()

    assert len(harness.runs) == 1


def test_a_rule_that_fires_and_moves_to_another_target_trips_there(tmp_path: Path) -> None:
    rules = RULES_YAML.replace("kpis:", "  other: {repo: /srv/other}\nkpis:")
    harness = PipelineHarness(tmp_path, rules)
    harness.rounds(2)
    harness.rounds(3, equity=800)
    harness.end_run(harness.runs[0], "proven")
    harness.reload(rules.replace("kpi: drawdown, target: bot", "kpi: drawdown, target: other"))

    harness.rounds(3)

    assert harness.incident is None
    assert [(run.target, run.plan) for run in harness.runs] == [("bot", "halt"), ("other", "halt")]
    harness.journal.close()


def test_a_rule_that_is_gone_leaves_no_incident_open(harness: PipelineHarness) -> None:
    harness.rounds(3, error_ratio=0.07)
    harness.reload("\n".join(line for line in RULES_YAML.splitlines() if "name: errors" not in line))

    harness.rounds(2)

    assert harness.incident is None


def test_a_resumed_target_starts_anew(harness: PipelineHarness) -> None:
    harness.rounds(3)
    harness.rounds(3, equity=800)
    harness.end_run(harness.runs[0], "proven")
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    assert harness.is_firing("drawdown")

    granted = harness.requests.resume_target("bot", "ada: withdrew 200", harness.now)
    harness.rounds(3)

    assert granted == (True, "bot resumed; its rules are judged anew")
    assert not harness.is_firing("drawdown")  # its peak is what was seen since
    assert harness.incident is None
    assert harness.journal.targets.get_state("bot", harness.now).latched is None
    assert "bot: resumed" in harness.message_titles()
    harness.rounds(2, equity=700)
    assert len(harness.runs) == 2


def test_a_target_that_is_resumed_while_it_is_still_bad_trips_again(harness: PipelineHarness) -> None:
    harness.rounds(5, error_ratio=0.5)
    harness.end_run(harness.runs[0], "exhausted", level=1)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="ladder exhausted")
    assert harness.requests.resume_target("bot", "ada", harness.now)[0]

    harness.rounds(61)

    assert queued_runs(harness)[1:] == [("ladder", "rule errors", 0)]


def test_nobody_resumes_what_is_not_seen_or_where_a_plan_is_at_work(harness: PipelineHarness) -> None:
    harness.rounds(5, error_ratio=0.5)
    assert (
        harness.requests.resume_target("bot", "ada", harness.now)[1]
        == "plan ladder is at work on bot: wait for its end"
    )
    harness.end_run(harness.runs[0], "exhausted")
    harness.lost_sources = {"bot"}
    harness.rounds(10)

    ok, why = harness.requests.resume_target("bot", "ada", harness.now)

    assert not ok
    assert why.startswith("not while data is stale: ")
    assert not harness.requests.resume_target("bto", "ada", harness.now)[0]


# ─ blind ─


def test_people_are_paged_once_when_nothing_is_seen_and_told_when_it_is_again(harness: PipelineHarness) -> None:
    harness.rounds(3)
    harness.lost_sources = {"bot"}
    harness.rounds(60)
    assert "blind: no source delivers" not in harness.message_titles()

    harness.lost_sources = {"bot", "host"}
    harness.rounds(60)
    harness.lost_sources = {"bot"}
    harness.rounds(3)

    blind = [title for title in harness.message_titles("pager") if "deliver" in title]
    assert blind == ["blind: no source delivers", "sources deliver again"]
    assert harness.runs == []


# ─ peaks ─


def test_a_drawdown_is_measured_from_its_true_peak_after_a_restart(harness: PipelineHarness) -> None:
    harness.rounds(3)
    harness.rounds(2, equity=1_200)
    harness.rounds(3, equity=1_100)
    harness.restart(10 * MINUTE)
    harness.rounds(2, equity=1_090)
    assert harness.runs == []

    harness.rounds(2, equity=1_070)  # 10.8 % under the peak that only the journal remembers

    assert queued_runs(harness) == [("halt", "rule drawdown", 0)]


def test_a_peak_that_could_not_be_written_is_written_in_the_next_round(
    harness: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.rounds(3)
    monkeypatch.setattr(harness.journal, "transaction", _raise_locked)
    with pytest.raises(JournalUnavailableError):
        harness.round(equity=1_200)
    monkeypatch.undo()
    harness.values["equity"] = float("nan")
    harness.rounds(1)

    harness.restart()
    harness.rounds(3, equity=1_070)

    assert queued_runs(harness) == [("halt", "rule drawdown", 0)]


# ─ people ─


def answer_request(harness: PipelineHarness, kind: str, age: Millis = SECOND, **args: str | None) -> tuple[bool, str]:
    with harness.journal.transaction() as tx:
        number = tx.requests.add_request(kind, dict(args), "ada", harness.now - age)
    (asked,) = [one for one in harness.journal.requests.list_unanswered() if one.id == number]
    return harness.requests.answer(asked, harness.now)


def test_a_person_starts_a_plan_at_any_level_and_budgets_do_not_count_it(harness: PipelineHarness) -> None:
    harness.rounds(3)

    ok, run = answer_request(harness, "rollback", plan="ladder", target=None, level="version", reason="looks bad")

    assert (ok, run) == (True, "1")
    assert queued_runs(harness) == [("ladder", "person ada: looks bad", 1)]
    assert harness.journal.runs.list_recent_automatic("bot", 0) == []


def test_a_latch_refuses_a_persons_repair_and_not_a_persons_halt(harness: PipelineHarness) -> None:
    harness.rounds(3)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="ladder exhausted")

    refused = answer_request(harness, "rollback", plan="ladder", target="bot")
    granted = answer_request(harness, "rollback", plan="halt", target="bot")

    assert refused == (False, 'bot is latched (ladder exhausted): trading-watchdog resume bot --reason "…" first')
    assert granted[0]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"plan": "laddr"}, "there is no plan 'laddr' — did you mean ladder?"),
        ({"plan": "ladder", "level": "system"}, "plan ladder has no level 'system': feature, version"),
        ({"plan": "ladder", "target": "bto"}, "there is no target 'bto' — did you mean bot?"),
    ],
)
def test_what_cannot_be_started_is_refused_with_what_could_be(
    harness: PipelineHarness, args: dict[str, str], says: str
) -> None:
    assert answer_request(harness, "rollback", SECOND, **args) == (False, says)
    assert harness.runs == []


def test_a_request_that_lay_about_while_nobody_answered_is_not_carried_out(harness: PipelineHarness) -> None:
    harness.rounds(3)

    ok, why = answer_request(harness, "rollback", age=2 * MINUTE, plan="ladder", target="bot")

    assert (ok, why) == (False, "too old: whoever asked for it does not wait for it any more")
    assert harness.runs == []


def test_a_request_of_a_newer_command_line_is_refused_in_words(harness: PipelineHarness) -> None:
    assert answer_request(harness, "teleport") == (False, "this watchdog knows no request 'teleport'")
    assert answer_request(harness, "undo") == (False, "the request 'undo' lacks its incident")
    assert not answer_request(harness, "resume")[0]
    assert not answer_request(harness, "rollback")[0]
