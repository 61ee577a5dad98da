"""Our own edits of values in files that a commit changes, and other people's, which are left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from watchdog.actions.git.repository import PathChange, Repository, file_content
from watchdog.actions.git.worktree_entries import worktree_entries, worktree_file
from watchdog.actions.git.worktree_update import (
    MAX_EDITED_FILE,
    KeptEdits,
    apply_edits,
)
from watchdog.actions.values.located_value import Value


def find_own_edits(
    repo: Repository,
    old: str,
    new: str,
    changes: Sequence[PathChange],
    edits_by_path: Mapping[str, Sequence[tuple[Mapping[str, Value], bool]]],
) -> tuple[dict[str, KeptEdits], list[str]]:
    """For each path that changes and holds nothing but our own edits of values: those that stand, and what comes of them.

    `edits_by_path`: our edits of values in order, and whether each stands."""
    edits: dict[str, KeptEdits] = {}
    dropped: list[str] = []
    for path, ours in edits_by_path.items():
        change = next((change for change in changes if change.path == path), None)
        if change is None or change.old_entry is None:
            continue
        there = worktree_file(repo, path, MAX_EDITED_FILE)
        if there is None:
            continue
        all_of_them, _ = apply_edits(file_content(repo, old, path), path, [v for v, _ in ours])
        if all_of_them != there:
            continue  # somebody else's edits are among them: refused below, by name
        seen = worktree_entries(repo, [path])[path]
        stand = [values for values, stands in ours if stands]
        if change.new_entry is None:
            edits[path] = KeptEdits([], seen, None)
            dropped += [name for values in stand for name in values]
            continue
        content, missing = apply_edits(file_content(repo, new, path), path, stand)
        blob = repo.git("hash-object", "--stdin", f"--path={path}", data=content).stdout.strip()
        kept = [{n: v for n, v in values.items() if n not in missing} for values in stand]
        edits[path] = KeptEdits([values for values in kept if values], seen, f"{change.new_entry.split()[0]} {blob}")
        dropped += missing
    return edits, sorted(set(dropped))
