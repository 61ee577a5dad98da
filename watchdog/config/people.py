"""Whether those who are listed under `people:` can be told apart, can be heard, and are enough."""

from __future__ import annotations

from collections.abc import Iterator

from watchdog.config.entries import Draft, Entry
from watchdog.config.lint import lint_warning
from watchdog.core.chat import Person
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Problem, shorten
from watchdog.plans.models import Repair

_SERVICES = ("slack", "telegram")
"""Keys of a person, named as the `type` of the channels on which they are known by it."""


def validate_people(draft: Draft) -> None:
    """An id is one person's: who says something must be one of them."""
    seen: dict[tuple[str, object], str] = {}
    for name, entry in draft.entries["people"].items():
        for service in _SERVICES:
            known = getattr(entry.readable, service, None)
            if known is None:
                continue
            other = seen.setdefault((service, known), name)
            if other != name:
                entry.node.report(
                    entry.node.value_position(service),
                    f"{shorten(name)} has the {service} id of {shorten(other)}",
                    "each person has ids of their own",
                )


def lint_people(draft: Draft) -> Iterator[Problem]:
    """People whom no channel hears, and plans that want more people than there are."""
    people = {name: entry for name, entry in draft.entries["people"].items() if isinstance(entry.model, Person)}
    if draft.main is not None:
        hearing = _hearing_services(draft)
        for name, entry in people.items():
            mine = [service for service in _SERVICES if getattr(entry.model, service) is not None]
            if not hearing.intersection(mine):
                yield _warn(
                    entry,
                    (),
                    f"{shorten(name)} is known by {' and '.join(mine)}, and no channel there hears answers",
                    "add such a channel with all that it needs to listen, or leave the person out",
                )
        able = sum(entry.model.may == "act" for entry in people.values())
        for name, entry in draft.entries["plans"].items():
            wants = any(isinstance(plan, Repair) and plan.two_people for plan in entry.distinct_models())
            if wants and able < 2:
                yield _warn(
                    entry,
                    ("two_people",),
                    f"{shorten(name)} wants two people, and {able or 'nobody'} of people: may act",
                    "list two with may: act; else chats cannot start it",
                )


def _hearing_services(draft: Draft) -> set[str]:
    """Of a channel that cannot say so nobody knows better than its type."""
    return {
        channel.type
        for entry in draft.entries["channels"].values()
        if (channel := entry.readable) is not None
        and getattr(channel, "type", None) is not None
        and getattr(channel, "listen_to_people", True)
    }


def _warn(entry: Entry, key: KeyPath, what: str, cure: str) -> Problem:
    position = entry.node.key_position(*key) if key else entry.node.key_position()
    return lint_warning(entry.node, position, what, cure)
