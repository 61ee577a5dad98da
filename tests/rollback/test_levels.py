"""Levels and rows: what is tried, passed over and given up, in a ladder and in a halt."""

from __future__ import annotations

import subprocess
from typing import Any

from tests.rollback.harness import (
    CONFIG_PY,
    LADDER_STEPS,
    START,
    RollbackHarness,
    command_step,
    crash_at_point,
    flag_step,
    make_halt,
    make_repair,
)
from watchdog.core.errors import ActionError

# ─ one run from its start to its end ─


def test_a_ladder_climbs_until_a_level_helps_and_trades_again_only_then(harness: RollbackHarness) -> None:
    run = harness.queue_run()

    harness.run_to_end()

    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 1)
    assert harness.step_outcomes(run) == LADDER_STEPS
    assert harness.config_values() == {"TRADING": "True", "FEATURE": "False", "MODEL": "1"}
    assert harness.latch_reason() is None
    assert harness.message_titles() == [
        "bot: ladder: level feature disproven, level version starts",
        "bot: ladder proven",
    ]


def test_what_a_repair_did_is_its_own_doing_as_soon_as_it_only_watches(harness: RollbackHarness) -> None:
    harness.queue_run()

    harness.run_to_end()

    assert harness.ended_targets == ["bot", "bot"]  # as the watch began, and as it ended


def test_a_bot_does_not_trade_while_it_is_repaired(harness: RollbackHarness) -> None:
    trading = []
    harness.before_call = lambda verb, say: trading.append((verb, say, harness.config_values()["TRADING"]))
    harness.queue_run()

    harness.run_to_end()

    assert {now for verb, say, now in trading if verb == "apply" and "TRADING" not in say} == {"False"}


# ─ levels and rows ─


def test_a_level_whose_steps_all_hold_is_passed_over(harness: RollbackHarness) -> None:
    harness.make_target()
    (harness.folder / "bot" / "config.py").write_text(CONFIG_PY.replace("FEATURE = True", "FEATURE = False"))
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.step_outcomes(run)[1] == ("level", 0, "set FEATURE = false in config.py", "skipped")
    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 1)


def test_a_level_that_cannot_be_done_is_followed_by_the_next_at_once(harness: RollbackHarness) -> None:
    levels = [
        {"name": "none", "steps": [flag_step("gone.py", X=1)]},
        {"name": "version", "steps": [flag_step(MODEL=1)]},
    ]
    harness.plans["ladder"] = make_repair(levels=levels)
    run = harness.queue_run()

    harness.run_to_end()

    assert [step[3] for step in harness.step_outcomes(run)] == ["done", "failed", "done", "done"]
    (failed, following) = harness.steps(run)[1:3]
    assert (following.started or 0) - (failed.ended or 0) < 1_000
    assert harness.get_run(run).outcome == "proven"


def test_without_its_row_before_the_levels_no_level_is_tried(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(before=[flag_step("gone.py", TRADING=False)])
    run = harness.queue_run()

    harness.run_to_end()

    assert [step[0] for step in harness.step_outcomes(run)] == ["before"]
    assert harness.get_run(run).outcome == "exhausted"
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "True", "MODEL": "2"}  # the halt's own step
    assert harness.latch_reason()
    assert "ladder exhausted" in harness.critical_messages()[0]


def test_a_row_after_the_proof_that_fails_latches_and_pages(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(proven=[flag_step("gone.py", TRADING=True)])
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "stopped"
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "False", "MODEL": "1"}
    assert "it is repaired, but set TRADING = true in gone.py" in (harness.latch_reason() or "")
    assert "ladder stopped" in harness.critical_messages()[-1]


def test_a_dry_run_changes_nothing_and_says_every_row(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = make_repair(mode="dry-run", latch="always")
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "dry-run"
    assert harness.steps(run) == []
    assert harness.applied_steps == []
    assert harness.latch_reason() is None
    (lines,) = harness.journal.query("SELECT lines FROM message WHERE title LIKE '%would run%'")
    assert lines[0] == (
        '["before: set TRADING = false in config.py","feature: set FEATURE = false in config.py",'
        '"version: set MODEL = 1 in config.py","version: set size = 1 in other.yaml",'
        '"proven: set TRADING = true in config.py"]'
    )


def test_a_step_that_does_not_fit_its_target_is_a_level_that_failed_and_no_mistake_of_ours(
    harness: RollbackHarness,
) -> None:
    """A person may run a plan on a target for which nobody has checked it."""
    levels = [
        {"name": "restart", "steps": [{"do": "systemd", "restart": "unit"}]},
        {"name": "version", "steps": [flag_step(MODEL=1)]},
    ]
    harness.plans["ladder"] = make_repair(levels=levels)
    run = harness.queue_run(by="person ada", incident=None)

    harness.run_to_end()

    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 1)


