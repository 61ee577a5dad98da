"""The layers: a package imports only from packages below it, and who may read the clock, print, or speak SQL."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "watchdog"

LAYERS = [
    {"core"},
    {"host"},
    {"net", "tsdb"},
    {"documents", "journal", "pictures", "promql"},
    {"actions", "notifiers", "rules", "sources"},
    {"plans", "prometheus_rules"},
    {"config"},
    {"chat", "pipeline", "rollback"},
    {"offline"},
    {"worker"},
    {"web"},
    {"app"},
    {"cli"},
    {"__main__"},
]
LAYER_OF = {package: number for number, packages in enumerate(LAYERS) for package in packages}
FILES = sorted(PACKAGE.rglob("*.py"))
STANDALONE_PROGRAMS = {
    "detach.py",
    "server.py",
    "broker.py",
    "allowed.py",
    "query_worker.py",
    "drawing_worker.py",
    "__main__.py",
}
"""Run as processes of their own, between us and a bot; they have no caller to return to."""
MAY_READ_CLOCKS = {"app", "cli", "offline/demo.py"}
MAY_SPEAK_SQL = {
    "journal",
    "tsdb",
    "offline/history/series_db.py",
    "offline/init/sql_drafts.py",
    "sources/sql_file.py",
    "sources/sql_postgres.py",
    "sources/sql_alchemy.py",
}
MAY_IMPORT_SQLITE = {
    "journal/sqlite.py",
    "tsdb",
    "offline/history/series_db.py",
    "offline/init/sql_drafts.py",
    "sources/sql_file.py",
}
"""Of our own data; the source of that name, and `init`, look at what a bot keeps."""
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|PRAGMA|CREATE|ALTER|DROP|BEGIN|COMMIT|ROLLBACK)\s+\S")
MAY_PRINT = {"cli/output.py", "offline/demo.py", "__main__"}
"""What others wrote is shown escaped by cli/output.py, whichever command prints it."""
MAY_EXIT = {"cli", "offline/demo.py", "__main__"}


def package_of(path: Path) -> str:
    """The first part of a file's place below `watchdog`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_packages(nodes: Iterable[ast.AST]) -> set[str]:
    packages = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "watchdog":
            packages |= {alias.name for alias in node.names if alias.name in LAYER_OF}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("watchdog."):
            packages.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("watchdog.")}
    return packages


@cache
def tree_of(path: Path) -> ast.Module:
    """Parsed once for all that is asked of it."""
    return ast.parse(path.read_text())


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All of them: to walk costs more than to look."""
    return tuple(ast.walk(tree_of(path)))


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imported_modules(path: Path) -> set[Path]:
    """Files of ours that are imported when this one is: not those that a function imports, or a type checker."""
    found = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "watchdog":
            base = PACKAGE.parent.joinpath(*node.module.split("."))
            for alias in node.names:
                for file in (base / f"{alias.name}.py", base / alias.name / "__init__.py"):
                    if file.exists():
                        found.add(file)
            found |= {file for file in (base.with_suffix(".py"), base / "__init__.py") if file.exists()}
    return found


def called_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Dotted names that are called."""
    return {dotted_name(node.func) for node in nodes if isinstance(node, ast.Call)}


