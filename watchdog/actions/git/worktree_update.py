"""From one commit to the next without a moment in which a file is half written, or a crash cannot be gone on from.

Everything is made ready in a folder of ours in the tree; then each file is renamed into place, then the index, then the
branch moves by compare-and-swap. Killed anywhere, `apply_update` with the same plan finishes it; failed anywhere, it puts
all back. Either way the folder is gone then. Names are resolved from descriptors (`open_tree`): whoever swaps a folder of
the tree for a link meanwhile gets an error out of us.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from watchdog.actions.git import index_lock, kept_metadata
from watchdog.actions.git.commit_refs import BAD_REFS
from watchdog.actions.git.open_tree import OpenTree, read_up_to, write_all
from watchdog.actions.git.repository import (
    PathChange,
    Repository,
    resolve_head,
    staged_entries,
)
from watchdog.actions.git.worktree_entries import entries_match, sparse_excluded, worktree_entries
from watchdog.actions.values.editor import set_values
from watchdog.actions.values.located_value import Value
from watchdog.core.errors import ActionError
from watchdog.host import file_metadata
from watchdog.host.write_trial import describe_write_error

_STAGING_PREFIX = ".trading-watchdog-"
MAX_EDITED_FILE = 4 << 20
"""Bytes; flags are edited in files up to a quarter of that (`atomic_file.MAX_BYTES`)."""


class KeptEdits(NamedTuple):
    """Our own flag edits that a file keeps: applied on top of what the commit has."""

    values: Sequence[Mapping[str, Value]]
    old: str | None
    """The work tree's entry before the change and after it, when edits make it differ from the commits'."""
    new: str | None


class WorktreeUpdate(NamedTuple):
    old_commit: str
    new_commit: str
    bad_commit: str
    """The commit that is remembered as rolled back."""
    changes: Sequence[PathChange]
    edits: Mapping[str, KeptEdits]
    branch: str | None = None
    """A ref that is made at the new commit and checked out; None: the branch that is checked out moves."""
    token: str = ""
    """Letters and digits that nobody could know ahead: in the name of what we lay beside the files. It stands in the
    journal, so what a killed process left behind is found again."""

    @property
    def staging_name(self) -> str:
        return f"{_STAGING_PREFIX}{self.token or self.new_commit[:16]}"


def expected_entries(update: WorktreeUpdate, change: PathChange) -> tuple[str | None, str | None]:
    """What the work tree has at a path before the change and after it."""
    edits = update.edits.get(change.path)
    return (edits.old, edits.new) if edits else (change.old_entry, change.new_entry)


def classify_paths(repo: Repository, update: WorktreeUpdate) -> tuple[list[str], list[str], list[str]]:
    """Paths of the plan that are as before it, as after it, and neither. A path that is alike in both counts as after.

    Alike in both are also line ends that git would keep either way, and what a sparse checkout leaves out.
    """
    before: list[str] = []
    after: list[str] = []
    neither: list[str] = []
    for path, (old, new) in _path_states(repo, update).items():
        (after if new else before if old else neither).append(path)
    return before, after, neither


def unmodified_paths(repo: Repository, update: WorktreeUpdate) -> set[str]:
    """Paths of the plan that are as before it, and whose way is free; those that are alike in both, too."""
    return {path for path, (old, _) in _path_states(repo, update).items() if old}


def _path_states(repo: Repository, update: WorktreeUpdate) -> dict[str, tuple[bool, bool]]:
    """For each path, whether it is as before the plan (and may become what comes), and whether it is as after it.

    Git takes the same bytes as a commit has for unchanged even where its own filters would make others of them.
    """
    paths = [change.path for change in update.changes]
    going = {change.path for change in update.changes if expected_entries(update, change)[1] is None}
    readings, absent = (
        (worktree_entries(repo, paths), worktree_entries(repo, paths, unfiltered=True)),
        sparse_excluded(repo, paths),
    )
    seen = {}
    with OpenTree.open(repo.work_tree) as tree:
        for change in update.changes:
            path = change.path
            old, new = (
                path in absent or any(entries_match(repo, look[path], entry) for look in readings)
                for entry in expected_entries(update, change)
            )
            free = new or not (expected_entries(update, change)[1] and _is_obstructed(tree, path, going))
            seen[path] = (old and free, new)
    return seen


def _is_obstructed(tree: OpenTree, path: str, removed: set[str]) -> bool:
    """Whether something that stays is in the path's way: a file or link where it needs a folder, or the reverse."""
    for parent in reversed(kept_metadata.parents(path)):
        found = tree.lstat(parent)
        if found is None:
            break  # nothing is there, or it is below what the last turn let pass
        if not stat.S_ISDIR(found.st_mode) and parent not in removed:
            return True
    found = tree.lstat(path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return False
    with tree.parent(path) as (at, name):
        for folder, _, names, _ in os.fwalk(name, dir_fd=at):
            below = str(PurePosixPath(path, PurePosixPath(folder).relative_to(name)))
            if any(f"{below}/{each}" not in removed for each in names):
                return True
    return False


def ensure_clean(repo: Repository, update: WorktreeUpdate) -> None:
    """Edits of other people in what the change touches are theirs: named, and left alone."""
    index = staged_entries(repo, update.old_commit)
    dirty = [change.path for change in update.changes if change.path in index]
    untouched = unmodified_paths(repo, update)
    for change in update.changes:
        old, new = expected_entries(update, change)
        if change.path not in untouched and old != new:
            dirty.append(change.path)
    if dirty:
        raise ActionError(
            f"edited or in the way, and not by us: {format_list(sorted(set(dirty)))} — commit, move or undo that first"
        )


def apply_update(repo: Repository, update: WorktreeUpdate, reason: str) -> tuple[str, ...]:
    """Make the work tree, the index and the branch those of the plan's new commit; says what of the replaced files' rights
    and attributes is not kept, in words. ActionError: all is as it was."""
    with OpenTree.open(repo.work_tree) as tree, index_lock.hold_index_lock(repo):
        try:
            if resolve_head(repo) != update.old_commit:
                raise ActionError(f"{repo.work_tree} was moved to another commit by somebody else — look at it")
            _ensure_unmodified(repo, update)
            staging = _open_staging(tree, update)
        except BaseException:
            clean_up(repo, update)
            raise
        with staging:
            try:
                lost = _prepare_files(repo, update, tree, staging)
                _replace_files(repo, update, tree, staging)
                _update_index(repo, update, staging, update.old_commit, update.new_commit)
                _update_branch(repo, update, staging, reason)
            except BaseException as problem:
                _undo_update(repo.with_timeout(60), update, tree, staging, problem)
        clean_up(repo, update)
        return lost


def clean_up(repo: Repository, update: WorktreeUpdate) -> None:
    """Nothing of ours stays in the tree or beside the index."""
    with OpenTree.open(repo.work_tree) as tree, OpenTree.open(repo.git_dir) as own:
        tree.remove_tree(update.staging_name)
        with contextlib.suppress(OSError):
            own.unlink(_ready_index(update))


def is_half_done(repo: Repository, update: WorktreeUpdate) -> bool:
    """Whether a killed process had begun to exchange files: what they were is kept until that is ended or put back."""
    with OpenTree.open(repo.work_tree) as tree:
        return tree.lstat(f"{update.staging_name}/old") is not None


def _undo_update(
    repo: Repository, update: WorktreeUpdate, tree: OpenTree, staging: OpenTree, problem: BaseException
) -> None:
    """After a failure: back to the old commit, unless the branch has moved already. Then the problem goes its way."""
    words = str(problem)
    if isinstance(problem, OSError):
        words = describe_write_error(_path_in_tree(problem, repo, staging), problem)
    try:
        if resolve_head(repo) == update.new_commit:
            return
        _restore_old_files(repo, update, tree, staging)
    except (ActionError, OSError) as worse:
        raise ActionError(
            f"{words}; and the old files were not all put back: {worse} — they are in {staging.path / 'old'}",
            may_have_happened=True,
        ) from problem
    clean_up(repo, update)
    if isinstance(problem, ActionError | OSError):
        raise ActionError(f"{words} (all was put back)") from problem
    raise problem


def _path_in_tree(problem: OSError, repo: Repository, staging: OpenTree) -> Path:
    """Which file of the tree it is about, where it names the one that was to take its place."""
    path = Path(problem.filename) if isinstance(problem.filename, str) else repo.work_tree
    for folder in ("new", "old"):
        if path.is_relative_to(staging.path / folder):
            return repo.work_tree / path.relative_to(staging.path / folder)
    return path


def _open_staging(tree: OpenTree, update: WorktreeUpdate) -> OpenTree:
    """A folder from which a rename into the tree is one step, so in the tree itself; git overlooks it."""
    name = update.staging_name
    try:
        with contextlib.suppress(FileExistsError):
            tree.make_folder(name, 0o700)
        staging = tree.subfolder(name)
        found = os.fstat(staging.fd)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            staging.close()
            raise ActionError(f"{tree.path / name} was put there by somebody else — remove it")
        file_metadata.remove_lists(staging.fd)  # else what git makes in it would get what the tree's top hands on
        staging.unlink(".gitignore")
        staging.create_file(".gitignore", b"*\n")
    except OSError as problem:
        raise ActionError(f"{tree.path / name} cannot be made: {problem.strerror}") from None
    return staging


def _ensure_unmodified(repo: Repository, update: WorktreeUpdate) -> None:
    index = staged_entries(repo, update.old_commit)
    foreign = [c.path for c in update.changes if c.path in index and index[c.path] != c.new_entry]
    foreign += classify_paths(repo, update)[2]
    if foreign:
        raise _changed_meanwhile(foreign)


def _changed_meanwhile(paths: Sequence[str]) -> ActionError:
    return ActionError(f"changed by somebody else in the meantime: {format_list(paths)} — look at it")


def _prepare_files(repo: Repository, update: WorktreeUpdate, tree: OpenTree, staging: OpenTree) -> tuple[str, ...]:
    """The new files, ready to be renamed: right content, rights and attributes, on the disk. Says which of those are not kept."""
    staging.remove_tree("new")
    staging.make_folder("new")
    for name in ("stage", "stage.lock"):
        staging.unlink(name)
    index: dict[str, str | None] = {"GIT_INDEX_FILE": str(staging.path / "stage")}
    paths = [change.path for change in update.changes if change.new_entry is not None]
    repo.git("read-tree", update.new_commit, env=index)
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    # A work tree of its own: line ends and filters are those that the new commit's .gitattributes say.
    at = {**index, "GIT_DIR": str(repo.git_dir), "GIT_WORK_TREE": str(staging.path / "new")}
    repo.git("checkout-index", "-f", "-q", "-z", "--stdin", data=names, env=at)
    lost: dict[str, list[str]] = {}
    for path in paths:
        repo.check_deadline()
        ready, was = staging.lstat(f"new/{path}"), tree.lstat(path)
        if ready is None or not stat.S_ISREG(ready.st_mode):
            continue
        file = staging.open_file(f"new/{path}", os.O_RDWR)
        try:
            if kept := update.edits.get(path):
                content = apply_edits(read_up_to(file, MAX_EDITED_FILE), path, kept.values)[0]
                os.ftruncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
                write_all(file, content)
            for what in kept_metadata.give_metadata(file, tree, path, was):
                lost.setdefault(what, []).append(path)
            os.fsync(file)
        finally:
            os.close(file)
    return tuple(f"{what} of {format_list(files, 3)}" for what, files in sorted(lost.items()))


def apply_edits(content: bytes, path: str, edits: Sequence[Mapping[str, Value]]) -> tuple[bytes, list[str]]:
    """`content` with our edits, in order; and the names that it has not (another version of the file may lack them)."""
    missing = []
    for values in edits:
        for name, value in values.items():
            try:
                content = set_values(content, path, {name: value})
            except (ActionError, ValueError):
                missing.append(name)
    return content, missing


def _replace_files(repo: Repository, update: WorktreeUpdate, tree: OpenTree, staging: OpenTree) -> None:
    still, _, neither = classify_paths(repo, update)
    if neither:  # looked at once more, since what came before took its time
        raise _changed_meanwhile(neither)
    before = set(still)
    changing = [change for change in update.changes if change.path in before]
    gone = [change.path for change in changing if expected_entries(update, change)[1] is None]
    come = [change.path for change in changing if expected_entries(update, change)[1] is not None]
    for path in gone:
        repo.check_deadline()
        tree.rename(path, staging, f"old/{path}")
        kept_metadata.remove_empty_parents(tree, path, staging)
    for path in come:
        repo.check_deadline()
        found = tree.lstat(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            tree.remove_folder(path)  # emptied above
        elif found is not None:
            staging.unlink(f"old/{path}")
            tree.link_or_copy(path, staging, f"old/{path}")
        staging.rename(f"new/{path}", tree, path)
    for parent in {str(PurePosixPath(path).parent) for path in (*gone, *come)}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            tree.fsync("" if parent == "." else parent)


def _ready_index(update: WorktreeUpdate) -> str:
    """The new index beside the old one, for the moment ahead of its rename."""
    return f"index{update.staging_name}"


def _update_index(repo: Repository, update: WorktreeUpdate, staging: OpenTree, old: str, new: str) -> None:
    """Only the change's own paths move: what somebody has staged beside them stays staged.

    The index keeps its time at each copy: by it git tells which files changed in the instant in which it was written.
    """
    with OpenTree.open(repo.git_dir) as own:
        for leftover in ("index", "index.lock"):
            staging.unlink(leftover)
        own.unlink(_ready_index(update))
        own.copy_file("index", staging, "index")
        env: dict[str, str | None] = {"GIT_INDEX_FILE": str(staging.path / "index")}
        repo.git("read-tree", "-i", "-m", old, new, env=env)
        repo.git("update-index", "-q", "--refresh", env=env, ok=(0, 1))
        staging.copy_file("index", own, _ready_index(update))
        own.copy_metadata("index", own, _ready_index(update))
        own.rename(_ready_index(update), own, "index")
        own.fsync()


def _update_branch(repo: Repository, update: WorktreeUpdate, staging: OpenTree, reason: str) -> None:
    if began := staging.lstat("branch"):
        refs = [f"{BAD_REFS}{update.bad_commit}", *([update.branch] if update.branch else [])]
        index_lock.remove_stale_ref_locks(repo, began.st_mtime, *refs)
        staging.unlink("branch")
    staging.create_file("branch")
    moved = f"update HEAD {update.new_commit} {update.old_commit}"
    if update.branch:  # an earlier try may have made it already; one that somebody else made is not moved
        there = repo.git_line("rev-parse", "--verify", "--quiet", update.branch, ok=(0, 1, 128))
        moved = (
            f"verify {update.branch} {update.new_commit}" if there else f"create {update.branch} {update.new_commit}"
        )
    orders = f"{moved}\nupdate {BAD_REFS}{update.bad_commit} {update.bad_commit}\n"
    why = f"trading-watchdog: {reason}"
    try:
        repo.git("update-ref", "-m", why, "--stdin", data=orders.encode())
        if update.branch:
            repo.git("symbolic-ref", "-m", why, "HEAD", update.branch)
    except ActionError:
        if resolve_head(repo.with_timeout(30)) != update.new_commit:
            raise


def _restore_old_files(repo: Repository, update: WorktreeUpdate, tree: OpenTree, staging: OpenTree) -> None:
    """Back to the old commit: the very files that were there, and the index."""
    after = set(classify_paths(repo, update)[1])
    for change in update.changes:
        old, new = expected_entries(update, change)
        if old is None:
            if change.path in after:
                tree.unlink(change.path)
            kept_metadata.remove_empty_parents(tree, change.path)
    for change in update.changes:
        old, new = expected_entries(update, change)
        saved = f"old/{change.path}"
        if change.path in after and old is not None and old != new and staging.lstat(saved) is not None:
            kept_metadata.restore_parents(tree, change.path, staging)
            staging.rename(saved, tree, change.path)
    index = staged_entries(repo, update.old_commit)
    if any(change.path in index for change in update.changes):
        _update_index(repo, update, staging, update.new_commit, update.old_commit)
    if update.branch:
        repo.git("update-ref", "-d", update.branch, update.new_commit, ok=(0, 1, 128))


def format_list(paths: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(paths) - limit} more" if len(paths) > limit else ""
    return ", ".join(paths[:limit]) + more
