"""`NAME = value` at the top level of a Python file, a class or a dict, by the byte spans of the standard library's ast."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence

from watchdog.actions.values.located_value import (
    LocatedValue,
    Scalar,
    ValueNode,
    exactly_one,
    value_at_node,
)
from watchdog.core.errors import ActionError, UnreadableError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_MAX_PARTS = 2_000
"""Braces in one f-string. Python before 3.12 reads the whole text anew for each of them: minutes, for a text of a megabyte."""


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    _refuse_long_f_strings(text, file_name)
    try:
        module = ast.parse(text, file_name)
    except (SyntaxError, ValueError) as problem:
        raise UnreadableError(f"{file_name} is no Python: {problem}") from None
    expression, rest = _assigned_expression(module.body, file_name, name)
    if "." in name:
        _ensure_not_modified(module, file_name, name)
    if rest:
        expression = exactly_one(list(_expressions_at_path(expression, rest)), file_name, name)
    node = _value_node(expression, text, [m.start() for m in _LINE.finditer(text)])
    if node.value is ... and node.members is None:
        line = text.count("\n", 0, node.start) + 1
        raise ActionError(f"{name} in {file_name}, line {line}, is no literal — make it True, 5 or 'text'")
    return value_at_node(node, text, file_name, name)


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


def _assigned_expression(body: list[ast.stmt], file_name: str, name: str) -> tuple[ast.expr, str]:
    """What the name is set to, and what is left of a dotted name: keys within it. Classes are gone through."""
    first, _, rest = name.partition(".")
    statement = exactly_one(
        [s for s in _binding_statements(body, first) for _ in range(_count_bindings(s, first))], file_name, first
    )
    for other in _binding_statements(body, "*"):
        if other.lineno > statement.lineno:
            raise UnreadableError(f"{first} in {file_name} may be set anew by the import * in line {other.lineno}")
    match statement:
        case ast.ClassDef() if rest and statement in body:
            return _assigned_expression(statement.body, file_name, rest)
        case ast.Assign(targets=[ast.Name()], value=value) if statement in body:
            return value, rest
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value, simple=1) if statement in body:
            return value, rest
    raise ActionError(f"line {statement.lineno} of {file_name} is no plain top-level {first} = value")


def _members(expression: ast.expr) -> list[tuple[str, ast.expr]] | None:
    """What a dict holds under keys that are texts; None: it is none, or one that may hold more than is written there."""
    match expression:
        case ast.Dict(keys=keys, values=values) if None not in keys:
            constants = [
                (key.value, value) for key, value in zip(keys, values, strict=True) if isinstance(key, ast.Constant)
            ]
            return [(key, value) for key, value in constants if isinstance(key, str)]
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(k.arg for k in keywords):
            return [(keyword.arg or "", keyword.value) for keyword in keywords]
    return None


def _expressions_at_path(expression: ast.expr, path: str) -> Iterator[ast.expr]:
    """Every way to follow the dotted path from the dict; a key may hold dots itself."""
    for key, inner in _members(expression) or ():
        if key == path:
            yield inner
        elif path.startswith(f"{key}."):
            yield from _expressions_at_path(inner, path[len(key) + 1 :])


def _value_node(expression: ast.expr, text: str, lines: list[int]) -> ValueNode:
    start = _char_offset(text, lines, expression.lineno, expression.col_offset)
    end = _char_offset(text, lines, expression.end_lineno or expression.lineno, expression.end_col_offset or 0)
    if _members(expression) is not None:
        return ValueNode(start, end, ..., [])
    constants = expression.elts if isinstance(expression, ast.List | ast.Tuple) else [expression]
    for constant in constants:
        if not isinstance(constant.operand if isinstance(constant, ast.UnaryOp) else constant, ast.Constant):
            return ValueNode(start, end, ...)
    try:
        return ValueNode(start, end, ast.literal_eval(expression))
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return ValueNode(start, end, ...)


def _ensure_not_modified(module: ast.Module, file_name: str, name: str) -> None:
    """A key of a dict, or a class's attribute, can be set by other statements than the one that makes it."""
    root = name.partition(".")[0]
    left: list[ast.AST] = [*module.body]
    while left:
        node = left.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                continue  # whatever runs later is the bot's own doing
            case ast.Subscript(value=inner, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Attribute(value=inner, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(func=ast.Attribute(value=inner, attr="update" | "setdefault" | "pop" | "popitem" | "clear")):
                pass
            case _:
                inner = ast.expr()
        while isinstance(inner, ast.Subscript | ast.Attribute):
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id == root:
            line = getattr(node, "lineno", 0)
            raise UnreadableError(f"{name} in {file_name} may be changed again in line {line} — do it by hand")
        left += ast.iter_child_nodes(node)


def _char_offset(text: str, lines: list[int], line: int, column: int) -> int:
    """ast counts columns in UTF-8 bytes."""
    start = lines[line - 1]
    return start + len(text[start : start + column].encode("utf-8", "surrogatepass")[:column].decode("utf-8"))


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
        is_list = not found.text.startswith("(")
        return f"[{items}]" if is_list else f"({items},)" if len(value) == 1 else f"({items})"
    text = repr(value)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = ascii(value)
    if found.text.startswith('"') and text.startswith("'") and '"' not in text:
        text = f'"{text[1:-1]}"'
    return text
