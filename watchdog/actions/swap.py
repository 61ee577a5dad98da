"""From one commit to the next without a moment in which a file is half written, or a crash cannot be gone on from.

Everything is made ready beside the tree; then each file is renamed into place, then the index, then the branch moves by
compare-and-swap. Killed anywhere, `swap` with the same plan finishes it; failed anywhere, it puts all back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.actions import files, locks
from watchdog.actions.marks import BAD
from watchdog.actions.repository import PRIVATE, Change, Repository, head_of, left_out, same, staged, working
from watchdog.actions.scalars import Value, edited
from watchdog.model import ActionError

_BESIDE = ".trading-watchdog"


class Edits(NamedTuple):
    """Our own flag edits that a file keeps: applied on top of what the commit has."""

    values: Sequence[Mapping[str, Value]]
    old: str | None
    """The work tree's entry before the change and after it, when edits make it differ from the commits'."""
    new: str | None


class Plan(NamedTuple):
    old: str
    new: str
    bad: str
    """The commit that is remembered as rolled back."""
    changes: Sequence[Change]
    edits: Mapping[str, Edits]
    branch: str | None = None
    """A ref that is made at the new commit and checked out; None: the branch that is checked out moves."""


def wanted(plan: Plan, change: Change) -> tuple[str | None, str | None]:
    """What the work tree has at a path before the change and after it."""
    edits = plan.edits.get(change.path)
    return (edits.old, edits.new) if edits else (change.old, change.new)


def standing(repo: Repository, plan: Plan) -> tuple[list[str], list[str], list[str]]:
    """Paths of the plan that are as before it, as after it, and neither. A path that is alike in both counts as after.

    Alike in both are also line ends that git would keep either way, and what a sparse checkout leaves out.
    """
    before: list[str] = []
    after: list[str] = []
    neither: list[str] = []
    for path, (old, new) in _seen(repo, plan).items():
        (after if new else before if old else neither).append(path)
    return before, after, neither


def untouched(repo: Repository, plan: Plan) -> set[str]:
    """Paths of the plan that are as before it, and whose way is free; those that are alike in both, too."""
    return {path for path, (old, _) in _seen(repo, plan).items() if old}


def _seen(repo: Repository, plan: Plan) -> dict[str, tuple[bool, bool]]:
    """For each path, whether it is as before the plan (and may become what comes), and whether it is as after it.

    Git takes the same bytes as a commit has for unchanged even where its own filters would make others of them.
    """
    paths = [change.path for change in plan.changes]
    going = {change.path for change in plan.changes if wanted(plan, change)[1] is None}
    looks, absent = (working(repo, paths), working(repo, paths, as_it_lies=True)), left_out(repo, paths)
    seen = {}
    for change in plan.changes:
        path = change.path
        old, new = (
            path in absent or any(same(repo, look[path], entry) for look in looks) for entry in wanted(plan, change)
        )
        free = new or not (wanted(plan, change)[1] and _blocked(repo.top, path, going))
        seen[path] = (old and free, new)
    return seen


def _blocked(top: Path, path: str, going: set[str]) -> bool:
    """Whether something that stays is in the path's way: a file or link where it needs a folder, or the reverse."""
    for parent in Path(path).parents:
        there = top / parent
        if os.path.lexists(there) and (there.is_symlink() or not there.is_dir()) and str(parent) not in going:
            return True
    there = top / path
    if there.is_symlink() or not there.is_dir():
        return False
    below = (Path(folder, name) for folder, _, names in os.walk(there) for name in names)
    return any(str(file.relative_to(top)) not in going for file in below)


def swap(repo: Repository, plan: Plan, reason: str) -> None:
    """Make the work tree, the index and the branch those of the plan's new commit. ActionError: all is as it was."""
    with locks.index_locked(repo):
        folder = _beside(repo) / plan.new[:16]
        if head_of(repo) != plan.old:
            raise ActionError(f"{repo.top} was moved to another commit by somebody else — look at it")
        _refuse_foreign(repo, plan)
        try:
            _stage(repo, plan, folder)
            _move_files(repo, plan, folder)
            _move_index(repo, plan.old, plan.new)
            _move_branch(repo, plan, folder, reason)
        except BaseException as problem:
            _put_back(repo.with_deadline(60), plan, folder, problem)
        tidy(repo)


