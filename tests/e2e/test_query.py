"""The running watchdog answers questions about the samples it holds."""

from __future__ import annotations

import json

from tests.e2e.night import Night


def test_the_running_watchdog_answers_and_refuses_by_name(night: Night) -> None:
    night.watch()
    night.healthy()

    asked = night.command("query", "increase(beats_total[1s]) > 0", "--from", "now-2s", "--step", "1s", "--json")
    wrong = night.command("query", "avg_over_time(equity)")

    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert len(told["times"]) == 3
    assert told["series"][0]["labels"]["source"] == "bot"
    assert told["series"][0]["values"][-1] > 0
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr
