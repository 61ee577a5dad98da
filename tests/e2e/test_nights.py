"""Whole nights: a real bot goes bad, a real watchdog acts, and sometimes dies while it does."""

from __future__ import annotations

import os
import shutil
import signal
import time

from tests.e2e.night import Night, until

BAD = "ERRORS = 0.5\nERRORS_OFF = 0.4\n"
BAD_ONLY_WITH_FLAG = "ERRORS = 0.5\nERRORS_OFF = 0.01\n"


def ended(night: Night) -> bool:
    listed = night.incidents()
    return bool(listed) and all(one["closed"] for one in listed)


def test_level_one_is_enough_when_the_flag_is_what_is_bad(night: Night) -> None:
    night.watch()
    night.healthy()
    night.deploy_v2(BAD_ONLY_WITH_FLAG)

    until(lambda: ended(night))

    (run,) = night.runs()
    assert (run["outcome"], run["level"]) == ("proven", 0)
    assert "FEATURE_V2 = False" in (night.repo / "config.py").read_text()
    assert night.reverts() == []


def test_a_level_that_is_disproven_is_followed_by_the_next_one(night: Night) -> None:
    night.watch()
    night.healthy()
    night.deploy_v2(BAD)

    until(lambda: ended(night))

    (run,) = night.runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    assert night.git("rev-parse", "HEAD^{tree}") == night.git("rev-parse", "v1^{tree}")
    assert night.git("status", "--porcelain") == ""
    assert len(night.reverts()) == 1
    assert (night.page() or "").startswith("error_ratio 0.01")


def test_a_file_that_goes_bad_while_an_incident_runs_disturbs_nothing(night: Night) -> None:
    night.watch()
    night.healthy()
    night.deploy_v2(BAD)
    until(night.incidents)
    rules = night.folder / "rules" / "toy.yaml"
    good = rules.read_text()
    rules.write_text(good.replace("rules:", "ruels:"))
    until(lambda: "watchdog_config_last_reload_successful 0.0" in (night.metrics() or ""))

    until(lambda: ended(night))  # asked on the command line, of the broken files

    (run,) = night.runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    assert "the files on disk have" in night.command("status").stderr
    rules.write_text(good)
    until(lambda: "watchdog_config_last_reload_successful 1.0" in (night.metrics() or ""))
    assert len(night.incidents()) == 1


def test_kill_nine_between_started_and_the_outcome_of_the_git_step_leaves_one_revert(night: Night) -> None:
    """The git on PATH kills the watchdog that called it, right after the branch has moved."""
    real = shutil.which("git")
    bin_ = night.folder / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(
        f"""#!/bin/sh
{real} "$@"
code=$?
case " $* " in *" update-ref "*" --stdin "*)
  if mkdir {bin_}/once 2>/dev/null; then kill -9 $(cat {night.folder}/dog.pid); fi ;;
esac
exit $code
"""
    )
    (bin_ / "git").chmod(0o755)
    dog = night.watch(PATH=f"{bin_}:{os.environ['PATH']}")
    (night.folder / "dog.pid").write_text(str(dog.pid))
    night.healthy()
    night.deploy_v2(BAD)
    assert dog.wait(40) == -signal.SIGKILL
    (run,) = night.runs()
    assert [step["status"] for step in run["steps"] if "revert" in step["say"].lower()] == ["started"]

    night.watch()
    until(lambda: ended(night))

    (run,) = night.runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    assert len(night.reverts()) == 1
    assert night.git("rev-parse", "HEAD^{tree}") == night.git("rev-parse", "v1^{tree}")
    assert night.git("status", "--porcelain") == ""


def test_a_drawdown_in_the_middle_of_the_ladder_halts_within_one_step(night: Night) -> None:
    night.configure(settle="2m", give_up="3m")
    night.watch()
    night.healthy()
    night.deploy_v2(BAD)
    until(
        lambda: any(run["level"] == 0 and run["steps"] and run["steps"][-1]["status"] == "done" for run in night.runs())
    )

    night.equity(850)
    until(lambda: any(run["plan"] == "halt" and run["outcome"] for run in night.runs()))

    runs = {run["plan"]: run for run in night.runs()}
    assert runs["ladder"]["outcome"] == "overtaken"
    assert runs["halt"]["outcome"] == "proven"
    started_after = [step for step in runs["ladder"]["steps"] if step["started"] > runs["halt"]["queued"]]
    assert started_after == []
    assert night.reverts() == []
    assert night.status()["targets"]["toy"]["latched"]


def test_a_bot_that_cannot_start_at_level_one_goes_to_level_two_at_once(night: Night) -> None:
    night.configure(settle="1m", give_up="2m")
    night.watch()
    night.healthy()
    night.deploy_v2(BAD + "CRASH = True\n")

    until(lambda: ended(night))

    (run,) = night.runs()
    assert (run["outcome"], run["level"]) == ("proven", 1)
    rungs = [step for step in run["steps"] if step["phase"] == "level"]
    last_of_first = max(step["ended"] for step in rungs if step["level"] == 0)
    first_of_second = min(step["started"] for step in rungs if step["level"] == 1)
    assert first_of_second - last_of_first < 60_000  # and not after the minute that it is left to settle


