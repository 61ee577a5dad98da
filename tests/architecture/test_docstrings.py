"""A docstring that explains a parameter names one that there is: after a rename nobody else would notice."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "watchdog"
EXPLAINED = re.compile(r"`(\w+)`:")


def stale_explanations(source: str) -> Iterator[str]:
    """What a function's docstring explains as "`name`: …" that the function has no such name for, nor its module a text."""
    module = ast.parse(source)
    texts = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            names = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
            names |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            explained = EXPLAINED.findall(ast.get_docstring(function) or "")
            yield from (f"{function.name}: `{name}`" for name in explained if name not in names | texts)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_docstring_explains_only_what_there_is(path: Path) -> None:
    assert list(stale_explanations(path.read_text())) == []


def test_a_parameter_that_was_renamed_is_found() -> None:
    source = 'def f(new: int) -> None:\n    """`old`: how many. `text`: stands below."""\n    g("text")\n'

    assert list(stale_explanations(source)) == ["f: `old`"]


def test_a_package_names_only_modules_that_it_has() -> None:
    for init in PACKAGE.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(init.read_text())) or ""
        here = {path.stem for path in init.parent.iterdir()}
        named = set(re.findall(r"`([a-z_]+)`", text))
        assert named <= here, init
