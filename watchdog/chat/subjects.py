"""What a command is about: an incident by its number, a target by its name or by that of its incident."""

from __future__ import annotations

from watchdog.chat.commands import Command
from watchdog.chat.decisions import Caller, Outcome, View
from watchdog.core.model import Millis
from watchdog.documents.problems import format_names, unknown_name
from watchdog.journal.incidents import Incident, describe_unknown


class NotFoundError(Exception):
    """There is no such thing, or not any more. Its text is for who asked."""

    def __init__(self, text: str, outcome: Outcome = "refused") -> None:
        super().__init__(text)
        self.outcome = outcome


def find_incident(number: int | None, view: View) -> Incident:
    """Raises NotFoundError."""
    found = None if number is None else view.journal.incidents.find_incident(number)
    if found is None:
        raise NotFoundError(describe_unknown(number or 0, view.journal.incidents.list_incidents()))
    return found


def find_target(command: Command, caller: Caller, view: View) -> tuple[str, Incident | None]:
    """By its name, or with the incident by whose number it was said; the only one where nothing was said.

    A button says numbers of incidents alone. Raises NotFoundError.
    """
    targets, subject = known_targets(view), command.subject
    if not subject:
        if len(view.config.targets) == 1:
            return next(iter(view.config.targets)), None
        raise NotFoundError(f"of which target? — {command.name} TARGET: {format_names(targets)}")
    if subject in targets and not caller.is_button:
        return subject, None
    if command.number is not None:
        incident = find_incident(command.number, view)
        return incident.target, incident
    raise NotFoundError(unknown_name("target", subject, targets))


def is_latch_of(incident: Incident, latched: Millis) -> bool:
    """Whether a latch of that time was brought about in the incident."""
    return incident.opened <= latched and (incident.closed is None or latched <= incident.closed)


def known_targets(view: View) -> list[str]:
    """Also those that no file names any more and that are latched."""
    return list(dict.fromkeys([*view.config.targets, *(one.name for one in view.journal.targets.list_latched())]))
