"""Ten thousand rules: they load, and what is wrong with the last of them is named where it stands."""

from __future__ import annotations

import pytest

from watchdog.config import ConfigError, load

from .conftest import Write

MANY = 10_000


def rule(number: int, kpi: str = "errors") -> str:
    return f"  - name: rule-{number}\n    kpi: {kpi}\n    target: bot\n    crit: {{above: 5, for: 5m, plan: halt}}\n"


def test_ten_thousand_rules_fit_into_one_file(write: Write) -> None:
    folder = write({"rules/many.yaml": "rules:\n" + "".join(map(rule, range(MANY)))})

    assert len(load(folder, environ={}).rules) == MANY + 2


def test_a_mistake_in_the_last_of_ten_thousand_rules_is_named_in_its_line(write: Write) -> None:
    text = "rules:\n" + "".join(map(rule, range(MANY - 1))) + rule(MANY - 1, "erors")
    folder = write({"rules/many.yaml": text})
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={})

    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (4 * (MANY - 1) + 3, 10)
    assert problem.cure == "did you mean errors?"
