"""Git: take a commit back, or bring files of a commit back. Always forward, by a new commit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from watchdog.actions import locks, repository, swap
from watchdog.actions.flag import Flag, listed
from watchdog.actions.marks import deployed_again, head, known_bad, last_good, mark_good, standing_reverts
from watchdog.actions.repository import Change, Repository
from watchdog.actions.scalars import Value
from watchdog.actions.swap import Edits, Plan
from watchdog.model import ActionError, Done, Duration, Json, Seq, State, StepPart, Target

__all__ = ["Git", "deployed_again", "head", "known_bad", "mark_good", "redeploy_hint", "standing_reverts"]

_LOOK_MS = 25_000
_BRANCH = re.compile(r"(?!.*(\.\.|@\{|//|\.lock$|/\.|\.$|/$))[A-Za-z0-9_][A-Za-z0-9_./@+-]*")
_DIFF = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--binary", "--full-index")


class Git(StepPart):
    """Makes one new commit that takes a bad one back. History is never rewritten; other people's edits stay."""

    lasting: ClassVar[bool] = True

    do: Literal["git"]
    revert: str | None = None
    """Commit, tag or branch to take back. Of a merge, all that it brought; what came on top of it stays."""
    to: str | None = None
    """Tag or commit whose files come back; `last-good` is the newest commit that was seen well."""
    files: Seq[str] = ()
    """Files or folders that come back as they were in `from`; everything else stays."""
    from_: Annotated[str | None, Field(alias="from")] = None
    """Tag or commit for `files`, or `last-good`."""
    branch: str | None = None
    """Emergency branch: the new commit goes there and HEAD with it, and the branch that was checked out stays as it is."""
    push: str | None = None
    """Remote that the branch is pushed to afterwards; that this failed is told, and no more. Nothing is pushed otherwise."""
    repo: str | None = None
    """The work tree, within the target's repo; the repo itself when not said."""
    timeout: Duration = 60_000
    """For all of it. What is not done by then is put back."""

    @field_validator("revert", "to", "from_", "branch", "push")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        if name is not None and (not name or name.startswith("-") or not name.isprintable() or " " in name):
            raise ValueError(f"{name!r} is no name of a commit, branch or remote")
        return name

    @field_validator("push")
    @classmethod
    def _no_secret(cls, remote: str | None) -> str | None:
        if remote is not None and re.search(r"://[^/@]*:[^/@]*@", remote):
            raise ValueError(
                "an address with a password would stand in the journal and in messages; name a remote, as origin"
            )
        return remote

    @model_validator(mode="after")
    def _one_verb(self) -> Git:
        if sum((self.revert is not None, self.to is not None, bool(self.files))) != 1:
            raise ValueError("say one of revert, to, files")
        if bool(self.files) != (self.from_ is not None):
            raise ValueError("files and from belong together: which files, and from which commit")
        for name in self.files:
            if not name or name.startswith("/") or ".." in Path(name).parts or Path(name) == Path():
                raise ValueError(f"{name!r} is no file of the repository; its path starts at the repository's top")
        if self.branch is not None and not _BRANCH.fullmatch(self.branch):
            raise ValueError(f"{self.branch!r} is no name of a branch such as emergency/hmm")
        return self

    def at(self, target: Target) -> Git:
        if self.repo is None and target.repo is None:
            raise ActionError("the target has no repo — give it one, or say repo: in the step")
        return self.model_copy(update={"repo": str(Path(target.repo or "", self.repo or ""))})

    def say(self) -> str:
        where = "" if self.branch is None else f" on branch {self.branch}"
        if self.files:
            return f"git restore {swap.listed(self.files, 3)} from {self.from_}{where}"
        return (f"git revert {self.revert}" if self.revert is not None else f"git back to {self.to}") + where

    def before(self, done: Sequence[Done] = ()) -> Json:
        """The new commit, made aside and thrown away again, and what it will do to which path; `apply` makes it again.

        ``{"repo", "old", "new", "target", "bad": commits, "already": bool, "changes": {path: [old entry, new entry]},
        "edits": {path: {"values": […], "old", "new"}}, "dropped": […], "branch": ref or null}``; an entry is git's mode
        and object id.
        """
        repo = repository.repository(self.repo, min(self.timeout, _LOOK_MS))
        repository.refuse_unfinished(repo)
        locks.refuse_locked(repo)
        with repository.aside(repo) as looking:
            return self._look(looking, done)

    def _look(self, repo: Repository, done: Sequence[Done]) -> Json:
        old = repository.head_of(repo)
        made = self._commit(repo, old, self._target(repo, old))
        note: Json = {"repo": str(repo.top), "old": old, "target": made.target, "bad": made.bad}
        if made.new is None:
            return {**note, "new": old, "already": True, "changes": {}, "edits": {}, "dropped": [], "branch": None}
        changes = repository.changes(repo, old, made.new)
        edits, dropped = _our_edits(repo, old, made.new, changes, done)
        _refuse_dirt(repo, Plan(old, made.new, made.bad, changes, edits))
        return {
            **note,
            "new": made.new,
            "already": False,
            "changes": {change.path: [change.old, change.new] for change in changes},
            "edits": {path: {**edit._asdict(), "values": list(edit.values)} for path, edit in edits.items()},
            "dropped": dropped,
            "branch": None if self.branch is None else _free_branch(repo, self.branch, made.new),
        }

    def touches(self, before: Json) -> tuple[Path, ...]:
        return tuple(Path(before["repo"], path) for path in before["changes"])

    def preview(self, before: Json) -> str:
        if before["already"]:
            return ""
        with repository.aside(repository.repository(before["repo"], _LOOK_MS)) as repo:
            self._again(repo, before)
            diff = repo.git("diff", *_DIFF, before["old"], before["new"]).out
        kept = [f"# kept in {path}: {listed(v)}\n" for path, edit in before["edits"].items() for v in edit["values"]]
        dropped = [f"# not in that version: {name}\n" for name in before["dropped"]]
        refs = [f"# on the new branch {before['branch']}\n"] if before["branch"] else []
        return "".join((diff, *kept, *dropped, *refs))

    def apply(self, before: Json, key: str, incident: Json | None = None) -> str:  # noqa: ARG002
        if before["already"]:
            return f"{self.say()}: nothing to change, it is so already"
        repo = repository.repository(before["repo"], self.timeout)
        plan = _plan(before)
        if repository.head_of(repo) != plan.new:
            self._again(repo, before)
            swap.swap(repo, plan, f"{key}: {self.say()}")
        kept = [listed(values) for edits in plan.edits.values() for values in edits.values]
        files = "1 file" if len(plan.changes) == 1 else f"{len(plan.changes)} files"
        return "".join(
            (
                f"{plan.old[:10]} → {plan.new[:10]}, {files}",
                f"; kept {', '.join(kept)}" if kept else "",
                f"; not in that version: {', '.join(before['dropped'])}" if before["dropped"] else "",
                f"; on {before['branch'].removeprefix(repository.HEADS)}" if before["branch"] else "",
                "" if self.push is None else f"; {repository.push(repo, self.push)}",
                f"; redeploy: {redeploy_hint(before)}",
            )
        )

    def state(self, before: Json) -> State:
        """Ends what a crash left open, too: an index lock of ours whose process is gone would keep everybody out."""
        if before["already"]:
            return "after"
        plan = _plan(before)
        try:
            repo = repository.repository(before["repo"], _LOOK_MS)
            now = repository.head_of(repo)
            moved = now == plan.new or (now != plan.old and repository.contains(repo, now, plan.new))
            still, _, neither = swap.standing(repo, plan)
            locks.clear_own(repo)
        except ActionError:
            return "unknown"
        if moved and not still and not neither:
            swap.tidy(repo)
            return "after"
        if moved:
            return "other"
        return "before" if now == plan.old and not neither else "other"

    def _target(self, repo: Repository, old: str) -> str:
        """The commit that the step names, as of now."""
        if self.revert is not None:
            return repository.commit_of(repo, self.revert)
        name = self.to or self.from_ or ""
        return last_good(repo, old) if name == "last-good" else repository.commit_of(repo, name)

    def _commit(self, repo: Repository, old: str, target: str) -> _Made:
        if self.revert is not None:
            return _reverted(repo, old, self.revert, target)
        tree = repository.with_files(repo, old, target, self.files) if self.files else repository.tree_of(repo, target)
        if tree == repository.tree_of(repo, old):
            return _Made(None, target, old)
        what = f"{swap.listed(self.files, 3)} from {self.from_}" if self.files else str(self.to)
        which = (
            f"These files are those of commit {target}:\n" + "\n".join(self.files)
            if self.files
            else (f"The files are those of commit {target}.")
        )
        message = f"Bring back {what}\n\n{which}\nThis replaces commit {old}.\n\n{_WHY}"
        return _Made(_new_commit(repo, tree, old, message), target, old)

    def _again(self, repo: Repository, before: Json) -> None:
        """The commit that `before` has seen. Its date follows from its parent, so it is the same to the last bit."""
        made = self._commit(repo, before["old"], before["target"])
        if made.new != before["new"]:
            raise ActionError(f"{self.say()} comes out differently now (another git?) — nothing was touched; try again")


