"""What people ask for on the command line, and whether they get it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from watchdog.app import resume, run_requests
from watchdog.app.run_requests import record_and_notify
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration
from watchdog.documents.problems import unknown_name
from watchdog.journal import incidents, suppressions
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.requests import Request
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.topics import approval_topic, escalation_topic, plan_topic, suppression_topic
from watchdog.pipeline.pipeline import Pipeline
from watchdog.rollback.standing import StandingChange

RecordAnswer = Callable[[Transaction, bool, str], None]
"""(transaction, granted, what to tell the person)"""

_REQUEST_LIFETIME = 60_000
"""ms: the command line waits for 15 s. What was left while nobody answered is not done hours later."""
TOO_OLD = "too old: whoever asked for it does not wait for it any more"

_REQUIRED_ARGS = {
    "undo": "incident",
    "approve": "run",
    "deny": "run",
    "abort": "what",
    "ack": "incident",
    "hold": "target",
    "silence": "rule",
    "halt": "target",
    "next": "run",
}
"""What a request cannot do without."""
_MIN_DOWNTIME = 5_000
"""ms: less than that is no absence."""
_MAX_SUPPRESSION = 30 * 86_400_000
"""ms: what is left alone for longer is better taken out of the rules, where it can be seen."""


class RequestHandler:
    """Answers requests; every yes is in the journal with who and why."""

    def __init__(
        self,
        pipeline: Pipeline,
        journal: Journal,
        standing: Callable[[str], Sequence[StandingChange]] = lambda _: (),
    ) -> None:
        """`standing`: (target) → what plans have left so there, as it was seen just now."""
        self._pipeline = pipeline
        self._journal = journal
        self._standing = standing

    def answer(self, request: Request, now: Millis, record: RecordAnswer = lambda *_: None) -> tuple[bool, str]:
        """(granted, what to tell the person). A request that breaks us is refused: it must not come back each second.

        `record` writes the answer down, in the transaction of what it does: neither is ever there without the other.
        """
        try:
            with self._journal.transaction() as tx:
                answer = self._dispatch(request, now)
                record(tx, *answer)
        except (JournalError, JournalUnavailableError):
            raise
        except Exception as bug:
            log.exception("request %s", request.kind)
            answer = False, f"internal error: {bug!r}"
            with self._journal.transaction() as tx:
                record(tx, *answer)
        return answer

    def _dispatch(self, request: Request, now: Millis) -> tuple[bool, str]:
        if is_too_old(request, now):
            return False, TOO_OLD
        who = f"{request.by}: {request.args.get('reason') or 'no reason given'}"
        args = request.args
        if (needed := _REQUIRED_ARGS.get(request.kind)) is not None and args.get(needed) is None:
            return False, f"the request {request.kind!r} lacks its {needed}"  # a command line of another version
        match request.kind:
            case "resume":
                return self.resume_target(args.get("target") or "", who, now, latched=args.get("latched"))
            case "rollback":
                return self.start_plan(args.get("plan") or "", args.get("target"), args.get("level"), who, now)
            case "undo":
                return self.undo_incident(args["incident"], who, now)
            case "halt":
                return run_requests.start_halt(self._pipeline, self._journal, args["target"], who, now)
            case "next":
                return run_requests.begin_next_level(
                    self._pipeline, self._journal, args["run"], args.get("level"), who, now
                )
            case "approve" | "deny":
                return self.decide_approval(args["run"], request.kind == "approve", who, now)
            case "abort":
                return self.abort(str(args["what"]), who, now)
            case "ack":
                event_kind = next((kind for kind in ("cause", "fix") if args.get(kind)), "ack")
                return self.acknowledge(
                    args["incident"],
                    request.by,
                    args.get("note" if event_kind == "ack" else event_kind),
                    now,
                    kind=event_kind,
                )
            case "hold":
                return self.hold_target(args["target"], args.get("for"), who, now, halts=bool(args.get("all")))
            case "silence":
                until_well = bool(args.get("until_well"))
                answers = [
                    self.silence_rule(rule, args.get("for"), who, now, until_well=until_well)
                    for rule in args.get("rules") or [args["rule"]]
                ]
                return any(ok for ok, _ in answers), "; ".join(text for _, text in answers)
            case "capture":
                return self._pipeline.baselines.start_capture(
                    args.get("kpis") or [], int(args.get("for") or 0), request.by, self._pipeline.is_firing, now
                )
        return False, f"this watchdog knows no request {request.kind!r}"

    # ─ runs ─

    def decide_approval(self, run_id: int, approve: bool, who: str, now: Millis) -> tuple[bool, str]:
        """Approves or denies a run that waits for it."""
        run = self._journal.runs.find_run(run_id)
        if run is None:
            waiting = [
                f"{run.id} ({run.plan})"
                for target in self._journal.runs.list_targets_with_unfinished_runs()
                for run in self._journal.runs.list_unfinished(target)
                if run.approve_by is not None and run.approval is None
            ]
            return False, f"there is no plan run {run_id} — {', '.join(waiting) or 'none'} waits for approval"
        if run.status != "queued" or run.approve_by is None or run.approval is not None:
            return False, f"run {run_id} ({run.plan} {run.outcome or run.approval or run.status}) waits for no approval"
        if now >= run.approve_by:
            return False, f"run {run_id} was to be approved within its time, which is over"
        word: Literal["approved", "denied"] = "approved" if approve else "denied"
        with self._journal.transaction() as tx:
            tx.runs.update_run(run_id, approval=word)
            ends = (approval_topic(run_id),) if approve else (approval_topic(run_id), plan_topic(run.target, run.plan))
            record_and_notify(
                self._pipeline,
                tx,
                f"{run.plan} {word}",
                who,
                now,
                target=run.target,
                run=run_id,
                incident=run.incident,
                ends=ends,
            )
        return True, f"run {run_id} ({run.plan}) {word}"

    def extend_approvals(self, since: Millis | None, now: Millis) -> None:
        """Time in which the watchdog or its machine was down since it was last seen counts for no approval: nobody could answer.

        A clock that was set takes its jump along."""
        if since is None or abs(downtime := now - since) < _MIN_DOWNTIME:
            return
        for target in self._journal.runs.list_targets_with_unfinished_runs():
            for run in self._journal.runs.list_unfinished(target):
                if (
                    run.approve_by is None
                    or run.approval is not None
                    or run.status != "queued"
                    or run.approve_by <= since
                ):
                    continue
                left = format_duration(run.approve_by - since)
                log.info("%s: %s waits for approval for another %s", target, run.plan, left)
                with self._journal.transaction() as tx:
                    tx.runs.update_run(run.id, approve_by=run.approve_by + downtime)
                    tx.timeline.add_event(
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
            run = self._journal.runs.find_run(int(what))
            aborted = [] if run is None or run.ended is not None else [run]
        elif (aborted := self._journal.runs.list_unfinished(what)) or what in self._pipeline.config.targets:
            pass  # also of one that no file names any more
        else:
            return False, f"{unknown_name('target', what, self._pipeline.config.targets)} (or the number of a run)"
        if not aborted:
            return False, f"no plan is at work as {what}" if what.isdigit() else f"no plan is at work on {what}"
        with self._journal.transaction() as tx:
            for run in aborted:
                tx.runs.update_run(run.id, abort=who)
                record_and_notify(
                    self._pipeline,
                    tx,
                    f"{run.plan} is to be aborted",
                    who,
                    now,
                    target=run.target,
                    run=run.id,
                    incident=run.incident,
                )
        return True, f"{', '.join(f'run {run.id} ({run.plan})' for run in aborted)} ends at the next step"

    # ─ incidents ─

    def acknowledge(
        self, incident_id: int, by: str, note: str | None, now: Millis, *, kind: str = "ack"
    ) -> tuple[bool, str]:
        """Somebody is on it, or has found out the `cause`, or has brought a `fix`: a line of the timeline with a name."""
        incident = self._journal.incidents.find_incident(incident_id)
        if incident is None:
            return False, incidents.describe_unknown(incident_id, self._journal.incidents.list_incidents())
        title = {
            "ack": f"incident {incident_id} acknowledged",
            "cause": f"root cause of incident {incident_id} found",
            "fix": f"incident {incident_id} fixed for good",
        }[kind]
        with self._journal.transaction() as tx:
            tx.incidents.acknowledge(incident_id, by, now)
            said, ends = (self._pipeline, tx, title, f"{by}: {note or 'on it'}", now), (escalation_topic(incident_id),)
            record_and_notify(*said, target=incident.target, incident=incident_id, kind=kind, ends=ends)
        return True, f"{title} by {by}" if kind == "ack" else f"{title}: {note}"

    def undo_incident(self, incident_id: int, who: str, now: Millis) -> tuple[bool, str]:
        """Queues the undoing of an incident: (True, number of the run) or (False, why not)."""
        return run_requests.undo_incident(self._pipeline, self._journal, incident_id, who, now)

    # ─ to be left alone ─

    def hold_target(
        self, target: str, duration: Millis | None, who: str, now: Millis, *, halts: bool = False
    ) -> tuple[bool, str]:
        """Rules start no repair of the target for so long (ms), with `halts` no halt either; None ends it."""
        if target not in self._pipeline.config.targets:
            return False, unknown_name("target", target, self._pipeline.config.targets)
        what = "repairs and halts" if halts else "repairs"
        return self._suppress("hold", target, duration, who, now, f"no {what} on {target}", target, halts=halts)

    def silence_rule(
        self, rule: str, duration: Millis | None, who: str, now: Millis, *, until_well: bool = False
    ) -> tuple[bool, str]:
        """A rule is not told for so long (ms), or until it is well again; it is still acted upon. None ends it."""
        config = self._pipeline.config
        name, _, target = rule.partition("@")
        if name not in config.rules:
            return False, unknown_name("rule", name, config.rules)
        targets = config.targets_of(name)
        if target and target not in targets:
            return False, unknown_name("target of that rule", target, targets)
        if until_well and duration is not None and self._pipeline.incident_manager.firing.is_ok(rule):
            return False, f"{rule} is well now, so a silence until it is well would end at once: leave --until-well out"
        return self._suppress(
            "silence", rule, duration, who, now, f"{rule} is not told", target or _only(targets), until_well=until_well
        )

    def _suppress(
        self,
        kind: suppressions.SuppressionKind,
        subject: str,
        duration: Millis | None,
        who: str,
        now: Millis,
        effect: str,
        target: str,
        *,
        halts: bool = False,
        until_well: bool = False,
    ) -> tuple[bool, str]:
        if duration is None:
            active = self._journal.suppressions.find_active(kind, subject, now)
            if active is None:
                return False, f"there is no {kind} on {subject}"
            with self._journal.transaction() as tx:
                self._end_suppression(tx, active, f"ended by {who}", target, now)
            return True, f"{kind} on {subject} ended"
        if not 0 < duration <= _MAX_SUPPRESSION:
            return False, f"a {kind} lasts {format_duration(_MAX_SUPPRESSION)} at most: say --for with less"
        text = f"{effect} for {format_duration(duration)}{', or until it is well' if until_well else ''}"
        with self._journal.transaction() as tx:
            tx.suppressions.add_suppression(kind, subject, now + duration, who, now, halts=halts, until_well=until_well)
            record_and_notify(
                self._pipeline, tx, text, who, now, target=target, opens=(suppression_topic(kind, subject),)
            )
        return True, text

    def end_suppressions(self, now: Millis) -> bool:
        """Ends what is past its time, or well again; True when something ended."""
        firing = self._pipeline.incident_manager.firing
        ended = [
            (suppression, "its time is over")
            for suppression in self._journal.suppressions.list_unended()
            if now >= suppression.until
            and (
                suppression.kind == "hold" or firing.has_looked_at(suppression.subject, self._pipeline.started_at, now)
            )
        ]
        ended += [
            (suppression, "it is well again")
            for suppression in self._journal.suppressions.list_unended()
            if now < suppression.until and suppression.until_well and firing.is_ok(suppression.subject)
        ]
        if not ended:
            return False
        with self._journal.transaction() as tx:
            for suppression, why in ended:
                rule, _, of = suppression.subject.partition("@")
                known = [of] if of else self._pipeline.config.targets_of(rule)
                target = suppression.subject if suppression.kind == "hold" else _only(known)
                self._end_suppression(tx, suppression, why, target, now)
        return True

    def _end_suppression(
        self, tx: Transaction, suppression: suppressions.Suppression, why: str, target: str, now: Millis
    ) -> None:
        """With it, people are told what fires though its rule was silenced; who hears that need not hear of the end."""
        kind, subject = suppression.kind, suppression.subject
        tx.suppressions.end_suppression(kind, subject, now)
        told: set[str] = set()
        if kind == "silence":
            told = self._pipeline.incident_manager.firing.tell_still_firing(tx, suppression, why, now)
        ends = (suppression_topic(kind, subject),)
        record_and_notify(
            self._pipeline, tx, f"{kind} on {subject} ended", why, now, target=target, ends=ends, without=told
        )

    # ─ targets ─

    def resume_target(self, target: str, who: str, now: Millis, *, latched: Millis | None = None) -> tuple[bool, str]:
        """Opens the latch and judges anew; refused while the bot cannot be seen or a plan is at work.

        `latched`: since when, of the latch that is meant; another one stays."""
        if latched is not None and self._journal.targets.get_state(target, now).latched != latched:
            return False, f"{target} is latched no longer, or anew: nothing changed"
        return resume.resume_target(self._pipeline, self._journal, self._standing, target, who, now)

    def start_plan(self, plan: str, target: str | None, level: str | None, who: str, now: Millis) -> tuple[bool, str]:
        """Queues a plan for a person: (True, number of the run) or (False, why not). A latch refuses repairs."""
        return run_requests.start_plan(self._pipeline, self._journal, plan, target, level, who, now)


def is_too_old(request: Request, now: Millis) -> bool:
    return now - request.t > _REQUEST_LIFETIME


def _only(targets: Sequence[str]) -> str:
    """The target that something is about; none where it is about several."""
    return targets[0] if len(targets) == 1 else ""
