"""A docstring that explains a parameter names one that there is: after a rename nobody else would notice."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "watchdog"
EXPLAINED = re.compile(r"`(\w+)`:")


def stale_explanations(source: str) -> Iterator[str]:
    """What a function's docstring explains as "`name`: …" that the function has no such name for, nor its module a text."""
    module = ast.parse(source)
    nodes = tuple(ast.walk(module))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for function in nodes:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and "`:" in (ast.get_docstring(function) or ""):
            names = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
            names |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            explained = EXPLAINED.findall(ast.get_docstring(function) or "")
            yield from (f"{function.name}: `{name}`" for name in explained if name not in names | texts)


def test_a_docstring_explains_only_what_there_is() -> None:
    found = {
        str(path.relative_to(PACKAGE)): list(stale_explanations(path.read_text())) for path in PACKAGE.rglob("*.py")
    }

    assert {path: stale for path, stale in found.items() if stale} == {}


def test_a_parameter_that_was_renamed_is_found() -> None:
    source = 'def f(new: int) -> None:\n    """`old`: how many. `text`: stands below."""\n    g("text")\n'

    assert list(stale_explanations(source)) == ["f: `old`"]


def test_a_package_names_only_modules_that_it_has() -> None:
    for init in PACKAGE.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(init.read_text())) or ""
        here = {path.stem for path in init.parent.iterdir()}
        named = set(re.findall(r"`([a-z_]+)`", text))
        assert named <= here, init
