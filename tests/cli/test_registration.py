"""Each file of commands adds its own parsers, and is imported only when one of its commands is asked for."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys

import pytest

from watchdog.cli.command_line import COMMANDS, build_parser, main

IMPORTS_PROGRAM = """\
import sys
from watchdog.cli.command_line import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""


def imported_modules(*argv: str) -> set[str]:
    """Modules of the command line that `trading-watchdog ARGV` imports, when it ends with argparse."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_PROGRAM, *argv], capture_output=True, text=True, timeout=180, check=True
    )
    return {name.rpartition(".")[2] for name in done.stderr.split() if name.startswith("watchdog.cli.")}


@pytest.mark.parametrize("module", dict.fromkeys(COMMANDS.values()))
def test_a_module_registers_the_commands_that_the_table_says_it_has(module: str) -> None:
    commands = argparse.ArgumentParser().add_subparsers()

    importlib.import_module(f"watchdog.cli.{module}").register(commands)

    assert list(commands.choices) == [name for name, owner in COMMANDS.items() if owner == module]


def test_help_lists_the_commands_in_the_order_of_the_table() -> None:
    (listed,) = (action.choices for action in build_parser()._actions if action.choices)

    assert list(listed) == list(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "modules"),
    [
        (("run", "--help"), {"run", "root", "terminal"}),
        (("status", "--help"), {"status", "common", "daemon_api", "root", "terminal"}),
        (("schema", "--help"), {"schema", "terminal"}),
        (("--version",), {"terminal"}),
    ],
)
def test_a_command_imports_its_own_module_and_no_other_command(argv: tuple[str, ...], modules: set[str]) -> None:
    assert imported_modules(*argv) - {"command_line", "arguments", "output", "environment"} == modules


@pytest.mark.slow
def test_help_imports_all_of_them() -> None:
    assert imported_modules("--help") >= set(COMMANDS.values())


def test_a_command_that_does_not_exist_is_answered_with_all_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["walk"])

    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert all(f"'{name}'" in said for name in COMMANDS)
