"""Levels and rows: what is tried, passed over and given up, in a ladder and in a halt."""

from __future__ import annotations

from typing import Any

from tests.rollback.rig import CONFIG, LADDER, START, Rig, dies_within, flag, halt, repair
from watchdog.model import ActionError

# ─ one run from its start to its end ─


def test_a_ladder_climbs_until_a_level_helps_and_trades_again_only_then(rig: Rig) -> None:
    run = rig.queue()

    rig.play()

    assert (rig.run(run).outcome, rig.run(run).level) == ("proven", 1)
    assert rig.did(run) == LADDER
    assert rig.config() == {"TRADING": "True", "FEATURE": "False", "MODEL": "1"}
    assert rig.latched() is None
    assert rig.told() == [
        "bot: ladder: level feature starts",
        "bot: ladder: level feature disproven, level version starts",
        "bot: ladder: level version proven",
        "bot: ladder proven",
    ]


def test_a_bot_does_not_trade_while_it_is_repaired(rig: Rig) -> None:
    trading = []
    rig.meddle = lambda verb, say: trading.append((verb, say, rig.config()["TRADING"]))
    rig.queue()

    rig.play()

    assert {now for verb, say, now in trading if verb == "apply" and "TRADING" not in say} == {"False"}


# ─ levels and rows ─


def test_a_level_whose_steps_all_hold_is_passed_over(rig: Rig) -> None:
    rig.target()
    (rig.folder / "bot" / "config.py").write_text(CONFIG.replace("FEATURE = True", "FEATURE = False"))
    run = rig.queue()

    rig.play()

    assert rig.did(run)[1] == ("level", 0, "set FEATURE = false in config.py", "skipped")
    assert (rig.run(run).outcome, rig.run(run).level) == ("proven", 1)


def test_a_level_that_cannot_be_done_is_followed_by_the_next_at_once(rig: Rig) -> None:
    levels = [{"name": "none", "steps": [flag("gone.py", X=1)]}, {"name": "version", "steps": [flag(MODEL=1)]}]
    rig.plans["ladder"] = repair(levels=levels)
    run = rig.queue()

    rig.play()

    assert [step[3] for step in rig.did(run)] == ["done", "failed", "done", "done"]
    (failed, following) = rig.steps(run)[1:3]
    assert (following.started or 0) - (failed.ended or 0) < 1_000
    assert rig.run(run).outcome == "proven"


def test_without_its_row_before_the_levels_no_level_is_tried(rig: Rig) -> None:
    rig.plans["ladder"] = repair(before=[flag("gone.py", TRADING=False)])
    run = rig.queue()

    rig.play()

    assert [step[0] for step in rig.did(run)] == ["before"]
    assert rig.run(run).outcome == "exhausted"
    assert rig.config() == {"TRADING": "False", "FEATURE": "True", "MODEL": "2"}  # the halt's own step
    assert rig.latched()
    assert "ladder exhausted" in rig.pages()[0]


def test_a_row_after_the_proof_that_fails_latches_and_pages(rig: Rig) -> None:
    rig.plans["ladder"] = repair(proven=[flag("gone.py", TRADING=True)])
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "stopped"
    assert rig.config() == {"TRADING": "False", "FEATURE": "False", "MODEL": "1"}
    assert "it is repaired, but set TRADING = true in gone.py" in (rig.latched() or "")
    assert "ladder stopped" in rig.pages()[-1]


def test_a_dry_run_changes_nothing_and_says_every_row(rig: Rig) -> None:
    rig.plans["ladder"] = repair(mode="dry-run", latch="always")
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "dry-run"
    assert rig.steps(run) == []
    assert rig.acts == []
    assert rig.latched() is None
    (lines,) = rig.journal.rows("SELECT lines FROM message WHERE title LIKE '%would run%'")
    assert lines[0] == (
        '["before: set TRADING = false in config.py","feature: set FEATURE = false in config.py",'
        '"version: set MODEL = 1 in config.py","version: set size = 1 in other.yaml",'
        '"proven: set TRADING = true in config.py"]'
    )


def test_a_step_that_does_not_fit_its_target_is_a_level_that_failed_and_no_mistake_of_ours(rig: Rig) -> None:
    """A person may run a plan on a target for which nobody has checked it."""
    levels = [
        {"name": "restart", "steps": [{"do": "systemd", "restart": "unit"}]},
        {"name": "version", "steps": [flag(MODEL=1)]},
    ]
    rig.plans["ladder"] = repair(levels=levels)
    run = rig.queue(by="person ada", incident=None)

    rig.play()

    assert (rig.run(run).outcome, rig.run(run).level) == ("proven", 1)


