"""What every action promises, asked of each of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from tests.actions.test_http import FakeApi
from tests.actions.test_process import BotFolder
from tests.actions.test_systemd import FakeSystemctl
from tests.support.actions import GitRepo, json_round_trip, killed_at, make_action
from watchdog.actions import AnyAction as Union
from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import ConfigModel, JsonObject
from watchdog.core.protocols import Action, CommitRange
from watchdog.core.target import ProcessSpec, Target
from watchdog.core.units import parse_duration
from watchdog.host import child_process

DOCS = Path(__file__).parents[2] / "docs/actions"
PACKAGE = Path(__file__).parents[2] / "watchdog/actions"
ACTION_CLASSES: tuple[type[ConfigModel], ...] = get_args(get_args(Union)[0])
CLASS_BY_NAME = {get_args(kind.model_fields["do"].annotation)[0]: kind for kind in ACTION_CLASSES}

STEPS: dict[str, dict[str, Any]] = {
    "flag": {"file": "config.py", "set": {"SIZE": 9}},
    "git": {"revert": "x-merge"},
    "git to": {"to": "v1"},
    "git files": {"files": ["config.py"], "from": "v1", "branch": "emergency/x"},
    "systemd restart": {"restart": "unit"},
    "systemd stop": {"stop": "unit"},
    "systemd mask": {"stop": "unit", "mask": True},
    "systemd start": {"start": "unit"},
    "process restart": {"restart": "process", "alive_for": 10},
    "process start": {"start": "process", "alive_for": 10},
    "process stop": {"stop": "process"},
    "archive": {"paths": ["state", "state.json"], "into": "archives"},
    "restore": {"file": "state.json", "from": "state.json.backup"},
    "restore what is not there": {"file": "state.new", "from": "state.json.backup"},
    "http": {"url": "API/stop", "check": {"url": "API/state", "expect": {"answer": {"status": "stopped"}}}},
    "http without check": {"url": "API/stop"},
    "command": {"run": ["touch", "done"], "check": ["test", "-e", "done"]},
    "command without check": {"run": ["touch", "done"]},
}
BROKEN: dict[str, dict[str, Any]] = {
    "flag": {"file": "none.py", "set": {"SIZE": 9}},
    "git": {"revert": "nonsense"},
    "systemd": {"restart": "nonesuch.service"},
    "process": {
        "restart": "process",
        "place": ProcessSpec(pid_file="bot.pid", command=("no-such-program",)),
    },
    "archive": {"paths": ["none"], "into": "archives"},
    "restore": {"file": "state.json", "from": "none"},
    "http": {"url": "http://127.0.0.1:1/"},
    "command": {"run": ["no-such-program"], "check": ["no-such-program"]},
}

PERSISTENT = ("flag", "git")
WRITING = ("flag", "git", "archive", "restore")
REPEATABLE = ("systemd", "process", "http", "command")
API_SERVERS: list[FakeApi] = []


@pytest.fixture
def target(
    bot: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Target]:
    """A bot in a repository, as a unit, and as a process, which runs when the test is about one."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    FakeSystemctl(binaries)
    monkeypatch.setenv("PATH", f"{binaries}:{os.environ['PATH']}")
    place = BotFolder(bot.path)
    bot.path.joinpath(".git/info/exclude").write_text("bot.pid\nbot.log\ndone\nstate*\narchives\n")
    if request.node.callspec.params["name"].split()[0] in ("archive", "restore"):
        GitRepo(bot.path).write_files(state___a__db="a", state___deep___b="b", state__json='{"n": 2}\n')
        bot.path.joinpath("state.json.backup").write_text('{"n": 1}\n')
    if request.node.callspec.params["name"].startswith("process"):
        place.start_bot()
    if request.node.callspec.params["name"].startswith("http"):
        API_SERVERS.append(FakeApi())
    yield place.make_target().model_copy(update={"unit": "bot.service", "repo": str(bot.path)})
    while API_SERVERS:
        API_SERVERS.pop().close()
    for pid in place.running_bots():
        os.kill(pid, 9)


