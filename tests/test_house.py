"""The floors of the house: rooms look only downwards, and rooms of one floor do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "watchdog"

LAYERS = [
    {"units", "hours"},
    {"model", "systemd"},
    {"offload", "telemetry", "shown"},
    {"sources", "actions", "notifiers", "promql", "rules", "incidents", "guard"},
    {"config", "series", "journal", "plots"},
    {"history"},
    {"drill", "pipeline", "report", "rollback", "notify", "place", "keeper"},
    {"snapshot", "web", "people", "reload", "status", "replay", "ruletest", "upkeep"},
    {"daemon"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
LAYER_OF = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
STANDALONE_PROGRAMS = {"_spawn.py"}
"""Run as processes of their own, between us and a bot; they have no caller to return to."""


def package_of(path: Path) -> str:
    """The first part of a file's place below the package; the package's own __init__ is no room."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_packages(tree: ast.AST) -> set[str]:
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "watchdog":
            rooms |= {alias.name for alias in node.names if alias.name in LAYER_OF}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("watchdog."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("watchdog.")}
    return rooms


def called_names(tree: ast.AST) -> set[str]:
    """Dotted names that are called."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_every_room_has_a_floor() -> None:
    rooms = {package_of(path) for path in FILES} - {"__init__"}

    assert rooms == set(LAYER_OF)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_look_only_downwards(path: Path) -> None:
    mine = package_of(path)
    if mine == "__init__":
        pytest.skip("the package itself holds names only")
    seen = imported_packages(ast.parse(path.read_text())) - {mine}

    upwards = {other for other in seen if LAYER_OF[other] >= LAYER_OF[mine]}

    assert not upwards, f"{mine} (floor {LAYER_OF[mine]}) imports {upwards}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_daemon_reads_a_clock_and_only_the_command_line_prints(path: Path) -> None:
    called = called_names(ast.parse(path.read_text()))
    clocks = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today", "datetime.today"}

    if package_of(path) not in ("daemon", "cli", "demo"):
        assert not called & clocks
    if package_of(path) not in ("cli", "demo", "__main__") and path.name not in STANDALONE_PROGRAMS:
        assert not called & {"print", "sys.exit", "exit"}


def test_no_file_has_grown_beyond_one_subject() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines for path in FILES if (lines := len(path.read_text().splitlines())) > 490
    }

    assert not long
