"""Plan runs and their steps in the journal. A step says `started` before the world is touched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypedDict, Unpack

from watchdog.core.model import JsonObject, Millis
from watchdog.journal.serialization import from_json, to_json
from watchdog.journal.sql import Row, SqlRepository

RunStatus = Literal["queued", "running", "watching", "ended"]
"""`watching`: proven, but a rule that trips again soon goes on at the next level."""

RunOutcome = Literal["proven", "exhausted", "overtaken", "stopped", "dry-run", "not-needed", "denied", "aborted"]
"""`stopped`: the world is other than expected, a person must look. `not-needed`: it was quiet before its turn came."""

NO_EFFECT_OUTCOMES = ("not-needed", "dry-run", "denied")
"""Outcomes of runs that touched nothing: they count for no budget and use up no level."""

RunPart = Literal["ladder", "recover", "undo"]
"""What of a plan a run carries out: its levels, the stages back to work, or the undoing of an incident."""

StepPhase = Literal["before", "level", "proven", "recover", "back"]

SIBLINGS_MARK = "siblings"
"""Among a run's marks: what had a value before its first step."""
NEXT_LEVEL_MARK = "next"
"""Among them: that a person wants the next level, ``{"level": 0, "who": "ann: …"}``; of another level than that it says nothing."""

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
    """How far a log had been written when the last step began and ended; what had a value before the first one."""


def level_names(run: PlanRun) -> tuple[str, ...]:
    """Of its plan, in order; none where another version wrote it."""
    try:
        return tuple(str(level["name"]) for level in from_json(run.text)["levels"])
    except (ValueError, LookupError, TypeError):
        return ()


class RunChanges(TypedDict, total=False):
    """Columns of a run that are set; the others stay."""

    status: RunStatus
    outcome: RunOutcome | None
    reason: str
    level: int
    acted: Millis
    ended: Millis | None
    watch_until: Millis | None
    approval: Literal["approved", "denied"] | None
    approve_by: Millis | None
    abort: str | None
    marks: JsonObject


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

    undone: Millis | None = None
    """When it was seen that somebody has undone it while a latch holds it; None: it holds, or nothing holds it."""

    @property
    def id(self) -> StepId:
        return StepId(self.run, self.phase, self.level, self.n)


_RUN_COLUMNS = (
    "id, incident, target, plan, kind, text, place, by, status, outcome, reason, level, acted, queued, ended,"
    " watch_until, part, approval, approve_by, abort, marks"
)


def _run_from_row(row: Row) -> PlanRun:
    return PlanRun(**{**dict(row), "marks": from_json(row["marks"]) or {}})


