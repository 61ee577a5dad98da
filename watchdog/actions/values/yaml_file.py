"""A path of keys in a YAML file, found in the parser's events as they pass by: in one go, and on a stack of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from watchdog.actions.values.located_value import LocatedValue, Scalar, ValueNode, exactly_one, value_at_node
from watchdog.core.errors import ActionError, UnreadableError

LOADERS: tuple[Any, ...] = (*([yaml.CSafeLoader] if yaml.__with_libyaml__ else []), yaml.SafeLoader)
"""The first is used; the others must say the same."""
MAX_DEPTH = 100

_COLLECTION_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_COLLECTION_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


@dataclass(slots=True)
class _Found:
    """A value that the name leads to."""

    start: Any
    """Its event, the first one of a collection."""
    end: Any
    obstacle: str | None
    """Why neither it nor what holds it may be edited on the spot."""
    items: list[Any] = field(default_factory=list)
    """Of a list: the events of its items."""


@dataclass(slots=True)
class _Frame:
    """A collection that is open."""

    is_mapping: bool
    rest: str | None
    """Of a mapping that the name leads through: what of the name is left; None: it leads elsewhere."""
    obstacle: str | None
    found: _Found | None = None
    """It is itself what the name leads to."""
    expects_key: bool = True
    key: str | None = None
    """The key whose value comes next; None: it is no text."""


def find_value(text: str, file_name: str, name: str, loader: Any = LOADERS[0]) -> LocatedValue:
    mark = len(text) - len(text.removeprefix("\ufeff"))  # the parsers do not agree on whether it is a character
    try:
        candidates = _follow(loader(text[mark:]), name)
    except (yaml.YAMLError, ValueError) as problem:
        raise UnreadableError(f"{file_name} is no YAML that can be edited: {' '.join(str(problem).split())}") from None
    found = exactly_one(candidates, file_name, name)
    start = found.start
    if found.obstacle is not None:
        raise ActionError(f"{name} in {file_name} is {found.obstacle} — write the value out, or change it by hand")
    if isinstance(start, yaml.SequenceStartEvent) and any(_obstacle(item) for item in found.items):
        raise ActionError(f"{name} in {file_name} holds an anchor, alias or tag — write the values out")
    if isinstance(start, yaml.MappingStartEvent):
        raise ActionError(f"{name} in {file_name} is no single value — name one of the keys below it")
    try:
        is_list = isinstance(start, yaml.SequenceStartEvent)
        value: object = [_construct(item) for item in found.items] if is_list else _construct(start)
    except (yaml.YAMLError, ValueError, OverflowError) as problem:
        raise ActionError(f"{name} in {file_name} cannot be read: {problem}") from None
    if getattr(start, "style", None) in ("|", ">") or getattr(start, "flow_style", True) is False:
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    node = ValueNode(mark + start.start_mark.index, mark + found.end.end_mark.index, value)
    return value_at_node(node, text, file_name, name)


def _follow(parser: Any, name: str) -> list[_Found]:
    """Every place that the dotted path leads to from the top. A key may hold dots itself. Aliases are not followed."""
    found: list[_Found] = []
    frames: list[_Frame] = []
    documents = 0
    event: Any
    while not isinstance(event := parser.get_event(), yaml.StreamEndEvent):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ValueError(f"a second document starts in line {_line(event)}")
        elif isinstance(event, _COLLECTION_ENDS):
            done = frames.pop()
            if done.found is not None:
                done.found.end = event
            _value_done(frames)
        elif isinstance(event, yaml.NodeEvent):
            parent = frames[-1] if frames else None
            is_start = isinstance(event, _COLLECTION_STARTS)
            if parent is not None and parent.is_mapping and parent.expects_key and not is_start:
                parent.key = event.value if isinstance(event, yaml.ScalarEvent) else None
                parent.expects_key = False
                continue
            here, frame = _enter(event, parent, name)
            if here is not None:
                found.append(here)
            if not is_start:
                _value_done(frames)
            elif len(frames) >= MAX_DEPTH:
                raise ValueError(f"line {_line(event)} is nested deeper than {MAX_DEPTH} levels")
            else:
                frames.append(frame)
    return found


def _enter(event: Any, parent: _Frame | None, name: str) -> tuple[_Found | None, _Frame]:
    """A value begins: what is found there, and where the name leads within."""
    frame = _Frame(isinstance(event, yaml.MappingStartEvent), None, None)
    if parent is None:
        frame.rest, frame.obstacle = name, _obstacle(event)
    elif parent.found is not None:
        parent.found.items.append(event)
    elif parent.rest is not None and parent.key is not None and not parent.expects_key:
        if parent.key == parent.rest:
            frame.found = _Found(event, event, parent.obstacle or _obstacle(event))
        elif parent.rest.startswith(f"{parent.key}."):
            frame.rest = parent.rest[len(parent.key) + 1 :]
            frame.obstacle = parent.obstacle or _obstacle(event)
    return frame.found, frame


def _value_done(frames: list[_Frame]) -> None:
    """Of a mapping, a key comes next; when it was a key itself that ended, its value, which nobody can name."""
    if frames:
        frame = frames[-1]
        frame.expects_key, frame.key = not frame.expects_key, None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _obstacle(event: Any) -> str | None:
    if isinstance(event, yaml.AliasEvent):
        return f"an alias (*{event.anchor})"
    if event.anchor is not None:
        return f"anchored (&{event.anchor}), so other places change with it"
    return f"tagged ({event.tag})" if event.tag is not None else None


def _construct(event: Any) -> object:
    """What it means to those who read YAML 1.1, as PyYAML does; of a collection, only that it is one."""
    if not isinstance(event, yaml.ScalarEvent):
        return []
    resolver: Any = yaml.resolver.Resolver()
    tag = resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
    return yaml.constructor.SafeConstructor().construct_object(yaml.ScalarNode(tag, event.value))


_PLAIN_SCALAR = re.compile(r"[A-Za-z_/][\w./+-]*(?: [\w./+-]+)*", re.ASCII)
_RESERVED_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def format_literal(value: Scalar | Sequence[Scalar], found: LocatedValue) -> str:
    if isinstance(value, tuple):
        quote = next((c for c in found.text if c in "'\""), "")
        text = f"[{', '.join(format_literal(each, found._replace(text=quote or 'x')) for each in value)}]"
    elif value is None:
        text = "null"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float):
        text = re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))  # 1e-05 is a string to YAML 1.1
    elif isinstance(value, int):
        text = str(value)
    elif not isinstance(value, str):
        raise TypeError(value)
    elif found.text.startswith("'") and value.isprintable():
        text = "'" + value.replace("'", "''") + "'"
    elif not found.text.startswith('"') and _PLAIN_SCALAR.fullmatch(value) and value.lower() not in _RESERVED_WORDS:
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if found.text or found.start == 0 else f" {text}"  # an empty value ends right behind the colon