def tidy(repo: Repository) -> None:
    """Nothing of ours stays beside the tree."""
    for own in (repo.top / _BESIDE, repo.dir / PRIVATE):
        shutil.rmtree(own, ignore_errors=True)


def _put_back(repo: Repository, plan: Plan, folder: Path, problem: BaseException) -> None:
    """After a failure: back to the old commit, unless the branch has moved already. Then the problem goes its way."""
    words = str(problem)
    if isinstance(problem, OSError):
        words = f"{problem.filename or repo.top}: {problem.strerror}"
    try:
        if head_of(repo) == plan.new:
            return
        _restore(repo, plan, folder)
    except (ActionError, OSError) as worse:
        raise ActionError(
            f"{words}; and the old files were not all put back: {worse} — they are in {folder / 'old'}",
            may_have_happened=True,
        ) from problem
    tidy(repo)
    if isinstance(problem, ActionError | OSError):
        raise ActionError(f"{words} (all was put back)") from problem
    raise problem


def _beside(repo: Repository) -> Path:
    """A folder from which a rename into the tree is one step, so on the tree's own file system."""
    inside = locks.private(repo)
    if inside.stat().st_dev == repo.top.stat().st_dev:
        return inside
    folder = repo.top / _BESIDE
    locks.make_folder(repo, folder)
    (folder / ".gitignore").write_bytes(b"*\n")
    return folder


def _refuse_foreign(repo: Repository, plan: Plan) -> None:
    index = staged(repo, plan.old)
    foreign = [c.path for c in plan.changes if c.path in index and index[c.path] != c.new]
    foreign += standing(repo, plan)[2]
    if foreign:
        raise ActionError(f"changed by somebody else in the meantime: {listed(foreign)} — look at it")


