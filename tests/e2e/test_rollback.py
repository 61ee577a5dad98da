"""Whole nights: a real bot goes bad, a real watchdog acts, and sometimes dies while it does."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from tests.e2e.harness import E2EHarness, wait_until

BAD_MODEL = "ERRORS = 0.5\nERRORS_OFF = 0.4\n"
BAD_MODEL_WITH_FLAG = "ERRORS = 0.5\nERRORS_OFF = 0.01\n"


def ladder_ended(harness: E2EHarness) -> bool:
    listed = harness.list_incidents()
    return bool(listed) and all(one["closed"] for one in listed)


def test_level_one_is_enough_when_the_flag_is_what_is_bad(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL_WITH_FLAG)

    wait_until(lambda: ladder_ended(harness))

    (run,) = harness.list_runs()
    assert (run["outcome"], run["level"]) == ("proven", 0)
    assert "FEATURE_V2 = False" in (harness.repo / "config.py").read_text()
    assert harness.revert_commits() == []


@pytest.mark.quick
def test_a_level_that_is_disproven_is_followed_by_the_next_one(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL)

    wait_until(lambda: ladder_ended(harness))

    (run,) = harness.list_runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    assert harness.git("rev-parse", "HEAD^{tree}") == harness.git("rev-parse", "v1^{tree}")
    assert harness.git("status", "--porcelain") == ""
    assert len(harness.revert_commits()) == 1
    assert (harness.bot_metrics() or "").startswith("error_ratio 0.01")


def test_a_version_that_was_squashed_is_taken_back_and_one_that_is_not_found_never_helped(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL, squashed=True)

    wait_until(lambda: ladder_ended(harness))

    (run,) = harness.list_runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    assert harness.git("rev-parse", "HEAD^{tree}") == harness.git("rev-parse", "v1^{tree}")
    assert harness.revert_commits() == ['Revert "v2 (#1)"']

    harness.git("commit", "-q", "--allow-empty", "-m", "and on")
    harness.git("checkout", "-q", "-b", "elsewhere", "v1")
    harness.write_repo_file("model.py", BAD_MODEL + "# of another kind\n")
    harness.commit("v3")
    harness.git("tag", "-f", "v2-merge")
    harness.git("checkout", "-q", "main")
    harness.write_repo_file("model.py", BAD_MODEL + "# changed on the way\n")
    harness.write_repo_file("config.py", "TRADING = True  # new positions\nFEATURE_V2 = True\n")
    harness.commit("v3 (#2)")
    harness.restart_bot()
    wait_until(lambda: len(harness.list_runs()) > 1 and all(one["ended"] for one in harness.list_runs()))

    by_plan = {one["plan"]: one for one in harness.list_runs()[1:]}
    assert by_plan["ladder"]["outcome"] == "exhausted"
    assert "v2-merge is not part of what runs" in by_plan["ladder"]["reason"]


def test_a_file_that_goes_bad_while_an_incident_runs_disturbs_nothing(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL)
    wait_until(harness.list_incidents)
    rules = harness.folder / "rules" / "toy.yaml"
    good = rules.read_text()
    rules.write_text(good.replace("rules:", "ruels:"))
    wait_until(lambda: "watchdog_config_last_reload_successful 0.0" in (harness.watchdog_metrics() or ""))

    asked = harness.run_cli("incidents", "--json")
    assert asked.returncode == 0, asked.stderr
    assert "the files on disk have" in asked.stderr
    wait_until(lambda: ladder_ended(harness))

    (run,) = harness.list_runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    assert "the files on disk have" in harness.run_cli("status").stderr
    rules.write_text(good)
    wait_until(lambda: "watchdog_config_last_reload_successful 1.0" in (harness.watchdog_metrics() or ""))
    assert len(harness.list_incidents()) == 1


def test_kill_nine_between_started_and_the_outcome_of_the_git_step_leaves_one_revert(harness: E2EHarness) -> None:
    """The git on PATH kills the watchdog that called it, right after the branch has moved."""
    real = shutil.which("git")
    bin_, known = harness.folder / "bin", harness.repo / ".git"  # where the step may write
    bin_.mkdir()
    (bin_ / "git").write_text(
        f"""#!/bin/sh
{real} "$@"
code=$?
case " $* " in *" update-ref "*" --stdin "*)
  if mkdir {known}/once 2>/dev/null; then kill -9 $(cat {known}/dog.pid); fi ;;
