"""Git: take a commit back, or bring files of a commit back. Always forward, by a new commit."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from watchdog.actions.flag import format_assignments
from watchdog.actions.git import branches, index_lock, repository, worktree_update
from watchdog.actions.git.commit_refs import (
    BAD_REFS,
    LAST_GOOD,
    current_commit,
    last_good_commit,
    record_good_commit,
    redeployed_commits,
    reverting_commits,
    reverts_in_force,
    rolled_back_commits,
)
from watchdog.actions.git.commits import (
    COMMIT_TRAILER,
    PlannedCommit,
    Reverted,
    create_commit,
    describe_commits,
    find_reverted,
    revert_commits,
)
from watchdog.actions.git.deviations import describe_deviation
from watchdog.actions.git.findings import find_named
from watchdog.actions.git.own_edits import find_own_edits
from watchdog.actions.git.rehearsal import try_update
from watchdog.actions.git.repository import PathChange, Repository
from watchdog.actions.git.worktree_update import KeptEdits, WorktreeUpdate
from watchdog.actions.values.located_value import Value
from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError, MissingError
from watchdog.core.model import Duration, FrozenList, JsonObject, RepoPath
from watchdog.core.protocols import (
    CommitRange,
    CompletedStep,
    Copies,
    Finding,
    LastingChange,
    NeededFiles,
    NoopReason,
    StepState,
)
from watchdog.core.target import Target
from watchdog.host.file_metadata import describe_lost

__all__ = [
    "GitAction",
    "current_commit",
    "record_good_commit",
    "redeployed_commits",
    "reverts_in_force",
    "rolled_back_commits",
]

_QUERY_TIMEOUT_MS = 25_000
_TOKEN_PATTERN = re.compile(r"[0-9a-f]{16}")
_BRANCH_PATTERN = re.compile(r"(?!.*(\.\.|@\{|//|\.lock$|/\.|\.$|/$))[A-Za-z0-9_][A-Za-z0-9_./@+-]*")


class GitAction(ActionModel):
    """Makes one new commit that takes a bad one back. History is never rewritten; other people's edits stay."""

    persistent: ClassVar[bool] = True

    do: Literal["git"]
    revert: str | None = None
    """Commit, tag or branch to take back. Of a merge, all that it brought; what came on top of it stays."""
    to: str | None = None
    """Tag or commit whose files come back; `last-good` is the newest commit that was seen well."""
    files: FrozenList[str] = ()
    """Files or folders that come back as they were in `from`; everything else stays."""
    from_: Annotated[str | None, Field(alias="from")] = None
    """Tag or commit for `files`, or `last-good`."""
    branch: str | None = None
    """Emergency branch: the new commit goes there and HEAD with it, and the branch that was checked out stays as it is."""
    push: str | None = None
    """Remote that the branch is pushed to afterwards; that this failed is told, and no more. Nothing is pushed otherwise."""
    repo: RepoPath | None = None
    """The work tree, within the target's repo; the repo itself when not said."""
    timeout: Duration = 60_000
    """For all of it. What is not done by then is put back."""

    @field_validator("revert", "to", "from_", "branch", "push")
    @classmethod
    def _validate_ref_name(cls, name: str | None) -> str | None:
        if name is not None and (not name or name.startswith("-") or not name.isprintable() or " " in name):
            raise ValueError(f"{name!r} is no name of a commit, branch or remote")
        return name

    @field_validator("push")
    @classmethod
    def _validate_remote(cls, remote: str | None) -> str | None:
        if remote is not None and re.search(r"://[^/@:]*:[^/@]*@", remote):
            raise ValueError(
                "an address with a password would stand in the journal and in messages; name a remote, as origin"
            )
        return remote

    @model_validator(mode="after")
    def _validate_one_operation(self) -> GitAction:
        if sum((self.revert is not None, self.to is not None, bool(self.files))) != 1:
            raise ValueError("say one of revert, to, files")
        if bool(self.files) != (self.from_ is not None):
            raise ValueError("files and from belong together: which files, and from which commit")
        for name in self.files:
            if not name or name.startswith("/") or ".." in Path(name).parts or Path(name) == Path():
                raise ValueError(f"{name!r} is no file of the repository; its path starts at the repository's top")
        if self.branch is not None and not _BRANCH_PATTERN.fullmatch(self.branch):
            raise ValueError(f"{self.branch!r} is no name of a branch such as emergency/hmm")
        return self

    def bind(self, target: Target) -> Self:
        if self.repo is None and target.repo is None:
            raise ActionError("the target has no repo — give it one, or say repo: in the step")
        return self.model_copy(update={"repo": str(Path(target.repo or "", self.repo or ""))})

    def describe(self) -> str:
        where = "" if self.branch is None else f" on branch {self.branch}"
        if self.files:
            return f"git restore {worktree_update.format_list(self.files, 3)} from {self.from_}{where}"
        return (f"git revert {self.revert}" if self.revert is not None else f"git back to {self.to}") + where

    def redirect(self, copies: Copies) -> Self:
        return self.model_copy(update={"repo": str(copies.work_tree(Path(self.repo or "/")))})

    def needed_files(self, captured: JsonObject | None = None) -> NeededFiles:
        return NeededFiles((), captured["repo"] if captured else self.repo, self.push)

    def findings(self) -> tuple[Finding, ...]:
        try:
            repo = repository.open_repository(self.repo, min(self.timeout, _QUERY_TIMEOUT_MS))
            versions = {"revert": self.revert, "to": self.to, "from": self.from_}
            with repository.scratch_objects(repo) as looking:
                return tuple(find_named(looking, versions, self.files, self.push))
        except MissingError as error:
            return (Finding.of("missing", (), error),)
        except ActionError as error:
            return (Finding.of("unreadable", (), error),)

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:
        """The new commit, made aside and thrown away again, and what it will do to which path; `apply` makes it again.

        ``{"repo", "token", "old", "new", "target", "bad": commits, "already": bool, "deployed": bool, "reverts": [[commit,
        parent]], "changes": {path: [old entry, new entry]}, "edits": {path: {"values": […], "old", "new"}}, "dropped": […],
        "branch": ref or null}``; an entry is git's mode and object id; the token names what `apply` lays beside the files
        meanwhile. Nothing is written into the repository.
        """
        repo = repository.open_repository(self.repo, min(self.timeout, _QUERY_TIMEOUT_MS), *self._written_refs())
        repository.ensure_no_operation_in_progress(repo)
        index_lock.ensure_unlocked(repo, *([f"{repository.BRANCH_REFS}{self.branch}"] if self.branch else []))
        with repository.scratch_objects(repo) as looking:
            return self._plan_change(looking, completed)

    def _plan_change(self, repo: Repository, completed: Sequence[CompletedStep]) -> JsonObject:
        old = repository.resolve_head(repo)
        target = self._target_commit(repo, old)
        reverts = find_reverted(repo, old, self.revert, target) if self.revert is not None else ()
        made = self._make_commit(repo, old, target, reverts)
        note: JsonObject = {
            "repo": str(repo.work_tree),
            "old": old,
            "target": made.target,
            "bad": made.bad,
            "token": secrets.token_hex(8),
            "deployed": made.is_deployed,
            "reverts": [list(each) for each in made.reverts],
        }
        if made.commit is None:
            return {**note, "new": old, "already": True, "changes": {}, "edits": {}, "dropped": [], "branch": None}
        changes = repository.diff_commits(repo, old, made.commit)
        edits, dropped = find_own_edits(repo, old, made.commit, changes, _edits_by_path(repo.work_tree, completed))
        worktree_update.ensure_clean(repo, WorktreeUpdate(old, made.commit, made.bad, changes, edits))
        return {
            **note,
            "new": made.commit,
            "already": False,
            "changes": {change.path: [change.old_entry, change.new_entry] for change in changes},
            "edits": {path: {**edit._asdict(), "values": list(edit.values)} for path, edit in edits.items()},
            "dropped": dropped,
            "branch": None if self.branch is None else branches.unused_branch(repo, self.branch, made.commit),
        }

    def rehearse(self, captured: JsonObject) -> None:
        try_update(captured)

    def touched_paths(self, captured: JsonObject) -> tuple[Path, ...]:
        return tuple(Path(captured["repo"], path) for path in captured["changes"])

    def preview(self, captured: JsonObject) -> str:
        if captured["already"]:
            return ""
        with repository.scratch_objects(repository.open_repository(captured["repo"], _QUERY_TIMEOUT_MS)) as repo:
            self._recreate_commit(repo, captured)
            diff = describe_commits(repo, captured["old"], captured["new"])
        kept = [
            f"# kept in {path}: {format_assignments(v)}\n"
            for path, edit in captured["edits"].items()
            for v in edit["values"]
        ]
        dropped = [f"# not in that version: {name}\n" for name in captured["dropped"]]
        refs = [f"# on the new branch {captured['branch']}\n"] if captured["branch"] else []
        others = [f"# {words}\n"] if (words := self._describe_stand_in(captured)) else []
        return "".join((*others, diff, *kept, *dropped, *refs))

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        if captured["already"]:
            return f"{self.describe()}: nothing to change, it is {self.noop_reason(captured)}"
        repo = repository.open_repository(captured["repo"], self.timeout, *self._written_refs(captured))
        update = _update_from(captured)
        lost: tuple[str, ...] = ()
        if repository.resolve_head(repo) != update.new_commit:
            self._recreate_commit(repo, captured)
            lost = worktree_update.apply_update(repo, update, f"{idempotency_key}: {self.describe()}")
        kept = [format_assignments(values) for edits in update.edits.values() for values in edits.values]
        files = "1 file" if len(update.changes) == 1 else f"{len(update.changes)} files"
        return "".join(
            (
                f"{update.old_commit[:10]} → {update.new_commit[:10]}, {files}",
                f"; {words}" if (words := self._describe_stand_in(captured)) else "",
                f"; kept {', '.join(kept)}" if kept else "",
                f"; not in that version: {', '.join(captured['dropped'])}" if captured["dropped"] else "",
                describe_lost(lost),
                f"; on {captured['branch'].removeprefix(repository.BRANCH_REFS)}" if captured["branch"] else "",
                "" if self.push is None else f"; {branches.push_head(repo, self.push)}",
                f"; redeploy: git revert {update.new_commit[:12]}",
            )
        )

    def state(self, captured: JsonObject) -> StepState:
        """Ends what a crash left open, too: an index lock of ours whose process is gone would keep everybody out."""
        if captured["already"]:
            return "after"
        update = _update_from(captured)
        try:
            repo = repository.open_repository(captured["repo"], _QUERY_TIMEOUT_MS)
            now = repository.resolve_head(repo)
            moved = now == update.new_commit or (
                now != update.old_commit and repository.contains_commit(repo, now, update.new_commit)
            )
            still, _, neither = worktree_update.classify_paths(repo, update)
            free = index_lock.remove_stale_lock(repo)
            seen: StepState = "before" if now == update.old_commit and not neither else "other"
            if moved and not still and not neither:
                seen = "after"
            if free and not (seen == "before" and worktree_update.is_half_done(repo, update)):
                worktree_update.clean_up(repo, update)
        except (ActionError, OSError):
            return "unknown"
        return seen

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:
        """Of a commit that is not made yet nobody can tell."""
        if captured is None or captured["already"]:
            return ()
        if self.revert is not None:
            how, what = "reverted", self.revert
        elif self.to is not None:
            how, what = "rolled back", f"to {self.to} ({captured['target'][:10]})"
        else:
            how, what = "restored", f"{worktree_update.format_list(self.files, 3)} from {self.from_}"
        thing = f"{self.repo}: {captured['new']}"
        by_hand = shlex.join(("git", "-C", captured["repo"], "revert", captured["new"][:12]))
        return (LastingChange(thing, how, what, captured["old"], by_hand),)

    def lasting_states(self, captured: JsonObject) -> Sequence[StepState]:
        """By the history: other commits on top of it leave it in force, as long as none of them takes it back."""
        if captured["already"]:
            return ()
        update = _update_from(captured)
        repo = repository.open_repository(captured["repo"], _QUERY_TIMEOUT_MS)
        now = repository.resolve_head(repo)
        if not repository.contains_commit(repo, now, update.new_commit):
            return ("before" if repository.contains_commit(repo, now, update.old_commit) else "other",)
        if any(not reverting_commits(repo, by, now) for by in reverting_commits(repo, update.new_commit, now)):
            return ("before",)
        _, after, neither = worktree_update.classify_paths(repo, update)
        return ("after" if after or neither else "before",)

    def deviations(self, captured: JsonObject) -> Mapping[str, str]:
        made = self.lasting_changes(captured)
        other = describe_deviation(self.repo or "", captured["repo"], _update_from(captured)) if made else None
        return {} if other is None else {made[0].thing: other}

    def noop_reason(self, captured: JsonObject) -> NoopReason:
        return "so already" if captured.get("deployed", True) else "not deployed now"

    def commit_range(self, captured: JsonObject) -> CommitRange | None:
        if captured["already"]:
            return None
        return CommitRange(captured["repo"], captured["old"], captured["new"])

    def _written_refs(self, captured: JsonObject | None = None) -> list[str]:
        """Full names, as far as they are known: git would follow links on the way to them."""
        branch = f"{repository.BRANCH_REFS}{self.branch}" if self.branch else None
        if captured is not None:
            return [f"{BAD_REFS}{captured['bad']}", *([captured["branch"]] if captured.get("branch") else [])]
        return [BAD_REFS.rstrip("/"), *([branch] if branch else [])]

    def _target_commit(self, repo: Repository, old: str) -> str:
        """The commit that the step names, as of now."""
        if self.revert is not None:
            return repository.resolve_commit(repo, self.revert)
        name = self.to or self.from_ or ""
        return last_good_commit(repo, old) if name == LAST_GOOD else repository.resolve_commit(repo, name)

    def _describe_stand_in(self, captured: JsonObject) -> str:
        """Which other commits are taken back in the place of the one that is named; empty: that one itself is."""
        commits = [commit for commit, _ in captured.get("reverts", ())]
        if not commits or captured["target"] in commits:
            return ""
        return f"{self.revert} itself is not part of what runs; its changes are, as {', '.join(each[:10] for each in commits)}"

    def _make_commit(self, repo: Repository, old: str, target: str, reverts: Sequence[Reverted]) -> PlannedCommit:
        if self.revert is not None:
            return revert_commits(repo, old, self.revert, target, reverts)
        tree = (
            repository.tree_with_files(repo, old, target, self.files)
            if self.files
            else repository.resolve_tree(repo, target)
        )
        if tree == repository.resolve_tree(repo, old):
            return PlannedCommit(None, target, old)
        what = f"{worktree_update.format_list(self.files, 3)} from {self.from_}" if self.files else str(self.to)
        which = (
            f"These files are those of commit {target}:\n" + "\n".join(self.files)
            if self.files
            else (f"The files are those of commit {target}.")
        )
        message = f"Bring back {what}\n\n{which}\nThis replaces commit {old}.\n\n{COMMIT_TRAILER}"
        return PlannedCommit(create_commit(repo, tree, old, message), target, old)

    def _recreate_commit(self, repo: Repository, captured: JsonObject) -> None:
        """The commit that `captured` names. Its date follows from its parent, so it is the same to the last bit."""
        old, target = captured["old"], captured["target"]
        if self.revert is None:
            reverts = []
        elif "reverts" in captured:
            reverts = [Reverted(commit, parent) for commit, parent in captured["reverts"]]
        else:  # a step of an older version of ours
            reverts = list(find_reverted(repo, old, self.revert, target))
        made = self._make_commit(repo, old, target, reverts)
        if made.commit != captured["new"]:
            raise ActionError(
                f"{self.describe()} comes out differently now (another git?) — nothing was touched; try again"
            )


