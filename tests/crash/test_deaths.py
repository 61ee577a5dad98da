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

from tests.crash import lives
from tests.crash.lives import Life
from tests.crash.stories import STORIES, Story, World, end, lost, serve
from watchdog.journal import runs

SECOND_LIFE = 1_000


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One for all; it finds a try's folder by its name."""
    server, address = serve(tmp_path_factory.getbasetemp() / "tries")
    yield address
    server.kill()
    server.communicate()


@pytest.fixture
def tries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp() / "tries"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.parametrize("death", ["kill -9", "SIGTERM"])
def test_wherever_it_dies_every_effect_happens_once_and_the_run_ends(
    story: Story, death: str, api: str, tries: Path, request: pytest.FixtureRequest
) -> None:
    number = (STORIES.index(story) * 2 + (death == "SIGTERM")) * 1_000
    template = lives.template_of(story, tries / f"{number}", api)
    whole = lives.fresh(template, World(tries / f"{number + 1}", api))
    code, said = lives.forked(lives.lived(whole, story))
    assert code == 0, said
    columns, told, names = json.loads((whole.folder / "points.json").read_text())
    assert story.effects(whole) == story.once
    end(whole)
    points = lives.chosen(columns)
    if death == "SIGTERM":  # ahead of the run it is no other death; and it takes effect between two steps only
        points = [point for point in points if columns[point - 1] != "queue"][::3]
    elif story.name in ("git to", "git files"):  # but for the commit's making, the same as a revert
        points = points[::2]

    wrong, tried = [], []
    for point in points:
        world = lives.fresh(template, World(tries / f"{number + 1 + point}", api))
        try:
            code, said = lives.forked(
                lives.lived(world, story, at=point, happens=lives.kill if death == "kill -9" else lives.term)
            )
            assert code == (-9 if death == "kill -9" else 0), said
            code, said = lives.forked(partial(carries_on, world, story, death, told))
        except AssertionError as failure:
            code, said = 1, str(failure)
        finally:
            end(world)
        tried.append((columns[point - 1], code == 0))
        if code != 0:
            wrong.append(f"{columns[point - 1]} (point {point}, {names[point - 1]}): {said}")
    request.node.user_properties.append(("crash", [story.name, death, tried]))
    assert not wrong, "\n".join(wrong)


def carries_on(world: World, story: Story, death: str, told: list[str]) -> None:
    """The next process, in the same folder."""
    if story.name == "systemd":
        lives.on_path(world)
    heir = Life(world, story, now=lives.later(world))
    heir.points.at = 2**62
    started = [
        step.say
        for row in heir.journal.rows("SELECT id FROM run")
        for step in runs.steps(heir.journal, row[0])
        if step.status == "started"
    ]
    if death == "SIGTERM":
        assert not started, f"left in the middle of {started}"
    run = heir.begin()
    heir.play()
    ended = heir.run(run)
    effects = story.effects(world)
    assert ended.status == "ended"
    assert not [step for step in heir.steps(run) if step.status == "started"]
    if story.sure or not started or not started[0].startswith(("POST", "run")):
        assert (ended.outcome, effects) == ("proven", story.once), (ended, heir.did(run))
        assert set(heir.told()) == set(told)
        assert (heir.latched() is not None) == (story.kind == "halt")
    else:
        assert ended.outcome == "stopped"
        assert effects in ([], story.once)
        assert heir.latched()
        assert "cannot be told" in heir.pages()[-1]
    assert lost(world) == []
    assert heir.journal.rows("PRAGMA integrity_check")[0][0] == "ok"