def _stage(repo: Repository, plan: Plan, folder: Path) -> None:
    """The new files, ready to be renamed: right content, mode and owner, on the disk."""
    shutil.rmtree(folder / "new", ignore_errors=True)
    locks.make_folder(repo, folder / "new")
    index: dict[str, str | None] = {"GIT_INDEX_FILE": str(folder / "stage")}
    for name in ("stage", "stage.lock"):
        (folder / name).unlink(missing_ok=True)
    paths = [change.path for change in plan.changes if change.new is not None]
    repo.git("read-tree", plan.new, env=index)
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    # A work tree of its own: line ends and filters are those that the new commit's .gitattributes say.
    at = {**index, "GIT_DIR": str(repo.dir), "GIT_WORK_TREE": str(folder / "new")}
    repo.git("checkout-index", "-f", "-q", "-z", "--stdin", data=names, env=at)
    for path in paths:
        repo.in_time()
        ready, there = folder / "new" / path, repo.top / path
        if not stat.S_ISREG(ready.lstat().st_mode):
            continue
        kept = plan.edits.get(path)
        if kept:
            ready.write_bytes(with_edits(ready.read_bytes(), path, kept.values)[0])
        file = os.open(ready, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                was = there.lstat()
                if stat.S_ISREG(was.st_mode):
                    _alike(file, was)
            os.fsync(file)
        finally:
            os.close(file)


def _alike(file: int, was: os.stat_result) -> None:
    """Owner and mode as they were; only whether it may be run comes from the commit."""
    runs = os.fstat(file).st_mode & stat.S_IXUSR
    files.alike(file, was)
    mode = stat.S_IMODE(was.st_mode) & ~0o111
    os.fchmod(file, mode | (mode & 0o444) >> 2 if runs else mode)
    files.fresh(file, was)


def with_edits(content: bytes, path: str, edits: Sequence[Mapping[str, Value]]) -> tuple[bytes, list[str]]:
    """`content` with our edits, in order; and the names that it has not (another version of the file may lack them)."""
    missing = []
    for values in edits:
        for name, value in values.items():
            try:
                content = edited(content, path, {name: value})
            except (ActionError, ValueError):
                missing.append(name)
    return content, missing


def _move_files(repo: Repository, plan: Plan, folder: Path) -> None:
    before = set(standing(repo, plan)[0])
    gone = [change.path for change in plan.changes if wanted(plan, change)[1] is None and change.path in before]
    come = [change.path for change in plan.changes if wanted(plan, change)[1] is not None and change.path in before]
    for path in gone:
        repo.in_time()
        saved = folder / "old" / path
        locks.make_folder(repo, saved.parent)
        (repo.top / path).replace(saved)
        _prune(repo, path)
    for path in come:
        repo.in_time()
        there, saved = repo.top / path, folder / "old" / path
        locks.make_folder(repo, there.parent)
        if there.is_symlink() or there.is_file():
            locks.make_folder(repo, saved.parent)
            _keep(there, saved)
        elif there.is_dir():
            there.rmdir()  # emptied above
        (folder / "new" / path).replace(there)
    for parent in {(repo.top / path).parent for path in (*gone, *come)}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            files.sync_folder(parent)


def _keep(file: Path, saved: Path) -> None:
    """A second name for the very file, so that it can come back as it was."""
    saved.unlink(missing_ok=True)
    try:
        os.link(file, saved, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(file, saved, follow_symlinks=False)


def _prune(repo: Repository, path: str) -> None:
    """Git keeps no empty folders."""
    for parent in Path(path).parents:
        if parent == Path():
            return
        try:
            (repo.top / parent).rmdir()
        except OSError:
            return


def _move_index(repo: Repository, old: str, new: str) -> None:
    """Only the change's own paths move: what somebody has staged beside them stays staged."""
    ready, there = locks.private(repo) / "index", repo.dir / "index"
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


def _move_branch(repo: Repository, plan: Plan, folder: Path, reason: str) -> None:
    began = folder / "branch"
    if began.exists():
        locks.free_refs(repo, began, f"{BAD}{plan.bad}", *([plan.branch] if plan.branch else []))
    began.write_bytes(b"")
    moved = f"update HEAD {plan.new} {plan.old}"
    if plan.branch:  # an earlier try may have made it already; one that somebody else made is not moved
        there = repo.line("rev-parse", "--verify", "--quiet", plan.branch, ok=(0, 1, 128))
        moved = f"verify {plan.branch} {plan.new}" if there else f"create {plan.branch} {plan.new}"
    orders = f"{moved}\nupdate {BAD}{plan.bad} {plan.bad}\n"
    why = f"trading-watchdog: {reason}"
    try:
        repo.git("update-ref", "-m", why, "--stdin", data=orders.encode())
        if plan.branch:
            repo.git("symbolic-ref", "-m", why, "HEAD", plan.branch)
    except ActionError:
        if head_of(repo.with_deadline(30)) != plan.new:
            raise


def _restore(repo: Repository, plan: Plan, folder: Path) -> None:
    """Back to the old commit: the very files that were there, and the index."""
    after = set(standing(repo, plan)[1])
    for change in plan.changes:
        old, new = wanted(plan, change)
        if old is None:
            if change.path in after:
                (repo.top / change.path).unlink(missing_ok=True)
            _prune(repo, change.path)
    for change in plan.changes:
        old, new = wanted(plan, change)
        saved = folder / "old" / change.path
        if change.path in after and old is not None and old != new and os.path.lexists(saved):
            locks.make_folder(repo, (repo.top / change.path).parent)
            saved.replace(repo.top / change.path)
    index = staged(repo, plan.old)
    if any(change.path in index for change in plan.changes):
        _move_index(repo, plan.new, plan.old)
    if plan.branch:
        repo.git("update-ref", "-d", plan.branch, plan.new, ok=(0, 1, 128))


def listed(paths: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(paths) - limit} more" if len(paths) > limit else ""
    return ", ".join(paths[:limit]) + more
