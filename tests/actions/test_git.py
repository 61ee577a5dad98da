from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from tests.support.actions import CONFIG_V1, CONFIG_V2, GitRepo, failing_at, json_round_trip, killed_at, make_action
from watchdog.actions.git.commit_refs import current_commit, record_good_commit, reverts_in_force, rolled_back_commits
from watchdog.actions.git.repository import open_repository
from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action, CompletedStep
from watchdog.core.target import Target
from watchdog.host import child_process


def make_revert_step(bot: GitRepo, name: str = "x-merge") -> Action:
    return make_action(do="git", revert=name).bind(Target(repo=str(bot.path)))


def make_reset_step(bot: GitRepo, name: str) -> Action:
    return make_action(do="git", to=name).bind(Target(repo=str(bot.path)))


def done_flag_step(bot: GitRepo, stands: bool, **values: bool | int) -> CompletedStep:
    """A flag step of this incident, done."""
    step = make_action(do="flag", file="config.py", set=values).bind(Target(repo=str(bot.path)))
    before = json_round_trip(step.capture())
    step.apply(before, "k")
    return CompletedStep(step, before, stands)


def apply_step(step: Action, *done: CompletedStep) -> JsonObject:
    before = json_round_trip(step.capture(done))
    assert step.state(before) == "before"
    step.apply(before, "k")
    assert step.state(before) == "after"
    return before


# Reverting


def test_a_merge_is_taken_back_and_what_came_on_top_of_it_stays(bot: GitRepo) -> None:
    old = bot.head()
    before = apply_step(make_revert_step(bot))

    assert bot.read("config.py") == CONFIG_V1
    assert bot.read("old.py") == "old\n"
    assert not (bot.path / "x").exists()
    assert bot.read("later.py") == "later\n"
    assert bot.read("notes.md") == "a\nb\nc\nd\n"
    assert bot.status() == ""
    assert bot.head() == before["new"] == current_commit(str(bot.path))
    assert bot.git("rev-parse", "HEAD~1").strip() == old
    assert bot.git("symbolic-ref", "HEAD") == "refs/heads/main\n"


def test_the_commit_says_what_it_is_in_gits_own_words(bot: GitRepo) -> None:
    merge, parent = bot.git("rev-parse", "x-merge^0", "x-merge^1").split()
    apply_step(make_revert_step(bot))

    message = bot.git("log", "-1", "--format=%an <%ae>%n%B")
    assert message.startswith('Trading Watchdog <trading-watchdog@localhost>\nRevert "Merge feature x"\n')
    assert f"This reverts commit {merge}, reversing\nchanges made to {parent}." in message
    assert "trading-watchdog: k: git revert x-merge" in bot.git("reflog", "-1")


def test_the_same_before_makes_the_same_commit(bot: GitRepo) -> None:
    assert make_revert_step(bot).capture()["new"] == make_revert_step(bot).capture()["new"]


def test_looking_changes_nothing(bot: GitRepo) -> None:
    bot.write_files(notes__md="mine\n", new__txt="mine\n")
    old, status, index = bot.head(), bot.status(), (bot.path / ".git/index").read_bytes()
    step = make_revert_step(bot)
    step.state(step.capture())

    assert (bot.head(), (bot.path / ".git/index").read_bytes(), bot.status()) == (old, index, status)
    assert not list((bot.path / ".git").rglob("*.lock"))


def test_a_plain_commit_is_taken_back_too(bot: GitRepo) -> None:
    bad = bot.commit("bad", config__py=CONFIG_V2.replace("SIZE = 2", "SIZE = 9"))
    bot.commit("later still", more__py="more\n")
    apply_step(make_revert_step(bot, bad[:10]))

    assert bot.read("config.py") == CONFIG_V2
    assert bot.read("more.py") == "more\n"


def test_the_line_that_redeploys_brings_the_bad_commit_back(bot: GitRepo) -> None:
    tree = bot.git("rev-parse", "HEAD^{tree}")
    before = apply_step(make_revert_step(bot))
    (change,) = make_revert_step(bot).lasting_changes(before)
    hint = change.by_hand
    assert hint == f"git -C {bot.path} revert {bot.head()[:12]}"
    bot.git(*hint.split()[1:], "--no-edit")

    assert bot.git("rev-parse", "HEAD^{tree}") == tree
    assert make_revert_step(bot).capture()["already"] is False


def test_what_was_reverted_already_is_so_already(bot: GitRepo) -> None:
    apply_step(make_revert_step(bot))
    old = bot.head()
    bot.commit("later still", more__py="more\n")
    step = make_revert_step(bot)
    before = json_round_trip(step.capture())

    assert before["already"]
    assert step.state(before) == "after"
    assert "so already" in step.apply(before, "k")
    assert bot.git("rev-parse", "HEAD~1").strip() == old


def test_a_commit_that_is_not_in_the_history_is_not_deployed_anyway(bot: GitRepo) -> None:
    bot.git("reset", "-q", "--hard", "v1")

    assert make_revert_step(bot).capture()["already"]


def test_a_conflict_is_named_and_nothing_is_touched(bot: GitRepo) -> None:
    bot.commit("on top", config__py=CONFIG_V2.replace("SIZE = 2", "SIZE = 3"))
    old = bot.head()
    with pytest.raises(ActionError, match=r"same lines of config\.py"):
        make_revert_step(bot).capture()

    assert (bot.head(), bot.status()) == (old, "")


def test_done_twice_is_one_commit(bot: GitRepo) -> None:
    step = make_revert_step(bot)
    before = apply_step(step)
    assert "redeploy: git revert" in step.apply(before, "k")

    assert bot.head() == before["new"]


def test_the_first_commit_cannot_be_reverted(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "one")
    repo.commit("one", a__txt="a\n")
    with pytest.raises(ActionError, match="nothing before it"):
        make_revert_step(repo, "HEAD").capture()


# Going back to a commit


