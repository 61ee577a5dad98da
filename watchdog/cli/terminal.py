"""Where output goes: terminals that know no UTF-8, pipes that nobody reads to the end, and streams that are closed."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import TextIO

from watchdog.core.errors import WatchdogError

_ERRORS = "trading-watchdog"
"""Name of how characters that a terminal has not are shown."""
_PLAIN = {
    **dict.fromkeys("–—―−‐‑", "-"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’‚", "'"),
    **dict(zip("▁▂▃▄▅▆▇█", "_.-=+*#@", strict=True)),
    "→": "->",
    "←": "<-",
    "…": "...",
    "×": "x",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    "µ": "u",
    "·": "*",
    "▶": ">",
    "▸": ">",
    "◀": "<",
    "▲": "^",
    "└": "`",
    "│": "|",
    "─": "-",
    "✓": "ok",
    "✗": "x",
    "�": "?",
    "\u00a0": " ",
}
"""Ours; what others wrote is shown by its number, so that two names stay two."""


class OutputError(WatchdogError):
    """What was to be printed could not be written: a full disk."""


def prepare() -> None:
    """Whatever is printed from here on ends no command in an error of encoding."""
    codecs.register_error(_ERRORS, _show_plainly)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # closed: the next file that is opened would take its place
            with contextlib.suppress(OSError):
                os.fstat(number)
                continue
            descriptor = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, "r" if number == 0 else "w", encoding="utf-8"))
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _show_plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode() for each in lost), error.end


def flush() -> None:
    """Raises BrokenPipeError when nobody reads any more, OutputError when it cannot be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the output could not be written: {error.strerror}") from None


def discard() -> None:
    """What is still to be written goes nowhere: the interpreter would try it again at its end, and complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def is_terminal(stream: TextIO) -> bool:
    """False also for one that is closed."""
    try:
        return stream.isatty()
    except ValueError:
        return False
