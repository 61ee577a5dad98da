"""Two users without rights, by number alone: whose hands something is in is tried with real ones."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOT, STRANGER = 40_001, 40_002
OUTSIDE = b"SECRET-OUTSIDE"
"""What stands in every file that lies outside the target's folders."""


def become(uid: int) -> None:
    """This process is that user's from now on, with its own group and no other."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def run_in_child(callback: Callable[[], Any], *, uid: int | None = None, seconds: int = 60) -> Any:
    """What `callback` returns or raises, in a process of its own; AssertionError when it hangs."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reads)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            if uid is not None:
                become(uid)
            try:
                said: tuple[bool, Any] = (True, callback())
            except BaseException as error:
                said = (False, error)
            with os.fdopen(writes, "wb") as pipe:
                pickle.dump(said, pipe)
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    assert data, "it hung, or died"
    ok, result = pickle.loads(data)
    if not ok:
        raise result
    return result


def start_as(uid: int, *argv: str, **how: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, user=uid, group=uid, extra_groups=(), start_new_session=True, **how)


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """All that lies in a folder: names, kinds, modes, owners, times and content; nothing but regular files is opened."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        seen = path.lstat()
        content: object = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        found[str(path)] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_ino, seen.st_mtime_ns, content)
    return found
