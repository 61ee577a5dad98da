"""Evidence after a change: waits for proof, disproof, or the time to give up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from watchdog.actions.plan import HttpCheck, Verify
from watchdog.incidents import Finding, Key, Terms, Trial, prove, rest
from watchdog.journal import runs
from watchdog.journal.runs import Run
from watchdog.model import ActionError, Millis
from watchdog.rollback.checks import LogReader, answers, log_of
from watchdog.rollback.hands import Hands
from watchdog.rollback.steps import Ladder
from watchdog.units import show_duration

_JUMP = 60_000
"""ms: looks are a second apart, and half a minute when the world is slow. Between two that are further apart the machine
slept, or its clock was set: nobody watched."""
_LOOK = 1_000
"""ms between two looks at whether what was restarted still runs, and at logs."""


def jumped(hands: Hands, since: Millis) -> Millis:
    """By how much the clock went on, or back, since that look, when that was more than a look takes; else 0."""
    gone = hands.clock() - since
    return gone if abs(gone) > _JUMP else 0


class Proof:
    """The evidence of one run."""

    def __init__(
        self, run: Run, hands: Hands, boundary: Callable[[], None], news: Callable[[float], Awaitable[None]]
    ) -> None:
        """`boundary` raises when the run must not go on; `news` waits for that many seconds at most."""
        self._run = run
        self._hands = hands
        self._boundary = boundary
        self._news = news

    def trial(self) -> Trial:
        now = self._hands.clock()  # a clock that was set back would hide all evidence behind the last step
        return Trial(since=min(runs.get(self._hands.journal, self._run.id).acted, now), last=now)

    def look(
        self,
        trial: Trial,
        that: Sequence[str],
        quiet: Millis,
        now: Millis,
        *,
        rules: Sequence[str] = (),
        also: Mapping[str, bool | None] | None = None,
    ) -> tuple[Trial, Finding | None]:
        """One look. `also`: conditions that somebody else has answered."""
        run = self._run
        terms: dict[Key, Terms] = {}
        if run.kind == "repair" and run.incident and run.part == "ladder":
            terms |= self._hands.terms(run.incident, run.target)
        if rules:
            terms |= self._hands.named(run.target, rules)
        verdicts, known = self._hands.evidence(run.target, list(terms), that, trial.since, now)
        return prove(trial, terms, verdicts, {**known, **(also or {})}, quiet, now)

    async def verify(self, verify: Verify, ladder: Ladder, trips: Callable[[], str | None]) -> Finding:
        """Until it is proven, disproven or given up. `trips`: something else that disproves it, looked at all the while."""
        trial = self.trial()
        settled = trial.since + verify.settle
        give_up = trial.last + max(verify.give_up, verify.settle)  # from now: downtime counts neither for nor against
        ran, looked = not verify.run, 0
        log = None
        if verify.log is not None:
            log = LogReader(verify.log, log_of(verify.log, ladder.place), ladder.marks())
        also: dict[str, bool | None] = {}
        page = None if verify.http is None else _Page(verify.http, self._hands, self._run.target)
        try:
            while True:
                self._boundary()
                now = self._hands.clock()
                if now >= looked + _LOOK:
                    looked = now
                    if dead := await ladder.undone():
                        return Finding("disproven", f"{dead}: it does not run any more")
                    if log is not None and verify.log is not None:
                        lines = await ladder.read(log)
                        if lines.bad is not None:
                            return Finding("disproven", f"{verify.log.file} says: {lines.bad}")
                        if verify.log.present is not None:
                            also[verify.log.say()] = lines.good
                if why := trips():
                    return Finding("disproven", why)
                if now >= settled:
                    if not ran:
                        try:
                            failure = await ladder.command(verify.run, give_up - now)
                        except ActionError as error:
                            return Finding("unknown", str(error))
                        if failure is not None:
                            return Finding("disproven", failure)
                        ran = True
                        continue
                    if page is not None:
                        also[page.check.say()] = page.look()
                    trial, finding = self.look(trial, verify.that, verify.quiet, now, rules=verify.rules, also=also)
                    if finding is not None and finding.outcome == "proven" and (dead := await ladder.undone()):
                        return Finding("disproven", f"{dead}: it does not run any more")
                    if finding is not None:
                        return finding
                if now >= give_up:
                    return Finding("unknown", f"no proof within {show_duration(verify.give_up)}: {trial.reason}")
                await self._news(1.0 if now >= settled else min(1.0, (settled - now) / 1_000))
                if jump := jumped(self._hands, now):
                    settled, give_up, looked, trial = settled + jump, give_up + jump, 0, rest(trial, now + jump)
        finally:
            if page is not None:
                page.close()


class _Page:
    """Asks a page over and over, beside everything else: a halt does not wait for its answer."""

    def __init__(self, check: HttpCheck, hands: Hands, target: str) -> None:
        self.check = check
        self._hands = hands
        self._key = f"page {target}"
        self._asking: asyncio.Future[object] | None = None
        self._answer = False

    def look(self) -> bool:
        """The newest answer there is; asks for the next one."""
        if self._asking is not None and self._asking.done():
            self._answer = self._asking.exception() is None and cast(bool, self._asking.result())
            self._asking = None
        if self._asking is None:
            asked = self._hands.offload(self._key, self.check.timeout / 1_000 + 1, answers, self.check)
            self._asking = asyncio.ensure_future(asked)
        return self._answer

    def close(self) -> None:
        if self._asking is not None and not self._asking.cancel():
            self._asking.exception()  # it has ended, and nobody asks for its answer any more
