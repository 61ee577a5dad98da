"""From samples to incidents, plans and messages: what is recorded, what is refused, and what people are told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.desk import MINUTE, RULES, SECOND, Desk
from watchdog.journal import incidents, outbox, runs, stays
from watchdog.model import Millis


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.journal.close()


def queued(desk: Desk) -> list[tuple[str, str, int]]:
    return [(run.plan, run.by, run.level) for run in desk.runs]


# ─ an incident ─


def test_an_incident_opens_with_the_first_trip_is_joined_by_others_and_closes_when_all_is_quiet(desk: Desk) -> None:
    desk.rounds(3)
    assert desk.incident is None

    desk.round(error_ratio=0.07)
    opened = desk.incident
    assert opened is not None
    assert (opened.severity, opened.title.startswith("errors: errors 7 %")) == ("warn", True)

    desk.rounds(3, error_ratio=0.5)
    assert desk.incident is not None
    assert (desk.incident.id, desk.incident.severity) == (opened.id, "crit")
    assert queued(desk) == [("ladder", "rule errors", 0)]

    desk.rounds(2, error_ratio=0.01)
    assert desk.incident is not None  # its plan is still at work
    desk.end(desk.runs[0], "proven")
    desk.round()

    assert desk.incident is None
    assert desk.told() == [
        "bot: errors tripped",
        "bot: errors tripped",
        "bot: errors recovered",
        "bot: incident 1 closed after 6 s: level feature of ladder helped",
    ]
    assert [trip.cleared is not None for trip in incidents.trips(desk.journal, opened.id)] == [True, True]


def test_a_channel_hears_what_it_wants_to_hear_and_the_end_of_what_it_heard(desk: Desk) -> None:
    desk.rounds(2, error_ratio=0.07)
    assert desk.told("pager") == []

    desk.rounds(4, error_ratio=0.5)
    desk.end(desk.runs[0], "proven")
    desk.rounds(2, error_ratio=0.01)

    assert desk.told("pager") == [
        "bot: errors tripped",
        "bot: errors recovered, incident 1 closed after 6 s: level feature of ladder helped",
    ]


def test_a_trip_its_plan_and_its_messages_are_one_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written as a whole is not written at all, and is seen anew in the next round."""
    desk.rounds(3)
    real = outbox.post

    def full(db: sqlite3.Connection, channels: Sequence[str], *rest: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(outbox, "post", full)
    with pytest.raises(sqlite3.OperationalError):
        desk.round(equity=800)
    assert desk.incident is None
    assert desk.runs == []
    assert incidents.machines(desk.journal) is not None

    monkeypatch.setattr(outbox, "post", real)
    desk.round()

    assert queued(desk) == [("halt", "rule drawdown", 0)]
    assert "bot: drawdown tripped" in desk.told()


def test_what_could_not_be_written_when_sources_died_is_said_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.rounds(2)
    desk.lost = {"bot", "host"}
    desk.rounds(30)
    monkeypatch.setattr(desk.journal, "write", _locked)
    with pytest.raises(sqlite3.OperationalError):
        desk.rounds(5)
    monkeypatch.undo()

    desk.round()

    assert desk.told().count("blind: no source delivers") == 1


def _locked() -> None:
    raise sqlite3.OperationalError("database is locked")


# ─ expressions that fail ─


def test_an_expression_that_fails_on_the_data_is_an_error_of_its_own_rule_alone(tmp_path: Path) -> None:
    rules = RULES.replace("plans:", "  - {name: pairs, kpi: pairs, target: bot, crit: {above: 1}}\nplans:").replace(
        "sum by (side) (left) / sum by (side) (right)", "left / on(side) right"
    )
    desk = Desk(tmp_path, rules)
    for pair in ("btc", "eth"):
        desk.series += [(name, (("pair", pair), ("side", "long")), 1.0) for name in ("left", "right")]
    desk.rounds(3)

    (verdict,) = [machine for key, machine in desk.pipeline.machines.items() if key.rule == "pairs"]
    assert verdict.outcome == "error"
    assert "several series" in verdict.reason
    desk.rounds(2, equity=800)
    assert queued(desk) == [("halt", "rule drawdown", 0)]
    desk.journal.close()


def test_a_condition_that_fails_on_the_data_cannot_be_told(desk: Desk) -> None:
    for pair in ("btc", "eth"):
        desk.series += [(name, (("pair", pair), ("side", "long")), 1.0) for name in ("left", "right")]
    desk.rounds(2)

    assert desk.pipeline.true("left / on(side) right > 0", desk.now) is None
    assert desk.pipeline.true("alive == 1", desk.now) is True
    assert desk.pipeline.true("alive == 0", desk.now) is False
    assert desk.pipeline.true("nobody_knows == 0", desk.now) is None


# ─ refusals ─


def test_a_refusal_is_told_once_a_reason_in_each_incident(desk: Desk) -> None:
    desk.rounds(3)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", latched=desk.now, latch_why="halt halt")
    for _ in range(2):
        desk.rounds(10, error_ratio=0.5)
        desk.rounds(5, error_ratio=0.01)

    assert desk.runs == []
    assert [text.split()[0] for text in desk.refusals()] == ["latched", "latched"]
    (row, *_) = desk.journal.rows("SELECT lines FROM message WHERE title LIKE '%is not started'")
    assert json.loads(row["lines"])[1] == 'trading-watchdog resume bot --reason "…"'  # as it can be typed


def test_the_budget_is_counted_over_restarts(desk: Desk) -> None:
    for number in range(2):
        desk.rounds(5, error_ratio=0.5)
        assert len(desk.runs) == number + 1
        desk.end(desk.runs[-1], "proven")
        desk.rounds(2, error_ratio=0.01)
        desk.restart(2 * MINUTE)

    desk.rounds(6, error_ratio=0.5)

    assert len(desk.runs) == 2
    assert desk.refusals() == ["the budget of 2 per 1h is used up"]
    desk.rounds(1, equity=800)
    assert queued(desk)[-1] == ("halt", "rule drawdown", 0)


def test_after_the_cooldown_a_repair_that_is_still_wanted_starts(desk: Desk) -> None:
    desk.rounds(5, error_ratio=0.5)
    desk.end(desk.runs[-1], "proven")
    desk.rounds(3, error_ratio=0.01)
    desk.rounds(10, error_ratio=0.5)
    assert len(desk.runs) == 1
    assert "cooldown is 1 m" in desk.refusals()[0]

    desk.rounds(60)

    assert len(desk.runs) == 2


def test_while_somebody_elses_deployment_settles_repairs_wait_and_halts_do_not(desk: Desk) -> None:
    desk.rounds(3)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", unsettled=desk.now)
    desk.rounds(10, error_ratio=0.5)
    assert desk.runs == []
    assert "settling for another" in desk.refusals()[0]

    desk.rounds(2, equity=800)

    assert queued(desk) == [("halt", "rule drawdown", 0)]


def test_a_clock_that_is_set_back_keeps_nothing_waiting_for_a_time_that_was_wrong(desk: Desk) -> None:
    right, desk.now = desk.now, desk.now + 5 * 60 * MINUTE  # until the network says what time it is
    desk.rounds(3, equity=2_000)
    desk.pipeline.resume("bot", "ann", desk.now)
    desk.rounds(3, equity=1_200)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", unsettled=desk.now)
        outbox.post(db, ["chat"], "warn", "written by the wrong clock", [], desk.now)
        stays.add(db, "hold", "bot", desk.now + 5 * MINUTE, "ann", desk.now)

    desk.now = right
    desk.pipeline.wake(desk.now)
    desk.rounds(3)
    assert outbox.next_due(desk.journal)["chat"] <= desk.now
    desk.now += 11 * MINUTE
    desk.pipeline.wake(desk.now)
    desk.rounds(10, error_ratio=0.5)
    assert [run.plan for run in desk.runs] == ["ladder"]
    assert stays.standing(desk.journal, "hold", "bot", desk.now) is None

    desk.restart()
    desk.rounds(3, equity=1_100)
    assert not desk.fires("drawdown")  # 2000 was before the resume
    desk.rounds(3, equity=1_070)
    assert desk.fires("drawdown")  # 1200 was seen after it, whatever the time was


def test_while_a_freshness_rule_fires_no_repair_starts(desk: Desk) -> None:
    desk.rounds(3)
    desk.rounds(10, error_ratio=0.5, tick_age=61)

    assert desk.runs == []
    assert desk.refusals() == ["blind: no-ticks fires"]
    desk.rounds(2, tick_age=1)
    assert queued(desk) == [("ladder", "rule errors", 0)]


def test_missing_data_trips_a_freshness_rule_and_starts_no_repair(desk: Desk) -> None:
    desk.rounds(3)
    desk.rounds(20, error_ratio=float("nan"), tick_age=float("nan"))

    assert desk.fires("no-ticks")
    assert not desk.fires("errors")
    assert desk.runs == []


def test_a_rule_sleeps_while_its_condition_is_not_so_and_its_clock_stands_still(desk: Desk) -> None:
    desk.rounds(3, market_open=0)
    desk.rounds(30, tick_age=float("nan"))
    assert not desk.fires("no-ticks")

    desk.rounds(8, market_open=1)
    assert not desk.fires("no-ticks")
    desk.rounds(8)
    assert desk.fires("no-ticks")

    desk.rounds(5, market_open=0, tick_age=1)
    assert desk.fires("no-ticks")  # asleep: its state is held
    desk.rounds(2, market_open=1)
    assert not desk.fires("no-ticks")


def test_no_plan_starts_before_this_process_has_seen_the_bot(desk: Desk) -> None:
    desk.rounds(3)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", unsettled=desk.now)
    desk.rounds(5, error_ratio=0.5)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", unsettled=None)
    desk.lost = {"bot"}
    desk.restart(MINUTE)

    desk.rounds(8)
    assert desk.runs == []
    assert desk.fires("errors")
    desk.lost = set()
    desk.rounds(1)

    assert queued(desk) == [("ladder", "rule errors", 0)]


# ─ halts ─


def test_of_two_plans_that_trip_in_one_round_the_halt_goes_first_and_the_repair_is_refused(desk: Desk) -> None:
    desk.rounds(3)
    desk.rounds(2, error_ratio=0.5)
    desk.round(equity=800)

    assert queued(desk) == [("halt", "rule drawdown", 0)]
    assert desk.refusals() == ["a halt has already made this incident safe"]


def test_a_halt_is_queued_whatever_refuses_a_repair(desk: Desk) -> None:
    desk.rounds(3)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", latched=desk.now, latch_why="by hand", unsettled=desk.now)
    desk.rounds(3, equity=800, tick_age=61)

    assert queued(desk) == [("halt", "rule drawdown", 0)]


def test_a_rule_that_trips_again_after_its_halt_halts_again(desk: Desk) -> None:
    desk.rounds(3)
    desk.rounds(2, equity=800)
    desk.end(desk.runs[0], "proven")
    desk.rounds(3)
    assert len(desk.runs) == 1

    desk.rounds(3, equity=1_000)
    desk.rounds(2, equity=800)

    assert [run.plan for run in desk.runs] == ["halt", "halt"]


# ─ levels ─


def test_a_rule_that_trips_again_in_the_incident_goes_on_at_the_next_level_and_never_back(desk: Desk) -> None:
    desk.rounds(1, error_ratio=0.07)
    desk.rounds(5, error_ratio=0.5)
    desk.end(desk.runs[0], "proven", level=0)
    desk.rounds(61, error_ratio=0.07)
    desk.rounds(5, error_ratio=0.5)
    assert queued(desk)[1:] == [("ladder", "rule errors", 1)]
    desk.end(desk.runs[1], "not-needed", level=1)
    desk.rounds(61, error_ratio=0.07)

    desk.rounds(5, error_ratio=0.5)
    assert queued(desk)[2:] == [("ladder", "rule errors", 1)]
    desk.end(desk.runs[2], "proven", level=1)
    desk.rounds(61, error_ratio=0.07)
    desk.rounds(5, error_ratio=0.5)

    assert len(desk.runs) == 3


def test_a_relapse_that_began_while_the_watch_was_ending_is_acted_upon(desk: Desk) -> None:
    """The run saw a proof and the end of its watch; the rule had tripped again just before that end."""
    desk.rounds(5, error_ratio=0.5)
    desk.rounds(3, error_ratio=0.01)
    proven = desk.now
    desk.rounds(4, error_ratio=0.5)
    assert desk.fires("errors")
    desk.end(desk.runs[0], "proven", acted=proven)

    desk.rounds(62)

    assert queued(desk)[1:] == [("ladder", "rule errors", 1)]


def test_a_rule_that_has_not_recovered_since_before_the_repair_is_no_relapse(desk: Desk) -> None:
    """It looks back over hours, the proof did not: what it still sees is what was repaired."""
    desk.rounds(5, error_ratio=0.5)
    acted = desk.now
    desk.rounds(5)
    desk.end(desk.runs[0], "proven", acted=acted)

    desk.rounds(70)

    assert len(desk.runs) == 1


# ─ restart, reload, resume ─


def test_what_fires_goes_on_firing_over_a_restart_and_no_second_incident_opens(desk: Desk) -> None:
    desk.rounds(5, error_ratio=0.5)
    desk.restart(10 * MINUTE)
    assert desk.fires("errors")

    desk.rounds(5)

    assert len(desk.runs) == 1
    assert len(incidents.listing(desk.journal)) == 1


def test_half_of_a_patience_is_kept_over_a_restart_and_downtime_adds_nothing(desk: Desk) -> None:
    desk.rounds(3)
    desk.round(error_ratio=0.5)
    desk.restart(10 * MINUTE)
    desk.round()
    assert desk.runs == []

    desk.round()

    assert len(desk.runs) == 1


def test_a_rule_that_fires_and_moves_to_another_target_trips_there(tmp_path: Path) -> None:
    rules = RULES.replace("kpis:", "  other: {repo: /srv/other}\nkpis:")
    desk = Desk(tmp_path, rules)
    desk.rounds(2)
    desk.rounds(3, equity=800)
    desk.end(desk.runs[0], "proven")
    desk.reload(rules.replace("kpi: drawdown, target: bot", "kpi: drawdown, target: other"))

    desk.rounds(3)

    assert desk.incident is None
    assert [(run.target, run.plan) for run in desk.runs] == [("bot", "halt"), ("other", "halt")]
    desk.journal.close()


def test_a_rule_that_is_gone_leaves_no_incident_open(desk: Desk) -> None:
    desk.rounds(3, error_ratio=0.07)
    desk.reload("\n".join(line for line in RULES.splitlines() if "name: errors" not in line))

    desk.rounds(2)

    assert desk.incident is None


def test_a_resumed_target_starts_anew(desk: Desk) -> None:
    desk.rounds(3)
    desk.rounds(3, equity=800)
    desk.end(desk.runs[0], "proven")
    with desk.journal.write() as db:
        incidents.stand(db, "bot", latched=desk.now, latch_why="halt halt")
    assert desk.fires("drawdown")

    granted = desk.people.resume("bot", "ada: withdrew 200", desk.now)
    desk.rounds(3)

    assert granted == (True, "bot resumed; its rules are judged anew")
    assert not desk.fires("drawdown")  # its peak is what was seen since
    assert desk.incident is None
    assert incidents.standing(desk.journal, "bot", desk.now).latched is None
    assert "bot: resumed" in desk.told()
    desk.rounds(2, equity=700)
    assert len(desk.runs) == 2


def test_a_target_that_is_resumed_while_it_is_still_bad_trips_again(desk: Desk) -> None:
    desk.rounds(5, error_ratio=0.5)
    desk.end(desk.runs[0], "exhausted", level=1)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", latched=desk.now, latch_why="ladder exhausted")
    assert desk.people.resume("bot", "ada", desk.now)[0]

    desk.rounds(61)

    assert queued(desk)[1:] == [("ladder", "rule errors", 0)]


def test_nobody_resumes_what_is_not_seen_or_where_a_plan_is_at_work(desk: Desk) -> None:
    desk.rounds(5, error_ratio=0.5)
    assert desk.people.resume("bot", "ada", desk.now)[1] == "plan ladder is at work on bot: wait for its end"
    desk.end(desk.runs[0], "exhausted")
    desk.lost = {"bot"}
    desk.rounds(10)

    ok, why = desk.people.resume("bot", "ada", desk.now)

    assert not ok
    assert why.startswith("not while data is stale: ")
    assert not desk.people.resume("bto", "ada", desk.now)[0]


# ─ blind ─


def test_people_are_paged_once_when_nothing_is_seen_and_told_when_it_is_again(desk: Desk) -> None:
    desk.rounds(3)
    desk.lost = {"bot"}
    desk.rounds(60)
    assert "blind: no source delivers" not in desk.told()

    desk.lost = {"bot", "host"}
    desk.rounds(60)
    desk.lost = {"bot"}
    desk.rounds(3)

    blind = [title for title in desk.told("pager") if "deliver" in title]
    assert blind == ["blind: no source delivers", "sources deliver again"]
    assert desk.runs == []


# ─ peaks ─


def test_a_drawdown_is_measured_from_its_true_peak_after_a_restart(desk: Desk) -> None:
    desk.rounds(3)
    desk.rounds(2, equity=1_200)
    desk.rounds(3, equity=1_100)
    desk.restart(10 * MINUTE)
    desk.rounds(2, equity=1_090)
    assert desk.runs == []

    desk.rounds(2, equity=1_070)  # 10.8 % under the peak that only the journal remembers

    assert queued(desk) == [("halt", "rule drawdown", 0)]


def test_a_peak_that_could_not_be_written_is_written_in_the_next_round(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.rounds(3)
    monkeypatch.setattr(desk.journal, "write", _locked)
    with pytest.raises(sqlite3.OperationalError):
        desk.round(equity=1_200)
    monkeypatch.undo()
    desk.shows["equity"] = float("nan")
    desk.rounds(1)

    desk.restart()
    desk.rounds(3, equity=1_070)

    assert queued(desk) == [("halt", "rule drawdown", 0)]


# ─ people ─


def request(desk: Desk, kind: str, age: Millis = SECOND, **args: str | None) -> tuple[bool, str]:
    with desk.journal.write() as db:
        number = outbox.ask(db, kind, dict(args), "ada", desk.now - age)
    (asked,) = [one for one in outbox.asked(desk.journal) if one.id == number]
    return desk.people.answer(asked, desk.now)


def test_a_person_starts_a_plan_at_any_level_and_budgets_do_not_count_it(desk: Desk) -> None:
    desk.rounds(3)

    ok, run = request(desk, "rollback", plan="ladder", target=None, level="version", reason="looks bad")

    assert (ok, run) == (True, "1")
    assert queued(desk) == [("ladder", "person ada: looks bad", 1)]
    assert runs.recent(desk.journal, "bot", 0) == []


def test_a_latch_refuses_a_persons_repair_and_not_a_persons_halt(desk: Desk) -> None:
    desk.rounds(3)
    with desk.journal.write() as db:
        incidents.stand(db, "bot", latched=desk.now, latch_why="ladder exhausted")

    refused = request(desk, "rollback", plan="ladder", target="bot")
    granted = request(desk, "rollback", plan="halt", target="bot")

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
def test_what_cannot_be_started_is_refused_with_what_could_be(desk: Desk, args: dict[str, str], says: str) -> None:
    assert request(desk, "rollback", SECOND, **args) == (False, says)
    assert desk.runs == []


def test_a_request_that_lay_about_while_nobody_answered_is_not_carried_out(desk: Desk) -> None:
    desk.rounds(3)

    ok, why = request(desk, "rollback", age=2 * MINUTE, plan="ladder", target="bot")

    assert (ok, why) == (False, "too old: whoever asked for it does not wait for it any more")
    assert desk.runs == []


def test_a_request_of_a_newer_command_line_is_refused_in_words(desk: Desk) -> None:
    assert request(desk, "teleport") == (False, "this watchdog knows no request 'teleport'")
    assert request(desk, "undo") == (False, "the request 'undo' lacks its incident")
    assert not request(desk, "resume")[0]
    assert not request(desk, "rollback")[0]
