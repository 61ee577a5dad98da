"""Commits that nothing points to yet: the inverse of one, or files of another, on top of what is checked out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from watchdog.actions.git import history_search, repository, worktree_update
from watchdog.actions.git.mainline import mainline_parent
from watchdog.actions.git.repository import Repository
from watchdog.actions.values.document_change import describe_change
from watchdog.core.errors import ActionError

_MAX_DIFF = 8 << 20
"""Bytes of files whose change is shown."""
COMMIT_TRAILER = "Made by trading-watchdog; its journal names this commit and says why."


class Reverted(NamedTuple):
    """A commit that is taken back, and the parent whose files it is taken back to."""

    commit: str
    parent: str


class PlannedCommit(NamedTuple):
    commit: str | None
    """None: it is so already."""
    target: str
    bad: str
    is_deployed: bool = True
    """False: what was to be taken back is not part of what is checked out."""
    reverts: tuple[Reverted, ...] = ()
    """What is taken back, newest first: the target itself, or what brought its changes into this history."""


class NotPartError(ActionError):
    """Changes of a commit seem to be part of what runs, and nobody can tell what brought them."""


def find_reverted(repo: Repository, old: str, name: str, target: str) -> tuple[Reverted, ...]:
    """What is to be taken back so that the named commit is no part of `old` any more. Empty: nothing of it is there.

    NotPartError: its changes are there, or may be, and no commit of this history is known to have brought them.
    """
    if repository.contains_commit(repo, old, target):
        return (_reverted(repo, target, name),)
    try:
        found = history_search.find_equivalents(repo, old, target)
    except ActionError as error:
        raise NotPartError(
            f"{name} is not part of what runs, and a commit with its changes was not found: {error}"
        ) from None
    if found:
        return tuple(_reverted(repo, commit, f"{commit[:12]}, as which {name} runs,") for commit in found)
    if history_search.leaves_no_trace(repo, old, target):
        return ()
    cure = "name the commit that brought them, or go back further with to:"
    if repository.is_shallow(repo):
        cure = f"fetch more history (git fetch --unshallow), {cure}"
    raise NotPartError(
        f"{name} is not part of what runs, though changes of it seem to be, and no commit with its changes was found among "
        f"the newest {history_search.MAX_COMMITS} — {cure}"
    )


def _reverted(repo: Repository, commit: str, name: str) -> Reverted:
    parents = repo.git_line("rev-list", "--parents", "-n", "1", commit).split()[1:]
    if not parents:
        cure = "there is nothing before it to go back to"
        if repository.is_shallow(repo):
            cure = "fetch more history (git fetch --unshallow)"
        raise ActionError(f"{name} has no parent here — {cure}")
    return Reverted(commit, parents[0] if len(parents) == 1 else mainline_parent(repo, commit, parents, name))


def revert_commits(repo: Repository, old: str, name: str, target: str, reverts: Sequence[Reverted]) -> PlannedCommit:
    """A commit on top of `old` that undoes these, newest first: three-way merges, so that what came later stays."""
    if not reverts:
        return PlannedCommit(None, target, target, is_deployed=False)
    made = old
    for reverted in reverts:
        made = create_commit(repo, _tree_without(repo, made, reverted, name), old, "without it")
    bad = reverts[-1].commit  # whatever has a later one has it, too
    plan = PlannedCommit(None, target, bad, reverts=tuple(reverts))
    tree = repository.resolve_tree(repo, made)
    if tree == repository.resolve_tree(repo, old):
        return plan
    return plan._replace(commit=create_commit(repo, tree, old, _revert_message(repo, name, target, reverts)))


def _tree_without(repo: Repository, onto: str, reverted: Reverted, name: str) -> str:
    inverse = create_commit(repo, repository.resolve_tree(repo, reverted.parent), reverted.commit, "inverse")
    merged = repo.git("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", onto, inverse, ok=(0, 1, 129))
    tree, *conflicts = [field for field in os.fsdecode(merged.stdout_bytes).split("\0") if field] or [""]
    if merged.exit_code == 129:
        raise ActionError("this git is too old to revert safely — install git 2.38 or newer")
    if merged.exit_code == 1:
        raise ActionError(
            f"{name} cannot be taken back by itself: later commits changed the same lines of "
            f"{worktree_update.format_list(sorted(set(conflicts)))} — nothing was touched; go back further with to:"
        )
    return tree


def _revert_message(repo: Repository, name: str, target: str, reverts: Sequence[Reverted]) -> str:
    lines = []
    for commit, parent in reverts:
        parents = repo.git_line("rev-list", "--parents", "-n", "1", commit).split()[1:]
        lines.append(f"This reverts commit {commit}")
        lines[-1] += f", reversing\nchanges made to {parent}." if len(parents) > 1 else "."
    if all(commit != target for commit, _ in reverts):
        lines.append(f"Here it stood for {name}, which is commit {target} and no part of this history itself.")
    subject = repository.commit_subject(repo, reverts[0].commit if len(reverts) == 1 else target)
    return f'Revert "{subject}"\n\n' + "\n".join(lines) + f"\n\n{COMMIT_TRAILER}"


def create_commit(repo: Repository, tree: str, parent: str, message: str) -> str:
    """A commit that nothing points to yet. The date follows from the parent, so the same asked twice is one commit."""
    date = f"{int(repo.git_line('show', '-s', '--format=%ct', parent)) + 1} +0000"
    env: dict[str, str | None] = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    return repo.git("commit-tree", tree, "-p", parent, data=f"{message}\n".encode(), env=env).stdout.strip()


def describe_commits(repo: Repository, old: str, new: str) -> str:
    """How the files differ, without secrets; where that is more than anybody reads, how many lines and bytes of which file."""
    changes = repository.diff_commits(repo, old, new)
    wanted = [entry.split()[1] for _, *entries in changes for entry in entries if entry is not None]
    blobs = _read_blobs(repo, wanted)
    if blobs is None:
        listed = repo.git("diff", "--stat", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", old, new)
        return f"# the diff is larger than {_MAX_DIFF >> 20} MiB; its files:\n{listed.stdout}"
    shown = ""
    for path, was, now in changes:
        if was is not None and now is not None and was.split()[0] != now.split()[0]:
            shown += f"# {path}: mode {was.split()[0]} becomes {now.split()[0]}\n"
        old_content, new_content = (None if entry is None else blobs[entry.split()[1]] for entry in (was, now))
        shown += describe_change(old_content, new_content, path)
    return shown


def _read_blobs(repo: Repository, ids: Sequence[str]) -> dict[str, bytes] | None:
    """The content of each; None: it is too much."""
    asked = "".join(f"{one}\n" for one in dict.fromkeys(ids)).encode()
    ran = repo.git("cat-file", "--batch", data=asked, cut_at=_MAX_DIFF)
    if ran.truncated:
        return None
    found, output, position = dict[str, bytes](), ran.stdout_bytes, 0
    while position < len(output):
        head_end = output.index(b"\n", position)
        one, *said = output[position:head_end].decode().split()
        if len(said) != 2:
            raise ActionError(f"{repo.work_tree} lacks the object {one} — fetch it")
        size = int(said[1])
        found[one] = output[head_end + 1 : head_end + 1 + size]
        position = head_end + size + 2
    return found