def dotted_name(node: ast.expr) -> str:
    """Empty for what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def allowed(path: Path, places: set[str]) -> bool:
    return package_of(path) in places or str(path.relative_to(PACKAGE)) in places


def test_every_package_has_a_layer_and_a_sentence() -> None:
    packages = {package_of(path) for path in FILES} - {"__init__"}

    assert packages == set(LAYER_OF)
    for package in packages - {"__main__"}:
        for init in (PACKAGE / package).rglob("__init__.py"):
            assert ast.get_docstring(tree_of(init)), init


def test_nothing_but_the_entry_point_stands_beside_the_packages() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == {"__init__.py", "__main__.py", "py.typed"}


def test_packages_import_only_from_below() -> None:
    found = {}
    for path in FILES:
        mine = package_of(path)
        if mine != "__init__":  # the package itself holds names only
            others = imported_packages(nodes_of(path)) - {mine}
            found[relative(path)] = {other for other in others if LAYER_OF[other] >= LAYER_OF[mine]}

    assert {path: upwards for path, upwards in found.items() if upwards} == {}


def test_no_module_is_imported_while_it_is_still_being_imported() -> None:
    edges = {path: imported_modules(path) - {path} for path in FILES}
    done: set[Path] = set()

    def visit(path: Path, way: tuple[Path, ...]) -> None:
        assert path not in way, " → ".join(str(one.relative_to(PACKAGE)) for one in (*way[way.index(path) :], path))
        if path in done:
            return
        for other in edges[path]:
            if other.name != "__init__.py":  # a package's own __init__ names what its files define
                visit(other, (*way, path))
        done.add(path)

    for path in FILES:
        visit(path, ())


def test_only_the_daemon_reads_a_clock_and_only_the_command_line_prints() -> None:
    clocks = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today", "datetime.today"}
    found = {}
    for path in FILES:
        called, refused = called_names(nodes_of(path)), set[str]()
        if not allowed(path, MAY_READ_CLOCKS):
            refused |= clocks
        if path.name not in STANDALONE_PROGRAMS:
            refused |= set() if allowed(path, MAY_PRINT) else {"print", "sys.stdout.write"}
            refused |= set() if allowed(path, MAY_EXIT) else {"sys.exit", "exit"}
        found[relative(path)] = called & refused

    assert {path: names for path, names in found.items() if names} == {}


def test_only_net_speaks_http() -> None:
    """A chat's own library aside, which is imported where that chat is."""
    clients = ("http.client", "requests", "urllib3", "urllib.request")
    found = {relative(path): names_imported(nodes_of(path), clients) for path in FILES if package_of(path) != "net"}

    assert {path: names for path, names in found.items() if names} == {}


def names_imported(nodes: Iterable[ast.AST], modules: tuple[str, ...]) -> set[str]:
    """What is imported of these modules, and of what is in them, at the top of a file or in a function."""
    imported: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    return {name for name in imported if any(f"{name}.".startswith(f"{module}.") for module in modules)}


@pytest.mark.parametrize(
    "line",
    [
        "import requests",
        "import requests.adapters as adapters",
        "from requests import get",
        "from urllib3.util import parse_url",
        "from http import client",
        "def f():\n    import urllib.request",
    ],
)
def test_an_http_client_is_found_however_it_is_imported(line: str) -> None:
    assert names_imported(ast.walk(ast.parse(line)), ("http.client", "requests", "urllib3", "urllib.request"))
    assert not names_imported(ast.walk(ast.parse(line)), ("sqlite3",))


def test_only_the_journal_the_store_of_samples_and_the_source_of_that_name_speak_sql() -> None:
    found = {}
    for path in FILES:
        texts = set[str]() if allowed(path, MAY_IMPORT_SQLITE) else names_imported(nodes_of(path), ("sqlite3",))
        if not allowed(path, MAY_SPEAK_SQL):
            texts |= {
                node.value
                for node in nodes_of(path)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
            }
        found[relative(path)] = texts

    assert {path: texts for path, texts in found.items() if texts} == {}


def test_the_journal_is_used_through_its_interface_alone() -> None:
    """Who names an implementation cannot be given another one."""
    inner = (
        "watchdog.journal.sqlite",
        "watchdog.journal.sql",
        "watchdog.journal.schema",
        "watchdog.journal.SqliteJournal",
    )
    for path in FILES:
        if package_of(path) != "journal":
            assert not names_imported(nodes_of(path), inner), path


def test_one_file_knows_what_each_database_is_called() -> None:
    named: dict[str, list[str]] = {"journal.db": [], "series.db": []}
    for path in FILES:
        for node in nodes_of(path):
            if isinstance(node, ast.Constant) and node.value in named:
                named[node.value].append(str(path.relative_to(PACKAGE)))

    assert named == {"journal.db": ["journal/__init__.py"], "series.db": ["tsdb/schema.py"]}


def test_no_file_has_grown_beyond_one_subject() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}

    assert not {path: lines for path, lines in lengths.items() if lines > 420}