def test_somebody_elses_edit_between_two_levels_is_not_overwritten(rig: Rig) -> None:
    def meddle(verb: str, say: str) -> None:
        if verb == "state" and "FEATURE" in say and rig.now > START + 500:
            config = rig.folder / "bot" / "config.py"
            config.write_text(config.read_text().replace("FEATURE = False", "FEATURE = True"))

    rig.meddle = meddle
    run = rig.queue()

    rig.play()

    assert rig.run(run).outcome == "stopped"
    assert "somebody else is at work: set FEATURE = false in config.py was undone" in rig.pages()[-1]
    assert rig.config() == {"TRADING": "False", "FEATURE": "True", "MODEL": "2"}


# ─ halts ─


def two_levels(first: dict[str, Any]) -> Any:
    return halt(
        levels=[
            {"name": "close", "steps": [first], "verify": {"that": ["flat == 1"], "give_up": "3s"}},
            {
                "name": "stop",
                "steps": [flag("other.yaml", size=0)],
                "verify": {"that": ["alive == 1"], "give_up": "3s"},
            },
        ]
    )


def test_a_halt_whose_step_may_or_may_not_have_happened_goes_on_to_its_next_level(rig: Rig) -> None:
    def meddle(verb: str, say: str) -> None:
        if verb == "apply" and say == "run close-all":
            raise ActionError("close-all was ended: not done after 60 s", may_have_happened=True)

    rig.meddle = meddle
    rig.plans["halt"] = two_levels({"do": "command", "run": ["close-all"]})
    run = rig.queue("halt")

    rig.play()

    assert rig.did(run) == [
        ("level", 0, "run close-all", "unknown"),
        ("level", 1, "set size = 0 in other.yaml", "done"),
    ]
    assert (rig.run(run).outcome, rig.latched()) == ("proven", "halt halt")
    assert any("level close unknown" in title for title in rig.told())


def test_a_halt_that_was_cut_off_where_nobody_can_tell_goes_on_to_its_next_level(rig: Rig) -> None:
    rig.plans["halt"] = two_levels({"do": "command", "run": ["sh", "-c", "echo closed >> effects"]})
    run = rig.queue("halt")

    heir = dies_within(rig, "after run sh -c 'echo closed >> effects'")
    heir.play()

    assert heir.effects() == ["closed"]
    assert [step[3] for step in heir.did(run)] == ["unknown", "done"]
    assert heir.run(run).outcome == "proven"
    heir.journal.close()


def test_a_halt_goes_on_when_somebody_undoes_its_first_level(rig: Rig) -> None:
    def undo(text: str) -> bool:
        (rig.folder / "bot" / "config.py").write_text(CONFIG)
        return text == "alive == 1"

    rig.that = undo
    rig.plans["halt"] = two_levels(flag(TRADING=False))
    run = rig.queue("halt")

    rig.play()

    assert rig.did(run)[-1] == ("level", 1, "set size = 0 in other.yaml", "done")
    assert rig.run(run).outcome == "proven"


def test_a_halt_of_which_nothing_can_be_done_latches_and_pages(rig: Rig) -> None:
    rig.plans["halt"] = two_levels(flag("gone.py", TRADING=False))
    rig.that = lambda _: None
    run = rig.queue("halt")

    rig.play()

    assert rig.run(run).outcome == "exhausted"
    assert rig.latched() == "halt halt"
    assert "halt exhausted" in rig.pages()[-1]


def test_a_halt_that_is_so_already_is_verified_all_the_same(rig: Rig) -> None:
    rig.target()
    (rig.folder / "bot" / "config.py").write_text(CONFIG.replace("TRADING = True", "TRADING = False"))
    asked = []

    def that(text: str) -> bool:
        asked.append(text)
        return True

    rig.that = that
    run = rig.queue("halt")

    rig.play()

    assert [step[3] for step in rig.did(run)] == ["skipped"]
    assert asked == ["alive == 1"]
    assert (rig.run(run).outcome, rig.latched()) == ("proven", "halt halt")


def test_what_latched_a_target_first_stays_said_after_the_halt(rig: Rig) -> None:
    rig.errors = lambda _: "bad"
    rig.queue()

    rig.play()

    assert (rig.latched() or "").startswith("ladder exhausted: level version: errors: errors are bad")
    assert rig.config()["TRADING"] == "False"
