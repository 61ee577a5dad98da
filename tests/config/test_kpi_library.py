"""The library of KPIs: each file stands by itself, says what it needs, and is what its page says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.kpi_library import (
    FILES,
    LIBRARY,
    RULES,
    declared_metrics,
    kpi_table,
    load_alone,
    metric_table,
    read_metrics,
)
from watchdog.cli.command_line import main
from watchdog.config import check_files
from watchdog.prometheus_rules.exporter import export_prometheus

EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


@EACH_FILE
def test_a_file_that_is_taken_alone_is_clean(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside a target, and nothing else: no plan, no variable, no other file."""
    (tmp_path / "rules").mkdir()
    shutil.copy(path, tmp_path / "rules")
    (tmp_path / "rules" / "mine.yaml").write_text("targets:\n  bot: {unit: trading-bot.service, repo: /srv/bot}\n")
    (tmp_path / "watchdog.yaml").write_text(
        "sources:\n"
        '  bot: {type: scrape, url: "http://127.0.0.1:8000/metrics", every: 1s}\n'
        "  host: {type: host, every: 5s, disks: [/]}\n"
        "channels: {chat: {type: slack, token: xoxb-12345678, channel: C0123456}}\n"
    )

    assert main(["check", str(tmp_path)]) == 0

    said = capsys.readouterr()
    assert "warning" not in said.out + said.err
    config = load_alone(path, tmp_path)
    assert config.warnings == ()
    assert [check.plan for check in config.checks if check.plan] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@EACH_FILE
def test_what_a_file_becomes_for_a_prometheus_server_is_taken_by_it(path: Path, tmp_path: Path) -> None:
    made = export_prometheus(load_alone(path, tmp_path))
    (tmp_path / "exported.rules").write_text(made.text)

    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "exported.rules")], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{made.alerts} rules found" in done.stdout


@EACH_FILE
def test_a_crit_may_be_given_the_plan_that_ships(path: Path, tmp_path: Path) -> None:
    text = re.sub(r"^(    crit: \{.*)\}$", r"\1, plan: halt}", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for name in ("plans.yaml", "targets.yaml"):
        shutil.copy(RULES / name, tmp_path)
    (tmp_path / path.name).write_text(text, encoding="utf-8")

    config, problems = check_files([tmp_path], environ={})

    assert problems == []
    assert config is not None
    assert {check.plan for check in config.checks if check.level == "crit"} <= {"halt"}


def test_all_of_it_goes_together_with_the_rules_that_ship(tmp_path: Path) -> None:
    for path in (*FILES, *RULES.glob("*.yaml")):
        assert not (tmp_path / path.name).exists(), "a copy would overwrite another file"
        shutil.copy(path, tmp_path)

    config, problems = check_files([tmp_path], environ={})

    assert problems == []
    assert config is not None
    assert config.warnings == ()


def test_who_copies_the_folder_of_rules_has_taken_nothing_of_the_library() -> None:
    config, _ = check_files([RULES], environ={})

    assert config is not None
    assert not any(LIBRARY in path.parents for path in config.files)


@EACH_FILE
def test_each_kpi_has_a_rule_that_says_what_a_person_wants_to_know(path: Path, tmp_path: Path) -> None:
    config = load_alone(path, tmp_path)

    assert {rule.kpi for rule in config.rules.values()} == config.kpis.keys()
    for kpi in config.kpis.values():
        assert kpi.help
        assert kpi.baseline is not None
    for rule in config.rules.values():
        assert "{{ value }}" in (rule.summary or "")
        for threshold in (rule.warn, rule.crit):
            assert threshold is None or (threshold.clear is not None and threshold.for_ != (0, 0, 0)), rule.name


@EACH_FILE
def test_the_head_of_a_file_lists_the_metrics_that_it_reads_and_no_other(path: Path, tmp_path: Path) -> None:
    config = load_alone(path, tmp_path)

    read = set[str]().union(*map(read_metrics, config.kpis.values()))
    declared = declared_metrics(path)

    assert {metric.name for metric in declared} == read
    assert len(declared) == len(read)


@EACH_FILE
def test_counters_are_read_by_their_increase_and_gauges_never_are(path: Path, tmp_path: Path) -> None:
    config = load_alone(path, tmp_path)
    text = " ".join(f"{kpi.expr} {kpi.needs}" for kpi in config.kpis.values())

    for metric in declared_metrics(path):
        uses = re.findall(rf"(increase\()?\b{metric.name}\b", text)
        assert uses
        assert {bool(use) for use in uses} == {metric.kind == "counter"}, metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter")


def test_a_metric_is_the_same_in_every_file() -> None:
    said: dict[str, set[tuple[str, ...]]] = {}
    for path in FILES:
        for metric in declared_metrics(path):
            said.setdefault(metric.name, set()).add(metric)

    assert {name: each for name, each in said.items() if len(each) > 1} == {}


@EACH_FILE
def test_what_counts_events_needs_evidence(path: Path, tmp_path: Path) -> None:
    """A share of few events says nothing; neither does a mean of them."""
    config = load_alone(path, tmp_path)

    assert [name for name, kpi in config.kpis.items() if "increase(" in kpi.expr and kpi.needs is None] == []


@EACH_FILE
def test_the_page_shows_each_kpi_as_it_stands_in_the_file(path: Path, tmp_path: Path) -> None:
    assert kpi_table(path, load_alone(path, tmp_path)) in (LIBRARY / "README.md").read_text(encoding="utf-8")


def test_the_page_shows_each_metric_as_the_files_do() -> None:
    assert metric_table() in (LIBRARY / "README.md").read_text(encoding="utf-8")


def test_the_page_names_no_kpi_that_is_not_there(tmp_path: Path) -> None:
    page = (LIBRARY / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `(\w+)`", page.partition("## What the bot delivers")[0], re.MULTILINE)

    assert shown == [name for path in FILES for name in load_alone(path, tmp_path).kpis]
