"""One git work tree and what is asked of it: git without prompts, hooks and signing, and what the files look like."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.actions.git import lock_files
from watchdog.actions.git.discovery import ensure_contained, ensure_owned, find_git_folders
from watchdog.core.errors import ActionError, MissingError
from watchdog.documents.problems import MAX_COMPARED_NAMES, suggest
from watchdog.host import child_process

BRANCH_REFS = "refs/heads/"
_MAX_OUTPUT = 64 << 20
_MAX_PATHS = 20_000
"""Paths of one change: all of them stand in the journal, with what they were."""
_MAX_SUBJECT = 500

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "commit.gpgSign=false",
    "core.fsmonitor=false",
    "core.splitIndex=false",
    "core.quotePath=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "core.fsync=committed,loose-object,reference",
    "log.showSignature=false",
    "push.gpgSign=false",
)
_ENV = {
    "LC_ALL": "C",
    "LANGUAGE": None,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TRACE2": "0",
    "GIT_TRACE2_EVENT": "0",
    "GIT_TRACE2_PERF": "0",
    "GIT_AUTHOR_NAME": "Trading Watchdog",
    "GIT_AUTHOR_EMAIL": "trading-watchdog@localhost",
    "GIT_COMMITTER_NAME": "Trading Watchdog",
    "GIT_COMMITTER_EMAIL": "trading-watchdog@localhost",
}
_RAW_DIFF_OPTIONS = ("--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none")
_OPERATION_FILES = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "sequencer": "cherry-pick or revert",
}

TreeEntry = str
"""``100644 <object id>``: what git keeps of a path: mode and content. None where there is no such path."""


class PathChange(NamedTuple):
    """One path that differs between two commits."""

    path: str
    old_entry: TreeEntry | None
    new_entry: TreeEntry | None


class Repository(NamedTuple):
    work_tree: Path
    git_dir: Path
    """The git directory of this work tree: HEAD and index lie here."""
    common_dir: Path
    """The git directory that all work trees share: branches lie here."""
    deadline: float
    object_dir: Path | None = None
    """Where new objects go instead of into the repository: `scratch_objects`."""

    def git(
        self,
        *args: str,
        data: bytes | None = None,
        env: dict[str, str | None] | None = None,
        ok: Sequence[int] = (0,),
        cut_at: int | None = None,
    ) -> child_process.CommandResult:
        """Run git in the work tree. Raises ActionError unless the exit code is among `ok`, and when it says too much.

        `cut_at`: more bytes than that are no error; the result is `truncated` then.
        """
        env = {**self._object_env(), **(env or {})}
        ran = _git(args, self.work_tree, self.deadline, data, env, cut_at or _MAX_OUTPUT)
        if ran.exit_code not in ok:
            if (lock := lock_files.find_lock(ran.stderr, self.work_tree)) is not None:
                raise ActionError(f"git {args[0]} failed: {lock_files.describe_lock(lock, self.folders)}")
            raise ActionError(
                f"git {args[0]} failed: {child_process.last_lines(ran.stderr) or f'exit code {ran.exit_code}'}"
            )
        if ran.truncated and cut_at is None:
            raise ActionError(
                f"git {args[0]} says more than {_MAX_OUTPUT >> 20} MiB — this change is too large for a rollback"
            )
        return ran

    def git_line(self, *args: str, ok: Sequence[int] = (0,)) -> str:
        return os.fsdecode(self.git(*args, ok=ok).stdout_bytes).strip()

    @property
    def folders(self) -> tuple[Path, Path, Path]:
        """All that it consists of."""
        return self.work_tree, self.git_dir, self.common_dir

    def _object_env(self) -> dict[str, str | None]:
        if self.object_dir is None:
            return {}
        return {
            "GIT_OBJECT_DIRECTORY": str(self.object_dir),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": json.dumps(str(self.common_dir / "objects"), ensure_ascii=False),
        }

    def check_deadline(self) -> None:
        """Raises ActionError once the deadline has passed: nobody waits any more for what goes on unsupervised."""
        if time.monotonic() >= self.deadline:
            raise ActionError("not done in time — raise timeout")

    @property
    def time_left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def with_timeout(self, seconds: float) -> Repository:
        return self._replace(deadline=time.monotonic() + seconds)


def _git(
    args: Sequence[str],
    cwd: Path,
    deadline: float,
    data: bytes | None = None,
    env: dict[str, str | None] | None = None,
    output_limit: int = _MAX_OUTPUT,
) -> child_process.CommandResult:
    argv = ["git", "--no-pager", *(word for setting in _SETTINGS for word in ("-c", setting)), *args]
    left = max(deadline - time.monotonic(), 0.001) * 1_000
    try:
        return child_process.run(
            argv,
            cwd=cwd,
            env={**_ENV, **(env or {})},
            timeout_ms=left,
            input=data,
            output_limit=output_limit,
        )
    except ActionError as error:
        if not error.may_have_happened:
            raise
        raise ActionError(
            f"git {args[0]} was ended: not done in time — see why it hangs, or raise timeout", may_have_happened=True
        ) from None


def open_repository(path: str | None, timeout_ms: float, *refs: str) -> Repository:
    """The work tree at (or around) `path`. Raises ActionError when it is none, when it is not that of the user as whom
    we run, or when links would lead git out of it; `refs` are names of those that are to be written."""
    if path is None:
        raise ActionError("the target has no repo — give it one, or say repo: in the step")
    folder = Path(path)
    if not folder.is_dir():
        raise MissingError(f"there is no folder {path}")
    found, deadline = find_git_folders(folder), time.monotonic() + timeout_ms / 1_000
    ensure_owned([Path(os.path.realpath(folder))] if found is None else found)
    if found is not None:
        ensure_contained(found, refs)
    asked = ("--show-toplevel", "--git-dir", "--git-common-dir")
    ran = _git(("rev-parse", "--path-format=absolute", *asked), folder, deadline)
    if ran.exit_code != 0:
        error_text = child_process.last_lines(ran.stderr)
        if "dubious ownership" in error_text:
            error_text = f"{path} belongs to another user — say run_as: for the target, or chown the repository"
        elif "work tree" in error_text:
            error_text = f"{path} is a bare repository — name a work tree"
        elif "not a git repository" in error_text:
            raise MissingError(f"{path} is no git repository")
        raise ActionError(error_text)
    top, own, common = (Path(os.path.realpath(line)) for line in os.fsdecode(ran.stdout_bytes).splitlines())
    if (
        found is None
        or (own, common) != (found.git_dir, found.common_dir)
        or not Path(os.path.realpath(folder)).is_relative_to(top)
    ):
        raise ActionError(f"{path} is not within the work tree that its own git directory names: {top}")
    ensure_owned([top])
    return Repository(top, own, common, deadline)


@contextlib.contextmanager
def scratch_objects(repo: Repository) -> Iterator[Repository]:
    """The repository for looking: what git writes meanwhile goes to a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="trading-watchdog-") as folder:
        yield repo._replace(object_dir=Path(folder))


