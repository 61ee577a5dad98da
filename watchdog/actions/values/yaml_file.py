"""A path of keys in a YAML file, found in the parser's events: in one go, and on a stack of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from watchdog.actions.values import block_list
from watchdog.actions.values.located_value import LocatedValue, Scalar, value_at_node
from watchdog.actions.values.value_path import parse_path
from watchdog.actions.values.value_tree import Step, ValueNode, find_node
from watchdog.core.errors import ActionError, MissingError, UnreadableError

LOADERS: tuple[Any, ...] = (*([yaml.CSafeLoader] if yaml.__with_libyaml__ else []), yaml.SafeLoader)
"""The first is used; the others must say the same."""
MAX_DEPTH = 100
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MAX_NUMBER = 1_000
"""Characters. What is written in base 60 takes time by their square."""
COMMENT = re.compile(r"(?<![^ \t\r\n])#[^\r\n]*")

_COLLECTION_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_COLLECTION_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class _Written(NamedTuple):
    """What a node of YAML is made of."""

    event: Any
    """Its own, the first one of a collection."""
    key_end: int = -1
    """Of what stands under a key: where that ends."""


@dataclass(slots=True)
class _Frame:
    """A collection that is open."""

    written: _Written
    members: list[tuple[Step, ValueNode]] | None = None
    """Of a mapping."""
    items: list[ValueNode] = field(default_factory=list)
    key: Any = None
    """The event of the key whose value comes next."""


def find_value(text: str, file_name: str, name: str, loader: Any = LOADERS[0]) -> LocatedValue:
    mark = len(text) - len(text.removeprefix("\ufeff"))  # the parsers do not agree on whether it is a character
    try:
        root = _read_tree(loader(text[mark:]), mark)
    except (yaml.YAMLError, ValueError) as problem:
        raise UnreadableError(f"{file_name} is no YAML that can be edited: {_describe(problem)}") from None
    if root is None:
        raise MissingError(f"{name} is not set in {file_name} — add it there first")
    found = find_node(root, parse_path(name), file_name, name, _meaning_or_refused)
    node = found.node
    for there in found.way:
        if (obstacle := _obstacle(there.value.event)) is not None:
            raise ActionError(f"{name} in {file_name} is {obstacle} — write the value out, or change it by hand")
    if any(_obstacle(item.value.event) for item in node.items or ()):
        raise ActionError(f"{name} in {file_name} holds an anchor, alias or tag — write the values out")
    try:
        meaning = _meaning(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ActionError(f"{name} in {file_name} cannot be read: it is no value that YAML knows — mend it") from None
    if getattr(node.value.event, "style", None) in ("|", ">"):
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    place = value_at_node(node, meaning, text, file_name, name)
    if node.items is None or node.value.event.flow_style:
        return place
    start, end = block_list.span(text, node.value.key_end, place.items or (), file_name, name)
    return place._replace(start=start, end=end, text=text[start:end], is_block=True)


def _describe(problem: yaml.YAMLError | ValueError) -> str:
    """Without the line that it is about, which may hold anything."""
    mark = getattr(problem, "problem_mark", None)
    said = getattr(problem, "problem", None) or (problem if isinstance(problem, ValueError) else "it cannot be read")
    return " ".join(f"{said}{f' (line {mark.line + 1})' if mark is not None else ''}".split())


def ensure_shallow(text: str) -> None:
    """Raises ValueError for what is nested deeply: libyaml's composer recurses on the C stack, and dies of it."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADERS[0]):
        depth += isinstance(event, _COLLECTION_STARTS) - isinstance(event, _COLLECTION_ENDS)
        if depth > MAX_DEPTH:
            raise ValueError(f"line {_line(event)} is nested deeper than {MAX_DEPTH} levels")


def _read_tree(parser: Any, mark: int) -> ValueNode | None:
    """All that it holds, None for nothing. A second document, and what is nested deeply, is a ValueError."""
    root: ValueNode | None = None
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
            start, end = _span(done.written.event)[0], _span(event)[1]
            items = None if done.members is not None else done.items
            root = _add(frames, ValueNode(mark + start, mark + end, done.written, done.members, items))
        elif isinstance(event, yaml.NodeEvent):
            written = _Written(event, _key_end(frames, mark))
            if isinstance(event, _COLLECTION_STARTS):
                if len(frames) >= MAX_DEPTH:
                    raise ValueError(f"line {_line(event)} is nested deeper than {MAX_DEPTH} levels")
                frames.append(_Frame(written, [] if isinstance(event, yaml.MappingStartEvent) else None))
            else:
                start, end = _span(event)
                root = _add(frames, ValueNode(mark + start, mark + end, written))
    return root


def _span(event: Any) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index


def _key_end(frames: list[_Frame], mark: int) -> int:
    key = frames[-1].key if frames else None
    return -1 if key is None else mark + key.end_mark.index


def _add(frames: list[_Frame], node: ValueNode) -> ValueNode:
    """Into what is open. Of a mapping a key comes first, then its value, which nobody can name where the key is no text."""
    if frames:
        frame = frames[-1]
        if frame.members is None:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = node.value.event
        else:
            if isinstance(frame.key, yaml.ScalarEvent):
                frame.members.append((frame.key.value, node))
            frame.key = None
    return node


def _meaning(node: ValueNode) -> object:
    return _construct(node.value.event) if node.items is None else [_meaning(item) for item in node.items]


def _meaning_or_refused(node: ValueNode) -> object:
    """Raises ActionError: it is no value that YAML knows."""
    try:
        return _meaning(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ActionError("it is no value that YAML knows — mend it") from None


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
    if tag in _NUMBER_TAGS and len(event.value) > _MAX_NUMBER:
        raise ValueError("it is too long for a number")
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
