"""From one commit to the next without a moment in which a file is half written, or a crash cannot be gone on from.

Everything is made ready beside the tree; then each file is renamed into place, then the index, then the branch moves by
compare-and-swap. Killed anywhere, `apply_update` with the same plan finishes it; failed anywhere, it puts all back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.actions.git import index_lock
from watchdog.actions.git.commit_refs import BAD_REFS
from watchdog.actions.git.repository import (
    PRIVATE_DIR,
    PathChange,
    Repository,
    entries_match,
    resolve_head,
    sparse_excluded,
    staged_entries,
    worktree_entries,
)
from watchdog.actions.values.editor import set_values
from watchdog.actions.values.located_value import Value
from watchdog.core.errors import ActionError
from watchdog.host import atomic_file

_STAGING_DIR_NAME = ".trading-watchdog"


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
    for change in update.changes:
        path = change.path
        old, new = (
            path in absent or any(entries_match(repo, look[path], entry) for look in readings)
            for entry in expected_entries(update, change)
        )
        free = new or not (expected_entries(update, change)[1] and _is_obstructed(repo.work_tree, path, going))
        seen[path] = (old and free, new)
    return seen


def _is_obstructed(top: Path, path: str, removed: set[str]) -> bool:
    """Whether something that stays is in the path's way: a file or link where it needs a folder, or the reverse."""
    for parent in Path(path).parents:
        there = top / parent
        if os.path.lexists(there) and (there.is_symlink() or not there.is_dir()) and str(parent) not in removed:
            return True
    there = top / path
    if there.is_symlink() or not there.is_dir():
        return False
    below = (Path(folder, name) for folder, _, names in os.walk(there) for name in names)
    return any(str(file.relative_to(top)) not in removed for file in below)


def apply_update(repo: Repository, update: WorktreeUpdate, reason: str) -> None:
    """Make the work tree, the index and the branch those of the plan's new commit. ActionError: all is as it was."""
    with index_lock.hold_index_lock(repo):
        folder = _staging_dir(repo) / update.new_commit[:16]
        if resolve_head(repo) != update.old_commit:
            raise ActionError(f"{repo.work_tree} was moved to another commit by somebody else — look at it")
        _ensure_unmodified(repo, update)
        try:
            _prepare_files(repo, update, folder)
            _replace_files(repo, update, folder)
            _update_index(repo, update.old_commit, update.new_commit)
            _update_branch(repo, update, folder, reason)
        except BaseException as problem:
            _undo_update(repo.with_timeout(60), update, folder, problem)
        clean_up(repo)


def clean_up(repo: Repository) -> None:
    """Nothing of ours stays beside the tree."""
    for own in (repo.work_tree / _STAGING_DIR_NAME, repo.git_dir / PRIVATE_DIR):
        shutil.rmtree(own, ignore_errors=True)


def _undo_update(repo: Repository, update: WorktreeUpdate, folder: Path, problem: BaseException) -> None:
    """After a failure: back to the old commit, unless the branch has moved already. Then the problem goes its way."""
    words = str(problem)
    if isinstance(problem, OSError):
        words = f"{problem.filename or repo.work_tree}: {problem.strerror}"
    try:
        if resolve_head(repo) == update.new_commit:
            return
        _restore_old_files(repo, update, folder)
    except (ActionError, OSError) as worse:
        raise ActionError(
            f"{words}; and the old files were not all put back: {worse} — they are in {folder / 'old'}",
            may_have_happened=True,
        ) from problem
    clean_up(repo)
    if isinstance(problem, ActionError | OSError):
        raise ActionError(f"{words} (all was put back)") from problem
    raise problem


def _staging_dir(repo: Repository) -> Path:
    """A folder from which a rename into the tree is one step, so on the tree's own file system."""
    inside = index_lock.private_dir(repo)
    if inside.stat().st_dev == repo.work_tree.stat().st_dev:
        return inside
    folder = repo.work_tree / _STAGING_DIR_NAME
    index_lock.make_directories(repo, folder)
    (folder / ".gitignore").write_bytes(b"*\n")
    return folder


def _ensure_unmodified(repo: Repository, update: WorktreeUpdate) -> None:
    index = staged_entries(repo, update.old_commit)
    foreign = [c.path for c in update.changes if c.path in index and index[c.path] != c.new_entry]
    foreign += classify_paths(repo, update)[2]
    if foreign:
        raise ActionError(f"changed by somebody else in the meantime: {format_list(foreign)} — look at it")


