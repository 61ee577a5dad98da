"""Ten thousand rules: they load, and what is wrong with the last of them is named where it stands."""

from __future__ import annotations

import pytest

from tests.config.conftest import WriteConfig
from watchdog.config import load
from watchdog.documents.problems import ConfigError

RULE_COUNT = 10_000


def rule_yaml(number: int, kpi: str = "errors") -> str:
    return f"  - name: rule-{number}\n    kpi: {kpi}\n    target: bot\n    crit: {{above: 5, for: 5m, plan: halt}}\n"


@pytest.mark.slow
def test_ten_thousand_rules_fit_into_one_file(write_config: WriteConfig) -> None:
    folder = write_config({"rules/many.yaml": "rules:\n" + "".join(map(rule_yaml, range(RULE_COUNT)))})

    assert len(load(folder, environ={}).rules) == RULE_COUNT + 2


@pytest.mark.slow
def test_a_mistake_in_the_last_of_ten_thousand_rules_is_named_in_its_line(write_config: WriteConfig) -> None:
    text = "rules:\n" + "".join(map(rule_yaml, range(RULE_COUNT - 1))) + rule_yaml(RULE_COUNT - 1, "erors")
    folder = write_config({"rules/many.yaml": text})
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={})

    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (4 * (RULE_COUNT - 1) + 3, 10)
    assert problem.cure == "did you mean errors?"
