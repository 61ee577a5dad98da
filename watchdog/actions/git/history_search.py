"""By which commits the changes of one came into a history that it is no part of: a squash, a rebase, a cherry-pick.

Told by what they change: paths first, then the patch without its places, as `git patch-id` does; but white space counts
(it means something in Python), and so do the bytes of what is no text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from watchdog.actions.git.repository import Repository, resolve_tree

MAX_COMMITS = 2_000
"""Of the history, newest first, that are looked at."""
_MAX_RANGE = 50
"""Commits of the branch that may have been squashed into one, or carried over one by one."""
_BATCH = 100
_TIMEOUT_S = 10.0
"""Seconds: looking is part of a step, and the next level waits for it."""
_DIFF_OPTIONS = ("-r", "--root", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
_PATCH_OPTIONS = ("-p", "--full-index", "--no-color", "--unified=3", "--src-prefix=a/", "--dst-prefix=b/")
_HUNK = re.compile(rb"@@ -[0-9,]+ \+[0-9,]+ @@")


class _Change(NamedTuple):
    """From one commit to another; from nothing when there is no `base`."""

    base: str | None
    commit: str


def find_equivalents(repo: Repository, head: str, commit: str) -> tuple[str, ...]:
    """The commits in the history of `head` that made the changes of `commit`, which is none of them; newest first.

    The newest that is the commit's own patch, or that of a stretch of its branch that ends with it (a squash); of a merge also
    all that it brought, one by one. Empty: none was found among the newest `MAX_COMMITS` in which the two differ. ActionError:
    it took too long.
    """
    repo = repo.with_timeout(min(repo.time_left, _TIMEOUT_S))
    history = _first_changes(repo, head, f"^{commit}", f"--max-count={MAX_COMMITS}")
    paths = _changed_paths(repo, history)
    if found := set(_match(repo, _stretches(repo, head, commit), history, paths)):
        return (
            next(change.commit for change in history if change.commit in found),
        )  # an older one was taken back since
    if picked := _picked(repo, head, commit, paths):
        return (picked,)
    return _carried_over(repo, head, commit, history, paths)


def _first_changes(repo: Repository, *asked: str) -> list[_Change]:
    """What each commit changed against its first parent; newest first."""
    lines = (line.split() for line in repo.git_line("rev-list", "--parents", *asked, "--").splitlines())
    return [_Change(parents[0] if parents else None, commit) for commit, *parents in lines]


def _stretches(repo: Repository, head: str, commit: str) -> list[_Change]:
    """What the commit changed, alone and with those before it on its branch."""
    branch = _first_changes(repo, "--first-parent", f"--max-count={_MAX_RANGE}", commit, f"^{head}")
    forks = repo.git_line("merge-base", "--all", head, commit, ok=(0, 1)).split()
    return [_Change(base, commit) for base in dict.fromkeys((*(change.base for change in branch), *forks))]


def _match(
    repo: Repository, wanted: Sequence[_Change], history: Sequence[_Change], paths: Mapping[str, frozenset[bytes]]
) -> list[str]:
    """The newest commit of the history for each wanted change that has one, in the order of those wanted."""
    names = [each for _, each in _paths_of(repo, wanted)]
    near = [change for change in history if paths[change.commit] in set(names) - {frozenset()}]
    if not near:
        return []
    by_patch: dict[str, str] = {}
    for change, patch in zip(near, _patches(repo, near), strict=True):
        by_patch.setdefault(patch, change.commit)
    sought = [change for change, touched in zip(wanted, names, strict=True) if touched]
    return [by_patch[patch] for patch in _patches(repo, sought) if patch in by_patch]


def _picked(repo: Repository, head: str, commit: str, paths: Mapping[str, frozenset[bytes]]) -> str | None:
    """One that says it was picked from it (`cherry-pick -x`): conflicts may have been resolved in it, so the patch differs."""
    words = ("--fixed-strings", f"--grep=(cherry picked from commit {commit})", f"--max-count={_MAX_RANGE}")
    said = repo.git_line("log", "--format=%H", *words, head, f"^{commit}", "--").split()
    ((_, own),) = _paths_of(repo, _first_changes(repo, "--max-count=1", commit))
    return next((each for each in said if paths.get(each) == own), None)


def _carried_over(
    repo: Repository, head: str, commit: str, history: Sequence[_Change], paths: Mapping[str, frozenset[bytes]]
) -> tuple[str, ...]:
    """What a merge brought, when each commit of it is in the history as another one: a rebase leaves merges out."""
    own = _first_changes(repo, "--max-count=1", commit)[0]
    if own.base is None or repo.git_line("rev-list", "--merges", "--max-count=1", f"{commit}^!") == "":
        return ()
    asked = ("--no-merges", f"--max-count={_MAX_RANGE + 1}", commit, f"^{own.base}", f"^{head}")
    brought = _first_changes(repo, *asked)
    found = set(_match(repo, brought, history, paths)) if len(brought) <= _MAX_RANGE else set()
    return tuple(change.commit for change in history if change.commit in found) if len(found) == len(brought) else ()


def _changed_paths(repo: Repository, changes: Sequence[_Change]) -> dict[str, frozenset[bytes]]:
    return {change.commit: touched for change, touched in _paths_of(repo, changes)}


def _paths_of(repo: Repository, changes: Sequence[_Change]) -> list[tuple[_Change, frozenset[bytes]]]:
    found = []
    for change, raw in _diffs(repo, changes, "--name-only", "-z"):
        found.append((change, frozenset(raw.split(b"\0")) - {b""}))
    return found


def _patches(repo: Repository, changes: Sequence[_Change]) -> list[str]:
    return [patch_digest(raw) for _, raw in _diffs(repo, changes, *_PATCH_OPTIONS)]


def _diffs(repo: Repository, changes: Sequence[_Change], *options: str) -> Iterable[tuple[_Change, bytes]]:
    """What git says of each change, in that order: its answers follow each other, and a line of its own parts them."""
    end = b"\0" if "-z" in options else b"\n"
    for first in range(0, len(changes), _BATCH):
        some = changes[first : first + _BATCH]
        repo.check_deadline()
        asked = "".join(f"{change.commit} {change.base or ''}".strip() + "\n" for change in some)
        said = repo.git("diff-tree", "--stdin", "--always", *_DIFF_OPTIONS, *options, data=asked.encode()).stdout_bytes
        rest = end + said
        for change, after in zip(some, (*some[1:], None), strict=True):
            own = end + change.commit.encode() + end
            rest = rest[len(own) - 1 :]  # the end that stays is the beginning of what comes next
            stop = len(rest) - 1 if after is None else rest.index(end + after.commit.encode() + end)
            yield change, rest[1:stop]
            rest = rest[stop:]


def patch_digest(patch: bytes) -> str:
    """Of a patch as git writes it with full ids: where in the files it stands is left out, and the ids of what is text."""
    digest = hashlib.sha256()
    for part in re.split(rb"^(?=diff --git )", patch, flags=re.MULTILINE):
        is_text = re.search(rb"^@@ ", part, re.MULTILINE) is not None
        for line in part.split(b"\n"):
            if line.startswith(b"@@ "):
                line = b"@@" if _HUNK.match(line) else line
            elif line.startswith(b"index ") and is_text:
                continue
            digest.update(line + b"\n")
    return digest.hexdigest()


def leaves_no_trace(repo: Repository, head: str, commit: str) -> bool:
    """Whether nothing of what the commit and its branch changed stands in the files of `head`: taking it back would change
    nothing there. False: some of it does, or nobody can tell. Writes objects."""
    forks = repo.git_line("merge-base", "--all", head, commit, ok=(0, 1)).split()
    own = _first_changes(repo, "--max-count=1", commit)[0].base
    before = forks[0] if forks else own
    empty = repo.git("hash-object", "-t", "tree", "-w", "--stdin", data=b"").stdout.strip()
    base = _commit_tree(repo, resolve_tree(repo, commit))
    ours = _commit_tree(repo, resolve_tree(repo, head), base)
    theirs = _commit_tree(repo, empty if before is None else resolve_tree(repo, before), base)
    merged = repo.git("merge-tree", "--write-tree", "--no-messages", ours, theirs, ok=(0, 1, 129))
    return merged.exit_code == 0 and merged.stdout.strip() == resolve_tree(repo, head)


def _commit_tree(repo: Repository, tree: str, *parents: str) -> str:
    env: dict[str, str | None] = {"GIT_AUTHOR_DATE": "@0 +0000", "GIT_COMMITTER_DATE": "@0 +0000"}
    parent = [word for each in parents for word in ("-p", each)]
    return repo.git("commit-tree", tree, *parent, data=b"look\n", env=env).stdout.strip()
