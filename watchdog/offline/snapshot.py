"""Snapshots: what a target is before a deploy, so that one command undoes the deploy: a tag, and files byte for byte.

A snapshot is a folder ``snapshots/NAME`` with copies of files and, written last, ``snapshot.json``. Without that it is
none: what a crash left half-made is made anew. They lie in the watchdog's own state folder; whatever is read of the bot's
folders, or done in them, its owner does (`snapshot_target`).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from watchdog.actions import GitAction
from watchdog.core.errors import ActionError, WatchdogError
from watchdog.core.executor import CallOwner, DirectExecutor, Executor
from watchdog.core.model import JsonObject, Millis
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.documents.problems import unknown_name
from watchdog.host import atomic_file, file_state
from watchdog.host.private_folder import create_private_file, make_private_folders
from watchdog.offline import snapshot_target
from watchdog.plans.models import Halt, Repair, all_steps
from watchdog.rollback import backup
from watchdog.rollback.backup import SavedFile

_NAME = re.compile(r"(?!.*(\.\.|\.lock$|\.$))[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_DIRECTLY = DirectExecutor()
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


def flag_files(plans: Iterable[Halt | Repair], target: Target, executor: Executor = _DIRECTLY) -> list[Path]:
    """The files in which plans set flags of this target, as far as they are there."""
    steps = tuple(step for plan in plans for step in all_steps(plan) if step.runs_as_owner)
    return executor.call(target, snapshot_target.find_flag_files, steps, target.location())


def take(
    folder: Path,
    name: str,
    target: str,
    location: Target,
    paths: Sequence[Path],
    now: Millis,
    executor: Executor = _DIRECTLY,
) -> Snapshot:
    """Saves `paths` and every tracked file that is edited and not committed, and tags the commit.

    Raises WatchdogError: the name is taken or cannot be a tag's, or something cannot be saved. Nothing is kept then.
    """
    _check_name(folder, name)
    call_owner = _as_owner(location, executor)
    files = call_owner(snapshot_target.resolve_files, tuple(paths))
    return _save(folder, name, target, location.repo, files, now, call_owner, tag=True)


def _check_name(folder: Path, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise WatchdogError(
            f"{name!r} cannot name a snapshot: letters, digits, and . _ + - in between, such as before-v3"
        )
    if (folder / name / "snapshot.json").exists():
        raise WatchdogError(f"there is a snapshot {name} already — give this one another name")


def _save(
    folder: Path,
    name: str,
    target: str,
    repo: str | None,
    files: Sequence[Path],
    now: Millis,
    call_owner: CallOwner,
    *,
    tag: bool,
) -> Snapshot:
    """`files`: full paths; of a link the link itself is meant."""
    snapshot_folder, touched, state = folder / name, [*files], None
    if repo is not None:
        state = call_owner(snapshot_target.read_repository, repo, name if tag else None)
        if state.tagged not in (None, state.head):
            raise WatchdogError(f"there is a tag {name} already, on {state.tagged[:10]} — give this one another name")
        touched += state.modified
    shutil.rmtree(snapshot_folder, ignore_errors=True)  # half of one
    try:
        make_private_folders(snapshot_folder)
        saved = tuple(backup.back_up(snapshot_folder, touched, None, call_owner))
        work_tree, head = (None, None) if state is None else (str(state.work_tree), state.head)
        snapshot = Snapshot(name, target, now, work_tree, head, saved)
        if tag and work_tree is not None:
            call_owner(snapshot_target.set_tag, work_tree, name, head)
        _write_manifest(snapshot_folder, snapshot)
    except (OSError, ActionError) as error:
        shutil.rmtree(snapshot_folder, ignore_errors=True)
        raise WatchdogError(f"no snapshot was taken: {error}") from None
    return snapshot


def pending_changes(snapshot: Snapshot, target: Target, executor: Executor = _DIRECTLY) -> tuple[str, list[FileChange]]:
    """What going back would do now: (diff of the commits, saved files that are other than they were). Blocks."""
    found = []
    for one in snapshot.saved:
        seen = executor.call(target, file_state.file_state, Path(one.path))
        if seen != one.was:
            what = "removed" if one.was["kind"] == "absent" else "made" if seen["kind"] == "absent" else "replaced"
            found.append(FileChange(one.path, what))
    if snapshot.repo is None or snapshot.commit is None:
        return "", found
    diff = executor.call(target, snapshot_target.diff_to, snapshot.repo, snapshot.commit)
    if diff is None:
        raise WatchdogError(
            f"{snapshot.repo} does not have the commit {snapshot.commit[:10]} of {snapshot.name} any more"
        )
    return diff, found


def restore(
    folder: Path, snapshot: Snapshot, target: Target, now: Millis, executor: Executor = _DIRECTLY
) -> tuple[str, str | None]:
    """The files of that commit as a new commit on top, and the saved files byte for byte.

    What is replaced is saved first, as a snapshot of its own: (what was done, its name, None when nothing was to do).
    Raises WatchdogError; then the files are as they were. Cut off in the middle, it can be asked for again.
    """
    call_owner = _as_owner(target, executor)
    went_on = _resume_interrupted(folder, snapshot, target, executor)
    stat, other = pending_changes(snapshot, target, executor)
    if not stat.strip() and not other:
        return went_on or "it is so already", None
    name = f"replaced-by-{snapshot.name}-{now}"[:100]
    replaced = [Path(one.path) for one in other if one.effect != "made"]
    aside = _save(folder, name, snapshot.target, snapshot.repo, replaced, now, call_owner, tag=False)
    done, under_way = [went_on] * bool(went_on), folder / aside.name / _IN_PROGRESS_FILE
    try:
        if snapshot.repo is not None and snapshot.commit is not None:
            # Git would refuse where files are edited that come back anyway.
            edited = {one.path for one in snapshot.saved} & {one.path for one in aside.saved}
            call_owner(snapshot_target.reset_edited_files, snapshot.repo, tuple(map(Path, sorted(edited))))
            back = _git_action(snapshot.commit, snapshot.repo, target, executor)
            captured = back.capture()
            if back.commit_range(captured) is not None:
                _write_json(under_way, {"to": snapshot.commit, "before": captured})
                done.append(back.apply(captured, f"snapshot {snapshot.name}"))
                under_way.unlink()
        for one in snapshot.saved:
            if call_owner(file_state.file_state, Path(one.path)) != one.was:
                _restore_file(one, call_owner)
                done.append(f"{one.path} is as it was")
    except (OSError, ActionError) as error:
        if not getattr(error, "may_have_happened", False):
            under_way.unlink(missing_ok=True)
        for one in aside.saved:
            _restore_file(one, call_owner)
        raise WatchdogError(f"not restored: {error}") from None
    return "; ".join(done), aside.name


def _as_owner(target: Target, executor: Executor) -> CallOwner:
    return lambda function, *args: executor.call(target, function, *args)


def _restore_file(one: SavedFile, call_owner: CallOwner) -> None:
    backup.restore_file(Path(one.path), one.was, one.copy, call_owner=call_owner)


def _git_action(commit: str, repo: str, target: Target, executor: Executor) -> Action:
    """Back to `commit` in the work tree `repo`, with the rights of who owns the target: an owner's answer, as `repo` is
    one, does not decide whose rights those are."""
    back = GitAction(do="git", to=commit).bind(target.model_copy(update={"repo": repo}))
    return executor.act_as_owner(back, target)


def _resume_interrupted(folder: Path, snapshot: Snapshot, target: Target, executor: Executor) -> str:
    """Ends what an earlier way back was killed in: half of its files are those of the new commit. What it did; or nothing."""
    done = ""
    for under_way in sorted(folder.glob(f"*/{_IN_PROGRESS_FILE}")):
        try:
            cut_off = _load_manifest(under_way.parent)
            if cut_off.repo is None or (cut_off.target, cut_off.repo) != (snapshot.target, snapshot.repo):
                continue
            note = json.loads(under_way.read_bytes())
            captured, back = note["before"], _git_action(note["to"], cut_off.repo, target, executor)
            if back.state(captured) == "before":
                done = back.apply(captured, "a snapshot's way back that was cut off")
            under_way.unlink()
        except ActionError as error:
            raise WatchdogError(f"an earlier way back was cut off, and cannot be gone on with: {error}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WatchdogError(f"{under_way} cannot be read: {error} — move it away") from None
    return done


def _write_manifest(folder: Path, snapshot: Snapshot) -> None:
    _write_json(folder / "snapshot.json", {**snapshot._asdict(), "saved": [one._asdict() for one in snapshot.saved]})


def _write_json(path: Path, content: JsonObject) -> None:
    part = path.with_suffix(".part")
    create_private_file(part)
    part.write_text(json.dumps(content))
    part.replace(path)
    atomic_file.fsync_directory(path.parent)


def _load_manifest(folder: Path) -> Snapshot:
    try:
        content: dict[str, Any] = json.loads((folder / "snapshot.json").read_bytes())
        return Snapshot(**{**content, "saved": tuple(SavedFile(**one) for one in content["saved"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WatchdogError(f"{folder / 'snapshot.json'} cannot be read: {error} — move it away") from None
