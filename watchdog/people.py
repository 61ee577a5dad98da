"""What people ask for on the command line, and whether they get it."""

from __future__ import annotations

from watchdog.journal import Journal, incidents, runs
from watchdog.journal.outbox import Request
from watchdog.model import Millis
from watchdog.pipeline import Pipeline

_WAITS = 60_000
"""ms: the command line waits for 15 s. What was left while nobody answered is not done hours later."""


class People:
    """Answers requests; every yes is in the journal with who and why."""

    def __init__(self, pipeline: Pipeline, journal: Journal) -> None:
        self._pipeline = pipeline
        self._journal = journal

    def answer(self, request: Request, now: Millis) -> tuple[bool, str]:
        """(granted, what to tell the person)."""
        if now - request.t > _WAITS:
            return False, "too old: whoever asked for it does not wait for it any more"
        args = request.args
        who = f"{request.by}: {args.get('reason') or 'no reason given'}"
        if request.kind == "resume":
            return self.resume(args.get("target") or "", who, now)
        if request.kind == "rollback":
            return self.start(args.get("plan") or "", args.get("target"), args.get("level"), who, now)
        return False, f"this watchdog knows no request {request.kind!r}"

    def resume(self, target: str, who: str, now: Millis) -> tuple[bool, str]:
        """Opens the latch and judges anew; refused while the bot cannot be seen or a plan is at work."""
        if target not in self._pipeline.config.targets:
            return False, f"there is no target {target!r}: {', '.join(self._pipeline.config.targets)}"
        at_work = runs.unended(self._journal, target)
        if at_work:
            return False, f"plan {at_work[0].plan} is at work on {target}: wait for its end"
        if stale := self._pipeline.stale(target, now):
            return False, f"not while data is stale: {stale}"
        self._pipeline.resume(target, who, now)
        return True, f"{target} resumed; its rules are judged anew"

    def start(self, plan: str, target: str | None, level: str | None, who: str, now: Millis) -> tuple[bool, str]:
        """Queues a plan for a person: (True, number of the run) or (False, why not). A latch refuses repairs."""
        config = self._pipeline.config
        known = config.plans.get(plan)
        if known is None:
            return False, f"there is no plan {plan!r}: {', '.join(config.plans) or 'none is configured'}"
        if target is None and len(config.targets) == 1:
            (target,) = config.targets
        if target is None or target not in config.targets:
            return False, f"say which target with --target: {', '.join(config.targets)}"
        names = [rung.name for rung in known.levels]
        if level is not None and level not in names:
            return False, f"plan {plan} has no level {level!r}: {', '.join(names)}"
        standing = incidents.standing(self._journal, target, now)
        if known.kind == "repair" and standing.latched is not None:
            return False, f"{target} is latched ({standing.latch_why}): trading-watchdog resume {target} first"
        incident = incidents.current(self._journal, target)
        with self._journal.write() as db:
            run = self._pipeline.ledger.queue(
                db, target, plan, f"person {who}", now, incident=None if incident is None else incident.id,
                level=0 if level is None else names.index(level),
            )  # fmt: skip
        return True, str(run)
