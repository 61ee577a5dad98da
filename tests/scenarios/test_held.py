"""What a latch holds is watched: whoever undoes it is told of at once, once, with who it was; what says `keep` is put back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.harness import ScenarioHarness
from tests.support.pipeline_harness import START
from watchdog.app.latch_watch import MAX_KEPT, LatchWatch
from watchdog.core.executor import DirectExecutor
from watchdog.core.model import Message
from watchdog.journal.lock import StateLock
from watchdog.rollback.held import list_undone

KEPT = ("kind: halt\n", "kind: halt\n    keep: true\n")
UNDONE = "bot: what halt made safe is no longer so"
SO_AGAIN = "bot: what its latch holds is so again"


class HeldHarness(ScenarioHarness):
    """A halted bot whose latch is looked at every five seconds."""

    def open(self) -> None:
        super().open()
        self.lock = StateLock(self.folder)
        self.latches = LatchWatch(
            self.pipeline,
            DirectExecutor(),
            _call,  # type: ignore[arg-type]
            lambda: self.now,
            self._notify_people,
            self.lock,
        )

    def _notify_people(self, message: Message) -> None:
        with self.journal.transaction() as tx:
            self.pipeline.incident_manager.notify(tx, message, self.now)

    def look(self, times: int = 1) -> None:
        """So many looks, five seconds apart, and what comes of them."""
        for _ in range(times):
            self.advance_seconds(5)
            self.loop.run_until_complete(self.latches.inspect(self.rollback.wake))
        self.advance_seconds(3)

    def ask(self, kind: str, **args: Any) -> str:
        answer = getattr(self.requests, kind)(**args, now=self.now)
        assert answer[0], answer
        return str(answer[1])

    def others_git(self, *args: str) -> None:
        """Somebody else's git, at this moment of the test's own time."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GIT_COMMITTER_DATE", f"@{self.now // 1_000} +0000")
            self.repo.git(*args)

    def set_trading(self, value: str) -> None:
        text = self.repo.read("config.py")
        for other in ("True", "False"):
            text = text.replace(f"TRADING = {other}", f"TRADING = {value}")
        Path(self.repo.path, "config.py").write_text(text)

    def told(self, title: str) -> list[tuple[str, ...]]:
        rows = self.journal.query("SELECT lines FROM message WHERE title = ? AND channel = 'chat' ORDER BY id", title)
        return [tuple(json.loads(row["lines"])) for row in rows]

    def kept_runs(self) -> list[str | None]:
        return [run.outcome for run in self.runs if run.by.startswith("keep: ")]


async def _call(key: str, deadline: float, call: Callable[..., Any], *args: Any) -> Any:
    return call(*args)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., HeldHarness]]:
    made: list[HeldHarness] = []
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"@{START // 1_000} +0000")

    def make_one(**options: Any) -> HeldHarness:
        one = HeldHarness(tmp_path, **options)
        made.append(one)
        one.bad_since_model = 3
        one.advance_seconds(3, equity=1_000)
        one.advance_until(lambda: one.outcomes() == [("halt", "proven")], equity=800)
        assert one.is_latched()
        assert one.config_values()["TRADING"] == "False"
        one.look(2)
        assert one.told(UNDONE) == []
        return one

    yield make_one
    for one in made:
        one.close()


def test_a_reset_that_switches_trading_on_again_is_told_at_once_with_who_it_was(
    make: Callable[..., HeldHarness],
) -> None:
    bot = make()
    bot.others_git("reset", "-q", "--hard")

    bot.look()

    ((what, cause, cure),) = bot.told(UNDONE)
    assert what == "set TRADING = false in config.py: now TRADING = True"
    assert cause.startswith("git reset: moving to HEAD, by ")
    assert cause.endswith("(Merge v2)")
    assert cure == (
        'put it back: trading-watchdog rollback halt --target bot; if it is meant: trading-watchdog resume bot --reason "…"'
    )
    assert bot.config_values()["TRADING"] == "True"


