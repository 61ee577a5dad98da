"""What is asked once more before it is done: resume, next level, rollback, and whatever wants two people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from watchdog.chat.commands import Command
from watchdog.chat.decisions import Ask, Caller, Confirm, Decision, Reply, View, called, describe_request, reply
from watchdog.chat.rights import may
from watchdog.chat.subjects import NotFoundError, find_target, is_latch_of, known_targets
from watchdog.core.target import Target
from watchdog.core.units import format_duration
from watchdog.documents.problems import format_names, unknown_name
from watchdog.journal.chat import Confirmation
from watchdog.journal.incidents import Incident
from watchdog.journal.runs import PlanRun
from watchdog.plans.descriptions import describe_plan, describe_step
from watchdog.plans.models import Halt, Repair, parse_plan

_MAX_LINES = 6


def reason_of(command: Command, caller: Caller) -> str:
    return command.note or ("pressed a button" if caller.is_button else "no reason given")


# ─ asked for the first time ─


def resume(command: Command, caller: Caller, view: View) -> Decision:
    target, incident = find_target(command, caller, view)
    if incident is not None:
        _ensure_latch_is_of(incident, view)
    return _prepare_resume({"target": target, "reason": reason_of(command, caller)}, view)


def next_level(command: Command, caller: Caller, view: View) -> Decision:
    return _prepare_next({"run": command.number, "reason": reason_of(command, caller)}, view)


def rollback(command: Command, caller: Caller, view: View) -> Decision:
    config, target = view.config, command.place
    if command.subject not in config.plans:
        return reply("refused", unknown_name("plan", command.subject, config.plans))
    able = [name for name in config.targets if config.plan(command.subject, name) is not None]
    if not target and len(able) == 1:
        (target,) = able
    if not target:
        return reply("refused", f"on which target? — rollback {command.subject} TARGET: {format_names(able)}")
    if target not in config.targets:
        return reply("refused", unknown_name("target", target, config.targets))
    args = {"plan": command.subject, "target": target, "level": None, "reason": reason_of(command, caller)}
    return _prepare_rollback(args, view)


def approve(command: Command, caller: Caller, view: View) -> Decision:
    """At once; of a plan that wants two people, once two have said so: by this word or by the button."""
    prepared = _prepare_approve({"run": command.number, "reason": reason_of(command, caller)}, view)
    if isinstance(prepared, Reply) or not prepared.two_people:
        return prepared if isinstance(prepared, Reply) else Ask("approve", prepared.args, caller.by)
    for asked in view.journal.chat.list_open_confirmations(view.now):
        if asked.kind != "approve" or asked.args.get("run") != command.number:
            continue
        if asked.person == caller.name:
            left = format_duration(asked.until - view.now)
            what = describe_request(asked.kind, asked.args)
            return reply("over", f"{what}: waits for a second person, for another {left}", incident=prepared.incident)
        if may(view.config.people.get(asked.person), "act"):
            return Ask("approve", asked.args, called(f"{asked.person} and {caller.name}", caller.channel), asked.id)
    return prepared


# ─ asked once more ─


def confirm(command: Command, caller: Caller, view: View) -> Decision:
    asked = _find_confirmation(command, view)
    what = describe_request(asked.kind, asked.args)
    prepared = _PREPARE[asked.kind](asked.args, view)
    if isinstance(prepared, Reply):
        return prepared._replace(uses=asked.id)
    if prepared.args != asked.args:
        return reply("over", f"{what}: it is another thing by now, nothing changed — ask for it anew", uses=asked.id)
    if not prepared.two_people:
        if asked.person != caller.name:
            return reply("refused", f"{what}: {asked.person} was asked — say it yourself", incident=prepared.incident)
        return Ask(asked.kind, asked.args, caller.by, asked.id)
    if asked.person == caller.name:
        return reply("refused", f"{what}: wants a second person than {caller.name}", incident=prepared.incident)
    if not may(view.config.people.get(asked.person), "act"):
        return reply("over", f"{what}: {asked.person}, who asked for it, may not act any more", uses=asked.id)
    return Ask(asked.kind, asked.args, called(f"{asked.person} and {caller.name}", caller.channel), asked.id)


def cancel(command: Command, caller: Caller, view: View) -> Decision:
    asked = _find_confirmation(command, view)
    what = describe_request(asked.kind, asked.args)
    return reply("cancelled", f"{what}: not done, {caller.name} said no", uses=asked.id)


def _find_confirmation(command: Command, view: View) -> Confirmation:
    asked = view.journal.chat.find_confirmation(command.number or 0)
    if asked is None:
        raise NotFoundError(f"nothing was asked under the number {command.number}")
    what = describe_request(asked.kind, asked.args)
    if asked.used is not None:
        raise NotFoundError(f"{what}: was answered already, nothing changed", "over")
    if view.now > asked.until:
        raise NotFoundError(f"{what}: too late, nothing done — ask for it anew", "over")
    return asked


# ─ what it would do, and whether it still can ─


def _prepare_resume(args: Mapping[str, Any], view: View) -> Confirm | Reply:
    target = str(args["target"])
    if target not in known_targets(view):
        return reply("over", f"{target} is no target any more")
    state = view.journal.targets.get_state(target, view.now)
    incident = view.journal.incidents.find_open(target)
    if state.latched is None:
        return reply(
            "over", f"{target} is not latched: nothing changed", incident=None if incident is None else incident.id
        )
    lines = (f"latched: {state.latch_why}", "repairs may start again, and its rules are judged anew")
    args = {"target": target, "latched": state.latched, "reason": args.get("reason")}
    return Confirm("resume", args, lines, incident=None if incident is None else incident.id)


def _ensure_latch_is_of(incident: Incident, view: View) -> None:
    """The button of an old incident opens no latch that came later. Raises NotFoundError."""
    latched = view.journal.targets.get_state(incident.target, view.now).latched
    if latched is None or is_latch_of(incident, latched):
        return
    since = view.journal.incidents.list_incidents_since(incident.opened)
    is_newest = not any(one.target == incident.target and one.id > incident.id for one in since)
    if not is_newest or (incident.closed is not None and latched > incident.closed):
        text = f"the latch of {incident.target} is not of incident {incident.id}: nothing changed"
        raise NotFoundError(f"{text} — say resume {incident.target}", "over")


def _prepare_next(args: Mapping[str, Any], view: View) -> Confirm | Reply:
    run = _find_run(args["run"] or 0, view)
    if run.status == "ended":
        return reply(
            "over", f"{run.plan} (run {run.id}) is over ({run.outcome}): nothing changed", incident=run.incident
        )
    if run.kind != "repair" or run.part != "ladder":
        return reply("refused", f"{run.plan} (run {run.id}) has no levels to go on with", incident=run.incident)
    if run.status != "running":
        return reply("over", f"{run.plan} (run {run.id}) tries no level now: nothing changed", incident=run.incident)
    plan = _plan_of(run)
    if run.level + 1 >= len(plan.levels):
        return reply(
            "refused",
            f"{run.plan} is at its last level, {plan.levels[-1].name}: there is no next one",
            incident=run.incident,
        )
    level, location = plan.levels[run.level + 1], Target.model_validate_json(run.place)
    lines = (
        f"level {plan.levels[run.level].name} is given up, and level {level.name} begins",
        *(describe_step(step, location) for step in level.steps[:_MAX_LINES]),
    )
    known = {"run": run.id, "plan": run.plan, "level": run.level, "reason": args.get("reason")}
    return Confirm("next", known, lines, _wants_two(plan), run.incident)


def _prepare_rollback(args: Mapping[str, Any], view: View) -> Confirm | Reply:
    name, target = str(args["plan"]), str(args["target"])
    plan = view.config.plan(name, target) if target in view.config.targets else None
    incident = view.journal.incidents.find_open(target)
    number = None if incident is None else incident.id
    if plan is None:
        return reply("refused", f"there is no plan {name} for {target}", incident=number)
    same = next((run for run in view.journal.runs.list_unfinished(target) if run.plan == name), None)
    if same is not None:
        return reply("over", f"{name} is at work on {target} already (run {same.id}): nothing changed", incident=number)
    state = view.journal.targets.get_state(target, view.now)
    if plan.kind == "repair" and state.latched is not None:
        return reply("refused", f"{target} is latched ({state.latch_why}): say resume {target} first", incident=number)
    lines = _plan_lines(plan, view.config.targets[target])
    return Confirm("rollback", {**args}, lines, _wants_two(plan), number)


def _prepare_approve(args: Mapping[str, Any], view: View) -> Confirm | Reply:
    run = find_waiting(args["run"] or 0, view)
    plan = _plan_of(run)
    lines = _plan_lines(plan, Target.model_validate_json(run.place))
    known = {"run": run.id, "plan": run.plan, "reason": args.get("reason")}
    return Confirm("approve", known, lines, _wants_two(plan), run.incident, run.approve_by)


_PREPARE: dict[str, Callable[[Mapping[str, Any], View], Confirm | Reply]] = {
    "resume": _prepare_resume,
    "next": _prepare_next,
    "rollback": _prepare_rollback,
    "approve": _prepare_approve,
}


def find_waiting(number: int, view: View) -> PlanRun:
    """A run that waits for approval. Raises NotFoundError."""
    run = _find_run(number, view)
    if run.status != "queued" or run.approve_by is None or run.approval is not None:
        how = run.outcome or run.approval or run.status
        raise NotFoundError(f"{run.plan} (run {run.id}) waits for no approval ({how}): nothing changed", "over")
    if view.now >= run.approve_by:
        raise NotFoundError(f"{run.plan} (run {run.id}) was to be approved within its time, which is over", "over")
    return run


def _find_run(number: int, view: View) -> PlanRun:
    run = view.journal.runs.find_run(number)
    if run is None:
        raise NotFoundError(f"there is no plan run {number}")
    return run


def _plan_of(run: PlanRun) -> Halt | Repair:
    try:
        return parse_plan(run.text)
    except ValueError:
        raise NotFoundError(f"{run.plan} (run {run.id}) cannot be read: another version wrote it") from None


def _plan_lines(plan: Halt | Repair, location: Target) -> tuple[str, ...]:
    """What it does, a line a step; of a long one the beginning."""
    lines = describe_plan(plan, location)
    return (
        (*lines[:_MAX_LINES], f"and {len(lines) - _MAX_LINES} more steps") if len(lines) > _MAX_LINES else tuple(lines)
    )


def _wants_two(plan: Halt | Repair) -> bool:
    return isinstance(plan, Repair) and plan.two_people
