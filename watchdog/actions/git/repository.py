"""One git work tree and what is asked of it: git without prompts, hooks and signing, and what the files look like."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.host import child_process

BRANCH_REFS = "refs/heads/"
PRIVATE_DIR = "trading-watchdog"
"""Our own folder in the git directory of a work tree."""
_MAX_OUTPUT = 256 << 20
_PUSH_TIMEOUT = 20.0
"""Seconds: the bot's restart waits for the push, so a remote that hangs must not hold it up for long."""

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
    owner: child_process.RunAs | None
    """As root, git runs as the repository's owner: what it writes stays theirs, and so does what their config starts."""
    deadline: float
    object_dir: Path | None = None
    """Where new objects go instead of into the repository: `scratch_objects`."""

    def git(
        self, *args: str, data: bytes | None = None, env: dict[str, str | None] | None = None, ok: Sequence[int] = (0,)
    ) -> child_process.CommandResult:
        """Run git in the work tree. Raises ActionError unless the exit code is among `ok`."""
        ran = _git(args, self.work_tree, self.owner, self.deadline, data, {**self._object_env(), **(env or {})})
        if ran.exit_code not in ok:
            raise ActionError(
                f"git {args[0]} failed: {child_process.last_lines(ran.stderr) or f'exit code {ran.exit_code}'}"
            )
        if ran.truncated:
            raise ActionError(
                f"git {args[0]} says more than {_MAX_OUTPUT >> 20} MiB — this change is too large for a rollback"
            )
        return ran

    def git_line(self, *args: str, ok: Sequence[int] = (0,)) -> str:
        return os.fsdecode(self.git(*args, ok=ok).stdout_bytes).strip()

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

    def with_timeout(self, seconds: float) -> Repository:
        return self._replace(deadline=time.monotonic() + seconds)


def _git(
    args: Sequence[str],
    cwd: Path,
    owner: child_process.RunAs | None,
    deadline: float,
    data: bytes | None = None,
    env: dict[str, str | None] | None = None,
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
            output_limit=_MAX_OUTPUT,
            run_as=owner,
        )
    except ActionError as error:
        if not error.may_have_happened:
            raise
        raise ActionError(
            f"git {args[0]} was ended: not done in time — see why it hangs, or raise timeout", may_have_happened=True
        ) from None


def open_repository(path: str | None, timeout_ms: float) -> Repository:
    """The work tree at (or around) `path`. Raises ActionError when it is none, or none that git may be used in."""
    if path is None:
        raise ActionError("the target has no repo — give it one, or say repo: in the step")
    folder = Path(path)
    if not folder.is_dir():
        raise ActionError(f"there is no folder {path}")
    owner, deadline = _owner_of(folder), time.monotonic() + timeout_ms / 1_000
    asked = ("--show-toplevel", "--git-dir", "--git-common-dir")
    ran = _git(("rev-parse", "--path-format=absolute", *asked), folder, owner, deadline)
    if ran.exit_code != 0:
        error_text = child_process.last_lines(ran.stderr)
        if "dubious ownership" in error_text:
            error_text = f"{path} belongs to another user — run the watchdog as that user, or as root"
        elif "work tree" in error_text:
            error_text = f"{path} is a bare repository — name a work tree"
        elif "not a git repository" in error_text:
            error_text = f"{path} is no git repository"
        raise ActionError(error_text)
    top, own, common = (Path(line) for line in os.fsdecode(ran.stdout_bytes).splitlines())
    return Repository(top, own, common, owner, deadline)


def _owner_of(folder: Path) -> child_process.RunAs | None:
    found = folder.stat()
    if os.geteuid() != 0 or found.st_uid == 0:
        return None
    try:
        user = pwd.getpwuid(found.st_uid)
    except KeyError:
        return child_process.RunAs(found.st_uid, found.st_gid, (), "/")
    groups = tuple(os.getgrouplist(user.pw_name, user.pw_gid))
    return child_process.RunAs(found.st_uid, user.pw_gid, groups, user.pw_dir)


