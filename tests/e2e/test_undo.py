"""The command line of a person who takes things into their own hands: dry runs, undo, and a daemon that hangs."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.harness import E2EHarness, wait_until

BAD_MODEL = "ERRORS = 0.5\nERRORS_OFF = 0.4\n"
V2 = "TRADING = True  # new positions\nFEATURE_V2 = True\n"


def file_fingerprints(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Times and contents; git itself freshens the time of an object that it meets again."""
    return {
        str(file): (0 if "objects" in file.parts else file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file() and file.name != "bot.pid"
    }


def test_undo_after_a_rollback_puts_v2_and_its_flag_back_byte_for_byte(harness: E2EHarness) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL)
    wait_until(lambda: any(one["closed"] for one in harness.list_incidents()))
    assert harness.revert_commits() == ['Revert "Merge v2"']
    assert "FEATURE_V2" not in (harness.repo / "config.py").read_text()

    done = harness.run_cli("undo", "1", "--reason", "the model was not it")

    assert done.returncode == 0, done.stdout + done.stderr
    assert (harness.repo / "config.py").read_text() == V2
    assert (harness.repo / "model.py").read_text() == BAD_MODEL
    assert harness.git("rev-parse", "HEAD^{tree}") == harness.git("rev-parse", "v2-merge^{tree}")
    assert harness.git("status", "--porcelain") == ""
    assert any("put back" in event["text"] for event in harness.list_incidents(1)[0]["events"])
    dog.send_signal(signal.SIGTERM)
    dog.wait(90)
    again = harness.run_cli("undo", "1")
    assert again.returncode == 1
    assert "nothing to undo of incident 1" in again.stderr


def test_a_dry_run_prints_every_diff_and_touches_nothing(harness: E2EHarness) -> None:
    harness.deploy_v2(BAD_MODEL)
    before = file_fingerprints(harness.repo)

    done = harness.run_cli("rollback", "ladder", "--dry-run")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "-FEATURE_V2 = True" in done.stdout
    assert "+FEATURE_V2 = False" in done.stdout
    assert "version: git revert v2-merge" in done.stdout
    assert "-ERRORS = 0.5" in done.stdout
    assert "+ERRORS = 0.01" in done.stdout
    assert file_fingerprints(harness.repo) == before
    assert harness.git("status", "--porcelain") == ""
    assert not (harness.folder / "state" / "journal.db").exists()


def test_a_daemon_that_hangs_is_fenced_off_and_the_plan_is_carried_out_without_it(harness: E2EHarness) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    alive = harness.run_cli("rollback", "halt", "--takeover", "--yes")
    assert alive.returncode == 1
    assert "is alive" in alive.stderr
    dog.send_signal(signal.SIGSTOP)
    unanswered = harness.run_cli("rollback", "halt", "--yes")
    assert "does not answer, and nothing was done" in unanswered.stderr
    assert "--takeover" in unanswered.stderr

    def taken() -> bool:
        done = harness.run_cli("rollback", "halt", "--takeover", "--yes")
        assert done.returncode == 0 or "is alive" in done.stderr, done.stderr
        return done.returncode == 0

    wait_until(taken)

    assert "TRADING = False" in (harness.repo / "config.py").read_text()
    assert dog.wait(90) == -signal.SIGKILL
    harness.start_watchdog()
    assert harness.status()["targets"]["toy"]["latched"] == "halt"