class _Made(NamedTuple):
    new: str | None
    """None: it is so already."""
    target: str
    bad: str


_WHY = "Made by trading-watchdog; its journal names this commit and says why."


def redeploy_hint(before: Json) -> str:
    """The command that brings back what was taken back."""
    return f"git revert {before['new'][:12]}"


def _reverted(repo: Repository, old: str, name: str, bad: str) -> _Made:
    """A commit on top of `old` that undoes the named one: a three-way merge, so that what came later stays."""
    if not repository.contains(repo, old, bad):
        return _Made(None, bad, bad)  # it is not part of what runs
    parents = repo.line("rev-list", "--parents", "-n", "1", bad).split()[1:]
    if not parents:
        shallow = repo.line("rev-parse", "--is-shallow-repository") == "true"
        cure = "fetch more history (git fetch --unshallow)" if shallow else "there is nothing before it to go back to"
        raise ActionError(f"{name} has no parent here — {cure}")
    inverse = _new_commit(repo, repository.tree_of(repo, parents[0]), bad, "inverse")
    merged = repo.git("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", old, inverse, ok=(0, 1, 129))
    tree, *conflicts = [field for field in os.fsdecode(merged.raw).split("\0") if field] or [""]
    if merged.code == 129:
        raise ActionError("this git is too old to revert safely — install git 2.38 or newer")
    if merged.code == 1:
        raise ActionError(
            f"{name} cannot be taken back by itself: later commits changed the same lines of "
            f"{swap.listed(sorted(set(conflicts)))} — nothing was touched; go back further with to:"
        )
    if tree == repository.tree_of(repo, old):
        return _Made(None, bad, bad)
    subject = repo.line("show", "-s", "--format=%s", bad)
    reverts = f"This reverts commit {bad}"
    reverts += f", reversing\nchanges made to {parents[0]}." if len(parents) > 1 else "."
    message = f'Revert "{subject}"\n\n{reverts}\n\n{_WHY}'
    return _Made(_new_commit(repo, tree, old, message), bad, bad)


