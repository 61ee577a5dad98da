"""A report on a night that is not over: the running watchdog is asked for what it alone knows, and the world for what is so."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.harness import E2EHarness, wait_until


def test_a_report_on_an_open_incident_knows_the_last_minute_and_what_is_still_off(harness: E2EHarness) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    harness.set_equity(800)
    wait_until(lambda: any(run["outcome"] for run in harness.list_runs()), why="the halt is over")

    told = _report(harness)

    assert told["lacks"] == []
    (drawdown,) = [line for line in told["lines"] if line["name"] == "drawdown"]
    assert drawdown["values"][-1] is not None
    assert max(value for value in drawdown["high"] if value is not None) >= 0.1
    assert [(one["how"], one["what"]) for one in told["standing"]] == [("off", "TRADING")]

    config = harness.repo / "config.py"
    config.write_text(config.read_text().replace("TRADING = False", "TRADING = True"))
    dog.terminate()
    assert dog.wait(30) == 0
    told = _report(harness)

    assert told["standing"] == []
    assert "What the watchdog did not write down: none runs." in told["lacks"]
    assert any(sentence.startswith("Samples of the last") for sentence in told["lacks"])
    assert told["lines"][0]["values"][-1] is None


def _report(harness: E2EHarness) -> dict[str, Any]:
    done = harness.run_cli("report", "1", "--json")
    assert done.returncode == 0, done.stderr
    known: dict[str, Any] = json.loads(done.stdout)
    return known
