"""A version that runs under another name (squashed, rebased, picked), or not at all; and merges made the other way round."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.actions import GitRepo, json_round_trip, make_action
from watchdog.actions.git import history_search
from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action
from watchdog.core.target import Target

pytestmark = pytest.mark.slow

CONFIG = "".join(f"SETTING_{n} = {n}\n" for n in range(40))
BAD = CONFIG.replace("SETTING_20 = 20\n", "SETTING_20 = 666\n")


def make_revert_step(repo: GitRepo, name: str = "v2") -> Action:
    return make_action(do="git", revert=name).bind(Target(repo=str(repo.path)))


def apply_step(step: Action) -> JsonObject:
    before = json_round_trip(step.capture())
    assert step.state(before) == "before"
    step.apply(before, "k")
    assert step.state(before) == "after"
    return before


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """main has gone on; the branch `feature` (tag `v2` at its end) is merged nowhere."""
    repo = GitRepo(tmp_path_factory.mktemp("made") / "bot")
    repo.commit("v1", config__py=CONFIG, notes__md="a\n", model__bin="\0one")
    repo.git("tag", "v1")
    repo.git("switch", "-q", "-c", "feature")
    repo.commit("first half", new__py="N = 1\n", model__bin="\0two")
    repo.commit("second half", config__py=BAD)
    repo.git("tag", "v2")
    repo.git("switch", "-q", "main")
    repo.commit("ahead of it", config__py=f"# a new first line\n{CONFIG}")
    return repo.path


@pytest.fixture
def repo(tmp_path: Path, template: Path) -> GitRepo:
    shutil.copytree(template, tmp_path / "bot")
    made = GitRepo(tmp_path / "bot")
    made.git("update-index", "-q", "--refresh")
    return made


def squash(repo: GitRepo) -> None:
    repo.git("merge", "--squash", "-q", "feature")
    repo.git("commit", "-q", "-m", "Version 2 (#12)")


def rebase(repo: GitRepo) -> None:
    repo.git("switch", "-q", "feature")
    repo.git("rebase", "-q", "main")
    repo.git("switch", "-q", "main")
    repo.git("merge", "-q", "--ff-only", "feature")


def pick(repo: GitRepo) -> None:
    repo.git("cherry-pick", "v2")


def merge_what_was_rebased(repo: GitRepo) -> None:
    repo.git("switch", "-q", "feature")
    repo.git("rebase", "-q", "main")
    repo.git("switch", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge version 2", "feature")


def squash_after_main_was_merged_into_it(repo: GitRepo) -> None:
    repo.git("switch", "-q", "feature")
    repo.git("merge", "-q", "-m", "Merge branch 'main' into feature", "main")
    repo.git("tag", "-f", "v2")
    repo.git("switch", "-q", "main")
    repo.commit("meanwhile", other__py="O = 1\n")
    squash(repo)


@pytest.mark.parametrize("how", [squash, rebase, pick, merge_what_was_rebased, squash_after_main_was_merged_into_it])
def test_a_version_that_came_as_another_commit_is_taken_back_as_that_one(
    repo: GitRepo, how: Callable[[GitRepo], None]
) -> None:
    how(repo)
    repo.commit("later", notes__md="a\nb\n", config__py=f"{repo.read('config.py')}LATER = 1\n")
    step = make_revert_step(repo)
    before = apply_step(step)

    assert repo.read("config.py") == f"# a new first line\n{CONFIG}LATER = 1\n"
    assert repo.read("notes.md") == "a\nb\n"
    assert repo.status() == ""
    (reverted,) = [commit for commit, _ in before["reverts"]]
    assert reverted != before["target"]
    assert f"This reverts commit {reverted}" in repo.git("log", "-1", "--format=%B")
    assert f"v2 itself is not part of what runs; its changes are, as {reverted[:10]}" in step.preview(before)
    assert step.capture()["already"]
    assert step.noop_reason(step.capture()) == "so already"


@pytest.mark.parametrize("how", [squash, squash_after_main_was_merged_into_it])
def test_a_squash_goes_as_a_whole(repo: GitRepo, how: Callable[[GitRepo], None]) -> None:
    how(repo)
    apply_step(make_revert_step(repo))

    assert not (repo.path / "new.py").exists()
    assert (repo.path / "model.bin").read_bytes() == b"\0one"


def test_of_a_rebased_branch_the_named_commit_goes_as_it_would_where_it_had_stayed_the_same(repo: GitRepo) -> None:
    rebase(repo)
    apply_step(make_revert_step(repo))

    assert repo.read("new.py") == "N = 1\n"


def test_of_a_branch_that_was_squashed_twice_the_second_squash_goes(repo: GitRepo) -> None:
    squash(repo)
    repo.git("switch", "-q", "feature")
    repo.commit("third", new__py="N = 3\n")
    repo.commit("fourth", more__py="M = 4\n")
    repo.git("tag", "v3")
    repo.git("switch", "-q", "main")
    repo.git("checkout", "-q", "feature", "--", "new.py", "more.py")
    repo.git("commit", "-q", "-m", "Version 3 (#13)")
    apply_step(make_revert_step(repo, "v3"))

    assert repo.read("new.py") == "N = 1\n"
    assert not (repo.path / "more.py").exists()
    assert "666" in repo.read("config.py")


def test_a_merge_whose_commits_were_rebased_one_by_one_is_taken_back_whole(repo: GitRepo) -> None:
    repo.git("switch", "-q", "-c", "develop", "v1")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge feature", "feature")
    repo.git("tag", "v2-merge")
    repo.git("switch", "-q", "main")
    repo.git("cherry-pick", "v2~1")
    repo.commit("in between", other__py="O = 1\n")
    repo.git("cherry-pick", "v2")
    before = apply_step(make_revert_step(repo, "v2-merge"))

    assert len(before["reverts"]) == 2
    assert repo.read("config.py") == f"# a new first line\n{CONFIG}"
    assert not (repo.path / "new.py").exists()
    assert repo.read("other.py") == "O = 1\n"


def test_what_was_picked_with_a_conflict_is_known_by_what_it_says(repo: GitRepo) -> None:
    repo.commit("nearby", config__py=repo.read("config.py").replace("SETTING_21 = 21", "SETTING_21 = 1021"))
    repo.git("cherry-pick", "-x", "v2", ok=False)
    repo.write_files(config__py=repo.read("config.py").replace("SETTING_20 = 20\n", "SETTING_20 = 666\n"))
    lines = [line for line in repo.read("config.py").splitlines(True) if line[0] not in "<=>"]
    (repo.path / "config.py").write_text("".join(dict.fromkeys(lines)).replace("SETTING_21 = 21\n", ""))
    repo.git("add", "-A")
    repo.git("-c", "core.editor=true", "cherry-pick", "--continue")
    apply_step(make_revert_step(repo))

    assert "666" not in repo.read("config.py")
    assert "SETTING_21 = 1021" in repo.read("config.py")


def test_a_pick_that_was_taken_back_already_is_so_already(repo: GitRepo) -> None:
    pick(repo)
    repo.git("revert", "--no-edit", "HEAD")
    before = make_revert_step(repo).capture()

    assert (before["already"], make_revert_step(repo).noop_reason(before)) == (True, "so already")


def test_the_newest_of_several_is_the_one_that_counts(repo: GitRepo) -> None:
    pick(repo)
    repo.git("revert", "--no-edit", "HEAD")
    pick(repo)
    apply_step(make_revert_step(repo))

    assert "666" not in repo.read("config.py")


def test_a_squash_counts_and_not_the_pick_that_was_taken_back_before_it(repo: GitRepo) -> None:
    pick(repo)
    repo.git("revert", "--no-edit", "HEAD")
    squash(repo)
    apply_step(make_revert_step(repo))

    assert "666" not in repo.read("config.py")
    assert not (repo.path / "new.py").exists()


@pytest.mark.parametrize("at", ["main", "v1"])
def test_what_is_merged_nowhere_is_not_deployed_and_never_so_already(repo: GitRepo, at: str) -> None:
    repo.git("reset", "-q", "--hard", at)
    step = make_revert_step(repo)
    before = step.capture()

    assert (before["already"], step.state(before), step.noop_reason(before)) == (True, "after", "not deployed now")
    assert step.findings()[0].kind == "not deployed"


def test_a_squash_that_was_changed_on_the_way_is_refused_and_never_so_already(repo: GitRepo) -> None:
    repo.git("merge", "--squash", "-q", "feature")
    repo.commit("Version 2, mended", new__py="N = 2\n")
    head = repo.head()
    with pytest.raises(ActionError, match=r"v2 is not part of what runs, .* no commit with its changes was found"):
        make_revert_step(repo).capture()

    assert (repo.head(), repo.status()) == (head, "")
    (finding,) = make_revert_step(repo).findings()
    assert finding.kind == "not part"


def test_a_squash_that_lies_too_far_back_is_refused(repo: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    squash(repo)
    repo.commit("later", notes__md="b\n")
    monkeypatch.setattr(history_search, "MAX_COMMITS", 1)
    with pytest.raises(ActionError, match="among the newest 1 — "):
        make_revert_step(repo).capture()


def test_a_shallow_clone_is_not_taken_for_a_history_without_it(repo: GitRepo, tmp_path: Path) -> None:
    repo.git("merge", "-q", "--no-ff", "-m", "Merge version 2", "feature")
    repo.commit("later", notes__md="b\n")
    shallow = GitRepo(tmp_path / "shallow")
    shallow.git("fetch", "-q", "--depth=1", f"file://{repo.path}", "main", "tag", "v2")
    shallow.git("reset", "-q", "--hard", "FETCH_HEAD")
    with pytest.raises(ActionError, match="fetch --unshallow"):
        make_revert_step(shallow).capture()


def test_a_binary_file_is_told_by_its_bytes(repo: GitRepo) -> None:
    repo.git("switch", "-q", "feature")
    repo.commit("model 3", model__bin="\0three")
    repo.git("tag", "v3")
    repo.git("switch", "-q", "main")
    repo.commit("model 4", model__bin="\0four")
    step = make_revert_step(repo, "v3")
    with pytest.raises(ActionError, match="not part of what runs"):
        step.capture()


def test_many_commits_are_looked_through_in_bounded_time(repo: GitRepo) -> None:
    """All of them change the very file, so that paths alone tell nothing."""
    squash(repo)
    tree = "".join(
        f"commit refs/heads/main\ncommitter A <a@b> {1_800_000_000 + n} +0000\ndata 1\nx\n"
        f"{f'from {repo.head()}{chr(10)}' if n == 0 else ''}M 100644 inline config.py\ndata <<END\n"
        f"{repo.read('config.py')}N = {n}\nEND\n\n"
        for n in range(1_500)
    )
    (repo.path.parent / "stream").write_text(tree)
    repo.git("config", "fastimport.unpackLimit", "0")
    with (repo.path.parent / "stream").open() as stream:
        subprocess.run(["git", "fast-import", "--quiet", "--force"], cwd=repo.path, stdin=stream, check=True)
    repo.git("reset", "-q", "--hard", "main")
    apply_step(make_revert_step(repo))

    assert "666" not in repo.read("config.py")


# Merges made the other way round


@pytest.fixture
def foxtrot(repo: GitRepo, tmp_path: Path) -> GitRepo:
    """The bot ran main; somebody merged main into `feature` and moved main onto it, and the bot's clone pulled that."""
    bot = GitRepo(tmp_path / "clone")
    bot.git("pull", "-q", str(repo.path), "main")
    repo.git("switch", "-q", "feature")
    repo.git("merge", "-q", "-m", "Merge branch 'main' into feature", "main")
    repo.git("tag", "v2-merge")
    repo.git("branch", "-f", "main", "HEAD")
    bot.git("pull", "-q", "--ff-only", str(repo.path), "main")
    bot.git("fetch", "-q", str(repo.path), "tag", "v2-merge")
    return bot


