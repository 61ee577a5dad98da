"""A command of a person → what is told, what is asked of the watchdog, or what people are asked once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from watchdog.chat import destructive, overview
from watchdog.chat.chart import MAX_SPAN
from watchdog.chat.commands import COMMANDS, Command, Misunderstood, parse_command
from watchdog.chat.decisions import Ask, Caller, Decision, Reply, View, describe_request, reply
from watchdog.chat.rights import find_person, may
from watchdog.chat.subjects import NotFoundError, find_incident, find_target
from watchdog.core.model import Chart, Message, Millis
from watchdog.core.text import shorten
from watchdog.core.units import format_duration
from watchdog.documents.problems import format_names, unknown_name
from watchdog.journal.chat import ChatRecord
from watchdog.journal.incidents import Incident

TOO_OLD_TO_DO: Millis = 60_000
"""ms since it was said: who said it has gone on, and what it is about may be another thing by now."""
TOO_OLD_TO_TELL: Millis = 10 * 60_000
_HOLD: Millis = 2 * 3_600_000
_SILENCE: Millis = 3_600_000
_SPAN: Millis = 3_600_000
_MIN_SPAN: Millis = 60_000


def decide(record: ChatRecord, service: str, view: View) -> Decision:
    """`service`: the type of the channel. Rights are those of the configuration as it is now."""
    event, name = record.event, record.person
    if name is None or find_person(view.config.people, service, event.user) != name:
        return reply("stranger", "not done: who said it is not listed under people: any more")
    age = view.now - event.t
    command = parse_command(event.text)
    if isinstance(command, Misunderstood):
        return reply(
            "misunderstood" if age <= TOO_OLD_TO_DO else "too_old", command.text, "help tells what you may say"
        )
    form, person = COMMANDS[command.name], view.config.people[name]
    if age > (TOO_OLD_TO_TELL if form.right == "see" else TOO_OLD_TO_DO):
        said = shorten(event.text, 60)
        return reply(
            "too_old", "too old, nothing done", f"{name} said {said!r} {format_duration(age)} ago — say it again"
        )
    if not may(person, form.right):
        return reply(
            "not_allowed",
            f"not done: {name} may not {command.name}",
            f"it wants may: {form.right} under people: in watchdog.yaml; {name} has {person.may}",
        )
    caller = Caller(name, person, record.channel, event.is_button)
    try:
        decision = _ANSWERS[command.name](command, caller, view)
    except NotFoundError as error:
        return reply(error.outcome, str(error))
    if isinstance(decision, Ask) and (other := _find_alike(decision, view)) is not None:
        return reply("over", f"{describe_request(decision.kind, decision.args)}: {other} has asked for that just now")
    return decision


def _find_alike(ask: Ask, view: View) -> str | None:
    """Who has asked for the same, and was not answered yet."""

    def essence(args: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in args.items() if key not in ("reason", "note")}

    return next(
        (
            one.by
            for one in view.journal.requests.list_unanswered()
            if one.kind == ask.kind and essence(one.args) == essence(ask.args)
        ),
        None,
    )


# ─ what is told ─


def _tell_status(_: Command, __: Caller, view: View) -> Decision:
    return _tell(overview.describe_status(view.config, view.journal, view.down, view.now))


def _tell_incidents(_: Command, __: Caller, view: View) -> Decision:
    return _tell(overview.list_incidents(view.journal, view.now))


def _tell_incident(command: Command, _: Caller, view: View) -> Decision:
    return _tell(overview.describe_incident(view.journal, find_incident(command.number, view), view.now))


def _tell_report(command: Command, _: Caller, view: View) -> Decision:
    return _tell(overview.summarize_report(view.journal, find_incident(command.number, view), view.now))


def _tell_help(_: Command, caller: Caller, __: View) -> Decision:
    lines = [
        f"{form.usage}: {form.does}"
        for form in COMMANDS.values()
        if not form.only_for_buttons and may(caller.person, form.right)
    ]
    return _tell(Message("info", f"{caller.name} may say", tuple(lines)))


def _tell(message: Message) -> Reply:
    return Reply("answered", message)


def _show_chart(command: Command, caller: Caller, view: View) -> Decision:
    span = min(MAX_SPAN, max(_MIN_SPAN, command.span or _SPAN))
    config = view.config
    is_name = command.subject.partition("@")[0] in config.kpis and not caller.is_button
    if command.number is not None and not is_name:
        return _show_incident_chart(find_incident(command.number, view), command.span, view)
    name, _, scope = command.subject.partition("@")
    if name not in config.kpis:
        return reply("refused", unknown_name("KPI", command.subject, config.kpis))
    judged = [target for (_, target), rule in config.rules_by_target.items() if rule.kpi == name]
    targets = list(dict.fromkeys(judged)) or [each for each in config.targets if config.kpi(name, each) is not None]
    target = command.place or scope or (targets[0] if len(targets) == 1 else "")
    if target not in targets:
        if target:
            return reply("refused", unknown_name("target of that KPI", target, targets))
        return reply("refused", f"of which target? — chart {name} TARGET: {format_names(targets)}")
    incident = view.journal.incidents.find_open(target)
    chart = Chart(name, target, (), None if incident is None else incident.id, span, view.now)
    return _tell(Message("info", f"{target}: {name}, the last {format_duration(span)}", chart=chart))


def _show_incident_chart(incident: Incident, said: Millis | None, view: View) -> Decision:
    """What tripped first of that which has a KPI, from ahead of the incident to its end."""
    config, until = view.config, incident.closed or view.now
    for trip in view.journal.incidents.list_trips(incident.id):
        rule = config.rules_by_target.get((trip.rule, incident.target))
        if rule is not None and rule.kpi is not None:
            span = min(MAX_SPAN, max(_MIN_SPAN, said or _SPAN, until - incident.opened + _SPAN // 6))
            chart = Chart(rule.kpi, incident.target, trip.labels, incident.id, span, until)
            title = f"{incident.target}: {rule.kpi}, {format_duration(span)} of incident {incident.id}"
            return _tell(Message("info", title, incident=incident.id, chart=chart))
    return reply(
        "refused", f"incident {incident.id} has no KPI to draw: what tripped is a condition, or no rule any more"
    )


# ─ what is asked of the watchdog ─


def _acknowledge(command: Command, caller: Caller, view: View) -> Decision:
    incident = find_incident(command.number, view)
    if incident.closed is not None and (caller.is_button or not command.note):
        return _is_over(incident, view)
    if incident.acked_by is not None and not command.note:
        return reply("over", f"{incident.acked_by} is on it already: incident {incident.id}", incident=incident.id)
    return Ask("ack", {"incident": incident.id, "note": command.note or None}, caller.by)


def _hold(command: Command, caller: Caller, view: View) -> Decision:
    target, incident = find_target(command, caller, view)
    if incident is not None and incident.closed is not None and caller.is_button:
        return _is_over(incident, view)
    active = view.journal.suppressions.find_active("hold", target, view.now)
    if active is not None and caller.is_button:
        left = format_duration(active.until - view.now)
        return reply("over", f"{target} is held already for another {left} ({active.who})", incident=_number(incident))
    span = None if command.off else command.span or _HOLD
    return Ask("hold", {"target": target, "for": span, "reason": destructive.reason_of(command, caller)}, caller.by)


def _silence(command: Command, caller: Caller, view: View) -> Decision:
    config, span = view.config, None if command.off else command.span or _SILENCE
    if command.number is None or (command.subject in config.rules and not caller.is_button):
        names, incident = [command.subject], None
        if command.subject.partition("@")[0] not in config.rules:
            return reply("refused", unknown_name("rule", command.subject, config.rules))
    else:
        incident = find_incident(command.number, view)
        if incident.closed is not None:
            return _is_over(incident, view)
        firing = [trip.rule for trip in view.journal.incidents.list_trips(incident.id) if trip.cleared is None]
        known = [rule for rule in dict.fromkeys(firing) if incident.target in config.targets_of(rule)]
        names = [
            rule if len(config.targets_of(rule)) == 1 else f"{rule}@{incident.target}"
            for rule in known
            if not caller.is_button or not _is_silenced(rule, incident.target, view)
        ]
        if not names:
            why = "all that fires is silenced already" if known else "nothing fires in it"
            return reply("over", f"incident {incident.id}: {why}", incident=incident.id)
    args = {"rule": names[0], "rules": names, "for": span, "reason": destructive.reason_of(command, caller)}
    return Ask("silence", args if len(names) > 1 else {key: args[key] for key in args if key != "rules"}, caller.by)


def _is_silenced(rule: str, target: str, view: View) -> bool:
    subjects = (rule, f"{rule}@{target}")
    return any(view.journal.suppressions.find_active("silence", each, view.now) is not None for each in subjects)


def _deny(command: Command, caller: Caller, view: View) -> Decision:
    run = destructive.find_waiting(command.number or 0, view)
    args = {"run": run.id, "plan": run.plan, "reason": destructive.reason_of(command, caller)}
    return Ask("deny", args, caller.by)


def _halt(command: Command, caller: Caller, view: View) -> Decision:
    target, incident = find_target(command, caller, view)
    if incident is not None and incident.closed is not None and caller.is_button:
        return _is_over(incident, view)
    return Ask("halt", {"target": target, "reason": destructive.reason_of(command, caller)}, caller.by)


def _is_over(incident: Incident, view: View) -> Reply:
    ago = format_duration(view.now - (incident.closed or view.now))
    return reply("over", f"incident {incident.id} is over for {ago}: nothing changed", incident=incident.id)


def _number(incident: Incident | None) -> int | None:
    return None if incident is None else incident.id


_ANSWERS: dict[str, Callable[[Command, Caller, View], Decision]] = {
    "status": _tell_status,
    "incidents": _tell_incidents,
    "incident": _tell_incident,
    "chart": _show_chart,
    "report": _tell_report,
    "help": _tell_help,
    "ack": _acknowledge,
    "silence": _silence,
    "hold": _hold,
    "approve": destructive.approve,
    "deny": _deny,
    "resume": destructive.resume,
    "next": destructive.next_level,
    "rollback": destructive.rollback,
    "halt": _halt,
    "confirm": destructive.confirm,
    "cancel": destructive.cancel,
}