def make_step(name: str, target: Target, **more: Any) -> Action:
    """The step; its API is the one that the target's fixture serves."""
    fields = json.loads(
        json.dumps({**STEPS[name], **more}).replace("API/", f"{API_SERVERS[0].url}/" if API_SERVERS else "API/")
    )
    return make_action(do=name.split()[0], **fields).bind(target)


def observe(target: Target) -> list[Any]:
    """The world as far as our actions reach: tree, index, branch, unit, process."""
    repo = Path(target.repo or "")
    git = [
        ["git", "-C", str(repo), *words] for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--ignored"])
    ]
    looks = [*git, ["systemctl", "show", "--no-ask-password", "--", "bot.service"]]
    pid = (repo / "bot.pid").read_text() if (repo / "bot.pid").exists() else None
    return [pid, *(subprocess.run(argv, capture_output=True, check=True).stdout for argv in looks)]


def read_work_tree(repo: Path) -> dict[Path, bytes]:
    """Every file of the work tree."""
    files = (path.relative_to(repo) for path in repo.rglob("*") if path.is_file())
    return {path: (repo / path).read_bytes() for path in files if path.parts[0] != ".git"}


def file_times(target: Target) -> dict[Path, int]:
    """Of every file and folder, git's own too."""
    return {path: path.lstat().st_mtime_ns for path in Path(target.repo or "").rglob("*")}


def test_every_action_has_a_test_and_a_page() -> None:
    assert {name.split()[0] for name in STEPS} == set(CLASS_BY_NAME) == set(BROKEN)
    for name in CLASS_BY_NAME:
        assert (Path(__file__).parent / f"test_{name}.py").exists()
        assert (DOCS / f"{name}.md").exists()


def test_every_action_of_the_package_is_in_the_union() -> None:
    tag = re.compile(r'^    do: Literal\["(\w+)"\]$', re.MULTILINE)
    found = {word for file in PACKAGE.rglob("*.py") for word in tag.findall(file.read_text())}

    assert found == set(CLASS_BY_NAME)


@pytest.mark.parametrize("name", sorted(CLASS_BY_NAME))
def test_every_key_is_on_its_page_and_every_page_has_an_example(name: str) -> None:
    page = (DOCS / f"{name}.md").read_text()

    assert f"do: {name}" in page
    assert "```yaml" in page
    own = CLASS_BY_NAME[name].model_fields.keys() - ActionModel.model_fields.keys() - {"do"}
    for key in own | {"timeout"}:
        assert f"| `{CLASS_BY_NAME[name].model_fields[key].alias or key}` |" in page, key


@pytest.mark.parametrize("name", sorted(CLASS_BY_NAME))
def test_every_kind_says_whether_it_lasts_and_has_a_timeout(name: str) -> None:
    kind: Any = CLASS_BY_NAME[name]

    assert kind.persistent is (name in PERSISTENT)
    assert issubclass(kind, ActionModel)
    assert kind.model_fields["timeout"].default == parse_duration("60s")
    assert kind.__doc__


class Bell(ActionModel):
    """A new action that says no more than it must."""

    do: Literal["bell"] = "bell"

    def describe(self) -> str:
        return "ring the bell"

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:
        return "it rang"


def test_a_new_action_that_is_nothing_special_answers_all_that_is_asked(tmp_path: Path) -> None:
    bell: Action = Bell().bind(Target())
    captured = json_round_trip(bell.capture())

    assert (bell.persistent, bell.repeatable, bell.halt_only) == (False, True, False)
    assert not bell.stops_bot
    assert (bell.timeout, bell.retries, bell.retry_after, bell.on_error) == (60_000, 0, 5_000, "escalate")
    assert (bell.value_edits(), bell.touched_paths(captured), bell.preview(captured)) == ({}, (), "ring the bell")
    assert (bell.commit_range(captured), bell.unit_operations) == (None, ())
    assert (bell.lasting_changes(), bell.lasting_changes(captured)) == ((), ())
    assert (bell.findings(), bell.noop_reason(captured)) == ((), "so already")
    assert bell.redirect(FolderCopies(tmp_path)) is None
    assert bell.state(captured) == "unknown"  # done at most once
    assert bell.apply(captured, "k") == "it rang"


