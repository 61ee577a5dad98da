"""The command line as people and programs meet it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from watchdog.cli.command_line import build_parser, main

ROOT = Path(__file__).parents[2]


def run_cli(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "watchdog", *args],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        timeout=180,
    )


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])

    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for command in ("run", "check", "status", "incidents", "rollback", "resume", "query", "replay", "demo"):
        assert re.search(rf"^    {command}\s", text, re.MULTILINE)


@pytest.mark.slow
def test_wrong_usage_ends_with_two() -> None:
    assert run_cli("walk").returncode == 2


def test_the_shipped_rules_are_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(ROOT / "rules")]) == 0
    assert "well: " in capsys.readouterr().out


def test_a_wrong_unit_is_named_with_its_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(ROOT / "rules", folder)
    path = folder / "model.yaml"
    text = path.read_text()
    path.write_text(text.replace("above: 15%", "above: 15 parsecs", 1))
    line, before = next(
        (n, row.partition("15 parsecs")[0])
        for n, row in enumerate(path.read_text().splitlines(), 1)
        if "parsecs" in row
    )

    assert main(["check", str(folder)]) == 1
    assert f"{path}:{line}:{len(before) + 1}: " in capsys.readouterr().out

    assert main(["check", "--json", str(folder)]) == 1
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["line"], error["column"]) == (line, len(before) + 1)


def test_a_configuration_without_a_rule_is_not_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text("sources: {host: {type: host}}\nstate: state\n")

    assert main(["check", str(tmp_path)]) == 1
    assert "nothing is judged, there is no rule: 1 source — " in capsys.readouterr().out
    assert main(["check", "--json", str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out)["errors"] == []


def test_a_file_of_kpis_alone_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kpis.yaml").write_text("kpis: {x: {expr: x}}\n")

    assert main(["check", str(tmp_path)]) == 0
    assert "well: 1 KPI" in capsys.readouterr().out


@pytest.mark.slow
def test_a_missing_configuration_is_one_line_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ["--config", str(tmp_path / "nowhere")]
    done = run_cli("run", *missing)
    assert (done.returncode, "nowhere" in done.stderr, "Traceback" in done.stderr) == (1, True, False)

    for command in (["status"], ["incidents"], ["rollback", "halt"], ["resume", "bot", "--reason", "x"]):
        assert main([*command, *missing]) == 1
        said = capsys.readouterr().err
        assert ("nowhere" in said, "Traceback" in said) == (True, False)


@pytest.mark.slow
def test_status_without_a_daemon_says_so(tmp_path: Path) -> None:
    (tmp_path / "watchdog.yaml").write_text('web: {listen: "127.0.0.1:9"}\nstate: state\n')

    done = run_cli("status", "--config", str(tmp_path))

    assert done.returncode == 1
    assert "no watchdog answers at 127.0.0.1:9" in done.stderr


def test_a_package_that_the_other_watchdog_overwrote_says_so(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "watchdog", tmp_path / "watchdog")
    (tmp_path / "watchdog" / "__init__.py").write_text('"""file events"""\n')

    done = subprocess.run(
        [sys.executable, "-m", "watchdog", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=180
    )

    assert done.returncode == 1
    assert "was overwritten by PyPI's other 'watchdog'" in done.stderr
    assert "venv" in done.stderr


def test_the_readme_names_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    known = {name for action in build_parser()._actions if action.choices for name in action.choices}

    for line in text.splitlines():
        if line.startswith("trading-watchdog "):
            assert line.split()[1] in known, line
