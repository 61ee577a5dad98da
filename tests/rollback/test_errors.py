"""Steps that fail: tried again, passed over, or the end of the plan, as the step says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.rollback.harness import RollbackHarness, flag_step, make_halt, make_repair, restart

FAILING_STEP: dict[str, Any] = {"do": "command", "run": ["false"]}


def flaky_step(needs: int) -> dict[str, Any]:
    """Fails until it was run so often."""
    return {"do": "command", "run": ["sh", "-c", f"echo ran >> effects; test $(wc -l < effects) -ge {needs}"]}


def single_level_repair(*steps: dict[str, Any], **said: Any) -> Any:
    return make_repair(
        before=[],
        levels=[{"name": "only", "steps": list(steps)}, {"name": "model", "steps": [flag_step(MODEL=1)]}],
        **said,
    )


def test_a_step_that_failed_is_tried_again_as_often_as_it_says_and_with_the_pause_it_says(
    harness: RollbackHarness,
) -> None:
    harness.plans["ladder"] = single_level_repair(
        flaky_step(3) | {"retries": 2, "retry_after": "10s"}, flag_step(MODEL=1)
    )
    number, began = harness.queue_run(), harness.now

    harness.run_to_end()

    assert harness.get_run(number).outcome == "proven"
    assert harness.effects() == ["ran"] * 3
    assert harness.steps(number)[0].tries == 3
    assert harness.now - began > 20_000


def test_retries_that_are_used_up_escalate(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = single_level_repair(flaky_step(9) | {"retries": 1})
    number = harness.queue_run()

    harness.run_to_end()

    assert harness.effects() == ["ran"] * 2
    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 1)


@pytest.mark.slow
def test_a_death_at_any_point_does_not_begin_to_count_the_tries_anew(make_folder: Callable[[], Path]) -> None:
    for n in range(1, 30):
        harness = RollbackHarness(make_folder())
        harness.plans["ladder"] = single_level_repair(flaky_step(9) | {"retries": 2})
        harness.queue_run()
        harness.crash_points.crash_after = n
        died = harness.crashes()
        heir = restart(harness)
        heir.run_to_end()
        assert len(heir.effects()) <= 3, n
        heir.journal.close()
        if not died:
            return
    raise AssertionError("no run of these came to its end alive")


def test_a_halt_does_not_wait_for_a_retry_of_a_repair(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = single_level_repair(FAILING_STEP | {"retries": 1, "retry_after": "1h"})
    number = harness.queue_run()

    async def play() -> None:
        harness.start_targets()
        await harness.advance_until(lambda: any(step.status == "failed" for step in harness.steps(number)))
        await harness.advance_until_ended(harness.queue_run("halt"), seconds=10)
        await harness.stop()

    asyncio.run(play())

    assert harness.get_run(number).outcome == "overtaken"


def test_continue_passes_over_a_step_that_failed(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = single_level_repair(FAILING_STEP | {"on_error": "continue"}, flag_step(MODEL=1))
    number = harness.queue_run()

    harness.run_to_end()

    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 0)
    assert [step.status for step in harness.steps(number)][:2] == ["failed", "done"]


def test_a_level_of_which_nothing_was_done_has_not_helped(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = single_level_repair(FAILING_STEP | {"on_error": "continue"})
    number = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(number).level == 1
    assert any(
        "nothing was changed: run false" in row["text"] for row in harness.journal.query("SELECT text FROM event")
    )


def test_stop_ends_the_plan_and_asks_a_person(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = single_level_repair(FAILING_STEP | {"on_error": "stop"})
    number = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(number).outcome == "stopped"
    assert harness.latch_reason() is not None
    assert any("stopped" in page for page in harness.critical_messages())


def test_a_halt_may_not_stop_half_way() -> None:
    with pytest.raises(ValidationError, match="does not stop half-way"):
        make_halt(
            levels=[{"name": "stop", "steps": [FAILING_STEP | {"on_error": "stop"}], "verify": {"run": ["true"]}}]
        )


def test_of_a_step_that_may_have_happened_nothing_is_tried_again(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = single_level_repair(
        {"do": "command", "run": ["sh", "-c", "echo ran >> effects; sleep 60"], "timeout": "300ms", "retries": 5}
    )
    number = harness.queue_run()

    harness.run_to_end()

    assert harness.effects() == ["ran"]
    assert harness.get_run(number).outcome == "stopped"
