"""A chat's token stands in the way of nothing that a person asks for at night."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import CHECKOUT
from watchdog.cli.arguments import DEFAULT_CONFIG
from watchdog.cli.command_line import main
from watchdog.cli.environment import ENVIRONMENT_FILE
from watchdog.config import check_files, load
from watchdog.journal import open_journal

pytestmark = pytest.mark.slow

MAIN = """\
state: state
web: {listen: "127.0.0.1:0"}
channels:
  slack: {type: slack, token: "${WAY_SLACK_TOKEN}", channel: C0123456}
sources:
  bot: {type: scrape, url: "http://127.0.0.1:9/metrics", every: 1h}
"""
RULES = """\
targets: {bot: {repo: %s}}
kpis: {errors: {expr: errors_total, unit: count}}
rules: [{name: errors, kpi: errors, target: bot, crit: {above: 3, for: 1s, plan: halt}}]
plans:
  halt:
    kind: halt
    levels:
      - name: no-entries
        steps: [{do: flag, file: config.py, set: {TRADING: false}}]
        verify: {run: [/bin/true], give_up: 20s}
  repair:
    kind: repair
    mode: auto
    exhausted: halt
    verify: {quiet: 1s, run: [/bin/true]}
    levels: [{name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WAY_SLACK_TOKEN", "WAY_PAGE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    repo = tmp_path / "bot"
    repo.mkdir()
    (repo / "config.py").write_text("TRADING = True\nFEATURE = True\n")
    config = tmp_path / "etc"
    (config / "rules").mkdir(parents=True)
    (config / "watchdog.yaml").write_text(MAIN)
    (config / "rules" / "bot.yaml").write_text(RULES % repo)
    return config


def waiting_messages(folder: Path) -> list[str]:
    journal = open_journal(folder / "state")
    try:
        return [each.message.title for each in journal.messages.due(1 << 50, "slack")]
    finally:
        journal.close()


def run_apart(*words: str) -> subprocess.CompletedProcess[str]:
    """A command that is a daemon for a while: in a process of its own, with the rights of ours."""
    program = "import sys; from watchdog.cli.command_line import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    "words",
    [
        ("hold", "bot", "--for", "2h"),
        ("silence", "errors", "--for", "2h"),
        ("ack", "1", "--note", "looking"),
        ("undo", "1", "--yes"),
        ("abort", "bot"),
        ("next", "7"),
    ],
)
def test_what_a_person_says_needs_no_token_of_a_chat(folder: Path, words: tuple[str, ...]) -> None:
    ran = run_apart(*words, "--config", str(folder))

    note = "nobody is told on slack by this command (the environment has no WAY_SLACK_TOKEN)"
    assert ran.stderr.count(note) == 1
    assert "set it for the service" not in ran.stderr
    assert "WAY_SLACK_TOKEN" not in ran.stdout


def test_a_halt_by_hand_needs_no_token_and_is_told_once_the_service_runs(folder: Path) -> None:
    ran = run_apart("rollback", "halt", "--yes", "--config", str(folder))

    assert ran.returncode == 0, ran.stderr
    assert "TRADING = False" in (folder.parent / "bot" / "config.py").read_text()
    assert ran.stderr.count("nobody is told on slack by this command") == 1
    assert any("halt" in title for title in waiting_messages(folder))


def test_a_channel_that_is_not_well_stands_in_the_way_of_no_halt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAY_SLACK_TOKEN", "hunter2")

    ran = run_apart("rollback", "halt", "--yes", "--config", str(folder))

    assert ran.returncode == 0, ran.stderr
    assert "hunter2" not in ran.stdout + ran.stderr


def test_a_source_without_its_variable_is_missed_by_a_repair_and_not_by_a_halt(folder: Path) -> None:
    (folder / "watchdog.yaml").write_text(MAIN.replace("9/metrics", "9/${WAY_PAGE}"))
    config_file = folder.parent / "bot" / "config.py"

    repair = run_apart("rollback", "repair", "--yes", "--config", str(folder))
    assert repair.returncode == 1
    assert "needs the source bot: the environment has no WAY_PAGE" in repair.stderr
    assert "FEATURE = True" in config_file.read_text()
    assert run_apart("rollback", "halt", "--yes", "--config", str(folder)).returncode == 0
    assert "TRADING = False" in config_file.read_text()


def test_a_variable_that_another_plan_inherits_stands_in_the_way_of_no_halt(folder: Path) -> None:
    rules = folder / "rules" / "bot.yaml"
    rules.write_text(rules.read_text().replace("{quiet: 1s,", "{quiet: 1s, inherit: [WAY_PAGE],"))

    assert run_apart("rollback", "halt", "--yes", "--config", str(folder)).returncode == 0


def test_the_daemon_and_check_still_refuse_what_lacks_a_variable(folder: Path) -> None:
    _, problems = check_files([folder], environ={})

    assert ["the environment has no WAY_SLACK_TOKEN" in each.what for each in problems] == [True]
    assert main(["check", "--config", str(folder)]) == 1


def test_a_channel_on_standby_stays_so_for_who_cannot_read_its_token(folder: Path) -> None:
    """Else what a person does in place of the service would wake whoever is to be woken by nothing but escalation."""
    main_file = folder / "watchdog.yaml"
    text = main_file.read_text()
    main_file.write_text(re.sub(r"(token: \"?\$\{WAY_SLACK_TOKEN\}\"?)", r"\1, standby: true", text))
    assert main_file.read_text() != text

    loaded = load(folder, environ={}, may_leave_out=True)

    (name,) = loaded.silent_channels
    assert name not in loaded.told_channels("bot", None)


# ─ the service's environment ─


def test_commands_read_what_the_unit_gives_the_service(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ENVIRONMENT_FILE).write_text("# ours\nWAY_SLACK_TOKEN='xoxb-12345678'\n")
    (folder / ENVIRONMENT_FILE).chmod(0o600)

    assert main(["check", "--config", str(folder)]) == 0
    assert "12345678" not in "".join(capsys.readouterr())
    assert os.environ["WAY_SLACK_TOKEN"] == "xoxb-12345678"
    assert load(folder, environ=os.environ).silent_channels == {}


def test_the_file_is_the_one_that_the_units_name() -> None:
    for unit in ("trading-watchdog.service", "trading-watchdog-drill@.service"):
        text = (CHECKOUT / "systemd" / unit).read_text()
        assert re.findall(r"^EnvironmentFile=-(.*)$", text, re.MULTILINE) == [str(DEFAULT_CONFIG / ENVIRONMENT_FILE)]


def test_what_the_shell_says_goes_before_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAY_SLACK_TOKEN", "xoxb-from-shell")
    (folder / ENVIRONMENT_FILE).write_text("WAY_SLACK_TOKEN=xoxb-from-file\n")

    main(["check", "--config", str(folder)])

    assert os.environ["WAY_SLACK_TOKEN"] == "xoxb-from-shell"


def test_a_file_that_somebody_else_could_write_is_not_believed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ENVIRONMENT_FILE).write_text("WAY_SLACK_TOKEN=xoxb-12345678\n")
    (folder / ENVIRONMENT_FILE).chmod(0o666)

    main(["hold", "bot", "--for", "1h", "--config", str(folder)])

    said = capsys.readouterr().err
    assert "everybody may write the file" in said
    assert f"chmod go-w {folder / ENVIRONMENT_FILE}" in said
    assert "WAY_SLACK_TOKEN" not in os.environ
    assert "12345678" not in said


def test_who_may_not_read_the_file_gets_on_without(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ENVIRONMENT_FILE).mkdir()

    assert main(["hold", "bot", "--for", "1h", "--config", str(folder)]) == 0
    assert "environment is not read" not in capsys.readouterr().err
