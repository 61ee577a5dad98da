"""Undo: the files of an incident as they were before it. The tree, not the history: git gets one more commit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from watchdog.actions import GitAction
from watchdog.actions.git import repository
from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.executor import Executor
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action, CommitRange, CompletedStep, NeededFiles, StepState
from watchdog.core.target import Target
from watchdog.host import file_state
from watchdog.host.file_metadata import describe_lost
from watchdog.journal.backups import FileBackup
from watchdog.journal.storage import Journal
from watchdog.plans.done_steps import done_steps
from watchdog.rollback import backup

_GIT_TIMEOUT_MS = 25_000


class UndoStep(ActionModel):
    """One file, as it was before the incident. Never written in a plan: undo makes it."""

    persistent: ClassVar[bool] = True

    do: Literal["undo"] = "undo"
    path: str
    was: dict[str, Any]
    copy_of: str | None
    left: dict[str, Any]
    """What the last step of the incident made of it: anything else is somebody's work, and stays."""
    repo: str | None

    @property
    def input_file(self) -> Path | None:
        return None if self.copy_of is None else Path(self.copy_of)

    def with_input_file(self, path: Path) -> UndoStep:
        return self.model_copy(update={"copy_of": str(path)})

    def describe(self) -> str:
        return f"{'remove' if self.was['kind'] == 'absent' else 'put back'} {self.path}"

    def needed_files(self, captured: JsonObject | None = None) -> NeededFiles:  # noqa: ARG002
        return NeededFiles((Path(self.path),), self.repo)

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"seen": what is there}``. Raises ActionError when somebody else changed it since."""
        seen = file_state.file_state(Path(self.path))
        if not (
            file_state.same_content(seen, self.was)
            or file_state.same_content(seen, self.left)
            or self._matches_head(seen)
        ):
            raise ActionError(f"{self.path} was changed since by somebody else — look at it, it is left as it is")
        return {"seen": seen}

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:  # noqa: ARG002
        return (Path(self.path),)

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        lost = backup.restore_file(Path(self.path), self.was, self.copy_of, captured["seen"])
        return f"{self.describe()}{describe_lost(lost)}"

    def state(self, captured: JsonObject) -> StepState:
        try:
            seen = file_state.file_state(Path(self.path))
        except ActionError:
            return "unknown"
        if file_state.is_as(seen, self.was):
            return "after"
        return "before" if file_state.same_content(seen, captured["seen"]) else "other"

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:  # noqa: ARG002
        if file_state.same_content(file_state.file_state(Path(self.path)), self.was):
            return {}
        return {self.path: f"{self.path} was changed since"}

    def _matches_head(self, seen: JsonObject) -> bool:
        """Undo's own commit put it there: it is what HEAD says."""
        if self.repo is None or not Path(self.path).is_relative_to(self.repo):
            return False
        repo = repository.open_repository(self.repo, _GIT_TIMEOUT_MS)
        name = str(Path(self.path).relative_to(self.repo))
        if not repo.git("ls-tree", "HEAD", "--", name).stdout.strip():
            return bool(seen["kind"] == "absent")
        content = repository.file_content(repo, repository.resolve_head(repo), name)
        return bool(seen.get("sha") == hashlib.sha256(content).hexdigest())


def undo_steps(journal: Journal, incident: int) -> list[Action]:
    """What undoes an incident, in order; the same whenever it is asked. Empty: nothing was saved, or it is undone."""
    commits = _commit_ranges(journal, incident)
    reverts = [GitAction(do="git", to=commit.old, repo=repo) for repo, commit in commits.items()]
    return [*reverts, *_file_steps(journal, incident, commits)]


def _file_steps(journal: Journal, incident: int, repos: Iterable[str]) -> list[UndoStep]:
    """One for each file that was saved: as it was before the incident's first step that touched it."""
    oldest: dict[str, FileBackup] = {}
    for row in journal.backups.list_for_incident(incident):
        oldest.setdefault(row.path, row)
    return [
        UndoStep(path=path, was=row.was, copy_of=row.copy, left=row.now or row.was, repo=_innermost_repo(path, repos))
        for path, row in sorted(oldest.items())
    ]


def _innermost_repo(path: str, repos: Iterable[str]) -> str | None:
    """The innermost of the work trees that hold the path."""
    return max((repo for repo in repos if Path(path).is_relative_to(repo)), key=len, default=None)


def find_commit_conflict(repo: str, old: str, new: str) -> str | None:
    """Why a work tree in which an incident made commits, from `old` to `new`, cannot go back; None: it can."""
    found = repository.open_repository(repo, _GIT_TIMEOUT_MS)
    head = repository.resolve_head(found)
    if head == new or repository.resolve_tree(found, head) == repository.resolve_tree(found, old):
        return None
    return (
        f"{repo} has had commits since: {head[:10]} stands where {new[:10]} was left — "
        "undo those first, or go back with git"
    )


def check_undoable(journal: Journal, incident: int, executor: Executor, location: Target) -> None:
    """Blocks. Raises ActionError when somebody else has changed what would be undone: then nothing is touched."""
    conflicts = []
    for path, commit in _commit_ranges(journal, incident).items():
        if conflict := executor.call(location, find_commit_conflict, path, commit.old, commit.new):
            conflicts.append(conflict)
    for step in _file_steps(journal, incident, ()):
        try:
            executor.act_as_owner(step, location).capture()
        except ActionError as error:
            conflicts.append(str(error))
        if step.copy_of is not None and not Path(step.copy_of).is_file():
            conflicts.append(f"what was saved of {step.path} is not kept any more")
    if conflicts:
        raise ActionError("; ".join(conflicts))


def _commit_ranges(journal: Journal, incident: int) -> dict[str, CommitRange]:
    """For each work tree in which the incident made commits; a plan's steps may name several."""
    found: dict[str, CommitRange] = {}
    for run in journal.runs.list_for_incident(incident):
        for _, action, captured in done_steps(run, journal.runs.list_steps(run.id)):
            if made := action.commit_range(captured):
                found[made.repo] = made._replace(old=found.get(made.repo, made).old)
    return found