def resolve_head(repo: Repository) -> str:
    """The commit that is checked out. Raises ActionError when there is none yet."""
    ran = repo.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", ok=(0, 1, 128))
    if ran.exit_code != 0:
        raise ActionError(f"{repo.work_tree} has no commit yet")
    return ran.stdout.strip()


def resolve_commit(repo: Repository, name: str) -> str:
    """Object id of the commit that a tag, branch or id names. Raises MissingError."""
    ran = repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", ok=(0, 1, 128))
    if ran.exit_code != 0:
        newest = (f"--count={MAX_COMPARED_NAMES}", "--sort=-creatordate", "--format=%(refname:lstrip=2)")
        known = repo.git_line("for-each-ref", *newest, "refs/tags", "refs/heads", "refs/remotes").splitlines()
        near = suggest(name, known)
        cure = near if near.endswith("?") else "fetch it, or mend the name"
        raise MissingError(f"{repo.work_tree} knows no commit {name} — {cure}")
    return ran.stdout.strip()


def resolve_tree(repo: Repository, commit: str) -> str:
    return repo.git_line("rev-parse", "--verify", f"{commit}^{{tree}}")


def contains_commit(repo: Repository, commit: str, ancestor: str) -> bool:
    """Whether `ancestor` is that commit or in its history; one that is not there at all is not."""
    return (
        has_commit(repo, ancestor)
        and repo.git("merge-base", "--is-ancestor", ancestor, commit, ok=(0, 1)).exit_code == 0
    )


