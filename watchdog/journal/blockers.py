"""Who keeps the journal from its owner is ended: a halt is written down before it is carried out, and does not wait for a
sqlite3 shell that somebody left in a transaction, or a backup that hangs."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

from watchdog.core.telemetry import log
from watchdog.host.file_locks import file_locks, signal_process

PATIENCE_S = 2.0
"""Seconds for which nothing could be written, counted from the first write that has waited in vain."""
_KILL_AFTER_S = 1.0
# As SQLite's file format has them: in the -shm file the writer's byte, the checkpoint's, the recovery's and the readers';
# in the database itself all that is locked by who wants it alone.
_WRITER, _EXCLUSIVE = (120,), range(120, 128)
_WHOLE_DATABASE = range(0x4000_0000, 0x4000_0000 + 512)


class LockBreaker:
    """A program that is ended in its transaction does no harm: SQLite takes it back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._since: float | None = None
        self._asked: dict[int, float] = {}
        """When a process was asked to end."""

    def note_free(self) -> None:
        self._since = None
        self._asked.clear()

    def note_busy(self, *, waited_long: bool = False) -> None:
        """Somebody held it once more; when that has lasted, who does is ended. `waited_long`: SQLite has been patient itself."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not waited_long and now - self._since < PATIENCE_S:
            return
        for pid in self._blocking():
            asked = self._asked.setdefault(pid, now)
            number = signal.SIGTERM if now - asked < _KILL_AFTER_S else signal.SIGKILL
            if (number == signal.SIGKILL or asked == now) and self._signal(pid, number):
                log.critical("process %d kept the journal locked, and gets %s", pid, number.name)

    def _signal(self, pid: int, number: signal.Signals) -> bool:
        return signal_process(pid, number, lambda: pid in self._blocking())

    def _blocking(self) -> set[int]:
        """Processes whose locks keep us from writing, or even from reading. Readers as such keep us from neither."""
        pids: set[int] = set()
        with contextlib.suppress(OSError):
            index = file_locks(self._path.with_name(f"{self._path.name}-shm"))
            pids |= {each.pid for each in index if each.covers(_EXCLUSIVE if each.exclusive else _WRITER)}
            database = file_locks(self._path)
            pids |= {each.pid for each in database if each.exclusive and each.covers(_WHOLE_DATABASE)}
        return pids
