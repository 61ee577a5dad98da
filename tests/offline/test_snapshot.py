"""A snapshot ahead of a deploy, and one command that undoes the deploy."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.support.actions import GitRepo, failing_at, make_action
from watchdog.actions.git.commit_refs import redeployed_commits
from watchdog.cli.command_line import main
from watchdog.core.errors import WatchdogError
from watchdog.core.executor import DirectExecutor
from watchdog.core.target import Target
from watchdog.offline import snapshot
from watchdog.plans.models import Halt

pytestmark = pytest.mark.slow

V1 = "TRADING = True  # new positions\nSIZE = 1\n"
V2 = "TRADING = True  # new positions\nSIZE = 2\nFEATURE = True\n"
NOW = 1_700_000_000_000
FLAG_OF_A_STAGE = {"do": "flag", "file": "config.py", "set": {"TRADING": True}}


@pytest.fixture
def bot(tmp_path: Path) -> GitRepo:
    """v1, with a secret that git does not know and an edit that is not committed."""
    repo = GitRepo(tmp_path / "bot")
    repo.commit("v1", config__py=V1, model__py="WEIGHTS = 1\n", notes__md="one\n", __gitignore=".env\n")
    repo.write_files(notes__md="one\ntwo, not committed\n")
    (repo.path / ".env").write_text("KEY=old\n")
    (repo.path / ".env").chmod(0o600)
    return repo


@pytest.fixture
def folder(tmp_path: Path, bot: GitRepo) -> Path:
    """The watchdog's configuration."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text(
        f'sources: {{bot: {{type: scrape, url: "http://127.0.0.1:1/metrics"}}}}\nstate: {tmp_path / "state"}\n'
    )
    (tmp_path / "rules" / "bot.yaml").write_text(f"""\
targets: {{bot: {{repo: {bot.path}}}}}
plans:
  halt:
    kind: halt
    levels:
      - {{name: no-entries, steps: [{{do: flag, file: config.py, set: {{TRADING: false}}}}], verify: {{that: [up == 1]}}}}
""")
    return tmp_path


def deploy_v2(bot: GitRepo) -> str:
    """A commit, and what comes with a deploy beside it."""
    bot.git("stash", "-q")
    bot.commit("v2", config__py=V2, model__py="WEIGHTS = 2\n", new__py="new\n")
    bot.git("stash", "pop", "-q")
    (bot.path / ".env").write_text("KEY=new\n")
    (bot.path / ".env").chmod(0o644)
    return bot.head()


def work_tree_state(bot: GitRepo) -> dict[str, tuple[bytes, int]]:
    files = [path for path in bot.path.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path): (path.read_bytes(), path.stat().st_mode) for path in files}


def run_cli(folder: Path, *args: str) -> int:
    return main(["snapshot", *args, "--config", str(folder)])