def _prepare_files(repo: Repository, update: WorktreeUpdate, folder: Path) -> None:
    """The new files, ready to be renamed: right content, mode and owner, on the disk."""
    shutil.rmtree(folder / "new", ignore_errors=True)
    index_lock.make_directories(repo, folder / "new")
    index: dict[str, str | None] = {"GIT_INDEX_FILE": str(folder / "stage")}
    for name in ("stage", "stage.lock"):
        (folder / name).unlink(missing_ok=True)
    paths = [change.path for change in update.changes if change.new_entry is not None]
    repo.git("read-tree", update.new_commit, env=index)
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    # A work tree of its own: line ends and filters are those that the new commit's .gitattributes say.
    at = {**index, "GIT_DIR": str(repo.git_dir), "GIT_WORK_TREE": str(folder / "new")}
    repo.git("checkout-index", "-f", "-q", "-z", "--stdin", data=names, env=at)
    for path in paths:
        repo.check_deadline()
        ready, there = folder / "new" / path, repo.work_tree / path
        if not stat.S_ISREG(ready.lstat().st_mode):
            continue
        kept = update.edits.get(path)
        if kept:
            ready.write_bytes(apply_edits(ready.read_bytes(), path, kept.values)[0])
        file = os.open(ready, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                was = there.lstat()
                if stat.S_ISREG(was.st_mode):
                    _copy_metadata(file, was)
            os.fsync(file)
        finally:
            os.close(file)


def _copy_metadata(file: int, was: os.stat_result) -> None:
    """Owner and mode as they were; only whether it may be run comes from the commit."""
    runs = os.fstat(file).st_mode & stat.S_IXUSR
    atomic_file.copy_mode_and_owner(file, was)
    mode = stat.S_IMODE(was.st_mode) & ~0o111
    os.fchmod(file, mode | (mode & 0o444) >> 2 if runs else mode)
    atomic_file.ensure_newer_mtime(file, was)


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


def _replace_files(repo: Repository, update: WorktreeUpdate, folder: Path) -> None:
    before = set(classify_paths(repo, update)[0])
    gone = [
        change.path
        for change in update.changes
        if expected_entries(update, change)[1] is None and change.path in before
    ]
    come = [
        change.path
        for change in update.changes
        if expected_entries(update, change)[1] is not None and change.path in before
    ]
    for path in gone:
        repo.check_deadline()
        saved = folder / "old" / path
        index_lock.make_directories(repo, saved.parent)
        (repo.work_tree / path).replace(saved)
        _remove_empty_parents(repo, path)
    for path in come:
        repo.check_deadline()
        there, saved = repo.work_tree / path, folder / "old" / path
        index_lock.make_directories(repo, there.parent)
        if there.is_symlink() or there.is_file():
            index_lock.make_directories(repo, saved.parent)
            _link_backup(there, saved)
        elif there.is_dir():
            there.rmdir()  # emptied above
        (folder / "new" / path).replace(there)
    for parent in {(repo.work_tree / path).parent for path in (*gone, *come)}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            atomic_file.fsync_directory(parent)


def _link_backup(file: Path, saved: Path) -> None:
    """A second name for the very file, so that it can come back as it was."""
    saved.unlink(missing_ok=True)
    try:
        os.link(file, saved, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(file, saved, follow_symlinks=False)


def _remove_empty_parents(repo: Repository, path: str) -> None:
    """Git keeps no empty folders."""
    for parent in Path(path).parents:
        if parent == Path():
            return
        try:
            (repo.work_tree / parent).rmdir()
        except OSError:
            return


def _update_index(repo: Repository, old: str, new: str) -> None:
    """Only the change's own paths move: what somebody has staged beside them stays staged."""
    ready, there = index_lock.private_dir(repo) / "index", repo.git_dir / "index"
    for leftover in (ready, ready.with_name("index.lock")):
        leftover.unlink(missing_ok=True)
    shutil.copy(there, ready)
    if repo.owner is not None:
        os.chown(ready, repo.owner.uid, repo.owner.gid)
    env: dict[str, str | None] = {"GIT_INDEX_FILE": str(ready)}
    repo.git("read-tree", "-i", "-m", old, new, env=env)
    repo.git("update-index", "-q", "--refresh", env=env, ok=(0, 1))
    with ready.open("rb") as file:
        os.fsync(file.fileno())
    ready.replace(there)


def _update_branch(repo: Repository, update: WorktreeUpdate, folder: Path, reason: str) -> None:
    began = folder / "branch"
    if began.exists():
        index_lock.remove_stale_ref_locks(
            repo, began, f"{BAD_REFS}{update.bad_commit}", *([update.branch] if update.branch else [])
        )
    began.write_bytes(b"")
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


def _restore_old_files(repo: Repository, update: WorktreeUpdate, folder: Path) -> None:
    """Back to the old commit: the very files that were there, and the index."""
    after = set(classify_paths(repo, update)[1])
    for change in update.changes:
        old, new = expected_entries(update, change)
        if old is None:
            if change.path in after:
                (repo.work_tree / change.path).unlink(missing_ok=True)
            _remove_empty_parents(repo, change.path)
    for change in update.changes:
        old, new = expected_entries(update, change)
        saved = folder / "old" / change.path
        if change.path in after and old is not None and old != new and os.path.lexists(saved):
            index_lock.make_directories(repo, (repo.work_tree / change.path).parent)
            saved.replace(repo.work_tree / change.path)
    index = staged_entries(repo, update.old_commit)
    if any(change.path in index for change in update.changes):
        _update_index(repo, update.new_commit, update.old_commit)
    if update.branch:
        repo.git("update-ref", "-d", update.branch, update.new_commit, ok=(0, 1, 128))


def format_list(paths: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(paths) - limit} more" if len(paths) > limit else ""
    return ", ".join(paths[:limit]) + more