esac
exit $code
"""
    )
    (bin_ / "git").chmod(0o755)
    dog = harness.start_watchdog(PATH=f"{bin_}:{os.environ['PATH']}")
    (known / "dog.pid").write_text(str(dog.pid))
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL)
    assert dog.wait(90) == -signal.SIGKILL
    (run,) = harness.list_runs()
    assert [step["status"] for step in run["steps"] if "revert" in step["say"].lower()] == ["started"]

    harness.start_watchdog()
    wait_until(lambda: ladder_ended(harness))

    (run,) = harness.list_runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    assert len(harness.revert_commits()) == 1
    assert harness.git("rev-parse", "HEAD^{tree}") == harness.git("rev-parse", "v1^{tree}")
    assert harness.git("status", "--porcelain") == ""


def test_a_drawdown_in_the_middle_of_the_ladder_halts_within_one_step(harness: E2EHarness) -> None:
    harness.write_config(settle="2m", give_up="3m")
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL)
    wait_until(
        lambda: any(
            run["level"] == 0 and run["steps"] and run["steps"][-1]["status"] == "done" for run in harness.list_runs()
        )
    )

    harness.set_equity(850)
    wait_until(lambda: any(run["plan"] == "halt" and run["outcome"] for run in harness.list_runs()))

    runs = {run["plan"]: run for run in harness.list_runs()}
    assert runs["ladder"]["outcome"] == "overtaken"
    assert runs["halt"]["outcome"] == "proven"
    started_after = [step for step in runs["ladder"]["steps"] if step["started"] > runs["halt"]["queued"]]
    assert started_after == []
    assert harness.revert_commits() == []
    assert harness.status()["targets"]["toy"]["latched"]


def test_a_strategy_halt_ahead_of_the_ladder_makes_the_bot_safe_and_it_is_repaired_over_a_kill_nine(
    harness: E2EHarness,
) -> None:
    """The loss is there before the errors have lasted long enough, and it does not go away while nothing is traded."""
    toy = harness.folder / "rules" / "toy.yaml"
    rule = "  - {name: loss, kpi: worth, crit: {below: 950, plan: safe}}\nplans:\n"
    safe = """\
  safe:
    kind: halt
    after: repair
    levels:
      - {name: no-entries, steps: [{do: flag, file: config.py, set: {TRADING: false}}],
         verify: {that: [bot_entries_enabled == 0], give_up: 30s}}
  ladder:
