"""What a latch holds, with a real bot, its real repository and a real watchdog: somebody deploys and starts it again at night."""

from __future__ import annotations

import os
import signal

from tests.e2e.harness import E2EHarness, wait_until
from tests.e2e.test_standing import EMERGENCY, target_status
from watchdog.journal import open_journal

UNDONE = "made safe is no longer so"
GRACE = ("{do: process, stop: process}", "{do: process, stop: process, grace: 2s}")


def start_halted(harness: E2EHarness, *, keep: bool) -> None:
    rules = harness.folder / "rules" / "toy.yaml"
    text = rules.read_text().replace("plans:\n", EMERGENCY, 1).replace(*GRACE)
    rules.write_text(
        text.replace("emergency:\n    kind: halt\n", f"emergency:\n    kind: halt\n    keep: {str(keep).lower()}\n")
    )
    harness.start_watchdog()
    harness.wait_until_healthy()
    halted = harness.run_cli("rollback", "emergency", "--reason", "the exchange is on fire", "--yes")
    assert halted.returncode == 0, halted.stderr
    assert harness.bot_pid() is None


def undone_events(harness: E2EHarness) -> list[str]:
    journal = open_journal(harness.folder / "state", migrate=False)
    try:
        return [event.text for event in journal.timeline.list_events_after(0, kind="undone")]
    finally:
        journal.close()


def test_a_reset_of_what_a_halt_has_set_is_told_and_changes_nothing_back(harness: E2EHarness) -> None:
    start_halted(harness, keep=False)

    harness.git("reset", "-q", "--hard")

    (event,) = wait_until(lambda: undone_events(harness))
    assert event.startswith(
        "undone: set TRADING = false in config.py: now TRADING = True (git reset: moving to HEAD, by Dev "
    )
    assert UNDONE in harness.watchdog_log()
    assert target_status(harness)["undone"] == ["no longer so: set TRADING = false in config.py"]
    assert "no longer so: set TRADING = false" in harness.run_cli("status").stdout
    assert "TRADING = True" in (harness.repo / "config.py").read_text()


def test_a_bot_that_was_started_while_the_watchdog_was_killed_is_stopped_again_where_the_plan_keeps_it(
    harness: E2EHarness,
) -> None:
    start_halted(harness, keep=True)
    dog = harness.watchdogs[-1]
    os.kill(dog.pid, signal.SIGKILL)
    dog.wait()
    harness.git("reset", "-q", "--hard")
    harness.restart_bot()
    assert harness.bot_pid() is not None

    harness.start_watchdog()

    wait_until(lambda: harness.bot_pid() is None, why="it is stopped again")
    wait_until(lambda: target_status(harness)["plan"] is None)
    assert "TRADING = False" in (harness.repo / "config.py").read_text()
    assert target_status(harness)["latched"]
    told = undone_events(harness)
    assert [text.split(":")[1].strip() for text in told if text.startswith("undone")] == [
        "set TRADING = false in config.py",
        "stop the process",
    ]
    wait_until(lambda: target_status(harness)["undone"] == [])
