"""Where judging meets restarts, reloads and warm memories: what is not seen proves nothing and starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.support.pipeline_harness import MAIN_YAML, MINUTE, RULES_YAML, SECOND, PipelineHarness
from watchdog.core.telemetry import Telemetry
from watchdog.journal import runs
from watchdog.journal.requests import Request
from watchdog.pipeline.check_tracker import machine_configs_of_trips
from watchdog.pipeline.pipeline import Pipeline
from watchdog.promql import Expr
from watchdog.rules.prove import ProofState, prove
from watchdog.rules.state_machine import StateKey

AVERAGE_RULES = RULES_YAML.replace("expr: error_ratio", "expr: 'avg_over_time(error_ratio[3s])'")
ERRORS_KEY = StateKey("errors", "crit", ())


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path)
    yield made
    made.journal.close()


def test_what_is_put_back_at_boot_starts_no_repair_until_this_process_has_seen_the_bot_itself(tmp_path: Path) -> None:
    """An average can be told from memory alone: the bot may be dead, or well, since."""
    harness = PipelineHarness(tmp_path, AVERAGE_RULES)
    harness.requests.hold_target("bot", 10 * MINUTE, "ann", harness.now)
    harness.rounds(5, error_ratio=0.5)
    assert harness.is_firing("errors")
    harness.requests.hold_target("bot", None, "ann", harness.now)
    seen = [(harness.now - age * SECOND, 0.5) for age in range(3, -1, -1)]
    harness.journal.close()
    harness.now += SECOND
    harness.open()
    harness.pipeline = Pipeline(
        harness.config,
        harness.journal,
        Telemetry("test"),
        harness.now,
        restore_history=lambda store, _: store.preload("bot", "error_ratio", (), seen, seen[0][0]),
    )
    harness.lost_sources = {"bot"}

    harness.round()

    assert harness.runs == []
    harness.lost_sources = set()
    harness.rounds(2)
    assert [run.plan for run in harness.runs] == ["ladder"]
    harness.journal.close()


def test_a_metric_that_its_source_no_longer_delivers_is_not_believed_at_the_pace_of_a_slower_source(
    tmp_path: Path,
) -> None:
    """A bot that stops saying its errors is not well for a quarter of an hour because a host is read every five minutes."""
    harness = PipelineHarness(
        tmp_path, AVERAGE_RULES.replace("[3s]", "[20s]"), MAIN_YAML.replace("host, every: 1s", "host, every: 5m")
    )
    harness.rounds(25)

    harness.rounds(6, error_ratio=float("nan"))

    known = [
        machine for key, machine in harness.pipeline.machines.items() if (key.rule, key.level) == ("errors", "crit")
    ]
    assert {machine.outcome for machine in known if machine.seen} == {"nodata"}
    harness.journal.close()


def test_nothing_is_proven_by_a_rule_that_was_renamed_while_its_plan_worked(harness: PipelineHarness) -> None:
    """Otherwise a repair would be proven by nothing at all, and the bot would trade again."""
    harness.rounds(5, error_ratio=0.5)
    harness.reload(RULES_YAML.replace("name: errors", "name: mistakes"))
    harness.rounds(2)

    asked = machine_configs_of_trips(harness.config.checks, harness.journal.incidents.list_trips(1), "bot")
    verdicts, that = harness.pipeline.gather_evidence("bot", asked, [], harness.now - SECOND, harness.now)
    trial, finding = prove(
        ProofState(since=harness.now, last=harness.now, well=True, quiet=10**9), asked, verdicts, that, 0, harness.now
    )

    assert finding is None
    assert trial.reason == "errors: nothing was read"


def test_a_rule_that_sleeps_neither_proves_nor_disproves_a_repair(tmp_path: Path) -> None:
    """The market closes during the watch, ticks cease as they should: that is no relapse that reverts a version."""
    harness = PipelineHarness(
        tmp_path, RULES_YAML.replace("plan: ladder}}", "plan: ladder}, only: {when: market_open == 1}}")
    )
    harness.rounds(5, error_ratio=0.5)
    harness.rounds(2, market_open=0)
    verdicts, _ = harness.pipeline.gather_evidence("bot", [ERRORS_KEY], [], harness.now - SECOND, harness.now)
    assert [(verdict.outcome, verdict.cleared) for verdict in verdicts] == [("nodata", False)]

    harness.rounds(2, error_ratio=0.01)
    verdicts, _ = harness.pipeline.gather_evidence("bot", [ERRORS_KEY], [], harness.now - SECOND, harness.now)
    assert [(verdict.outcome, verdict.cleared) for verdict in verdicts] == [("nodata", False)]
    harness.journal.close()


def test_a_rule_that_a_reload_gives_a_halt_is_judged_again_at_once_whatever_a_plan_at_work_disturbs(
    harness: PipelineHarness,
) -> None:
    harness.rounds(2)
    harness.pipeline.mute_rules("bot", ["errors"])
    harness.rounds(4, error_ratio=0.5)
    assert harness.runs == []
    harness.reload(RULES_YAML.replace("for: 2s, plan: ladder", "for: 2s, plan: halt"))

    harness.rounds(4)
    assert [run.plan for run in harness.runs] == ["halt"]

    harness.pipeline.mute_rules("bot", [])
    harness.pipeline.mute_rules("bot", ["errors", "drawdown"])  # a run that goes on after a restart knows the old file
    harness.rounds(2, equity=500)
    assert harness.is_firing("drawdown")


def test_resume_goes_back_to_work_from_the_halt_and_not_from_a_repair_that_never_began(tmp_path: Path) -> None:
    stages = (
        "  halt:\n    kind: halt\n    recover: [{name: small, steps: [{do: flag, file: config.py, set: {SIZE: 1}}],"
        " verify: {quiet: 1m}}]\n"
    )
    harness = PipelineHarness(tmp_path, RULES_YAML.replace("  halt:\n    kind: halt\n", stages))
    harness.rounds(2)
    harness.rounds(3, equity=800)
    (halting,) = harness.runs
    with harness.journal.transaction() as tx:
        tx.runs.start_step(
            runs.Step(halting.id, "level", 0, 0, "set", "done", {}, "", harness.now, harness.now, None, None)
        )
    harness.end_run(halting, "proven")
    with harness.journal.transaction() as tx:
        number = harness.pipeline.incident_manager.queue_run(
            tx, "bot", "ladder", "rule errors", harness.now, incident=1
        )
    harness.now += SECOND
    harness.end_run(harness.journal.runs.get_run(number), "overtaken")
    harness.rounds(2)

    granted, text = harness.requests.resume_target("bot", "ann", harness.now)

    assert granted
    assert "halt goes back to work in 1 stage" in text
    harness.journal.close()


def test_a_kpi_that_breaks_us_is_an_error_of_its_own_rules_and_halts_of_others_still_start(
    harness: PipelineHarness,
) -> None:
    harness.rounds(2)
    harness.pipeline._kpis._without_removed["error_ratio"] = cast(Expr, object())

    harness.rounds(2, equity=800)

    assert [run.plan for run in harness.runs] == ["halt"]
    (machine,) = [
        machine for key, machine in harness.pipeline.machines.items() if (key.rule, key.level) == ("errors", "crit")
    ]
    assert machine.outcome == "error"


def test_a_request_that_breaks_us_is_refused_and_does_not_come_back_each_second(harness: PipelineHarness) -> None:
    """It would keep the tick from telling systemd that we are alive, and the watchdog would be killed over and over."""
    request = Request(1, harness.now, "hold", {"target": "bot", "for": "two hours"}, "ann")

    granted, text = harness.requests.answer(request, harness.now)

    assert not granted
    assert "internal error" in text
