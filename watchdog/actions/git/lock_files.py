"""Lock files of git's, any of them: who holds one, since when, and what a person does about it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from watchdog.actions.git.open_tree import OpenTree
from watchdog.core.units import format_duration
from watchdog.host import child_process, landlock

SIGNATURE = b"trading-watchdog "
"""Begins a lock of ours; the pid and when it started follow."""
_REFUSED = re.compile(r"Unable to create '([^']+\.lock)': File exists|could not lock config file (.+?): File exists")


def find_lock(error_text: str, folder: Path) -> Path | None:
    """The lock that git, which ran in `folder`, says it could not get."""
    found = _REFUSED.search(error_text)
    return None if found is None else folder / (found[1] or f"{found[2]}.lock")


def describe_lock(lock: Path, folders: Sequence[Path]) -> str:
    """That it is there, since when, who holds it as far as that can be seen, and the cure. `folders`: the repository's."""
    try:
        found, content = lock.lstat(), b""
        with contextlib.suppress(OSError), OpenTree.open(lock.parent) as folder:
            content = folder.read(lock.name, 100)
    except OSError:
        return f"git is at work here: {lock} was there, and is gone by now — try again"
    age = format_duration(max(file_time() - found.st_mtime, 0) * 1_000)
    holder = _holder_of_ours(content) or find_holder(lock, folders)
    if holder is not None:
        return f"git is at work here: {lock} exists, {age} old, and {holder} is at work in it — wait for it to end"
    return f"{lock} exists, {age} old, and no process that can be seen holds it — remove it, once no git runs here: rm {lock}"


def find_holder(lock: Path, folders: Sequence[Path]) -> str | None:
    """Who holds a lock, as far as that can be seen from here: ``git (1234)``."""
    return landlock.look_outside(_holder, lock, folders)


def _holder_of_ours(content: bytes) -> str | None:
    pid = content.removeprefix(SIGNATURE).partition(b" ")[0] if content.startswith(SIGNATURE) else b""
    if not pid.isdigit() or child_process.start_time(int(pid)) is None:
        return None
    return f"another step of a watchdog ({int(pid)})"


def file_time() -> float:
    """The kernel's time as it stamps files, of a file without a name."""
    probe = os.memfd_create("now", os.MFD_CLOEXEC)
    try:
        return os.fstat(probe).st_mtime
    finally:
        os.close(probe)


def _holder(lock: Path, folders: Sequence[Path]) -> str | None:
    """A process that has the lock open, or a git at work in this tree (it closes the lock before it renames it).

    Where another user's git is at work cannot be seen; a lock that it made is that user's.
    """
    import psutil  # 2 MB: paid by who meets a lock

    try:
        owner = lock.lstat().st_uid
    except FileNotFoundError:
        return None
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            name = process.name()
            if name.startswith("git"):
                try:
                    here = Path(process.cwd())
                    if not any(root == here or root in here.parents for root in folders):
                        continue
                except psutil.AccessDenied:
                    if process.uids().effective != owner:
                        continue
                return f"{name} ({process.pid})"
            if any(file.path == str(lock) for file in process.open_files()):
                return f"{name} ({process.pid})"
    return None
