"""Undo: the files of an incident as they were before it. The tree, not the history: git gets one more commit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from watchdog.actions import Git, repository
from watchdog.actions.plan import read_plan, steps_of
from watchdog.journal import Journal, runs, saved
from watchdog.journal.saved import Row
from watchdog.model import ActionError, Done, Json, State, StepPart
from watchdog.rollback import backup

_GIT_MS = 25_000


class PutBack(StepPart):
    """One file, as it was before the incident. Never written in a plan: undo makes it."""

    lasting: ClassVar[bool] = True

    path: str
    was: dict[str, Any]
    copy_of: str | None
    left: dict[str, Any]
    """What the last step of the incident made of it: anything else is somebody's work, and stays."""
    repo: str | None
    timeout: int = 60_000

    def at(self, target: object) -> PutBack:  # noqa: ARG002
        return self

    def say(self) -> str:
        return f"{'remove' if self.was['kind'] == 'absent' else 'put back'} {self.path}"

    def before(self, done: Sequence[Done] = ()) -> Json:  # noqa: ARG002
        """``{"seen": what is there}``. Raises ActionError when somebody else changed it since."""
        seen = backup.standing(Path(self.path))
        if not (backup.same(seen, self.was) or backup.same(seen, self.left) or self._is_of_git(seen)):
            raise ActionError(f"{self.path} was changed since by somebody else — look at it, it is left as it is")
        return {"seen": seen}

    def touches(self, before: Json) -> tuple[Path, ...]:  # noqa: ARG002
        return (Path(self.path),)

    def preview(self, before: Json) -> str:  # noqa: ARG002
        return f"{self.say()}\n"

    def apply(self, before: Json, key: str, incident: Json | None = None) -> str:  # noqa: ARG002
        if not backup.same(backup.standing(Path(self.path)), before["seen"]):
            raise ActionError(f"{self.path} was changed by somebody else in the meantime — look at it")
        backup.put_back(Path(self.path), self.was, self.copy_of)
        return self.say()

    def state(self, before: Json) -> State:
        try:
            seen = backup.standing(Path(self.path))
        except ActionError:
            return "unknown"
        if seen == self.was:
            return "after"
        return "before" if backup.same(seen, before["seen"]) else "other"

    def _is_of_git(self, seen: Json) -> bool:
        """Undo's own commit put it there: it is what HEAD says."""
        if self.repo is None or not Path(self.path).is_relative_to(self.repo):
            return False
        repo = repository.repository(self.repo, _GIT_MS)
        name = str(Path(self.path).relative_to(self.repo))
        if not repo.git("ls-tree", "HEAD", "--", name).out.strip():
            return bool(seen["kind"] == "absent")
        content = repository.content_of(repo, repository.head_of(repo), name)
        return bool(seen.get("sha") == hashlib.sha256(content).hexdigest())


def steps(journal: Journal, incident: int) -> list[Any]:
    """What undoes an incident, in order; the same whenever it is asked. Empty: nothing was saved, or it is undone."""
    rows = saved.of_incident(journal, incident)
    commits = _commits(journal, incident)
    made: list[Any] = [Git(do="git", to=commit.old, repo=repo) for repo, commit in commits.items()]
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.path, row)
    made += [
        PutBack(path=path, was=row.was, copy_of=row.copy, left=row.now or row.was, repo=_repo_of(path, commits))
        for path, row in sorted(first.items())
    ]
    return made


def _repo_of(path: str, repos: Iterable[str]) -> str | None:
    """The innermost of the work trees that hold the path."""
    return max((repo for repo in repos if Path(path).is_relative_to(repo)), key=len, default=None)


def check(journal: Journal, incident: int) -> None:
    """Blocks. Raises ActionError when somebody else has changed what would be undone: then nothing is touched."""
    wrong = []
    for path, commit in _commits(journal, incident).items():
        repo = repository.repository(path, _GIT_MS)
        head = repository.head_of(repo)
        if head != commit.new and repository.tree_of(repo, head) != repository.tree_of(repo, commit.old):
            wrong.append(
                f"{path} has had commits since: {head[:10]} stands where {commit.new[:10]} was left — "
                "undo those first, or go back with git"
            )
    for step in steps(journal, incident):
        if isinstance(step, PutBack):
            try:
                step.model_copy(update={"repo": None}).before()
            except ActionError as error:
                wrong.append(str(error))
            if step.copy_of is not None and not Path(step.copy_of).is_file():
                wrong.append(f"what was saved of {step.path} is not kept any more")
    if wrong:
        raise ActionError("; ".join(wrong))


class _Commits(NamedTuple):
    old: str
    """HEAD before the incident, and HEAD that it left."""
    new: str


def _commits(journal: Journal, incident: int) -> dict[str, _Commits]:
    """For each work tree in which the incident made commits; a plan's steps may name several."""
    found: dict[str, _Commits] = {}
    for run in runs.of_incident(journal, incident):
        if run.part == "undo":
            continue
        try:
            plan = read_plan(run.text)
        except ValueError:
            continue
        for row in runs.steps(journal, run.id):
            kinds = steps_of(plan, row.phase, row.level)
            if row.status != "done" or row.n >= len(kinds) or not isinstance(kinds[row.n], Git) or not row.before:
                continue
            if not row.before["already"]:
                repo = row.before["repo"]
                found[repo] = _Commits(found[repo].old if repo in found else row.before["old"], row.before["new"])
    return found
