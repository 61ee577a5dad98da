"""`init`: from what there is to look at to a configuration that `check` finds well."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import yaml

from tests.support.raw_http_server import StartServer, respond_with, start_server
from watchdog.cli.command_line import main

__all__ = ["start_server"]

PAGE = 'equity 1034.5\ntrades_total{result="win"} 7\norder_failures_total 0\n'


def check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files are well, and there is nothing to warn of."""
    capsys.readouterr()
    assert main(["check", "--json", "--config", str(folder)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["errors"], [each for each in told["warnings"] if "channel" not in each["what"]]) == ([], [])


def test_a_metrics_page_becomes_a_configuration_that_is_well(
    tmp_path: Path, start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "watchdog"
    url = start_server(respond_with(PAGE)).url

    assert main(["init", url, "--config", str(folder)]) == 0

    said = capsys.readouterr().out
    assert "recognised: drawdown, order-failures, disk-full, silent" in said
    assert f"trading-watchdog run --config {folder}" in said
    written = yaml.safe_load((folder / "watchdog.yaml").read_text())
    assert written["sources"]["bot"] == {"type": "scrape", "url": url, "every": "1s"}
    assert "(equity was 1034.5)" in (folder / "rules" / "bot.yaml").read_text()
    check(folder, capsys)


def test_files_are_written_that_nobody_else_may_change_whatever_the_umask(
    tmp_path: Path, start_server: StartServer
) -> None:
    before = os.umask(0)
    try:
        assert main(["init", start_server(respond_with(PAGE)).url, "--config", str(tmp_path / "new")]) == 0
    finally:
        os.umask(before)

    for path in (tmp_path / "new", *(tmp_path / "new").rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o022, path


@pytest.mark.parametrize("name", ["watchdog.yaml", "rules/bot.yaml"])
def test_nothing_is_overwritten_and_nothing_is_written_beside_it(
    tmp_path: Path, start_server: StartServer, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")

    assert main(["init", start_server(respond_with(PAGE)).url, "--config", str(tmp_path)]) == 1

    assert f"{path} is there already, and nothing is overwritten" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert list(tmp_path.rglob("*.yaml")) == [path]


def test_what_cannot_be_written_whole_is_not_left_half(
    tmp_path: Path, start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "rules").write_text("a file where a folder should be")

    assert main(["init", start_server(respond_with(PAGE)).url, "--config", str(tmp_path / "new")]) == 1

    assert "cannot be written" in capsys.readouterr().err
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["rules"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no-such-thing", "'no-such-thing' is no file, no folder, no address and no unit — "),
        ("http://127.0.0.1:9/", "nobody listens there — "),
        ("http://u:p@127.0.0.1/", "leave the name and the password out of it"),
    ],
)
def test_what_cannot_be_looked_at_is_one_error_with_a_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, said: str
) -> None:
    assert main(["init", what, "--config", str(tmp_path / "new")]) == 1

    err = capsys.readouterr().err
    assert said.replace("'", "") in err.replace("'", "")
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_folder_in_which_nothing_says_how_a_bot_does_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot" / "bot.py").write_text("print()\n")

    assert main(["init", str(tmp_path / "bot"), "--config", str(tmp_path / "new")]) == 1
    assert "nothing was found that says how a bot is doing" in capsys.readouterr().err
