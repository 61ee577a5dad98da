"""What becomes of something that was said: told at once, asked of the watchdog, or asked of people once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from watchdog.config import Config
from watchdog.core.chat import Person
from watchdog.core.model import Button, Message, Millis
from watchdog.core.text import shorten
from watchdog.core.units import format_duration
from watchdog.journal.chat import Confirmation
from watchdog.journal.storage import Journal

Outcome = Literal[
    "done", "refused", "answered", "asked", "cancelled", "over", "too_old", "not_allowed", "misunderstood", "stranger",
    "elsewhere", "failed",
]  # fmt: skip
"""As the metrics call it. `over`: what it is about is so no longer, or somebody else was faster."""

CONFIRM_WITHIN: Millis = 2 * 60_000
SECOND_PERSON_WITHIN: Millis = 10 * 60_000


class Caller(NamedTuple):
    """Who says it, where."""

    name: str
    person: Person
    channel: str
    is_button: bool

    @property
    def by(self) -> str:
        """As the journal calls them."""
        return called(self.name, self.channel)


def called(names: str, channel: str) -> str:
    """``ann (chat slack)``"""
    return f"{names} (chat {channel})"


class View(NamedTuple):
    """All that a decision is made by."""

    config: Config
    journal: Journal
    now: Millis
    down: Mapping[str, str] = {}
    """Sources that cannot be read, each with the reason."""


class Reply(NamedTuple):
    """Told; nothing is done."""

    outcome: Outcome
    message: Message
    uses: int | None = None
    """The confirmation that is over with it."""


class Ask(NamedTuple):
    """A request, as the command line would leave it."""

    kind: str
    args: dict[str, Any]
    by: str
    uses: int | None = None


class Confirm(NamedTuple):
    """Asked once more; a request once that is confirmed."""

    kind: str
    args: dict[str, Any]
    lines: tuple[str, ...] = ()
    """What will be done by it."""
    two_people: bool = False
    """By somebody else than who asked."""
    incident: int | None = None
    until: Millis | None = None
    """It is to be confirmed by then in any case."""

    def end(self, now: Millis) -> Millis:
        last = now + (SECOND_PERSON_WITHIN if self.two_people else CONFIRM_WITHIN)
        return last if self.until is None else min(last, self.until)

    def question(self, number: int, name: str, now: Millis) -> Message:
        """The message that asks. `number`: of the confirmation; `name`: who has asked for it."""
        what, within = describe_request(self.kind, self.args), format_duration(self.end(now) - now)
        who = f"a second person than {name}, who may act," if self.two_people else name
        return Message(
            "info",
            f"{what}?",
            (*self.lines, f"{who} is asked for {within}; without a yes nothing is done"),
            self.incident,
            urgent=True,
            buttons=(
                Button(f"Yes, {shorten(what, 50)}", f"confirm {number}", "danger"),
                Button("No", f"cancel {number}"),
            ),
        )


Decision = Reply | Ask | Confirm


def reply(outcome: Outcome, title: str, *lines: str, incident: int | None = None, uses: int | None = None) -> Reply:
    return Reply(outcome, Message("info", title, lines, incident, urgent=True), uses)


def describe_request(kind: str, args: Mapping[str, Any]) -> str:
    """``resume toy``, ``approve ladder (run 42)``: what is asked for, in a few words."""
    match kind:
        case "approve" | "deny" | "next":
            what = {"approve": "approve", "deny": "deny", "next": "next level of"}[kind]
            return f"{what} {args.get('plan') or 'the plan'} (run {args['run']})"
        case "rollback":
            return f"run {args['plan']} on {args['target']}"
        case "ack":
            return f"acknowledge incident {args['incident']}"
        case "silence":
            return f"silence {args['rule']}"
    return f"{kind} {args.get('target') or ''}".rstrip()


def describe_answer(kind: str, args: Mapping[str, Any], ok: bool, text: str) -> Message:
    """What a request has come to, for who asked for it. `text`: what the command line would be told."""
    what = describe_request(kind, args)
    if not ok:
        return Message("info", f"not done: {what}", (text,), urgent=True)
    if kind in ("rollback", "halt") and text.isdigit():
        return Message("info", f"{what}: begins (run {text})", urgent=True)
    return Message("info", text, urgent=True)


def close_question(asked: Confirmation, end: str) -> Message:
    """What stands in place of the question once it is over: without buttons."""
    return Message("info", f"{describe_request(asked.kind, asked.args)}: {end}")