def test_what_a_person_fixed_while_the_watchdog_was_dead_is_not_overwritten(night: Night) -> None:
    night.configure(settle="10s", give_up="30s")
    dog = night.watch()
    night.healthy()
    night.deploy_v2(BAD)
    until(lambda: any(len(run["steps"]) >= 3 and run["steps"][-1]["status"] == "done" for run in night.runs()))
    dog.kill()
    dog.wait()

    night.write("config.py", "TRADING = True  # new positions\nFEATURE_V2 = True\n")
    night.write("model.py", "ERRORS = 0.02  # mended by hand\n")
    night.commit("Mend v2 by hand")
    mended = night.git("rev-parse", "HEAD")
    night.restart_bot()
    night.watch()
    until(lambda: all(run["outcome"] for run in night.runs()))

    assert night.git("rev-parse", "HEAD") == mended
    assert night.git("status", "--porcelain") == ""
    (run,) = night.runs()
    assert run["outcome"] == "stopped"
    assert night.status()["targets"]["toy"]["latched"]


def test_a_bot_that_is_merely_stopped_is_never_taken_for_a_recovered_one(night: Night) -> None:
    night.configure(settle="15s", give_up="20s")  # it is killed long before anything is judged
    night.watch()
    night.healthy()
    night.deploy_v2(BAD_ONLY_WITH_FLAG)
    until(lambda: any(len(run["steps"]) >= 3 and run["steps"][-1]["status"] == "done" for run in night.runs()))

    night.kill_bot()
    until(lambda: all(run["outcome"] for run in night.runs()))

    ladder = next(run for run in night.runs() if run["plan"] == "ladder")
    assert ladder["outcome"] != "proven" or ladder["level"] == 1
    assert not any(step["phase"] == "proven" and step["level"] == 0 for step in ladder["steps"])


def test_a_source_that_is_down_starts_no_repair(night: Night) -> None:
    night.watch()
    night.healthy()

    night.kill_bot()
    until(lambda: 'watchdog_source_up{source="bot"} 0.0' in (night.metrics() or ""))
    until(lambda: all(rule["outcome"] == "nodata" for rule in night.status()["rules"]))

    assert night.incidents() == []


def test_resume_opens_the_latch_only_while_the_bot_is_seen(night: Night) -> None:
    night.watch()
    night.healthy()
    night.equity(800)
    until(lambda: any(run["plan"] == "halt" and run["outcome"] == "proven" for run in night.runs()))
    assert night.status()["targets"]["toy"]["latched"]

    night.kill_bot()
    until(lambda: all(rule["outcome"] == "nodata" for rule in night.status()["rules"]))
    refused = night.command("resume", "toy", "--reason", "it looks fine")
    night.restart_bot()
    until(lambda: all(rule["outcome"] != "nodata" for rule in night.status()["rules"]))
    granted = night.command("resume", "toy", "--reason", "withdrew 200 on purpose")

    assert (refused.returncode, granted.returncode) == (1, 0), (refused.stdout, granted.stdout)
    assert night.status()["targets"]["toy"]["latched"] is None
    night.healthy()


def test_a_plan_can_be_run_by_hand_with_and_without_a_daemon(night: Night) -> None:
    night.deploy_v2(BAD)
    alone = night.command("rollback", "halt", "--reason", "going to bed", "--json")
    assert alone.returncode == 0, alone.stderr
    assert "Traceback" not in alone.stderr
    assert "TRADING = False" in (night.repo / "config.py").read_text()

    night.watch()
    again = night.command("rollback", "ladder")
    assert again.returncode == 1
    assert "latched" in again.stderr


def test_broken_rules_keep_the_watchdog_from_starting_and_say_where(night: Night) -> None:
    path = night.folder / "rules" / "toy.yaml"
    path.write_text(path.read_text().replace("above: 10%", "above: 10 parsecs"))

    done = night.command("run")

    assert done.returncode == 1
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "parsecs" in text)
    assert f"{path}:{line}:" in done.stderr
    assert "Traceback" not in done.stderr


def test_only_one_watchdog_acts_on_a_state_folder(night: Night) -> None:
    night.watch()

    second = night.command("run")

    assert second.returncode == 1
    assert "in use by process" in second.stderr


def test_what_was_rolled_back_and_is_deployed_again_is_said_once(night: Night) -> None:
    night.watch()
    night.healthy()
    bad = night.deploy_v2("ERRORS = 0.01\n")
    until(lambda: "somebody else deployed" in night.log())
    assert "was rolled back" not in night.log()
    night.git("update-ref", f"refs/trading-watchdog/bad/{bad}", bad)  # as a rollback leaves it
    night.write("notes.txt", "on top\n")
    night.commit("on top")

    until(lambda: "what was rolled back runs again" in night.log())

    assert f"what was rolled back runs again — {bad[:10]} Merge v2" in night.log()
    time.sleep(6)  # a look later
    assert night.log().count("runs again") == 1
