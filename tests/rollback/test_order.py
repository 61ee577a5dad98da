"""Who goes first: halts, and what they overtake; several targets; runs that cannot be carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.rollback.rig import CUT, NO_ENTRIES, START, Rig, dies_within, repair
from watchdog.journal import runs

# ─ who goes first ─


async def overtaken(rig: Rig, run: int, when: Callable[[], object], *, plan: str = "halt") -> int:
    """A halt is queued as soon as it is `when`; both runs come to their ends. Returns the halt."""
    rig.tend()
    await rig.until(when)
    halting = rig.queue(plan, by="rule drawdown")
    queued = rig.now
    await rig.ended(run, halting)
    await rig.stop()
    assert not [step for step in rig.steps(run) if (step.started or 0) > queued]
    return halting


WAITS: dict[str, tuple[str, Callable[[Rig], object]]] = {
    "it settles": ("settle", lambda rig: len(rig.acts) == 2),
    "it waits for proof": ("verify", lambda rig: rig.now > START + 5_000),
    "it watches": ("watch", lambda rig: rig.run(1).status == "watching"),
}


@pytest.mark.parametrize("phase", WAITS)
def test_a_halt_overtakes_a_repair_while(rig: Rig, phase: str) -> None:
    key, when = WAITS[phase]
    rig.errors = lambda _: "nodata" if key == "verify" else "ok"
    verify = {"settle": "1m" if key == "settle" else "1s", "quiet": "1s", "give_up": "10m", "watch": "1h"}
    rig.plans["ladder"] = repair(verify=verify)
    run = rig.queue()

    halting = asyncio.run(overtaken(rig, run, lambda: when(rig)))

    assert rig.run(run).outcome == "overtaken"
    assert rig.run(halting).outcome == "proven"
    assert (rig.run(halting).ended or 0) - rig.run(halting).queued < 2_000
    assert rig.config()["TRADING"] == "False"
    assert rig.config()["MODEL"] == "2"
    assert rig.latched() == "halt halt"


def test_a_halt_that_comes_while_a_step_looks_around_goes_before_that_step(rig: Rig) -> None:
    def meddle(verb: str, say: str) -> None:
        if verb == "before" and "MODEL" in say:
            rig.meddle = lambda *_: None
            rig.queue("halt", by="rule drawdown")

    rig.meddle = meddle
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "overtaken"
    assert rig.config() == {"TRADING": "False", "FEATURE": "False", "MODEL": "2"}
    assert rig.acts[-1] == "set TRADING = false in config.py" or len(rig.acts) == 2


@pytest.mark.parametrize("incident", [-1, None], ids=["of a rule", "of a person"])
def test_a_repair_that_waits_while_a_halt_runs_does_not_run_afterwards(rig: Rig, incident: int | None) -> None:
    waits = rig.queue(by="rule errors" if incident else "person ada", incident=incident)
    halting = rig.queue("halt")

    rig.play()

    assert rig.run(halting).outcome == "proven"
    assert (rig.run(waits).outcome, rig.run(waits).reason) == ("overtaken", "latched meanwhile: halt halt")
    assert rig.steps(waits) == []
    assert rig.config()["FEATURE"] == "True"
    assert "bot: ladder overtaken" in rig.told()


@pytest.mark.parametrize("incident", [-1, None], ids=["of a rule", "of a person"])
@pytest.mark.parametrize(("cut", "status"), [("before", "failed"), ("after", "done")])
def test_at_boot_a_halt_goes_before_a_repair_that_was_cut_off_and_which_then_ends(
    rig: Rig, cut: str, status: str, incident: int | None
) -> None:
    run = rig.queue(by="rule errors" if incident else "person ada", incident=incident)
    heir = dies_within(rig, f"{cut} set FEATURE = false in config.py")
    halting = heir.queue("halt")

    heir.play()

    assert heir.run(halting).outcome == "proven"
    assert heir.run(run).outcome == "overtaken"
    assert heir.did(run)[-1] == ("level", 0, "set FEATURE = false in config.py", status)
    assert heir.acts == []  # the row before the levels has stopped trading already
    heir.journal.close()


def test_at_boot_a_cut_off_step_of_an_overtaken_repair_that_nobody_can_tell_is_paged(rig: Rig) -> None:
    run = rig.queue()
    heir = dies_within(rig, CUT)
    config = heir.folder / "bot" / "config.py"
    config.write_text(config.read_text().replace("FEATURE = True", "FEATURE = 7"))
    halting = heir.queue("halt")

    heir.play()

    assert heir.run(halting).outcome == "proven"
    assert heir.run(run).outcome == "stopped"
    assert heir.did(run)[-1][3] == "unknown"
    assert "set FEATURE = false in config.py was cut off by a crash, and the world is other" in heir.pages()[-1]
    heir.journal.close()


def test_a_repair_of_a_person_that_waits_does_not_run_once_the_first_one_has_latched(rig: Rig) -> None:
    rig.errors = lambda _: "bad"
    rig.plans["ladder"] = repair(exhausted="leave-running")
    first, second = rig.queue(), rig.queue(by="person ada", incident=None)
    with rig.journal.write() as db:
        runs.move(db, first, status="running")

    rig.play()

    assert rig.run(first).outcome == "exhausted"
    assert rig.run(second).outcome == "overtaken"
    assert rig.steps(second) == []


def test_two_plans_that_trip_in_one_tick_start_with_the_halt(rig: Rig) -> None:
    run, halting = rig.queue(), rig.queue("halt")
    began = []
    rig.meddle = lambda _, say: began.append(say)

    rig.play()

    assert began[0] == "set TRADING = false in config.py"
    assert rig.did(halting) == [NO_ENTRIES]
    assert rig.did(run) == []


def test_two_targets_are_repaired_at_once(rig: Rig) -> None:
    rig.plans["slow"] = repair(verify={"settle": "1h", "quiet": "1s", "give_up": "2h"})
    slow, quick = rig.queue("slow", "one"), rig.queue("ladder", "two")

    rig.play(quick)

    assert rig.run(quick).outcome == "proven"
    assert rig.run(slow).status == "running"
    assert len(rig.steps(slow)) == 2


def test_a_plan_text_that_cannot_be_read_stops_its_run_and_nothing_else(rig: Rig) -> None:
    strange, other = rig.queue(text='{"kind": "ramp"}'), rig.queue(target="other")
    rig.play()
    halting = rig.queue("halt")
    rig.play()

    assert rig.run(strange).outcome == "stopped"
    assert (rig.latched() or "").startswith("ladder stopped: its text in the journal cannot be read")
    assert any("ladder stopped" in page for page in rig.pages())
    assert rig.run(other).outcome == "proven"
    assert rig.run(halting).outcome == "proven"
    assert rig.config()["TRADING"] == "False"


def test_a_mistake_in_an_action_stops_the_run_with_nothing_left_open(rig: Rig) -> None:
    def meddle(verb: str, say: str) -> None:
        if verb == "apply" and "FEATURE" in say:
            raise ZeroDivisionError

    rig.meddle = meddle
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "stopped"
    assert "internal error: ZeroDivisionError" in rig.run(run).reason
    assert rig.did(run)[-1][3] == "unknown"
    assert rig.latched()
