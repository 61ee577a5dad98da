"""The floors of the house: rooms look only downwards, and rooms of one floor do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "watchdog"

FLOORS = [
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
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
PROGRAMS = {"_spawn.py"}
"""Run as processes of their own, between us and a bot; they have no caller to return to."""


def room(path: Path) -> str:
    """The first part of a file's place below the package; the package's own __init__ is no room."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "watchdog":
            rooms |= {alias.name for alias in node.names if alias.name in FLOOR}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("watchdog."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("watchdog.")}
    return rooms


def calls(tree: ast.AST) -> set[str]:
    """Dotted names that are called."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_every_room_has_a_floor() -> None:
    rooms = {room(path) for path in FILES} - {"__init__"}

    assert rooms == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_look_only_downwards(path: Path) -> None:
    mine = room(path)
    if mine == "__init__":
        pytest.skip("the package itself holds names only")
    seen = imported(ast.parse(path.read_text())) - {mine}

    upwards = {other for other in seen if FLOOR[other] >= FLOOR[mine]}

    assert not upwards, f"{mine} (floor {FLOOR[mine]}) imports {upwards}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_daemon_reads_a_clock_and_only_the_command_line_prints(path: Path) -> None:
    called = calls(ast.parse(path.read_text()))
    clocks = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today", "datetime.today"}

    if room(path) not in ("daemon", "cli", "demo"):
        assert not called & clocks
    if room(path) not in ("cli", "demo", "__main__") and path.name not in PROGRAMS:
        assert not called & {"print", "sys.exit", "exit"}


def test_no_file_has_grown_beyond_one_subject() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines for path in FILES if (lines := len(path.read_text().splitlines())) > 440
    }

    assert not long