@pytest.mark.parametrize("name", sorted(STEPS))
def test_what_it_is_to_a_plan(name: str, target: Target) -> None:
    step, kind = make_step(name, target), name.split()[0]

    assert step.repeatable is (kind in REPEATABLE)
    assert step.halt_only is (name == "systemd mask")
    assert step.stops_bot is (name in ("systemd mask", "systemd stop", "process stop"))
    assert bool(step.unit_operations) is (kind == "systemd")


@pytest.mark.parametrize("name", sorted(STEPS))
def test_files_in_which_it_sets_values_are_known_ahead_and_are_what_it_touches(name: str, target: Target) -> None:
    step = make_step(name, target)
    edits = step.value_edits()

    assert bool(edits) is (name == "flag")
    if edits:
        assert edits == {Path(target.repo or "", "config.py"): {"SIZE": 9}}
        assert set(edits) == set(step.touched_paths(step.capture()))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STEPS))
def test_the_commit_that_it_made_is_known_and_how_to_bring_back_what_it_took_away(name: str, target: Target) -> None:
    step, repo = make_step(name, target), GitRepo(Path(target.repo or ""))
    old = repo.head()
    before = json_round_trip(step.capture())
    step.apply(before, "k")

    if name.split()[0] == "git":
        assert step.commit_range(before) == CommitRange(str(repo.path), old, repo.head())
        again = make_step(name, target)
        captured = again.capture()
        assert again.commit_range(captured) is None
    else:
        assert repo.head() == old
        assert step.commit_range(before) is None


LEFT_BY_STEP = {
    "flag": [("set", "SIZE = 9 (was 2)")],
    "git": [("reverted", "x-merge")],
    "git to": [("rolled back", "to v1 (COMMIT)")],
    "git files": [("restored", "config.py from v1")],
    "systemd stop": [("stopped", "bot.service")],
    "systemd mask": [("masked", "bot.service"), ("stopped", "bot.service")],
    "process stop": [("stopped", "the process")],
    "http": [("left", "trading is stopped")],
    "command": [("left", "entries are closed")],
}
"""What each leaves behind that is told until it is put back."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STEPS))
def test_what_it_leaves_behind_is_asked_of_the_world(name: str, target: Target) -> None:
    said = {"http": {"leaves": "trading is stopped"}, "command": {"leaves": "entries are closed"}}.get(name, {})
    step, repo = make_step(name, target, **said), GitRepo(Path(target.repo or ""))
    captured = json_round_trip(step.capture())
    ahead = dict(zip(step.lasting_changes(captured), step.lasting_states(captured), strict=True)) if said else {}

    step.apply(captured, "k")

    left = [change for change in step.lasting_changes(captured) if change.how is not None]
    commit = repo.git("rev-parse", "v1").strip()[:10]
    assert [(change.how, change.what.replace(commit, "COMMIT")) for change in left] == LEFT_BY_STEP.get(name, [])
    if step.lasting_changes(captured):
        assert set(step.lasting_states(captured)) == {"after"}
    assert step.deviations(captured) == {}
    assert set(ahead.values()) <= {"before"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*STEPS} - {"git", "git to", "git files"}))
def test_a_thing_has_the_same_name_whether_it_was_looked_at_or_not(name: str, target: Target) -> None:
    step = make_step(name, target)

    captured = json_round_trip(step.capture())

    assert [one.thing for one in step.lasting_changes()] == [one.thing for one in step.lasting_changes(captured)]
    if name.split()[-1] in ("restart", "start", "stop"):
        others = [make_step(f"{name.split()[0]} {verb}", target) for verb in ("restart", "start", "stop")]
        assert len({one.thing for other in others for one in other.lasting_changes()}) == 1


class FolderCopies:
    """Copies below one folder, under the names of the originals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, path: Path) -> Path:
        copy = self.folder / str(path).lstrip("/")
        if path.is_dir():
            shutil.copytree(path, copy)
        elif path.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        return copy

    def work_tree(self, path: Path) -> Path:
        return self.file(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STEPS))
