"""What people ask for: granted or not, with who and why, and each with an end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline_harness import MINUTE, RULES_YAML, SECOND, PipelineHarness
from watchdog.app.requests import RequestHandler
from watchdog.app.status import build_status
from watchdog.journal.lock import StateLock
from watchdog.journal.requests import Request
from watchdog.offline.report import build
from watchdog.rollback.standing import StandingChange

HOUR = 60 * MINUTE
BAD_VALUES = {"error_ratio": 0.5}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path)
    made.rounds(2)
    yield made
    made.journal.close()


def answer_request(harness: PipelineHarness, kind: str, **args: Any) -> tuple[bool, str]:
    return harness.requests.answer(Request(1, harness.now, kind, {"reason": "migration", **args}, "ann"), harness.now)


def event_texts(harness: PipelineHarness) -> list[str]:
    return [row["text"] for row in harness.journal.query("SELECT text FROM event ORDER BY id")]


# ─ hold ─


def test_while_a_target_is_held_rules_start_no_repair_and_afterwards_they_do(harness: PipelineHarness) -> None:
    assert answer_request(harness, "hold", target="bot", **{"for": 10 * SECOND}) == (True, "no repairs on bot for 10 s")
    harness.rounds(5, **BAD_VALUES)

    assert harness.runs == []
    assert harness.refusal_reasons() == ["held by ann: migration, for another 7 s"]
    assert harness.is_firing("errors")

    for _ in range(8):
        harness.round()
        harness.requests.end_suppressions(harness.now)
    assert [run.plan for run in harness.runs] == ["ladder"]
    assert "hold on bot ended: its time is over" in event_texts(harness)


def test_a_hold_lets_halts_run_unless_it_says_all(harness: PipelineHarness) -> None:
    answer_request(harness, "hold", target="bot", **{"for": HOUR})
    harness.rounds(2, equity=800)
    assert [run.plan for run in harness.runs] == ["halt"]


def test_a_hold_of_all_refuses_halts_too_and_says_so_loudly(harness: PipelineHarness) -> None:
    answer_request(harness, "hold", target="bot", all=True, **{"for": HOUR})
    harness.rounds(2, equity=800)

    assert harness.runs == []
    assert any("halt is not started" in title for title in harness.message_titles())


def test_a_hold_survives_a_restart_and_ends_when_a_person_says_so(harness: PipelineHarness) -> None:
    answer_request(harness, "hold", target="bot", **{"for": HOUR})
    harness.restart()
    harness.rounds(5, **BAD_VALUES)
    assert harness.runs == []

    assert answer_request(harness, "hold", target="bot") == (True, "hold on bot ended")
    assert answer_request(harness, "hold", target="bot") == (False, "there is no hold on bot")
    harness.rounds(2)
    assert [run.plan for run in harness.runs] == ["ladder"]


@pytest.mark.parametrize(
    ("kind", "args", "why"),
    [
        ("hold", {"target": "bt", "for": HOUR}, "there is no target 'bt' — did you mean bot?"),
        ("silence", {"rule": "erors", "for": HOUR}, "there is no rule 'erors' — did you mean errors?"),
        ("hold", {"target": "bot", "for": 31 * 24 * HOUR}, "a hold lasts 30 d at most: say --for with less"),
        ("hold", {"target": "bot", "for": 0}, "a hold lasts 30 d at most: say --for with less"),
        ("approve", {"run": 7}, "there is no plan run 7 — none waits for approval"),
        ("abort", {"what": "7"}, "no plan is at work as 7"),
        ("abort", {"what": "bot"}, "no plan is at work on bot"),
        ("abort", {"what": "bt"}, "there is no target 'bt' — did you mean bot? (or the number of a run)"),
        ("ack", {"incident": 7}, "there is no incident 7 — the newest: none yet"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    harness: PipelineHarness, kind: str, args: dict[str, Any], why: str
) -> None:
    granted, text = answer_request(harness, kind, **args)

    assert not granted
    assert text == why


def test_of_many_names_the_few_that_were_probably_meant_are_said(tmp_path: Path) -> None:
    many = "".join(
        f"  - {{name: {pair}-spread-{n}, kpi: errors, target: bot, warn: {{above: 1%}}}}\n"
        for pair in ("btc", "eth", "sol")
        for n in range(400)
    )
    harness = PipelineHarness(tmp_path, RULES_YAML.replace("plans:\n", many + "plans:\n", 1))

    why = [
        answer_request(harness, "silence", rule=rule, **{"for": HOUR})[1]
        for rule in ("eth-spred-77", "EQUITY", "drawdwn", "spread-399")
    ]
    assert why == [
        "there is no rule 'eth-spred-77' — did you mean eth-spread-77, eth-spread-377 or eth-spread-277?",
        "there is no rule 'EQUITY' — known: errors, drawdown, no-ticks, btc-spread-0, btc-spread-1, btc-spread-2, btc-spread-3, "
        "btc-spread-4, btc-spread-5, btc-spread-6, btc-spread-7, btc-spread-8 and 1191 more",
        "there is no rule 'drawdwn' — did you mean drawdown?",
        "there is no rule 'spread-399' — did you mean btc-spread-399, eth-spread-399 or sol-spread-399?",
    ]
    harness.journal.close()


# ─ maintenance ─


def test_in_maintenance_hours_no_repair_starts_and_halts_do(tmp_path: Path) -> None:
    # 1 700 000 000 is a Tuesday, 22:13 UTC
    window = 'maintenance: [{days: [tue], between: "22:00-22:15", why: exchange upgrade}], repo: /srv/bot'
    harness = PipelineHarness(tmp_path, RULES_YAML.replace("repo: /srv/bot", window))
    harness.rounds(5, **BAD_VALUES)
    assert harness.runs == []
    assert harness.refusal_reasons() == ["held by maintenance: exchange upgrade"]

    harness.rounds(2, equity=800)
    assert [run.plan for run in harness.runs] == ["halt"]
    harness.journal.close()


# ─ silence ─


def test_a_silenced_rule_is_acted_upon_and_not_told(harness: PipelineHarness) -> None:
    answer_request(harness, "silence", rule="errors", **{"for": HOUR})
    harness.rounds(5, **BAD_VALUES)

    assert [run.plan for run in harness.runs] == ["ladder"]
    assert not [title for title in harness.message_titles() if "errors tripped" in title]
    assert any("errors (crit) tripped" in text for text in event_texts(harness))


def test_other_rules_are_told_while_one_is_silenced(harness: PipelineHarness) -> None:
    answer_request(harness, "silence", rule="errors", **{"for": HOUR})
    harness.rounds(2, equity=800)

    assert any("drawdown tripped" in title for title in harness.message_titles())


def test_a_silence_until_well_of_what_is_well_is_refused_since_it_would_end_at_once(harness: PipelineHarness) -> None:
    harness.rounds(5)

    assert not answer_request(harness, "silence", rule="errors", until_well=True, **{"for": HOUR})[0]
    assert answer_request(harness, "silence", rule="errors", **{"for": HOUR})[0]


def test_the_first_message_of_an_incident_says_where_the_rest_stands_and_the_others_do_not(
    harness: PipelineHarness,
) -> None:
    harness.rounds(5, **BAD_VALUES)
    harness.rounds(2, equity=800)

    rows = harness.journal.query(
        "SELECT lines FROM message WHERE channel = 'chat' AND title LIKE '%tripped' ORDER BY id"
    )
    head = f"incident 1 on {socket.gethostname()}: trading-watchdog incidents 1"
    assert [head in row["lines"] for row in rows] == [True] + [False] * (len(rows) - 1)
    assert len(rows) > 1


def test_a_silence_until_well_ends_when_the_rule_is_well_and_not_when_its_data_is_missing(
    harness: PipelineHarness,
) -> None:
    harness.rounds(5, **BAD_VALUES)
    answer_request(harness, "silence", rule="errors", until_well=True, **{"for": HOUR})
    harness.rounds(3, error_ratio=float("nan"))
    harness.requests.end_suppressions(harness.now)
    assert harness.journal.suppressions.find_active("silence", "errors", harness.now) is not None

    harness.rounds(3, error_ratio=0.01)
    assert harness.requests.end_suppressions(harness.now)
    assert harness.journal.suppressions.find_active("silence", "errors", harness.now) is None
    assert "silence on errors ended: it is well again" in event_texts(harness)


def test_the_newest_silence_counts(harness: PipelineHarness) -> None:
    answer_request(harness, "silence", rule="errors", **{"for": HOUR})
    answer_request(harness, "silence", rule="errors", **{"for": SECOND})
    harness.rounds(2)

    assert harness.journal.suppressions.find_active("silence", "errors", harness.now) is None


# ─ runs and incidents ─


def queue_waiting_run(harness: PipelineHarness) -> int:
    harness.rounds(5, **BAD_VALUES)
    (run,) = harness.runs
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run.id, approve_by=harness.now + MINUTE)
    return run.id


@pytest.mark.parametrize(("kind", "word"), [("approve", "approved"), ("deny", "denied")])
def test_a_person_answers_once_in_their_name(harness: PipelineHarness, kind: str, word: str) -> None:
    number = queue_waiting_run(harness)

    assert answer_request(harness, kind, run=number) == (True, f"run {number} (ladder) {word}")
    assert harness.journal.runs.get_run(number).approval == word
    assert f"ladder {word}: ann: migration" in event_texts(harness)
    assert answer_request(harness, "approve", run=number) == (
        False,
        f"run {number} (ladder {word}) waits for no approval",
    )


def test_time_in_which_nobody_was_there_to_answer_does_not_count(harness: PipelineHarness) -> None:
    number = queue_waiting_run(harness)
    harness.requests.extend_approvals(harness.now - 2 * SECOND, harness.now)  # an ordinary restart
    seen = harness.now + 20 * SECOND
    harness.restart(HOUR)
    harness.requests.extend_approvals(seen, harness.now)

    assert (harness.journal.runs.get_run(number).approve_by or 0) - harness.now == 40 * SECOND
    assert event_texts(harness)[-1] == "the watchdog is back: ladder waits for approval for another 40 s"
    assert answer_request(harness, "approve", run=number)[0]
    harness.requests.extend_approvals(seen, harness.now + HOUR)
    assert (harness.journal.runs.get_run(number).approve_by or 0) - harness.now == 40 * SECOND  # it is answered


def test_what_had_run_out_before_the_watchdog_went_away_stays_so(harness: PipelineHarness) -> None:
    number = queue_waiting_run(harness)
    harness.requests.extend_approvals(harness.now + 2 * MINUTE, harness.now + HOUR)

    assert (harness.journal.runs.get_run(number).approve_by or 0) - harness.now == MINUTE


def test_the_lock_knows_when_its_last_holder_was_seen(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    assert first.acquire()
    assert first.last_heartbeat is None
    first.release()
    os.utime(tmp_path / "lock", (1_000, 1_000))

    assert second.acquire()
    assert second.last_heartbeat == 1_000_000
    second.release()


def test_an_answer_that_comes_too_late_is_none(harness: PipelineHarness) -> None:
    number = queue_waiting_run(harness)
    harness.now += 2 * MINUTE

    assert not answer_request(harness, "approve", run=number)[0]
    assert harness.journal.runs.get_run(number).approval is None


def test_a_denied_plan_is_not_started_again_for_the_same_trip_and_begins_at_its_first_level_for_the_next(
    harness: PipelineHarness,
) -> None:
    number = queue_waiting_run(harness)
    harness.end_run(harness.journal.runs.get_run(number), "denied")
    harness.rounds(5)
    assert len(harness.runs) == 1

    harness.rounds(3, error_ratio=0.01)
    harness.rounds(5, **BAD_VALUES)

    assert [run.level for run in harness.runs] == [0, 0]


def test_an_abort_names_a_run_or_all_of_a_target(harness: PipelineHarness) -> None:
    number = queue_waiting_run(harness)

    assert answer_request(harness, "abort", what="bot") == (True, f"run {number} (ladder) ends at the next step")
    assert harness.journal.runs.get_run(number).abort == "ann: migration"
    assert answer_request(harness, "abort", what=str(number))[0]


def test_an_incident_is_acknowledged_by_the_first_and_every_note_stands_in_its_timeline(
    harness: PipelineHarness,
) -> None:
    harness.rounds(3, **BAD_VALUES)
    incident = harness.incident
    assert incident is not None
    answer_request(harness, "ack", incident=incident.id)
    harness.requests.answer(
        Request(2, harness.now, "ack", {"incident": incident.id, "note": "root cause: NaN"}, "bob"), harness.now
    )

    known = harness.journal.incidents.find_incident(incident.id)
    assert known is not None
    assert (known.acked_by, known.acked) == ("ann", harness.now)
    kinds = [event.text for event in harness.journal.timeline.list_events(incident.id) if event.kind == "ack"]
    assert kinds == ["incident 1 acknowledged: ann: on it", "incident 1 acknowledged: bob: root cause: NaN"]


def test_a_cause_and_a_fix_count_from_when_they_were_told(harness: PipelineHarness) -> None:
    harness.rounds(3, **BAD_VALUES)

    assert answer_request(harness, "ack", incident=1, cause="a random start") == (
        True,
        "root cause of incident 1 found: a random start",
    )
    harness.now += 60_000
    assert answer_request(harness, "ack", incident=1, fix="a fixed seed")[0]

    incident = harness.journal.incidents.find_incident(1)
    assert incident is not None
    facts = build.collect_data(harness.journal, incident, harness.config, None, harness.now)
    took = build.durations(facts)
    assert took["root cause known"] is not None
    assert took["fixed"] == took["root cause known"] + 60_000


def test_status_shows_who_holds_what_and_what_waits_for_whom(harness: PipelineHarness) -> None:
    number = queue_waiting_run(harness)
    answer_request(harness, "hold", target="bot", **{"for": HOUR})
    answer_request(harness, "silence", rule="errors", **{"for": HOUR})
    answer_request(harness, "ack", incident=1)
    known: Any = build_status(harness.config, harness.pipeline, harness.journal, {}, harness.now)

    assert known["targets"]["bot"]["held"] == "ann: migration, for another 1 h"
    assert known["targets"]["bot"]["acked_by"] == "ann"
    assert known["targets"]["bot"]["plan"]["run"] == number
    assert known["targets"]["bot"]["plan"]["approve_by"] == harness.now + MINUTE
    assert [silence["rule"] for silence in known["silenced"]] == ["errors"]


def test_a_muted_rule_is_not_judged_and_its_patience_begins_anew_when_it_is_again(harness: PipelineHarness) -> None:
    harness.pipeline.mute_rules("bot", ["errors"])
    harness.rounds(10, **BAD_VALUES)
    assert not harness.is_firing("errors")

    harness.pipeline.mute_rules("bot", [])
    harness.rounds(2)
    assert harness.runs == []
    harness.rounds(3)
    assert [run.plan for run in harness.runs] == ["ladder"]


RECOVER_YAML = (
    "\n    recover: [{name: on, steps: [{do: flag, file: config.py, set: {TRADING: true}}], verify: {quiet: 1s}}]"
)


def test_after_resume_the_plan_that_ended_last_goes_back_to_work_in_its_stages(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, RULES_YAML.replace("    kind: halt", "    kind: halt" + RECOVER_YAML))
    harness.rounds(2)
    harness.rounds(2, equity=800)
    harness.end_run(harness.runs[0], "proven")
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    harness.rounds(2, equity=1_000)

    granted, text = answer_request(harness, "resume", target="bot")

    assert granted
    assert text == "bot resumed; halt goes back to work in 1 stage (run 2)"
    assert (harness.runs[1].part, harness.runs[1].kind, harness.runs[1].plan) == ("recover", "repair", "halt")
    harness.journal.close()


def test_after_resume_a_plan_without_stages_leaves_the_bot_as_it_is(harness: PipelineHarness) -> None:
    harness.rounds(2, equity=800)
    harness.end_run(harness.runs[0], "proven")
    harness.rounds(2, equity=1_000)

    assert answer_request(harness, "resume", target="bot") == (True, "bot resumed; its rules are judged anew")
    assert len(harness.runs) == 1


# ─ resume ─

STILL_OFF = StandingChange(
    run=1,
    incident=1,
    plan="halt",
    step="set TRADING = false in config.py",
    since=0,
    thing="/srv/bot/config.py: TRADING",
    how="off",
    what="TRADING",
    by_hand="TRADING = True in config.py, then restart the bot",
)


def halted(tmp_path: Path, rules: str = RULES_YAML) -> PipelineHarness:
    """A bot that a halt has made safe, and that is well again."""
    harness = PipelineHarness(tmp_path, rules)
    harness.requests = RequestHandler(harness.pipeline, harness.journal, lambda _: [STILL_OFF])
    harness.rounds(2)
    harness.rounds(2, equity=800)
    (run,) = harness.runs
    harness.end_run(run, "proven")
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    harness.rounds(2)
    return harness


def test_who_resumes_is_told_what_is_still_off_and_how_it_is_put_back(tmp_path: Path) -> None:
    harness = halted(tmp_path)

    granted, text = answer_request(harness, "resume", target="bot")

    assert granted
    assert text == (
        "bot resumed; its rules are judged anew; still off: TRADING — TRADING = True in config.py, then restart the bot"
    )
    assert "still off: TRADING" in harness.journal.query("SELECT lines FROM message ORDER BY id DESC")[0]["lines"]


def test_who_would_undo_a_halt_is_told_what_puts_it_back(tmp_path: Path) -> None:
    harness = halted(tmp_path)
    answer_request(harness, "resume", target="bot")

    assert answer_request(harness, "undo", incident=1) == (
        False,
        "incident 1 has no repair to undo: what halt made safe goes back by its recover: after a resume, or by hand — "
        "trading-watchdog status says what still is off",
    )


def test_who_resumes_a_plan_with_a_way_back_is_told_that_it_puts_it_back(tmp_path: Path) -> None:
    recover = """
    recover:
      - {name: trading, steps: [{do: flag, file: config.py, set: {TRADING: true}}], verify: {quiet: 1s}}
  ladder:
