"""What a repair saves ahead of each change, so that a person can undo it: bytes, mode and owner, and the tree of git."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.actions.git import repository
from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.telemetry import log
from watchdog.host.atomic_file import fsync_directory

_MAX_BYTES = 1 << 30
"""Bytes that one step may have saved; what is larger is not a change to a configuration or a program."""
_GIT_TIMEOUT_MS = 25_000


class SavedFile(NamedTuple):
    path: str
    was: JsonObject
    """``{"kind": file | link | absent, "sha", "mode", "uid", "gid", "to"}``; only `kind` when absent."""
    copy: str | None
    """File that holds the bytes."""


def file_state(path: Path) -> JsonObject:
    """What is at a path now. Raises ActionError when it is neither a file, a link nor nothing, or cannot be read."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return {"kind": "link", "to": str(path.readlink())}
        if not stat.S_ISREG(found.st_mode):
            raise ActionError(f"{path} is no file")
        return {
            "kind": "file",
            "sha": _sha256(path),
            "mode": stat.S_IMODE(found.st_mode),
            "uid": found.st_uid,
            "gid": found.st_gid,
        }
    except (FileNotFoundError, NotADirectoryError):
        return {"kind": "absent"}
    except OSError as error:
        raise ActionError(f"{path} cannot be read: {error.strerror}") from None


def same_content(one: JsonObject, other: JsonObject) -> bool:
    """Whether the content is the same; mode and owner aside."""
    return all(one.get(key) == other.get(key) for key in ("kind", "sha", "to"))


def back_up(folder: Path, touched: Iterable[Path], repo: str | None) -> list[SavedFile]:
    """Copies of what is there, flushed to the disk. Raises ActionError: what cannot be saved is not changed."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = sorted(set(files_under(touched)))
        size = sum(path.stat().st_size for path in paths if path.is_file() and not path.is_symlink())
        if size > _MAX_BYTES:
            raise ActionError(f"{size >> 20} MB would have to be saved first, and {_MAX_BYTES >> 20} MB is the most")
        saved = [_back_up_file(folder, path) for path in paths]
        if repo is not None and (Path(repo) / ".git").exists():
            _save_git_state(folder, repo)
        fsync_directory(folder)
    except OSError as error:
        raise ActionError(f"{folder}: {error.strerror}: what is about to be changed cannot be saved") from None
    return saved


def restore_file(path: Path, was: JsonObject, copy: str | None) -> None:
    """Makes it again what it was: bytes, mode, owner. Raises ActionError."""
    temporary = path.with_name(f".{path.name}.trading-watchdog")
    try:
        if was["kind"] == "absent":
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        if was["kind"] == "link":
            temporary.symlink_to(was["to"])
        else:
            if copy is None or not Path(copy).is_file() or _sha256(Path(copy)) != was["sha"]:
                raise ActionError(f"what was saved of {path} is gone or damaged")
            _copy_fsynced(Path(copy), temporary)
            if (os.geteuid(), os.getegid()) != (was["uid"], was["gid"]):
                os.chown(temporary, was["uid"], was["gid"])
            temporary.chmod(was["mode"])
        temporary.replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ActionError(f"{path}: {error.strerror}") from None


def delete_backups(folder: Path, runs: Iterable[int]) -> None:
    """Removes what was saved for these runs."""
    for run in runs:
        shutil.rmtree(folder / str(run), ignore_errors=True)


def files_under(touched: Iterable[Path]) -> Iterable[Path]:
    """The files behind what is touched: of a folder, all that it holds."""
    for path in touched:
        if path.is_dir() and not path.is_symlink():
            yield from (each for each in path.rglob("*") if each.is_symlink() or not each.is_dir())
        else:
            yield path


def _back_up_file(folder: Path, path: Path) -> SavedFile:
    was = file_state(path)
    if was["kind"] != "file":
        return SavedFile(str(path), was, None)
    copy = folder / was["sha"]
    if not copy.exists():
        _copy_fsynced(path, copy.with_suffix(".part"))
        copy.with_suffix(".part").replace(copy)
    if _sha256(copy) != was["sha"]:
        copy.unlink()
        raise ActionError(f"{path} changes while it is saved")
    return SavedFile(str(path), was, str(copy))


def _copy_fsynced(source: Path, to: Path) -> None:
    with source.open("rb") as read, to.open("wb") as written:
        os.fchmod(written.fileno(), 0o600)
        shutil.copyfileobj(read, written)
        written.flush()
        os.fsync(written.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save_git_state(folder: Path, repo: str) -> None:
    """HEAD, the patch of a dirty tree and the names of untracked files: for people; undo itself goes by the files.

    So no repair is given up because git does not answer, or may not: a flag needs no git.
    """
    notes: Sequence[tuple[str, list[str]]] = (
        ("git-head", ["rev-parse", "HEAD"]),
        ("git-dirty.patch", ["diff", "--binary", "--no-ext-diff", "HEAD"]),
        ("git-untracked", ["ls-files", "--others", "--exclude-standard"]),
    )
    try:
        git = repository.open_repository(repo, _GIT_TIMEOUT_MS)
        for name, args in notes:
            if not (folder / name).exists():
                (folder / name).write_bytes(git.git(*args).stdout_bytes)
    except ActionError as error:
        log.warning("%s: HEAD and the patch of what is edited are not kept beside the files: %s", repo, error)