def test_what_changes_nothing_but_files_is_rehearsed_on_copies(name: str, target: Target, tmp_path: Path) -> None:
    step, world, times = make_step(name, target), observe(target), file_times(target)
    rehearsed = step.redirect(FolderCopies(tmp_path / "copies"))

    assert (rehearsed is not None) is (name.split()[0] in WRITING)
    if rehearsed is not None:
        before = json_round_trip(rehearsed.capture())
        rehearsed.apply(before, "k")
        assert rehearsed.state(before) == "after"
        assert all(path.is_relative_to(tmp_path / "copies") for path in rehearsed.touched_paths(before))
        assert file_times(target) == times
        assert observe(target) == world


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_step_survives_the_journal(name: str, target: Target) -> None:
    step: Any = make_step(name, target)

    assert type(step).model_validate_json(step.model_dump_json()) == step
    assert step.bind(target) == step


@pytest.mark.parametrize("name", sorted(STEPS))
def test_it_says_in_one_short_line_what_it_does(name: str, target: Target) -> None:
    said = make_step(name, target).describe()

    assert said
    assert "\n" not in said
    assert len(said) < 150


@pytest.mark.parametrize("name", sorted(STEPS))
def test_looking_changes_nothing_and_is_json(name: str, target: Target) -> None:
    step, world = make_step(name, target), observe(target)
    before = step.capture()
    step.state(before)

    assert json.loads(json.dumps(before)) == before
    assert observe(target) == world


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STEPS))
def test_all_that_a_step_names_is_there_and_to_look_for_it_changes_nothing(name: str, target: Target) -> None:
    step, world, times = make_step(name, target), observe(target), file_times(target)

    assert step.findings() == ()
    assert file_times(target) == times
    assert observe(target) == world


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - {"systemd", "http"}))
def test_what_a_step_names_and_is_not_there_is_found_with_its_key(name: str, target: Target) -> None:
    (finding,) = make_action(do=name, **BROKEN[name]).bind(target).findings()[:1]

    assert finding.kind in ("missing", "missing now")
    assert finding.key[0] in BROKEN[name]
    assert finding.what


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_preview_shows_what_would_change_and_changes_nothing(name: str, target: Target) -> None:
    step, world, times = make_step(name, target), observe(target), file_times(target)
    before = json_round_trip(step.capture())
    said = step.preview(before)

    assert said
    assert ("\n" in said) is (name.split()[0] in (*PERSISTENT, "restore"))
    assert file_times(target) == times
    assert observe(target) == world


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STEPS))
def test_what_it_touches_is_all_that_it_changes(name: str, target: Target) -> None:
    step, repo = make_step(name, target), Path(target.repo or "")
    before = json_round_trip(step.capture())
    touched = step.touched_paths(before)
    world = read_work_tree(repo)
    step.apply(before, "k")
    changed = {
        path for path in world.keys() | read_work_tree(repo).keys() if world.get(path) != read_work_tree(repo).get(path)
    }

    assert all(path.is_absolute() for path in touched)
    if name.split()[0] in PERSISTENT:
        assert {repo / path for path in changed} == set(touched)
    elif name.split()[0] in WRITING:
        assert changed
        assert all(any((repo / path).is_relative_to(one) for one in touched) for path in changed)
    else:
        assert touched == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STEPS))
def test_before_comes_before_and_after_after(name: str, target: Target) -> None:
    step = make_step(name, target)
    before = json_round_trip(step.capture())
    already = name in ("systemd start", "process start")
    blind = name.endswith("without check")
    assert step.state(before) == ("unknown" if blind else "after" if already else "before")
    said = step.apply(before, "run 1 level 0.0")

    assert said
    assert "\n" not in said
    assert step.state(before) == ("unknown" if blind else "after")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in STEPS if name.split()[0] in WRITING))