def has_commit(repo: Repository, commit: str) -> bool:
    return repo.git("cat-file", "-e", f"{commit}^{{commit}}", ok=(0, 1, 128)).exit_code == 0


def is_shallow(repo: Repository) -> bool:
    return repo.git_line("rev-parse", "--is-shallow-repository") == "true"


def commit_subject(repo: Repository, commit: str) -> str:
    """The first line of what a commit says, not longer than anybody reads."""
    return repo.git_line("show", "-s", "--format=%s", commit)[:_MAX_SUBJECT]


def ensure_no_operation_in_progress(repo: Repository) -> None:
    """A merge or rebase that somebody has begun is theirs to end."""
    for name, what in _OPERATION_FILES.items():
        if (repo.git_dir / name).exists():
            raise ActionError(f"a {what} is under way in {repo.work_tree} — finish or abort it first")


def diff_commits(repo: Repository, old: str, new: str) -> list[PathChange]:
    """Paths that differ. Raises ActionError for what cannot be moved as a plain file."""
    raw = repo.git("diff-tree", "-r", "-z", *_RAW_DIFF_OPTIONS, old, new).stdout_bytes
    found = [PathChange(path, was, now) for path, was, now in _parse_raw_diff(raw)]
    if len(found) > _MAX_PATHS:
        raise ActionError(f"{len(found)} paths would change — {_MAX_PATHS} is the most that a rollback changes")
    for path, *entries in found:
        if any(entry is not None and entry.startswith("160000") for entry in entries):
            raise ActionError(f"the change moves the submodule {path} — do it by hand")
        if "\n" in path or path.startswith('"'):
            raise ActionError(
                f"the change touches {path!r}, a name that cannot be handed to git safely — do it by hand"
            )
        if any("\ud800" <= character <= "\udfff" for character in path):
            raise ActionError(f"the change touches {path!a}, a name that is no UTF-8 — do it by hand")
    return found


def staged_entries(repo: Repository, commit: str) -> dict[str, TreeEntry | None]:
    """Paths whose index entry is not the commit's, with that entry. Raises ActionError for unresolved conflicts."""
    raw = repo.git("diff-index", "-z", "--cached", *_RAW_DIFF_OPTIONS, commit).stdout_bytes
    for field in raw.split(b"\0")[::2]:
        if field.endswith(b" U"):
            raise ActionError(f"{repo.work_tree} has unresolved conflicts — resolve them first")
    return {path: now for path, _, now in _parse_raw_diff(raw)}


def _parse_raw_diff(raw: bytes) -> Iterable[tuple[str, TreeEntry | None, TreeEntry | None]]:
    fields = raw.split(b"\0")
    for about, path in zip(fields[::2], fields[1::2], strict=False):
        old_mode, new_mode, old, new, _ = about.decode().lstrip(":").split()
        yield (
            os.fsdecode(path),
            None if old_mode == "000000" else f"{old_mode} {old}",
            None if new_mode == "000000" else f"{new_mode} {new}",
        )


def tree_with_files(repo: Repository, old: str, source: str, names: Sequence[str]) -> str:
    """The tree of `old` in which the named files and folders are as in `source`."""
    orders: list[bytes] = []
    for name in names:
        was, now = (
            repo.git("ls-tree", "-r", "-z", "--full-tree", commit, "--", name).stdout_bytes for commit in (old, source)
        )
        if not now:
            raise ActionError(f"{name} is not in {source[:12]} — mend the name, or say another commit in from")
        gone = [line.partition(b"\t")[2] for line in was.split(b"\0") if line]
        orders += [b"0 " + b"0" * len(old) + b"\t" + path for path in gone]
        orders += [line for line in now.split(b"\0") if line]
    with tempfile.TemporaryDirectory(prefix="trading-watchdog-") as folder:
        index: dict[str, str | None] = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        repo.git("read-tree", old, env=index)
        repo.git("update-index", "-z", "--index-info", data=b"".join(order + b"\0" for order in orders), env=index)
        return repo.git("write-tree", env=index).stdout.strip()


def file_content(repo: Repository, commit: str, path: str) -> bytes:
    """A file of a commit as it would lie in the work tree: line ends and filters applied."""
    return repo.git("cat-file", "--filters", f"{commit}:{path}").stdout_bytes
