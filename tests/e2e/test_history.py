"""What the watchdog has seen outlives it."""

from __future__ import annotations

import json

from tests.e2e.harness import E2EHarness, wait_until


def test_a_restart_goes_on_with_warm_windows_and_the_past_can_be_asked_in_between(harness: E2EHarness) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    (count,) = _query(harness, "count_over_time(up{source='bot'}[1h])")
    dog.terminate()
    assert dog.wait(90) == 0

    between = harness.run_cli("query", "count_over_time(up{source='bot'}[1h])", "--json")
    harness.start_watchdog()
    (after,) = _query(harness, "count_over_time(up{source='bot'}[5m])")

    assert count > 0
    assert between.returncode == 0, between.stderr
    assert "series.db" in between.stderr
    assert json.loads(between.stdout)["series"][0]["values"][0] >= count
    assert after >= json.loads(between.stdout)["series"][0]["values"][0]
    metrics = harness.watchdog_metrics() or ""
    assert "watchdog_history_bytes " in metrics
    assert "watchdog_history_bytes 0.0" not in metrics
    status = harness.run_cli("status").stdout
    assert "history " in status
    assert " since " in status


def test_restarts_of_the_bot_are_counted_on_over_a_restart_of_the_watchdog(harness: E2EHarness) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    harness.restart_bot()
    wait_until(lambda: _query(harness, "process_restarts_total") == [1])
    dog.terminate()
    assert dog.wait(90) == 0

    dog = harness.start_watchdog()
    wait_until(lambda: _query(harness, "process_restarts_total") == [1])
    assert _query(harness, "max_over_time(process_restarts_total[1m])") == [1]
    dog.terminate()
    assert dog.wait(90) == 0
    harness.restart_bot()  # nobody watches

    harness.start_watchdog()
    wait_until(lambda: _query(harness, "process_restarts_total") == [2])


def test_a_damaged_file_is_set_aside_people_are_told_and_the_night_goes_on(harness: E2EHarness) -> None:
    state = harness.folder / "state"
    state.mkdir()
    (state / "series.db").write_bytes(b"not a database at all" * 500)

    harness.start_watchdog()
    harness.wait_until_healthy()

    assert len(list(state.glob("series.db.corrupt-*"))) == 1
    assert "was set aside" in harness.watchdog_log()
    wait_until(lambda: "watchdog_history_set_aside_total 1.0" in (harness.watchdog_metrics() or ""))
    wait_until(lambda: "history begins anew" in harness.watchdog_log())


def _query(harness: E2EHarness, expr: str) -> list[float]:
    done = harness.run_cli("query", expr, "--json")
    assert done.returncode == 0, done.stderr
    return [one["values"][-1] for one in json.loads(done.stdout)["series"]]
