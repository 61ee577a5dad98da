"""What plans have left standing on each target, looked at for whoever asks: in the background, and never waited for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from watchdog.core.executor import Executor, call_deadline
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.incidents import Incident
from watchdog.journal.storage import Journal
from watchdog.rollback.standing import StandingChange, describe_standing, find_standing, list_traces, unseen_changes

_FRESH = 3.0
"""s for which what was seen is not looked at again."""
_LOOK_TIMEOUT = 10.0
"""s that looking at a target may take."""
_PATIENCE = 0.5
"""s that whoever asks waits for a look, and only for one that began just now: a bot's folder may hang."""


class _Seen(NamedTuple):
    changes: list[StandingChange]
    began: float
    at: float
    """Of the clock: when that look began, and ended."""


class StandingWatch:
    """The last look at each target. Lives in the daemon's loop; the looks are in threads, one a target."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = _LOOK_TIMEOUT,
    ) -> None:
        """`clock` in seconds; `timeout`: seconds that a look may take."""
        self._journal = journal
        self._executor = executor
        self._clock = clock
        self._timeout = timeout
        self._offload = ThreadOffload(None, "looking")
        self._seen: dict[str, _Seen] = {}
        self._looks: dict[str, tuple[asyncio.Task[None], float]] = {}
        """Those under way, and since when."""
        self._acted: dict[str, float] = {}
        """When plans have acted last: a look that began before says nothing of it."""

    async def look(self, targets: Mapping[str, Target | None], patience: float = _PATIENCE) -> None:
        """Looks at those that were not looked at just now; comes back when that is done, or after `patience` seconds.

        A target that is None is no longer configured.
        """
        now, young = self._clock(), []
        for name, target in targets.items():
            if self.is_fresh(name):
                continue
            if name not in self._looks:
                self._looks[name] = asyncio.create_task(self._look(name, target), name=f"looking at {name}"), now
            task, since = self._looks[name]
            if now - since < patience:
                young.append(task)
        if young:
            await asyncio.wait(young, timeout=patience)

    def note_acted(self, name: str) -> None:
        """A plan has acted on it: what was seen of it until now no longer counts."""
        self._acted[name] = self._clock()

    def is_fresh(self, name: str) -> bool:
        """Whether a look has ended just now, in whatever way."""
        seen = self._last_look(name)
        return seen is not None and self._clock() - seen.at < _FRESH

    def _last_look(self, name: str) -> _Seen | None:
        seen = self._seen.get(name)
        return seen if seen is not None and seen.began >= self._acted.get(name, seen.began) else None

    def changes(self, name: str, target: Target | None) -> list[StandingChange]:
        """What was seen last. When that is long ago, the look that was asked for hangs: all that may stand."""
        seen = self._last_look(name)
        if seen is not None and self._clock() - seen.at < _FRESH + self._timeout:
            return seen.changes
        return unseen_changes(list_traces(self._journal, name, target), "there is no answer yet")

    def describe_left(self, incident: Incident, target: Target | None) -> list[str]:
        """A line for each way in which something is still so that plans have done in the incident; `target`: its own."""
        mine = [one for one in self.changes(incident.target, target) if one.incident == incident.id]
        return [f"still {line}" for line in describe_standing(mine, lambda one: one.by_hand)]

    def close(self) -> None:
        for task, _ in self._looks.values():
            task.cancel()
        self._offload.close()

    async def _look(self, name: str, target: Target | None) -> None:
        began = self._clock()
        call_deadline.set(time.monotonic() + self._timeout)
        try:
            found = await self._offload(
                name, self._timeout + 1, find_standing, self._journal, name, target, self._executor
            )
            self._seen[name] = _Seen(found, began, self._clock())
        except (DeadlineExceededError, StillBusyError):
            why = f"no answer within {self._timeout:g} s"
            found = unseen_changes(list_traces(self._journal, name, target), why)
            self._seen[name] = _Seen(found, began, self._clock())
        except (JournalError, JournalUnavailableError) as error:  # whoever asks reads it, too, and says so
            log.debug("%s: what stands cannot be told: %s", name, error)
        except Exception as bug:
            log.exception("%s: looking at what stands", name)
            found = unseen_changes(list_traces(self._journal, name, target), f"internal error: {bug!r}")
            self._seen[name] = _Seen(found, began, self._clock())
        finally:
            del self._looks[name]
        if began < self._acted.get(name, began):
            await self.look({name: target}, patience=self._timeout + 1)
