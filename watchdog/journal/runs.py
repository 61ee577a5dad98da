"""Plan runs and their steps in the journal. A step says `started` before the world is touched."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from watchdog.core.model import JsonObject, Millis
from watchdog.journal.sqlite import Journal, from_json, to_json

RunStatus = Literal["queued", "running", "watching", "ended"]
"""`watching`: proven, but a rule that trips again soon goes on at the next level."""

RunOutcome = Literal["proven", "exhausted", "overtaken", "stopped", "dry-run", "not-needed", "denied", "aborted"]
"""`stopped`: the world is other than expected, a person must look. `not-needed`: it was quiet before its turn came."""

NO_EFFECT_OUTCOMES = ("not-needed", "dry-run", "denied")
"""Outcomes of runs that touched nothing: they count for no budget and use up no level."""

RunPart = Literal["ladder", "recover", "undo"]
"""What of a plan a run carries out: its levels, the stages back to work, or the undoing of an incident."""

StepPhase = Literal["before", "level", "proven", "recover", "back"]
StepStatus = Literal["started", "done", "failed", "unknown", "skipped"]


class StepId(NamedTuple):
    """Which step of which run: the `n`-th of a row of the plan (a level, or what stands before, after or beside them)."""

    run: int
    phase: StepPhase
    level: int
    n: int

    def __str__(self) -> str:
        """The same for every try, also by another process: actions are handed it as their idempotency key."""
        return f"run {self.run} {self.phase} {self.level}.{self.n}"


@dataclass(frozen=True, slots=True)
class PlanRun:
    id: int
    incident: int | None
    target: str
    plan: str
    kind: Literal["halt", "repair"]
    text: str
    """The plan as it was when the run was queued; a reload does not change it."""
    place: str
    """The target as it was then."""
    by: str
    status: RunStatus
    outcome: RunOutcome | None
    reason: str
    level: int
    """Level at work, or the next one."""
    acted: Millis
    """End of the last step; 0 = none yet. Evidence is younger than this."""
    queued: Millis
    ended: Millis | None
    watch_until: Millis | None
    part: RunPart = "ladder"
    approval: Literal["approved", "denied"] | None = None
    approve_by: Millis | None = None
    """Until when a person may approve it; None when nobody was asked."""
    abort: str | None = None
    """Who wants it ended, and why."""
    marks: JsonObject = field(default_factory=dict)
    """How far a log had been written when the last step began and ended."""


@dataclass(frozen=True, slots=True)
class Step:
    run: int
    phase: StepPhase
    level: int
    n: int
    say: str
    status: StepStatus
    before: JsonObject | None
    detail: str
    started: Millis | None
    ended: Millis | None
    child_pid: int | None
    child_started: float | None
    tries: int = 1
    diff: str = ""
    """The lines it changes, without what stands around them: those may be nobody else's business."""

    @property
    def id(self) -> StepId:
        return StepId(self.run, self.phase, self.level, self.n)


def queue_run(
    db: sqlite3.Connection,
    *,
    incident: int | None,
    target: str,
    plan: str,
    kind: str,
    text: str,
    place: str,
    by: str,
    now: Millis,
    level: int = 0,
    part: RunPart = "ladder",
) -> int:
    row = db.execute(
        "INSERT INTO run (incident, target, plan, kind, text, place, by, status, level, queued, part)"
        " VALUES (?,?,?,?,?,?,?,'queued',?,?,?) RETURNING id",
        (incident, target, plan, kind, text, place, by, level, now, part),
    ).fetchone()
    return int(row[0])


_RUN_COLUMNS = (
    "id, incident, target, plan, kind, text, place, by, status, outcome, reason, level, acted, queued, ended,"
    " watch_until, part, approval, approve_by, abort, marks"
)


def _run_from_row(row: sqlite3.Row) -> PlanRun:
    return PlanRun(**{**dict(row), "marks": from_json(row["marks"]) or {}})


def get_run(journal: Journal, run: int) -> PlanRun:
    (row,) = journal.query(f"SELECT {_RUN_COLUMNS} FROM run WHERE id = ?", run)  # noqa: S608 – our own column list
    return _run_from_row(row)


def find_run(journal: Journal, run: int) -> PlanRun | None:
    """As `get`; None when there is no such run."""
    row = journal.query_one(f"SELECT {_RUN_COLUMNS} FROM run WHERE id = ?", run)  # noqa: S608 – our own column list
    return None if row is None else _run_from_row(row)


