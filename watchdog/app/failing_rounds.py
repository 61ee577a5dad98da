"""What is done every so often and fails each time: half a watchdog must not look like a whole one."""

from __future__ import annotations

import time
from collections.abc import Callable

from watchdog.core.model import Message, NotifyFunction
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.topics import failing_topic

_ILL_AFTER = 10.0
"""s of nothing but failures."""


class FailingRounds:
    """Of one daemon: noted by its loop, asked by any thread."""

    def __init__(self, notify: NotifyFunction, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._notify, self._monotonic = notify, monotonic
        self._failing: dict[str, tuple[float, str]] = {}
        """Name → since when each call has failed, and how the last one did."""
        self._told: set[str] = set()

    def note(self, name: str, error: Exception | None) -> None:
        """How a call has ended. People are told once it has failed for long, and when it works again."""
        if error is None:
            self._failing.pop(name, None)
            well = Message("info", f"the watchdog is well again: its {name} works", ends=(failing_topic(name),))
            if name in self._told and self._tell(well):
                self._told.discard(name)
            return
        since = self._failing.get(name, (self._monotonic(), ""))[0]
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        self._failing[name] = since, text
        if name not in self._told and self._monotonic() - since >= _ILL_AFTER:
            lines = (text, "what it does is not done; its log has the whole of it")
            title, topic = f"the watchdog is ill: its {name} fails each time", failing_topic(name)
            if self._tell(Message("crit", title, lines, opens=(topic,))):
                self._told.add(name)

    def _tell(self, message: Message) -> bool:
        try:
            self._notify(message)
        except JournalUnavailableError:  # told at the next call
            return False
        except Exception:  # what is broken may be what tells
            log.exception("%s", message.title)
            return False
        return True

    def describe_problem(self) -> str | None:
        """What is wrong; None when nothing is, or has not been for long."""
        for name, (since, text) in list(self._failing.items()):
            if (lasting := self._monotonic() - since) >= _ILL_AFTER:
                return f"the {name} has failed for {format_duration(round(lasting) * 1_000)}: {text}"
        return None
