"""Whether what a commit of ours has made so is what runs, looked at anew by the name that the plan has for the work tree."""

from __future__ import annotations

from watchdog.actions.git import worktree_update
from watchdog.actions.git.commit_refs import reverting_commits
from watchdog.actions.git.repository import contains_commit, open_repository, resolve_head
from watchdog.actions.git.worktree_update import WorktreeUpdate
from watchdog.core.errors import ActionError

_QUERY_TIMEOUT_MS = 25_000


def describe_deviation(name: str, acted_in: str, update: WorktreeUpdate) -> str | None:
    """What is so instead; None: the commit is in force. Raises ActionError.

    `name`: the work tree as the plan has it; `acted_in`: that in which the commit was made. A path that holds neither the
    old nor the new version is somebody's further work, and no deviation.
    """
    repo = open_repository(name, _QUERY_TIMEOUT_MS)
    now, commit = resolve_head(repo), update.new_commit
    moved = str(repo.work_tree) != acted_in
    where = f"{name} now leads to {repo.work_tree}, which" if moved else name
    try:
        contained = contains_commit(repo, now, commit)
    except ActionError:
        if not moved:
            raise
        contained = False  # another clone, which has never heard of that commit
    if not contained:
        return f"{where} is at {now[:10]}, which lacks {commit[:10]}"
    if any(not reverting_commits(repo, by, now) for by in reverting_commits(repo, commit, now)):
        return f"{where} is at {now[:10]}, where {commit[:10]} was taken back"
    as_before, _, _ = worktree_update.classify_paths(repo, update)
    if as_before:
        return f"{worktree_update.format_list(as_before, 3)} in {repo.work_tree} as before it"
    return None
