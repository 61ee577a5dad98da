"""Snapshots: what a target is before a deploy, so that one command undoes the deploy: a tag, and files byte for byte.

A snapshot is a folder ``snapshots/NAME`` with copies of files and, written last, ``snapshot.json``. Without that it is
none: what a crash left half-made is made anew.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from watchdog.actions import GitAction
from watchdog.actions.git import repository
from watchdog.actions.git.repository import Repository
from watchdog.core.errors import ActionError, WatchdogError
from watchdog.core.model import JsonObject, Millis
from watchdog.core.target import Target
from watchdog.documents.problems import unknown_name
from watchdog.host import atomic_file, file_state
from watchdog.plans.models import Halt, Repair, all_steps
from watchdog.rollback import backup
from watchdog.rollback.backup import SavedFile

_NAME = re.compile(r"(?!.*(\.\.|\.lock$|\.$))[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_GIT_TIMEOUT_MS = 60_000
_IN_PROGRESS_FILE = "under-way.json"
"""In the folder of what a way back replaces: the commit that it is making, so that one that is killed can be gone on with."""


class Snapshot(NamedTuple):
    name: str
    target: str
    taken: Millis
    repo: str | None
    commit: str | None
    """What was checked out; the tag of the same name is on it."""
    saved: tuple[SavedFile, ...]
    """Files with their bytes, mode and owner."""


class FileChange(NamedTuple):
    """What going back would do to one file."""

    path: str
    effect: str
    """`replaced`, `made` or `removed`."""


def listing(folder: Path) -> list[Snapshot]:
    """All that there are, the newest first."""
    found = [_load_manifest(path.parent) for path in folder.glob("*/snapshot.json")]
    return sorted(found, key=lambda one: one.taken, reverse=True)


def find(folder: Path, name: str) -> Snapshot:
    """Raises WatchdogError when there is none of that name."""
    if not _NAME.fullmatch(name) or not (folder / name / "snapshot.json").is_file():
        raise WatchdogError(unknown_name("snapshot", name, [one.name for one in listing(folder)]))
    return _load_manifest(folder / name)


def flag_files(plans: Iterable[Halt | Repair], target: Target) -> list[Path]:
    """The files in which plans set flags of this target, as far as they are there."""
    found: list[Path] = []
    for step in (step for plan in plans for step in all_steps(plan)):
        with contextlib.suppress(ActionError):  # a step of a plan for another target
            found += [path for path in step.bind(target).value_edits() if path.is_file() and path not in found]
    return found


def take(
    folder: Path, name: str, target: str, location: Target, paths: Sequence[Path], now: Millis, *, tag: bool = True
) -> Snapshot:
    """Saves `paths` and every tracked file that is edited and not committed, and tags the commit.

    Raises WatchdogError: the name is taken or cannot be a tag's, or something cannot be saved. Nothing is kept then.
    """
    if not _NAME.fullmatch(name):
        raise WatchdogError(
            f"{name!r} cannot name a snapshot: letters, digits, and . _ + - in between, such as before-v3"
        )
    snapshot_folder = folder / name
    if (snapshot_folder / "snapshot.json").exists():
        raise WatchdogError(f"there is a snapshot {name} already — give this one another name")
    for path in paths:
        if not path.exists():
            raise WatchdogError(f"there is no file {path} to save — name it relative to the target's repo")
    repo = None if location.repo is None else repository.open_repository(location.repo, _GIT_TIMEOUT_MS)
    commit = None if repo is None else repository.resolve_head(repo)
    if repo is not None and tag:
        tagged_commit = repo.git_line(
            "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}", ok=(0, 1, 128)
        )
        if tagged_commit not in ("", commit):
            raise WatchdogError(f"there is a tag {name} already, on {tagged_commit[:10]} — give this one another name")
    shutil.rmtree(snapshot_folder, ignore_errors=True)  # half of one
    touched = [*(path.resolve() for path in paths), *(_modified_files(repo) if repo is not None else ())]
    try:
        snapshot_folder.mkdir(parents=True, mode=0o700)
        saved = backup.back_up(snapshot_folder, touched, None)
        snapshot = Snapshot(name, target, now, None if repo is None else str(repo.work_tree), commit, tuple(saved))
        if repo is not None and commit is not None and tag:
            repo.git("update-ref", f"refs/tags/{name}", commit)
        _write_manifest(snapshot_folder, snapshot)
    except (OSError, ActionError) as error:
        shutil.rmtree(snapshot_folder, ignore_errors=True)
        raise WatchdogError(f"no snapshot was taken: {error}") from None
    return snapshot


def pending_changes(snapshot: Snapshot) -> tuple[str, list[FileChange]]:
    """What going back would do now: (diff of the commits, saved files that are other than they were). Blocks."""
    found = []
    for one in snapshot.saved:
        seen = file_state.file_state(Path(one.path))
        if seen != one.was:
            what = "removed" if one.was["kind"] == "absent" else "made" if seen["kind"] == "absent" else "replaced"
            found.append(FileChange(one.path, what))
    if snapshot.repo is None or snapshot.commit is None:
        return "", found
    repo = repository.open_repository(snapshot.repo, _GIT_TIMEOUT_MS)
    _require_commit(repo, snapshot)
    diff = repo.git(
        "diff", "--no-color", "--no-ext-diff", "--stat", repository.resolve_head(repo), snapshot.commit
    ).stdout
    return diff, found


def restore(folder: Path, snapshot: Snapshot, target: Target, now: Millis) -> tuple[str, str | None]:
    """The files of that commit as a new commit on top, and the saved files byte for byte.

    What is replaced is saved first, as a snapshot of its own: (what was done, its name, None when nothing was to do).
    Raises WatchdogError; then the files are as they were. Cut off in the middle, it can be asked for again.
    """
    location = target.model_copy(update={"repo": snapshot.repo})
    went_on = _resume_interrupted(folder, location)
    stat, other = pending_changes(snapshot)
    if not stat.strip() and not other:
        return went_on or "it is so already", None
    replaced = [Path(one.path) for one in other if one.effect != "made"]
    replaced_snapshot = take(
        folder, f"replaced-by-{snapshot.name}-{now}"[:100], snapshot.target, location, replaced, now, tag=False
    )
    done, under_way = [went_on] * bool(went_on), folder / replaced_snapshot.name / _IN_PROGRESS_FILE
    try:
        if snapshot.repo is not None and snapshot.commit is not None:
            _reset_edited_files(snapshot, replaced_snapshot)
            back = GitAction(do="git", to=snapshot.commit).bind(location)
            captured = back.capture()
            if back.commit_range(captured) is not None:
                _write_json(under_way, {"to": snapshot.commit, "before": captured})
                done.append(back.apply(captured, f"snapshot {snapshot.name}"))
                under_way.unlink()
        for one in snapshot.saved:
            if file_state.file_state(Path(one.path)) != one.was:
                backup.restore_file(Path(one.path), one.was, one.copy)
                done.append(f"{one.path} is as it was")
    except (OSError, ActionError) as error:
        if not getattr(error, "may_have_happened", False):
            under_way.unlink(missing_ok=True)
        for one in replaced_snapshot.saved:
            backup.restore_file(Path(one.path), one.was, one.copy)
        raise WatchdogError(f"not restored: {error}") from None
    return "; ".join(done), replaced_snapshot.name


def _resume_interrupted(folder: Path, location: Target) -> str:
    """Ends what an earlier way back was killed in: half of its files are those of the new commit. What it did; or nothing."""
    done = ""
    for under_way in sorted(folder.glob(f"*/{_IN_PROGRESS_FILE}")):
        try:
            note = json.loads(under_way.read_bytes())
            captured, back = note["before"], GitAction(do="git", to=note["to"])
            made = back.commit_range(captured)
            if location.repo is None or made is None or Path(made.repo) != Path(location.repo):
                continue
            back = back.bind(location)
            if back.state(captured) == "before":
                done = back.apply(captured, "a snapshot's way back that was cut off")
            under_way.unlink()
        except ActionError as error:
            raise WatchdogError(f"an earlier way back was cut off, and cannot be gone on with: {error}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WatchdogError(f"{under_way} cannot be read: {error} — move it away") from None
    return done


def _reset_edited_files(snapshot: Snapshot, replaced_snapshot: Snapshot) -> None:
    """Saved files that are edited now get HEAD's content for a moment, or git would refuse: the edits are in
    `replaced_snapshot`."""
    repo = repository.open_repository(snapshot.repo, _GIT_TIMEOUT_MS)
    mine = {Path(one.path) for one in snapshot.saved} & {Path(one.path) for one in replaced_snapshot.saved}
    for path in mine & set(_modified_files(repo)):
        if path.is_file():
            atomic_file.replace_file(
                path,
                repository.file_content(repo, repository.resolve_head(repo), str(path.relative_to(repo.work_tree))),
            )


def _modified_files(repo: Repository) -> list[Path]:
    """Tracked files that are not as HEAD has them."""
    raw = repo.git("diff", "--name-only", "--no-renames", "-z", "--ignore-submodules", "HEAD").stdout_bytes
    return [repo.work_tree / name for name in raw.decode("utf-8", "surrogateescape").split("\0") if name]


def _require_commit(repo: Repository, snapshot: Snapshot) -> None:
    if snapshot.commit is None or not repository.has_commit(repo, snapshot.commit):
        raise WatchdogError(
            f"{snapshot.repo} does not have the commit {(snapshot.commit or '')[:10]} of {snapshot.name} any more"
        )


def _write_manifest(folder: Path, snapshot: Snapshot) -> None:
    _write_json(folder / "snapshot.json", {**snapshot._asdict(), "saved": [one._asdict() for one in snapshot.saved]})


def _write_json(path: Path, content: JsonObject) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(path)
    atomic_file.fsync_directory(path.parent)


def _load_manifest(folder: Path) -> Snapshot:
    try:
        content: dict[str, Any] = json.loads((folder / "snapshot.json").read_bytes())
        return Snapshot(**{**content, "saved": tuple(SavedFile(**one) for one in content["saved"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WatchdogError(f"{folder / 'snapshot.json'} cannot be read: {error} — move it away") from None