def test_somebody_elses_edit_between_two_levels_is_not_overwritten(harness: RollbackHarness) -> None:
    def meddle(verb: str, say: str) -> None:
        if verb == "state" and "FEATURE" in say and harness.now > START + 500:
            config = harness.folder / "bot" / "config.py"
            config.write_text(config.read_text().replace("FEATURE = False", "FEATURE = True"))

    harness.before_call = meddle
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(run).outcome == "stopped"
    assert "somebody else is at work: set FEATURE = false in config.py was undone" in harness.critical_messages()[-1]
    assert harness.config_values() == {"TRADING": "False", "FEATURE": "True", "MODEL": "2"}


# ─ halts ─


def two_level_repair(first: dict[str, Any]) -> Any:
    return make_halt(
        levels=[
            {"name": "close", "steps": [first], "verify": {"that": ["flat == 1"], "give_up": "3s"}},
            {
                "name": "stop",
                "steps": [flag_step("other.yaml", size=0)],
                "verify": {"that": ["alive == 1"], "give_up": "3s"},
            },
        ]
    )


def test_a_halt_whose_step_may_or_may_not_have_happened_goes_on_to_its_next_level(harness: RollbackHarness) -> None:
    def meddle(verb: str, say: str) -> None:
        if verb == "apply" and say == "run sh close-all":
            raise ActionError("close-all was ended: not done after 60 s", may_have_happened=True)

    harness.before_call = meddle
    harness.plans["halt"] = two_level_repair({"do": "command", "run": ["sh", "close-all"]})
    run = harness.queue_run("halt")

    harness.run_to_end()

    assert harness.step_outcomes(run) == [
        ("level", 0, "run sh close-all", "unknown"),
        ("level", 1, "set size = 0 in other.yaml", "done"),
    ]
    assert (harness.get_run(run).outcome, harness.latch_reason()) == ("proven", "halt")
    assert any("level close unknown" in title for title in harness.message_titles())


def test_a_halt_that_was_cut_off_where_nobody_can_tell_goes_on_to_its_next_level(harness: RollbackHarness) -> None:
    harness.plans["halt"] = two_level_repair({"do": "command", "run": ["sh", "-c", "echo closed >> effects"]})
    run = harness.queue_run("halt")

    heir = crash_at_point(harness, "after run sh -c 'echo closed >> effects'")
    heir.run_to_end()

    assert heir.effects() == ["closed"]
    assert [step[3] for step in heir.step_outcomes(run)] == ["unknown", "done"]
    assert heir.get_run(run).outcome == "proven"
    heir.journal.close()


def test_a_halt_goes_on_when_somebody_undoes_its_first_level(harness: RollbackHarness) -> None:
    def undo(text: str) -> bool:
        (harness.folder / "bot" / "config.py").write_text(CONFIG_PY)
        return text == "alive == 1"

    harness.condition_result = undo
    harness.plans["halt"] = two_level_repair(flag_step(TRADING=False))
    run = harness.queue_run("halt")

    harness.run_to_end()

    assert harness.step_outcomes(run)[-1] == ("level", 1, "set size = 0 in other.yaml", "done")
    assert harness.get_run(run).outcome == "proven"


def test_a_halt_of_which_nothing_can_be_done_latches_and_pages(harness: RollbackHarness) -> None:
    harness.plans["halt"] = two_level_repair(flag_step("gone.py", TRADING=False))
    harness.condition_result = lambda _: None
    run = harness.queue_run("halt")

    harness.run_to_end()

    assert harness.get_run(run).outcome == "exhausted"
    assert harness.latch_reason() == "halt"
    assert "halt exhausted" in harness.critical_messages()[-1]


def test_a_halt_that_is_so_already_is_verified_all_the_same(harness: RollbackHarness) -> None:
    harness.make_target()
    (harness.folder / "bot" / "config.py").write_text(CONFIG_PY.replace("TRADING = True", "TRADING = False"))
    asked = []

    def that(text: str) -> bool:
        asked.append(text)
        return True

    harness.condition_result = that
    run = harness.queue_run("halt")

    harness.run_to_end()

    assert [step[3] for step in harness.step_outcomes(run)] == ["skipped"]
    assert asked == ["alive == 1"]
    assert (harness.get_run(run).outcome, harness.latch_reason()) == ("proven", "halt")


