"""Git's lock files: ours while we act, and those of the dead.

We hold ``index.lock`` for the whole of a change, so that nobody commits half of it. Ours says whose it is; a foreign one
is removed only when it is older than this boot, or old and no process that we can see may be using it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from watchdog.actions.git.repository import PRIVATE_DIR, Repository
from watchdog.core.errors import ActionError
from watchdog.host import child_process

_STALE_AFTER = 600.0
_LOCK_TIMEOUT = 5.0  # a prompt or an editor asking for the status holds the lock for an instant
_LOCK_SIGNATURE = b"trading-watchdog "
_held_locks: set[Path] = set()  # by threads of this process
_held_locks_guard = threading.Lock()


def private_dir(repo: Repository) -> Path:
    """Our own folder beside the index, owned like the repository."""
    folder = repo.git_dir / PRIVATE_DIR
    make_directories(repo, folder)
    return folder


def make_directories(repo: Repository, folder: Path) -> None:
    """The folder and those above it. Raises ActionError."""
    try:
        for missing in [f for f in (*reversed(folder.parents), folder) if not f.exists()]:
            missing.mkdir(exist_ok=True)
            if repo.owner is not None:
                os.chown(missing, repo.owner.uid, repo.owner.gid)
    except OSError as problem:
        raise ActionError(
            f"{folder} cannot be made: {problem.strerror} — the watchdog's user needs the right to"
        ) from None


@contextlib.contextmanager
def hold_index_lock(repo: Repository) -> Iterator[None]:
    """Hold the index lock. ActionError when somebody else does, and goes on doing so."""
    lock = repo.git_dir / "index.lock"
    for _ in child_process.poll_until(time.monotonic() + _LOCK_TIMEOUT):
        with _held_locks_guard:
            if lock not in _held_locks and _acquire(repo, lock):
                _held_locks.add(lock)
                break
    else:
        raise _lock_error(lock)
    try:
        yield
    finally:
        with _held_locks_guard:
            _held_locks.discard(lock)
            with contextlib.suppress(OSError):
                lock.unlink()


def ensure_unlocked(repo: Repository) -> None:
    """Looks only: ActionError when the index stays locked by somebody who may be alive."""
    lock = repo.git_dir / "index.lock"
    for _ in child_process.poll_until(time.monotonic() + _LOCK_TIMEOUT):
        if lock not in _held_locks and (not lock.exists() or _is_stale(repo, lock)):
            return
    raise _lock_error(lock)


def remove_stale_lock(repo: Repository) -> None:
    """Remove an index lock that we left behind when we were killed: it would keep everybody out."""
    lock = repo.git_dir / "index.lock"
    with _held_locks_guard, contextlib.suppress(OSError):
        if lock not in _held_locks and lock.read_bytes().startswith(_LOCK_SIGNATURE) and _is_stale(repo, lock):
            lock.unlink()


def _acquire(repo: Repository, lock: Path) -> bool:
    """Create the lock with our mark in it, in one step: a lock without a mark would be taken for a stranger's."""
    if lock.exists():
        if not _is_stale(repo, lock):
            return False
        lock.unlink(missing_ok=True)
    marked = private_dir(repo) / f"lock-{os.getpid()}"  # of its own: another watchdog may be marking one, too
    try:
        marked.write_bytes(
            _LOCK_SIGNATURE + f"{os.getpid()} {child_process.start_time(os.getpid()) or 0:.2f}\n".encode()
        )
        try:
            lock.hardlink_to(marked)
        except PermissionError:  # a file system without hard links
            with lock.open("xb") as file:
                file.write(marked.read_bytes())
    except (FileExistsError, FileNotFoundError):  # somebody else has it, or has just tidied up behind itself
        return False
    except OSError as problem:
        raise ActionError(f"{lock} cannot be made: {problem.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            marked.unlink()
    return True


def remove_stale_ref_locks(repo: Repository, began: Path, *others: str) -> None:
    """Clear locks of HEAD, its branch and other refs that nobody holds; `began` is what we write just before git takes them."""
    branch = repo.git_line("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))
    refs = (repo.git_dir / "HEAD", repo.common_dir / (branch or "HEAD"), *(repo.common_dir / ref for ref in others))
    for lock in (ref.with_name(f"{ref.name}.lock") for ref in refs):
        with contextlib.suppress(FileNotFoundError):
            after = lock.stat().st_mtime - began.stat().st_mtime
            if 0 <= after < 60 and _lock_holder(repo, lock) is None:
                lock.unlink()  # our own git was killed while it held it


def _is_stale(repo: Repository, lock: Path) -> bool:
    try:
        content, changed = lock.read_bytes()[:100], lock.stat().st_mtime
    except OSError:
        return not lock.exists()
    if content.startswith(_LOCK_SIGNATURE):
        pid, _, started = content[len(_LOCK_SIGNATURE) :].decode("ascii", "replace").strip().partition(" ")
        if not pid.isdecimal() or int(pid) == os.getpid():
            return True  # cut off while it was written, or ours from a thread that is gone: those alive are in _held
        return not child_process.is_running(int(pid), float(started or 0))
    if changed < child_process.boot_time() - child_process.START_TIME_TOLERANCE:
        return True
    return _filesystem_time(repo) - changed > _STALE_AFTER and _lock_holder(repo, lock) is None


def _filesystem_time(repo: Repository) -> float:
    """The file system's own time, in which the lock's age is measured."""
    probe = private_dir(repo) / "now"
    probe.write_bytes(b"")
    os.utime(probe)
    return probe.stat().st_mtime


def _lock_holder(repo: Repository, lock: Path) -> str | None:
    """A process that has the lock open, or a git at work in this tree (it closes the lock before it renames it).

    Where another user's git is at work cannot be seen; a lock that it made is that user's.
    """
    import psutil  # 2 MB: paid by who meets a lock

    try:
        owner = lock.stat().st_uid
    except FileNotFoundError:
        return None
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            name = process.name()
            if name.startswith("git"):
                try:
                    here = Path(process.cwd())
                    if not any(
                        root == here or root in here.parents for root in (repo.work_tree, repo.git_dir, repo.common_dir)
                    ):
                        continue
                except psutil.AccessDenied:
                    if process.uids().effective != owner:
                        continue
                return f"{name} ({process.pid})"
            if any(file.path == str(lock) for file in process.open_files()):
                return f"{name} ({process.pid})"
    return None


def _lock_error(lock: Path) -> ActionError:
    return ActionError(f"git is at work here: {lock} exists — wait for it to end, or remove the file if nothing runs")
