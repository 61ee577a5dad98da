"""Links, FIFOs and settings that a bot's user lays for git: nothing outside the repository changes, nobody waits."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.git_lab import BOT, STRANGER, GitLab, leftovers, made_lab, needs_landlock, needs_root, observe
from watchdog.actions.git.commit_refs import record_good_commit

pytestmark = [needs_root, pytest.mark.slow]


@pytest.fixture
def lab() -> Iterator[GitLab]:
    with made_lab() as made:
        yield made


def lay_link(lab: GitLab, name: str, target: Path) -> None:
    """In the place of whatever is there."""
    path = lab.bot / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    for each in (path, *(p for p in path.parents if p.is_relative_to(lab.bot))):
        os.chown(each, BOT, BOT, follow_symlinks=False)


def test_a_rollback_leaves_nothing_of_ours_but_refs(lab: GitLab) -> None:
    outcome = lab.roll_back(confined=True)

    assert outcome.error is None
    assert (lab.bot / "config.py").read_text() == "SIZE = 1\n"
    assert lab.git("status", "--porcelain") == ""
    assert leftovers(lab) == []
    assert {path.lstat().st_uid for path in [lab.bot, *lab.bot.rglob("*")]} == {BOT}
    assert not list((lab.folder / f"tmp-{BOT}").iterdir())


# ─ what there was: a folder of ours in .git, resolved by name ─


@pytest.mark.parametrize("verb", ["capture", "roll back"])
def test_a_link_where_our_private_folder_was_is_not_followed(lab: GitLab, verb: str) -> None:
    lay_link(lab, ".git/trading-watchdog", lab.outside)
    was = observe(lab.outside)
    if verb == "capture":
        lab.act(lambda: lab.step().capture())
    else:
        assert lab.roll_back().value[0] == "after"

    assert observe(lab.outside) == was


@pytest.mark.parametrize("name", ["now", "index", "files", "stage"])
def test_links_at_the_names_that_we_once_wrote_through_empty_no_file(lab: GitLab, name: str) -> None:
    lay_link(lab, f".git/trading-watchdog/{name}", lab.outside / "precious")
    old = lab.bot / ".git/index.lock"
    old.touch()
    os.utime(old, (1, 1))  # a stale lock: its age was measured by a file called `now`
    was = observe(lab.outside)
    lab.act(lambda: lab.step().capture())
    assert lab.roll_back().value[0] == "after"

    assert observe(lab.outside) == was


def test_a_link_in_place_of_every_possible_lock_of_ours_overwrites_nothing(lab: GitLab) -> None:
    """One for each process that could be next."""
    folder = lab.bot / ".git/trading-watchdog"
    folder.mkdir()
    for pid in range(os.getpid(), os.getpid() + 200):
        (folder / f"lock-{pid}").symlink_to(lab.outside / "precious")
    os.chown(folder, BOT, BOT)
    was = observe(lab.outside)
    assert lab.roll_back().value[0] == "after"

    assert observe(lab.outside) == was


# ─ links where git itself writes ─

WRITTEN_BY_GIT = (
    ".git/index",
    ".git/index.lock",
    ".git/HEAD",
    ".git/logs",
    ".git/logs/HEAD",
    ".git/refs",
    ".git/refs/heads",
    ".git/refs/heads/main",
    ".git/refs/trading-watchdog",
    ".git/refs/trading-watchdog/bad",
    ".git/objects",
    ".git/packed-refs",
)


@pytest.mark.slow
@pytest.mark.parametrize("confined", [False, pytest.param(True, marks=needs_landlock)])
@pytest.mark.parametrize("name", WRITTEN_BY_GIT)
def test_a_link_where_git_would_write_is_refused_before_anything_is_touched(
    lab: GitLab, name: str, confined: bool
) -> None:
    files = {"index", "index.lock", "HEAD", "main", "packed-refs"}
    kept = lab.bot / name
    there = lab.outside / (Path(name).name if Path(name).name in files else "folder")
    if kept.is_dir():  # what is behind it is good enough for git
        shutil.rmtree(there)
        shutil.copytree(kept, there)
    elif kept.exists():
        shutil.copyfile(kept, there)
    else:
        there.touch()
    for each in [there, *there.rglob("*")]:
        os.chown(each, BOT, BOT)
    lay_link(lab, name, there)
    was, tree = observe(lab.outside), (lab.bot / "config.py").read_text()
    outcome = lab.roll_back(confined=confined)
    marked = lab.act(lambda: record_good_commit(str(lab.bot), 1_000_000), confined=confined)

    assert outcome.error is not None
    assert observe(lab.outside) == was, marked
    assert (lab.bot / "config.py").read_text() == tree


def test_a_folder_of_objects_that_is_a_link_is_refused(lab: GitLab) -> None:
    """Loose objects lie in 256 of them; git makes those that are missing, and follows those that are links."""
    for number in range(256):
        folder = lab.bot / f".git/objects/{number:02x}"
        if not folder.exists():
            folder.symlink_to(lab.outside / "folder")
    was = observe(lab.outside)
    outcome = lab.roll_back()

    assert "is a symbolic link" in (outcome.error or "")
    assert observe(lab.outside) == was


def test_an_emergency_branch_is_not_made_behind_a_link(lab: GitLab) -> None:
    lay_link(lab, ".git/refs/heads/emergency", lab.outside / "folder")
    was = observe(lab.outside)
    outcome = lab.roll_back(revert="bad", branch="emergency/x")

    assert "refs/heads/emergency is a symbolic link" in (outcome.error or "")
    assert observe(lab.outside) == was


# ─ repositories that say they are elsewhere ─


def test_a_work_tree_elsewhere_is_refused(lab: GitLab) -> None:
    lab.git("config", "core.worktree", str(lab.outside))
    was = observe(lab.outside)
    outcome = lab.roll_back()

    assert "is not within the work tree that its own git directory names" in (outcome.error or "")
    assert observe(lab.outside) == was


@pytest.mark.parametrize("how", [".git", "commondir", ".git link"])
def test_the_git_directory_of_somebody_else_is_refused_without_asking_git(lab: GitLab, how: str) -> None:
    theirs = lab.folder / "theirs"
    shutil.copytree(lab.bot / ".git", theirs)
    for each in [theirs, *theirs.rglob("*")]:
        os.chown(each, STRANGER, STRANGER)
    if how == "commondir":
        lab.write(".git/commondir", f"{theirs}\n")
    else:
        shutil.rmtree(lab.bot / ".git")
        if how == ".git":
            lab.write(".git", f"gitdir: {theirs}\n")
        else:
            lay_link(lab, ".git", theirs)
    lab.program("git", f"touch {lab.outside}/asked\n")
    was = observe(theirs)
    outcome = lab.roll_back()

    assert "belongs to another user (40002), and this runs as 40001" in (outcome.error or "")
    assert observe(theirs) == was
    assert not (lab.outside / "asked").exists()


@pytest.mark.parametrize("uid", [0, STRANGER])
def test_root_and_strangers_are_refused_whatever_safe_directory_says(lab: GitLab, uid: int) -> None:
    lab.home.joinpath(".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    lab.program("git", f"touch {lab.outside}/asked-$$\n")
    was, before = observe(lab.bot), lab.act(lambda: None)
    assert before.error is None
    captured = {"already": False, "repo": str(lab.bot), **dict.fromkeys(("bad", "new", "old"), "0" * 40)}
    for call in (
        lambda: lab.step().capture(),
        lambda: lab.step().apply({**captured, "changes": {}, "edits": {}}, "k"),
        lambda: record_good_commit(str(lab.bot), 1),
    ):
        outcome = lab.act(call, uid=uid)
        assert "git acts as a repository's owner only" in (outcome.error or "")

    assert observe(lab.bot) == was
    assert not list(lab.outside.glob("asked*"))


# ─ what would make us wait ─


@pytest.mark.parametrize(
    "name",
    [".git", ".git/HEAD", ".git/index", ".git/config", ".git/packed-refs", ".git/index.lock", ".git/commondir",
     ".git/objects/info/alternates", ".git/refs/heads/main", "config.py", "x/a.py"],
)  # fmt: skip
def test_a_fifo_is_refused_without_waiting_for_whoever_writes_it(lab: GitLab, name: str) -> None:
    path = lab.bot / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    os.chown(path, BOT, BOT)
    began = time.monotonic()
    outcome = lab.roll_back()

    assert outcome.error is not None
    assert time.monotonic() - began < 30  # a lock is waited for, 5 s; a FIFO without end


# ─ files ─


def test_setuid_and_setgid_are_not_carried_over_to_the_new_version_of_a_file(lab: GitLab) -> None:
    lab.write("config.py", "SIZE = 2\n")
    (lab.bot / "config.py").chmod(0o6755)
    lab.git("config", "core.fileMode", "false")
    assert lab.roll_back().value[0] == "after"

    assert (lab.bot / "config.py").read_text() == "SIZE = 1\n"
    assert (lab.bot / "config.py").stat().st_mode & 0o7777 == 0o644


def test_a_file_behind_a_link_is_neither_read_nor_written(lab: GitLab) -> None:
    lay_link(lab, "config.py", lab.outside / "precious")
    was = observe(lab.outside)
    outcome = lab.roll_back()

    assert "not by us: config.py" in (outcome.error or "")
    assert observe(lab.outside) == was


# ─ programs of the repository's own ─


def test_looking_runs_no_program_that_the_repository_names(lab: GitLab) -> None:
    """Its filters aside, which a checkout needs: they run as the bot's user, and see nothing of ours."""
    trap = lab.program("trap", f"touch {lab.outside}/ran-$$; exit 1\n")
    (lab.bot / ".git/hooks").mkdir(exist_ok=True)
    for hook in ("pre-commit", "post-index-change", "reference-transaction", "post-checkout"):
        shutil.copy(trap, lab.bot / ".git/hooks" / hook)
    for key in (
        "core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "credential.helper",
        "diff.external", "diff.x.command", "diff.x.textconv", "gpg.program", "pager.diff",
    ):  # fmt: skip
        lab.git("config", key, str(trap))
    lab.write(".git/info/attributes", "* diff=x\n")
    assert lab.roll_back().value[0] == "after"

    assert not list(lab.outside.glob("ran*"))


