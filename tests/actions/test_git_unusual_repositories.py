"""The git action in work trees and repositories that are set up in an unusual, but honest, way."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.actions import GitRepo, json_round_trip, killed_at, make_action
from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.protocols import CompletedStep
from watchdog.core.target import Target

pytestmark = pytest.mark.slow


@pytest.fixture
def bot(tmp_path: Path) -> GitRepo:
    made = GitRepo(tmp_path / "bot")
    made.commit("one", a__py="A = 1\n", b__py="B = 1\n")
    return made


def revert_merge(bot: GitRepo, **more: str) -> str:
    """HEAD is reverted; what the step says."""
    step = make_action(do="git", revert="HEAD", **more).bind(Target(repo=str(bot.path)))
    before: JsonObject = json_round_trip(step.capture())
    assert step.state(before) == "before"
    said = step.apply(before, "k")
    assert step.state(before) == "after"
    assert bot.status() == ""
    return said


def read_bytes(bot: GitRepo, name: str) -> bytes:
    return (bot.path / name).read_bytes()


def commit_bytes(bot: GitRepo, message: str, **files: bytes) -> None:
    for name, content in files.items():
        (bot.path / name.replace("__", ".")).write_bytes(content)
    bot.commit(message)


# Line ends


def test_line_ends_are_those_of_the_attributes_that_come_back_and_not_of_those_that_go(bot: GitRepo) -> None:
    bot.commit("bad", __gitattributes="*.py text eol=crlf\n", a__py="A = 2\n")
    revert_merge(bot)
    assert read_bytes(bot, "a.py") == b"A = 1\n"

    bot.commit("crlf from here", __gitattributes="*.py text eol=crlf\n")
    bot.git("rm", "-rq", "--cached", ".")
    bot.git("reset", "-q", "--hard")
    bot.commit("bad", __gitattributes=None, a__py="A = 2\n")
    revert_merge(bot)
    assert read_bytes(bot, "a.py") == b"A = 1\r\n"


@pytest.mark.parametrize("how", ["input", "true"])
def test_a_file_that_was_committed_with_crlf_counts_as_unchanged_as_it_does_for_git(bot: GitRepo, how: str) -> None:
    commit_bytes(bot, "from a windows machine", a__py=b"A = 1\r\n")
    commit_bytes(bot, "bad", a__py=b"A = 2\r\n")
    bot.git("config", "core.autocrlf", how)
    assert bot.status() == ""
    revert_merge(bot)
    assert read_bytes(bot, "a.py") == b"A = 1\r\n"


@pytest.mark.parametrize("how", ["input", "true", "false"])
def test_a_commit_that_changed_nothing_but_line_ends_of_a_file_is_taken_back(bot: GitRepo, how: str) -> None:
    commit_bytes(bot, "bad", a__py=b"A = 1\r\n", b__py=b"B = 2\r\n")
    bot.git("config", "core.autocrlf", how)
    assert bot.status() == ""
    revert_merge(bot)
    assert read_bytes(bot, "b.py") in (b"B = 1\n", b"B = 1\r\n")


@pytest.mark.slow
def test_killed_anywhere_a_file_with_crlf_in_the_repository_is_gone_on_from(tmp_path: Path) -> None:
    for nth in range(60):
        bot = GitRepo(tmp_path / str(nth))
        commit_bytes(bot, "one", a__py=b"A = 1\r\n", b__py=b"B = 1\r\n")
        commit_bytes(bot, "bad", a__py=b"A = 2\r\n", b__py=b"B = 2\r\n")
        bot.git("config", "core.autocrlf", "input")
        step = make_action(do="git", revert="HEAD").bind(Target(repo=str(bot.path)))
        before = json_round_trip(step.capture())
        died = killed_at(nth, lambda step=step, before=before: step.apply(before, "k"))  # type: ignore[misc]
        if step.state(before) == "before":
            step.apply(before, "k")
        assert step.state(before) == "after", nth
        assert (read_bytes(bot, "a.py"), read_bytes(bot, "b.py"), bot.status()) == (b"A = 1\r\n", b"B = 1\r\n", ""), nth
        if not died:
            return
    raise AssertionError("it never came to its end alive")


# What is not there


def make_sparse(bot: GitRepo) -> None:
    bot.git("sparse-checkout", "set", "src")
    assert not (bot.path / "docs").exists()


def test_what_a_sparse_checkout_leaves_out_is_taken_back_in_the_history_and_left_out(bot: GitRepo) -> None:
    bot.commit("ok", docs___x__md="x\n", src___y__py="y\n")
    bot.commit("bad", docs___x__md="x2\n", docs___new__md="n\n", src___y__py="y2\n", a__py="A = 2\n")
    make_sparse(bot)
    revert_merge(bot)
    assert not (bot.path / "docs").exists()
    assert bot.read("src/y.py") == "y\n"
    assert bot.git("show", "HEAD:docs/x.md") == "x\n"
    assert "new.md" not in bot.git("ls-tree", "-r", "--name-only", "HEAD")


def test_a_file_deleted_by_hand_is_still_somebodys_edit(bot: GitRepo) -> None:
    bot.commit("bad", a__py="A = 2\n")
    bot.write_files(a__py=None)
    with pytest.raises(ActionError, match=r"not by us: a\.py"):
        revert_merge(bot)


def test_a_submodule_in_the_change_is_refused_also_when_git_is_told_to_overlook_it(
    bot: GitRepo, tmp_path: Path
) -> None:
    library = GitRepo(tmp_path / "library")
    library.commit("s", f="1\n")
    bot.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.path), "sub")
    bot.git("config", "-f", ".gitmodules", "submodule.sub.ignore", "all")
    bot.commit("with it")
    GitRepo(bot.path / "sub").commit("s2", f="2\n")
    bot.write_files(a__py="A = 2\n")
    bot.git("add", "-f", "sub", "a.py")
    bot.git("commit", "-qm", "bad")
    with pytest.raises(ActionError, match="submodule sub"):
        revert_merge(bot)


# Settings of other people


def test_signed_commits_are_taken_back_also_where_git_shows_signatures(bot: GitRepo, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    for name, value in {
        "gpg.format": "ssh",
        "user.signingkey": f"{key}.pub",
        "commit.gpgsign": "true",
        "log.showSignature": "true",
    }.items():
        bot.git("config", name, value)
    bot.commit("bad", a__py="A = 2\n")
    revert_merge(bot)
    assert bot.git("show", "-s", "--no-show-signature", "--format=%s", "HEAD").strip() == 'Revert "bad"'


def test_words_that_are_no_utf_8_are_kept_as_they_are(bot: GitRepo) -> None:
    bot.write_files(a__py="A = 2\n")
    (bot.path / ".git" / "words").write_bytes(b"caf\xe9\n")
    bot.git("commit", "-qaF", ".git/words")
    revert_merge(bot)
    assert bot.read("a.py") == "A = 1\n"


def test_a_name_that_is_no_utf_8_is_refused_since_the_journal_could_not_hold_it(bot: GitRepo) -> None:
    bot.path.joinpath(b"caf\xe9.txt".decode(errors="surrogateescape")).write_text("x\n")
    bot.commit("bad")
    with pytest.raises(ActionError, match=r"caf\\udce9\.txt', a name that is no UTF-8") as refusal:
        revert_merge(bot)
    str(refusal.value).encode()


# Our own edits


def test_what_the_git_step_of_an_earlier_run_kept_is_still_known_as_ours(bot: GitRepo) -> None:
    target = Target(repo=str(bot.path))
    bot.commit("v1", config__py="TRADING = True\nSIZE = 1\n")
    bad = bot.commit("bad", config__py="TRADING = True\nSIZE = 2\n")
    switch = make_action(do="flag", file="config.py", set={"TRADING": False}).bind(target)
    switched = json_round_trip(switch.capture())
    switch.apply(switched, "k")
    back = make_action(do="git", revert="HEAD").bind(target)
    went = json_round_trip(back.capture([CompletedStep(switch, switched, True)]))
    back.apply(went, "k")
    assert bot.read("config.py") == "TRADING = False\nSIZE = 1\n"

    again = make_action(do="git", to=bad).bind(target)
    before = json_round_trip(again.capture([CompletedStep(switch, switched, False), CompletedStep(back, went, False)]))
    again.apply(before, "k")

    assert again.state(before) == "after"
    assert bot.read("config.py") == "TRADING = True\nSIZE = 2\n"


# Many files


@pytest.mark.parametrize("name", ["fsync", "link"])
def test_thousands_of_files_on_a_slow_disk_are_put_back_at_the_deadline_and_not_some_time_later(
    bot: GitRepo, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {f"f{number}__py": "1\n" for number in range(40)}
    bot.commit("many", **many)
    bad = bot.commit("bad", **dict.fromkeys(many, "2\n"))
    step = make_action(do="git", revert="HEAD", timeout="10s").bind(Target(repo=str(bot.path)))
    before = json_round_trip(step.capture())
    moved, real, clock = [0.0], getattr(os, name), time.monotonic

    def slow(*args: Any, **kwargs: Any) -> Any:
        moved[0] += 1.0
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, slow)
    monkeypatch.setattr("watchdog.actions.git.repository.time.monotonic", lambda: clock() + moved[0])
    with pytest.raises(ActionError, match=r"not done in time .* \(all was put back\)"):
        step.apply(before, "k")
    monkeypatch.undo()

    assert moved[0] < 20
    assert step.state(before) == "before"
    assert (bot.head(), bot.status()) == (bad, "")


# Branches and remotes


def test_a_branch_that_another_ones_name_forbids_is_said_before_anything_is_touched(bot: GitRepo) -> None:
    bot.commit("bad", a__py="A = 2\n")
    bot.git("branch", "emergency")
    step = make_action(do="git", revert="HEAD", branch="emergency/hmm").bind(Target(repo=str(bot.path)))
    with pytest.raises(ActionError, match="there is a branch emergency"):
        step.capture()


def test_a_remote_that_hangs_holds_nothing_up_beyond_its_time(bot: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    bot.commit("bad", a__py="A = 2\n")
    bot.git("config", "protocol.ext.allow", "always")
    bot.git("remote", "add", "far", "ext::sleep 600")
    monkeypatch.setattr("watchdog.actions.git.branches._PUSH_TIMEOUT", 0.5)
    began = time.monotonic()
    said = revert_merge(bot, push="far")
    assert "not known to be pushed to far: it gave no answer within" in said
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("remote", ["https://ada:s3cret@example.org/bot.git", "https://:s3cret@example.org/bot.git"])
def test_an_address_with_a_password_is_refused_at_load(remote: str) -> None:
    with pytest.raises(ValidationError, match="name a remote"):
        make_action(do="git", revert="x", push=remote)


def test_the_password_of_a_remote_is_not_told(bot: GitRepo) -> None:
    bot.commit("bad", a__py="A = 2\n")
    bot.git("remote", "add", "far", "http://ada:s3cret@127.0.0.1:1/bot.git")
    said = revert_merge(bot, push="far")
    assert "not pushed to far" in said
    assert "s3cret" not in said
