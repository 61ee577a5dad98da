"""Which folders an action that touches files alone needs: what Landlock is told ahead of it (`host.landlock`)."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import watchdog
from watchdog.actions.git import branches, repository
from watchdog.actions.git.discovery import borrowed_objects, find_git_folders
from watchdog.core.errors import ActionError
from watchdog.core.protocols import NeededFiles

_SYSTEM_FOLDERS = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/proc",
    "/dev",
    "/opt",
    "/nix",
    "/run/systemd/resolve",
)
"""Programs, libraries, settings, names of users and hosts; read only."""
_DEVICES = ("/dev/null",)
_GIT_TIMEOUT_MS = 25_000


class Confinement(NamedTuple):
    """The arguments of `host.landlock.restrict`; full paths, links in them followed."""

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]


def needed_confinement(needed: NeededFiles, target_repo: str | None, scratch: Path, home: Path) -> Confinement:
    """`confinement` of what says which files it needs."""
    repo, remotes = needed.repo or target_repo, list[Path]()
    if repo is not None and needed.remote is not None:
        with contextlib.suppress(ActionError):  # the step itself will say so
            remotes = branches.local_remote(repository.open_repository(repo, _GIT_TIMEOUT_MS), needed.remote)
    return confinement(repo, [*needed.paths, *remotes], scratch, home)


def confinement(repo: str | None, touched: Iterable[Path], scratch: Path, home: Path) -> Confinement:
    """What is needed to look at and to change these files, and the repository that they or `repo` are in.

    `repo`: the target's, or the step's own. `touched`: full paths of what the step will change, and of what it reads or
    makes elsewhere; where one is not in the repository, the folder that it lies in is writable, since files are replaced by
    renames. A link within the repository opens nothing. `scratch`: the temporary folder. `home`: of the user as whom this
    runs; it is readable as a whole, since git's settings there include others, and programs of its filters lie there.
    What `.git` says is left out when it cannot be followed: a flag needs no git, and who does will say so.
    """
    writable: list[Path] = []
    borrowed: list[Path] = []
    found = None
    if repo is not None:
        writable.append(Path(repo))
        with contextlib.suppress(ActionError):
            found = find_git_folders(Path(repo))
    if found is not None:
        writable += [found.work_tree, found.git_dir, found.common_dir]
        borrowed = [*borrowed_objects(found.common_dir), found.common_dir / "config"]  # which may be a link
    within = (*([] if repo is None else [Path(repo)]), *_real_paths(writable))
    writable += [_folder_of(path) for path in touched if not any(path.is_relative_to(each) for each in within)]
    readable = [
        *_program_folders(tuple(os.get_exec_path())),
        *_real_paths([*([] if home == Path("/") else [home]), *borrowed]),
    ]
    writable += [scratch, *map(Path, _DEVICES)]
    return Confinement(tuple(readable), _real_paths(writable))


@functools.cache
def _program_folders(search_path: tuple[str, ...]) -> tuple[Path, ...]:
    folders = (*_SYSTEM_FOLDERS, *(folder for folder in search_path if folder.startswith("/")))
    own = (sys.prefix, sys.base_prefix, str(Path(watchdog.__file__).parent))
    return _real_paths(Path(folder) for folder in (*folders, *own))


def _folder_of(path: Path) -> Path:
    """The folder that it lies in; where that is not there yet, and would be made, the nearest one that is, short of /."""
    return next((folder for folder in path.parents[:-1] if folder.is_dir()), path.parent)


def _real_paths(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(Path(os.path.realpath(path)) for path in paths))
