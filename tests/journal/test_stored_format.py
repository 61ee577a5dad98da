"""What stands in journal.db stays readable: a journal that was written before reads the same, and is written the same."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from watchdog.core.model import Message
from watchdog.journal.backups import FileBackup
from watchdog.journal.baselines import Baseline
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.messages import OutboxMessage
from watchdog.journal.requests import Request
from watchdog.journal.runs import PlanRun, Step, StepId
from watchdog.journal.sqlite import SqliteJournal, SqliteTransaction
from watchdog.journal.suppressions import Suppression
from watchdog.journal.targets import TargetState
from watchdog.journal.timeline import TimelineEvent

T = 1_700_000_000_000
BTC = (("pair", "BTC"),)
STEP = StepId(1, "level", 1, 0)
EQUITY = '{"__name__":"equity","source":"bot"}'
BASELINE = Baseline("latency", "learned", "digest", 20.5, T, 40, 3_600_000, "", "0123abcd")
TABLES = (
    *("baseline", "baseline_point", "event", "incident", "machine", "message", "peak", "request", "run", "saved"),
    *("stay", "step", "target", "told", "trip"),
)
NEWER = ("channel_pause", "chat_event", "configuration", "confirmation", "delivered", "head", "summary", "watched")
"""Which the stored journal is too old for."""


@pytest.fixture
def old_path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    db = sqlite3.connect(path)
    db.executescript((Path(__file__).parent / "data" / "journal_v5.sql").read_text())
    db.close()
    return path


def test_a_journal_that_was_written_before_reads_as_it_was_meant(old_path: Path) -> None:
    journal = SqliteJournal(old_path)

    incident = Incident(1, "bot", T, None, "crit", "flapping: 15 %", T + 5, "anna")
    assert journal.incidents.find_open("bot") == incident
    assert journal.incidents.list_trips(1) == [
        TripRecord("flapping", "crit", BTC, T, None, "15 % of 20", "ladder"),
    ]
    assert journal.timeline.list_events(1) == [TimelineEvent(1, T, "tripped", "flapping (crit) tripped: 15 %")]
    assert journal.machines.list_machines() == [
        (("flapping", "crit", BTC, ""), {"phase": "firing", "recent": [True]})  # whose it is, no journal said then
    ]
    assert journal.targets.list_latched() == [
        TargetState("bot", T, T + 90, "ladder stopped", "0123abcd", "i1", T - 5, 7, '{"unit":"bot.service"}')
    ]
    assert journal.runs.list_for_incident(1) == [
        PlanRun(
            id=1,
            incident=1,
            target="bot",
            plan="ladder",
            kind="repair",
            text='{"kind":"repair"}',
            place='{"unit":"bot.service"}',
            by="rule flapping",
            status="ended",
            outcome="proven",
            reason="quiet",
            level=1,
            acted=T + 20,
            queued=T + 1,
            ended=T + 30,
            watch_until=T + 29,
            approval="approved",
            approve_by=T + 9,
            marks={"began": {"size": 1}, "row": "level 1"},
        )
    ]
    assert journal.runs.list_steps(1) == [
        Step(
            *STEP,
            "set A = 1",
            "done",
            {"file": "config.py"},
            "it is so",
            T + 10,
            T + 20,
            4711,
            12.5,
            2,
            "-A = 2\n+A = 1",
        )
    ]
    told = Message("crit", "bot: flapping tripped", ("15 %", "– ✓"), 1, broadcast=True, key="2")
    assert journal.messages.due(T + 60) == [OutboxMessage(2, "mail", told, T, 1, is_urgent=True)]
    assert journal.messages.thread_handle("chat", 1) == "1700.1"
    assert [(one.channel, one.error) for one in journal.messages.list_undelivered(1)] == [("mail", "busy")]
    assert journal.requests.find_answer(1) == (False, "its data is stale")
    assert journal.requests.list_unanswered() == [Request(2, T + 5, "abort", {"what": "bot"}, "ben")]
    assert journal.suppressions.list_unended() == [
        Suppression(1, "hold", "bot", T, T + 1_000, "ann: exchange", halts=True, until_well=False),
        Suppression(2, "silence", "flapping", T, T + 2_000, "ben: noise", halts=False, until_well=True),
    ]
    assert journal.backups.list_for_incident(1) == [
        FileBackup(
            *(1, "level", 1, "/srv/config.py", {"kind": "file", "sha": "aa"}, "/state/backups/1"),
            {"kind": "file", "sha": "bb"},
        )
    ]
    assert journal.baselines.list_baselines() == [BASELINE]
    assert journal.baselines.list_points("latency", "digest", "bot") == [(T, 20.0), (T + 5, 21.0)]
    assert journal.peaks.list_peaks() == [(EQUITY, T, 1_200.0)]
    journal.close()


def write_the_same(journal: SqliteJournal, tx: SqliteTransaction) -> None:
    journal.targets.get_state("bot", T)
    incident = tx.incidents.open_incident("bot", "warn", "flapping: 15 %", T)
    tx.incidents.raise_to_critical(incident)
    tx.incidents.acknowledge(incident, "anna", T + 5)
    tx.incidents.add_trip(incident, "flapping", "crit", BTC, "15 % of 20", "ladder", T)
    tx.timeline.add_event("tripped", "flapping (crit) tripped: 15 %", T, incident=incident, target="bot")
    tx.machines.save_machines({("flapping", "crit", BTC, "bot"): {"phase": "firing", "recent": [True]}})
    tx.targets.update_target("bot", latched=T + 90, latch_why="ladder stopped", head="0123abcd", invocation="i1")
    tx.targets.update_target("bot", unsettled=T - 5, quiet_for=7, place='{"unit":"bot.service"}')
    run = tx.runs.queue_run(
        incident=incident,
        target="bot",
        plan="ladder",
        kind="repair",
        text='{"kind":"repair"}',
        place='{"unit":"bot.service"}',
        by="rule flapping",
        now=T + 1,
        level=1,
    )
    tx.runs.update_run(run, status="ended", outcome="proven", reason="quiet", acted=T + 20, ended=T + 30)
    tx.runs.update_run(run, watch_until=T + 29, approval="approved", approve_by=T + 9)
    tx.runs.update_run(run, marks={"row": "level 1", "began": {"size": 1}})
    step = Step(*STEP, "set A = 1", "started", {"file": "config.py"}, "", T + 10, None, None, None, 2, "-A = 2\n+A = 1")
    tx.runs.start_step(step)
    tx.runs.record_child(step.id, 4711, 12.5)
    tx.runs.end_step(step.id, "done", "it is so", T + 20)
    message = Message("crit", "bot: flapping tripped", ("15 %", "– ✓"), incident, opens=("incident 1",))
    tx.messages.enqueue(message, ["chat", "mail"], T)
    tx.messages.mark_sent(1, "1700.1", T + 2)
    tx.messages.mark_postponed(2, T + 60, "busy")
    request = tx.requests.add_request("resume", {"target": "bot", "reason": "fixed"}, "anna", T + 3)
    tx.requests.answer_request(request, False, "its data is stale", T + 4)
    tx.requests.add_request("abort", {"what": "bot"}, "ben", T + 5)
    tx.suppressions.add_suppression("hold", "bot", T + 1_000, "ann: exchange", T, halts=True)
    tx.suppressions.add_suppression("silence", "flapping", T + 2_000, "ben: noise", T, until_well=True)
    tx.backups.add_backup(step.id, "/srv/config.py", {"kind": "file", "sha": "aa"}, "/state/backups/1")
    tx.backups.record_result(run, incident, {"/srv/config.py": {"kind": "file", "sha": "bb"}})
    tx.baselines.save_baseline(BASELINE)
    tx.baselines.save_points("latency", "digest", [(T, 20.0), (T + 5, 21.0)], 0, "bot")
    tx.peaks.save_peak(EQUITY, "max", T, 1_200.0)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_written_as_it_was_before(old_path: Path, tmp_path: Path, table: str) -> None:
    before = SqliteJournal(old_path)
    now = SqliteJournal(tmp_path / "new" / "journal.db", durable=False)
    with now.transaction() as tx:
        write_the_same(now, tx)

    # Whose machines and baselines are, and which topics a message opens and ends, no journal said then.
    unsaid: dict[str, object] = {"target": ""} if table in ("machine", "baseline", "baseline_point") else {}
    unsaid |= {"extra": None} if table == "message" else {}
    rows = [[dict(row) | unsaid for row in journal.query(f"SELECT * FROM {table}")] for journal in (before, now)]

    assert rows[0]
    assert rows[1] == rows[0]
    before.close()
    now.close()


def test_no_table_is_left_out(old_path: Path) -> None:
    journal = SqliteJournal(old_path)

    assert [row[0] for row in journal.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")] == [
        *sorted((*TABLES, *NEWER))
    ]
    journal.close()


def test_what_was_known_of_a_kpi_goes_to_one_target(old_path: Path) -> None:
    journal = SqliteJournal(old_path)
    assert journal.baselines.list_kpis_of_nobody() == ["latency"]

    with journal.transaction() as tx:
        tx.baselines.rename_target("", "bot", "loss")
        tx.baselines.rename_target("", "bot", "latency")

    assert journal.baselines.list_kpis_of_nobody() == []
    assert [each.target for each in journal.baselines.list_baselines()] == ["bot"]
    assert journal.baselines.list_points("latency", "digest", "other") == []
    assert journal.baselines.list_points("latency", "digest", "bot") == [(T, 20.0), (T + 5, 21.0)]
    journal.close()
