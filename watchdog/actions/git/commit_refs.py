"""Commits that were seen well, and commits that were rolled back: refs of the repository itself, so that nobody loses them."""

from __future__ import annotations

import re
from typing import NamedTuple

from watchdog.actions.git.repository import (
    Repository,
    commit_subject,
    contains_commit,
    open_repository,
    resolve_head,
    resolve_tree,
)
from watchdog.core.errors import ActionError

GOOD_REFS = "refs/trading-watchdog/good/"
BAD_REFS = "refs/trading-watchdog/bad/"
_MAX_GOOD_REFS = 20
_MAX_READ_REFS = 500
"""Anybody who may write the repository may make more; each is asked about with a git of its own."""
_OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def current_commit(repo: str) -> str:
    """Object id of the commit that is checked out in the work tree `repo`."""
    return resolve_head(open_repository(repo, 30_000))


def record_good_commit(repo: str, at_ms: int) -> str | None:
    """Remember the commit that is checked out as good, seen at `at_ms`; its id when it was not the newest good one yet.

    None too when it was rolled back before, or when tracked files were edited: what ran was not the commit then.
    """
    found = open_repository(repo, 60_000, GOOD_REFS.rstrip("/"))
    commit = resolve_head(found)
    if commit in _rolled_back(found) or found.git("status", "--porcelain", "--untracked-files=no").stdout_bytes:
        return None
    good_refs = good_commits(found)
    if good_refs and good_refs[0][1] == commit:
        return None
    again = [name for name, marked in good_refs if marked == commit]
    late = [name for name, marked in good_refs if marked != commit][_MAX_GOOD_REFS - 1 :]
    ref = f"{GOOD_REFS}{at_ms // 1_000:012}-{commit[:12]}"
    orders = [f"update {ref} {commit}", *(f"delete {name}" for name in {*again, *late} - {ref})]
    found.git("update-ref", "--stdin", data="".join(f"{order}\n" for order in orders).encode())
    return commit


def good_commits(repo: Repository) -> list[tuple[str, str]]:
    """(ref, commit) of what was marked good, newest first."""
    asked = (f"--count={_MAX_READ_REFS}", "--sort=-refname", "--format=%(refname) %(objectname)", GOOD_REFS)
    raw = repo.git_line("for-each-ref", *asked)
    return [(name, commit) for name, _, commit in (line.partition(" ") for line in raw.splitlines())]


def last_good_commit(repo: Repository, head_commit: str) -> str:
    """The newest good commit that is not what runs, nor contains what was rolled back. ActionError: there is none."""
    tree, bad = resolve_tree(repo, head_commit), _rolled_back(repo)
    for _, commit in good_commits(repo):
        if commit == head_commit or commit in bad or resolve_tree(repo, commit) == tree:
            continue
        if not any(contains_commit(repo, commit, wrong) and not _is_reverted(repo, wrong, commit) for wrong in bad):
            return commit
    raise ActionError(f"no last-good commit yet in {repo.work_tree}: none was seen well before this one")


def rolled_back_commits(repo: str) -> list[str]:
    """Object ids of the commits that were rolled back in the work tree `repo`, as far as they are still there."""
    return _rolled_back(open_repository(repo, 30_000))


class RevertInForce(NamedTuple):
    """A commit that stands in the history and whose change was taken out again. Merging it anew brings nothing back."""

    reverted_commit: str
    reverting_commit: str
    """The commit that took it back; `git revert` of this one deploys it again."""
    subject: str
    """First line of what `bad` said."""


def reverts_in_force(repo: str) -> list[RevertInForce]:
    """What was rolled back by us and is part of what is checked out only by name."""
    found = open_repository(repo, 30_000)
    now, in_force = resolve_head(found), []
    for bad in _rolled_back(found):
        if not contains_commit(found, now, bad):
            continue
        for by in reverting_commits(found, bad, now):
            if not reverting_commits(found, by, now):
                in_force.append(RevertInForce(bad, by, commit_subject(found, bad)))
                break
    return in_force


def redeployed_commits(repo: str) -> list[tuple[str, str]]:
    """(commit, first line of what it said) of what was rolled back and is in force again in the work tree `repo`."""
    found = open_repository(repo, 30_000)
    now = resolve_head(found)
    again = [
        bad
        for bad in _rolled_back(found)
        if contains_commit(found, now, bad)
        and all(reverting_commits(found, by, now) for by in reverting_commits(found, bad, now))
    ]
    return [(bad, commit_subject(found, bad)) for bad in again]


def _rolled_back(repo: Repository) -> list[str]:
    """Those that are still there. Raises ActionError when there are more marks than we make in many years."""
    raw = repo.git_line("for-each-ref", f"--count={_MAX_READ_REFS + 1}", "--format=%(refname)", BAD_REFS)
    names = [name.removeprefix(BAD_REFS) for name in raw.splitlines()]
    if len(names) > _MAX_READ_REFS:
        raise ActionError(f"{repo.work_tree} has more than {_MAX_READ_REFS} refs {BAD_REFS}… — delete the old ones")
    named = [name for name in names if _OBJECT_ID.fullmatch(name)]
    if not named:
        return []
    asked = "".join(f"{name}^{{commit}}\n" for name in named)
    kinds = repo.git("cat-file", "--batch-check=%(objecttype)", data=asked.encode()).stdout.splitlines()
    return [name for name, kind in zip(named, kinds, strict=True) if kind == "commit"]


def _is_reverted(repo: Repository, reverted: str, commit: str) -> bool:
    """Whether the history from `reverted` to `commit` says that it was taken back."""
    return bool(reverting_commits(repo, reverted, commit))


def reverting_commits(repo: Repository, reverted: str, commit: str) -> list[str]:
    """Commits between the two that say they took `reverted` back, newest first."""
    words = (f"--grep=This reverts commit {reverted}", f"--grep=This replaces commit {reverted}")
    return repo.git_line("log", "--format=%H", "--fixed-strings", *words, f"{reverted}..{commit}").split()
