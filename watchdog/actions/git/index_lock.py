"""Git's lock files: ours while we act, and those of the dead.

We hold ``index.lock`` for the whole of a change, so that nobody commits half of it. Ours says in its first line whose it is,
from the moment that it has its name; a foreign one is removed only when it is older than this boot, or old and no process
that we can see may be using it. Nothing else is written for it, and no link is followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from watchdog.actions.git import lock_files
from watchdog.actions.git.open_tree import OpenTree
from watchdog.actions.git.repository import Repository
from watchdog.core.errors import ActionError
from watchdog.host import child_process

_STALE_AFTER = 600.0
_LOCK_TIMEOUT = 5.0  # a prompt or an editor asking for the status holds the lock for an instant
_LOCK = "index.lock"
_held_locks: set[Path] = set()  # by threads of this process
_held_locks_guard = threading.Lock()


@contextlib.contextmanager
def hold_index_lock(repo: Repository) -> Iterator[None]:
    """Hold the index lock. ActionError when somebody else does, and goes on doing so."""
    lock = repo.git_dir / _LOCK
    with OpenTree.open(repo.git_dir) as folder:
        for _ in child_process.poll_until(time.monotonic() + _LOCK_TIMEOUT):
            with _held_locks_guard:
                if lock not in _held_locks and _acquire(repo, folder):
                    _held_locks.add(lock)
                    break
        else:
            raise _lock_error(repo)
        try:
            yield
        finally:
            with _held_locks_guard:
                _held_locks.discard(lock)
                with contextlib.suppress(OSError):
                    folder.unlink(_LOCK)


def ensure_unlocked(repo: Repository, *others: str) -> None:
    """Looks only: ActionError when the index, HEAD, its branch or another ref that is to be written stays locked."""
    with OpenTree.open(repo.git_dir) as folder:
        for _ in child_process.poll_until(time.monotonic() + _LOCK_TIMEOUT):
            is_index_free = is_free(repo, folder)
            locks = [path for path in _ref_locks(repo, *others) if os.path.lexists(path)]
            if is_index_free and not locks:
                return
    raise _lock_error(repo) if not locks else ActionError(lock_files.describe_lock(locks[0], repo.folders))


def _ref_locks(repo: Repository, *others: str) -> list[Path]:
    """Where git locks HEAD, the branch that is checked out, and these."""
    branch = repo.git_line("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))
    return [repo.git_dir / "HEAD.lock", *(repo.common_dir / f"{ref}.lock" for ref in (branch, *others) if ref)]


def is_free(repo: Repository, folder: OpenTree) -> bool:
    """Whether nobody alive has the index lock. `folder`: the git directory."""
    if repo.git_dir / _LOCK in _held_locks:
        return False
    return folder.lstat(_LOCK) is None or _is_stale(repo, folder)


def remove_stale_lock(repo: Repository) -> bool:
    """Remove an index lock that we left behind when we were killed: it would keep everybody out. Says whether it is free."""
    with OpenTree.open(repo.git_dir) as folder, _held_locks_guard, contextlib.suppress(OSError):
        if not is_free(repo, folder):
            return False
        if folder.lstat(_LOCK) is not None and folder.read(_LOCK, 100).startswith(lock_files.SIGNATURE):
            folder.unlink(_LOCK)
        return True
    return False


def _acquire(repo: Repository, folder: OpenTree) -> bool:
    """Create the lock with our mark in it, in one step: a lock without a mark would be taken for a stranger's."""
    mark = lock_files.SIGNATURE + f"{os.getpid()} {child_process.start_time(os.getpid()) or 0:.2f}\n".encode()
    try:
        if folder.lstat(_LOCK) is not None:
            if not _is_stale(repo, folder):
                return False
            folder.unlink(_LOCK)
        folder.publish_file(_LOCK, mark)
    except FileExistsError:  # somebody else was faster
        return False
    except OSError as problem:
        raise ActionError(f"{folder.path / _LOCK} cannot be made: {problem.strerror}") from None
    return True


def remove_stale_ref_locks(repo: Repository, began: float, *others: str) -> None:
    """Clear locks of HEAD, its branch and other refs that nobody holds; `began`: just before our git was to take them."""
    head, *refs = _ref_locks(repo, *others)
    with OpenTree.open(repo.git_dir) as own, OpenTree.open(repo.common_dir) as common:
        locks = [(own, head.name), *((common, str(lock.relative_to(repo.common_dir))) for lock in refs)]
        for folder, lock in locks:
            with contextlib.suppress(OSError):
                found = folder.lstat(lock)
                if found is None or not stat.S_ISREG(found.st_mode):
                    continue
                if (
                    0 <= found.st_mtime - began < 60
                    and lock_files.find_holder(folder.path / lock, repo.folders) is None
                ):
                    folder.unlink(lock)  # our own git was killed while it held it


def _is_stale(repo: Repository, folder: OpenTree) -> bool:
    try:
        found = folder.lstat(_LOCK)
        if found is None:
            return True
        content, changed = folder.read(_LOCK, 100), found.st_mtime
    except FileNotFoundError:
        return True
    except OSError:  # no regular file, or not ours to read
        return False
    if content.startswith(lock_files.SIGNATURE):
        pid, _, started = content[len(lock_files.SIGNATURE) :].decode("ascii", "replace").strip().partition(" ")
        if not pid.isdecimal() or int(pid) == os.getpid():
            return True  # cut off while it was written, or ours from a thread that is gone: those alive are in _held
        return not child_process.is_running(int(pid), _seconds(started))
    if changed < child_process.boot_time() - child_process.CLOCK_TOLERANCE:
        return True
    return (
        lock_files.file_time() - changed > _STALE_AFTER
        and lock_files.find_holder(folder.path / _LOCK, repo.folders) is None
    )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _lock_error(repo: Repository) -> ActionError:
    return ActionError(lock_files.describe_lock(repo.git_dir / _LOCK, repo.folders))
