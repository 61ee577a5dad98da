"""How a record of the log looks: one line, whatever its message holds, so that nobody writes a line of ours."""

from __future__ import annotations

import logging
import sys
import threading
import traceback

from watchdog.core.telemetry import log
from watchdog.core.text import shorten

_MAX_CHARACTERS = 8_000
"""Of a line. systemd's journal cuts one of 48 KiB in two, and the second would begin with what somebody else chose."""
_CONTINUATION = "  | "
"""Leads the lines of a traceback, which are the only ones that may follow: no record begins so."""
_SYSLOG_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class LineFormatter(logging.Formatter):
    """A record as one line; below it the traceback that it carries, each line of which says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        lines = [self.formatMessage(record)]
        if record.exc_info and record.exc_info[0] is not None:
            lines += _split("".join(traceback.format_exception(*record.exc_info)))
        if record.stack_info:
            lines += _split(record.stack_info)
        return "\n".join(self.mark(record, shorten(line, _MAX_CHARACTERS)) for line in lines)

    def mark(self, record: logging.LogRecord, line: str) -> str:  # noqa: ARG002 - of use to those who come after
        return line


class JournaldFormatter(LineFormatter):
    """Each line begins with ``<3>`` and the like, see sd-daemon(3): `journalctl -p warning` leaves out the rest."""

    def mark(self, record: logging.LogRecord, line: str) -> str:
        return f"<{next((rank for least, rank in _SYSLOG_PRIORITIES if record.levelno >= least), 7)}>{line}"


def _split(text: str) -> list[str]:
    return [_CONTINUATION + line for line in text.rstrip("\n").split("\n")]


def log_uncaught() -> None:
    """What nobody catches, in any thread, and what Python warns of goes to the log, too: Python itself would print it as it is."""
    sys.excepthook = lambda kind, error, trace: log.critical("a mistake of ours", exc_info=(kind, error, trace))
    threading.excepthook = lambda found: log.error(
        "a mistake of ours in the thread %s",
        found.thread.name if found.thread else "?",
        exc_info=found.exc_value,
    )
    logging.captureWarnings(True)
