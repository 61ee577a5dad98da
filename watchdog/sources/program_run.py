"""One run of a source's program, in a process of whom it runs as: what came of it, in bounds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from watchdog.core.errors import ActionError
from watchdog.core.model import Millis
from watchdog.core.text import shorten
from watchdog.core.units import format_duration
from watchdog.host import child_process

_LOCALE = {"LC_ALL": "C.UTF-8"}
"""Who reads numbers wants points in them, and words that are the same everywhere."""
_MAX_SAID = 2_000
"""Characters of stderr that are kept."""


class ProgramOutput(NamedTuple):
    exit_status: int
    """``-9`` when signal 9 ended it."""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """How long it took."""
    stdout: str
    """What is not UTF-8 in it is ``\\ufffd``."""
    bad_byte: int | None
    """Where that begins; None: all of it is UTF-8."""
    stderr: str
    """Its end."""


def run_program(
    argv: tuple[str, ...], cwd: str | None, env: dict[str, str], timeout: Millis, max_bytes: int
) -> ProgramOutput:
    """Runs it to its end; nothing that it has started in its process group is left afterwards. Raises ActionError, one line."""
    started = time.monotonic()
    name = shorten(argv[0], 80)  # its arguments may hold what nobody else is to know
    if cwd is not None and not Path(cwd).is_dir():
        raise ActionError(f"{name} was not started: there is no folder {cwd} — mend cwd")
    try:
        ran = child_process.run(
            argv,
            cwd=cwd,
            env={**_LOCALE, **env},
            timeout_ms=timeout,
            output_limit=max_bytes,
            leaves_nothing=True,
        )
    except ActionError as error:
        if not error.may_have_happened:  # it was not started, and the error says why
            raise
        raise ActionError(
            f"{name} did not end within {format_duration(timeout)}, and was ended — see why it hangs, or say a longer timeout",
            may_have_happened=True,
        ) from None
    if ran.truncated:
        raise ActionError(
            f"{name} says more than {max_bytes} bytes, and was ended — have it say less, or say more max_bytes"
        )
    stderr = ran.stderr.strip()[-_MAX_SAID:]
    return ProgramOutput(ran.exit_code, time.monotonic() - started, ran.stdout, _bad_byte(ran.stdout_bytes), stderr)


def _bad_byte(said: bytes) -> int | None:
    try:
        said.decode()
    except UnicodeDecodeError as fault:
        return fault.start
    return None
