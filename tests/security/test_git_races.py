"""Folders that are swapped for links between our looking and our acting, at every program that we start meanwhile.

The window is held open by a `git` that is first on PATH: it swaps, and then becomes the real one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.git_lab import GitLab, leftovers, made_lab, needs_landlock, needs_root, observe

pytestmark = needs_root

GIT = shutil.which("git") or "git"
SWAPPING_GIT = """\
echo x >> {folder}/home/starts
if [ "$(wc -l < {folder}/home/starts)" -ge {nth} ] && [ ! -e {folder}/home/swapped ] && {ready}; then
  : > {folder}/home/swapped
  {swap}
fi
exec {git} "$@"
"""


@pytest.fixture
def lab() -> Iterator[GitLab]:
    with made_lab() as made:
        yield made


def swap_at(lab: GitLab, nth: int, swap: str, ready: str = "true") -> None:
    """From the nth start of git on, as soon as `ready`, once."""
    names = {"bot": lab.bot, "outside": lab.outside, "folder": lab.folder, "git": GIT}
    lab.program("git", SWAPPING_GIT.format(**names, nth=nth, swap=swap.format(**names), ready=ready.format(**names)))


def starts(lab: GitLab) -> int:
    return len((lab.home / "starts").read_text().splitlines())


SWAPS = {
    "a folder of the tree": "mv {bot}/x {bot}/.was; ln -s {outside} {bot}/x",
    "a file of the tree": "rm -f {bot}/config.py; ln -s {outside}/precious {bot}/config.py",
    "the index": "cp {bot}/.git/index {outside}/index; rm {bot}/.git/index; ln -s {outside}/index {bot}/.git/index",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWAPS)
def test_wherever_something_of_the_tree_is_swapped_for_a_link_nothing_behind_it_is_touched(
    name: str, lab: GitLab
) -> None:
    """Without Landlock: by descriptors alone. With the index, git too is asked to write behind the link."""
    kept = lab.folder / "kept"
    shutil.copytree(lab.bot, kept, symlinks=True)
    for nth in range(1, 90, 3):
        shutil.rmtree(lab.bot)
        shutil.copytree(kept, lab.bot, symlinks=True)
        for path in [lab.bot, *lab.bot.rglob("*")]:
            os.chown(path, 40001, 40001, follow_symlinks=False)
        for note in ("starts", "swapped"):
            (lab.home / note).unlink(missing_ok=True)
        was = observe(lab.outside)
        swap_at(lab, nth, SWAPS[name])
        outcome = lab.roll_back()
        now = observe(lab.outside)
        if name == "the index":  # the swap itself copies it there
            index = (lab.outside / "index").read_bytes()
            assert index[:4] in (b"DIRC", b"prec")
            was, now = ({k: v for k, v in seen.items() if k not in ("index", ".")} for seen in (was, now))
        assert now == was, (nth, outcome)
        assert leftovers(lab) == [], (nth, outcome)
        if starts(lab) < nth:
            assert nth > 20
            assert outcome.error is None
            return
    pytest.fail("it never got through")


@pytest.mark.slow
def test_a_parent_that_is_swapped_while_the_new_files_are_made_is_not_renamed_into(lab: GitLab) -> None:
    """The very window of the attack: everything was looked at, and nothing yet exchanged."""
    ready = 'case " $* " in *" checkout-index "*) true ;; *) false ;; esac'
    swap_at(lab, 1, SWAPS["a folder of the tree"], ready)
    was = observe(lab.outside)
    outcome = lab.roll_back()

    assert (lab.home / "swapped").exists()
    assert outcome.error is not None
    assert observe(lab.outside) == was
    assert leftovers(lab) == []
    assert (lab.bot / "config.py").read_text() == "SIZE = 2\n"
    assert (lab.bot / ".was/a.py").read_text() == "a = 2\n"


def test_a_folder_that_a_filter_swaps_while_git_makes_the_files_is_not_renamed_into(lab: GitLab) -> None:
    swap = SWAPS["a folder of the tree"].format(bot=lab.bot, outside=lab.outside)
    lab.program("swap", f"[ -L {lab.bot}/x ] || [ ! -d {lab.bot}/.trading-watchdog-*/ ] || {{ {swap}; }}\ncat\n")
    lab.git("config", "filter.x.smudge", f"{lab.programs}/swap")
    lab.write(".git/info/attributes", "*.py filter=x\n")
    was = observe(lab.outside)
    outcome = lab.roll_back()

    assert (lab.bot / "x").is_symlink()
    assert outcome.error is not None
    assert observe(lab.outside) == was
    assert leftovers(lab) == []


OURS = "{bot}/.trading-watchdog-*"
GIT_FOLLOWS = {
    "the folder in which the files are made": (
        "checkout-index",
        f"for ours in {OURS}; do rmdir $ours/new; ln -s {{outside}} $ours/new; done",
    ),
    "the copy of the index": (
        "read-tree -i",
        f"for ours in {OURS}; do cat $ours/index > {{outside}}/index; ln -sf {{outside}}/index $ours/index; done",
    ),
    "the branch's folder": (
        "update-ref",
        "mv {bot}/.git/refs/heads {bot}/.was; ln -s {outside}/folder {bot}/.git/refs/heads",
    ),
    "the marks' folder": (
        "update-ref",
        "mkdir {bot}/.git/refs/trading-watchdog; ln -s {outside}/folder {bot}/.git/refs/trading-watchdog/bad",
    ),
    "the reflog": ("update-ref", "rm {bot}/.git/logs/HEAD; ln -s {outside}/precious {bot}/.git/logs/HEAD"),
    "the objects": (
        "commit-tree",
        "mv {bot}/.git/objects {bot}/.was; ln -s {outside}/folder {bot}/.git/objects; "
        "mkdir {outside}/folder/info; echo {bot}/.was > {outside}/folder/info/alternates",
    ),
}


@needs_landlock
@pytest.mark.parametrize("name", GIT_FOLLOWS)
@pytest.mark.slow
def test_git_itself_follows_a_link_that_is_laid_at_the_last_moment_no_further_than_the_repository(
    name: str, lab: GitLab
) -> None:
    """The link is there once all was looked at, and it is git that resolves it. The bot may write outside: we may not."""
    when, swap = GIT_FOLLOWS[name]
    # The swap is another process of the bot's, which nothing holds; here the lab does it, as git waits.
    swap_from_outside(lab, when, swap)
    outcome = lab.roll_back(confined=True)

    assert (lab.home / "swapped").exists(), outcome
    assert [each for each in changed_since_swap(lab) if each != "."] == [], outcome


def swap_from_outside(lab: GitLab, when: str, swap: str) -> None:
    """As git is about to do that, it waits for a process outside of the sandbox to have swapped."""
    names = {"bot": lab.bot, "outside": lab.outside}
    go, done = lab.home / "go", lab.home / "done"
    for fifo in (go, done):
        os.mkfifo(fifo)
        os.chown(fifo, 40001, 40001)
    lab.program(
        "git",
        f'case " $* " in *" {when} "*) if [ ! -p {go} ]; then :; else read _ < {done}; fi ;; esac\nexec {GIT} "$@"\n',
    )
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(40001)
            os.setuid(40001)
            with done.open("w") as told:  # opens as git opens its end: it is there, and waits
                os.system(swap.format(**names))
                go.unlink()
                Path(lab.home / "swapped").write_text(repr(sorted(observe(lab.outside).items())))
                told.write("done\n")
        finally:
            os._exit(0)


def changed_since_swap(lab: GitLab) -> list[str]:
    was = (lab.home / "swapped").read_text()
    return [name for name, seen in observe(lab.outside).items() if repr((name, seen)) not in was]