def test_filters_see_nothing_of_our_environment(lab: GitLab) -> None:
    lab.program("show", f"env > {lab.bot}/.git/seen; cat\n")
    lab.git("config", "filter.x.smudge", f"{lab.programs}/show")
    lab.write(".git/info/attributes", "*.py filter=x\n")
    assert lab.roll_back().value[0] == "after"

    seen = (lab.bot / ".git/seen").read_text()
    assert "s3cret" not in seen
    assert "WATCHDOG" not in seen
    assert f"HOME={lab.home}\n" in seen


# ─ bounds ─


def test_marks_without_end_are_an_error_that_says_so(lab: GitLab) -> None:
    head = lab.git("rev-parse", "HEAD")
    refs = "".join(f"{head} refs/trading-watchdog/bad/{number:040x}\n" for number in range(3_000))
    lab.write(".git/packed-refs", f"# pack-refs with: peeled fully-peeled sorted\n{refs}")
    outcome = lab.act(lambda: record_good_commit(str(lab.bot), 1))

    assert "more than 500 refs refs/trading-watchdog/bad/" in (outcome.error or "")


def test_the_name_of_a_mark_is_never_an_option_of_gits(lab: GitLab) -> None:
    head = lab.git("rev-parse", "HEAD")
    lab.write(".git/refs/trading-watchdog/bad/--batch-all-objects", f"{head}\n")
    outcome = lab.act(lambda: record_good_commit(str(lab.bot), 1))

    assert outcome == (head, None)


