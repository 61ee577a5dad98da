"""Actions answer for themselves: nobody else asks of which class one is, what it is called, or what it captured."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "watchdog"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "actions" not in path.parents]


def is_action_class(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "ActionModel" for base in node.bases)


ACTION_CLASSES = {
    node.name
    for path in PACKAGE.rglob("*.py")
    if "(ActionModel)" in (source := path.read_text())
    for node in ast.parse(source).body
    if isinstance(node, ast.ClassDef) and is_action_class(node)
}


def outside_actions(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those of an action's own class."""
    for child in ast.iter_child_nodes(node):
        if not is_action_class(child):
            yield child
            yield from outside_actions(child)


def is_captured(node: ast.AST, names: set[str]) -> bool:
    """Whether that is what an action captured: a row's `before`, or a name that was given what `capture` returned."""
    return (isinstance(node, ast.Attribute) and node.attr == "before") or (
        isinstance(node, ast.Name) and node.id in names
    )


def captured_names(nodes: list[ast.AST]) -> set[str]:
    """Names that hold it, by how they are called or by what they are given; from one name to the next."""
    names = {"captured"}
    assigned = [
        (target.id, node.value)
        for node in nodes
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None
        for target in ast.walk(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        if isinstance(target, ast.Name)
    ]
    while found := {name for name, value in assigned if _holds_captured(value, names)} - names:
        names |= found
    return names


def _holds_captured(value: ast.AST, names: set[str]) -> bool:
    if isinstance(value, ast.Await):
        return _holds_captured(value.value, names)
    if isinstance(value, ast.BoolOp):
        return any(_holds_captured(each, names) for each in value.values)
    if isinstance(value, ast.Call):
        function = value.func
        if isinstance(function, ast.Attribute) and function.attr == "capture":
            return True
        # cast(…, await run_in_thread(…, action.capture, …))
        arguments = [each for each in value.args if isinstance(each, ast.Attribute | ast.Await)]
        return any(
            each.attr == "capture" if isinstance(each, ast.Attribute) else _holds_captured(each, names)
            for each in arguments
        )
    return is_captured(value, names)


def guesses(source: str) -> list[str]:
    """What in a file is for an action to answer."""
    nodes = list(outside_actions(ast.parse(source)))
    names = captured_names(nodes)
    found = []
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "type"):
            asked = {each.id for argument in node.args for each in ast.walk(argument) if isinstance(each, ast.Name)}
            found += [f"{ast.unparse(node)}" for name in sorted(asked & ACTION_CLASSES)][:1]
        if isinstance(node, ast.Attribute) and node.attr == "do":
            found.append(ast.unparse(node))
        if isinstance(node, ast.Subscript) and is_captured(node.value, names):
            found.append(ast.unparse(node))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("get", "items", "keys", "values")
            and is_captured(node.func.value, names)
        ):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Compare) and any(isinstance(operator, ast.In | ast.NotIn) for operator in node.ops):
            found += [ast.unparse(node) for each in node.comparators if is_captured(each, names)]
    return found


def test_nobody_guesses_what_an_action_is_or_what_it_captured() -> None:
    found = {str(path.relative_to(PACKAGE)): guesses(path.read_text()) for path in FILES}

    assert {path: guessed for path, guessed in found.items() if guessed} == {}


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(step, GitAction)",
        "isinstance(step, FlagAction | GitAction)",
        "isinstance(step, (UndoStep, int))",
        "step.do == 'git'",
        "if action.do in PATHS: pass",
        "note = action.capture()\nprint(note['new'])",
        "note = action.bind(target).capture(done)\nprint(note.get('new'))",
        "note: dict = cast(dict, await run(30, action.capture, done))\nprint(note['new'])",
        "print(row.before['already'])",
        "found = row.before or {}\nprint(found['already'])",
        "if 'file' in row.before: pass",
        "def f(captured): return captured['repo']",
        "first = action.capture()\nsecond = first\nprint(second['x'])",
    ],
)
def test_a_guess_is_found(source: str) -> None:
    assert guesses(source)


@pytest.mark.parametrize(
    "source",
    [
        "note = action.capture()\naction.apply(note, 'key')",
        "print({'before': step.before})",
        "isinstance(plan, Repair)",
        "class Own(ActionModel):\n    def apply(self, captured): return captured['seen']",
    ],
)
def test_what_is_handed_on_is_no_guess(source: str) -> None:
    assert guesses(source) == []
