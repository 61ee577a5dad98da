"""`NAME = value` at the top level of a Python file, a class or a dict, by the byte spans of the standard library's ast."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence

from watchdog.actions.values import bracket_list
from watchdog.actions.values.located_value import LocatedValue, Scalar, exactly_one, holds_collections, value_at_node
from watchdog.actions.values.python_changes import changed_again
from watchdog.actions.values.python_positions import PositionTable
from watchdog.actions.values.value_path import Key, Part, parse_path
from watchdog.actions.values.value_tree import Step, ValueNode, find_node
from watchdog.core.errors import ActionError, UnreadableError

COMMENT = re.compile(r"#[^\r\n]*|\\\r?\n")
_MAX_PARTS = 2_000
"""Braces in one f-string. Python before 3.12 reads the whole text anew for each of them: minutes, for a text of a megabyte."""


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    _refuse_long_f_strings(text, file_name)
    try:
        module = ast.parse(text, file_name)
    except (SyntaxError, ValueError) as problem:
        raise UnreadableError(f"{file_name} is no Python: {_describe(problem)}") from None
    parts = parse_path(name)
    expression, used = _assigned_expression(module.body, file_name, name, parts)
    found = find_node(_node(expression), parts[used:], file_name, name, _meaning)
    steps = (*(part.text for part in parts[:used] if isinstance(part, Key)), *found.steps)
    places = PositionTable(text)
    value = _meaning(found.node)
    if value is ... and found.node.members is None and not holds_collections(found.node):
        line = found.node.value.lineno
        raise ActionError(f"{name} in {file_name}, line {line}, is no literal — make it True, 5 or 'text'")
    if (line := changed_again(module, steps, holds_items=found.node.items is not None)) is not None:
        raise UnreadableError(f"{name} in {file_name} may be changed again in line {line} — do it by hand")
    start, end = places.span(found.node.value)
    items = None
    if found.node.items is not None:
        items = [item._replace(start=s, end=e) for item in found.node.items for s, e in [places.span(item.value)]]
    return value_at_node(found.node._replace(start=start, end=end, items=items), value, text, file_name, name)


def _describe(problem: SyntaxError | ValueError) -> str:
    """Without the line that it is about, which may hold anything."""
    return f"{problem.msg} (line {problem.lineno})" if isinstance(problem, SyntaxError) else str(problem)


def _refuse_long_f_strings(text: str, file_name: str) -> None:
    if text.count("{") <= _MAX_PARTS:
        return
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type != tokenize.STRING or token.string.count("{") <= _MAX_PARTS:
                continue
            if "f" in re.split("[\"']", token.string, maxsplit=1)[0].lower():
                raise UnreadableError(
                    f"{file_name} holds a text of more than {_MAX_PARTS} parts in line {token.start[0]} — "
                    "no flag can be set there"
                )
    except (SyntaxError, tokenize.TokenError):
        return  # the parser gets no further, and says it better


def _assigned_expression(
    body: list[ast.stmt], file_name: str, name: str, parts: Sequence[Part], used: int = 0
) -> tuple[ast.expr, int]:
    """What the name is set to, and how many of its parts lead there; the rest are keys within it. Classes are gone through."""
    part = parts[used]
    first = part.text if isinstance(part, Key) else ""
    statement = exactly_one(
        [s for s in _binding_statements(body, first) for _ in range(_count_bindings(s, first))], file_name, first
    )
    for other in _binding_statements(body, "*"):
        if other.lineno > statement.lineno:
            raise UnreadableError(f"{first} in {file_name} may be set anew by the import * in line {other.lineno}")
    is_last = used + 1 == len(parts)
    match statement:
        case ast.ClassDef() if not is_last and isinstance(parts[used + 1], Key) and statement in body:
            return _assigned_expression(statement.body, file_name, name, parts, used + 1)
        case ast.Assign(targets=[ast.Name()], value=value) if statement in body:
            return value, used + 1
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value, simple=1) if statement in body:
            return value, used + 1
    raise ActionError(f"line {statement.lineno} of {file_name} is no plain top-level {first} = value")


def _node(expression: ast.expr) -> ValueNode:
    """What it holds, as far as it is written out: of a dict or list with more in it (`**other`) nothing is told."""
    match expression:
        case ast.Dict(keys=keys, values=values) if None not in keys:
            members: list[tuple[Step, ValueNode]] = [
                (key.value, _node(value))
                for key, value in zip(keys, values, strict=True)
                if isinstance(key, ast.Constant)
                and isinstance(key.value, str | int)
                and not isinstance(key.value, bool)
            ]
            return ValueNode(-1, -1, expression, members)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(k.arg for k in keywords):
            return ValueNode(-1, -1, expression, [(k.arg or "", _node(k.value)) for k in keywords])
        case ast.List(elts=elts) | ast.Tuple(elts=elts) if not any(isinstance(one, ast.Starred) for one in elts):
            return ValueNode(-1, -1, expression, items=[_node(one) for one in elts])
    return ValueNode(-1, -1, expression)


def _meaning(node: ValueNode) -> object:
    """An ellipsis where it is no literal."""
    if node.items is not None:
        values = [_meaning(item) for item in node.items]
        return ... if any(value is ... for value in values) else values
    constant = node.value.operand if isinstance(node.value, ast.UnaryOp) else node.value
    if node.members is not None or not isinstance(constant, ast.Constant) or constant.value is ...:
        return ...
    try:
        return ast.literal_eval(node.value)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return ...


def _binding_statements(body: Iterable[ast.stmt], name: str) -> Iterator[ast.stmt]:
    """Statements of the module's own scope that bind the name, also inside if, for, try and with."""
    for statement in body:
        inner = [
            child
            for field in ("body", "orelse", "finalbody", "handlers", "cases")
            for child in getattr(statement, field, [])
        ]
        own_scope = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if _count_bindings(statement, name):
            yield statement
        if inner and not own_scope:
            blocks = [i for i in inner if isinstance(i, ast.stmt)]
            for part in inner:
                blocks += getattr(part, "body", []) if not isinstance(part, ast.stmt) else []
            yield from _binding_statements(blocks, name)


