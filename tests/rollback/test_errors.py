"""Steps that fail: tried again, passed over, or the end of the plan, as the step says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.rollback.rig import Rig, again, flag, halt, repair

BROKEN: dict[str, Any] = {"do": "command", "run": ["false"]}


def flaky(needs: int) -> dict[str, Any]:
    """Fails until it was run so often."""
    return {"do": "command", "run": ["sh", "-c", f"echo ran >> effects; test $(wc -l < effects) -ge {needs}"]}


def one_level(*steps: dict[str, Any], **said: Any) -> Any:
    return repair(
        before=[], levels=[{"name": "only", "steps": list(steps)}, {"name": "model", "steps": [flag(MODEL=1)]}], **said
    )


def test_a_step_that_failed_is_tried_again_as_often_as_it_says_and_with_the_pause_it_says(rig: Rig) -> None:
    rig.plans["ladder"] = one_level(flaky(3) | {"retries": 2, "retry_after": "10s"}, flag(MODEL=1))
    number, began = rig.queue(), rig.now

    rig.play()

    assert rig.run(number).outcome == "proven"
    assert rig.effects() == ["ran"] * 3
    assert rig.steps(number)[0].tries == 3
    assert rig.now - began > 20_000


def test_retries_that_are_used_up_escalate(rig: Rig) -> None:
    rig.plans["ladder"] = one_level(flaky(9) | {"retries": 1})
    number = rig.queue()

    rig.play()

    assert rig.effects() == ["ran"] * 2
    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 1)


def test_a_death_at_any_point_does_not_begin_to_count_the_tries_anew(folder: Callable[[], Path]) -> None:
    for n in range(1, 30):
        rig = Rig(folder())
        rig.plans["ladder"] = one_level(flaky(9) | {"retries": 2})
        rig.queue()
        rig.boundary.kill_at = n
        died = rig.dies()
        heir = again(rig)
        heir.play()
        assert len(heir.effects()) <= 3, n
        heir.journal.close()
        if not died:
            return
    raise AssertionError("no run of these came to its end alive")


def test_a_halt_does_not_wait_for_a_retry_of_a_repair(rig: Rig) -> None:
    rig.plans["ladder"] = one_level(BROKEN | {"retries": 1, "retry_after": "1h"})
    number = rig.queue()

    async def play() -> None:
        rig.tend()
        await rig.until(lambda: any(step.status == "failed" for step in rig.steps(number)))
        await rig.ended(rig.queue("halt"), seconds=10)
        await rig.stop()

    asyncio.run(play())

    assert rig.run(number).outcome == "overtaken"


def test_continue_passes_over_a_step_that_failed(rig: Rig) -> None:
    rig.plans["ladder"] = one_level(BROKEN | {"on_error": "continue"}, flag(MODEL=1))
    number = rig.queue()

    rig.play()

    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 0)
    assert [step.status for step in rig.steps(number)][:2] == ["failed", "done"]


def test_a_level_of_which_nothing_was_done_has_not_helped(rig: Rig) -> None:
    rig.plans["ladder"] = one_level(BROKEN | {"on_error": "continue"})
    number = rig.queue()

    rig.play()

    assert rig.run(number).level == 1
    assert any("nothing was changed: run false" in row["text"] for row in rig.journal.rows("SELECT text FROM event"))


def test_stop_ends_the_plan_and_asks_a_person(rig: Rig) -> None:
    rig.plans["ladder"] = one_level(BROKEN | {"on_error": "stop"})
    number = rig.queue()

    rig.play()

    assert rig.run(number).outcome == "stopped"
    assert rig.latched() is not None
    assert any("stopped" in page for page in rig.pages())


def test_a_halt_may_not_stop_half_way() -> None:
    with pytest.raises(ValidationError, match="does not stop half-way"):
        halt(levels=[{"name": "stop", "steps": [BROKEN | {"on_error": "stop"}], "verify": {"run": ["true"]}}])


def test_of_a_step_that_may_have_happened_nothing_is_tried_again(rig: Rig) -> None:
    rig.plans["ladder"] = one_level(
        {"do": "command", "run": ["sh", "-c", "echo ran >> effects; sleep 60"], "timeout": "300ms", "retries": 5}
    )
    number = rig.queue()

    rig.play()

    assert rig.effects() == ["ran"]
    assert rig.run(number).outcome == "stopped"
