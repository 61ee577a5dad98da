"""What may cross a border: errors whose text is for the operator."""

from __future__ import annotations


class WatchdogError(Exception):
    """Base of what may cross a border. Its text is for the operator: what happened and, where known, the cure."""


class SourceError(WatchdogError):
    """A source could not be read. The data is missing; nothing is said about the bot."""


class ActionError(WatchdogError):
    """A change to the world failed."""

    def __init__(self, message: str, *, may_have_happened: bool = False) -> None:
        """`may_have_happened`: it is not known whether the world changed (a time-out, a lost connection)."""
        super().__init__(message)
        self.may_have_happened = may_have_happened


class MissingError(ActionError):
    """What it names is not there."""


class UnreadableError(ActionError):
    """It cannot be looked at: nobody knows whether what it names is there."""


class NotifyError(WatchdogError):
    """A message was not delivered."""

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        """`permanent`: trying again cannot help (bad token, unknown chat). `retry_after`: seconds, the server says."""
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after