"""
    text = toy.read_text().replace("plans:\n", rule, 1).replace("  ladder:\n", safe, 1)
    text = text.replace("above: 10%, for: 600ms", "above: 10%, for: 15s").replace("give_up: 10s", "give_up: 2m")
    toy.write_text(text.replace("kpis:\n", "kpis:\n  worth: {expr: equity}\n", 1).replace("watch: 500ms", "watch: 1h"))
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL_WITH_FLAG)
    wait_until(lambda: any(one["phase"] == "pending" for one in harness.status()["rules"]))
    harness.set_equity(940)
    wait_until(lambda: any((run["plan"], run["outcome"]) == ("safe", "proven") for run in harness.list_runs()))
    wait_until(lambda: any(run["plan"] == "ladder" and run["steps"] for run in harness.list_runs()))
    dog.kill()
    dog.wait()
    harness.start_watchdog()
    wait_until(lambda: any(run["status"] == "watching" for run in harness.list_runs()))

    runs = {run["plan"]: run for run in harness.list_runs()}
    assert runs["safe"]["ended"] <= min(step["started"] for step in runs["ladder"]["steps"])
    assert (runs["ladder"]["level"], [step["phase"] for step in runs["ladder"]["steps"]]) == (
        0,
        ["before", *["level"] * 2],
    )
    assert "TRADING = False" in (harness.repo / "config.py").read_text()
    assert "bot_entries_enabled 0" in (harness.bot_metrics() or "")
    assert harness.status()["targets"]["toy"]["latched"]
    (incident,) = harness.list_incidents()
    said = [event["text"] for event in harness.list_incidents(incident["id"])[0]["events"]]
    assert any(line.startswith("errors-high has been bad for ") and line.endswith(" of 15 s") for line in said), said
    assert any("what safe switched off stays off" in line for line in said)
    harness.set_equity(1000)
    wait_until(lambda: all(rule["outcome"] == "ok" for rule in harness.status()["rules"]))
    granted = harness.run_cli("resume", "toy", "--reason", "looked at it")
    assert granted.returncode == 0, granted.stderr
    wait_until(lambda: all(run["ended"] for run in harness.list_runs()))


def test_a_bot_that_cannot_start_at_level_one_goes_to_level_two_at_once(harness: E2EHarness) -> None:
    harness.write_config(settle="1m", give_up="2m")
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL + "CRASH = True\n")

    wait_until(lambda: ladder_ended(harness))

    (run,) = harness.list_runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    rungs = [step for step in run["steps"] if step["phase"] == "level"]
    last_of_first = max(step["ended"] for step in rungs if step["level"] == 0)
    first_of_second = min(step["started"] for step in rungs if step["level"] == 1)
    assert first_of_second - last_of_first < 60_000  # and not after the minute that it is left to settle


def test_what_a_person_fixed_while_the_watchdog_was_dead_is_not_overwritten(harness: E2EHarness) -> None:
    harness.write_config(settle="10s", give_up="30s")
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL)
    wait_until(
        lambda: any(len(run["steps"]) >= 3 and run["steps"][-1]["status"] == "done" for run in harness.list_runs())
    )
    dog.kill()
    dog.wait()

    harness.write_repo_file("config.py", "TRADING = True  # new positions\nFEATURE_V2 = True\n")
    harness.write_repo_file("model.py", "ERRORS = 0.02  # mended by hand\n")
    harness.commit("Mend v2 by hand")
    mended = harness.git("rev-parse", "HEAD")
    harness.restart_bot()
    harness.start_watchdog()
    wait_until(lambda: all(run["outcome"] for run in harness.list_runs()))

    assert harness.git("rev-parse", "HEAD") == mended
    assert harness.git("status", "--porcelain") == ""
    (run,) = harness.list_runs()
    assert run["outcome"] == "stopped"
    assert harness.status()["targets"]["toy"]["latched"]


def test_a_bot_that_is_merely_stopped_is_never_taken_for_a_recovered_one(harness: E2EHarness) -> None:
    harness.write_config(settle="15s", give_up="20s")  # it is killed long before anything is judged
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL_WITH_FLAG)
    wait_until(
        lambda: any(len(run["steps"]) >= 3 and run["steps"][-1]["status"] == "done" for run in harness.list_runs())
    )

    harness.kill_bot()
    wait_until(lambda: all(run["outcome"] for run in harness.list_runs()))

    ladder = next(run for run in harness.list_runs() if run["plan"] == "ladder")
    assert ladder["outcome"] != "proven" or ladder["level"] == 1
    assert not any(step["phase"] == "proven" and step["level"] == 0 for step in ladder["steps"])


def test_a_source_that_is_down_starts_no_repair(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()

    harness.kill_bot()
    wait_until(lambda: 'watchdog_source_up{source="bot"} 0.0' in (harness.watchdog_metrics() or ""))
    wait_until(lambda: all(rule["outcome"] == "nodata" for rule in harness.status()["rules"]))

    assert harness.list_incidents() == []


def test_resume_opens_the_latch_only_while_the_bot_is_seen(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.set_equity(800)
    wait_until(lambda: any(run["plan"] == "halt" and run["outcome"] == "proven" for run in harness.list_runs()))
    assert harness.status()["targets"]["toy"]["latched"]

    harness.kill_bot()
    wait_until(lambda: all(rule["outcome"] == "nodata" for rule in harness.status()["rules"]))
    refused = harness.run_cli("resume", "toy", "--reason", "it looks fine")
    harness.restart_bot()
    wait_until(lambda: all(rule["outcome"] != "nodata" for rule in harness.status()["rules"]))
    granted = harness.run_cli("resume", "toy", "--reason", "withdrew 200 on purpose")

    assert (refused.returncode, granted.returncode) == (1, 0), (refused.stdout, granted.stdout)
    assert harness.status()["targets"]["toy"]["latched"] is None
    harness.wait_until_healthy()


def test_a_plan_can_be_run_by_hand_with_and_without_a_daemon(harness: E2EHarness) -> None:
    harness.deploy_v2(BAD_MODEL)
    alone = harness.run_cli("rollback", "halt", "--reason", "going to bed", "--json")
    assert alone.returncode == 0, alone.stderr
    assert "Traceback" not in alone.stderr
    assert "TRADING = False" in (harness.repo / "config.py").read_text()

    harness.start_watchdog()
    again = harness.run_cli("rollback", "ladder")
    assert again.returncode == 1
    assert "latched" in again.stderr


def test_broken_rules_keep_the_watchdog_from_starting_and_say_where(harness: E2EHarness) -> None:
    path = harness.folder / "rules" / "toy.yaml"
    path.write_text(path.read_text().replace("above: 10%", "above: 10 parsecs"))

    done = harness.run_cli("run")

    assert done.returncode == 1
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "parsecs" in text)
    assert f"{path}:{line}:" in done.stderr
    assert "Traceback" not in done.stderr


def test_only_one_watchdog_acts_on_a_state_folder(harness: E2EHarness) -> None:
    harness.start_watchdog()

    second = harness.run_cli("run")

    assert second.returncode == 1
    assert "in use by process" in second.stderr


def test_what_was_rolled_back_and_is_deployed_again_is_said_once(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    bad = harness.deploy_v2("ERRORS = 0.01\n")
    wait_until(lambda: "somebody else deployed" in harness.watchdog_log())
    assert "was rolled back" not in harness.watchdog_log()
    harness.git("update-ref", f"refs/trading-watchdog/bad/{bad}", bad)  # as a rollback leaves it
    harness.write_repo_file("notes.txt", "on top\n")
    harness.commit("on top")

    wait_until(lambda: "what was rolled back runs again" in harness.watchdog_log())

    assert f"what was rolled back runs again — {bad[:10]} Merge v2" in harness.watchdog_log()
    time.sleep(6)  # a look later
    assert harness.watchdog_log().count("runs again") == 1