def test_another_file_in_its_place_is_told_in_one_sentence(make: Callable[..., HeldHarness]) -> None:
    bot = make()
    at = Path(bot.repo.path)
    bot.set_trading("True")
    (at / "config.py").rename(at / "live.py")
    (at / "config.py").symlink_to("live.py")
    bot.look()

    assert bot.told(UNDONE)[0][0] == (
        f"set TRADING = false in config.py: {at}/config.py now leads to {at}/live.py, where TRADING = True"
    )


def test_it_is_told_once_and_its_end_is_told(make: Callable[..., HeldHarness]) -> None:
    bot = make()
    bot.set_trading("True")
    bot.look(5)
    assert len(bot.told(UNDONE)) == 1
    assert "was written at" in bot.told(UNDONE)[0][1]

    bot.set_trading("False")
    bot.look(2)
    assert bot.told(SO_AGAIN) == []
    bot.look(2)

    assert bot.told(SO_AGAIN) == [("set TRADING = false in config.py",)]
    bot.set_trading("True")
    bot.look()
    assert len(bot.told(UNDONE)) == 2


@pytest.mark.slow
def test_what_goes_to_and_fro_is_told_once(make: Callable[..., HeldHarness]) -> None:
    bot = make()
    for _ in range(6):
        bot.set_trading("True")
        bot.look()
        bot.set_trading("False")
        bot.look()

    assert len(bot.told(UNDONE)) == 1
    assert bot.told(SO_AGAIN) == []


def test_what_was_undone_while_the_watchdog_was_down_is_told_when_it_is_back_and_not_twice(
    make: Callable[..., HeldHarness],
) -> None:
    bot = make()
    bot.set_trading("True")
    bot.kill()
    bot.look()
    assert len(bot.told(UNDONE)) == 1

    bot.kill()
    bot.look(2)

    assert len(bot.told(UNDONE)) == 1
    bot.set_trading("False")
    bot.kill()
    bot.look(3)
    assert len(bot.told(SO_AGAIN)) == 1


def test_a_deploy_that_brings_a_new_version_is_seen(make: Callable[..., HeldHarness]) -> None:
    bot = make()
    bot.others_git("checkout", "-q", "--", "config.py")
    bot.repo.write_files(config__py=bot.repo.read("config.py") + "MORE = 1\n")
    bot.others_git("commit", "-q", "-a", "-m", "v3")

    bot.look()

    ((what, cause, _),) = bot.told(UNDONE)
    assert "now TRADING = True" in what
    assert "(v3)" in cause


def test_a_value_that_the_halt_has_found_so_is_held_as_well(make: Callable[..., HeldHarness], tmp_path: Path) -> None:
    bot = make()
    bot.ask("start_plan", plan="halt", target="bot", level=None, who="ann")
    bot.advance_until(lambda: len(bot.outcomes()) == 2 and bot.outcomes()[-1][1] == "proven", equity=800)
    assert [step[3] for step in bot.steps(bot.runs[-1])] == ["skipped"]

    bot.set_trading("True")
    bot.look()

    ((*lines, _, _),) = bot.told(UNDONE)
    assert lines == ["set TRADING = false in config.py: now TRADING = True"]


def test_what_the_plan_keeps_is_put_back_and_proven(make: Callable[..., HeldHarness]) -> None:
    bot = make(replacement=KEPT)
    bot.others_git("reset", "-q", "--hard")

    bot.look()

    assert bot.config_values()["TRADING"] == "False"
    assert bot.kept_runs() == ["proven"]
    ((_, _, last),) = bot.told(UNDONE)
    assert last.startswith("halt puts it back now (keep: true; run 2)")
    bot.look(4)
    assert len(bot.told(SO_AGAIN)) == 1
    assert bot.kept_runs() == ["proven"]


