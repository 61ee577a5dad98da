"""What people ask for on the command line, and whether they get it."""

from __future__ import annotations

import sqlite3

from watchdog.config.problem import listed, unknown
from watchdog.journal import Journal, JournalError, dump, incidents, runs, saved, stays
from watchdog.journal.outbox import Request
from watchdog.model import Millis
from watchdog.pipeline import Pipeline
from watchdog.telemetry import log
from watchdog.units import show_duration

_WAITS = 60_000
"""ms: the command line waits for 15 s. What was left while nobody answered is not done hours later."""

_NEEDS = {
    "undo": "incident",
    "approve": "run",
    "deny": "run",
    "abort": "what",
    "ack": "incident",
    "hold": "target",
    "silence": "rule",
}
"""What a request cannot do without."""
_AWAY = 5_000
"""ms: less than that is no absence."""
_LONGEST = 30 * 86_400_000
"""ms: what is left alone for longer is better taken out of the rules, where it can be seen."""


class People:
    """Answers requests; every yes is in the journal with who and why."""

    def __init__(self, pipeline: Pipeline, journal: Journal) -> None:
        self._pipeline = pipeline
        self._journal = journal

    def answer(self, request: Request, now: Millis) -> tuple[bool, str]:
        """(granted, what to tell the person). A request that breaks us is refused: it must not come back each second."""
        try:
            return self._answer(request, now)
        except (JournalError, sqlite3.OperationalError):
            raise
        except Exception as bug:
            log.exception("request %s", request.kind)
            return False, f"internal error: {bug!r}"

    def _answer(self, request: Request, now: Millis) -> tuple[bool, str]:
        if now - request.t > _WAITS:
            return False, "too old: whoever asked for it does not wait for it any more"
        who = f"{request.by}: {request.args.get('reason') or 'no reason given'}"
        args = request.args
        if (needed := _NEEDS.get(request.kind)) is not None and args.get(needed) is None:
            return False, f"the request {request.kind!r} lacks its {needed}"  # a command line of another version
        match request.kind:
            case "resume":
                return self.resume(args.get("target") or "", who, now)
            case "rollback":
                return self.start(args.get("plan") or "", args.get("target"), args.get("level"), who, now)
            case "undo":
                return self.undo(args["incident"], who, now)
            case "approve" | "deny":
                return self.decide(args["run"], request.kind == "approve", who, now)
            case "abort":
                return self.abort(str(args["what"]), who, now)
            case "ack":
                said = next((kind for kind in ("cause", "fix") if args.get(kind)), "ack")
                return self.ack(
                    args["incident"], request.by, args.get("note" if said == "ack" else said), now, kind=said
                )
            case "hold":
                return self.hold(args["target"], args.get("for"), who, now, halts=bool(args.get("all")))
            case "silence":
                return self.silence(args["rule"], args.get("for"), who, now, until_well=bool(args.get("until_well")))
            case "capture":
                return self._pipeline.baselines.ask(
                    args.get("kpis") or [], int(args.get("for") or 0), request.by, self._pipeline.fires, now
                )
        return False, f"this watchdog knows no request {request.kind!r}"

    # ─ runs ─

    def decide(self, number: int, yes: bool, who: str, now: Millis) -> tuple[bool, str]:
        """Approves or denies a run that waits for it."""
        run = runs.find(self._journal, number)
        if run is None:
            waiting = [
                f"{run.id} ({run.plan})"
                for target in runs.at_work(self._journal)
                for run in runs.unended(self._journal, target)
                if run.approve_by is not None and run.approval is None
            ]
            return False, f"there is no plan run {number} — {', '.join(waiting) or 'none'} waits for approval"
        if run.status != "queued" or run.approve_by is None or run.approval is not None:
            return False, f"run {number} ({run.plan} {run.outcome or run.approval or run.status}) waits for no approval"
        if now >= run.approve_by:
            return False, f"run {number} was to be approved within its time, which is over"
        word = "approved" if yes else "denied"
        with self._journal.write() as db:
            runs.move(db, number, approval=word)
            self._say(db, f"{run.plan} {word}", who, now, target=run.target, run=number, incident=run.incident)
        return True, f"run {number} ({run.plan}) {word}"

    def away(self, since: Millis | None, now: Millis) -> None:
        """Time in which the watchdog or its machine was down since it was last seen counts for no approval: nobody could answer.

        A clock that was set takes its jump along."""
        if since is None or abs(gone := now - since) < _AWAY:
            return
        for target in runs.at_work(self._journal):
            for run in runs.unended(self._journal, target):
                if (
                    run.approve_by is None
                    or run.approval is not None
                    or run.status != "queued"
                    or run.approve_by <= since
                ):
                    continue
                left = show_duration(run.approve_by - since)
                log.info("%s: %s waits for approval for another %s", target, run.plan, left)
                with self._journal.write() as db:
                    runs.move(db, run.id, approve_by=run.approve_by + gone)
                    incidents.event(
                        db,
                        "approval",
                        f"the watchdog is back: {run.plan} waits for approval for another {left}",
                        now,
                        incident=run.incident,
                        run=run.id,
                        target=target,
                    )

    def abort(self, what: str, who: str, now: Millis) -> tuple[bool, str]:
        """Ends a run by its number, or all of a target: each at its next boundary."""
        if what.isdigit():
            run = runs.find(self._journal, int(what))
            mine = [] if run is None or run.ended is not None else [run]
        elif what in self._pipeline.config.targets:
            mine = runs.unended(self._journal, what)
        else:
            return False, f"{unknown('target', what, self._pipeline.config.targets)} Or say the number of a run"
        if not mine:
            return False, f"no plan is at work as {what}" if what.isdigit() else f"no plan is at work on {what}"
        with self._journal.write() as db:
            for run in mine:
                runs.move(db, run.id, abort=who)
                self._say(
                    db, f"{run.plan} is to be aborted", who, now, target=run.target, run=run.id, incident=run.incident
                )
        return True, f"{', '.join(f'run {run.id} ({run.plan})' for run in mine)} ends at the next step"

    # ─ incidents ─

    def ack(self, number: int, by: str, note: str | None, now: Millis, *, kind: str = "ack") -> tuple[bool, str]:
        """Somebody is on it, or has found out the `cause`, or has brought a `fix`: a line of the timeline with a name."""
        incident = next(iter(incidents.listing(self._journal, number)), None)
        if incident is None:
            return False, incidents.unknown(self._journal, number)
        title = {
            "ack": f"incident {number} acknowledged",
            "cause": f"root cause of incident {number} found",
            "fix": f"incident {number} fixed for good",
        }[kind]
        with self._journal.write() as db:
            incidents.ack(db, number, by, now)
            self._say(db, title, f"{by}: {note or 'on it'}", now, target=incident.target, incident=number, kind=kind)
        return True, f"{title} by {by}" if kind == "ack" else f"{title}: {note}"

    def undo(self, number: int, who: str, now: Millis) -> tuple[bool, str]:
        """Queues the undoing of an incident: (True, number of the run) or (False, why not)."""
        incident = next(iter(incidents.listing(self._journal, number)), None)
        if incident is None:
            return False, incidents.unknown(self._journal, number)
        standing = incidents.standing(self._journal, incident.target, now)
        if standing.latched is not None:
            cure = f'trading-watchdog resume {incident.target} --reason "…" first'
            return False, f"{incident.target} is latched ({standing.latch_why}): {cure}"
        if at_work := runs.unended(self._journal, incident.target):
            return (
                False,
                f"{at_work[0].plan} is at work on {incident.target}: wait for its end, or abort {at_work[0].id}",
            )
        mine = [run for run in runs.of_incident(self._journal, number) if run.kind == "repair" and run.part != "undo"]
        if not mine or not saved.of_incident(self._journal, number):
            return False, f"there is nothing to undo of incident {number}: nothing was changed, or it was undone"
        with self._journal.write() as db:
            run = runs.queue(
                db,
                incident=number,
                target=incident.target,
                plan=f"undo {number}",
                kind="repair",
                part="undo",
                text=dump({"incident": number}),
                place=mine[-1].place,
                by=f"person {who}",
                now=now,
            )
            self._say(
                db, f"incident {number} is to be undone", who, now, target=incident.target, run=run, incident=number
            )
        return True, str(run)

    # ─ to be left alone ─

    def hold(self, target: str, span: Millis | None, who: str, now: Millis, *, halts: bool = False) -> tuple[bool, str]:
        """Rules start no repair of the target for so long (ms), with `halts` no halt either; None ends it."""
        if target not in self._pipeline.config.targets:
            return False, unknown("target", target, self._pipeline.config.targets)
        what = "repairs and halts" if halts else "repairs"
        return self._stay("hold", target, span, who, now, f"no {what} on {target}", target, halts=halts)

    def silence(
        self, rule: str, span: Millis | None, who: str, now: Millis, *, until_well: bool = False
    ) -> tuple[bool, str]:
        """A rule is not told for so long (ms), or until it is well again; it is still acted upon. None ends it."""
        known = self._pipeline.config.rules.get(rule)
        if known is None:
            return False, unknown("rule", rule, self._pipeline.config.rules)
        if until_well and span is not None and self._is_well(rule):
            return False, f"{rule} is well now, so a silence until it is well would end at once: leave --until-well out"
        return self._stay("silence", rule, span, who, now, f"{rule} is not told", known.target, until_well=until_well)

    def _stay(
        self,
        kind: stays.Kind,
        subject: str,
        span: Millis | None,
        who: str,
        now: Millis,
        what: str,
        target: str,
        *,
        halts: bool = False,
        until_well: bool = False,
    ) -> tuple[bool, str]:
        if span is None:
            if stays.standing(self._journal, kind, subject, now) is None:
                return False, f"there is no {kind} on {subject}"
            with self._journal.write() as db:
                stays.end(db, kind, subject, now)
                self._say(db, f"{kind} on {subject} ended", who, now, target=target)
            return True, f"{kind} on {subject} ended"
        if not 0 < span <= _LONGEST:
            return False, f"a {kind} lasts {show_duration(_LONGEST)} at most: say --for with less"
        text = f"{what} for {show_duration(span)}{', or until it is well' if until_well else ''}"
        with self._journal.write() as db:
            stays.add(db, kind, subject, now + span, who, now, halts=halts, until_well=until_well)
            self._say(db, text, who, now, target=target)
        return True, text

    def tick(self, now: Millis) -> bool:
        """Ends what is past its time, or well again; True when something ended."""
        over = [(stay, "its time is over") for stay in stays.unended(self._journal) if now >= stay.until]
        over += [
            (stay, "it is well again")
            for stay in stays.unended(self._journal)
            if now < stay.until and stay.until_well and self._is_well(stay.subject)
        ]
        if not over:
            return False
        with self._journal.write() as db:
            for stay, why in over:
                stays.end(db, stay.kind, stay.subject, now)
                rule = self._pipeline.config.rules.get(stay.subject)
                target = stay.subject if stay.kind == "hold" else rule.target if rule else ""
                self._say(db, f"{stay.kind} on {stay.subject} ended", why, now, target=target)
        return True

    def _is_well(self, rule: str) -> bool:
        """Judged, and neither firing nor on the way there: missing data is not well."""
        mine = [machine for key, machine in self._pipeline.machines.items() if key.rule == rule]
        return bool(mine) and all(machine.phase == "ok" and machine.outcome == "ok" for machine in mine)

    def _say(
        self,
        db: sqlite3.Connection,
        title: str,
        why: str,
        now: Millis,
        *,
        target: str,
        run: int | None = None,
        incident: int | None = None,
        kind: str = "person",
    ) -> None:
        """The same words in the log, in the timeline and in the chat."""
        if incident is None and (current := incidents.current(self._journal, target)) is not None:
            incident = current.id
        log.warning("%s: %s (%s)", target, title, why)
        incidents.event(db, kind, f"{title}: {why}", now, incident=incident, run=run, target=target)
        self._pipeline.ledger.tell(db, "info", f"{target}: {title}", [why], now, incident=incident, weight="warn")

    # ─ targets ─

    def resume(self, target: str, who: str, now: Millis) -> tuple[bool, str]:
        """Opens the latch and judges anew; refused while the bot cannot be seen or a plan is at work."""
        away = next((one.name for one in incidents.latched(self._journal) if one.name == target), None)
        if target not in self._pipeline.config.targets and away is None:
            return False, unknown("target", target, self._pipeline.config.targets)
        at_work = runs.unended(self._journal, target)
        if at_work:
            return False, f"plan {at_work[0].plan} is at work on {target}: wait for its end"
        if stale := self._pipeline.stale(target, now):
            return False, (
                f"not while data is stale: {stale} — bring it back; a rule on what may be absent says "
                "if_missing: {after: 2m, then: ok}"
            )
        self._pipeline.resume(target, who, now)
        if target not in self._pipeline.config.targets:
            return True, f"{target} resumed; it is no longer configured"
        ended = runs.last_ended(self._journal, target)
        plan = None if ended is None else self._pipeline.config.plans.get(ended.plan)
        if ended is None or plan is None or not plan.recover or ended.part == "undo":
            return True, f"{target} resumed; its rules are judged anew"
        count = "1 stage" if len(plan.recover) == 1 else f"{len(plan.recover)} stages"
        with self._journal.write() as db:
            run = self._pipeline.ledger.queue(
                db, target, ended.plan, f"person {who}", now, incident=None, part="recover"
            )
        return True, f"{target} resumed; {ended.plan} goes back to work in {count} (run {run})"

    def start(self, plan: str, target: str | None, level: str | None, who: str, now: Millis) -> tuple[bool, str]:
        """Queues a plan for a person: (True, number of the run) or (False, why not). A latch refuses repairs."""
        config = self._pipeline.config
        known = config.plans.get(plan)
        if known is None:
            return False, unknown("plan", plan, config.plans)
        if target is None and len(config.targets) == 1:
            (target,) = config.targets
        if target is None:
            return False, f"say which target with --target: {listed(config.targets)}"
        if target not in config.targets:
            return False, unknown("target", target, config.targets)
        names = [rung.name for rung in known.levels]
        if level is not None and level not in names:
            return False, f"plan {plan} has no level {level!r}: {', '.join(names)}"
        standing = incidents.standing(self._journal, target, now)
        if known.kind == "repair" and standing.latched is not None:
            return (
                False,
                f'{target} is latched ({standing.latch_why}): trading-watchdog resume {target} --reason "…" first',
            )
        incident = incidents.current(self._journal, target)
        with self._journal.write() as db:
            run = self._pipeline.ledger.queue(
                db,
                target,
                plan,
                f"person {who}",
                now,
                incident=None if incident is None else incident.id,
                level=0 if level is None else names.index(level),
            )
        return True, str(run)
