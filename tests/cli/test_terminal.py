"""Terminals that know no UTF-8, pipes that nobody reads to the end, streams that are closed: no command ends in a traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from watchdog.cli import terminal
from watchdog.cli.command_line import COMMANDS

OURS = "a — b – c → d … e × f ≥ g ± h “i” ’j’ µs ▁█"
"""What our own messages are made of."""
RULES = """\
targets: {bot: {}}
kpis: {errors: {expr: errors, unit: ratio, baseline: 5%}}
rules:
  - {name: errors, kpi: errors, target: bot, crit: {above: 2x baseline, for: 3s}, summary: "Fehler über {{ limit }} – λ → ∞"}
"""
EVERY_COMMAND = """\
import sys
from watchdog.cli.command_line import main
folder, *lines = sys.argv[1:]
for line in lines:
    words = line.replace("FOLDER", folder).split()
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    print("exit", code, words[0], flush=True)
"""
LINES = (
    *("check FOLDER", "check FOLDER --json", "check FOLDER --export prometheus", "status --config FOLDER"),
    *("query errors --config FOLDER", "sources --once --config FOLDER", "check FOLDER --explain errors"),
    *("baseline show --config FOLDER", "report 1 --config FOLDER", "reload --config FOLDER", "ack 1 --config FOLDER"),
    *("hold bot --config FOLDER", "silence errors --for 1h --reason λ→ --config FOLDER", "schema --main"),
    *("check FOLDER/λ.yaml", "replay FOLDER --history FOLDER/history.csv", "init FOLDER/nowhere", "nonsense", "--help"),
    *("incidents --config FOLDER", *(f"{command} --help" for command in COMMANDS)),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text(RULES, encoding="utf-8")
    (tmp_path / "history.csv").write_text("time,errors\n1700000000,0.5\n1700000010,0.5\n")
    (tmp_path / "watchdog.yaml").write_text(
        'sources: {bot: {type: scrape, url: "http://127.0.0.1:9/metrics"}}\nstate: state\nweb: {listen: "[::1]:9"}\n'
    )
    return tmp_path


@pytest.mark.parametrize(
    ("environ", "encoding"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "ascii"),
    ],
    ids=["ascii", "latin-1", "C"],
)
@pytest.mark.slow
def test_no_command_ends_in_a_traceback_on_a_terminal_without_utf_8(
    folder: Path, environ: dict[str, str], encoding: str
) -> None:
    ours = ("LC_", "LANG", "PYTHONIO", "PYTHONUTF8")
    clean = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    argv = [sys.executable, "-c", EVERY_COMMAND, str(folder), *LINES]
    done = subprocess.run(argv, capture_output=True, env=clean | environ, timeout=180, check=False)

    said = (done.stdout + done.stderr).decode(encoding, "replace")
    assert "Traceback" not in said, said[said.index("Traceback") :][:3000]
    assert said.count("\nexit ") == len(LINES)
    assert "crit -> told" in said
    assert "no watchdog answers at [::1]:9 - is the service running?" in said
    assert b"Fehler \xc3\xbcber" in done.stdout, "what is for programs is UTF-8 wherever it goes"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "a - b - c -> d ... e x f >= g +- h \"i\" 'j' us _@"),
        ("latin-1", "a - b - c -> d ... e × f >= g ± h \"i\" 'j' µs _@"),
    ],
)
def test_our_own_characters_are_replaced_by_what_people_read(encoding: str, shown: str) -> None:
    terminal.prepare()

    assert OURS.encode(encoding, "trading-watchdog").decode(encoding) == shown


def test_what_others_wrote_stays_what_it_was() -> None:
    terminal.prepare()

    assert "bött λ \udc80".encode("ascii", "trading-watchdog") == b"b\\xf6tt \\u03bb \\udc80"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["schema", "--help"])
def test_a_reader_that_goes_away_is_no_error_of_ours(command: str) -> None:
    line = f"{shlex.quote(sys.executable)} -m watchdog {command}"
    gone = f"{{ {line}; echo $? >&2; }} | :"  # the reader has ended long before anything is written
    done = subprocess.run(["bash", "-c", gone], capture_output=True, timeout=180, check=True, text=True)

    assert done.stderr in ("0\n", "1\n")  # argparse itself looks away


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed_are_no_error(folder: Path, closed: str) -> None:
    line = f"{shlex.quote(sys.executable)} -m watchdog check {folder} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=180, check=False, text=True)

    assert done.returncode == 0
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_said_to_be_so(folder: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m watchdog check {folder} > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=180, check=False, text=True)

    assert done.returncode == 1
    assert done.stderr == "trading-watchdog: the output could not be written: No space left on device\n"