def test_the_files_of_a_tag_come_back_by_a_new_commit(bot: GitRepo) -> None:
    old = bot.head()
    apply_step(make_reset_step(bot, "v1"))

    assert bot.git("rev-parse", "HEAD^{tree}") == bot.git("rev-parse", "v1^{tree}")
    assert bot.git("rev-parse", "HEAD~1").strip() == old
    assert bot.status() == ""
    assert f"This replaces commit {old}." in bot.git("log", "-1", "--format=%B")


def test_a_tag_with_the_same_files_is_there_already(bot: GitRepo) -> None:
    apply_step(make_reset_step(bot, "v1"))
    assert make_reset_step(bot, "v1").capture()["already"]


def test_an_unknown_name_is_said(bot: GitRepo) -> None:
    with pytest.raises(ActionError, match="knows no commit nonsense"):
        make_reset_step(bot, "nonsense").capture()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"revert": "a", "to": "b"},
        {"revert": "--all"},
        {"to": "a b"},
        {"to": ""},
        {"revert": "a\nb"},
        {"files": ["a"]},
        {"revert": "a", "from": "b"},
        {"files": ["a"], "from": "b", "to": "c"},
        {"files": ["../a"], "from": "b"},
        {"files": ["/a"], "from": "b"},
        {"files": ["."], "from": "b"},
        {"to": "a", "branch": "a..b"},
        {"to": "a", "branch": "-x"},
        {"to": "a", "branch": "x.lock"},
        {"to": "a", "branch": "HEAD@{1}"},
        {"to": "a", "push": "--force"},
    ],
)
def test_a_step_that_says_no_one_commit_is_refused_at_load(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_action(do="git", **fields)


# last-good


def test_without_a_good_commit_there_is_no_last_good(bot: GitRepo) -> None:
    with pytest.raises(ActionError, match="no last-good commit yet"):
        make_reset_step(bot, "last-good").capture()


def test_last_good_is_the_newest_good_commit_that_does_not_run(bot: GitRepo) -> None:
    path = str(bot.path)
    first = bot.git("rev-parse", "v1").strip()
    bot.git("checkout", "-q", "v1")
    assert record_good_commit(path, 1_000_000) == first
    bot.git("checkout", "-q", "main")
    assert record_good_commit(path, 2_000_000) == bot.head()
    before = make_reset_step(bot, "last-good").capture()

    assert before["target"] == first


def test_marking_the_same_commit_again_changes_nothing(bot: GitRepo) -> None:
    assert record_good_commit(str(bot.path), 1_000_000) == bot.head()
    refs = bot.git("for-each-ref", "refs/trading-watchdog/")
    assert record_good_commit(str(bot.path), 2_000_000) is None

    assert bot.git("for-each-ref", "refs/trading-watchdog/") == refs
    assert f"refs/trading-watchdog/good/000000001000-{bot.head()[:12]}" in refs


def test_a_commit_that_comes_back_is_the_newest_again(bot: GitRepo) -> None:
    main = bot.head()
    record_good_commit(str(bot.path), 1_000_000)
    bot.commit("two")
    record_good_commit(str(bot.path), 2_000_000)
    bot.git("reset", "-q", "--hard", main)
    record_good_commit(str(bot.path), 3_000_000)

    refs = bot.git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/trading-watchdog/good/").split()
    assert [ref[:12] for ref in refs] == ["000000002000", "000000003000"]


def test_the_newest_twenty_good_commits_are_kept(bot: GitRepo) -> None:
    for n in range(22):
        bot.git("commit", "-q", "--allow-empty", "-m", str(n))
        record_good_commit(str(bot.path), (1_000 + n) * 1_000)

    refs = bot.git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/trading-watchdog/good/").split()
    assert [int(ref[:12]) for ref in refs] == list(range(1_002, 1_022))


def test_a_commit_that_ran_with_edits_is_not_marked_good(bot: GitRepo) -> None:
    bot.write_files(config__py=CONFIG_V1)
    assert record_good_commit(str(bot.path), 1_000_000) is None
    bot.write_files(config__py=CONFIG_V2, untracked__log="x\n")
    assert record_good_commit(str(bot.path), 1_000_000) is not None


def test_what_was_rolled_back_is_never_last_good(bot: GitRepo) -> None:
    bot.git("checkout", "-q", "v1")
    record_good_commit(str(bot.path), 1_000_000)
    bot.git("checkout", "-q", "main")
    bad = bot.head()
    record_good_commit(str(bot.path), 2_000_000)
    apply_step(make_reset_step(bot, "v1"))
    bot.git("commit", "-q", "--allow-empty", "-m", "and on")
    bot.write_files(config__py="X = 1\n")
    bot.git("commit", "-qam", "another")

    assert bot.git("rev-parse", f"refs/trading-watchdog/bad/{bad}").strip() == bad
    assert make_reset_step(bot, "last-good").capture()["target"] == bot.git("rev-parse", "v1").strip()


def test_a_good_commit_that_contains_what_was_reverted_is_not_last_good(bot: GitRepo) -> None:
    first = bot.git("rev-parse", "v1").strip()
    bot.git("checkout", "-q", "v1")
    record_good_commit(str(bot.path), 1_000_000)
    bot.git("checkout", "-q", "main")
    record_good_commit(str(bot.path), 2_000_000)  # the later commit: it has the merge in it
    apply_step(make_revert_step(bot))

    assert make_reset_step(bot, "last-good").capture()["target"] == first
    record_good_commit(str(bot.path), 3_000_000)
    reverted = bot.head()
    bot.commit("new work", config__py="X = 1\n")
    assert make_reset_step(bot, "last-good").capture()["target"] == reverted


# Other people's edits


def test_unrelated_edits_staged_files_and_untracked_files_stay(bot: GitRepo) -> None:
    bot.write_files(notes__md="mine\n", later__py="staged\n", new__txt="mine\n", added__txt="added\n")
    bot.git("add", "later.py", "added.txt")
    status = bot.status()
    apply_step(make_revert_step(bot))

    assert bot.status() == status
    assert (bot.read("notes.md"), bot.read("later.py"), bot.read("new.txt")) == ("mine\n", "staged\n", "mine\n")


@pytest.mark.slow
@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("edit", [{"config__py": "mine\n"}, {"x___a__py": None}, {"old__py": "mine\n"}])
def test_an_edit_of_what_the_change_touches_is_refused_by_name(
    bot: GitRepo, edit: dict[str, str | None], staged: bool
) -> None:
    bot.write_files(**edit)
    if staged:
        bot.git("add", "-A")
    old, status = bot.head(), bot.status()
    name = next(iter(edit)).replace("___", "/").replace("__", ".")
    with pytest.raises(ActionError, match=f"not by us: {name} — "):
        make_revert_step(bot).capture()

    assert (bot.head(), bot.status()) == (old, status)


def test_a_changed_mode_is_an_edit(bot: GitRepo) -> None:
    (bot.path / "run.sh").chmod(0o755)
    with pytest.raises(ActionError, match=r"run\.sh"):
        make_revert_step(bot).capture()
    bot.git("config", "core.fileMode", "false")
    apply_step(make_revert_step(bot))


def test_an_edit_made_between_looking_and_acting_is_not_overwritten(bot: GitRepo) -> None:
    step = make_revert_step(bot)
    before = step.capture()
    bot.write_files(config__py="mine\n")

    assert step.state(before) == "other"
    with pytest.raises(ActionError, match=r"somebody else in the meantime: config\.py"):
        step.apply(before, "k")
    assert bot.read("config.py") == "mine\n"
    assert not (bot.path / ".git/index.lock").exists()


def test_a_commit_made_between_looking_and_acting_is_not_lost(bot: GitRepo) -> None:
    step = make_revert_step(bot)
    before = step.capture()
    theirs = bot.commit("theirs", notes__md="theirs\n")

    assert step.state(before) == "other"
    with pytest.raises(ActionError, match="moved to another commit by somebody else"):
        step.apply(before, "k")
    assert (bot.head(), bot.status()) == (theirs, "")


def test_a_commit_on_top_of_ours_leaves_it_done_and_a_changed_file_does_not(bot: GitRepo) -> None:
    step = make_revert_step(bot)
    before = apply_step(step)
    bot.commit("on top", notes__md="more\n")
    assert step.state(before) == "after"
    bot.write_files(config__py="mine\n")
    assert step.state(before) == "other"
    bot.git("reset", "-q", "--hard", "HEAD~2")
    assert step.state(before) == "before"


def test_a_folder_behind_a_link_is_not_written_to(bot: GitRepo, tmp_path: Path) -> None:
    apply_step(make_revert_step(bot))
    outside = tmp_path / "outside"
    outside.mkdir()
    (bot.path / "x").symlink_to(outside)
    with pytest.raises(ActionError, match=r"x/a\.py, x/b\.py"):
        make_reset_step(bot, "x-merge").capture()

    assert not list(outside.iterdir())


# Our own edits


def test_an_edit_that_stands_survives_and_one_that_does_not_is_dropped(bot: GitRepo) -> None:
    done = [done_flag_step(bot, True, GLOBAL_TRADING=False), done_flag_step(bot, False, FEATURE_X=False)]
    apply_step(make_revert_step(bot), *done)

    assert bot.read("config.py") == CONFIG_V1.replace("True", "False")
    assert bot.status() == " M config.py\n"


def test_what_the_other_version_does_not_know_is_left_out_and_said(bot: GitRepo) -> None:
    done = done_flag_step(bot, True, GLOBAL_TRADING=False, FEATURE_X=False)
    step = make_revert_step(bot)
    before = step.capture([done])
    said = step.apply(before, "k")

    assert bot.read("config.py") == CONFIG_V1.replace("True", "False")
    assert "kept GLOBAL_TRADING = false" in said
    assert "not in that version: FEATURE_X" in said


def test_an_edit_in_a_file_that_the_change_does_not_touch_stays(bot: GitRepo) -> None:
    bot.commit("settings", settings__yaml="a: true\n")
    step = make_action(do="flag", file="settings.yaml", set={"a": False}).bind(Target(repo=str(bot.path)))
    before = step.capture()
    step.apply(before, "k")
    apply_step(make_revert_step(bot), CompletedStep(step, before, False))

    assert bot.read("settings.yaml") == "a: false\n"


def test_a_later_git_step_still_knows_the_edits_that_an_earlier_one_kept(bot: GitRepo) -> None:
    done = [done_flag_step(bot, True, GLOBAL_TRADING=False), done_flag_step(bot, False, SIZE=1)]
    first = make_revert_step(bot)
    before = apply_step(first, *done)
    bot_v0 = CONFIG_V1.replace("SIZE = 1", "SIZE = 0")
    tree = bot.path.parent / "other"
    bot.git("worktree", "add", "-q", "-b", "v0", str(tree), "v1")
    GitRepo(tree).commit("v0", config__py=bot_v0)
    apply_step(make_reset_step(bot, "v0"), *done, CompletedStep(first, before, False))

    assert bot.read("config.py") == bot_v0.replace("True", "False")


def test_an_edit_that_changed_nothing_here_still_holds_in_the_other_version(bot: GitRepo) -> None:
    bot.commit("off", config__py=CONFIG_V2.replace("GLOBAL_TRADING = True", "GLOBAL_TRADING = False"))
    done = done_flag_step(bot, True, GLOBAL_TRADING=False)
    apply_step(make_reset_step(bot, "v1"), done)

    assert bot.read("config.py") == CONFIG_V1.replace("True", "False")


def test_somebody_elses_edit_beside_ours_is_refused(bot: GitRepo) -> None:
    done = done_flag_step(bot, True, GLOBAL_TRADING=False)
    bot.write_files(config__py=bot.read("config.py") + "MINE = 1\n")
    with pytest.raises(ActionError, match=r"not by us: config\.py"):
        make_revert_step(bot).capture([done])


def test_our_edit_in_a_file_that_goes_away_goes_with_it_and_is_said(bot: GitRepo) -> None:
    bot.commit("settings", settings__yaml="a: true\n")
    step = make_action(do="flag", file="settings.yaml", set={"a": False}).bind(Target(repo=str(bot.path)))
    before = step.capture()
    step.apply(before, "k")
    back = make_reset_step(bot, "v1")
    noted = back.capture([CompletedStep(step, before, True)])

    assert "not in that version: a" in back.apply(noted, "k")
    assert not (bot.path / "settings.yaml").exists()
    assert bot.status() == ""


# What the tree is made of


def test_a_file_becomes_a_folder_and_a_folder_a_file(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "r")
    repo.commit("one", a="file\n", b___c="in folder\n")
    repo.git("tag", "one")
    repo.write_files(a=None, b___c=None)
    (repo.path / "b").rmdir()
    repo.commit("two", a___d="in folder\n", b="file\n")
    apply_step(make_reset_step(repo, "one"))

    assert (repo.read("a"), repo.read("b/c"), repo.status()) == ("file\n", "in folder\n", "")


def test_an_untracked_file_in_a_folder_that_becomes_a_file_is_in_the_way(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "r")
    repo.commit("one", a="file\n")
    repo.git("tag", "one")
    repo.write_files(a=None)
    repo.commit("two", a___d="in folder\n")
    repo.write_files(a___mine="mine\n")
    with pytest.raises(ActionError, match="not by us: a — "):
        make_reset_step(repo, "one").capture()


def test_links_and_the_right_to_run_come_back_and_other_rights_stay(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "r")
    repo.write_files(run__sh="1\n", conf__py="1\n")
    (repo.path / "run.sh").chmod(0o755)
    (repo.path / "link").symlink_to("run.sh")
    repo.commit("one")
    repo.git("tag", "one")
    (repo.path / "link").unlink()
    (repo.path / "link").symlink_to("conf.py")
    repo.write_files(run__sh="2\n", conf__py="2\n")
    (repo.path / "run.sh").chmod(0o644)
    repo.commit("two")
    (repo.path / "conf.py").chmod(0o600)
    (repo.path / "run.sh").chmod(0o640)
    apply_step(make_reset_step(repo, "one"))

    modes = [stat.S_IMODE((repo.path / name).stat().st_mode) for name in ("conf.py", "run.sh")]
    assert modes == [0o600, 0o750]
    assert (repo.path / "link").readlink() == Path("run.sh")
    assert repo.status() == ""


def test_names_that_are_not_ascii_and_have_spaces_are_names(tmp_path: Path) -> None:
    repo = GitRepo(tmp_path / "r")
    repo.commit("one", **{"ä b": "1\n"})
    repo.git("tag", "one")
    repo.commit("two", **{"ä b": "2\n"})
    apply_step(make_reset_step(repo, "one"))

    assert (repo.read("ä b"), repo.status()) == ("1\n", "")


def test_line_ends_are_those_that_git_itself_would_write(bot: GitRepo) -> None:
    bot.git("config", "core.autocrlf", "true")
    bot.git("rm", "-q", "--cached", "-r", ".")
    bot.git("reset", "-q", "--hard")
    assert b"\r\n" in (bot.path / "config.py").read_bytes()
    done = done_flag_step(bot, True, GLOBAL_TRADING=False)
    apply_step(make_revert_step(bot), done)

    assert (bot.path / "config.py").read_bytes() == CONFIG_V1.replace("True", "False").replace("\n", "\r\n").encode()
    assert (bot.path / "old.py").read_bytes() == b"old\r\n"
    assert bot.status() == " M config.py\n"


def test_a_detached_head_stays_detached(bot: GitRepo) -> None:
    main = bot.head()
    bot.git("checkout", "-q", "--detach")
    apply_step(make_revert_step(bot))

    assert bot.git("symbolic-ref", "-q", "HEAD", ok=False) == ""
    assert bot.git("rev-parse", "main").strip() == main


def test_a_second_work_tree_has_its_own_index_and_branch(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("worktree", "add", "-q", "-b", "live", str(tmp_path / "live"))
    main = bot.head()
    live = GitRepo(tmp_path / "live")
    apply_step(make_revert_step(live))

    assert (live.status(), bot.status(), bot.head()) == ("", "", main)
    assert live.git("symbolic-ref", "HEAD") == "refs/heads/live\n"


def test_hooks_do_not_run_and_nothing_is_signed(bot: GitRepo, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    bot.git("config", "core.hooksPath", str(hooks))
    bot.git("config", "commit.gpgSign", "true")
    bot.git("config", "user.useConfigOnly", "true")
    apply_step(make_revert_step(bot))

    assert not (tmp_path / "ran").exists()


def test_variables_that_point_git_elsewhere_are_not_believed(
    bot: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_revert_step(bot)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    before = step.capture()
    step.apply(before, "k")

    assert step.state(before) == "after"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_git_is_used_as_the_repositorys_owner_only_and_root_is_nobody_else(bot: GitRepo, tmp_path: Path) -> None:
    step = make_revert_step(bot)
    before = step.capture()
    for path in [bot.path, *bot.path.rglob("*")]:
        os.chown(path, 65534, 65534)
    (bot.path / ".git/config").write_text("this would be an error\n")  # git is not even asked
    for verb in (step.capture, lambda: step.apply(before, "k"), lambda: step.preview(before)):
        with pytest.raises(ActionError, match=r"belongs to another user \(nobody\), and this runs as root"):
            verb()

    assert step.state(before) == "unknown"
    assert not [
        path for path in bot.path.rglob("*") if path.name.startswith(".trading-watchdog") or "lock" in path.name
    ]


# Where git must not be used


def test_a_merge_under_way_is_theirs_to_end(bot: GitRepo) -> None:
    bot.git("checkout", "-q", "-b", "other", "v1")
    bot.commit("other", config__py="other\n")
    bot.git("checkout", "-q", "main")
    bot.git("merge", "-q", "other", ok=False)
    with pytest.raises(ActionError, match="a merge is under way"):
        make_revert_step(bot).capture()
    (bot.path / ".git/MERGE_HEAD").unlink()
    with pytest.raises(ActionError, match="unresolved conflicts"):
        make_revert_step(bot).capture()


def test_a_submodule_in_the_change_is_refused(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("update-index", "--add", "--cacheinfo", f"160000,{bot.head()},sub")
    bot.git("commit", "-q", "-m", "sub")
    with pytest.raises(ActionError, match="submodule sub"):
        make_reset_step(bot, "v1").capture()


def test_a_submodule_beside_the_change_stays_as_it_is(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(bot.path), "sub")
    bot.commit("sub")
    (bot.path / "sub/config.py").write_text("mine\n")
    was = bot.status()
    apply_step(make_revert_step(bot))

    assert bot.status() == was == " M sub\n"
    assert bot.read("sub/config.py") == "mine\n"


def test_a_shallow_clone_that_has_the_parent_will_do(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("clone", "-q", "--depth=3", f"file://{bot.path}", str(tmp_path / "shallow"))
    shallow = GitRepo(tmp_path / "shallow")
    apply_step(make_revert_step(shallow, "HEAD"))

    assert not (shallow.path / "later.py").exists()
    assert shallow.git("rev-parse", "--is-shallow-repository").strip() == "true"


def test_objects_that_are_borrowed_from_another_repository_are_found(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("clone", "-q", "--shared", str(bot.path), str(tmp_path / 'odd "name:'))
    clone = GitRepo(tmp_path / 'odd "name:')
    clone.git("fetch", "-q", "--tags")
    apply_step(make_revert_step(clone))

    assert clone.read("config.py") == CONFIG_V1


def test_a_shallow_clone_without_the_parent_says_what_to_do(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("clone", "-q", "--depth=1", f"file://{bot.path}", str(tmp_path / "shallow"))
    with pytest.raises(ActionError, match="--unshallow"):
        make_revert_step(GitRepo(tmp_path / "shallow"), "HEAD").capture()


def test_no_repository_a_bare_one_and_an_empty_one_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare")], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "empty")], check=True)
    for name, why in (("none", "no git repository"), ("bare", "bare"), ("empty", "no commit yet"), ("x", "no folder")):
        with pytest.raises(ActionError, match=why):
            make_action(do="git", to="v1", repo=str(tmp_path / name)).capture()


def test_a_step_without_a_repo_says_so() -> None:
    with pytest.raises(ActionError, match="give it one"):
        make_action(do="git", to="v1").bind(Target())


# Locks


def test_a_git_at_work_is_waited_for_and_then_not_disturbed(bot: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchdog.actions.git.index_lock._LOCK_TIMEOUT", 0.3)
    step = make_revert_step(bot)
    before = step.capture()
    lock = bot.path / ".git/index.lock"
    lock.touch()
    with pytest.raises(ActionError, match=r"index\.lock exists"):
        make_revert_step(bot).capture()
    with pytest.raises(ActionError, match=r"index\.lock exists"):
        step.apply(before, "k")

    assert step.state(before) == "before"
    assert lock.exists()


@pytest.mark.parametrize("held", [False, True])
def test_an_old_lock_is_removed_only_when_nobody_holds_it(
    bot: GitRepo, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.actions.git.index_lock._LOCK_TIMEOUT", 0.3)
    lock = bot.path / ".git/index.lock"
    lock.touch()
    os.utime(lock, (lock.stat().st_mtime - 700,) * 2)
    monkeypatch.setattr(
        child_process, "boot_time", lambda: time.time() - 86_400
    )  # this machine may be up for ten seconds only
    if held:
        with lock.open(), pytest.raises(ActionError, match=r"index\.lock exists"):
            make_revert_step(bot).capture()
        assert lock.exists()
    else:
        apply_step(make_revert_step(bot))
        assert not lock.exists()


@pytest.mark.parametrize("same_user", [False, True])
def test_a_git_that_cannot_be_looked_at_holds_the_locks_of_its_own_user_only(
    bot: GitRepo, same_user: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid() if same_user else os.geteuid() + 1

    class ForeignGit:
        pid = 1

        def name(self) -> str:
            return "git"

        def cwd(self) -> str:
            raise psutil.AccessDenied(self.pid)

        def uids(self) -> SimpleNamespace:
            return SimpleNamespace(real=user, effective=user, saved=user)

    monkeypatch.setattr("watchdog.actions.git.index_lock._LOCK_TIMEOUT", 0.3)
    monkeypatch.setattr(child_process, "boot_time", lambda: time.time() - 86_400)
    monkeypatch.setattr(psutil, "process_iter", lambda: [ForeignGit()])
    lock = bot.path / ".git/index.lock"
    lock.touch()
    os.utime(lock, (lock.stat().st_mtime - 700,) * 2)

    if same_user:
        with pytest.raises(ActionError, match=r"index\.lock exists"):
            make_revert_step(bot).capture()
    else:
        make_revert_step(bot).capture()


def test_a_lock_from_before_the_boot_is_nobodys(bot: GitRepo) -> None:
    lock = bot.path / ".git/index.lock"
    lock.touch()
    os.utime(lock, (child_process.boot_time() - 60,) * 2)
    apply_step(make_revert_step(bot))

    assert not lock.exists()


def test_locks_that_a_killed_git_of_ours_left_on_the_branch_are_ours_to_clear(
    bot: GitRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_revert_step(bot)
    before = step.capture()
    run = child_process.run

    def up_to_the_branch(argv: Sequence[str], **how: Any) -> child_process.CommandResult:
        if "update-ref" in argv:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(argv, **how)

    monkeypatch.setattr(child_process, "run", up_to_the_branch)
    assert killed_at(-1, lambda: step.apply(before, "k"))
    monkeypatch.undo()
    for name in ("HEAD.lock", "refs/heads/main.lock"):
        (bot.path / ".git" / name).touch()
    step.apply(before, "k")

    assert step.state(before) == "after"


def test_a_branch_that_somebody_locks_is_not_moved_and_the_tree_is_put_back(bot: GitRepo) -> None:
    step = make_revert_step(bot)
    before = step.capture()
    old, status = bot.head(), bot.status()
    (bot.path / ".git/refs/heads/main.lock").touch()
    with pytest.raises(ActionError, match="all was put back") as caught:
        step.apply(before, "k")

    assert not caught.value.may_have_happened
    assert (bot.head(), bot.status(), bot.read("config.py")) == (old, status, CONFIG_V2)
    assert step.state(before) == "before"


@pytest.mark.parametrize("name", ["HEAD.lock", "refs/heads/main.lock", "index.lock", "refs/heads/emergency/x.lock"])
def test_a_lock_is_named_before_anything_is_touched_with_its_age_and_the_cure(
    bot: GitRepo, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.actions.git.index_lock._LOCK_TIMEOUT", 0.2)
    lock = bot.path / ".git" / name
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    os.utime(lock, (lock.stat().st_mtime - 125,) * 2)
    monkeypatch.setattr(child_process, "boot_time", lambda: time.time() - 86_400)
    with pytest.raises(ActionError) as caught:
        make_git_step(bot, revert="x-merge", branch="emergency/x").capture()

    assert f"{lock} exists, 2 m " in str(caught.value)
    assert str(caught.value).endswith(
        f"no process that can be seen holds it — remove it, once no git runs here: rm {lock}"
    )


def test_who_holds_a_lock_is_said(bot: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchdog.actions.git.index_lock._LOCK_TIMEOUT", 0.2)
    lock = bot.path / ".git/HEAD.lock"
    with lock.open("w"), pytest.raises(ActionError, match=rf" and \w+ \({os.getpid()}\) is at work in it — wait"):
        make_revert_step(bot).capture()


@pytest.mark.parametrize("name", ["HEAD.lock", "refs/heads/main.lock"])
def test_a_lock_that_comes_between_looking_and_acting_is_named(bot: GitRepo, name: str) -> None:
    step = make_revert_step(bot)
    before = step.capture()
    old, status = bot.head(), bot.status()
    (bot.path / ".git" / name).touch()
    with pytest.raises(ActionError, match=rf"\.git/{re.escape(name)} exists, .* rm .*\(all was put back\)"):
        step.apply(before, "k")

    assert (bot.head(), bot.status()) == (old, status)


def test_a_lock_of_the_packed_refs_is_named(bot: GitRepo) -> None:
    for n in range(22):
        bot.git("commit", "-q", "--allow-empty", "-m", str(n))
        if n == 21:
            (bot.path / ".git/packed-refs.lock").touch()
            with pytest.raises(ActionError, match=r"packed-refs\.lock exists, "):
                record_good_commit(str(bot.path), (1_000 + n) * 1_000)
        else:
            record_good_commit(str(bot.path), (1_000 + n) * 1_000)


def test_a_lock_of_the_settings_is_named(bot: GitRepo) -> None:
    (bot.path / ".git/config.lock").touch()
    with pytest.raises(ActionError, match=r"\.git/config\.lock exists, "):
        open_repository(str(bot.path), 30_000).git("config", "user.name", "x")


# Single files, emergency branches, pushing, what is remembered


def make_git_step(bot: GitRepo, **fields: Any) -> Action:
    return make_action(do="git", **fields).bind(Target(repo=str(bot.path)))


def test_single_files_come_back_and_everything_else_stays(bot: GitRepo) -> None:
    old = bot.head()
    before = apply_step(make_git_step(bot, files=["config.py", "old.py"], **{"from": "v1"}))

    assert (bot.read("config.py"), bot.read("old.py"), bot.read("run.sh")) == (
        CONFIG_V1,
        "old\n",
        "#!/bin/sh\nexec x\n",
    )
    assert bot.git("diff", "--name-only", f"{old}..HEAD").split() == ["config.py", "old.py"]
    assert bot.git("log", "-1", "--format=%s").strip() == "Bring back config.py, old.py from v1"
    assert f"This replaces commit {old}" in bot.git("log", "-1", "--format=%b")
    assert bot.status() == ""
    assert set(before["changes"]) == {"config.py", "old.py"}


def test_a_folder_comes_back_whole(bot: GitRepo) -> None:
    bot.commit("more", x___a__py="A\n", x___c__py="c\n")
    apply_step(make_git_step(bot, files=["x"], **{"from": "x-merge"}))

    assert sorted(path.name for path in (bot.path / "x").iterdir()) == ["a.py", "b.py"]
    assert bot.read("x/a.py") == "a\n"
    assert bot.status() == ""


def test_files_that_are_so_already_are_left_alone(bot: GitRepo) -> None:
    step = make_git_step(bot, files=["notes.md"], **{"from": "HEAD"})

    assert step.state(step.capture()) == "after"


def test_a_file_that_the_baseline_does_not_have_is_refused(bot: GitRepo) -> None:
    with pytest.raises(ActionError, match=r"later\.py is not in"):
        make_git_step(bot, files=["later.py"], **{"from": "v1"}).capture()


def test_files_come_from_the_last_good_commit_too(bot: GitRepo) -> None:
    bot.git("checkout", "-q", "v1")
    record_good_commit(str(bot.path), 1)
    bot.git("checkout", "-q", "main")
    apply_step(make_git_step(bot, files=["config.py"], **{"from": "last-good"}))

    assert bot.read("config.py") == CONFIG_V1


def test_an_emergency_branch_takes_the_commit_and_the_old_branch_stays(bot: GitRepo) -> None:
    old = bot.head()
    step = make_git_step(bot, revert="x-merge", branch="emergency/x")
    before = json_round_trip(step.capture())
    assert "# on the new branch refs/heads/emergency/x" in step.preview(before)
    said = step.apply(before, "k")

    assert step.state(before) == "after"
    assert "; on emergency/x; " in said
    assert bot.git("symbolic-ref", "--short", "HEAD").strip() == "emergency/x"
    assert bot.git("rev-parse", "main").strip() == old
    assert bot.head() == before["new"]
    assert (bot.read("config.py"), bot.status()) == (CONFIG_V1, "")


def test_a_branch_of_an_earlier_night_is_not_moved(bot: GitRepo) -> None:
    bot.git("branch", "emergency/x", "v1")
    bot.git("branch", "emergency/x-2", "v1")
    before = apply_step(make_git_step(bot, revert="x-merge", branch="emergency/x"))

    assert before["branch"] == "refs/heads/emergency/x-3"
    assert bot.git("rev-parse", "emergency/x", "emergency/x-2").split() == [bot.git("rev-parse", "v1").strip()] * 2


def test_a_branch_that_somebody_makes_meanwhile_is_not_moved(bot: GitRepo) -> None:
    step = make_git_step(bot, revert="x-merge", branch="emergency/x")
    before = step.capture()
    bot.git("branch", "emergency/x", "v1")
    with pytest.raises(ActionError, match="all was put back"):
        step.apply(before, "k")

    assert bot.git("rev-parse", "emergency/x") == bot.git("rev-parse", "v1")
    assert (bot.head(), bot.status()) == (before["old"], "")


def test_a_detached_head_comes_onto_the_emergency_branch(bot: GitRepo) -> None:
    bot.git("checkout", "-q", "--detach")
    apply_step(make_git_step(bot, to="v1", branch="emergency/x"))

    assert bot.git("symbolic-ref", "--short", "HEAD").strip() == "emergency/x"


def test_nothing_is_pushed_unless_that_is_said(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("clone", "-q", "--bare", ".", str(tmp_path / "far"))
    bot.git("remote", "add", "origin", str(tmp_path / "far"))
    far = bot.git("ls-remote", "origin")
    apply_step(make_revert_step(bot))

    assert bot.git("ls-remote", "origin") == far


@pytest.mark.parametrize("branch", [None, "emergency/x"])
def test_the_branch_is_pushed_when_that_is_said(bot: GitRepo, tmp_path: Path, branch: str | None) -> None:
    bot.git("clone", "-q", "--bare", ".", str(tmp_path / "far"))
    bot.git("remote", "add", "origin", str(tmp_path / "far"))
    step = make_git_step(bot, revert="x-merge", branch=branch, push="origin")
    said = step.apply(step.capture(), "k")

    assert f"; pushed {branch or 'main'} to origin; " in said
    assert bot.git("ls-remote", "origin", f"refs/heads/{branch or 'main'}").split()[0] == bot.head()


def test_a_push_that_fails_is_told_and_no_more(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("remote", "add", "origin", str(tmp_path / "none"))
    step = make_git_step(bot, revert="x-merge", push="origin")
    before = step.capture()
    said = step.apply(before, "k")

    assert "; not pushed to origin: git push failed: " in said
    assert step.state(before) == "after"


def test_a_remote_that_went_on_is_not_overwritten(bot: GitRepo, tmp_path: Path) -> None:
    bot.git("clone", "-q", "--bare", ".", str(tmp_path / "far"))
    bot.git("remote", "add", "origin", str(tmp_path / "far"))
    theirs = bot.git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "theirs").strip()
    bot.git("push", "-q", "origin", f"{theirs}:refs/heads/main")
    step = make_git_step(bot, revert="x-merge", push="origin")

    assert "; not pushed to origin: " in step.apply(step.capture(), "k")
    assert bot.git("ls-remote", "origin", "refs/heads/main").split()[0] == theirs


def test_what_was_rolled_back_is_known(bot: GitRepo) -> None:
    assert (rolled_back_commits(str(bot.path)), reverts_in_force(str(bot.path))) == ([], [])
    before = apply_step(make_revert_step(bot))
    bad = bot.git("rev-parse", "x-merge").strip()

    assert rolled_back_commits(str(bot.path)) == [bad]
    assert reverts_in_force(str(bot.path)) == [(bad, before["new"], "Merge feature x")]


def test_a_revert_that_was_reverted_does_not_stand_any_more(bot: GitRepo) -> None:
    before = apply_step(make_revert_step(bot))
    bot.git("revert", "--no-edit", before["new"])

    assert reverts_in_force(str(bot.path)) == []
    assert rolled_back_commits(str(bot.path)) == [before["bad"]]


def test_a_revert_on_another_branch_does_not_stand_here(bot: GitRepo) -> None:
    apply_step(make_git_step(bot, revert="x-merge", branch="emergency/x"))
    bot.git("checkout", "-q", "main")

    assert reverts_in_force(str(bot.path)) == []
    assert rolled_back_commits(str(bot.path)) == [bot.git("rev-parse", "x-merge").strip()]


def test_a_rebase_under_way_is_refused_with_the_cure(bot: GitRepo) -> None:
    bot.git("checkout", "-q", "-b", "mine", "v1")
    bot.commit("mine", config__py="SIZE = 3\n")
    bot.git("rebase", "main", ok=False)
    with pytest.raises(ActionError, match=r"a rebase is under way in .* — finish or abort it first"):
        make_revert_step(bot).capture()


# Crashes and failures


def _prepare_step(bot: GitRepo, branch: str | None = None) -> tuple[Action, JsonObject, str]:
    """A revert with our edit and other people's edits around it."""
    bot.write_files(notes__md="mine\n", new__txt="mine\n", later__py="staged\n")
    bot.git("add", "later.py")
    theirs = bot.status()
    done = done_flag_step(bot, True, GLOBAL_TRADING=False)
    step = make_action(do="git", revert="x-merge", branch=branch).bind(Target(repo=str(bot.path)))
    return step, json_round_trip(step.capture([done])), theirs


def _reset_repo(bot: GitRepo, kept: Path) -> None:
    if not kept.exists():
        shutil.copytree(bot.path, kept, symlinks=True)
    shutil.rmtree(bot.path)
    shutil.copytree(kept, bot.path, symlinks=True)


def _assert_done(bot: GitRepo, before: JsonObject, theirs: str) -> None:
    assert bot.git("rev-list", f"{before['old']}..HEAD").split() == [before["new"]]
    assert bot.git("symbolic-ref", "HEAD").strip() == (before["branch"] or "refs/heads/main")
    assert bot.status() == " M config.py\n" + theirs
    assert bot.read("config.py") == CONFIG_V1.replace("True", "False")
    assert (bot.read("notes.md"), bot.read("new.txt"), bot.read("later.py")) == ("mine\n", "mine\n", "staged\n")
    _assert_no_leftovers(bot)


def _assert_no_leftovers(bot: GitRepo) -> None:
    assert not list((bot.path / ".git").rglob("*.lock"))
    assert not [path.name for path in bot.path.rglob("*trading-watchdog*") if "refs" not in path.parts]


@pytest.mark.slow
def test_killed_ahead_of_any_rename_it_is_gone_on_from_to_exactly_one_commit(bot: GitRepo, tmp_path: Path) -> None:
    step, before, theirs = _prepare_step(bot)
    for nth in range(300):
        _reset_repo(bot, tmp_path / "kept")
        survived = not killed_at(nth, lambda: step.apply(before, "k"))
        if step.state(before) == "before":
            step.apply(before, "k")
        assert step.state(before) == "after", nth
        _assert_done(bot, before, theirs)
        if survived:
            assert nth > 12
            return
    pytest.fail("it never got through")


@pytest.mark.slow
@pytest.mark.parametrize("branch", [None, "emergency/x"])
def test_killed_while_git_runs_it_is_gone_on_from_once_that_git_has_ended(
    bot: GitRepo, tmp_path: Path, branch: str | None
) -> None:
    step, before, theirs = _prepare_step(bot, branch)
    note = tmp_path / "note"
    for nth in range(6 if branch else 1, 100):  # up to the branch it is the same way
        _reset_repo(bot, tmp_path / "kept")
        note.unlink(missing_ok=True)

        def until_nth(nth: int = nth) -> None:
            left = [nth]

            def noted(pid: int, started: float) -> None:
                left[0] -= 1
                if not left[0]:
                    note.write_text(f"{pid} {started}")
                    os.kill(os.getpid(), signal.SIGKILL)

            child_process.on_child_started.set(noted)
            step.apply(before, "k")

        if not killed_at(-1, until_nth):
            assert nth > 8
            return
        left_over = note.read_text().split()
        child_process.terminate_leftover(int(left_over[0]), float(left_over[1]), 30)
        if step.state(before) == "before":
            step.apply(before, "k")
        assert step.state(before) == "after", nth
        _assert_done(bot, before, theirs)
    pytest.fail("it never got through")


@pytest.mark.slow
@pytest.mark.parametrize("branch", [None, "emergency/x"])
def test_failing_at_any_step_everything_is_put_back_or_done(bot: GitRepo, tmp_path: Path, branch: str | None) -> None:
    step, before, theirs = _prepare_step(bot, branch)
    for nth in range(20 if branch else 0, 300):
        _reset_repo(bot, tmp_path / "kept")
        with failing_at(nth) as came:
            try:
                step.apply(before, "k")
                error = None
            except ActionError as caught:
                error = caught
        if error:
            assert not error.may_have_happened, nth
            assert bot.head() == before["old"]
            assert bot.git("branch", "--format=%(refname:short)").split() == ["feature", "main"]
            assert bot.status() == " M config.py\n" + theirs
            assert bot.read("config.py") == CONFIG_V2.replace("GLOBAL_TRADING = True", "GLOBAL_TRADING = False"), nth
            assert step.state(before) == "before"
            assert not list((bot.path / ".git").rglob("*.lock"))
        else:
            assert step.state(before) == "after"
            _assert_done(bot, before, theirs)
        if not came:
            assert nth > 20
            return
    pytest.fail("it never got through")


# What is left behind


def left_states(step: Action, captured: JsonObject) -> list[str]:
    return list(step.lasting_states(captured))


def test_a_revert_stands_whatever_is_committed_on_top_of_it(bot: GitRepo) -> None:
    step = make_revert_step(bot)
    captured = apply_step(step)

    bot.commit("hotfix", config__py=f"{CONFIG_V1}HOTFIX = 1\n", notes__md="mine\n")

    assert step.state(captured) == "other"  # somebody else is at work there, yet
    assert left_states(step, captured) == ["after"]


def test_a_revert_that_was_taken_back_stands_no_more_and_one_that_was_renewed_does(bot: GitRepo) -> None:
    step = make_revert_step(bot)
    captured = apply_step(step)

    bot.git("revert", "--no-edit", captured["new"])
    assert left_states(step, captured) == ["before"]

    bot.git("revert", "--no-edit", "HEAD")
    assert left_states(step, captured) == ["after"]


@pytest.mark.parametrize("words", [["reset", "-q", "--hard", "HEAD~1"], ["checkout", "-q", "HEAD~1", "--", "."]])
def test_files_that_a_person_has_put_back_stand_no_more(bot: GitRepo, words: list[str]) -> None:
    step = make_revert_step(bot)
    captured = apply_step(step)

    bot.git(*words)
    if words[0] == "checkout":
        bot.path.joinpath("old.py").unlink(missing_ok=True)  # what the merge had removed

    assert left_states(step, captured) == ["before"]


def test_going_back_to_the_bad_version_by_a_new_commit_ends_what_stands(bot: GitRepo) -> None:
    """As an undo does."""
    step = make_revert_step(bot)
    captured = apply_step(step)

    apply_step(make_reset_step(bot, captured["old"]))

    assert left_states(step, captured) == ["before"]


def test_a_revert_on_a_branch_that_is_not_checked_out_does_not_stand(bot: GitRepo) -> None:
    step = make_git_step(bot, revert="x-merge", branch="emergency/x")
    captured = apply_step(step)
    assert left_states(step, captured) == ["after"]

    bot.git("checkout", "-q", "main")

    assert left_states(step, captured) == ["before"]


def test_a_repository_that_is_gone_cannot_be_looked_at(bot: GitRepo) -> None:
    step = make_revert_step(bot)
    captured = apply_step(step)

    shutil.rmtree(bot.path)

    with pytest.raises(ActionError):
        step.lasting_states(captured)