def test_what_writes_files_can_be_done_twice(name: str, target: Target) -> None:
    step = make_step(name, target)
    before = step.capture()
    step.apply(before, "k")
    world = observe(target)
    step.apply(before, "k")

    assert observe(target) == world
    assert step.state(before) == "after"


def apply_killed_at(nth: int, step: Action, before: JsonObject, note: Path) -> bool:
    """`apply` in a process that is killed as its nth program has started, or ahead of its nth rename or request."""
    note.unlink(missing_ok=True)

    def act() -> None:
        left = [nth]

        def count(*_: object) -> bool:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return True

        def started(pid: int, at: float) -> None:
            note.write_text(f"{pid} {at}")
            count()

        parts: tuple[tuple[Any, str], ...] = ((HTTPConnection, "getresponse"), (os, "rename"), (os, "replace"))
        for module, name in parts:
            real = getattr(module, name)
            setattr(module, name, lambda *args, real=real, **how: count() and real(*args, **how))
        child_process.on_child_started.set(started)
        step.apply(before, "k")

    died = killed_at(1_000_000, act)
    if died and note.exists():
        pid, at = note.read_text().split()
        child_process.terminate_leftover(int(pid), float(at), 20)  # as the daemon does at boot
    return died


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith("git")) for name in sorted(STEPS)]
)
def test_killed_anywhere_it_comes_to_its_end_or_nobody_can_tell(name: str, target: Target, tmp_path: Path) -> None:
    step = make_step(name, target)
    before = json_round_trip(step.capture())
    for nth in range(80):
        died = apply_killed_at(nth, step, before, tmp_path / "note")
        if name.endswith("without check"):
            assert step.state(before) == "unknown"
            return  # whoever asks stops here: at most once
        if died and step.state(before) != "after":
            continue  # nothing, or half of it: it is tried again, and killed a little later
        assert step.state(before) == "after"
        world = observe(target)
        if name.split()[0] in WRITING:
            step.apply(before, "k")
            assert observe(target) == world
        return
    pytest.fail("it never got through")


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_cannot_be_is_an_action_error_with_words_and_is_known_not_to_have_happened(
    name: str, bot: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeSystemctl(tmp_path).set_state(LoadState="not-found")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    step = make_action(do=name, **BROKEN[name]).bind(Target(repo=str(bot.path)))
    with pytest.raises(ActionError, match=r"\w+ \w+") as caught:
        step.apply(step.capture(), "k")

    assert not caught.value.may_have_happened
    assert "\n" not in str(caught.value)


def _make_slow_git(folder: Path) -> None:
    (folder / "git").write_text("#!/bin/sh\nexec sleep 300\n")
    (folder / "git").chmod(0o755)


@pytest.mark.parametrize(
    "name", ["git", "systemd restart", "process restart", "http without check", "command without check"]
)
def test_a_timeout_is_kept(name: str, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow: dict[str, Callable[[], object]] = {
        "git": lambda: _make_slow_git(tmp_path / "bin"),
        "systemd restart": lambda: FakeSystemctl(tmp_path / "bin").set_state(slow=300),
        "process restart": lambda: monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/git")),
        "command without check": lambda: None,
        "http without check": lambda: API_SERVERS[0].hanging_paths.add("/stop"),
    }
    fields: dict[str, Any] = {"timeout": 600}
    if name.startswith("command"):
        fields["run"] = ["sleep", "300"]
    if name.startswith("process"):
        fields["grace"] = 500
    # What is noted beforehand is not hurried: a busy machine takes longer over it than the step is given.
    before = make_step(name, target, **fields | {"timeout": 60_000}).capture()
    step = make_step(name, target, **fields)
    slow[name]()
    _make_slow_git(tmp_path / "bin")
    began = time.monotonic()
    with pytest.raises(ActionError, match=r"not done after|in time|no whole answer within 600 ms"):
        step.apply(before, "k")

    assert time.monotonic() - began < 60
