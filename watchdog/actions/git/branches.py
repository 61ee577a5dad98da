"""Branches: a name for one of ours that nobody has taken, and where what is checked out is sent."""

from __future__ import annotations

import os
import time
from pathlib import Path

from watchdog.actions.git.discovery import ensure_owned, find_git_folders
from watchdog.actions.git.repository import BRANCH_REFS, Repository
from watchdog.core.errors import ActionError

_PUSH_TIMEOUT = 20.0
"""Seconds: the bot's restart waits for the push, so a remote that hangs must not hold it up for long."""


def unused_branch(repo: Repository, name: str, commit: str) -> str:
    """The branch's ref; with a number behind it when an earlier night has taken the name."""
    for parent in list(Path(name).parents)[:-1]:
        if repo.git_line("rev-parse", "--verify", "--quiet", f"{BRANCH_REFS}{parent}", ok=(0, 1, 128)):
            raise ActionError(
                f"there is a branch {parent}, and so none can be called {name} — say another name in branch"
            )
    for number in range(1, 1000):
        ref = f"{BRANCH_REFS}{name}{f'-{number}' if number > 1 else ''}"
        there = repo.git_line("rev-parse", "--verify", "--quiet", ref, ok=(0, 1, 128))
        if there in ("", commit):
            return ref
    raise ActionError(f"there are a thousand branches {name} — delete some")


def push_head(repo: Repository, remote: str) -> str:
    """Send the branch that is checked out to the remote, never by force. What came of it, in words; it never fails."""
    left = max(min(repo.deadline - time.monotonic(), _PUSH_TIMEOUT), 0.001)
    try:
        branch = repo.git_line("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))
        if not branch:
            return f"not pushed to {remote}: no branch is checked out"
        repo.with_timeout(left).git("push", "--quiet", remote, f"HEAD:{branch}")
    except ActionError as error:
        if error.may_have_happened:
            return f"not known to be pushed to {remote}: it gave no answer within {left:.0f} s"
        return f"not pushed to {remote}: {error}"
    return f"pushed {branch.removeprefix(BRANCH_REFS)} to {remote}"


def local_remote(repo: Repository, remote: str) -> list[Path]:
    """A file within the git directory of a remote that is named by a path; none for one that is reached by a network."""
    ran = repo.git("remote", "get-url", "--push", "--", remote, ok=(0, 2, 128, 129))
    address = (os.fsdecode(ran.stdout_bytes).strip() if ran.exit_code == 0 else remote).removeprefix("file://")
    if not address.startswith(("/", "./", "../")):
        return []
    there = Path(os.path.realpath(repo.work_tree / address))
    found = find_git_folders(there)
    ensure_owned([there])
    return [(there if found is None else found.git_dir) / "HEAD"]