def test_of_a_merge_made_the_other_way_round_the_branch_goes_and_not_what_others_did(foxtrot: GitRepo) -> None:
    assert "666" in foxtrot.read("config.py")
    apply_step(make_revert_step(foxtrot, "v2-merge"))

    assert foxtrot.read("config.py") == f"# a new first line\n{CONFIG}"
    assert not (foxtrot.path / "new.py").exists()


def test_where_nobody_knows_what_ran_before_such_a_merge_is_refused_with_the_reason(foxtrot: GitRepo) -> None:
    shutil.rmtree(foxtrot.path / ".git/logs")
    step = make_revert_step(foxtrot, "v2-merge")
    with pytest.raises(ActionError, match=r"made the other way round .*Merge branch 'main' into feature.* others did"):
        step.capture()

    assert step.findings()[0].kind == "unfit"


@pytest.mark.parametrize(
    "words",
    [
        "Merge main into feature",
        "Merged main into feature",
        "Merge origin/main into feature",
        "Merge branch main into feature",
        "Merge branch 'main' into 'feature'",
        "Merge remote-tracking branch 'fork/main' into feature",
        "Merge branch 'main' of example.org:a/bot into feature",
    ],
)
def test_a_merge_of_main_is_known_however_it_is_worded(repo: GitRepo, words: str) -> None:
    repo.git("switch", "-q", "feature")
    repo.git("merge", "-q", "-m", words, "main")
    repo.git("branch", "-f", "main", "HEAD")
    repo.git("switch", "-q", "main")
    shutil.rmtree(repo.path / ".git/logs")
    with pytest.raises(ActionError, match=r"other way round .* are its second parent, "):
        make_revert_step(repo, "HEAD").capture()