"""
    harness = halted(tmp_path, RULES_YAML.replace("\n  ladder:\n", recover, 1))

    granted, text = answer_request(harness, "resume", target="bot")

    assert granted
    run = harness.runs[-1]
    assert (run.plan, run.part) == ("halt", "recover")
    assert text == (
        f"bot resumed; halt goes back to work in 1 stage (run {run.id}); "
        "still off: TRADING — halt puts it back, stage by stage"
    )


def test_who_resumes_where_nothing_stands_is_told_of_nothing(tmp_path: Path) -> None:
    harness = halted(tmp_path)
    harness.requests = RequestHandler(harness.pipeline, harness.journal)

    assert answer_request(harness, "resume", target="bot") == (True, "bot resumed; its rules are judged anew")


# ─ the next level, and a halt ─


def test_the_next_level_is_begun_of_a_repair_that_tries_one_and_once(harness: PipelineHarness) -> None:
    assert answer_request(harness, "next", run=7) == (False, "there is no plan run 7")
    harness.rounds(5, **BAD_VALUES)
    (run,) = harness.runs
    assert answer_request(harness, "next", run=run.id) == (False, f"run {run.id} (ladder queued) tries no level now")
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run.id, status="running")

    assert answer_request(harness, "next", run=run.id, level=1) == (
        False,
        f"run {run.id} (ladder) is at level feature by now: nothing changed",
    )
    title = "ladder gives level feature up for version"
    assert answer_request(harness, "next", run=run.id) == (True, f"run {run.id}: {title}")
    assert answer_request(harness, "next", run=run.id) == (
        False,
        f"run {run.id} (ladder) gives level feature up already",
    )
    assert f"{title}: ann: migration" in event_texts(harness)
    with harness.journal.transaction() as tx:
        tx.runs.update_run(run.id, level=1)
    assert answer_request(harness, "next", run=run.id)[1].startswith(f"run {run.id} (ladder) is at its last level")


def test_a_target_is_halted_by_its_halt_once(harness: PipelineHarness) -> None:
    assert answer_request(harness, "halt", target="bto") == (False, "there is no target 'bto' — did you mean bot?")
    assert answer_request(harness, "halt", target="bot") == (True, "1")
    assert answer_request(harness, "halt", target="bot") == (True, "1")
    assert [run.plan for run in harness.runs] == ["halt"]


def test_of_several_halts_a_person_says_which(tmp_path: Path) -> None:
    text = (
        RULES_YAML.replace("  halt:\n", "  freeze:\n")
        .replace("plan: halt}", "plan: freeze}")
        .replace("exhausted: halt", "exhausted: freeze")
    )
    harness = PipelineHarness(tmp_path, text)
    assert answer_request(harness, "halt", target="bot") == (True, "1")
    assert harness.runs[0].plan == "freeze"
    harness.journal.close()


def test_a_request_that_breaks_half_way_leaves_nothing_but_its_answer(
    harness: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr(harness.pipeline.incident_manager, "queue_run", broken)
    answers: list[tuple[bool, str]] = []
    request = Request(1, harness.now, "rollback", {"plan": "halt", "target": "bot"}, "ann")
    harness.requests.answer(request, harness.now, lambda _, ok, text: answers.append((ok, text)))

    assert answers == [(False, "internal error: RuntimeError('oh')")]
    assert harness.message_titles() == []
    assert harness.runs == []
