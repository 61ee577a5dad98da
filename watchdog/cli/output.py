"""What the commands print. All of it goes through here, so that whatever others wrote is seen for what it is: `core.text`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from watchdog.cli import terminal
from watchdog.core.text import escape, escape_lines
from watchdog.core.units import with_json_numbers


def print_line(text: object = "", *, is_error: bool = False, flush: bool = False) -> None:
    """One line, whatever `text` holds. `is_error`: to stderr. `flush`: somebody waits for it, also behind a pipe."""
    _print(escape(str(text)), is_error=is_error, flush=flush)


def print_lines(text: str, indent: str = "") -> None:
    """Text of several lines: a diff, a report. Its tabs and its lines stay; the lines of others need an indent, or a mark."""
    for line in escape_lines(text.removesuffix("\n")).split("\n") if text else ():
        _print(indent + line)


def print_table(rows: Sequence[Sequence[str]], *, align: str = "<") -> None:
    """Columns as wide as what stands in them. `align`: of all but the first, as in format()."""
    shown = [[escape(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [
            f"{cell:{align if i else '<'}{width}}" for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        _print("  ".join(cells).rstrip())


def print_json(value: object) -> None:
    """One JSON value on one line. In ASCII: its own escapes show what is not seen, and whoever reads it gets what it was. NaN and
    infinities are texts, as in `/api/query`: JSON has no numbers for them."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        text = json.dumps(with_json_numbers(value), allow_nan=False)
    _print(text, flush=True)


def print_data(text: str) -> None:
    """A file for another program, byte for byte."""
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None or terminal.is_terminal(sys.stdout):
        print(text, end="")
        return
    sys.stdout.flush()
    raw.write(text.encode("utf-8", "surrogateescape"))
    raw.flush()


def _print(text: str, *, is_error: bool = False, flush: bool = False) -> None:
    try:
        print(text, file=sys.stderr if is_error else sys.stdout, flush=flush)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise terminal.OutputError(f"the output could not be written: {error.strerror}") from None
