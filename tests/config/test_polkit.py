"""What a watchdog that is not root may do to units: what its plans say, written down as a polkit rule."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.conftest import BASE_RULES, WriteConfig
from watchdog.cli.command_line import main
from watchdog.config import load
from watchdog.config.polkit import describe_differences, polkit_rule, unit_operations

PLANS = """\
  bounce:
    kind: repair
    mode: auto
    exhausted: leave-running
    verify: {quiet: 1m}
    before: [{do: systemd, stop: trading-feed@eu.service}]
    levels:
      - {name: restart, steps: [{do: systemd, restart: unit}]}
    proven: [{do: systemd, start: trading-feed@eu.service}]
  freeze:
    kind: halt
    levels:
      - name: stop
        steps: [{do: systemd, stop: unit, mask: true}]
        verify: {that: [entries == 0]}
"""
RULES = BASE_RULES.replace("plans:\n", f"plans:\n{PLANS}").replace(
    "targets:\n", "targets:\n  second: {unit: other}\n  unitless: {repo: /srv/third}\n"
)
OPERATIONS = [
    "mask other.service",
    "reset-failed other.service",
    "restart other.service",
    "stop other.service",
    "mask trading-bot.service",
    "reset-failed trading-bot.service",
    "restart trading-bot.service",
    "stop trading-bot.service",
    "reset-failed trading-feed@eu.service",
    "start trading-feed@eu.service",
    "stop trading-feed@eu.service",
]
ALLOWED = [
    operation.replace("mask ", "start trading-watchdog-mask@") + ".service" * operation.startswith("mask ")
    for operation in OPERATIONS
]
"""The same as polkit is asked."""


@pytest.fixture
def folder(write_config: WriteConfig) -> Path:
    return write_config({"rules/base.yaml": RULES})


@pytest.fixture
def rule_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the rule lies, on a machine with a user for the watchdog and without a systemd."""
    path = tmp_path / "50-trading-watchdog.rules"
    for module in ("check", "polkit"):
        monkeypatch.setattr(f"watchdog.cli.{module}.POLKIT_RULE_FILE", str(path))
        monkeypatch.setattr(f"watchdog.cli.{module}.resolve_unit", with_suffix)
        monkeypatch.setattr(f"watchdog.cli.{module}.SERVICE_USER", "nobody")
    return path


def with_suffix(unit: str) -> str:
    return unit if unit.endswith(".service") else f"{unit}.service"


def test_what_the_plans_do_to_the_units_of_all_targets_is_allowed_and_nothing_else(folder: Path) -> None:
    assert unit_operations(load(folder, environ={}), with_suffix) == OPERATIONS


def test_polkit_is_asked_with_the_name_that_systemd_has(folder: Path) -> None:
    aliases = {"other": "really.service"}

    found = unit_operations(load(folder, environ={}), lambda unit: aliases.get(unit, with_suffix(unit)))

    assert "restart really.service" in found
    assert not [each for each in found if each.endswith(" other.service")]


def test_the_rule_is_about_one_action_one_user_and_these_units() -> None:
    rule = polkit_rule(["restart trading-bot.service"], "trading-watchdog")

    assert 'action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "trading-watchdog" &&' in rule
    assert '  var allowed = [\n    "restart trading-bot.service"\n  ];' in rule
    assert "polkit.Result.YES" in rule


@given(st.lists(st.text(min_size=1)), st.text(min_size=1))
def test_names_are_data_whatever_is_in_them(operations: list[str], user: str) -> None:
    rule = polkit_rule(operations, user)

    assert describe_differences(operations, rule) == []
    code = re.sub(r'"(?:[^"\\]|\\.)*"', "S", rule)
    assert code == re.sub(r'"(?:[^"\\]|\\.)*"', "S", polkit_rule(["x"] * len(operations), "y"))
    assert rule.isascii()


def test_the_command_prints_the_rule_and_writes_it_where_polkit_reads_it(
    folder: Path, rule_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["polkit", "--config", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert json.loads("[" + printed.partition("= [")[2].partition("]")[0] + "]") == ALLOWED
    assert not rule_file.exists()

    assert main(["polkit", "--write", "--config", str(folder)]) == 0
    assert rule_file.read_text() == printed
    assert rule_file.stat().st_mode & 0o7777 == 0o644
    assert [path.name for path in rule_file.parent.glob("50*")] == [rule_file.name]


def test_files_with_mistakes_leave_the_rule_as_it_is(folder: Path, rule_file: Path) -> None:
    assert main(["polkit", "--write", "--config", str(folder)]) == 0
    before = rule_file.read_text()
    (folder / "rules" / "base.yaml").write_text(RULES.replace("do: systemd", "do: sustemd"))

    assert main(["polkit", "--write", "--config", str(folder)]) == 1
    assert rule_file.read_text() == before


def test_a_rule_that_cannot_be_written_is_one_line_with_the_cure(
    folder: Path, rule_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("watchdog.cli.polkit.POLKIT_RULE_FILE", str(rule_file.parent / "none" / "50.rules"))

    assert main(["polkit", "--write", "--config", str(folder)]) == 1
    assert "50.rules: No such file or directory — as root, with polkitd installed" in capsys.readouterr().err


def test_check_says_what_the_rule_lacks_and_what_it_has_too_much(
    folder: Path, rule_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def notes() -> list[str]:
        main(["check", "--config", str(folder)])
        return [line for line in capsys.readouterr().out.splitlines() if "polkit" in line]

    (missing,) = notes()
    assert missing.startswith(
        "note: polkit does not let the watchdog start trading-watchdog-mask@other.service.service, reset-failed other.service, "
    )
    assert missing.endswith(" — as root: trading-watchdog polkit --write")

    rule_file.write_text(polkit_rule(OPERATIONS, "nobody"))
    assert notes() == []

    rule_file.write_text(polkit_rule([OPERATIONS[0], *OPERATIONS[2:], "stop dbus.service"], "nobody"))
    assert notes() == [
        "note: polkit does not let the watchdog reset-failed other.service — as root: trading-watchdog polkit --write",
        "note: polkit lets the watchdog stop dbus.service, which no plan does — as root: trading-watchdog polkit --write",
    ]


def test_check_says_nothing_of_polkit_where_the_watchdog_has_no_user_of_its_own(
    folder: Path, rule_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("watchdog.cli.check.SERVICE_USER", "nobody-of-that-name")
    main(["check", "--config", str(folder)])

    assert not rule_file.exists()
    assert "polkit" not in capsys.readouterr().out