def _count_bindings(statement: ast.stmt, name: str) -> int:
    """How often the statement itself, not the statements within it, gives the name a value."""
    match statement:
        case ast.FunctionDef(name=own) | ast.AsyncFunctionDef(name=own) | ast.ClassDef(name=own):
            return int(own == name)
        case ast.Assign(targets=[ast.Name(id=own)], value=ast.Constant()):
            return int(own == name)
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return sum((alias.asname or alias.name.partition(".")[0]) == name for alias in names)
    count, left = 0, list(_own_nodes(statement))
    while left:
        node = left.pop()
        match node:
            case ast.Name(id=own, ctx=ast.Store() | ast.Del()):
                count += own == name
            case ast.MatchAs(name=caught) | ast.MatchStar(name=caught) | ast.ExceptHandler(name=caught):
                count += caught == name
            case ast.MatchMapping(rest=rest):
                count += rest == name
        if not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            left += _own_nodes(node)
    return count


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    return (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt))


def format_literal(value: Scalar | Sequence[Scalar], found: LocatedValue, encoding: str) -> str:
    if isinstance(value, tuple):
        quote = next((c for c in found.text if c in "'\""), "")
        items = ", ".join(format_literal(each, found._replace(text=quote), encoding) for each in value)
        if found.items is None or found.text.startswith("["):
            return f"[{items}]"
        return f"({items},)" if len(value) == 1 else f"({items})"
    text = repr(value)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = ascii(value)
    if found.text.startswith('"') and text.startswith("'") and '"' not in text:
        text = f'"{text[1:-1]}"'
    return text


def rewrite_list(found: LocatedValue, wanted: Sequence[Scalar], encoding: str) -> str | None:
    """As `bracket_list.rewrite`. A tuple stays one, with or without its brackets."""
    is_list = found.text.startswith("[")
    has_brackets = is_list or not found.items or (found.text.startswith("(") and found.items[0][0] > found.start)
    if not has_brackets and not wanted:
        return "()"
    quote = next((c for c in found.text if c in "'\""), "")
    return bracket_list.rewrite(
        found,
        wanted,
        COMMENT,
        lambda value: format_literal(value, found._replace(text=quote), encoding),
        brackets=(int(has_brackets), int(has_brackets)),
        single_has_comma=not is_list,
    )
