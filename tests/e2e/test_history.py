"""What the watchdog has seen outlives it."""

from __future__ import annotations

import json

from tests.e2e.night import Night, until


def test_a_restart_goes_on_with_warm_windows_and_the_past_can_be_asked_in_between(night: Night) -> None:
    dog = night.watch()
    night.healthy()
    (count,) = _asked(night, "count_over_time(up{source='bot'}[1h])")
    dog.terminate()
    assert dog.wait(30) == 0

    between = night.command("query", "count_over_time(up{source='bot'}[1h])", "--json")
    night.watch()
    (after,) = _asked(night, "count_over_time(up{source='bot'}[5m])")

    assert count > 0
    assert between.returncode == 0, between.stderr
    assert "series.db" in between.stderr
    assert json.loads(between.stdout)["series"][0]["values"][0] >= count
    assert after >= json.loads(between.stdout)["series"][0]["values"][0]
    metrics = night.metrics() or ""
    assert "watchdog_history_bytes " in metrics
    assert "watchdog_history_bytes 0.0" not in metrics
    status = night.command("status").stdout
    assert "history " in status
    assert " since " in status


def test_a_damaged_file_is_set_aside_people_are_told_and_the_night_goes_on(night: Night) -> None:
    state = night.folder / "state"
    state.mkdir()
    (state / "series.db").write_bytes(b"not a database at all" * 500)

    night.watch()
    night.healthy()

    assert len(list(state.glob("series.db.corrupt-*"))) == 1
    assert "was set aside" in night.log()
    until(lambda: "watchdog_history_set_aside_total 1.0" in (night.metrics() or ""))
    until(lambda: "history begins anew" in night.log())


def _asked(night: Night, expr: str) -> list[float]:
    done = night.command("query", expr, "--json")
    assert done.returncode == 0, done.stderr
    return [one["values"][-1] for one in json.loads(done.stdout)["series"]]
