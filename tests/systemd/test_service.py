"""The shipped unit files, as they are, in a real systemd. See scenarios.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.sandbox import ScenarioResults, SystemdSandbox, all_at_once

pytestmark = pytest.mark.systemd


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SystemdSandbox]]:
    with all_at_once(("service", "ladder", "falls", "units"), tmp_path_factory) as started:
        yield started


@pytest.fixture(scope="module")
def service(sandboxes: dict[str, SystemdSandbox]) -> ScenarioResults:
    return sandboxes["service"].wait_for_results()


@pytest.fixture(scope="module")
def ladder(sandboxes: dict[str, SystemdSandbox]) -> ScenarioResults:
    return sandboxes["ladder"].wait_for_results()


@pytest.fixture(scope="module")
def falls(sandboxes: dict[str, SystemdSandbox]) -> ScenarioResults:
    return sandboxes["falls"].wait_for_results()


@pytest.fixture(scope="module")
def units(sandboxes: dict[str, SystemdSandbox]) -> ScenarioResults:
    return sandboxes["units"].wait_for_results()


# ─ the service ─


def test_systemd_finds_nothing_to_say_about_the_unit_file(service: ScenarioResults) -> None:
    assert service["systemd-analyze verify"] == ""


def test_the_service_is_active_when_it_says_so_and_not_before(service: ScenarioResults) -> None:
    begun, active, answers, same_process = service["start"]

    assert service["before READY=1"] == ["activating", "start"]
    assert (begun, active) == (0, "active")
    assert same_process
    assert answers == 200


def test_systemd_is_told_what_is_watched_and_every_so_often_that_the_daemon_lives(service: ScenarioResults) -> None:
    assert service["StatusText"] == "watching 2 rules"
    assert service["WatchdogUSec"] == "30s"
    assert service["said to be alive"]


def test_the_state_lies_where_systemd_says_when_the_files_do_not_say(service: ScenarioResults) -> None:
    mode, files = service["state folder"]

    assert mode == "0o700"
    assert {"journal.db", "lock"} <= set(files)


def test_a_good_reload_is_in_force_in_the_same_process(service: ScenarioResults) -> None:
    assert service["reload"] == 0
    assert service["after a good reload"] == [1, True]


def test_a_broken_reload_changes_nothing_and_says_where(service: ScenarioResults) -> None:
    limit, same_process, status = service["after a broken reload"]

    assert (limit, same_process) == (0.2, True)
    assert status == "watching 2 rules; the files on disk have errors and are not in force"
    (line,) = [line for line in service["log of a broken reload"] if line.startswith("ERROR ")]
    assert line.startswith(f"ERROR not reloaded: {service['broken line']}")
    assert "parsecs" in line


def test_the_log_tells_systemd_what_is_serious(service: ScenarioResults) -> None:
    assert service["levels at priority warning"] == ["ERROR", "WARNING"]


def test_files_that_were_mended_are_reloaded(service: ScenarioResults) -> None:
    assert service["after a mended reload"] == [0.15, "watching 2 rules"]


def test_a_bot_started_by_the_watchdog_stands_on_its_own_feet(service: ScenarioResults) -> None:
    code, outcome, said = service["rollback by hand"]

    assert (code, outcome) == (0, "proven"), said
    assert service["bot is its user's"] == ["botuser", True]
    assert service["bot is in the worker's control group"]  # it is KillMode= that saves it
    assert service["bot's environment"] == ["TRADING_WATCHDOG_BOT"]  # the mark by which what it begins is known
    assert service["oom_score_adj of watchdog and bot"] == ["500", "0"]


def test_kill_nine_of_the_watchdog_is_followed_by_a_new_one_that_goes_on(service: ScenarioResults) -> None:
    assert service["pid after kill -9 is new"]
    assert service["latched after kill -9"] == 1
    assert service["incidents after kill -9 are the same"]
    assert service["judges after kill -9"]
    assert service["halts after kill -9"] == ["proven"]  # one, and not again


def test_a_bot_started_by_the_watchdog_survives_its_kill_nine_restart_hang_and_stop(service: ScenarioResults) -> None:
    assert service["bot survived kill -9"]
    assert service["bot survived all of it"]


def test_the_service_ends_well_when_asked_to(service: ScenarioResults) -> None:
    assert service["end on request"]


def test_a_git_that_hangs_does_not_make_the_watchdog_look_dead(service: ScenarioResults) -> None:
    assert service["alive while git hangs"]


def test_a_git_that_hangs_does_not_keep_the_watchdog_from_ending_and_ends_with_it(service: ScenarioResults) -> None:
    assert service["seconds to restart while git hangs"] < 45
    assert service["a git that hangs ends with the watchdog"]


def test_a_bot_survives_the_worker_that_started_it_and_another_one_goes_on(service: ScenarioResults) -> None:
    assert service["bot survived kill -9 of the worker"]
    assert service["halt by another worker"] == "proven"


def test_a_watchdog_that_hangs_is_ended_says_where_it_hung_and_is_started_again(service: ScenarioResults) -> None:
    timed_out, result, where = service["hung"]

    assert timed_out
    assert result
    assert where


def test_broken_files_keep_the_service_from_starting_until_they_are_mended(service: ScenarioResults) -> None:
    refused, said_where = service["start with broken files"]

    assert refused
    assert said_where
    assert service["starts by itself once the files are mended"]


# ─ a bot that is a unit ─


def test_a_person_who_restarts_the_bot_makes_repairs_wait(ladder: ScenarioResults) -> None:
    assert ladder["settling before"] is None
    assert ladder["log of a person's restart"] == [
        "INFO toy: somebody else restarted the bot: repairs wait, halts do not"
    ]
    (refused,) = ladder["refused"]
    assert "somebody deployed or restarted the bot; settling for another" in refused
    assert ladder["runs while settling"] == 0


def test_a_bad_merge_is_reverted_when_its_flag_did_not_help_and_the_unit_runs_what_was(ladder: ScenarioResults) -> None:
    outcome, level, _ = ladder["ladder"]

    assert (outcome, level) == ("proven", 1)
    assert ladder["ladder's steps"] == [
        ["before", 0, "set TRADING = false in config.py", "done"],
        ["level", 0, "set FEATURE_V2 = false in config.py", "done"],
        ["level", 0, "restart trading-toy.service", "done"],
        ["level", 1, "git revert v2-merge", "done"],
        ["level", 1, "restart trading-toy.service", "done"],
        ["proven", 1, "set TRADING = true in config.py", "done"],
    ]
    assert ladder["tree is v1's"]
    assert ladder["git status"] == ""
    assert ladder["reverts"] == ['Revert "Merge v2"']
    assert ladder["page"] == "error_ratio 0.01"


def test_each_restart_is_another_invocation(ladder: ScenarioResults) -> None:
    assert ladder["invocations differ"]


def test_nothing_in_the_repository_belongs_to_anybody_but_its_owner(ladder: ScenarioResults) -> None:
    assert ladder["strangers in the repository"] == []


def test_neither_a_persons_restarts_nor_ours_count_as_crashes(ladder: ScenarioResults) -> None:
    assert ladder["trips"] == [["errors-high"]]
    assert ladder["before any crash"] == [0, 0, "0"]


def test_a_crash_is_seen_whether_systemd_starts_the_bot_again_or_leaves_it(ladder: ScenarioResults) -> None:
    assert ladder["crashes"] == ["crash"]
    assert ladder["a crash is nobody's restart"]


@pytest.mark.parametrize("bot", ["dead", "looping"])
def test_a_unit_that_cannot_start_at_level_one_goes_to_level_two_before_it_would_have_settled(
    falls: ScenarioResults, bot: str
) -> None:
    outcome, level, _ = falls[f"{bot}: ladder"]

    assert (outcome, level) == ("proven", 1)
    assert falls[f"{bot}: level one"] == [
        f"WARNING {bot}: ladder: level feature disproven: restart trading-{bot}.service: it does not run any more"
    ]
    assert falls[f"{bot}: ms from level one to level two"] < 60_000


# ─ units ─


def test_a_masked_unit_stays_down_until_it_is_unmasked(units: ScenarioResults) -> None:
    assert units["kept: masked"] == ["before", "after", "inactive", "masked"]
    assert units["kept: said"].endswith("systemctl unmask kept.service && systemctl start kept.service")
    assert units["masked: start"] == "kept.service is masked — systemctl unmask kept.service"
    assert units["unmasked: start"] == "after"


def test_a_unit_that_cannot_be_masked_is_stopped_all_the_same(units: ScenarioResults) -> None:
    assert units["own: masked"] == ["before", "after", "inactive", "loaded"]
    assert "not masked, since its file is /etc/systemd/system/own.service" in units["own: said"]


def test_a_unit_that_hit_its_start_limit_can_be_started_once_it_is_mended(units: ScenarioResults) -> None:
    said, state, active = units["crashing: mended"]

    assert units["crashing: by hand"] == [1, "failed"]
    assert "its count of starts was set back" in said
    assert (state, active) == ("after", "active")


def test_a_unit_that_cannot_start_is_told_each_time(units: ScenarioResults) -> None:
    assert len(units["crashing: said"]) == 4
    assert all("ended with 1" in text for text in units["crashing: said"])