def _update_from(captured: JsonObject) -> WorktreeUpdate:
    changes = [PathChange(path, old, new) for path, (old, new) in captured["changes"].items()]
    edits = {path: KeptEdits(**edit) for path, edit in captured["edits"].items()}
    token = captured.get("token", "")  # a step of an older version of ours has none
    if token and not _TOKEN_PATTERN.fullmatch(token):
        raise ActionError("the journal does not say what this step captured")
    return WorktreeUpdate(
        captured["old"], captured["new"], captured["bad"], changes, edits, captured.get("branch"), token
    )


def _edits_by_path(
    top: Path, completed: Sequence[CompletedStep]
) -> Mapping[str, list[tuple[Mapping[str, Value], bool]]]:
    """Per path, our edits of values in order and whether each stands. An earlier git step has dropped those that do not.

    One of another run has kept what stood in that run; it is in its own note.
    """
    found: dict[str, list[tuple[Mapping[str, Value], bool]]] = {}
    for step in completed:
        for file, values in step.action.value_edits().items():
            if file.is_relative_to(top):
                found.setdefault(str(file.relative_to(top)), []).append((values, step.in_force))
        if isinstance(step.action, GitAction):
            for path in step.before["changes"]:
                kept = step.before["edits"].get(path, {}).get("values", ())
                found[path] = [edit for edit in found.get(path, []) if edit[1]] or [(values, False) for values in kept]
    return {path: edits for path, edits in found.items() if edits}