def find_last_ended(journal: Journal, target: str) -> PlanRun | None:
    """The run that left the target as it is: one that never began did not."""
    sql = f"""SELECT {_RUN_COLUMNS} FROM run WHERE target = ? AND ended IS NOT NULL
        AND (outcome NOT IN ('not-needed', 'dry-run', 'denied', 'overtaken', 'aborted')
             OR EXISTS (SELECT 1 FROM step WHERE step.run = run.id))
        ORDER BY ended DESC, id DESC LIMIT 1"""  # noqa: S608 – our own column list
    row = journal.query_one(sql, target)
    return None if row is None else _run_from_row(row)


def list_targets_with_unfinished_runs(journal: Journal) -> list[str]:
    """Targets with runs that are not over, whether a file still names them or not."""
    return [row[0] for row in journal.query("SELECT DISTINCT target FROM run WHERE status != 'ended' ORDER BY target")]


def list_unfinished(journal: Journal, target: str) -> list[PlanRun]:
    """Runs of a target that are not over: halts first, then what is under way, then people's, then in the order queued.

    A rule's repair may wait for hours, held or for approval; what a person asks for does not wait behind it.
    """
    sql = f"""SELECT {_RUN_COLUMNS} FROM run WHERE target = ? AND status != 'ended'
        ORDER BY kind != 'halt', status = 'queued', by LIKE 'rule %', id"""  # noqa: S608 – our own column list
    return [_run_from_row(row) for row in journal.query(sql, target)]


def list_for_incident(journal: Journal, incident: int) -> list[PlanRun]:
    sql = f"SELECT {_RUN_COLUMNS} FROM run WHERE incident = ? ORDER BY id"  # noqa: S608 – our own column list
    return [_run_from_row(row) for row in journal.query(sql, incident)]


def list_recent_automatic(journal: Journal, target: str, since: Millis) -> list[PlanRun]:
    """Runs that rules started (people's are no budget's business) and that ended or began after `since`."""
    sql = f"""SELECT {_RUN_COLUMNS} FROM run WHERE target = ? AND by LIKE 'rule %' AND (queued >= ? OR ended >= ?)
        AND coalesce(outcome, '') NOT IN ('not-needed', 'dry-run', 'denied') ORDER BY id"""  # noqa: S608
    return [_run_from_row(row) for row in journal.query(sql, target, since, since)]


def update_run(db: sqlite3.Connection, run: int, **fields: object) -> None:
    """Sets columns of a run."""
    names = ", ".join(f"{name} = ?" for name in fields)
    db.execute(f"UPDATE run SET {names} WHERE id = ?", (*fields.values(), run))  # noqa: S608 – our own names


def list_steps(journal: Journal, run: int) -> list[Step]:
    """In the order they were done."""
    rows = journal.query(
        "SELECT run, phase, level, n, say, status, before, detail, started, ended, child_pid, child_started,"
        " tries, diff FROM step"
        " WHERE run = ? ORDER BY started, CASE phase WHEN 'before' THEN 0 WHEN 'level' THEN 1 ELSE 2 END, level, n",
        run,
    )
    return [Step(**{**dict(row), "before": from_json(row["before"])}) for row in rows]


def start_step(db: sqlite3.Connection, step: Step) -> None:
    """Writes `started` with what was so before; replaces an earlier try of the same step."""
    db.execute(
        "INSERT OR REPLACE INTO step (run, phase, level, n, say, status, before, detail, started,"
        " tries, diff) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            step.run,
            step.phase,
            step.level,
            step.n,
            step.say,
            step.status,
            to_json(step.before),
            step.detail,
            step.started,
            step.tries,
            step.diff,
        ),
    )


def end_step(db: sqlite3.Connection, step: StepId, status: StepStatus, detail: str, now: Millis) -> None:
    db.execute(
        "UPDATE step SET status = ?, detail = ?, ended = ? WHERE run = ? AND phase = ? AND level = ? AND n = ?",
        (status, detail, now, *step),
    )


def record_child(db: sqlite3.Connection, step: StepId, pid: int, started: float) -> None:
    """The process that a step started: it may outlive us."""
    db.execute(
        "UPDATE step SET child_pid = ?, child_started = ? WHERE run = ? AND phase = ? AND level = ? AND n = ?",
        (pid, started, *step),
    )
