"""Far ends at which something is counted, and how often that was."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from typing import Any, Protocol

from tests.sources.contract.environment import Environment
from tests.support.raw_http_server import respond_with
from watchdog.sources.openmetrics import CONTENT_TYPE

TIMES = 1_690_000_000
"""s since 1970, ahead of all reads."""


class Counted(Protocol):
    """Of a source that is asked: `happen` at a time, some of which a read finds, in series whose increases add up to `seen`."""

    @property
    def fields(self) -> dict[str, Any]: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def happen(self, now: int) -> None:
        """One more."""

    def disturb(self, now: int) -> None:
        """What usually goes on around it: a rotation, a restart of the bot."""

    def was_read(self) -> None:
        """A read was kept."""

    @property
    def seen(self) -> int:
        """How many the kept reads stand for, from the first of them on."""
        ...

    def close(self) -> None: ...


class Lines:
    """A file that a bot writes, line by line, and that is renamed, or copied and truncated, in turns. No two lines are alike:
    a copy of a file that was read is told from another file by what is in it."""

    def __init__(self, world: Environment, name: str, line: str, fields: dict[str, Any]) -> None:
        self._path, self._line, self._turns, self._numbers = world.folder / name, line, 0, itertools.count(1)
        self._path.write_text(line.format("from before"))
        self._pending = self.seen = 0
        self._was_read = False
        self.fields: dict[str, Any]
        self.fields, self.metrics = {"files": str(self._path), **fields}, ("events_total",)

    def happen(self, now: int) -> None:
        with self._path.open("a") as file:
            file.write(self._line.format(next(self._numbers)))
        self._pending += 1

    def disturb(self, now: int) -> None:
        older = self._path.with_name(f"{self._path.name}.1")
        if older.exists():
            older.rename(f"{older}-{self._turns}")
        if self._turns % 2:
            older.write_bytes(self._path.read_bytes())
            os.truncate(self._path, 0)
        else:
            self._path.rename(older)
            self._path.touch()
        self._turns += 1

    def was_read(self) -> None:
        self.seen += self._pending if self._was_read else 0  # what was there before counts for nothing
        self._pending, self._was_read = 0, True

    def close(self) -> None:
        pass


class Page:
    """A page of OpenMetrics, of a bot that says since when it has counted."""

    def __init__(self, world: Environment) -> None:
        self._server = world.serve(respond_with(""))
        self._value, self._created, self._read_value, self._first = 0, float(TIMES), 0, True
        self.seen = 0
        self.fields, self.metrics = {"url": self._server.url, "timeout": "20s", "openmetrics": True}, ("events_total",)
        self._show()

    def _show(self) -> None:
        page = f"# TYPE events counter\nevents_total {self._value}\nevents_created {self._created:.3f}\n# EOF\n"
        self._server.behaviour = respond_with(page, headers={"Content-Type": CONTENT_TYPE})

    def happen(self, now: int) -> None:
        self._value += 1
        self._show()

    def disturb(self, now: int) -> None:
        """It was restarted; what it had counted since the last read nobody knows."""
        self._value, self._created, self._read_value = 0, (now + 1) / 1_000, 0
        self._show()

    def was_read(self) -> None:
        self.seen += 0 if self._first else self._value - self._read_value
        self._read_value, self._first = self._value, False

    def close(self) -> None:
        pass


class Restarts:
    """A bot that is restarted, and tells its process id."""

    def __init__(self, world: Environment) -> None:
        self._path = world.folder / "pid"
        self._started: list[subprocess.Popen[bytes]] = []
        self._known: int | None = None
        self.seen = 0
        self.fields, self.metrics = {"pid_file": str(self._path)}, ("process_restarts_total",)
        self.happen(0)

    def happen(self, now: int) -> None:
        self.disturb(0)
        self._started.append(subprocess.Popen(["sleep", "600"]))
        self._path.write_text(str(self._started[-1].pid))

    def disturb(self, now: int) -> None:
        """It has ended, and is not there."""
        if self._started and self._started[-1].returncode is None:
            self._started[-1].kill()
            self._started[-1].wait()

    def was_read(self) -> None:
        process = self._started[-1]
        if process.returncode is None:
            self.seen += self._known not in (None, process.pid)
            self._known = process.pid

    def close(self) -> None:
        self.disturb(0)


def lines_of_json(world: Environment) -> Lines:
    return Lines(world, "bot.jsonl", '{{"event": "{}"}}\n', {"values": {"events_total": {"count": "event"}}})


def lines_of_a_log(world: Environment) -> Lines:
    values = {"events_total": {"count": "EVENT"}}
    return Lines(world, "bot.log", "2023-11-14T22:13:19Z EVENT {}\n", {"values": values, "event_start": "^"})


COUNTED: dict[str, Callable[[Environment], Counted]] = {
    "jsonl": lines_of_json,
    "log": lines_of_a_log,
    "scrape": Page,
    "process": Restarts,
}
"""By type."""
COUNTS_NOTHING = {"host", "systemd", "http_json", "json_file", "prometheus", "command", "textfile", "sql"}
"""What these say is as their far end counts it, each time anew: there is nothing to go on from."""
