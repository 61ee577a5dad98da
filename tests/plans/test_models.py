from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from watchdog.config.variables import fill
from watchdog.plans.models import Halt, Repair, effective_verify, parse_plan, serialize_plan

RULES = Path(__file__).parents[2] / "rules"
BOT = yaml.safe_load((RULES / "targets.yaml").read_text())["targets"]["bot"]["vars"]
SHIPPED = fill(
    yaml.safe_load((RULES / "plans.yaml").read_text())["plans"], BOT, BOT, lambda _, problem: pytest.fail(problem)
)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_plan_comes_back_from_the_journal_as_it_was_with_what_each_level_takes_from_it(name: str) -> None:
    kind = Repair if SHIPPED[name]["kind"] == "repair" else Halt
    plan = kind.model_validate(SHIPPED[name])

    back = parse_plan(serialize_plan(plan))

    assert back.model_dump() == plan.model_dump()
    assert [effective_verify(back, level) for level in back.levels] == [
        effective_verify(plan, level) for level in plan.levels
    ]


def test_a_level_that_says_only_how_long_to_settle_still_has_its_plans_conditions() -> None:
    (level, *_) = SHIPPED["rollback"]["levels"]
    shipped = {**SHIPPED["rollback"], "levels": [{**level, "verify": {"settle": "3m"}}]}
    back = parse_plan(serialize_plan(Repair.model_validate(shipped)))

    verify = effective_verify(back, back.levels[0])

    assert verify.settle == 180_000
    assert verify.that == tuple(shipped["verify"]["that"])
    assert verify.watch == 6 * 3_600_000