def _new_commit(repo: Repository, tree: str, parent: str, message: str) -> str:
    """A commit that nothing points to yet. The date follows from the parent, so the same asked twice is one commit."""
    date = f"{int(repo.line('show', '-s', '--format=%ct', parent)) + 1} +0000"
    env: dict[str, str | None] = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    return repo.git("commit-tree", tree, "-p", parent, data=f"{message}\n".encode(), env=env).out.strip()


def _plan(before: Json) -> Plan:
    changes = [Change(path, old, new) for path, (old, new) in before["changes"].items()]
    edits = {path: Edits(**edit) for path, edit in before["edits"].items()}
    return Plan(before["old"], before["new"], before["bad"], changes, edits, before.get("branch"))


def _free_branch(repo: Repository, name: str, commit: str) -> str:
    """The branch's ref; with a number behind it when an earlier night has taken the name."""
    for parent in list(Path(name).parents)[:-1]:
        if repo.line("rev-parse", "--verify", "--quiet", f"{repository.HEADS}{parent}", ok=(0, 1, 128)):
            raise ActionError(
                f"there is a branch {parent}, and so none can be called {name} — say another name in branch"
            )
    for number in range(1, 1000):
        ref = f"{repository.HEADS}{name}{f'-{number}' if number > 1 else ''}"
        there = repo.line("rev-parse", "--verify", "--quiet", ref, ok=(0, 1, 128))
        if there in ("", commit):
            return ref
    raise ActionError(f"there are a thousand branches {name} — delete some")


