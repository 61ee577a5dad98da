"""What docs/rules.md shows works as it stands: its blocks are the files of one configuration."""

from __future__ import annotations

import re
from pathlib import Path

from watchdog.config import check_files
from watchdog.config.entries import RULE_KEYS
from watchdog.config.model_fields import field_by_key
from watchdog.config.models import Defaults
from watchdog.core.target import Target
from watchdog.plans.models import Halt, Repair, Verify
from watchdog.rules import Kpi, Learn, Missing, Only, Rule, Threshold, state_machine

RULES = Path(__file__).parents[2] / "rules"
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_loads(tmp_path: Path) -> None:
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"{number}.yaml").write_text(block, encoding="utf-8")
    config, problems = check_files([tmp_path], environ={})
    assert problems == []
    assert config is not None
    assert config.warnings == ()
    assert len(BLOCKS) >= 5


def test_every_example_for_those_who_come_from_elsewhere_loads(tmp_path: Path) -> None:
    page = (DOCS / "coming-from.md").read_text(encoding="utf-8")
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)):
        (tmp_path / f"{number}.yaml").write_text(block, encoding="utf-8")
    config, problems = check_files([tmp_path], environ={})
    assert problems == []
    assert config is not None
    assert [str(warning) for warning in config.warnings if "stop-entries" not in str(warning)] == []
    assert {"HighErrorRate", "gone", "bot-latency"} <= config.rules.keys()


def test_the_drawing_of_the_states_is_the_one_in_the_code() -> None:
    (drawn,) = re.findall(r"^```\n(.*?)^```$", state_machine.__doc__ or "", re.MULTILINE | re.DOTALL)
    assert drawn in PAGE


def test_every_section_and_every_key_is_shown_and_explained() -> None:
    said = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert not set(RULE_KEYS) - said
    for model in (Target, Kpi, Learn, Rule, Threshold, Missing, Only, Verify, Halt, Repair, Defaults):
        assert not {key for key in field_by_key(model) if key not in said}, model.__name__


def test_every_key_has_an_example() -> None:
    shown = set(re.findall(r"[\w-]+(?=:)", "\n".join(BLOCKS)))
    for model in (Target, Kpi, Learn, Rule, Threshold, Missing, Only, Verify, Halt, Repair, Defaults):
        assert not {key for key in field_by_key(model) if key not in shown}, model.__name__


def test_the_sources_that_the_shipped_rules_read_are_shown(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", (RULES / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "watchdog.yaml").write_text(block)
    config, problems = check_files([tmp_path, RULES], environ={})
    assert problems == []
    assert config is not None
    read = set(re.findall(r'source="(\w+)"', " ".join(kpi.expr for kpi in config.kpis.values())))
    assert read < set(config.sources)
