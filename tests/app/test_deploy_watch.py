"""What other people change under us, and which commit has proved itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actions.test_systemd import FakeSystemctl
from watchdog.app.deploy_watch import LAST_GOOD_AFTER, DeployWatch, TargetSnapshot, inspect_target
from watchdog.core.executor import DirectExecutor
from watchdog.core.model import Millis
from watchdog.core.target import ProcessSpec, Target
from watchdog.journal.sqlite import SqliteJournal
from watchdog.journal.targets import TargetState

START = 1_700_000_000_000
INTERVAL = 5_000
FIRST_SEEN = TargetSnapshot("c1", "i1", 0)


class DeployWatchHarness:
    """Looks every five seconds at one target."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self.open()

    def open(self) -> None:
        self.journal = SqliteJournal(self.folder / "journal.db", durable=False)
        self.deploy_watch = DeployWatch(self.journal)

    def inspect(
        self, seen: TargetSnapshot = FIRST_SEEN, *, by_watchdog: bool = False, after: Millis = INTERVAL
    ) -> bool:
        self.now += after
        return self.deploy_watch.record("bot", seen, by_watchdog, self.now)

    def becomes_known_good(self, time: Millis, seen: TargetSnapshot = FIRST_SEEN, *, every: Millis = 50_000) -> bool:
        """Whether the commit became a good one within the time."""
        return (
            sum(self.inspect(seen, after=every) for _ in range(time // every)) > 0
        )  # all of them, not until the first

    @property
    def target_state(self) -> TargetState:
        return self.journal.targets.get_state("bot", self.now)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[DeployWatchHarness]:
    made = DeployWatchHarness(tmp_path)
    yield made
    made.journal.close()


@pytest.mark.parametrize(
    ("seen", "settles"),
    [
        (TargetSnapshot("c2", "i1", 0), True),
        (TargetSnapshot("c1", "i2", 0), True),
        (TargetSnapshot("c1", "i2", 1), False),
        (TargetSnapshot("c2", "i2", 1), True),
        (TargetSnapshot(None, None, 0, False), False),
        (TargetSnapshot("c1", None, 0, False), False),
    ],
    ids=["deployed", "restarted", "restarted by systemd", "deployed and crashed", "cannot be read", "stopped"],
)
def test_what_somebody_else_changes_settles_and_what_systemd_does_by_itself_does_not(
    harness: DeployWatchHarness, seen: TargetSnapshot, settles: bool
) -> None:
    harness.inspect()
    harness.inspect()
    assert harness.target_state.unsettled is None

    harness.inspect(seen)

    assert (harness.target_state.unsettled == harness.now) is settles


def test_what_we_changed_ourselves_is_nobodys_deployment(harness: DeployWatchHarness) -> None:
    harness.inspect()

    harness.inspect(TargetSnapshot("c2", "i2", 0), by_watchdog=True)
    harness.inspect(TargetSnapshot("c2", "i2", 0))

    assert harness.target_state.unsettled is None
    assert (harness.target_state.head, harness.target_state.invocation) == ("c2", "i2")


def test_what_was_changed_while_the_watchdog_was_away_settles(harness: DeployWatchHarness) -> None:
    harness.inspect()
    harness.journal.close()
    harness.open()

    harness.inspect(TargetSnapshot("c2", "i2", 0), after=3_600_000)

    assert harness.target_state.unsettled == harness.now


def test_a_commit_that_was_quiet_for_a_day_of_looks_is_good_once(harness: DeployWatchHarness) -> None:
    harness.inspect()
    assert not harness.becomes_known_good(LAST_GOOD_AFTER - 100_000)

    assert harness.becomes_known_good(200_000)
    assert not harness.becomes_known_good(200_000)


def test_looks_that_are_seconds_apart_add_up(harness: DeployWatchHarness) -> None:
    for _ in range(30):
        harness.inspect()

    assert harness.target_state.quiet_for == 120_000  # of 145 s; the journal keeps whole minutes


def test_quiet_adds_up_over_a_restart_without_the_time_in_between(harness: DeployWatchHarness) -> None:
    harness.inspect()
    harness.becomes_known_good(LAST_GOOD_AFTER // 2)
    harness.journal.close()
    harness.open()
    harness.inspect(after=LAST_GOOD_AFTER)

    assert not harness.becomes_known_good(LAST_GOOD_AFTER // 2 - 200_000)
    assert harness.becomes_known_good(400_000)


def test_a_night_asleep_is_no_night_of_quiet(harness: DeployWatchHarness) -> None:
    harness.inspect()

    assert not harness.inspect(after=2 * LAST_GOOD_AFTER)
    assert not harness.inspect(after=-LAST_GOOD_AFTER)
    assert not harness.becomes_known_good(LAST_GOOD_AFTER // 2)


@pytest.mark.parametrize(
    "seen", [TargetSnapshot("c1", None, 0, False), TargetSnapshot(None, None, 0, False)], ids=["stopped", "unreadable"]
)
def test_nothing_speaks_for_the_commit_of_a_bot_that_does_not_run(
    harness: DeployWatchHarness, seen: TargetSnapshot
) -> None:
    harness.inspect()

    assert not harness.becomes_known_good(2 * LAST_GOOD_AFTER, seen)


def test_an_incident_a_latch_and_a_deployment_start_the_quiet_anew(harness: DeployWatchHarness) -> None:
    harness.inspect()
    harness.becomes_known_good(LAST_GOOD_AFTER - 500_000)
    with harness.journal.transaction() as tx:
        number = tx.incidents.open_incident("bot", "warn", "errors", harness.now)
    harness.inspect()
    with harness.journal.transaction() as tx:
        tx.incidents.close_incident(number, harness.now)
    assert not harness.becomes_known_good(LAST_GOOD_AFTER - 500_000)

    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="halt")
    assert not harness.becomes_known_good(LAST_GOOD_AFTER)
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=None, latch_why=None)
    assert not harness.becomes_known_good(LAST_GOOD_AFTER - 500_000)

    harness.inspect(TargetSnapshot("c2", "i2", 0))
    assert not harness.becomes_known_good(LAST_GOOD_AFTER - 500_000, TargetSnapshot("c2", "i2", 0))
    assert harness.becomes_known_good(1_000_000, TargetSnapshot("c2", "i2", 0))


@pytest.mark.parametrize(
    ("facts", "seen"),
    [
        ({"InvocationID": "i7", "NRestarts": "3"}, TargetSnapshot(None, "i7", 3)),
        ({"ActiveState": "failed", "InvocationID": ""}, TargetSnapshot(None, None, 0, healthy=False)),
        (
            {"LoadState": "not-found", "ActiveState": "inactive", "InvocationID": ""},
            TargetSnapshot(None, None, 0, False),
        ),
        ({"NRestarts": "what"}, TargetSnapshot(None, None, 0, healthy=False)),
    ],
    ids=["runs", "failed", "not known", "no answer that can be read"],
)
def test_a_unit_is_seen_as_systemd_says_it_is(
    facts: dict[str, str], seen: TargetSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    FakeSystemctl(tmp_path).set_state(**facts)

    assert inspect_target(Target(unit="bot.service"), None, DirectExecutor()) == seen


def test_a_process_is_seen_as_its_pid_file_says(tmp_path: Path) -> None:
    bot = Target(repo=str(tmp_path), process=ProcessSpec(pid_file="bot.pid", command=("sleep", "100")))
    assert inspect_target(bot.model_copy(update={"repo": None}), None, DirectExecutor()) == TargetSnapshot(
        None, None, 0, healthy=False
    )
    seen = bot.model_copy(update={"repo": None, "process": bot.process and bot.process.resolve(str(tmp_path))})
    assert inspect_target(seen, None, DirectExecutor()) == TargetSnapshot(None, None, 0, healthy=False)

    with subprocess.Popen(["sleep", "100"], cwd=tmp_path) as process:
        try:
            (tmp_path / "bot.pid").write_text(str(process.pid))
            running = inspect_target(seen, None, DirectExecutor())
        finally:
            process.kill()

    assert running.healthy
    assert (running.invocation or "").startswith(f"{process.pid} ")


def test_a_process_whose_pid_file_is_gone_is_no_other_run_of_the_bot(tmp_path: Path) -> None:
    spec = ProcessSpec(pid_file="bot.pid", command=("sleep", "4713"), cwd=str(tmp_path))
    with subprocess.Popen(["sleep", "4713"], cwd=tmp_path) as process:
        try:
            (tmp_path / "bot.pid").write_text(str(process.pid))
            named = inspect_target(Target(process=spec), None, DirectExecutor())
            (tmp_path / "bot.pid").unlink()
            assert inspect_target(Target(process=spec), None, DirectExecutor()) == named
            other = spec.model_copy(update={"command": ("another", "command")})
            assert inspect_target(Target(process=other), None, DirectExecutor(), named.invocation) == named
        finally:
            process.kill()
