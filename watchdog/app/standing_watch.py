"""What plans have left standing on each target, looked at for whoever asks: in the background, and never waited for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from watchdog.core.executor import Executor, call_deadline
from watchdog.core.model import Millis
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.incidents import Incident
from watchdog.journal.requests import Request
from watchdog.journal.storage import Journal
from watchdog.plans.models import Halt, Repair
from watchdog.rollback.recover_stages import find_cure
from watchdog.rollback.standing import StandingChange, describe_standing, find_standing, list_traces, unseen_changes

_FRESH = 3.0
"""s for which what was seen is not looked at again."""
_LOOK_TIMEOUT = 10.0
"""s that looking at a target may take."""
_PATIENCE = 0.5
"""s that whoever asks waits for a look, and only for one that began just now: a bot's folder may hang."""


_REQUEST_PATIENCE = 4.0
"""s that the answer to a `resume` waits for a look: who asked waits for 15."""


class _Seen(NamedTuple):
    changes: list[StandingChange]
    at: float
    """Of the clock: when that look ended."""


class StandingWatch:
    """The last look at each target. Lives in the daemon's loop; the looks are in threads, one a target."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        targets: Callable[[], Mapping[str, Target]],
        wall_clock: Callable[[], Millis],
        plan_of: Callable[[str, str], Halt | Repair | None] = lambda *_: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = _LOOK_TIMEOUT,
    ) -> None:
        """`targets`: as they are configured now. `plan_of`: (plan, target) → what that is now. `clock` in seconds; `timeout`:
        seconds that a look may take."""
        self._journal = journal
        self._executor = executor
        self._targets = targets
        self._wall_clock = wall_clock
        self._plan_of = plan_of
        self._clock = clock
        self._timeout = timeout
        self._offload = ThreadOffload(None, "looking")
        self._seen: dict[str, _Seen] = {}
        self._looks: dict[str, tuple[asyncio.Task[None], float]] = {}
        """Those under way, and since when."""
        self._requests: dict[int, float] = {}
        """Those that wait for a look, and since when."""
        self._outdated: set[str] = set()
        """Of which a look is under way that began ahead of a change."""

    async def look(self, targets: Iterable[str], patience: float = _PATIENCE) -> None:
        """Looks at those that were not looked at just now; comes back when that is done, or after `patience` seconds."""
        now, young = self._clock(), []
        for name in targets:
            if self.is_fresh(name):
                continue
            if name not in self._looks:
                self._looks[name] = asyncio.create_task(self._look(name), name=f"looking at {name}"), now
            task, since = self._looks[name]
            if now - since < patience:
                young.append(task)
        if young:
            await asyncio.wait(young, timeout=patience)

    def forget(self, name: str) -> None:
        """Something has changed there: what was seen ahead of it says nothing any more."""
        self._seen.pop(name, None)
        if name in self._looks:
            self._outdated.add(name)

    async def look_again(self, name: str) -> None:
        """What is there after a change; waits a moment for it."""
        self.forget(name)
        await self.look([name])

    def is_fresh(self, name: str) -> bool:
        """Whether a look has ended just now, in whatever way."""
        seen = self._seen.get(name)
        return seen is not None and self._clock() - seen.at < _FRESH

    async def may_answer(self, request: Request) -> bool:
        """Who resumes is told what still is off: False until that was looked at after the request, or takes too long.

        Asked again and again; nobody waits meanwhile.
        """
        if request.kind != "resume":
            return True
        name, now = str(request.args.get("target") or ""), self._clock()
        if request.id not in self._requests:
            self._requests[request.id] = now
            self.forget(name)
        if self.is_fresh(name) or now - self._requests[request.id] > _REQUEST_PATIENCE:
            del self._requests[request.id]
            return True
        await self.look([name], patience=0)
        return False

    def changes(self, name: str) -> list[StandingChange]:
        """What was seen last. When that is long ago, the look that was asked for hangs: all that may stand."""
        seen = self._seen.get(name)
        if seen is not None and self._clock() - seen.at < _FRESH + self._timeout:
            return seen.changes
        return self._unseen(name, "there is no answer yet")

    def _unseen(self, name: str, why: str) -> list[StandingChange]:
        return unseen_changes(list_traces(self._journal, name, self._targets().get(name)), why)

    def describe_left(self, incident: Incident) -> list[str]:
        """A line for each way in which something is still so that plans have done in the incident."""
        try:
            mine = [one for one in self.changes(incident.target) if one.incident == incident.id]
            target, now = self._targets().get(incident.target), self._wall_clock()
            cure = find_cure(self._journal, self._plan_of, incident.target, target, now)
        except (JournalError, JournalUnavailableError):
            raise
        except Exception as bug:
            # What another version noted of a step, say: the end of an incident is told all the same.
            log.exception("%s: telling what stands", incident.target)
            return [f"what plans have left so cannot be told: internal error: {bug!r}"]
        return [f"still {line}" for line in describe_standing(mine, cure)]

    def close(self) -> None:
        for task, _ in self._looks.values():
            task.cancel()
        self._offload.close()

    async def _look(self, name: str) -> None:
        target = self._targets().get(name)
        call_deadline.set(time.monotonic() + self._timeout)
        try:
            found = await self._offload(
                name, self._timeout + 1, find_standing, self._journal, name, target, self._executor
            )
            self._keep(name, found)
        except (DeadlineExceededError, StillBusyError):
            self._keep(name, self._unseen(name, f"no answer within {self._timeout:g} s"))
        except (JournalError, JournalUnavailableError) as error:  # whoever asks reads it, too, and says so
            log.debug("%s: what stands cannot be told: %s", name, error)
        except Exception as bug:
            log.exception("%s: looking at what stands", name)
            self._keep(name, self._unseen(name, f"internal error: {bug!r}"))
        finally:
            del self._looks[name]
            is_outdated = name in self._outdated
            self._outdated.discard(name)
        if is_outdated:  # who waits for this one is to have what is so after the change
            await self.look([name], patience=self._timeout + 1)

    def _keep(self, name: str, found: list[StandingChange]) -> None:
        if name not in self._outdated:
            self._seen[name] = _Seen(found, self._clock())
