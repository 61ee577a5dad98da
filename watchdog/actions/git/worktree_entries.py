"""What the files of a work tree look like, as git would keep them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable

from watchdog.actions.git.open_tree import OpenTree
from watchdog.actions.git.repository import Repository, TreeEntry, resolve_head
from watchdog.core.errors import ActionError


def worktree_entries(
    repo: Repository, paths: Iterable[str], *, unfiltered: bool = False
) -> dict[str, TreeEntry | None]:
    """What the work tree has at these paths now, as git would keep it. A folder there counts as nothing.

    `unfiltered`: the very bytes, without line ends and filters. A file that a commit has with CRLF is left so by git.
    """
    seen: dict[str, TreeEntry | None] = {}
    regular: list[str] = []
    id_length = 0
    try:
        with OpenTree.open(repo.work_tree) as tree:
            for path in paths:
                found = tree.lstat(path)
                if found is None or stat.S_ISDIR(found.st_mode):
                    seen[path] = None
                elif stat.S_ISLNK(found.st_mode):
                    id_length = id_length or len(resolve_head(repo))
                    seen[path] = f"120000 {_blob_id(os.fsencode(tree.readlink(path)), id_length)}"
                elif stat.S_ISREG(found.st_mode):
                    seen[path] = "100755" if found.st_mode & stat.S_IXUSR else "100644"
                    regular.append(path)
                else:
                    seen[path] = "special file"
    except OSError as problem:
        raise ActionError(f"{problem.filename or repo.work_tree} cannot be looked at: {problem.strerror}") from None
    if regular:
        names = b"".join(os.fsencode(path) + b"\n" for path in regular)
        plain = ["--no-filters"] if unfiltered else []
        ids = repo.git("hash-object", *plain, "--stdin-paths", data=names).stdout.split()
        for path, blob in zip(regular, ids, strict=True):
            seen[path] = f"{seen[path]} {blob}"
    return seen


def worktree_file(repo: Repository, path: str, limit: int) -> bytes | None:
    """The first `limit` bytes of a regular file of the work tree; None where there is none that may be read."""
    try:
        with OpenTree.open(repo.work_tree) as tree:
            return tree.read(path, limit)
    except OSError:
        return None


def sparse_excluded(repo: Repository, paths: Iterable[str]) -> set[str]:
    """Those of the paths that are in the index and rightly not in the work tree: it is a sparse checkout."""
    with OpenTree.open(repo.work_tree) as tree:
        missing = {path for path in paths if tree.lstat(path) is None}
    if not missing:
        return set()
    listed = repo.git("ls-files", "-t", "-z").stdout_bytes.split(b"\0")
    return missing & {os.fsdecode(line[2:]) for line in listed if line.startswith(b"S ")}


def _blob_id(content: bytes, id_length: int) -> str:
    algorithm = hashlib.sha256 if id_length == 64 else lambda data: hashlib.sha1(data, usedforsecurity=False)
    return algorithm(b"blob %d\0" % len(content) + content).hexdigest()


def entries_match(repo: Repository, found: TreeEntry | None, entry: TreeEntry | None) -> bool:
    """Whether the work tree's entry is that one; a file system without modes is told by core.fileMode."""
    if found == entry or found is None or entry is None:
        return found == entry
    regular = found.startswith("100") and entry.startswith("100")
    return regular and found.split()[-1] == entry.split()[-1] and not _filemode_enabled(repo)


def _filemode_enabled(repo: Repository) -> bool:
    return repo.git_line("config", "--type=bool", "--default=true", "--get", "core.fileMode") == "true"
