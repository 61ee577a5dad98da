"""When the clock is set: what still runs takes as long as it would have, and what lies ahead even so was just now.

A machine whose clock is hours ahead until the network corrects it would else refuse repairs for those hours, since a
deployment "settles" until then, and hold messages back, and believe no sample after an epoch that is still to come.
"""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.journal.peaks import SqlPeakWriter
from watchdog.journal.sql import SqlSession

_TOLERANCE = 60_000
"""ms ahead that are nothing to speak of."""


def follow_clock_step(sql: SqlSession, step: Millis, now: Millis, span: Millis) -> None:
    """Within a transaction. The clock was set by `step`; it was `now` before that. Times that something is measured from, or
    that are waited for, move along; the record of what is over stays as it is. `span`: for how long an ended run counts.

    What was ahead of `now` already was written under yet another clock, and stays.
    """
    for column in ("latched", "unsettled", "epoch"):
        sql.execute(f"UPDATE target SET {column} = {column} + ? WHERE {column} <= ?", step, now)  # noqa: S608 – our own
    sql.execute(
        "UPDATE step SET started = started + ?, ended = ended + ? WHERE started <= ? AND run IN "
        "(SELECT id FROM run WHERE ended IS NULL)",
        step,
        step,
        now,
    )
    sql.execute(
        "UPDATE run SET queued = queued + ?, acted = CASE acted WHEN 0 THEN 0 ELSE acted + ? END, ended = ended + ?, "
        "watch_until = watch_until + ?, approve_by = approve_by + ? WHERE queued <= ? AND (ended IS NULL OR ended > ? "
        "OR ended + ? >= (SELECT latched FROM target WHERE target.name = run.target))",
        *(step,) * 5,
        now,
        now - span,
        step,
    )
    sql.execute(
        "UPDATE trip SET t = t + ?, cleared = cleared + ? WHERE t <= ? AND incident IN "
        "(SELECT id FROM incident WHERE closed IS NULL)",
        step,
        step,
        now,
    )
    sql.execute(
        "UPDATE incident SET opened = opened + ?, acked = acked + ?, reminded = reminded + ?, "
        "escalated = escalated + ? WHERE closed IS NULL AND opened <= ?",
        *(step,) * 4,
        now,
    )
    sql.execute("UPDATE stay SET t = t + ?, until = until + ? WHERE ended IS NULL AND t <= ?", step, step, now)
    sql.execute(
        "UPDATE message SET created = created + ?, next_try = next_try + ?, held = held + ? "
        "WHERE sent IS NULL AND failed IS NULL AND created <= ?",
        *(step,) * 3,
        now,
    )
    sql.execute("UPDATE message SET counted = counted + ? WHERE counted <= ?", step, now)
    sql.execute(
        "UPDATE channel_pause SET t = t + ?, until = until + ?, crit_until = crit_until + ? WHERE t <= ?",
        *(step,) * 3,
        now,
    )
    sql.execute("UPDATE head SET next_try = next_try + ? WHERE final = 0 AND next_try > 0", step)
    sql.execute("UPDATE chat_event SET t = t + ?, received = received + ? WHERE answered IS NULL", step, step)
    sql.execute("UPDATE confirmation SET t = t + ?, until = until + ? WHERE used IS NULL AND t <= ?", step, step, now)
    sql.execute("UPDATE summary SET due = due + ?, told = told + ? WHERE due <= ?", step, step, now)
    # What is before every epoch is compared with no more, and would hide in its hour what has come since.
    peaks = sql.query(
        "SELECT series, side, t, v FROM peak WHERE t <= ? AND t + ? > (SELECT coalesce(min(epoch), 0) FROM target)",
        now,
        step,
    )
    sql.execute("DELETE FROM peak WHERE t <= ?", now)
    writer = SqlPeakWriter(sql)
    for series, side, t, v in peaks:
        writer.save_peak(series, side, t + step, v)


def handle_clock_jump(sql: SqlSession, now: Millis) -> None:
    """Within a transaction."""
    ahead = now + _TOLERANCE
    # A peak from before an epoch is forgotten on purpose, and one from after it is not.
    peaks = sql.query(
        "SELECT series, side, v FROM peak WHERE t > ? AND t > (SELECT coalesce(max(epoch), 0) FROM target)", ahead
    )
    sql.execute("UPDATE target SET unsettled = ? WHERE unsettled > ?", now, ahead)
    sql.execute("UPDATE target SET epoch = ? WHERE epoch > ?", now - 1, ahead)
    sql.execute("UPDATE run SET queued = ? WHERE queued > ?", now, ahead)
    sql.execute("UPDATE run SET ended = ? WHERE ended > ?", now, ahead)
    # What lasts for a while lasts as long as was said.
    sql.execute("UPDATE stay SET until = until - (t - ?), t = ? WHERE t > ?", now, now, ahead)
    sql.execute(
        "UPDATE message SET created = ?, next_try = ? WHERE created > ? AND sent IS NULL AND failed IS NULL",
        now,
        now,
        ahead,
    )
    sql.execute("UPDATE message SET counted = ? WHERE counted > ?", now, ahead)
    sql.execute(
        "UPDATE channel_pause SET until = until - (t - ?), crit_until = crit_until - (t - ?), t = ? WHERE t > ?",
        *(now, now, now, ahead),
    )
    sql.execute("UPDATE incident SET reminded = ? WHERE reminded > ?", now, ahead)
    sql.execute("UPDATE head SET next_try = ? WHERE next_try > ? AND final = 0", now, ahead)
    sql.execute("UPDATE summary SET told = min(told, ?), due = ? WHERE due > ?", now, now, ahead)
    sql.execute("UPDATE confirmation SET until = until - (t - ?), t = ? WHERE t > ? AND used IS NULL", now, now, ahead)
    sql.execute("DELETE FROM peak WHERE t > ?", ahead)
    writer = SqlPeakWriter(sql)
    for series, side, v in peaks:
        writer.save_peak(series, side, now, v)