def test_what_is_captured_and_what_is_shown_is_bounded(lab: GitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchdog.actions.git.commits._MAX_DIFF", 300)
    monkeypatch.setattr("watchdog.actions.git.repository._MAX_SUBJECT", 3)
    step = lab.step()
    shown = lab.act(lambda: step.preview(step.capture()))
    assert "the diff is larger than" in shown.value
    assert "config.py | 2 +-" in shown.value
    monkeypatch.setattr("watchdog.actions.git.repository._MAX_PATHS", 3)
    assert "4 paths would change" in (lab.act(step.capture).error or "")


# ─ dry runs ─


@needs_landlock
def test_looking_works_where_nothing_in_the_repository_can_be_written_and_changes_nothing(lab: GitLab) -> None:
    was = observe(lab.bot)

    def look() -> list[str]:
        found = []
        for fields in (
            {"revert": "bad"},
            {"to": "bad^"},
            {"files": ["x", "config.py"], "from": "bad^", "branch": "emergency"},
        ):
            step = lab.step(**fields)
            captured = json.loads(json.dumps(step.capture()))
            found += [step.preview(captured), step.state(captured)]
        return found

    outcome = lab.act(look, confined=True, writable=False)

    assert outcome.error is None
    assert outcome.value[1::2] == ["before"] * 3
    assert all("+SIZE = 1" in diff for diff in outcome.value[::2])
    now = observe(lab.bot)
    for name, (*facts, time_) in was.items():  # git notes that an object is in use by its time, and by nothing else
        assert name.startswith(".git/objects/") or now[name][-1] == time_, name
        assert [*now.pop(name)][:-1] == facts, name
    assert not now


# ─ repositories that honestly lie in more than one place ─


@needs_landlock
@pytest.mark.parametrize("kind", ["linked work tree", "borrowed objects", "separate git directory"])
def test_a_repository_in_several_places_is_rolled_back_within_all_of_them(lab: GitLab, kind: str) -> None:
    main, there = lab.folder / "main", lab.bot
    lab.git("config", "extensions.worktreeConfig", "false")
    lab.bot.rename(main)
    os.chown(main, BOT, BOT)
    there.mkdir()
    os.chown(there, BOT, BOT)
    how = {
        "linked work tree": ("-C", str(main), "worktree", "add", "-q", "-b", "live", str(there)),
        "borrowed objects": ("clone", "-q", "--shared", str(main), str(there)),
        "separate git directory": ("clone", "-q", "--separate-git-dir", f"{lab.home}/kept.git", str(main), str(there)),
    }
    lab.git(*how[kind])
    was = observe(lab.outside)
    outcome = lab.roll_back(confined=True)

    assert (outcome.error, outcome.value and outcome.value[0]) == (None, "after")
    assert (there / "config.py").read_text() == "SIZE = 1\n"
    assert lab.git("status", "--porcelain") == ""
    assert leftovers(lab) == []
    assert observe(lab.outside) == was


@needs_landlock
def test_a_push_to_a_repository_on_this_machine_is_let_through(lab: GitLab) -> None:
    lab.git("clone", "-q", "--bare", ".", str(lab.home / "far.git"))
    lab.git("remote", "add", "origin", str(lab.home / "far.git"))
    outcome = lab.roll_back(confined=True, revert="bad", push="origin")

    assert "; pushed main to origin; " in outcome.value[1]
    assert lab.git("ls-remote", "origin", "main").split()[0] == lab.git("rev-parse", "HEAD")
