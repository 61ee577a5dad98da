"""Back to work in stages: each proven, the next only when quiet; one that trips is taken back, and the target latched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.rollback.rig import Rig, again, flag, halt, once, repair
from watchdog.actions.plan import write_plan
from watchdog.journal import runs
from watchdog.model import Target

QUIET = {"that": ["alive == 1"], "quiet": "2s", "give_up": "10s"}
STAGES = [
    {"name": "small", "steps": [flag("other.yaml", size=1), once("restarted")], "verify": QUIET},
    {"name": "trading", "steps": [flag(TRADING=True)], "verify": QUIET},
]


def resumed(rig: Rig, **said: Any) -> int:
    """A halt was resumed: its stages are to be carried out."""
    rig.plans["halt"] = halt(recover=STAGES, **said)
    place = rig.target()
    (place / "config.py").write_text((place / "config.py").read_text().replace("TRADING = True", "TRADING = False"))
    with rig.journal.write() as db:
        return runs.queue(
            db,
            incident=None,
            target="bot",
            plan="halt",
            kind="repair",
            text=write_plan(rig.plans["halt"]),
            place=Target(repo=str(place)).model_dump_json(include={"repo"}),
            by="person ann",
            now=rig.now,
            part="recover",
        )


def stages(rig: Rig, number: int) -> list[tuple[str, int, str]]:
    return [(step.phase, step.level, step.status) for step in rig.steps(number)]


def test_after_resume_each_stage_is_proven_before_the_next_one_starts(rig: Rig) -> None:
    number = resumed(rig)
    seen: list[tuple[str, int]] = []
    rig.that = lambda _: bool(seen.append((rig.config()["TRADING"], rig.now))) or True  # type: ignore[func-returns-value]

    rig.play()

    assert (rig.run(number).outcome, rig.latched()) == ("proven", None)
    assert stages(rig, number) == [("recover", 0, "done"), ("recover", 0, "done"), ("recover", 1, "done")]
    waited = [now for trading, now in seen if trading == "False"]
    assert waited[-1] - waited[0] >= 2_000
    assert rig.config()["TRADING"] == "True"


def test_a_stage_during_which_a_rule_trips_is_taken_back_and_the_target_is_latched(rig: Rig) -> None:
    number = resumed(rig)
    rig.trips = lambda: "drawdown" if rig.config()["TRADING"] == "True" else None

    rig.play()

    assert rig.run(number).outcome == "stopped"
    assert rig.run(number).reason == "stage trading: disproven: drawdown tripped; it was taken back"
    assert rig.config()["TRADING"] == "False"
    assert (rig.folder / "bot" / "other.yaml").read_text() == "size: 1\n"  # the stage before it stays
    assert "drawdown tripped" in (rig.latched() or "")
    assert any("stage trading goes back" in page for page in rig.pages())


def test_a_stage_that_cannot_be_proven_is_taken_back_with_its_restarts(rig: Rig) -> None:
    number = resumed(rig)
    rig.that = lambda _: None

    rig.play()

    assert rig.run(number).outcome == "stopped"
    assert (rig.folder / "bot" / "other.yaml").read_text() == "size: 5\n"
    assert next(step.say for step in rig.steps(number) if step.phase == "back").startswith("put back")
    assert len([step for step in rig.steps(number) if step.phase == "back"]) == 2


def test_a_halt_goes_ahead_of_the_way_back(rig: Rig) -> None:
    number = resumed(rig)

    def that(_: str) -> None:
        if rig.unended() == [number]:
            rig.queue("halt", incident=None)

    rig.that = that

    rig.play(number)

    assert rig.run(number).outcome == "overtaken"


def test_a_repair_goes_back_to_work_in_stages_after_it_helped(rig: Rig) -> None:
    rig.plans["ladder"] = repair(recover=[{"name": "size", "steps": [flag("other.yaml", size=9)], "verify": QUIET}])
    number = rig.queue()

    rig.play()

    assert rig.run(number).outcome == "proven"
    assert ("recover", 1, "done") in stages(rig, number)
    assert (rig.folder / "bot" / "other.yaml").read_text() == "size: 9\n"


def test_a_repair_whose_way_back_trips_stops_and_latches(rig: Rig) -> None:
    rig.plans["ladder"] = repair(recover=[{"name": "size", "steps": [flag("other.yaml", size=9)], "verify": QUIET}])
    rig.trips = lambda: "drawdown" if "9" in (rig.folder / "bot" / "other.yaml").read_text() else None
    number = rig.queue()

    rig.play()

    assert rig.run(number).outcome == "stopped"
    assert rig.latched() is not None
    assert (rig.folder / "bot" / "other.yaml").read_text() == "size: 1\n"


def trips_while_trading(rig: Rig) -> str | None:
    return "drawdown" if rig.config()["TRADING"] == "True" else None


@pytest.mark.parametrize("trips", [False, True])
def test_wherever_it_dies_the_end_is_the_same(folder: Callable[[], Path], trips: bool) -> None:
    for n in range(1, 60):
        rig = Rig(folder())
        number = resumed(rig)
        rig.trips = partial(trips_while_trading, rig) if trips else lambda: None
        rig.boundary.kill_at = n
        died = rig.dies()
        heir = again(rig)
        heir.trips = partial(trips_while_trading, heir) if trips else lambda: None
        heir.play()
        assert heir.run(number).outcome == ("stopped" if trips else "proven"), n
        assert heir.config()["TRADING"] == ("False" if trips else "True"), n
        assert heir.effects().count("restarted") == 1
        heir.journal.close()
        if not died:
            return
    raise AssertionError("it never came to its end alive")


def test_a_stage_says_how_long_all_must_be_quiet() -> None:
    with pytest.raises(ValidationError, match="stage small has no quiet"):
        halt(recover=[{"name": "small", "steps": [flag(TRADING=True)], "verify": {"that": ["alive == 1"]}}])
