"""What people install is what `pyproject.toml` says without any extra: every module and every command does with that."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cli.test_terminal import EVERY_COMMAND, LINES, folder  # noqa: F401 - a fixture

GUARD = """\
import json, sys
blocked = set(json.loads(sys.argv.pop(1)))
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Guard())
"""
EVERY_MODULE = """\
import importlib, pkgutil, watchdog
for found in pkgutil.walk_packages(watchdog.__path__, "watchdog."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            print(found.name, error.name)
print("all of them")
"""
OF_AN_EXTRA = [
    ("watchdog.notifiers.apprise_client", "apprise"),
    *((f"watchdog.notifiers.slack_{part}", "slack_sdk") for part in ("client", "socket", "websocket")),
    *((f"watchdog.notifiers.telegram_{part}", "httpx") for part in ("client", "polling")),
]
"""What is imported where that is used, with what it then lacks."""
ZONE = """\
from watchdog.core.schedule import parse_zone
for zone in sys.argv[1:]:
    try:
        print(parse_zone(zone))
    except ValueError as error:
        print(error)
"""


def run_time_closure() -> set[str]:
    """Distributions that come with ours when no extra is asked for."""
    found, waiting = set[str](), ["trading-watchdog"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            needed = map(Requirement, importlib.metadata.requires(name) or [])
            waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def modules_beside(closure: set[str]) -> list[str]:
    """Modules that only an extra, or a developer, brings."""
    return [
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not any(canonicalize_name(owner) in closure for owner in owners)
    ]


def run(program: str, *argv: str, block: tuple[str, ...] = (), **environ: str) -> subprocess.CompletedProcess[str]:
    blocked = json.dumps([*modules_beside(run_time_closure()), *block])
    command = [sys.executable, "-c", GUARD + program, blocked, *argv]
    clean = {name: text for name, text in os.environ.items() if name != "PYTHONTZPATH"}
    return subprocess.run(command, capture_output=True, text=True, env=clean | environ, timeout=180, check=False)


def test_the_guard_hides_what_an_extra_brings() -> None:
    blocked = modules_beside(run_time_closure())

    assert {"pytest", "hypothesis"} <= set(blocked)
    assert not {"watchdog", "pydantic", "numpy", "requests", "tzdata", "yaml", "re2"} & set(blocked)


@pytest.mark.slow
def test_every_module_is_there_without_an_extra() -> None:
    done = run(EVERY_MODULE)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [*(f"{module} {missing}" for module, missing in OF_AN_EXTRA), "all of them"]


@pytest.mark.slow
def test_every_command_does_without_an_extra_and_without_zone_files(folder: Path) -> None:  # noqa: F811
    rules = folder / "rules" / "a.yaml"
    only = "only: {days: [mon-fri], timezone: Europe/Berlin}"
    rules.write_text(rules.read_text(encoding="utf-8").replace("summary:", f"{only}, summary:"), encoding="utf-8")
    done = run(EVERY_COMMAND, str(folder), *LINES, PYTHONTZPATH="")

    said = done.stdout + done.stderr
    assert "Traceback" not in said, said[said.index("Traceback") :][:3000]
    assert "No module named" not in said
    assert said.count("\nexit ") == len(LINES)
    assert "exit 0 check" in done.stdout


def install_run_time(place: Path) -> Path:
    """A virtual environment of the installed distributions that people get without any extra, and of no other. Its Python."""
    venv.create(place, symlinks=True, with_pip=False)
    (packages,) = (place / "lib").glob("python3.*/site-packages")
    for name in run_time_closure() - {"trading-watchdog"}:
        found = importlib.metadata.distribution(name)
        base = Path(str(found.locate_file(""))).resolve()
        for each in found.files or ():
            here = Path(str(each.locate()))
            if here.is_file() and base in here.resolve().parents and here.suffix != ".pyc":
                (packages / each).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(here, packages / each)
    (packages / "watchdog").symlink_to(Path(__file__).parents[2] / "watchdog")
    return place / "bin" / "python"


@pytest.mark.slow
def test_a_real_environment_without_an_extra_has_all_that_every_command_needs(
    folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    python = install_run_time(tmp_path_factory.mktemp("run-time"))
    clean = {name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def ask(program: str, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), "-B", "-c", program, *argv]
        return subprocess.run(command, capture_output=True, text=True, env=clean, timeout=300, check=False)

    assert ask("import pytest").returncode == 1
    assert ask(EVERY_MODULE).stdout.splitlines() == [
        *(f"{module} {missing}" for module, missing in OF_AN_EXTRA),
        "all of them",
    ]
    done = ask(EVERY_COMMAND, str(folder), *LINES)
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.stdout.count("exit ") == len(LINES)
    assert "exit 0 check" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("argv", "package"), [(["query", "x", "--png", "x.png"], "matplotlib")])
def test_what_an_extra_would_bring_is_told_by_name_with_the_line_that_brings_it(
    folder: Path,  # noqa: F811
    argv: list[str],
    package: str,
) -> None:
    line = " ".join([*argv, "--history", str(folder / "history.csv")])
    done = run(EVERY_COMMAND, str(folder), line)

    assert f"{sys.executable} -m pip install {package}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_machine_without_zone_files_is_told_apart_from_a_zone_that_there_is_not() -> None:
    assert run(ZONE, "Europe/Berlin", "Berlin", PYTHONTZPATH="").stdout.splitlines() == [
        "Europe/Berlin",
        "'Berlin' is no time zone — say one such as Europe/Berlin or America/New_York",
    ]
    assert run(ZONE, "Europe/Berlin", block=("tzdata",), PYTHONTZPATH="").stdout.splitlines() == [
        "this machine has no files of time zones — apt-get install tzdata, or pip install tzdata"
    ]