@pytest.fixture
def _in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the owner does, too: so that it can be made to fail."""
    monkeypatch.setattr("watchdog.cli.snapshot.open_executor", lambda: contextlib.nullcontext(DirectExecutor()))


def test_a_deploy_is_undone_by_one_command_byte_for_byte(folder: Path, bot: GitRepo) -> None:
    was, status, v1 = work_tree_state(bot), bot.status(), bot.head()
    assert run_cli(folder, "--tag", "before-v2", "--save", ".env") == 0
    assert bot.git("rev-parse", "before-v2").strip() == v1
    v2 = deploy_v2(bot)

    assert run_cli(folder, "--restore", "before-v2") == 0

    assert work_tree_state(bot) == was
    assert bot.status() == status
    assert bot.git("rev-parse", "HEAD^{tree}") == bot.git("rev-parse", "before-v2^{tree}")
    assert bot.git("rev-parse", "HEAD^").strip() == v2  # history goes on


def test_what_a_restore_replaces_is_a_snapshot_of_its_own_and_comes_back(folder: Path, bot: GitRepo) -> None:
    run_cli(folder, "--tag", "before-v2", "--save", ".env")
    deploy_v2(bot)
    bot.write_files(config__py=V2.replace("SIZE = 2", "SIZE = 7"))  # by hand, and not committed
    deployed = work_tree_state(bot)
    run_cli(folder, "--restore", "before-v2")
    assert bot.read("config.py") == V1

    (aside,) = [one.name for one in snapshot.listing(folder / "state" / "snapshots") if one.name != "before-v2"]
    assert run_cli(folder, "--restore", aside) == 0

    assert work_tree_state(bot) == deployed


def test_the_file_of_a_flag_is_saved_where_its_step_says_that_it_is(folder: Path, bot: GitRepo) -> None:
    bot.write_files(settings___live__yaml="trading: true\n", live__yaml="trading: nobody's\n")
    steps = [
        make_action(do="flag", file="live.yaml", repo="settings", set={"trading": False}),
        make_action(do="git", to="v1"),
    ]
    verify = {"that": ["up == 1"], "quiet": "1m"}
    plan = Halt.model_validate(
        {
            "kind": "halt",
            "levels": [{"name": "no-entries", "steps": steps[:1], "verify": verify}],
            "recover": [{"name": "back", "steps": [FLAG_OF_A_STAGE, *steps[1:]], "verify": verify}],
        }
    )

    files = snapshot.flag_files([plan], Target(repo=str(bot.path)))

    assert files == [bot.path / "settings" / "live.yaml", bot.path / "config.py"]
    assert snapshot.flag_files([plan], Target()) == []


def test_a_restore_that_is_so_already_does_nothing(
    folder: Path, bot: GitRepo, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli(folder, "--tag", "now")
    head = bot.head()
    capsys.readouterr()

    assert run_cli(folder, "--restore", "now", "--json") == 0

    assert json.loads(capsys.readouterr().out) == {"done": "it is so already", "replaced": None}
    assert bot.head() == head
    assert len(snapshot.listing(folder / "state" / "snapshots")) == 1


def test_edits_of_files_that_no_snapshot_knows_are_left_alone_and_nothing_is_touched(
    folder: Path, bot: GitRepo
) -> None:
    run_cli(folder, "--tag", "before-v2")
    deploy_v2(bot)
    bot.write_files(model__py="WEIGHTS = 3\n")
    was, head = work_tree_state(bot), bot.head()

    assert run_cli(folder, "--restore", "before-v2") == 1

    assert (work_tree_state(bot), bot.head()) == (was, head)


def test_a_name_is_given_once(folder: Path, bot: GitRepo, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(folder, "--tag", "before-v2") == 0
    assert run_cli(folder, "--tag", "before-v2") == 1
    bot.git("tag", "v1")
    bot.commit("v2", config__py=V2)
    assert run_cli(folder, "--tag", "v1") == 1
    assert "there is a tag v1 already" in capsys.readouterr().err
    assert [one.name for one in snapshot.listing(folder / "state" / "snapshots")] == ["before-v2"]


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "-x", "a..b", "x.lock", "a b"])
def test_a_name_that_is_no_tags_is_refused(folder: Path, bot: GitRepo, name: str) -> None:
    with pytest.raises(WatchdogError):
        snapshot.take(folder / "state", name, "bot", Target(repo=str(bot.path)), [], NOW)
    with pytest.raises(WatchdogError):
        snapshot.find(folder / "state", name)


def test_what_cannot_be_saved_leaves_no_snapshot(
    folder: Path, bot: GitRepo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(folder, "--tag", "before-v2", "--save", "missing.json") == 1

    assert "there is no file" in capsys.readouterr().err
    assert snapshot.listing(folder / "state" / "snapshots") == []
    assert bot.git("tag") == ""


@pytest.mark.usefixtures("_in_one_process")
def test_a_snapshot_that_failed_half_way_is_none_and_can_be_taken_again(folder: Path, bot: GitRepo) -> None:
    tried = 0
    for nth in range(40):
        with failing_at(nth) as came:
            code = run_cli(folder, "--tag", f"try-{nth}")
        if not came:
            break
        tried += 1
        there = [one.name for one in snapshot.listing(folder / "state" / "snapshots")]
        assert (f"try-{nth}" in there) == (code == 0)
        if code:
            assert run_cli(folder, "--tag", f"try-{nth}") == 0
    assert tried > 3


@pytest.mark.slow
@pytest.mark.usefixtures("_in_one_process")
def test_wherever_a_restore_fails_the_files_are_those_of_one_version_or_it_can_be_asked_for_again(
    folder: Path, bot: GitRepo
) -> None:
    was = work_tree_state(bot)
    run_cli(folder, "--tag", "before-v2", "--save", ".env")
    deploy_v2(bot)
    deployed = work_tree_state(bot)
    failed = 0
    for nth in range(0, 60, 4):
        with failing_at(nth) as came:
            code = run_cli(folder, "--restore", "before-v2")
        if code:
            failed += 1
            assert run_cli(folder, "--restore", "before-v2") == 0, nth
        assert work_tree_state(bot) == was, nth
        bot.git("reset", "-q", "--hard", "HEAD^")
        bot.write_files(notes__md="one\ntwo, not committed\n")
        (bot.path / ".env").write_text("KEY=new\n")
        (bot.path / ".env").chmod(0o644)
        assert work_tree_state(bot) == deployed
        if not came:
            break
    assert failed > 3


def test_a_damaged_copy_is_not_put_back(folder: Path, bot: GitRepo, capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(folder, "--tag", "before-v2", "--save", ".env")
    deploy_v2(bot)
    made = snapshot.find(folder / "state" / "snapshots", "before-v2")
    copy = next(one.copy for one in made.saved if one.path.endswith(".env"))
    assert copy is not None
    Path(copy).write_text("KEY=else\n")

    assert run_cli(folder, "--restore", "before-v2") == 1

    assert "gone or damaged" in capsys.readouterr().err
    assert (bot.path / ".env").read_text() == "KEY=new\n"


def test_a_snapshot_warns_of_what_was_rolled_back_and_runs_again(folder: Path, bot: GitRepo) -> None:
    bot.git("stash", "-q")
    bad = bot.commit("v2", config__py=V2)
    back = make_action(do="git", revert="HEAD").bind(Target(repo=str(bot.path)))
    back.apply(back.capture(), "k")
    assert redeployed_commits(str(bot.path)) == []

    subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@b", "revert", "--no-edit", "HEAD"],
        cwd=bot.path,
        check=True,
        capture_output=True,
    )

    assert redeployed_commits(str(bot.path)) == [(bad, "v2")]
