"""`kill -9` and SIGTERM of a real process at the points of a plan, for every action; then another process carries on.

Every effect happens exactly once where before and after can be read, at most once and with a page where they cannot;
nothing of anybody's is lost; and the run comes to its end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.crash import harness
from tests.crash.harness import CrashHarness
from tests.crash.scenarios import SCENARIOS, Scenario, Workspace, find_lost_user_data, kill_bots, start_api_server

RESTART_DELAY = 1_000


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One for all; it finds a try's folder by its name."""
    server, address = start_api_server(tmp_path_factory.getbasetemp() / "tries")
    yield address
    server.kill()
    server.communicate()


@pytest.fixture
def attempts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp() / "tries"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize(
    "story",
    [pytest.param(story, id=story.name, marks=[pytest.mark.quick] * (story.name == "flag")) for story in SCENARIOS],
)
@pytest.mark.parametrize("death", ["kill -9", "SIGTERM"])
def test_wherever_it_dies_every_effect_happens_once_and_the_run_ends(
    story: Scenario, death: str, api_url: str, attempts_folder: Path, request: pytest.FixtureRequest
) -> None:
    number = (SCENARIOS.index(story) * 2 + (death == "SIGTERM")) * 1_000
    template = harness.make_template(story, attempts_folder / f"{number}", api_url)
    whole = harness.copy_template(template, Workspace(attempts_folder / f"{number + 1}", api_url))
    code, said = harness.run_in_fork(harness.make_first_process(whole, story))
    assert code == 0, said
    columns, told, names = json.loads((whole.folder / "points.json").read_text())
    assert story.read_effects(whole) == story.expected_effects
    kill_bots(whole)
    points = harness.select_points(columns)
    if death == "SIGTERM":  # ahead of the run it is no other death; and it takes effect between two steps only
        points = [point for point in points if columns[point - 1] != "queue"][::3]
    elif story.name in ("git to", "git files"):  # but for the commit's making, the same as a revert
        points = points[::2]

    wrong, tried = [], []
    for point in points:
        world = harness.copy_template(template, Workspace(attempts_folder / f"{number + 1 + point}", api_url))
        try:
            code, said = harness.run_in_fork(
                harness.make_first_process(
                    world,
                    story,
                    fault_at=point,
                    inject_fault=harness.send_sigkill if death == "kill -9" else harness.send_sigterm,
                )
            )
            assert code == (-9 if death == "kill -9" else 0), said
            code, said = harness.run_in_fork(partial(assert_recovers, world, story, death, told))
        except AssertionError as failure:
            code, said = 1, str(failure)
        finally:
            kill_bots(world)
        tried.append((columns[point - 1], code == 0))
        if code != 0:
            wrong.append(f"{columns[point - 1]} (point {point}, {names[point - 1]}): {said}")
    request.node.user_properties.append(("crash", [story.name, death, tried]))
    assert not wrong, "\n".join(wrong)


def assert_recovers(workspace: Workspace, scenario: Scenario, death: str, expected_titles: list[str]) -> None:
    """The next process, in the same folder."""
    if scenario.name == "systemd":
        harness.prepend_to_path(workspace)
    successor = CrashHarness(workspace, scenario, now=harness.time_after_last_event(workspace))
    successor.counted_points.fault_at = 2**62
    started = [
        step.say
        for row in successor.journal.query("SELECT id FROM run")
        for step in successor.journal.runs.list_steps(row[0])
        if step.status == "started"
    ]
    if death == "SIGTERM":
        assert not started, f"left in the middle of {started}"
    run = successor.get_or_queue_run()
    successor.run_to_end()
    ended = successor.get_run(run)
    effects = scenario.read_effects(workspace)
    assert ended.status == "ended"
    assert not [step for step in successor.steps(run) if step.status == "started"]
    if scenario.is_detectable or not started or not started[0].startswith(("POST", "run")):
        assert (ended.outcome, effects) == ("proven", scenario.expected_effects), (ended, successor.step_outcomes(run))
        assert set(successor.message_titles()) == set(expected_titles)
        assert (successor.latch_reason() is not None) == (scenario.kind == "halt")
    else:
        assert ended.outcome == "stopped"
        assert effects in ([], scenario.expected_effects)
        assert successor.latch_reason()
        assert "cannot be told" in successor.critical_messages()[-1]
    assert find_lost_user_data(workspace) == []
    assert successor.journal.query("PRAGMA integrity_check")[0][0] == "ok"
