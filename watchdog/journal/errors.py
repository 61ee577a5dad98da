"""Why the journal cannot be used: for good, or for a while."""

from __future__ import annotations

import errno
from typing import Literal

from watchdog.core.errors import WatchdogError

NOT_ALLOWED = (errno.EACCES, errno.EPERM)
"""Of a file: it is well, and somebody else's."""


class JournalError(WatchdogError):
    """The journal cannot be used. Nobody acts blind: the daemon stops with the cure."""


class JournalOutOfReachError(JournalError):
    """It cannot be read or written at all: its disk is full, broken or read-only, somebody holds it, or it is damaged.

    What makes a bot safe is done all the same, off the record (`off_record`). Not raised for a journal that is not ours."""


class JournalOutdatedError(JournalError):
    """The journal is of an older version."""


UnavailableReason = Literal["busy", "full", "read_only", "io"]

_REMEDIES: dict[UnavailableReason, str] = {
    "busy": "end the program that holds it, such as a sqlite3 shell",
    "full": "make room on its disk",
    "read_only": "look at its disk: it may be broken, or mounted read-only",
    "io": "look at its disk: it may be broken, or mounted read-only",
}


class JournalUnavailableError(WatchdogError):
    """The journal takes or gives nothing at the moment; nothing is wrong with it. What failed is tried again.

    No JournalError: that one ends the daemon.
    """

    def __init__(self, message: str, reason: UnavailableReason) -> None:
        super().__init__(f"{message} — {_REMEDIES[reason]}")
        self.reason: UnavailableReason = reason

    @property
    def remedy(self) -> str:
        """What a person can do about it."""
        return _REMEDIES[self.reason]
