"""How HEAD of a work tree was moved last: by a reset, a checkout, a pull, a commit, and by whom."""

from __future__ import annotations

from watchdog.actions.git.repository import open_repository
from watchdog.core.model import Millis

_QUERY_TIMEOUT_MS = 10_000
_SECOND = 1_000
"""ms: git's own log of it counts whole seconds."""


def last_head_move(repo: str, since: Millis) -> str | None:
    """``git reset: moving to HEAD~1, by Ada <ada@example.org>: HEAD is 0123456789 (v2: a better model)``; None: it has not moved
    since (ms since the epoch), or nobody keeps a log of it. Raises ActionError."""
    found = open_repository(repo, _QUERY_TIMEOUT_MS)
    form = "%gd%x00%gs%x00%gn <%ge>%x00%h%x00%s"
    line = found.git_line("log", "-g", "-1", "--date=unix", f"--format={form}", "HEAD", ok=(0, 128))
    selector, _, rest = line.partition("\0")
    when = selector.partition("@{")[2].rstrip("}")
    if not when.isdecimal() or (int(when) + 1) * _SECOND < since:
        return None
    how, by, commit, subject = rest.split("\0", 3)
    return f"git {how}, by {by}: HEAD is {commit} ({subject})"
