"""A path of keys in a YAML file, by the marks that PyYAML's composer leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from watchdog.actions.values.located_value import LocatedValue, Scalar, ValueNode, exactly_one, value_at_node
from watchdog.core.errors import ActionError


class _Composer(yaml.SafeLoader):
    """Composes without following aliases, and remembers what must not be edited on the spot."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.uneditable: dict[int, str] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        parser: Any = self  # these two are missing from the stubs
        event: Any = parser.peek_event()
        if isinstance(event, yaml.AliasEvent):
            parser.get_event()
            node: yaml.Node | None = yaml.ScalarNode("alias", event.anchor, None, None)
            self.uneditable[id(node)] = f"an alias (*{event.anchor})"
        else:
            node = super().compose_node(parent, index)
            if event.anchor is not None:
                self.uneditable[id(node)] = f"anchored (&{event.anchor}), so other places change with it"
            elif getattr(event, "tag", None) is not None:
                self.uneditable[id(node)] = f"tagged ({event.tag})"
        return node


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    try:
        composer = _Composer(text)
        try:
            root = composer.get_single_node()
        finally:
            composer.dispose()
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise ActionError(f"{file_name} is no YAML that can be edited: {' '.join(str(problem).split())}") from None
    nodes = exactly_one(list(_node_paths(root, name)), file_name, name)
    special = next((composer.uneditable[id(node)] for node in nodes if id(node) in composer.uneditable), None)
    node = nodes[-1]
    if special is not None:
        raise ActionError(f"{name} in {file_name} is {special} — write the value out, or change it by hand")
    if isinstance(node, yaml.SequenceNode) and any(id(item) in composer.uneditable for item in node.value):
        raise ActionError(f"{name} in {file_name} holds an anchor, alias or tag — write the values out")
    if isinstance(node, yaml.MappingNode):
        raise ActionError(f"{name} in {file_name} is no single value — name one of the keys below it")
    try:
        value: object = yaml.constructor.SafeConstructor().construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, OverflowError) as problem:
        raise ActionError(f"{name} in {file_name} cannot be read: {problem}") from None
    start, end = node.start_mark.index, node.end_mark.index
    if (isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")) or getattr(node, "flow_style", True) is False:
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    return value_at_node(ValueNode(start, end, value), text, file_name, name)


def _node_paths(node: yaml.Node | None, path: str) -> Iterator[list[yaml.Node]]:
    """Every way to follow the dotted path from the mapping: its nodes, the value last. A key may hold dots itself."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value == path:
            yield [node, value]
        elif path.startswith(f"{key.value}."):
            for rest in _node_paths(value, path[len(key.value) + 1 :]):
                yield [node, *rest]


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
