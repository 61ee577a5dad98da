"""Which folders an action is held to: the repository wherever its parts lie, and nothing that a link in it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.actions import GitRepo, make_action
from watchdog.actions.confinement import Confinement, confinement, needed_confinement
from watchdog.core.target import Target


@pytest.fixture
def bot(tmp_path: Path) -> GitRepo:
    repo = GitRepo(tmp_path / "bot")
    repo.commit("one", a__py="1\n")
    (tmp_path / "scratch").mkdir()
    return repo


def held(repo: Path, *touched: Path) -> Confinement:
    return confinement(str(repo), touched, repo.parent / "scratch", repo.parent / "home")


def test_the_work_tree_and_scratch_are_written_and_nothing_else(bot: GitRepo) -> None:
    readable, writable = held(bot.path, bot.path / "a.py")

    assert set(writable) == {bot.path, bot.path / ".git", bot.path.parent / "scratch", Path("/dev/null")}
    assert bot.path.parent / "home" in readable
    assert not {Path("/"), bot.path.parent} & {*readable, *writable}


def test_a_linked_work_tree_writes_where_its_branches_are(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("worktree", "add", "-q", "-b", "live", str(tmp_path / "live"))
    writable = set(held(tmp_path / "live").writable)

    assert {tmp_path / "live", bot.path / ".git", bot.path / ".git/worktrees/live"} <= writable
    assert bot.path not in writable


def test_borrowed_objects_are_read_and_theirs_too(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("clone", "-q", "--shared", str(bot.path), str(tmp_path / "two"))
    bot.git("clone", "-q", "--shared", str(tmp_path / "two"), str(tmp_path / "three"))
    three = tmp_path / "three/.git/objects/info/alternates"
    three.write_text(f'# ours\n"{tmp_path}/two/.git/obj\\145cts"\nnowhere\n')
    readable, writable = held(tmp_path / "three")

    assert {bot.path / ".git/objects", tmp_path / "two/.git/objects"} <= set(readable)
    assert not {bot.path / ".git/objects", tmp_path / "two/.git/objects"} & set(writable)


def test_repositories_that_borrow_from_each_other_come_to_an_end(bot: GitRepo) -> None:
    (bot.path / ".git/objects/info/alternates").write_text(".\n../objects\n")

    assert bot.path / ".git/objects" in held(bot.path).readable


def test_a_link_within_the_repository_opens_nothing(bot: GitRepo, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (bot.path / "conf").symlink_to(tmp_path / "outside")
    readable, writable = held(bot.path, bot.path / "conf/flags.py")

    assert tmp_path / "outside" not in {*readable, *writable}


def test_a_file_elsewhere_opens_its_own_folder(bot: GitRepo, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    writable = held(bot.path, tmp_path / "etc/flags.py", tmp_path / "archives/new/one").writable

    assert {tmp_path / "etc", tmp_path} <= set(writable)  # `archives` is yet to be made
    assert held(bot.path, Path("/no-such-folder/file")).writable == held(bot.path, Path("/no-such-folder/x")).writable
    assert Path("/") not in held(bot.path, Path("/no-such-folder/file")).writable


def test_a_target_without_a_repository_is_held_to_its_files(tmp_path: Path) -> None:
    found = confinement(None, [tmp_path / "flags.yaml"], tmp_path / "scratch", Path("/"))

    assert found.writable == (tmp_path, tmp_path / "scratch", Path("/dev/null"))
    assert Path("/") not in found.readable


def test_what_a_step_edits_and_where_it_pushes_to_on_this_machine_is_its_own_to_say(
    bot: GitRepo, tmp_path: Path
) -> None:
    bot.git("clone", "-q", "--bare", str(bot.path), str(tmp_path / "far.git"))
    bot.git("remote", "add", "near", "../far.git")
    bot.git("remote", "add", "far", "https://example.org/bot.git")
    (tmp_path / "etc").mkdir()

    def writable(**fields: object) -> set[Path]:
        step = make_action(**fields).bind(Target(repo=str(bot.path)))
        needed = step.needed_files()
        assert needed is not None
        return set(needed_confinement(needed, str(bot.path), tmp_path / "scratch", tmp_path / "home").writable)

    plain = writable(do="git", revert="HEAD")
    assert writable(do="git", revert="HEAD", push="far") == plain
    assert writable(do="git", revert="HEAD", push="nonesuch") == plain
    assert writable(do="git", revert="HEAD", push="near") == {*plain, tmp_path / "far.git"}
    assert writable(do="git", revert="HEAD", push=str(tmp_path / "far.git")) == {*plain, tmp_path / "far.git"}
    assert writable(do="flag", file=str(tmp_path / "etc/x.py"), set={"A": 1}) == {*plain, tmp_path / "etc"}
