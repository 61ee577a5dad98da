"""A stage to rehearse on: copies of repositories and files in a folder of their own. The originals are only read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from watchdog.actions.git import repository
from watchdog.actions.git.repository import Repository
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action

_MAX_BYTES = 2 << 30
"""Bytes: more is not copied for a rehearsal."""
_TIMEOUT_MS = 60_000
_GIT_SETTINGS = ("core.autocrlf", "core.eol", "core.filemode", "core.symlinks", "core.ignorecase")
"""Those of the repository's own settings that decide what a checkout writes."""


class Sandbox:
    """What the steps of one plan work on, copied once: the Copies that their actions are redirected to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repositories: dict[Path, Path] = {}

    def original_paths(self, text: str) -> str:
        """What is said of the copies, said of the originals."""
        for top, copy in self._repositories.items():
            text = text.replace(str(copy), str(top))
        return text.replace(str(self._folder / "files"), "")

    def prepare(self, actions: Iterable[Action]) -> None:
        """Copies the repositories in which steps make commits, ahead of the files that lie in them. Raises ActionError."""
        for action in actions:
            action.redirect(_WorkTreesOnly(self))

    def file(self, path: Path) -> Path:
        """Where a file or folder lies here; copied if it is anywhere at all."""
        real = Path(os.path.realpath(path))
        for top, copy in self._repositories.items():
            if real.is_relative_to(top):
                copied = copy / real.relative_to(top)
                break
        else:
            copied = self._folder / "files" / str(real).lstrip("/")
        if not os.path.lexists(copied) and real.exists():
            _copy_path(real, copied)
        return copied

    def work_tree(self, path: Path) -> Path:
        """A copy of a git work tree: the same commits, refs, index and files, dirty ones too. Hooks stay behind."""
        repo = repository.open_repository(str(path), _TIMEOUT_MS)
        if repo.work_tree in self._repositories:
            return self._repositories[repo.work_tree] / path.resolve().relative_to(repo.work_tree)
        copy = self._folder / f"repository-{len(self._repositories) + 1}"
        copy.mkdir(parents=True)
        kind = repo.git_line("rev-parse", "--show-object-format")
        bare = Repository(copy, copy / ".git", copy / ".git", repo.deadline)
        bare.git("init", "-q", f"--object-format={kind}", "--template=")
        # Commits are borrowed, not copied, and nothing new goes into the repository that lends them.
        (copy / ".git" / "objects" / "info").mkdir(parents=True, exist_ok=True)
        (copy / ".git" / "objects" / "info" / "alternates").write_text(f"{repo.common_dir / 'objects'}\n")
        for source in (
            repo.common_dir / "shallow",
            repo.common_dir / "info" / "attributes",
            repo.common_dir / "info" / "exclude",
            repo.git_dir / "index",
        ):
            if source.is_file():
                (copy / ".git" / source.parent.name if source.parent.name == "info" else copy / ".git").mkdir(
                    exist_ok=True
                )
                shutil.copyfile(source, copy / ".git" / ("info" if source.parent.name == "info" else "") / source.name)
        for setting in _GIT_SETTINGS:
            if value := repo.git_line("config", "--get", setting, ok=(0, 1)):
                bare.git("config", setting, value)
        refs = repo.git("for-each-ref", "--format=create %(refname)%00%(objectname)%00").stdout_bytes
        bare.git("update-ref", "--stdin", "-z", data=_strip_line_ends(refs))
        branch = repo.git_line("symbolic-ref", "-q", "HEAD", ok=(0, 1))
        if branch:
            bare.git("symbolic-ref", "HEAD", branch)
        else:
            bare.git("update-ref", "--no-deref", "HEAD", repository.resolve_head(repo))
        for logs, ref in ((repo.git_dir, "HEAD"), *([(repo.common_dir, branch)] if branch else [])):
            if (source := logs / "logs" / ref).is_file():  # what ran here before tells the sides of a merge apart
                (copy / ".git" / "logs" / ref).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy / ".git" / "logs" / ref)
        self._repositories[repo.work_tree] = copy
        names = repo.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout_bytes.split(b"\0")
        left = _MAX_BYTES
        for name in {os.fsdecode(name) for name in names if name}:
            left = _copy_tracked_file(repo.work_tree / name, copy / name, left)
        bare.git("update-index", "-q", "--refresh", ok=(0, 1))
        return copy / path.resolve().relative_to(repo.work_tree)


class _WorkTreesOnly:
    """Copies as well, but of work trees alone: a file's copy lies in that of its repository, if there is to be one."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def file(self, path: Path) -> Path:
        return path

    def work_tree(self, path: Path) -> Path:
        return self._sandbox.work_tree(path)


def _strip_line_ends(lines: bytes) -> bytes:
    """`for-each-ref` ends each line; `update-ref -z` wants none of that."""
    return b"".join(line for line in lines.split(b"\n") if line)


def _copy_tracked_file(source: Path, to: Path, left: int) -> int:
    """One file of a work tree; says how many bytes may still be copied."""
    if not os.path.lexists(source) or (source.is_dir() and not source.is_symlink()):
        return left  # deleted and not yet committed, or a submodule
    left -= source.lstat().st_size
    if left < 0:
        raise ActionError(f"the work tree holds more than {_MAX_BYTES >> 30} GiB — too much to copy for a rehearsal")
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, to, follow_symlinks=False)
    return left


def _copy_path(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy2(source, to)
        return
    size = sum(file.lstat().st_size for file in source.rglob("*") if not file.is_dir())
    if size > _MAX_BYTES:
        raise ActionError(f"{source} holds more than {_MAX_BYTES >> 30} GiB — too much to copy for a rehearsal")
    shutil.copytree(source, to, symlinks=True)
