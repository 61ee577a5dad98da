"""docs/operations.md is held to what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from watchdog.config import check_files
from watchdog.config.schema import json_schema
from watchdog.core.telemetry import Telemetry

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
UNIT = (Path(__file__).parents[2] / "systemd" / "trading-watchdog.service").read_text()


def exposed_metrics() -> set[str]:
    families = Telemetry("0").registry.collect()
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_the_page_lists_every_metric_and_no_other() -> None:
    listed = set(re.findall(r"^\| `(watchdog_\w+|ALERTS)` \|", PAGE, re.MULTILINE))

    assert listed == exposed_metrics()


@pytest.mark.parametrize("setting", ["WatchdogSec=30", "TimeoutStopSec=120", "KillMode=process", "OOMScoreAdjust=500"])
def test_what_the_page_says_of_the_unit_file_stands_in_it(setting: str) -> None:
    assert setting in PAGE
    assert re.search(rf"^{setting}$", UNIT, re.MULTILINE)


def test_the_unit_file_says_the_lines_of_the_page_that_are_still_to_be_run_in_their_order() -> None:
    block = PAGE.partition("## Installing\n")[2].split("```")[1]  # tests/systemd runs it
    lines = [line.partition("  ")[0] for line in block.splitlines()]
    named = re.findall(r"^#   (.*)$", UNIT, re.MULTILINE)

    assert len(named) == 6
    assert [line for line in lines if line in named] == named


def test_the_page_shows_and_explains_every_key_of_watchdog_yaml(tmp_path: Path) -> None:
    section = PAGE.partition("### watchdog.yaml\n")[2].partition("\n### ")[0]
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "watchdog.yaml").write_text(shown)

    config, problems = check_files([tmp_path], environ={"SLACK_BOT_TOKEN": "xoxb-12345678"})

    assert problems == []
    assert config is not None
    assert set(config.sources) == {"bot", "process", "host"}
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == json_schema("main")["properties"].keys()
