"""What README and the pages tell people to type is what there is, and works in the order in which it stands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.docs.commands import CHECKOUT, PAGES, ShownCommand, shown_blocks, shown_commands
from watchdog.cli.command_line import build_parser

SHOWN = list(shown_commands())
INSTALL_BLOCKS = {"README.md": "check", "docs/operations.md": "check"}
"""Page → with what command ends that part of its first block that needs no machine of its own. tests/systemd does the rest."""


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_every_command_line_that_is_shown_is_one(command: ShownCommand) -> None:
    build_parser().parse_args(command.words)


def test_command_lines_are_found_where_they_are_shown() -> None:
    pages = {command.page for command in SHOWN}

    assert {"README.md", "docs/operations.md", "docs/check.md", "docs/drill.md", "docs/history.md"} <= pages
    assert len(SHOWN) > 40


def test_no_page_and_no_message_sends_anybody_to_an_index_that_does_not_have_it() -> None:
    files = [*PAGES, *CHECKOUT.glob("systemd/*"), *(CHECKOUT / "watchdog").rglob("*.py")]

    assert [str(path) for path in files if "install 'trading-watchdog" in path.read_text()] == []
    assert [str(path) for path in files if "pip install trading-watchdog" in path.read_text()] == []


def clone(folder: Path) -> None:
    """What somebody has who clones the repository, as it is in the work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("page", INSTALL_BLOCKS)
def test_the_installation_works_in_the_order_in_which_it_stands(page: str, tmp_path: Path) -> None:
    """With another root for its absolute paths, and the packages of who runs the tests in place of an index."""
    root, checkout = tmp_path / "root", tmp_path / "clone"
    for folder in ("opt", "etc", "usr/local/bin"):
        (root / folder).mkdir(parents=True)
    clone(checkout)
    (block,) = [lines for lines in shown_blocks(CHECKOUT / page) if any("-m venv" in line for line in lines)]
    ends = next(n for n, line in enumerate(block) if line == f"trading-watchdog {INSTALL_BLOCKS[page]}")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))},
        "PATH": f"{root}/usr/local/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TRADING_WATCHDOG_CONFIG": f"{root}/etc/trading-watchdog",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip spells that it is off
    }
    printed = ""
    for line in filter(None, block[: ends + 1]):
        here = line
        for folder in ("/opt/", "/etc/", "/usr/local/bin"):
            here = here.replace(f" {folder}", f" {root}{folder}")
            here = f"{root}{here}" if here.startswith(folder) else here
        ran = subprocess.run(["sh", "-c", here], cwd=checkout, env=environ, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (line, ran.stdout, ran.stderr)
        printed = ran.stdout
        if "-m venv" in line:
            (packages,) = (root / "opt/trading-watchdog/lib").glob("python*/site-packages")
            (packages / "of-the-tests.pth").write_text(
                f"import sys; sys.path.insert(0, {sysconfig.get_path('purelib')!r})\n"
            )

    assert printed.splitlines()[-1].startswith("well: 18 rules")
    shown = yaml.safe_load((root / "etc/trading-watchdog/watchdog.yaml").read_text())
    assert set(shown["sources"]) == {"bot", "process", "host"}
