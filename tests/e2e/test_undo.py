"""The command line of a person who takes things into their own hands: dry runs, undo, and a daemon that hangs."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.night import Night, until

BAD = "ERRORS = 0.5\nERRORS_OFF = 0.4\n"
V2 = "TRADING = True  # new positions\nFEATURE_V2 = True\n"


def marks(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Times and contents; git itself freshens the time of an object that it meets again."""
    return {
        str(file): (0 if "objects" in file.parts else file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file() and file.name != "bot.pid"
    }


def test_undo_after_a_rollback_puts_v2_and_its_flag_back_byte_for_byte(night: Night) -> None:
    dog = night.watch()
    night.healthy()
    night.deploy_v2(BAD)
    until(lambda: any(one["closed"] for one in night.incidents()))
    assert night.reverts() == ['Revert "Merge v2"']
    assert "FEATURE_V2" not in (night.repo / "config.py").read_text()

    done = night.command("undo", "1", "--reason", "the model was not it")

    assert done.returncode == 0, done.stdout + done.stderr
    assert (night.repo / "config.py").read_text() == V2
    assert (night.repo / "model.py").read_text() == BAD
    assert night.git("rev-parse", "HEAD^{tree}") == night.git("rev-parse", "v2-merge^{tree}")
    assert night.git("status", "--porcelain") == ""
    assert any("put back" in event["text"] for event in night.incidents(1)[0]["events"])
    dog.send_signal(signal.SIGTERM)
    dog.wait(30)
    again = night.command("undo", "1")
    assert again.returncode == 1
    assert "nothing to undo of incident 1" in again.stderr


def test_a_dry_run_prints_every_diff_and_touches_nothing(night: Night) -> None:
    night.deploy_v2(BAD)
    before = marks(night.repo)

    done = night.command("rollback", "ladder", "--dry-run")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "-FEATURE_V2 = True" in done.stdout
    assert "+FEATURE_V2 = False" in done.stdout
    assert "version: git revert v2-merge" in done.stdout
    assert "-ERRORS = 0.5" in done.stdout
    assert "+ERRORS = 0.01" in done.stdout
    assert marks(night.repo) == before
    assert night.git("status", "--porcelain") == ""
    assert not (night.folder / "state" / "journal.db").exists()


def test_a_daemon_that_hangs_is_fenced_off_and_the_plan_is_carried_out_without_it(night: Night) -> None:
    dog = night.watch()
    night.healthy()
    alive = night.command("rollback", "halt", "--takeover", "--yes")
    assert alive.returncode == 1
    assert "is alive" in alive.stderr
    dog.send_signal(signal.SIGSTOP)

    def taken() -> bool:
        done = night.command("rollback", "halt", "--takeover", "--yes")
        assert done.returncode == 0 or "is alive" in done.stderr, done.stderr
        return done.returncode == 0

    until(taken)

    assert "TRADING = False" in (night.repo / "config.py").read_text()
    assert dog.wait(30) == -signal.SIGKILL
    night.watch()
    assert night.status()["targets"]["toy"]["latched"] == "halt halt"
