"""Two of us at once on one target, and people at work in the middle of a plan: one acts, and nobody is overwritten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.crash.harness import run_in_fork
from tests.e2e.harness import wait_until
from tests.scenarios.harness import ScenarioHarness
from tests.support.actions import GitRepo, make_action
from watchdog.actions.git import index_lock, repository
from watchdog.actions.process import ProcessAction
from watchdog.core.errors import ActionError
from watchdog.core.target import ProcessSpec, Target
from watchdog.journal.lock import StateLock
from watchdog.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.slow

MakeHarness = Callable[..., ScenarioHarness]


def run_concurrently(count: int, act: Callable[[int], object]) -> list[int]:
    """Exit codes of that many processes that begin together."""
    reads, writes = os.pipe()
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(writes)
            code = 1
            try:
                os.read(reads, 1)  # ends when the parent lets go
                act(number)
                code = 0
            except ActionError:
                code = 2
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(reads)
    os.close(writes)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


# ─ two of us ─


def test_of_many_that_take_the_lock_at_once_one_gets_it(tmp_path: Path) -> None:
    for turn in range(10):
        state = tmp_path / str(turn)

        def take(number: int, state: Path = state) -> None:
            lock = StateLock(state)
            if lock.acquire():
                (state / f"got-{number}").touch()
            (state / f"tried-{number}").touch()
            while len(list(state.glob("tried-*"))) < 4:
                os.sched_yield()

        assert run_concurrently(4, take) == [0] * 4
        assert len(list(state.glob("got-*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", [{"revert": "v2"}, {"to": "v1"}], ids=["revert", "to"])
def test_two_that_revert_at_once_leave_one_commit_and_a_sound_tree(tmp_path: Path, step: dict[str, str]) -> None:
    """Two watchdogs with two state folders on one repository: nobody should, and it happens."""
    repo = GitRepo(tmp_path / "bot")
    repo.commit("v1", config__py="MODEL = 1\n", old__py="old\n")
    repo.git("tag", "v1")
    repo.commit("v2", config__py="MODEL = 2\n", old__py=None, new__py="new\n")
    repo.git("tag", "v2")
    for _ in range(4):
        made = make_action(do="git", **step).bind(Target(repo=str(repo.path)))
        before = made.capture()

        codes = run_concurrently(2, lambda _, made=made, before=before: made.apply(before, "k"))  # type: ignore[misc]

        assert 0 in codes
        assert set(codes) <= {0, 2}  # the other was refused, or found it done
        assert len(repo.git("log", "--format=%h", "v2..HEAD").split()) == 1
        assert repo.status() == ""
        assert (repo.read("config.py"), (repo.path / "old.py").exists()) == ("MODEL = 1\n", True)
        repo.git("reset", "-q", "--hard", "v2")


@pytest.mark.slow
def test_of_two_that_take_the_index_lock_again_and_again_one_is_within(tmp_path: Path) -> None:
    repo = repository.open_repository(str(GitRepo(tmp_path / "bot").path), 30_000)
    within = tmp_path / "within"

    def take(_: int) -> None:
        for _ in range(50):
            with index_lock.hold_index_lock(repo):
                within.touch(exist_ok=False)
                within.unlink()

    assert run_concurrently(2, take) == [0, 0]


@pytest.mark.slow
def test_two_that_start_the_bot_at_once_leave_one_bot(tmp_path: Path) -> None:
    marker = f"4343{os.getpid()}"
    place = ProcessSpec(pid_file="bot.pid", command=("sleep", marker), cwd=str(tmp_path))
    start = ProcessAction(do="process", start="process", alive_for=50).bind(Target(repo=str(tmp_path), process=place))
    for _ in range(3):
        before = start.capture()
        codes = run_concurrently(3, lambda _, before=before: start.apply(before, "k"))  # type: ignore[misc]
        bots = [
            one
            for one in psutil.process_iter(["cmdline", "status"])
            if one.info["cmdline"] == ["sleep", marker] and one.info["status"] != psutil.STATUS_ZOMBIE
        ]
        try:
            assert codes == [0, 0, 0]
            assert [bot.pid for bot in bots] == [int((tmp_path / "bot.pid").read_text())]
        finally:
            for bot in bots:
                bot.send_signal(signal.SIGKILL)
                psutil.wait_procs([bot], 5)


# ─ people in the middle of a plan ─


def after_step(harness: ScenarioHarness, step: str, callback: Callable[[], object]) -> None:
    """Right after the journal says that the step is done, somebody does something, once."""
    did: list[bool] = []

    def look() -> None:
        if not did and any(row[2] == step and row[3] == "done" for run in harness.runs for row in harness.steps(run)):
            did.append(True)
            callback()

    harness.on_each_second = look


def test_a_flag_that_a_person_sets_in_the_middle_of_a_plan_stays_as_they_set_it(make_harness: MakeHarness) -> None:
    harness = make_harness()
    theirs = "TRADING = True  # Ada: I am looking at it\nFEATURE = True\nMODEL = 2\n"
    after_step(harness, "set FEATURE = false in config.py", lambda: harness.repo.write_files(config__py=theirs))
    harness.advance_until(lambda: harness.runs and harness.runs[0].outcome)

    assert harness.outcomes() == [("ladder", "stopped")]
    assert harness.repo.read("config.py") == theirs
    assert harness.rollback_commits() == []
    assert harness.is_latched()
    assert any("stopped" in title for title in harness.message_titles("pager"))


def test_a_commit_that_a_person_makes_in_the_middle_of_a_plan_is_not_taken_back(make_harness: MakeHarness) -> None:
    harness = make_harness()
    fixed = {"config__py": "TRADING = True  # fixed\nFEATURE = True\nMODEL = 2\n"}
    after_step(harness, "set FEATURE = false in config.py", lambda: harness.repo.commit("fixed by hand", **fixed))
    harness.advance_until(lambda: harness.runs and harness.runs[0].outcome)

    assert harness.outcomes() == [("ladder", "stopped")]
    assert harness.repo.git("log", "-1", "--format=%s").strip() == "fixed by hand"
    assert harness.repo.status() == ""
    assert harness.is_latched()


FAKE_SYSTEMCTL = """\
#!/bin/sh
# One unit in two files: its state, and how often it was started.
for word in "$@"; do case $word in -*) ;; *) verb=${{verb:-$word}} ;; esac; done
case $verb in
  show) printf 'LoadState=loaded\\nActiveState=%s\\nSubState=x\\nResult=%s\\nInvocationID=%s\\nNRestarts=0\\n' \
    $(cat {there}/active) $(cat {there}/starts) ;;
  restart) echo $(($(cat {there}/starts) + 1)) > {there}/starts; echo active success > {there}/active ;;
