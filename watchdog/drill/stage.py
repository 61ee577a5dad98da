"""A stage to rehearse on: copies of repositories and files in a folder of their own. The originals are only read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from watchdog.actions import repository
from watchdog.actions.repository import Repository
from watchdog.model import ActionError

_LARGE = 2 << 30
"""Bytes: more is not copied for a rehearsal."""
_TIMEOUT_MS = 60_000
_SETTINGS = ("core.autocrlf", "core.eol", "core.filemode", "core.symlinks", "core.ignorecase")
"""Those of the repository's own settings that decide what a checkout writes."""
_PATHS: dict[str, tuple[str, ...]] = {
    "flag": ("file",),
    "git": (),
    "archive": ("paths", "into"),
    "restore": ("file", "from_"),
}
"""The actions that work on files alone, and where their paths stand."""


class Stage:
    """What the steps of one plan work on, copied once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repositories: dict[Path, Path] = {}

    def takes(self, action: Any) -> bool:
        """Whether a step can be rehearsed here: it changes nothing but files."""
        return action.do in _PATHS

    def moved(self, action: Any) -> Any:
        """The same step, with its target filled in, on copies. Raises ActionError."""
        if action.do == "git":
            return action.model_copy(update={"repo": str(self._repository(Path(action.repo)))})
        base = Path(action.repo or "/")
        moved: dict[str, Any] = {"repo": None}
        for name in _PATHS[action.do]:
            said = getattr(action, name)
            listed = [str(self._path(base / one)) for one in ([said] if isinstance(said, str) else said)]
            moved[name] = listed[0] if isinstance(said, str) else tuple(listed)
        return action.model_copy(update=moved)

    def real(self, text: str) -> str:
        """What is said of the copies, said of the originals."""
        for top, copy in self._repositories.items():
            text = text.replace(str(copy), str(top))
        return text.replace(str(self._folder / "files"), "")

    def prepare(self, actions: Iterable[Any]) -> None:
        """Copies the repositories of git steps, ahead of the files that lie in them. Raises ActionError."""
        for action in actions:
            if action.do == "git":
                self._repository(Path(action.repo))

    def _path(self, path: Path) -> Path:
        """Where a file or folder lies on the stage; copied there if it is anywhere at all."""
        real = Path(os.path.realpath(path))
        for top, copy in self._repositories.items():
            if real.is_relative_to(top):
                mine = copy / real.relative_to(top)
                break
        else:
            mine = self._folder / "files" / str(real).lstrip("/")
        if not os.path.lexists(mine) and real.exists():
            _copy(real, mine)
        return mine

    def _repository(self, path: Path) -> Path:
        """A copy of a git work tree: the same commits, refs, index and files, dirty ones too. Hooks stay behind."""
        repo = repository.repository(str(path), _TIMEOUT_MS)
        if repo.top in self._repositories:
            return self._repositories[repo.top] / path.resolve().relative_to(repo.top)
        copy = self._folder / f"repository-{len(self._repositories) + 1}"
        copy.mkdir(parents=True)
        kind = repo.line("rev-parse", "--show-object-format")
        bare = Repository(copy, copy / ".git", copy / ".git", None, repo.deadline)
        bare.git("init", "-q", f"--object-format={kind}", "--template=")
        # Commits are borrowed, not copied, and nothing new goes into the repository that lends them.
        (copy / ".git" / "objects" / "info").mkdir(parents=True, exist_ok=True)
        (copy / ".git" / "objects" / "info" / "alternates").write_text(f"{repo.common / 'objects'}\n")
        for source in (
            repo.common / "shallow",
            repo.common / "info" / "attributes",
            repo.common / "info" / "exclude",
            repo.dir / "index",
        ):
            if source.is_file():
                (copy / ".git" / source.parent.name if source.parent.name == "info" else copy / ".git").mkdir(
                    exist_ok=True
                )
                shutil.copyfile(source, copy / ".git" / ("info" if source.parent.name == "info" else "") / source.name)
        for setting in _SETTINGS:
            if value := repo.line("config", "--get", setting, ok=(0, 1)):
                bare.git("config", setting, value)
        refs = repo.git("for-each-ref", "--format=create %(refname)%00%(objectname)%00").raw
        bare.git("update-ref", "--stdin", "-z", data=_zeroed(refs))
        branch = repo.line("symbolic-ref", "-q", "HEAD", ok=(0, 1))
        if branch:
            bare.git("symbolic-ref", "HEAD", branch)
        else:
            bare.git("update-ref", "--no-deref", "HEAD", repository.head_of(repo))
        self._repositories[repo.top] = copy
        names = repo.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").raw.split(b"\0")
        left = _LARGE
        for name in {os.fsdecode(name) for name in names if name}:
            left = _bring(repo.top / name, copy / name, left)
        bare.git("update-index", "-q", "--refresh", ok=(0, 1))
        return copy / path.resolve().relative_to(repo.top)


def _zeroed(lines: bytes) -> bytes:
    """`for-each-ref` ends each line; `update-ref -z` wants none of that."""
    return b"".join(line for line in lines.split(b"\n") if line)


def _bring(source: Path, to: Path, left: int) -> int:
    """One file of a work tree; says how many bytes may still be copied."""
    if not os.path.lexists(source) or (source.is_dir() and not source.is_symlink()):
        return left  # deleted and not yet committed, or a submodule
    left -= source.lstat().st_size
    if left < 0:
        raise ActionError(f"the work tree holds more than {_LARGE >> 30} GiB — too much to copy for a rehearsal")
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, to, follow_symlinks=False)
    return left


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy2(source, to)
        return
    size = sum(file.lstat().st_size for file in source.rglob("*") if not file.is_dir())
    if size > _LARGE:
        raise ActionError(f"{source} holds more than {_LARGE >> 30} GiB — too much to copy for a rehearsal")
    shutil.copytree(source, to, symlinks=True)
