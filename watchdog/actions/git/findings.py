"""Whether what a git step names is in its repository: commits, the files in them, a remote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from watchdog.actions.git.commit_refs import LAST_GOOD, last_good_commit
from watchdog.actions.git.commits import NotPartError, find_reverted
from watchdog.actions.git.mainline import MainlineError
from watchdog.actions.git.repository import Repository, contains_commit, resolve_commit, resolve_head
from watchdog.core.errors import ActionError, MissingError
from watchdog.core.protocols import Finding
from watchdog.documents.problems import suggest


def find_named(
    repo: Repository, versions: Mapping[str, str | None], files: Sequence[str], remote: str | None
) -> Iterator[Finding]:
    """`versions`: under `revert`, `to` and `from` what the step says there; `files`: of `from`. Raises ActionError."""
    old = resolve_head(repo)
    for key, name in versions.items():
        if name is None:
            continue
        is_mark = name == LAST_GOOD and key != "revert"
        try:
            commit = last_good_commit(repo, old) if is_mark else resolve_commit(repo, name)
        except MissingError as error:
            yield Finding.of("missing now" if is_mark else "missing", (key,), error)
            continue
        if key == "revert":
            yield from _find_reverted(repo, old, name, commit)
        for index, file in enumerate(files):
            if not repo.git("ls-tree", "-z", "--full-tree", commit, "--", file.rstrip("/")).stdout_bytes:
                cure = "mend the name, or say another commit in from"
                yield Finding("missing", ("files", index), f"{file} is not in {name}", cure)
    if remote is not None and not re.search("[/:]", remote):
        known = repo.git_line("remote").splitlines()
        if remote not in known:
            cure = suggest(remote, known) or "git remote add it, or say its address"
            yield Finding("missing", ("push",), f"{repo.work_tree} knows no remote {remote}", cure)


def _find_reverted(repo: Repository, old: str, name: str, commit: str) -> Iterator[Finding]:
    """What of a commit that is to be taken back is not as its name says."""
    key = ("revert",)
    try:
        reverts = find_reverted(repo, old, name, commit)
    except NotPartError as error:
        yield Finding.of("not part", key, error)
        return
    except MainlineError as error:
        yield Finding.of("unfit", key, error)
        return
    except ActionError:
        if contains_commit(repo, old, commit):
            return  # as when history is missing: the step says so
        raise
    if not reverts:
        yield Finding("not deployed", key, f"{name} is in {repo.work_tree}, and not deployed now")
    elif all(each.commit != commit for each in reverts):
        runs_as = ", ".join(each.commit[:10] for each in reverts)
        yield Finding(
            "stands for", key, f"{name} is not part of what runs in {repo.work_tree}; {runs_as} has its changes"
        )
