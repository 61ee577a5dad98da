"""The folders above a file of a work tree: git keeps no empty ones, and knows nothing of their rights."""

from __future__ import annotations

import contextlib
import os
from pathlib import PurePosixPath

from watchdog.actions.git.open_tree import OpenTree
from watchdog.host import file_metadata

_FOLDERS = "folders"
"""Within the staging folder: empty ones, which stand for those of the tree that went."""


def remove_empty_parents(tree: OpenTree, path: str, staging: OpenTree | None = None) -> None:
    """Git keeps no empty folders. In `staging` each leaves an empty one with its rights and lists, until all is done."""
    for parent in parents_within(path):
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
    for parent in reversed(parents_within(path)):
        if tree.lstat(parent) is None and staging.lstat(f"{_FOLDERS}/{parent}") is not None:
            with staging.subfolder(f"{_FOLDERS}/{parent}") as kept:
                _make_folder(tree, parent, file_metadata.read_metadata(kept.fd))


def _make_folder(tree: OpenTree, name: str, was: file_metadata.FileMetadata) -> None:
    with contextlib.suppress(FileExistsError), tree.parent(name, create=True) as (at, last):
        os.mkdir(last, dir_fd=at)
    with tree.subfolder(name) as folder:
        file_metadata.give_metadata(folder.fd, was, owner_may_differ=True)


def parents_within(path: str) -> list[str]:
    """Innermost first, without the tree's top."""
    return [str(each) for each in PurePosixPath(path).parents][:-1]
