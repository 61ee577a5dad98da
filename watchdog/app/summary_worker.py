"""The process that puts a summary together for the daemon: it reads the journal and the samples beside it, and writes nothing.

On stdin a pickled tuple, a `SummaryQuestion` of the daemon's own making. On stdout a line of JSON each time that more is known,
``{"title", "lines"}``, or at the end ``{"problem"}``. The daemon takes the last one, and ends the process at its deadline.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple

from watchdog.config import Config
from watchdog.config.summary import SummaryKind
from watchdog.core.errors import WatchdogError
from watchdog.core.model import Millis
from watchdog.host.side_process import restrict
from watchdog.journal import open_journal
from watchdog.offline.summary.data import SummaryPeriod
from watchdog.offline.summary.make import make_summaries
from watchdog.tsdb.schema import SERIES_FILE

_MEMORY = 2 << 30
"""Bytes that it may take beyond what it is made of."""


class SummaryQuestion(NamedTuple):
    config: Config
    """The one that runs, without what holds secrets."""
    period: tuple[SummaryKind, Millis, Millis, str]
    """A `SummaryPeriod`, which the daemon does not import."""
    sources: Mapping[str, Any]
    """As the daemon's status tells of them."""
    seconds: float
    """After which nothing more is begun."""


def main() -> None:
    asked = SummaryQuestion(*pickle.load(sys.stdin.buffer))  # noqa: S301 - whoever began us wrote it
    signal.alarm(round(3 * asked.seconds))  # should the daemon be gone
    restrict(_MEMORY)
    try:
        _answer(asked)
    except BrokenPipeError:
        return
    except (WatchdogError, MemoryError) as error:
        _say({"problem": str(error) or "there is not enough memory for it"})
    except Exception:
        _say({"problem": traceback.format_exc(limit=-5)})


def _answer(asked: SummaryQuestion) -> None:
    until = time.monotonic() + asked.seconds
    state = asked.config.state
    made = make_summaries(
        asked.config,
        open_journal(state, migrate=False),
        state / SERIES_FILE,
        asked.sources,
        SummaryPeriod(*asked.period),
        lambda: time.monotonic() > until,
    )
    for message in made:
        _say({"title": message.title, "lines": message.lines})


def _say(what: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
