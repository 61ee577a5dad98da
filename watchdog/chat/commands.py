"""What was said in a chat, as a command: one table of the commands there are, and how their words are read."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from watchdog.core.chat import Right
from watchdog.core.model import Millis
from watchdog.core.text import shorten
from watchdog.core.units import parse_duration
from watchdog.documents.problems import suggest

MAX_TEXT_CHARACTERS = 1_000
"""Of what somebody says: more is not looked at."""
MAX_NOTE_CHARACTERS = 300
_MAX_DIGITS = 15
"""Of a number of the journal."""

Subject = Literal["", "number", "name", "rule", "target"]
"""What stands behind the command's name: nothing; a number; a name; a rule, or an incident's number; a target, or an
incident's number, or nothing where there is one target."""


class CommandForm(NamedTuple):
    """One command, as it may be said."""

    usage: str
    right: Right
    does: str
    subject: Subject = ""
    place: bool = False
    """A target may stand behind the subject."""
    span: bool = False
    """A duration may follow."""
    off: bool = False
    """In place of the duration `off` may stand: it ends."""
    note: bool = False
    """All else that follows is a reason."""
    only_for_buttons: bool = False


COMMANDS: dict[str, CommandForm] = {
    "status": CommandForm("status", "see", "how things are"),
    "incidents": CommandForm("incidents", "see", "open incidents and the last ones"),
    "incident": CommandForm("incident N", "see", "one incident: what tripped, what was done", "number"),
    "chart": CommandForm(
        "chart KPI|N [TARGET] [1h]",
        "see",
        "a KPI over the last hour, or so long; of an incident, what tripped",
        "name",
        place=True,
        span=True,
    ),
    "report": CommandForm("report N", "see", "a summary, and the command that writes the whole report", "number"),
    "help": CommandForm("help", "see", "what you may say"),
    "ack": CommandForm("ack N [note]", "ack", "somebody is on it", "number", note=True),
    "silence": CommandForm(
        "silence RULE|N [1h|off] [reason]",
        "ack",
        "a rule is not told for a while, or what fires in an incident; it is acted upon all the same",
        "rule",
        span=True,
        off=True,
        note=True,
    ),
    "hold": CommandForm(
        "hold TARGET|N [2h|off] [reason]",
        "ack",
        "rules start no repair of a target for a while; halts they do",
        "target",
        span=True,
        off=True,
        note=True,
    ),
    "approve": CommandForm("approve RUN [reason]", "act", "a plan that waits for it begins", "number", note=True),
    "deny": CommandForm(
        "deny RUN [reason]", "act", "a plan that waits ends, and nothing is touched", "number", note=True
    ),
    "resume": CommandForm(
        "resume TARGET|N [reason]",
        "act",
        "the latch opens: repairs may start again (asks once more)",
        "target",
        note=True,
    ),
    "next": CommandForm(
        "next RUN [reason]", "act", "a repair goes on with its next level now (asks once more)", "number", note=True
    ),
    "rollback": CommandForm(
        "rollback PLAN [TARGET] [reason]", "act", "a plan runs now (asks once more)", "name", place=True, note=True
    ),
    "halt": CommandForm("halt TARGET|N [reason]", "act", "the target's halt runs at once", "target", note=True),
    "confirm": CommandForm("confirm N", "act", "yes, to what was asked once more", "number", only_for_buttons=True),
    "cancel": CommandForm("cancel N", "act", "no, to what was asked once more", "number", only_for_buttons=True),
}
"""By name, in the order of the help."""
_OTHER_NAMES = {"start": "help", "?": "help", "acknowledge": "ack", "incidence": "incident", "charts": "chart"}
_ADDRESS = re.compile(r"<@[UW][A-Z0-9]+(?:\|[^>]*)?>|/?(?:trading-)?watchdog(?:@\w+)?|@\w+", re.IGNORECASE)
"""Words ahead of a command that only say whom it is for."""


class Command(NamedTuple):
    """A command as it was said. Names in it are only ever compared with those of the configuration."""

    name: str
    subject: str = ""
    number: int | None = None
    """The subject, where it is a number."""
    place: str = ""
    span: Millis | None = None
    """ms; None: not said."""
    off: bool = False
    note: str = ""
    """One line, bounded, escaped."""


class Misunderstood(NamedTuple):
    """Why it is no command, and what to say instead."""

    text: str


def parse_command(text: str) -> Command | Misunderstood:
    """What somebody has said, or the answer of a button."""
    words = text[:MAX_TEXT_CHARACTERS].split()
    while words and _ADDRESS.fullmatch(words[0]):
        words.pop(0)
    said = words.pop(0).lstrip("/").partition("@")[0].lower() if words else "help"
    name = _OTHER_NAMES.get(said, said)
    form = COMMANDS.get(name)
    if form is None:
        known = [each for each, one in COMMANDS.items() if not one.only_for_buttons]
        return Misunderstood(f"there is no command {shorten(said, 40)!r} — {suggest(said, known)}")
    command = Command(name)
    if form.subject == "target" and (
        not words or _duration_of(words[0]) is not None or (form.off and _is_off(words[0]))
    ):
        pass  # of the only target
    elif form.subject:
        if not words:
            return Misunderstood(f"{name} of what? — {form.usage}")
        subject = words.pop(0)
        command = command._replace(subject=subject, number=_number_of(subject))
        if form.subject == "number" and command.number is None:
            return Misunderstood(f"{shorten(subject, 40)!r} is no number — {form.usage}")
    if form.place and words and _duration_of(words[0]) is None:
        command = command._replace(place=words.pop(0))
    if form.span:
        if len(words) > 1 and words[0].lower() == "for":
            words.pop(0)
        if words and form.off and _is_off(words[0]):
            command = command._replace(off=True)
            words.pop(0)
        elif words and (span := _duration_of(words[0])) is not None:
            command = command._replace(span=span)
            words.pop(0)
    if words and form.note:
        return command._replace(note=shorten(" ".join(words), MAX_NOTE_CHARACTERS))
    if words:
        return Misunderstood(f"what is {shorten(words[0], 40)!r}? — {form.usage}")
    return command


def _number_of(word: str) -> int | None:
    digits = word.removeprefix("#")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS else None


def _duration_of(word: str) -> Millis | None:
    try:
        return parse_duration(word) if word[:1].isdigit() else None
    except ValueError:
        return None


def _is_off(word: str) -> bool:
    return word.lower() == "off"
