"""`NAME = value` at the top level of a Python file, by the byte spans of the standard library's ast."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from watchdog.actions.scalars.found import Found, Scalar, only
from watchdog.model import ActionError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")


def find(text: str, file_name: str, name: str) -> Found:
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        raise ActionError(f"{file_name} is no Python: {problem}") from None
    statement = only([s for s in _binders(module.body, name) for _ in range(_binds(s, name))], file_name, name)
    match statement:
        case ast.Assign(targets=[ast.Name()], value=value) if statement in module.body:
            pass
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value, simple=1) if statement in module.body:
            pass
        case _:
            raise ActionError(f"line {statement.lineno} of {file_name} is no plain top-level {name} = value")
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        literal = ...
    constant = value.operand if isinstance(value, ast.UnaryOp) else value
    if not isinstance(constant, ast.Constant) or not isinstance(literal, Scalar):
        raise ActionError(f"{name} in {file_name}, line {value.lineno}, is no literal — make it True, 5 or 'text'")
    lines = [m.start() for m in _LINE.finditer(text)]
    start = _character(text, lines, value.lineno, value.col_offset)
    end = _character(text, lines, value.end_lineno or value.lineno, value.end_col_offset or 0)
    return Found(start, end, text[start:end], literal)


def _character(text: str, lines: list[int], line: int, column: int) -> int:
    """ast counts columns in UTF-8 bytes."""
    start = lines[line - 1]
    return start + len(text[start : start + column].encode("utf-8", "surrogatepass")[:column].decode("utf-8"))


def _binders(body: Iterable[ast.stmt], name: str) -> Iterator[ast.stmt]:
    """Statements of the module's own scope that bind the name, also inside if, for, try and with."""
    for statement in body:
        inner = [
            child
            for field in ("body", "orelse", "finalbody", "handlers", "cases")
            for child in getattr(statement, field, [])
        ]
        own_scope = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if _binds(statement, name):
            yield statement
        if inner and not own_scope:
            blocks = [i for i in inner if isinstance(i, ast.stmt)]
            for part in inner:
                blocks += getattr(part, "body", []) if not isinstance(part, ast.stmt) else []
            yield from _binders(blocks, name)


def _binds(statement: ast.stmt, name: str) -> int:
    """How often the statement itself, not the statements within it, gives the name a value."""
    match statement:
        case ast.FunctionDef(name=own) | ast.AsyncFunctionDef(name=own) | ast.ClassDef(name=own):
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


def write(value: Scalar, found: Found, encoding: str) -> str:
    text = repr(value)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = ascii(value)
    if found.text.startswith('"') and text.startswith("'") and '"' not in text:
        text = f'"{text[1:-1]}"'
    return text
