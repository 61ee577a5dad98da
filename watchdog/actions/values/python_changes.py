"""Whether other statements of a Python file set what one has set: a key of its dict, an item of its list, an attribute.

Only what runs when the file is read counts: what a function does later is the bot's own doing. A key that is computed may be any
key of its own level, and of no other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from watchdog.actions.values.value_tree import Step

_ANY: None = None
"""A key that is computed."""
_Way = tuple[Step | None, ...]

_MAX_WAY = 50
_MAX_WAYS = 500
"""Names of one thing that are looked through; with more of them it may be anything."""
_BY_KEY = {"setdefault", "pop", "__setitem__", "__delitem__"}
"""Methods whose first argument is the key that they change."""
_ANYWHERE = {
    "update",
    "popitem",
    "clear",
    "append",
    "extend",
    "insert",
    "remove",
    "sort",
    "reverse",
    "__ior__",
    "__iadd__",
}


class _Change(NamedTuple):
    way: _Way
    """The name, then key by key, to what is set anew, or removed."""
    line: int


def changed_again(module: ast.Module, steps: Sequence[Step], *, holds_items: bool = False) -> int | None:
    """The line of a statement that may set anew what the steps lead to: a name, then keys. None: there is none.

    `holds_items`: it is a list, whose items may be set.
    """
    aliases: dict[str, set[_Way]] = {}
    changes: list[_Change] = []
    for node, scope in _nodes_run(module):
        for name, way in _aliases_by(node):
            aliases.setdefault(name, set()).add(way)
        for change in _changes_by(node):
            changes += [change, change._replace(way=(*scope, *change.way))] if scope else [change]
    whole = tuple(steps)
    for change in changes:
        if any(_may_touch(way, whole, holds_items=holds_items) for way in _without_aliases(change.way, aliases)):
            return change.line
    return None


def _may_touch(way: _Way, steps: tuple[Step, ...], *, holds_items: bool) -> bool:
    if len(way) > len(steps) + holds_items:
        return False
    return all(key is _ANY or (key == step and type(key) is type(step)) for key, step in zip(way, steps, strict=False))


def _nodes_run(module: ast.Module) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Every node that runs when the file is read, in no order; with the classes in whose body it stands."""
    left: list[tuple[ast.AST, tuple[str, ...]]] = [(node, ()) for node in module.body]
    while left:
        node, scope = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node, scope
        inner = (*scope, node.name) if isinstance(node, ast.ClassDef) else scope
        left += [(child, inner) for child in ast.iter_child_nodes(node)]


def _changes_by(node: ast.AST) -> Iterator[_Change]:
    line = getattr(node, "lineno", 0)
    match node:
        case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
            if (way := _way_to(node)) is not None:
                yield _Change(way, line)
        case ast.AugAssign(target=ast.Name(id=name)):
            yield _Change((name, _ANY), line)  # += and |= change the very object
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[inner, attribute, *_]):
            if (way := _way_to(inner)) is not None:
                yield _Change((*way, _constant(attribute)), line)
        case ast.Call(func=ast.Attribute(value=inner, attr=method), args=args, keywords=keywords):
            if (way := _way_to(inner)) is None:
                return
            if method in _BY_KEY:
                yield _Change((*way, _constant(args[0]) if args else _ANY), line)
            elif method == "update" and _known_keys(args, keywords) is not None:
                for key in _known_keys(args, keywords) or ():
                    yield _Change((*way, key), line)
            elif method in _ANYWHERE:
                yield _Change((*way, _ANY), line)


def _known_keys(args: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> list[Step | None] | None:
    """Of `update`; None: they are computed."""
    keys: list[Step | None] = [keyword.arg for keyword in keywords]
    for arg in args:
        if not isinstance(arg, ast.Dict):
            return None
        keys += [_constant(key) if key is not None else _ANY for key in arg.keys]
    return keys


def _way_to(node: ast.AST) -> _Way | None:
    """`config['a'][key]` is ('config', 'a', any key); None: it does not begin with a name."""
    keys: list[Step | None] = []
    while True:
        match node:
            case ast.Subscript(value=inner, slice=key):
                keys.append(_constant(key))
                node = inner
            case ast.Attribute(value=inner, attr=name):
                keys.append(name)
                node = inner
            case ast.Call(func=ast.Attribute(value=inner, attr="get" | "setdefault"), args=[key, *_]):
                keys.append(_constant(key))
                node = inner
            case ast.Name(id=name):
                return (name, *reversed(keys))
            case ast.Call(func=ast.Name(id="globals" | "locals" | "vars"), args=[]):
                return tuple(reversed(keys))
            case _:
                return None


def _constant(key: ast.expr) -> Step | None:
    """A key that is written out; a place from the end, or a slice, may be any."""
    value = key.value if isinstance(key, ast.Constant) else _ANY
    return value if isinstance(value, str | int) and not isinstance(value, bool) else _ANY


def _aliases_by(node: ast.AST) -> Iterator[tuple[str, _Way]]:
    """`env = config['env']`, `for one in config.values()`: another name of what is within."""
    match node:
        case ast.Assign(targets=targets, value=value):
            inner: _Way = ()
        case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
            targets, inner = [target], ()
        case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                value = value.func.value  # of values() and items()
            targets, inner = [target.elts[-1] if isinstance(target, ast.Tuple) and target.elts else target], (_ANY,)
        case _:
            return
    if (way := _way_to(value)) is not None:
        for one in targets:
            if isinstance(one, ast.Name) and way != (one.id,):
                yield one.id, (*way, *inner)


def _without_aliases(way: _Way, aliases: Mapping[str, set[_Way]]) -> set[_Way]:
    """By all names that it may have."""
    found, left = {way}, [way]
    while left:
        one = left.pop()
        for other in aliases.get(one[0], ()) if one and isinstance(one[0], str) else ():
            longer = (*other, *one[1:])
            if longer not in found and len(longer) <= _MAX_WAY:
                found.add(longer)
                left.append(longer)
        if len(found) > _MAX_WAYS:
            return {(_ANY,)}
    return found
