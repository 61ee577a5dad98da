"""Commits that were seen well, and commits that were rolled back: refs of the repository itself, so that nobody loses them."""

from __future__ import annotations

from typing import NamedTuple

from watchdog.actions.repository import Repository, contains, head_of, known, repository, tree_of
from watchdog.model import ActionError

GOOD = "refs/trading-watchdog/good/"
BAD = "refs/trading-watchdog/bad/"
_KEPT = 20


def head(repo: str) -> str:
    """Object id of the commit that is checked out in the work tree `repo`."""
    return head_of(repository(repo, 30_000))


def mark_good(repo: str, at_ms: int) -> str | None:
    """Remember the commit that is checked out as good, seen at `at_ms`; its id when it was not the newest good one yet.

    None too when it was rolled back before, or when tracked files were edited: what ran was not the commit then.
    """
    found = repository(repo, 60_000)
    commit = head_of(found)
    if commit in _bad(found) or found.git("status", "--porcelain", "--untracked-files=no").raw:
        return None
    marks = good(found)
    if marks and marks[0][1] == commit:
        return None
    again = [name for name, marked in marks if marked == commit]
    late = [name for name, marked in marks if marked != commit][_KEPT - 1 :]
    ref = f"{GOOD}{at_ms // 1_000:012}-{commit[:12]}"
    orders = [f"update {ref} {commit}", *(f"delete {name}" for name in {*again, *late} - {ref})]
    found.git("update-ref", "--stdin", data="".join(f"{order}\n" for order in orders).encode())
    return commit


def good(repo: Repository) -> list[tuple[str, str]]:
    """(ref, commit) of what was marked good, newest first."""
    raw = repo.line("for-each-ref", "--sort=-refname", "--format=%(refname) %(objectname)", GOOD)
    return [(name, commit) for name, _, commit in (line.partition(" ") for line in raw.splitlines())]


def last_good(repo: Repository, head_commit: str) -> str:
    """The newest good commit that is not what runs, nor contains what was rolled back. ActionError: there is none."""
    tree, bad = tree_of(repo, head_commit), _bad(repo)
    for _, commit in good(repo):
        if commit == head_commit or commit in bad or tree_of(repo, commit) == tree:
            continue
        if not any(contains(repo, commit, wrong) and not _undone(repo, wrong, commit) for wrong in bad):
            return commit
    raise ActionError(f"no last-good commit yet in {repo.top}: none was seen well before this one")


def known_bad(repo: str) -> list[str]:
    """Object ids of the commits that were rolled back in the work tree `repo`, as far as they are still there."""
    return _bad(repository(repo, 30_000))


class Reverted(NamedTuple):
    """A commit that stands in the history and whose change was taken out again. Merging it anew brings nothing back."""

    bad: str
    by: str
    """The commit that took it back; `git revert` of this one deploys it again."""
    subject: str
    """First line of what `bad` said."""


def standing_reverts(repo: str) -> list[Reverted]:
    """What was rolled back by us and is part of what is checked out only by name."""
    found = repository(repo, 30_000)
    now, standing = head_of(found), []
    for bad in _bad(found):
        if not contains(found, now, bad):
            continue
        for by in _taken_back(found, bad, now):
            if not _taken_back(found, by, now):
                standing.append(Reverted(bad, by, found.line("show", "-s", "--format=%s", bad)))
                break
    return standing


def deployed_again(repo: str) -> list[tuple[str, str]]:
    """(commit, first line of what it said) of what was rolled back and is in force again in the work tree `repo`."""
    found = repository(repo, 30_000)
    now = head_of(found)
    again = [
        bad
        for bad in _bad(found)
        if contains(found, now, bad) and all(_taken_back(found, by, now) for by in _taken_back(found, bad, now))
    ]
    return [(bad, found.line("show", "-s", "--format=%s", bad)) for bad in again]


def _bad(repo: Repository) -> list[str]:
    raw = repo.line("for-each-ref", "--format=%(refname)", BAD)
    names = [name.removeprefix(BAD) for name in raw.splitlines()]
    return [name for name in names if known(repo, name)]


def _undone(repo: Repository, wrong: str, commit: str) -> bool:
    """Whether the history from `wrong` to `commit` says that it was taken back."""
    return bool(_taken_back(repo, wrong, commit))


def _taken_back(repo: Repository, wrong: str, commit: str) -> list[str]:
    """Commits between the two that say they took `wrong` back, newest first."""
    words = (f"--grep=This reverts commit {wrong}", f"--grep=This replaces commit {wrong}")
    return repo.line("log", "--format=%H", "--fixed-strings", *words, f"{wrong}..{commit}").split()