@pytest.mark.slow
def test_it_is_put_back_three_times_an_hour_and_then_people_are_asked(make: Callable[..., HeldHarness]) -> None:
    bot = make(replacement=KEPT)
    for _ in range(MAX_KEPT + 3):
        bot.set_trading("True")
        bot.look(5)

    assert bot.kept_runs() == ["proven"] * MAX_KEPT
    assert bot.config_values()["TRADING"] == "True"
    assert len(bot.told("bot: halt does not put it back any more")) == 1

    bot.advance_seconds(3_600)
    bot.look()
    assert bot.config_values()["TRADING"] == "False"


def test_nothing_is_put_back_while_a_person_holds_the_bot(make: Callable[..., HeldHarness]) -> None:
    bot = make(replacement=KEPT)
    bot.ask("hold_target", target="bot", duration=60_000, who="ann: I am at it")
    bot.set_trading("True")

    bot.look(3)

    assert bot.kept_runs() == []
    assert len(bot.told(UNDONE)) == 1
    assert "when the hold is over (ann: I am at it)" in bot.told(UNDONE)[0][-1]
    bot.advance_seconds(60)
    bot.look()
    assert bot.kept_runs() == ["proven"]


def test_nothing_is_told_or_put_back_after_a_resume(make: Callable[..., HeldHarness]) -> None:
    bot = make(replacement=KEPT)
    bot.advance_seconds(2, equity=1_000)
    bot.ask("resume_target", target="bot", who="ann: it was me")
    bot.set_trading("True")

    bot.look(4)

    assert (bot.kept_runs(), bot.told(UNDONE), bot.is_latched()) == ([], [], False)
    assert bot.config_values()["TRADING"] == "True"


def test_a_latch_that_came_later_holds_nothing_of_one_that_was_opened(make: Callable[..., HeldHarness]) -> None:
    bot = make()
    bot.advance_seconds(2, equity=1_000)
    bot.ask("resume_target", target="bot", who="ann: it was me")
    bot.set_trading("True")
    with bot.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=bot.now, latch_why="by hand")

    bot.look(2)

    assert bot.told(UNDONE) == []


def test_what_a_command_says_that_it_leaves_is_held_by_its_check(make: Callable[..., HeldHarness]) -> None:
    flag = "{do: flag, file: config.py, set: {TRADING: false}}]"
    step = '{do: command, run: [touch, closed], check: [test, -e, closed], leaves: "entries are closed"}]'
    bot = make(replacement=(f"steps: [{flag},\n", f"steps: [{flag[:-1]}, {step},\n"))
    Path(bot.repo.path, "closed").unlink()

    bot.look()

    assert bot.told(UNDONE)[0][0].endswith(": now not entries are closed")


@pytest.mark.slow
def test_a_flag_that_cannot_be_looked_at_is_told_after_a_minute_and_is_not_called_undone(
    make: Callable[..., HeldHarness],
) -> None:
    bot = make()
    config = Path(bot.repo.path, "config.py")
    config.rename(config.with_name("aside"))
    config.mkdir()  # neither a file nor gone
    bot.on_each_second = lambda: None
    values = {"error_ratio": 0.01, "entries": 0.0}
    bot.bot_values = lambda: values  # type: ignore[method-assign]

    bot.look(15)

    assert bot.told(UNDONE) == []
    ((why, _),) = bot.told("bot: what its latch holds cannot be looked at")
    assert "is no regular file but a folder" in why


def test_a_file_that_was_taken_away_is_no_longer_so(make: Callable[..., HeldHarness]) -> None:
    bot = make()
    values = {"error_ratio": 0.01, "entries": 0.0}
    bot.bot_values = lambda: values  # type: ignore[method-assign]
    Path(bot.repo.path, "config.py").unlink()

    bot.look()

    assert "any more" in bot.told(UNDONE)[0][0]


def test_status_says_what_is_no_longer_so(make: Callable[..., HeldHarness]) -> None:
    bot = make()
    assert list_undone(bot.journal, "bot", bot.now) == []
    bot.set_trading("True")
    bot.look()

    assert list_undone(bot.journal, "bot", bot.now) == ["no longer so: set TRADING = false in config.py"]