def _our_edits(
    repo: Repository, old: str, new: str, changes: Sequence[Change], done: Sequence[Done]
) -> tuple[dict[str, Edits], list[str]]:
    """For each path that changes and holds nothing but our own flag edits: those that stand, and what comes of them."""
    edits: dict[str, Edits] = {}
    dropped: list[str] = []
    for path, ours in _edits_in(repo.top, done).items():
        change = next((change for change in changes if change.path == path), None)
        if change is None or change.old is None or not (repo.top / path).is_file():
            continue
        all_of_them, _ = swap.with_edits(repository.content_of(repo, old, path), path, [v for v, _ in ours])
        if all_of_them != (repo.top / path).read_bytes():
            continue  # somebody else's edits are among them: refused below, by name
        seen = repository.working(repo, [path])[path]
        stand = [values for values, stands in ours if stands]
        if change.new is None:
            edits[path] = Edits([], seen, None)
            dropped += [name for values in stand for name in values]
            continue
        content, missing = swap.with_edits(repository.content_of(repo, new, path), path, stand)
        blob = repo.git("hash-object", "--stdin", f"--path={path}", data=content).out.strip()
        kept = [{n: v for n, v in values.items() if n not in missing} for values in stand]
        edits[path] = Edits([values for values in kept if values], seen, f"{change.new.split()[0]} {blob}")
        dropped += missing
    return edits, sorted(set(dropped))


def _edits_in(top: Path, done: Sequence[Done]) -> Mapping[str, list[tuple[Mapping[str, Value], bool]]]:
    """Per path, our flag edits in order and whether each stands. An earlier git step has dropped those that do not.

    One of another run has kept what stood in that run; it is in its own note.
    """
    found: dict[str, list[tuple[Mapping[str, Value], bool]]] = {}
    for step in done:
        action: Any = step.action
        if isinstance(action, Flag):
            file = Path(step.before["file"])
            if file.is_relative_to(top):
                found.setdefault(str(file.relative_to(top)), []).append((action.set, step.stands))
        elif isinstance(action, Git):
            for path in step.before["changes"]:
                kept = step.before["edits"].get(path, {}).get("values", ())
                found[path] = [edit for edit in found.get(path, []) if edit[1]] or [(values, False) for values in kept]
    return {path: edits for path, edits in found.items() if edits}


def _refuse_dirt(repo: Repository, plan: Plan) -> None:
    """Edits of other people in what the change touches are theirs: named, and left alone."""
    index = repository.staged(repo, plan.old)
    dirty = [change.path for change in plan.changes if change.path in index]
    untouched = swap.untouched(repo, plan)
    for change in plan.changes:
        old, new = swap.wanted(plan, change)
        if change.path not in untouched and old != new:
            dirty.append(change.path)
    if dirty:
        raise ActionError(
            f"edited or in the way, and not by us: {swap.listed(sorted(set(dirty)))} — commit, move or undo that first"
        )
