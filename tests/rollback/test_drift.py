"""Somebody else at work is told from our own later steps: what a later step overwrote is not looked at, all else is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.actions import make_action
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action, StepState
from watchdog.core.target import Target
from watchdog.journal.runs import Step
from watchdog.rollback.drift import check_unchanged, find_not_running, find_not_stopped
from watchdog.rollback.executor import StepExecutor, StoppedError

REPO = Path("/bot")
REVERT: dict[str, Any] = {"do": "git", "revert": "v2"}
TRADING_OFF: dict[str, Any] = {"do": "flag", "file": "config.py", "set": {"TRADING": False}}
FEATURE_OFF: dict[str, Any] = {"do": "flag", "file": "config.py", "set": {"FEATURE": False}}
SMALL: dict[str, Any] = {"do": "flag", "file": "other.yaml", "set": {"size": 1}}
RESTART: dict[str, Any] = {"do": "systemd", "restart": "bot.service"}


class DoneSteps:
    """An executor whose steps of level 0 are done; `states` by a word of what a step is called, else it is `after`."""

    def __init__(self, *steps: dict[str, Any], states: Mapping[str, StepState]) -> None:
        self.actions: list[Action] = [make_action(**step).bind(Target(repo=str(REPO))) for step in steps]
        self.states = states

    def step_rows(self) -> list[Step]:
        return [
            Step(1, "level", 0, n, action.describe(), "done", self._captured(action), "", n, n, None, None)
            for n, action in enumerate(self.actions)
        ]

    def resolve_action(self, row: Step) -> Action:
        return self.actions[row.n]

    async def probe_state(self, action: Action, captured: JsonObject) -> StepState:
        return next((state for word, state in self.states.items() if word in action.describe()), "after")

    def _captured(self, action: Action) -> JsonObject:
        file = next(iter(action.value_edits()), None)
        return {"file": str(file)} if file else {"repo": str(REPO), "changes": {"config.py": ["a", "b"]}}


def check(*steps: dict[str, Any], states: Mapping[str, StepState]) -> None:
    asyncio.run(check_unchanged(cast(StepExecutor, DoneSteps(*steps, states=states))))


def test_a_commit_is_not_looked_at_once_a_flag_was_set_in_one_of_its_files() -> None:
    check(REVERT, TRADING_OFF, states={"revert": "other"})


def test_a_commit_that_is_undone_is_seen_although_a_flag_was_set_elsewhere() -> None:
    with pytest.raises(StoppedError, match="somebody else is at work: git revert v2 was undone"):
        check(REVERT, SMALL, states={"revert": "before"})


@pytest.mark.parametrize("name", ["TRADING", "FEATURE"])
def test_of_two_flags_in_one_file_each_is_looked_at(name: str) -> None:
    with pytest.raises(StoppedError, match=f"set {name} = false in config.py was changed"):
        check(TRADING_OFF, FEATURE_OFF, states={name: "other"})


def test_a_flag_below_a_later_commit_is_not_looked_at() -> None:
    check(TRADING_OFF, REVERT, states={"TRADING": "before"})


@pytest.mark.parametrize("state", ["before", "stopped"])
def test_a_unit_that_does_not_run_any_more_is_told_in_a_halt(state: StepState) -> None:
    fake = DoneSteps(RESTART, states={"restart": state})

    assert asyncio.run(find_not_running(cast(StepExecutor, fake), "halt")) == "restart bot.service"


def test_a_repair_stops_when_somebody_stopped_the_unit_and_goes_on_when_it_crashed() -> None:
    stopped = DoneSteps(RESTART, states={"restart": "stopped"})
    crashed = DoneSteps(RESTART, states={"restart": "before"})

    with pytest.raises(StoppedError, match=r"after restart bot\.service it was stopped, and did not crash"):
        asyncio.run(find_not_running(cast(StepExecutor, stopped), "repair"))
    assert asyncio.run(find_not_running(cast(StepExecutor, crashed), "repair")) == "restart bot.service"


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("after", None),
        ("before", ("disproven", "stop bot.service: it runs again")),
        ("unknown", ("unknown", "stop bot.service: nobody can tell whether it still runs")),
    ],
)
def test_that_a_bot_is_gone_must_be_seen(state: StepState, outcome: tuple[str, str] | None) -> None:
    fake = DoneSteps({"do": "systemd", "stop": "bot.service"}, states={"stop": state})

    assert asyncio.run(find_not_stopped(cast(StepExecutor, fake))) == outcome
    assert asyncio.run(find_not_running(cast(StepExecutor, fake), "halt")) is None
