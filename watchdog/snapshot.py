"""Snapshots: what a target is before a deploy, so that one command undoes the deploy: a tag, and files byte for byte.

A snapshot is a folder ``snapshots/NAME`` with copies of files and, written last, ``snapshot.json``. Without that it is
none: what a crash left half-made is made anew.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from watchdog.actions import Flag, Git, files, repository
from watchdog.actions.plan import Halt, Repair
from watchdog.actions.repository import Repository
from watchdog.config.problem import unknown
from watchdog.model import ActionError, Json, Millis, Target, WatchdogError
from watchdog.rollback import backup
from watchdog.rollback.backup import Saved

_NAME = re.compile(r"(?!.*(\.\.|\.lock$|\.$))[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_GIT_MS = 60_000
_UNDER_WAY = "under-way.json"
"""In the folder of what a way back replaces: the commit that it is making, so that one that is killed can be gone on with."""


class Snapshot(NamedTuple):
    name: str
    target: str
    taken: Millis
    repo: str | None
    commit: str | None
    """What was checked out; the tag of the same name is on it."""
    saved: tuple[Saved, ...]
    """Files with their bytes, mode and owner."""


class Change(NamedTuple):
    """What going back would do to one file."""

    path: str
    what: str
    """`replaced`, `made` or `removed`."""


def listing(folder: Path) -> list[Snapshot]:
    """All that there are, the newest first."""
    found = [_read(path.parent) for path in folder.glob("*/snapshot.json")]
    return sorted(found, key=lambda one: one.taken, reverse=True)


def find(folder: Path, name: str) -> Snapshot:
    """Raises WatchdogError when there is none of that name."""
    if not _NAME.fullmatch(name) or not (folder / name / "snapshot.json").is_file():
        raise WatchdogError(unknown("snapshot", name, [one.name for one in listing(folder)]))
    return _read(folder / name)


def flag_files(plans: Iterable[Halt | Repair], target: Target) -> list[Path]:
    """The files in which plans set flags of this target, as far as they are there."""
    found: list[Path] = []
    for plan in plans:
        rows = [
            *(level.steps for level in plan.levels),
            *((plan.before, plan.proven) if isinstance(plan, Repair) else ()),
        ]
        for step in (step for row in rows for step in row if isinstance(step, Flag)):
            path = Path(target.repo or "/", step.file)
            if path.is_file() and path not in found:
                found.append(path)
    return found


def take(
    folder: Path, name: str, target: str, place: Target, wanted: Sequence[Path], now: Millis, *, tag: bool = True
) -> Snapshot:
    """Saves `wanted` and every tracked file that is edited and not committed, and tags the commit.

    Raises WatchdogError: the name is taken or cannot be a tag's, or something cannot be saved. Nothing is kept then.
    """
    if not _NAME.fullmatch(name):
        raise WatchdogError(
            f"{name!r} cannot name a snapshot: letters, digits, and . _ + - in between, such as before-v3"
        )
    mine = folder / name
    if (mine / "snapshot.json").exists():
        raise WatchdogError(f"there is a snapshot {name} already — give this one another name")
    for path in wanted:
        if not path.exists():
            raise WatchdogError(f"there is no file {path} to save — name it relative to the target's repo")
    repo = None if place.repo is None else repository.repository(place.repo, _GIT_MS)
    commit = None if repo is None else repository.head_of(repo)
    if repo is not None and tag:
        there = repo.line("rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}", ok=(0, 1, 128))
        if there not in ("", commit):
            raise WatchdogError(f"there is a tag {name} already, on {there[:10]} — give this one another name")
    shutil.rmtree(mine, ignore_errors=True)  # half of one
    touched = [*(path.resolve() for path in wanted), *(_edited(repo) if repo is not None else ())]
    try:
        mine.mkdir(parents=True, mode=0o700)
        saved = backup.save(mine, touched, None)
        made = Snapshot(name, target, now, None if repo is None else str(repo.top), commit, tuple(saved))
        if repo is not None and commit is not None and tag:
            repo.git("update-ref", f"refs/tags/{name}", commit)
        _write(mine, made)
    except (OSError, ActionError) as error:
        shutil.rmtree(mine, ignore_errors=True)
        raise WatchdogError(f"no snapshot was taken: {error}") from None
    return made


def changes(made: Snapshot) -> tuple[str, list[Change]]:
    """What going back would do now: (diff of the commits, saved files that are other than they were). Blocks."""
    found = []
    for one in made.saved:
        seen = backup.standing(Path(one.path))
        if seen != one.was:
            what = "removed" if one.was["kind"] == "absent" else "made" if seen["kind"] == "absent" else "replaced"
            found.append(Change(one.path, what))
    if made.repo is None or made.commit is None:
        return "", found
    repo = repository.repository(made.repo, _GIT_MS)
    _there(repo, made)
    diff = repo.git("diff", "--no-color", "--no-ext-diff", "--stat", repository.head_of(repo), made.commit).out
    return diff, found


def restore(folder: Path, made: Snapshot, target: Target, now: Millis) -> tuple[str, str | None]:
    """The files of that commit as a new commit on top, and the saved files byte for byte.

    What is replaced is saved first, as a snapshot of its own: (what was done, its name, None when nothing was to do).
    Raises WatchdogError; then the files are as they were. Cut off in the middle, it can be asked for again.
    """
    place = target.model_copy(update={"repo": made.repo})
    went_on = _go_on(folder, place)
    stat, other = changes(made)
    if not stat.strip() and not other:
        return went_on or "it is so already", None
    replaced = [Path(one.path) for one in other if one.what != "made"]
    aside = take(folder, f"replaced-by-{made.name}-{now}"[:100], made.target, place, replaced, now, tag=False)
    said, under_way = [went_on] * bool(went_on), folder / aside.name / _UNDER_WAY
    try:
        if made.repo is not None and made.commit is not None:
            _committed(made, aside)
            back = Git(do="git", to=made.commit).at(place)
            before = back.before()
            if not before["already"]:
                _replace(under_way, {"to": made.commit, "before": before})
                said.append(back.apply(before, f"snapshot {made.name}"))
                under_way.unlink()
        for one in made.saved:
            if backup.standing(Path(one.path)) != one.was:
                backup.put_back(Path(one.path), one.was, one.copy)
                said.append(f"{one.path} is as it was")
    except (OSError, ActionError) as error:
        if not getattr(error, "may_have_happened", False):
            under_way.unlink(missing_ok=True)
        for one in aside.saved:
            backup.put_back(Path(one.path), one.was, one.copy)
        raise WatchdogError(f"not restored: {error}") from None
    return "; ".join(said), aside.name


def _go_on(folder: Path, place: Target) -> str:
    """Ends what an earlier way back was killed in: half of its files are those of the new commit. What it did; or nothing."""
    said = ""
    for under_way in sorted(folder.glob(f"*/{_UNDER_WAY}")):
        try:
            note = json.loads(under_way.read_bytes())
            if place.repo is None or Path(note["before"]["repo"]) != Path(place.repo):
                continue
            back = Git(do="git", to=note["to"]).at(place)
            if back.state(note["before"]) == "before":
                said = back.apply(note["before"], "a snapshot's way back that was cut off")
            under_way.unlink()
        except ActionError as error:
            raise WatchdogError(f"an earlier way back was cut off, and cannot be gone on with: {error}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WatchdogError(f"{under_way} cannot be read: {error} — move it away") from None
    return said


def _committed(made: Snapshot, aside: Snapshot) -> None:
    """Saved files that are edited now get HEAD's content for a moment: those edits are in `aside`, and git would refuse."""
    repo = repository.repository(made.repo, _GIT_MS)
    mine = {Path(one.path) for one in made.saved} & {Path(one.path) for one in aside.saved}
    for path in mine & set(_edited(repo)):
        if path.is_file():
            files.replace(path, repository.content_of(repo, repository.head_of(repo), str(path.relative_to(repo.top))))


def _edited(repo: Repository) -> list[Path]:
    """Tracked files that are not as HEAD has them."""
    raw = repo.git("diff", "--name-only", "--no-renames", "-z", "--ignore-submodules", "HEAD").raw
    return [repo.top / name for name in raw.decode("utf-8", "surrogateescape").split("\0") if name]


def _there(repo: Repository, made: Snapshot) -> None:
    if made.commit is None or not repository.known(repo, made.commit):
        raise WatchdogError(f"{made.repo} does not have the commit {(made.commit or '')[:10]} of {made.name} any more")


def _write(folder: Path, made: Snapshot) -> None:
    _replace(folder / "snapshot.json", {**made._asdict(), "saved": [one._asdict() for one in made.saved]})


def _replace(path: Path, said: Json) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(said))
    part.replace(path)
    files.sync_folder(path.parent)


def _read(folder: Path) -> Snapshot:
    try:
        said: dict[str, Any] = json.loads((folder / "snapshot.json").read_bytes())
        return Snapshot(**{**said, "saved": tuple(Saved(**one) for one in said["saved"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WatchdogError(f"{folder / 'snapshot.json'} cannot be read: {error} — move it away") from None
