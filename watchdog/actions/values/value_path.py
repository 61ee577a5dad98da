"""How a value in a nested file is named.

A path is keys with dots between them. A list's member is named by its place (``pairlists.0.n``, ``pairlists[0].n``) or by the value
of one of its keys (``pairlists[method=VolumePairList].n``). A key with brackets, one that begins or ends with a dot, and an empty
one are written in quotes (``hosts.".local".port``); a dot within a key needs none as long as the file leaves no doubt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from watchdog.core.text import shorten

_MAX_PARTS = 100
_BARE = re.compile(r"[^.\[\]]+")
_QUOTED = re.compile(r"""(?P<json>"(?:[^"\\]|\\.)*+")|'(?P<plain>[^']*)'""")
_PLACE = re.compile(r"\[([0-9]{1,9})\]")
_MEMBER = re.compile(
    r"""\[(?P<key>"(?:[^"\\]|\\.)*+"|'[^']*'|[^=\[\]"']+)=(?P<value>"(?:[^"\\]|\\.)*+"|'[^']*'|[^\[\]"']*)\]"""
)


class Key(NamedTuple):
    text: str
    is_quoted: bool = False
    start: int = 0
    """Where it stands in the name."""


class Place(NamedTuple):
    """A member of a list, by its number from 0."""

    number: int


class Member(NamedTuple):
    """A member of a list, by what stands under one of its keys."""

    key: str
    text: str
    is_quoted: bool
    """It is a text, whatever it looks like."""


Part = Key | Place | Member


def parse_path(name: str) -> tuple[Part, ...]:
    """Raises ValueError with the cure."""
    parts: list[Part] = []
    position = 0
    while True:
        if name[position : position + 1] in ("'", '"'):
            quoted = _QUOTED.match(name, position)
            try:
                text = (
                    None
                    if quoted is None
                    else quoted["plain"]
                    if quoted["json"] is None
                    else json.loads(quoted["json"])
                )
            except ValueError:
                text = None
            if quoted is None or text is None:
                raise ValueError(f"{name!r}: a quote does not end — write a key in quotes as \"a.b\" or 'a.b'")
            parts.append(Key(text, is_quoted=True, start=position))
            position = quoted.end()
        elif name.startswith("[") and position == 0:
            pass  # of a file that is a list itself
        elif bare := _BARE.match(name, position):
            parts.append(Key(bare[0], start=position))
            position = bare.end()
        else:
            raise ValueError(
                f"{name!r} is no path of keys such as features.hmm_v2 — a key that begins or ends with a dot, "
                "or holds brackets, goes in quotes"
            )
        while name.startswith("[", position):
            if place := _PLACE.match(name, position):
                parts.append(Place(int(place[1])))
                position = place.end()
            elif member := _MEMBER.match(name, position):
                parts.append(
                    Member(_unquote(member["key"]), _unquote(member["value"]), member["value"][:1] in ("'", '"'))
                )
                position = member.end()
            else:
                raise ValueError(f"{name!r}: of a list's members one is named as [0], or as [method=VolumePairList]")
        if len(parts) > _MAX_PARTS:
            raise ValueError(f"{shorten(name, 60)} has more than {_MAX_PARTS} parts")
        if position == len(name):
            break
        if name[position] != ".":
            raise ValueError(f"{name!r}: a dot is missing ahead of {name[position:]!r}")
        position += 1
    _ensure_found_again(name, parts)
    return tuple(parts)


def _unquote(text: str) -> str:
    try:
        return text[1:-1] if text[:1] == "'" else str(json.loads(text)) if text[:1] == '"' else text
    except ValueError:
        raise ValueError(f"{text} is no text in quotes") from None


def _ensure_found_again(name: str, parts: Sequence[Part]) -> None:
    """Once it is set, the same name must lead to the same value."""
    for place, part in enumerate(parts):
        rest = parts[place + 1 :]
        keys = [one.text for one in rest if isinstance(one, Key)]
        if isinstance(part, Member) and len(keys) == len(rest) and ".".join(keys) == part.key:
            raise ValueError(
                f"{name!r} sets the very {part.key} that it is found by — name the member by its place: [0]"
            )


def last_key(name: str) -> tuple[str, str] | None:
    """(what stands ahead of its last key, that key), for a name that ends in one without quotes."""
    try:
        part = parse_path(name)[-1]
    except ValueError:
        return None
    return (name[: part.start], part.text) if isinstance(part, Key) and not part.is_quoted else None


def key_names(name: str) -> list[str]:
    """The keys that it is made of; of a name that is no path, the name."""
    try:
        return [part.text for part in parse_path(name) if isinstance(part, Key)]
    except ValueError:
        return [name]