class SqlRunReader(SqlRepository):
    def get_run(self, run: int) -> PlanRun:
        (row,) = self._sql.query(f"SELECT {_RUN_COLUMNS} FROM run WHERE id = ?", run)  # noqa: S608 – our own column list
        return _run_from_row(row)

    def find_run(self, run: int) -> PlanRun | None:
        row = self._sql.query_one(f"SELECT {_RUN_COLUMNS} FROM run WHERE id = ?", run)  # noqa: S608 – our own column list
        return None if row is None else _run_from_row(row)

    def list_all(self) -> list[PlanRun]:
        return [_run_from_row(row) for row in self._sql.query(f"SELECT {_RUN_COLUMNS} FROM run ORDER BY id")]  # noqa: S608

    def find_last_ended(self, target: str) -> PlanRun | None:
        sql = f"""SELECT {_RUN_COLUMNS} FROM run WHERE target = ? AND ended IS NOT NULL
            AND (outcome NOT IN ('not-needed', 'dry-run', 'denied', 'overtaken', 'aborted')
                 OR EXISTS (SELECT 1 FROM step WHERE step.run = run.id))
            ORDER BY ended DESC, id DESC LIMIT 1"""  # noqa: S608 – our own column list
        row = self._sql.query_one(sql, target)
        return None if row is None else _run_from_row(row)

    def list_targets_with_unfinished_runs(self) -> list[str]:
        return [
            row[0] for row in self._sql.query("SELECT DISTINCT target FROM run WHERE status != 'ended' ORDER BY target")
        ]

    def list_unfinished(self, target: str) -> list[PlanRun]:
        sql = f"""SELECT {_RUN_COLUMNS} FROM run WHERE target = ? AND status != 'ended'
            ORDER BY kind != 'halt', status = 'queued', by LIKE 'rule %', id"""  # noqa: S608 – our own column list
        return [_run_from_row(row) for row in self._sql.query(sql, target)]

    def list_for_incident(self, incident: int) -> list[PlanRun]:
        sql = f"SELECT {_RUN_COLUMNS} FROM run WHERE incident = ? ORDER BY id"  # noqa: S608 – our own column list
        return [_run_from_row(row) for row in self._sql.query(sql, incident)]

    def list_ended_since(self, target: str, since: Millis) -> list[PlanRun]:
        sql = f"SELECT {_RUN_COLUMNS} FROM run WHERE target = ? AND (ended IS NULL OR ended >= ?) ORDER BY id"  # noqa: S608
        return [_run_from_row(row) for row in self._sql.query(sql, target, since)]

    def list_that_acted(self, target: str, place: str | None = None) -> list[PlanRun]:
        sql = f"""SELECT {_RUN_COLUMNS} FROM run WHERE (target = ? OR place = ?) AND part != 'undo'
            AND EXISTS (SELECT 1 FROM step WHERE step.run = run.id AND step.before IS NOT NULL AND status != 'skipped')
            ORDER BY id"""  # noqa: S608 – our own column list
        return [_run_from_row(row) for row in self._sql.query(sql, target, place)]

    def list_recent_automatic(self, target: str, since: Millis) -> list[PlanRun]:
        sql = f"""SELECT {_RUN_COLUMNS} FROM run WHERE target = ? AND by LIKE 'rule %' AND (queued >= ? OR ended >= ?)
            AND coalesce(outcome, '') NOT IN ('not-needed', 'dry-run', 'denied')
            AND NOT (coalesce(outcome, '') = 'exhausted' AND approve_by IS NOT NULL AND approval IS NULL)
            AND (coalesce(outcome, '') NOT IN ('overtaken', 'aborted')
                 OR EXISTS (SELECT 1 FROM step WHERE step.run = run.id)) ORDER BY id"""  # noqa: S608
        return [_run_from_row(row) for row in self._sql.query(sql, target, since, since)]

    def list_steps(self, run: int) -> list[Step]:
        rows = self._sql.query(
            "SELECT run, phase, level, n, say, status, before, detail, started, ended, child_pid, child_started,"
            " tries, diff, undone FROM step"
            " WHERE run = ? ORDER BY started, CASE phase WHEN 'before' THEN 0 WHEN 'level' THEN 1 ELSE 2 END, level, n",
            run,
        )
        return [Step(**{**dict(row), "before": from_json(row["before"])}) for row in rows]


class SqlRunWriter(SqlRepository):
    def queue_run(
        self,
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
        return self._sql.insert(
            "INSERT INTO run (incident, target, plan, kind, text, place, by, status, level, queued, part)"
            " VALUES (?,?,?,?,?,?,?,'queued',?,?,?) RETURNING id",
            incident,
            target,
            plan,
            kind,
            text,
            place,
            by,
            level,
            now,
            part,
        )

    def update_run(self, run: int, **changes: Unpack[RunChanges]) -> None:
        values: dict[str, object] = {**changes}
        if "marks" in changes:
            values["marks"] = to_json(changes["marks"])
        names = ", ".join(f"{name} = ?" for name in values)
        self._sql.execute(f"UPDATE run SET {names} WHERE id = ?", *values.values(), run)  # noqa: S608 – our own names

    def start_step(self, step: Step) -> None:
        self._sql.execute(
            "INSERT OR REPLACE INTO step (run, phase, level, n, say, status, before, detail, started,"
            " tries, diff) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
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
        )

    def end_step(self, step: StepId, status: StepStatus, detail: str, now: Millis) -> None:
        self._sql.execute(
            "UPDATE step SET status = ?, detail = ?, ended = ? WHERE run = ? AND phase = ? AND level = ? AND n = ?",
            status,
            detail,
            now,
            *step,
        )

    def mark_undone(self, step: StepId, since: Millis | None) -> None:
        self._sql.execute(
            "UPDATE step SET undone = ? WHERE run = ? AND phase = ? AND level = ? AND n = ?", since, *step
        )

    def record_child(self, step: StepId, pid: int, started: float) -> None:
        self._sql.execute(
            "UPDATE step SET child_pid = ?, child_started = ? WHERE run = ? AND phase = ? AND level = ? AND n = ?",
            pid,
            started,
            *step,
        )
