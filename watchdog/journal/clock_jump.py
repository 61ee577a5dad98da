"""When the clock is set back: what the journal says of a time that has not come yet was just now.

A machine whose clock is hours ahead until the network corrects it would else refuse repairs for those hours, since a
deployment "settles" until then, and hold messages back, and believe no sample after an epoch that is still to come.
"""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.journal.peaks import SqlPeakWriter
from watchdog.journal.sql import SqlSession

_TOLERANCE = 60_000
"""ms ahead that are nothing to speak of."""


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
    sql.execute(
        "UPDATE channel_pause SET until = until - (t - ?), crit_until = crit_until - (t - ?), t = ? WHERE t > ?",
        *(now, now, now, ahead),
    )
    sql.execute("UPDATE incident SET reminded = ? WHERE reminded > ?", now, ahead)
    sql.execute("DELETE FROM peak WHERE t > ?", ahead)
    writer = SqlPeakWriter(sql)
    for series, side, v in peaks:
        writer.save_peak(series, side, now, v)