@contextlib.contextmanager
def scratch_objects(repo: Repository) -> Iterator[Repository]:
    """The repository for looking: what git writes meanwhile goes to a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="trading-watchdog-") as folder:
        if repo.owner is not None:
            os.chown(folder, repo.owner.uid, repo.owner.gid)
        yield repo._replace(object_dir=Path(folder))


def resolve_head(repo: Repository) -> str:
    """The commit that is checked out. Raises ActionError when there is none yet."""
    ran = repo.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", ok=(0, 1, 128))
    if ran.exit_code != 0:
        raise ActionError(f"{repo.work_tree} has no commit yet")
    return ran.stdout.strip()


def resolve_commit(repo: Repository, name: str) -> str:
    """Object id of the commit that a tag, branch or id names."""
    ran = repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", ok=(0, 1, 128))
    if ran.exit_code != 0:
        raise ActionError(f"{repo.work_tree} knows no commit {name} — fetch it, or mend the name")
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


def ensure_no_operation_in_progress(repo: Repository) -> None:
    """A merge or rebase that somebody has begun is theirs to end."""
    for name, what in _OPERATION_FILES.items():
        if (repo.git_dir / name).exists():
            raise ActionError(f"a {what} is under way in {repo.work_tree} — finish or abort it first")


def diff_commits(repo: Repository, old: str, new: str) -> list[PathChange]:
    """Paths that differ. Raises ActionError for what cannot be moved as a plain file."""
    raw = repo.git("diff-tree", "-r", "-z", *_RAW_DIFF_OPTIONS, old, new).stdout_bytes
    found = [PathChange(path, was, now) for path, was, now in _parse_raw_diff(raw)]
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


def worktree_entries(
    repo: Repository, paths: Iterable[str], *, unfiltered: bool = False
) -> dict[str, TreeEntry | None]:
    """What the work tree has at these paths now, as git would keep it. A folder there counts as nothing.

    `unfiltered`: the very bytes, without line ends and filters. A file that a commit has with CRLF is left so by git.
    """
    seen: dict[str, TreeEntry | None] = {}
    regular: list[str] = []
    for path in paths:
        found = _lstat(repo.work_tree, path)
        if found is None or stat.S_ISDIR(found.st_mode):
            seen[path] = None
        elif stat.S_ISLNK(found.st_mode):
            seen[path] = f"120000 {_blob_id(os.fsencode((repo.work_tree / path).readlink()), len(resolve_head(repo)))}"
        elif stat.S_ISREG(found.st_mode):
            seen[path] = "100755" if found.st_mode & stat.S_IXUSR else "100644"
            regular.append(path)
        else:
            seen[path] = "special file"
    if regular:
        names = b"".join(os.fsencode(path) + b"\n" for path in regular)
        plain = ["--no-filters"] if unfiltered else []
        ids = repo.git("hash-object", *plain, "--stdin-paths", data=names).stdout.split()
        for path, blob in zip(regular, ids, strict=True):
            seen[path] = f"{seen[path]} {blob}"
    return seen


def sparse_excluded(repo: Repository, paths: Iterable[str]) -> set[str]:
    """Those of the paths that are in the index and rightly not in the work tree: it is a sparse checkout."""
    missing = {path for path in paths if _lstat(repo.work_tree, path) is None}
    if not missing:
        return set()
    listed = repo.git("ls-files", "-t", "-z").stdout_bytes.split(b"\0")
    return missing & {os.fsdecode(line[2:]) for line in listed if line.startswith(b"S ")}


def _lstat(top: Path, path: str) -> os.stat_result | None:
    """As git sees it: what lies behind a symbolic link to a folder is not in the tree."""
    here = top
    *folders, _ = Path(path).parts
    for folder in folders:
        here /= folder
        try:
            if not stat.S_ISDIR(here.lstat().st_mode):
                return None
        except FileNotFoundError:
            return None
    try:
        return (top / path).lstat()
    except FileNotFoundError:
        return None


def _blob_id(content: bytes, id_length: int) -> str:
    algorithm = hashlib.sha256 if id_length == 64 else lambda data: hashlib.sha1(data, usedforsecurity=False)
    return algorithm(b"blob %d\0" % len(content) + content).hexdigest()


def entries_match(repo: Repository, found: TreeEntry | None, entry: TreeEntry | None) -> bool:
    """Whether the work tree's entry is that one; a file system without modes is told by core.fileMode."""
    if found == entry or found is None or entry is None:
        return found == entry
    regular = found.startswith("100") and entry.startswith("100")
    return regular and found.split()[-1] == entry.split()[-1] and not _filemode_enabled(repo)


def _filemode_enabled(repo: Repository) -> bool:
    return repo.git_line("config", "--type=bool", "--default=true", "--get", "core.fileMode") == "true"


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
    folder = repo.object_dir or repo.git_dir / PRIVATE_DIR  # thrown away either way
    try:
        folder.mkdir(exist_ok=True)
        if repo.owner is not None:
            os.chown(folder, repo.owner.uid, repo.owner.gid)
        for leftover in ("files", "files.lock"):
            (folder / leftover).unlink(missing_ok=True)
    except OSError as problem:
        raise ActionError(
            f"{folder} cannot be made: {problem.strerror} — the watchdog's user needs the right to"
        ) from None
    index: dict[str, str | None] = {"GIT_INDEX_FILE": str(folder / "files")}
    repo.git("read-tree", old, env=index)
    repo.git("update-index", "-z", "--index-info", data=b"".join(order + b"\0" for order in orders), env=index)
    return repo.git("write-tree", env=index).stdout.strip()


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


def file_content(repo: Repository, commit: str, path: str) -> bytes:
    """A file of a commit as it would lie in the work tree: line ends and filters applied."""
    return repo.git("cat-file", "--filters", f"{commit}:{path}").stdout_bytes