def test_what_latched_a_target_first_stays_said_after_the_halt(harness: RollbackHarness) -> None:
    harness.errors_outcome = lambda _: "bad"
    harness.queue_run()

    harness.run_to_end()

    assert (harness.latch_reason() or "").startswith("ladder exhausted: level version: errors: errors are bad")
    assert harness.config_values()["TRADING"] == "False"


# ─ versions that are not deployed ─


def reset_repo(harness: RollbackHarness, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *words], cwd=harness.folder / "bot", check=True)


def test_a_level_whose_version_is_not_deployed_is_never_said_to_have_helped(harness: RollbackHarness) -> None:
    """Whatever it does besides: a restart might look like the cure, and the bad version would run on."""
    harness.deploy_v2("FEATURE = True", "FEATURE = False")
    reset_repo(harness, "reset", "-q", "--hard", "HEAD~1")
    reset_repo(harness, "commit", "-q", "--allow-empty", "-m", "another way")
    harness.errors_outcome = lambda config: "bad" if config["MODEL"] == "2" and not harness.effects() else "ok"
    steps = [{"do": "git", "revert": "v2"}, command_step("restarted")]
    last = {"name": "model", "steps": [flag_step(MODEL=1)]}
    harness.plans["ladder"] = make_repair(levels=[{"name": "version", "steps": steps}, last], before=[], proven=[])
    run = harness.queue_run()

    harness.run_to_end()

    assert harness.step_outcomes(run) == [
        ("level", 0, "git revert v2", "skipped"),
        ("level", 1, "set MODEL = 1 in config.py", "done"),
    ]
    assert harness.effects() == []
    assert (harness.get_run(run).outcome, harness.get_run(run).level) == ("proven", 1)
    (told, *_) = harness.journal.query("SELECT lines FROM message ORDER BY id")
    assert "git revert v2: not deployed now, so there is nothing to take back" in told["lines"]


def test_of_several_versions_in_one_level_those_that_are_deployed_are_taken_back(harness: RollbackHarness) -> None:
    harness.deploy_v2("MODEL = 2", "MODEL = 3")
    reset_repo(harness, "switch", "-q", "-c", "other", "HEAD~1")
    reset_repo(harness, "commit", "-q", "--allow-empty", "-m", "other")
    reset_repo(harness, "tag", "v3")
    reset_repo(harness, "switch", "-q", "main")
    harness.errors_outcome = lambda config: "bad" if config["MODEL"] == "3" else "ok"
    steps = [{"do": "git", "revert": "v3"}, {"do": "git", "revert": "v2"}, command_step("restarted")]
    harness.plans["ladder"] = make_repair(levels=[{"name": "version", "steps": steps}], before=[], proven=[])
    run = harness.queue_run()

    harness.run_to_end()

    assert [status for *_, status in harness.step_outcomes(run)] == ["skipped", "done", "done"]
    assert harness.get_run(run).outcome == "proven"


def test_a_halt_goes_on_to_its_next_step_whatever_is_deployed(harness: RollbackHarness) -> None:
    harness.deploy_v2("FEATURE = True", "FEATURE = False")
    reset_repo(harness, "reset", "-q", "--hard", "HEAD~1")
    steps = [{"do": "git", "revert": "v2"}, command_step("stopped")]
    level = {"name": "stop", "steps": steps, "verify": {"that": ["alive == 1"], "give_up": "5s"}}
    harness.plans["halt"] = make_halt(levels=[level])
    run = harness.queue_run("halt")

    harness.run_to_end()

    assert (harness.effects(), harness.get_run(run).outcome) == (["stopped"], "proven")


def test_what_failed_and_was_passed_over_is_told_beside_the_proof(harness: RollbackHarness) -> None:
    harness.deploy_v2("FEATURE = True", "FEATURE = False")
    steps = [{"do": "git", "revert": "v9", "on_error": "continue"}, flag_step(MODEL=1)]
    harness.plans["ladder"] = make_repair(levels=[{"name": "version", "steps": steps}], before=[], proven=[])
    run = harness.queue_run()

    harness.run_to_end()

    told = harness.journal.query("SELECT text FROM event WHERE run = ? AND text LIKE '%level version proven%'", run)
    assert "passed over: git revert v9: " in told[0]["text"]