def test_a_merge_of_main_and_another_branch_is_one_of_main(repo: GitRepo) -> None:
    repo.git("switch", "-q", "-c", "other", "v1")
    repo.commit("other", other__py="O = 1\n")
    repo.git("merge", "-q", "-m", "Merge branches 'main' and 'feature' into other", "main", "feature")
    repo.git("branch", "-f", "main", "HEAD")
    repo.git("switch", "-q", "main")
    shutil.rmtree(repo.path / ".git/logs")
    with pytest.raises(ActionError, match="are one of its other parents, "):
        make_revert_step(repo, "HEAD").capture()


@pytest.mark.parametrize(
    "words",
    [
        "Merge branch 'feature'",
        "Merge pull request #3 from x/main",
        "Merge main's new orders",
        "Merge branch 'main' into main",
    ],
)
def test_an_ordinary_merge_needs_no_reflog(repo: GitRepo, words: str) -> None:
    repo.git("merge", "-q", "--no-ff", "-m", words, "feature")
    repo.git("tag", "v2-merge")
    shutil.rmtree(repo.path / ".git/logs")
    apply_step(make_revert_step(repo, "v2-merge"))

    assert repo.read("config.py") == f"# a new first line\n{CONFIG}"


def test_what_a_pull_merged_into_the_bots_own_commits_is_what_is_taken_back(repo: GitRepo, tmp_path: Path) -> None:
    """Git words it as a merge of main, and yet the first side is what ran here."""
    bot = GitRepo(tmp_path / "clone")
    bot.git("pull", "-q", str(repo.path), "main")
    bot.commit("own", own__py="O = 1\n")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge branch 'feature'", "feature")
    bot.git("pull", "-q", "--no-rebase", "--no-edit", str(repo.path), "main")
    assert bot.git("log", "-1", "--format=%s").startswith("Merge branch 'main' of ")
    apply_step(make_revert_step(bot, "HEAD"))

    assert bot.read("config.py") == f"# a new first line\n{CONFIG}"
    assert bot.read("own.py") == "O = 1\n"


def test_a_branch_that_was_tried_out_earlier_does_not_make_a_merge_look_turned_round(repo: GitRepo) -> None:
    repo.git("reset", "-q", "--hard", "v1")
    repo.git("reset", "-q", "--hard", "feature")
    repo.git("reset", "-q", "--hard", "v1")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge feature", "feature")
    repo.git("tag", "v2-merge")
    apply_step(make_revert_step(repo, "v2-merge"))

    assert repo.read("config.py") == CONFIG
