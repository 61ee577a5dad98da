"""Rights, lists and attributes of the files and folders of a work tree, as a change replaces, removes and puts them back."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import PurePosixPath

from watchdog.actions.git.open_tree import OpenTree
from watchdog.host import atomic_file, file_metadata

_FOLDERS = "folders"
"""Within the staging folder: empty ones, which stand for those of the tree that went."""


def give_metadata(file: int, tree: OpenTree, path: str, was: os.stat_result | None) -> tuple[str, ...]:
    """Group, rights, lists and attributes as they were; only whether it may be run comes from the commit. A new file gets what
    its folder hands on. Says what is not kept. The owner is who we are: as with any checkout."""
    made = file_metadata.read_metadata(file)
    runs = bool(made.mode & stat.S_IXUSR)
    if was is None or not stat.S_ISREG(was.st_mode):
        with tree.nearest_folder(path) as folder:
            if file_metadata.has_default_list(folder):
                given = file_metadata.inherited_metadata(folder, made, 0o777 if runs else 0o666)
                return file_metadata.give_metadata(file, given, owner_may_differ=True)
        return ()
    current = tree.open_file(path)
    try:
        given = file_metadata.with_execution(file_metadata.read_metadata(current), allowed=runs)
    finally:
        os.close(current)
    lost = file_metadata.give_metadata(file, given, owner_may_differ=True)
    atomic_file.ensure_newer_mtime(file, was)
    return lost


def remove_empty_parents(tree: OpenTree, path: str, staging: OpenTree | None = None) -> None:
    """Git keeps no empty folders. In `staging` each leaves an empty one with its rights and lists, until all is done."""
    for parent in parents(path):
        try:
            with tree.subfolder(parent) as folder:
                was = file_metadata.read_metadata(folder.fd)
            tree.remove_folder(parent)
            if staging is not None:
                _make_folder(staging, f"{_FOLDERS}/{parent}", was)
        except OSError:
            return


def restore_parents(tree: OpenTree, path: str, staging: OpenTree) -> None:
    """Those that were removed, as they were."""
    for parent in reversed(parents(path)):
        if tree.lstat(parent) is None and staging.lstat(f"{_FOLDERS}/{parent}") is not None:
            with staging.subfolder(f"{_FOLDERS}/{parent}") as kept:
                _make_folder(tree, parent, file_metadata.read_metadata(kept.fd))


def _make_folder(tree: OpenTree, name: str, was: file_metadata.FileMetadata) -> None:
    with contextlib.suppress(FileExistsError), tree.parent(name, create=True) as (at, last):
        os.mkdir(last, dir_fd=at)
    with tree.subfolder(name) as folder:
        file_metadata.give_metadata(folder.fd, was, owner_may_differ=True)


def parents(path: str) -> list[str]:
    """Innermost first, without the tree's top."""
    return [str(each) for each in PurePosixPath(path).parents][:-1]