esac
"""
UNIT_LEVELS_YAML = """\
      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}, {do: systemd, restart: toy.service}],
         verify: {settle: 10s}}
      - {name: version, steps: [{do: git, revert: v2-merge}, {do: systemd, restart: toy.service}]}
"""


@pytest.mark.parametrize(
    ("ends", "outcome", "starts"), [("inactive success", "stopped", "2"), ("failed exit-code", "proven", "3")]
)
def test_a_unit_that_a_person_stops_in_the_middle_of_a_plan_stays_down_and_one_that_crashes_does_not(
    make_harness: MakeHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, outcome: str, starts: str
) -> None:
    there = tmp_path / "bin"
    there.mkdir()
    (there / "systemctl").write_text(FAKE_SYSTEMCTL.format(there=there))
    (there / "systemctl").chmod(0o755)
    (there / "active").write_text("active success\n")
    (there / "starts").write_text("1\n")
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    harness = make_harness(levels=UNIT_LEVELS_YAML)
    after_step(harness, "restart toy.service", lambda: (there / "active").write_text(f"{ends}\n"))
    harness.advance_until(lambda: harness.runs and harness.runs[0].outcome)

    assert harness.outcomes() == [("ladder", outcome)]
    assert (there / "starts").read_text().strip() == starts
    assert harness.is_latched() == (outcome == "stopped")
    assert bool(harness.rollback_commits()) == (outcome == "proven")


# ─ whole processes ─


def prepare_halt(folder: Path) -> tuple[Path, list[str]]:
    """(the file in which the halt's one step leaves its mark, the words of a command but for what it does)."""
    repo = GitRepo(folder / "bot")
    repo.commit("v1", config__py="TRADING = True\n")
    (folder / "rules").mkdir()
    (folder / "watchdog.yaml").write_text(
        'sources: {bot: {type: scrape, url: "http://127.0.0.1:1/metrics"}}\n'
        f'state: {folder / "state"}\nweb: {{listen: "127.0.0.1:0"}}\n'
    )
    (folder / "rules" / "bot.yaml").write_text(f"""\
targets: {{bot: {{repo: {repo.path}}}}}
plans:
  halt:
    kind: halt
    levels:
      - {{name: stop, steps: [{{do: command, run: [sh, -c, "echo one >> effects; sleep 1"], check: [test, -e, effects]}}],
         verify: {{run: ["true"], give_up: 5s}}}}
""")
    return repo.path / "effects", [sys.executable, "-m", "watchdog"]


@pytest.mark.slow
def test_of_two_commands_at_once_one_acts_and_both_end(tmp_path: Path) -> None:
    """No daemon runs: each would be one."""
    effects, program = prepare_halt(tmp_path)
    argv = [*program, "rollback", "halt", "--yes", "--config", str(tmp_path)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [one.communicate(timeout=180)[0] for one in both]

    assert effects.read_text() == "one\n", said
    assert 0 in [one.returncode for one in both], said
    code, text = run_in_fork(lambda: _assert_no_overlap(tmp_path / "state" / "journal.db"))
    assert code == 0, (text, said)


@pytest.mark.slow
def test_a_command_whose_daemon_dies_carries_its_run_out_itself(tmp_path: Path) -> None:
    effects, program = prepare_halt(tmp_path)
    log = tmp_path / "log"
    with log.open("wb") as stream:
        daemon = subprocess.Popen([*program, "run", "--config", str(tmp_path)], stderr=stream)
    try:
        wait_until(lambda: "watching" in log.read_text(), "it watches")
        command = subprocess.Popen(
            [*program, "rollback", "halt", "--yes", "--config", str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        wait_until(effects.exists, "the step is at work")
    finally:
        daemon.kill()
        daemon.wait()
    said = command.communicate(timeout=180)[0]

    assert (command.returncode, effects.read_text()) == (0, "one\n"), said


def _assert_no_overlap(path: Path) -> None:
    journal = SqliteJournal(path)
    listed = [journal.runs.get_run(row[0]) for row in journal.query("SELECT id FROM run ORDER BY id")]
    assert listed
    assert all(run.ended is not None for run in listed)
    acts = [(step.started or 0, step.ended or 0) for run in listed for step in journal.runs.list_steps(run.id)]
    assert all(one[1] <= two[0] for one, two in pairwise(acts)), acts
