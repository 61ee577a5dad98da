"""The running watchdog answers questions about the samples it holds."""

from __future__ import annotations

import json

from tests.e2e.harness import E2EHarness


def test_the_running_watchdog_answers_and_refuses_by_name(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()

    asked = harness.run_cli("query", "increase(beats_total[1s]) > 0", "--from", "now-2s", "--step", "1s", "--json")
    wrong = harness.run_cli("query", "avg_over_time(equity)")

    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert len(told["times"]) == 3
    assert told["series"][0]["labels"]["source"] == "bot"
    assert told["series"][0]["values"][-1] > 0
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr
