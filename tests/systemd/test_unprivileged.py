"""The shipped unit files, as they are, in a real systemd with polkit: a watchdog under its own user. See unprivileged.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.sandbox import ScenarioResults, SystemdSandbox, all_at_once

pytestmark = pytest.mark.systemd


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SystemdSandbox]]:
    with all_at_once(("watching", "acting", "installing"), tmp_path_factory, "unprivileged") as started:
        yield started


@pytest.fixture(scope="module")
def watching(sandboxes: dict[str, SystemdSandbox]) -> ScenarioResults:
    return sandboxes["watching"].wait_for_results()


@pytest.fixture(scope="module")
def acting(sandboxes: dict[str, SystemdSandbox]) -> ScenarioResults:
    return sandboxes["acting"].wait_for_results()


@pytest.fixture(scope="module")
def installing(sandboxes: dict[str, SystemdSandbox]) -> ScenarioResults:
    return sandboxes["installing"].wait_for_results()


# ─ what it may do by itself ─


def test_systemd_finds_nothing_to_say_about_the_unit_files(watching: ScenarioResults) -> None:
    assert watching["systemd-analyze verify"] == ""


def test_it_runs_under_its_own_user_with_no_capability_and_no_group_of_anybody_elses(watching: ScenarioResults) -> None:
    own_group, groups = watching["groups"]

    assert watching["uids are the user's"]
    assert own_group
    assert len(groups) <= 1
    assert set(watching["capabilities"]) == {"0" * 16}
    assert watching["confined"] == ["1", "2"]


def test_nobody_else_may_read_the_state(watching: ScenarioResults) -> None:
    assert watching["what of the state others may do anything with"] == []


def test_when_memory_runs_out_it_is_the_watchdog_that_the_kernel_ends(watching: ScenarioResults) -> None:
    assert int(watching["oom_score_adj"]) > 0


def test_all_sources_deliver_from_within_what_confines_it(watching: ScenarioResults) -> None:
    assert watching["sources"] == {"bot": None, "process": None, "host": None}
    assert watching["bot's memory is measured"]
    assert watching["disks are the machine's"] == {"/": True, "/home": True, "/tmp": True}
    assert watching["memory is the machine's"]


def test_only_the_watchdog_may_ask_a_worker_and_only_root_may_say_where_it_listens(watching: ScenarioResults) -> None:
    door, folder, refused = watching["socket of the worker"]

    assert door == ["trading-watchdog", "0o600"]
    assert folder == ["root", "0o755"]
    assert refused == ["PermissionError: [Errno 13] Permission denied"]
    assert watching["socket of a worker that was stopped"] is False


def test_it_restarts_a_unit_that_its_plans_name(watching: ScenarioResults) -> None:
    assert watching["polkit --write"] == [0, ""]
    assert watching["bounce"]["outcome"] == "proven", watching["bounce"]
    assert watching["bot was restarted"]


def test_a_unit_that_its_plans_do_not_name_is_refused_with_the_cure(watching: ScenarioResults) -> None:
    run = watching["meddle, not allowed"]
    ((_, status, detail),) = run["steps"]

    assert (run["outcome"], status) == ("exhausted", "failed")
    assert detail.endswith(" — allow the watchdog's user, as root: trading-watchdog polkit --write")
    assert watching["other was left alone"]


def test_check_says_what_polkit_does_not_allow_and_the_rule_counts_as_soon_as_it_is_written(
    watching: ScenarioResults,
) -> None:
    assert watching["check"] == [
        "note: polkit does not let the watchdog reset-failed other.service, restart other.service"
        " — as root: trading-watchdog polkit --write"
    ]
    assert watching["check, once written"] == []
    assert watching["meddle, allowed"]["outcome"] == "proven"
    assert watching["other was restarted"]


def test_a_halt_masks_without_the_right_to_change_unit_files(watching: ScenarioResults) -> None:
    assert watching["freeze"]["outcome"] == "proven", watching["freeze"]
    assert watching["spare bot"] == ["inactive", "masked"]


def test_whoever_takes_over_the_watchdogs_user_may_do_to_units_what_the_plans_do_and_nothing_else(
    watching: ScenarioResults,
) -> None:
    assert watching["refused"] == watching["asked in vain"]


# ─ what is done to the bot, by a worker of its user ─


def test_a_bad_merge_is_reverted_in_a_repository_of_another_users(acting: ScenarioResults) -> None:
    outcome, steps = acting["ladder"]

    assert outcome == "proven"
    assert [status for _, status in steps] == ["done"] * 6
    assert [say for say, _ in steps][3] == "git revert v2-merge"
    assert acting["repository after the ladder"] == [['Revert "Merge v2"'], ""]


def test_what_a_repair_did_is_undone(acting: ScenarioResults) -> None:
    assert acting["undo"] == [0, ""]
    assert acting["v2 is back"]


def test_what_a_bot_remembers_is_archived_by_its_user_for_its_user(acting: ScenarioResults) -> None:
    assert acting["tidy"]["outcome"] == "proven", acting["tidy"]
    assert acting["archive"] == ["botuser", "0o600"]
    assert acting["archived"] == {"memory/regimes.json": "[1, 2]\n", "memory/positions.json": "{}\n"}
    assert acting["archived is gone"]


def test_a_halt_sets_flags_in_a_file_that_stays_its_owners(acting: ScenarioResults) -> None:
    assert acting["halt"]["outcome"] == "proven", acting["halt"]
    assert acting["flags"] == ["TRADING = False  # new positions", "botuser"]
    assert acting["strangers in the repository"] == []


def test_a_user_whose_name_fits_no_unit_is_called_by_number_and_acts_with_its_groups(acting: ScenarioResults) -> None:
    number = acting["odd user's number"]
    ((_, status, detail),) = acting["odd user without a worker"]["steps"]

    (warned,) = acting["odd user, at the reload"]
    assert warned.startswith(
        "WARNING nothing can be done to a target: trading-watchdog may not act as odd$ — systemctl "
    )
    assert status == "failed"
    assert f" — systemctl enable --now trading-watchdog-worker@{number}.socket, or " in detail
    assert acting["odd user"]["outcome"] == "proven", acting["odd user"]
    assert acting["odd user told"] == ["odd$", ["odd$", "games"]]


# ─ the page that says how ─


def test_every_line_of_the_page_on_installing_works_as_it_stands(installing: ScenarioResults) -> None:
    lines = {name: result for name, result in installing.items() if name.startswith("$ ")}

    assert installing["lines that the box has done"] == 2  # the virtual environment, and what is installed in it
    assert len(lines) == 12
    assert {name: result for name, result in lines.items() if result[0] != 0} == {}
    assert installing["status"] == "watching 18 rules"
    assert installing["worker listens"] == "active"


def test_what_a_version_that_was_root_left_belongs_to_the_service_after_its_first_start(
    installing: ScenarioResults,
) -> None:
    assert installing["owners of the state"] == ["trading-watchdog"]


@pytest.mark.parametrize("user", ["root", "trading-watchdog"])
def test_people_ask_as_root_or_as_the_services_user(installing: ScenarioResults, user: str) -> None:
    assert installing[f"status for {user}"] == [0, "", True]
