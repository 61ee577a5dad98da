"""Commits that nothing points to yet: the inverse of one, or files of another, on top of what is checked out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from watchdog.actions.git import repository, worktree_update
from watchdog.actions.git.repository import Repository
from watchdog.actions.values.document_change import describe_change
from watchdog.core.errors import ActionError

_MAX_DIFF = 8 << 20
"""Bytes of files whose change is shown."""
COMMIT_TRAILER = "Made by trading-watchdog; its journal names this commit and says why."


class PlannedCommit(NamedTuple):
    commit: str | None
    """None: it is so already."""
    target: str
    bad: str
    is_deployed: bool = True
    """False: what was to be taken back is not part of what is checked out."""


def revert_commit(repo: Repository, old: str, name: str, bad: str) -> PlannedCommit:
    """A commit on top of `old` that undoes the named one: a three-way merge, so that what came later stays."""
    if not repository.contains_commit(repo, old, bad):
        return PlannedCommit(None, bad, bad, is_deployed=False)
    parents = repo.git_line("rev-list", "--parents", "-n", "1", bad).split()[1:]
    if not parents:
        shallow = repo.git_line("rev-parse", "--is-shallow-repository") == "true"
        cure = "fetch more history (git fetch --unshallow)" if shallow else "there is nothing before it to go back to"
        raise ActionError(f"{name} has no parent here — {cure}")
    inverse = create_commit(repo, repository.resolve_tree(repo, parents[0]), bad, "inverse")
    merged = repo.git("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", old, inverse, ok=(0, 1, 129))
    tree, *conflicts = [field for field in os.fsdecode(merged.stdout_bytes).split("\0") if field] or [""]
    if merged.exit_code == 129:
        raise ActionError("this git is too old to revert safely — install git 2.38 or newer")
    if merged.exit_code == 1:
        raise ActionError(
            f"{name} cannot be taken back by itself: later commits changed the same lines of "
            f"{worktree_update.format_list(sorted(set(conflicts)))} — nothing was touched; go back further with to:"
        )
    if tree == repository.resolve_tree(repo, old):
        return PlannedCommit(None, bad, bad)
    subject = repository.commit_subject(repo, bad)
    reverts = f"This reverts commit {bad}"
    reverts += f", reversing\nchanges made to {parents[0]}." if len(parents) > 1 else "."
    message = f'Revert "{subject}"\n\n{reverts}\n\n{COMMIT_TRAILER}'
    return PlannedCommit(create_commit(repo, tree, old, message), bad, bad)


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
