"""The sources `systemd` and `process` with a real systemd. See watched_units.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.sandbox import ScenarioResults, all_at_once

pytestmark = pytest.mark.systemd

Values = dict[str, float]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScenarioResults]:
    with all_at_once(("watched_units",), tmp_path_factory, "watched_units") as started:
        yield started["watched_units"].wait_for_results()


@pytest.fixture(scope="module")
def units(told: ScenarioResults) -> dict[str, Values]:
    found: dict[str, Values] = told["all"]
    return found


def test_a_unit_that_runs_is_active_since_a_moment_ago(units: dict[str, Values]) -> None:
    found = units["limited.service"]

    assert [found[word] for word in ("known", "loaded", "masked", "active", "failed")] == [1, 1, 0, 1, 0]
    assert 0 <= found["state_age_seconds"] < 60
    assert found["start_time_seconds"] == found["state_change_time_seconds"]
    assert found["tasks"] == 1


def test_a_unit_with_a_limit_tells_its_memory_as_a_share_of_it(units: dict[str, Values]) -> None:
    found = units["limited.service"]

    assert found["memory_limit_bytes"] in (64 << 20, 32 << 20)  # since systemd 256 it knows of the slice's
    assert found["memory_limit_ratio"] == found["memory_bytes"] / found["memory_limit_bytes"]


def test_a_process_finds_the_limit_of_the_slice_around_its_unit(told: ScenarioResults) -> None:
    assert told["limited process"]["process_memory_limit_bytes"] == 32 << 20
    assert 0 < told["limited process"]["process_memory_limit_ratio"] < 1
    assert told["limited process"]["process_oom_kills_total"] == 0


def test_a_service_with_a_watchdog_tells_how_long_ago_it_said_that_it_lives(units: dict[str, Values]) -> None:
    assert units["alive.service"]["watchdog_limit_seconds"] == 100
    assert 0 <= units["alive.service"]["watchdog_age_seconds"] < 60
    assert "watchdog_limit_seconds" not in units["limited.service"]


def test_a_unit_that_failed_one_that_is_restarted_for_ever_and_one_with_a_broken_file(units: dict[str, Values]) -> None:
    assert [units["failing.service"][word] for word in ("active", "failed", "result_success")] == [0, 1, 0]
    assert units["crashing.service"]["restarts_total"] > 1
    assert [units["broken.service"][word] for word in ("known", "loaded", "masked")] == [1, 0, 0]
    assert units["nowhere.service"] == {"known": 0}


def test_a_timer_tells_when_it_ran_and_one_that_has_not_run_since_when_it_waits(units: dict[str, Values]) -> None:
    ran, waits = units["backup.timer"], units["idle.timer"]

    assert ran["timer_last_trigger_time_seconds"] >= ran["start_time_seconds"]
    assert ran["timer_next_elapse_time_seconds"] > ran["timer_last_trigger_time_seconds"]
    assert ran["timer_overdue_seconds"] == waits["timer_overdue_seconds"] == 0
    assert "timer_last_trigger_time_seconds" not in waits
    assert 0 <= waits["timer_idle_seconds"] < 60
    assert waits["timer_next_elapse_time_seconds"] == pytest.approx(waits["start_time_seconds"] + 3_600, abs=5)


def test_a_masked_unit_is_masked(told: ScenarioResults) -> None:
    found = told["masked"]["alive.service"]

    assert [found[word] for word in ("known", "masked", "loaded", "active")] == [1, 1, 0, 0]


def test_a_pattern_finds_what_is_loaded(told: ScenarioResults) -> None:
    assert told["by pattern"] == ["backup.timer", "limited.service"]


def test_a_container_that_is_not_there_is_told(told: ScenarioResults) -> None:
    assert "does machinectl list show nowhere?" in told["no such machine"]


def test_the_manager_of_another_user_is_asked_by_that_users_worker(told: ScenarioResults) -> None:
    assert "enable-linger botuser" in told["user manager, not there"]
    assert told["user manager"]["basic.target"]["active"] == 1
    assert told["user manager"]["nowhere.service"] == {"known": 0}
