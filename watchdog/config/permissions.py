"""Who may change what the daemon believes and has run: its files, and what they name as programs and secrets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from watchdog.config.entries import Draft, Entry
from watchdog.config.lint import verify_blocks
from watchdog.config.model_fields import path_field
from watchdog.config.validate_plans import plan_steps, targets_by_plan
from watchdog.core.errors import ActionError
from watchdog.core.protocols import ProgramCall, ProgramSource
from watchdog.core.target import Target
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Problem, one_line, shorten
from watchdog.host.account import UntrustedOwnerError, target_account
from watchdog.host.child_process import MISSING_VARIABLE_CURE
from watchdog.host.programs import executed_files
from watchdog.host.trust import UntrustedPath, find_untrusted


def find_unsafe_files(paths: Iterable[Path], uid: int | None) -> list[Problem]:
    """Files, their folders and every folder on the way there that somebody else could write, each with the cure.

    `uid`: whom the daemon runs as; what belongs neither to it nor to root is refused. None: whoever owns a file may.
    """
    found = find_untrusted(paths, None if uid is None else (uid,))
    return [Problem(one_line(str(each.path)), 1, 1, each.describe(), one_line(each.cure)) for each in found]


def find_unsafe_references(draft: Draft, uid: int | None) -> list[Problem]:
    """What the files name and somebody else could change, each where it is named, with who that is and the cure.

    Programs of steps, of `verify` and of sources, with their scripts: who may write them is root, the daemon's user and
    whoever they run as. Files of secrets: root and the daemon's user. Targets whose repository somebody could have us find
    elsewhere. `uid`: as above. Also variables that a program shall inherit, and that are not set.
    """
    secrets = () if draft.may_leave_out else _unsafe_secrets(draft, uid)  # whoever reads one looks again
    return [*_unsafe_targets(draft, uid), *_unsafe_programs(draft, uid), *secrets]


class _NamedProgram(NamedTuple):
    """A program with its place."""

    entry: Entry
    path: KeyPath
    runs_as: int | None
    """None: that cannot be told, and whoever runs it says why."""
    call: ProgramCall


def _unsafe_targets(draft: Draft, uid: int | None) -> Iterator[Problem]:
    for entry in draft.entries["targets"].values():
        if entry.model is not None:
            try:
                target_account(entry.model, uid)
            except UntrustedOwnerError as error:
                yield _problem(entry, ("repo",), *_split(error))
            except ActionError:
                continue  # what is not there is told by the step that needs it


def _unsafe_programs(draft: Draft, uid: int | None) -> Iterator[Problem]:
    for entry, path, runs_as, call in (*_programs_of_plans(draft, uid), *_programs_of_sources(draft, uid)):
        for name in () if draft.may_leave_out else call.inherit:
            if name not in draft.environ:
                yield _problem(entry, path, f"the environment has no {shorten(name)}", MISSING_VARIABLE_CURE)
        if runs_as is None:
            continue
        users = None if uid is None else (uid, runs_as)
        for each in find_untrusted(executed_files(call.argv, call.cwd, call.env), users):
            yield _reference(entry, path, f"{shorten(call.argv[0])} is run", each)


def _account(target: Target, uid: int | None) -> int | None:
    try:
        return target_account(target, uid).uid
    except ActionError:
        return None


def _programs_of_sources(draft: Draft, uid: int | None) -> Iterator[_NamedProgram]:
    for entry in draft.entries["sources"].values():
        if isinstance(entry.model, ProgramSource):
            try:
                runs_as = _account(entry.model.owner(), uid)
            except (ActionError, FileNotFoundError):
                runs_as = None
            for call in entry.model.programs():
                yield _NamedProgram(entry, (call.key,), runs_as, call)


def _programs_of_plans(draft: Draft, uid: int | None) -> Iterator[_NamedProgram]:
    """Of every plan, for every target that may come to it."""
    targets: dict[str, Target] = draft.models("targets")
    accounts = {name: _account(target, uid) for name, target in targets.items()}
    users = targets_by_plan(draft)
    for name, entry in draft.entries["plans"].items():
        if entry.model is None:
            continue
        for target in sorted(users.get(name, targets if len(targets) == 1 else ())):
            if target not in targets:
                continue
            plan = draft.model_for("plans", name, target)
            if plan is None:
                continue
            for path, step in plan_steps(plan):
                try:
                    calls = step.bind(targets[target]).programs()
                except ActionError:
                    continue  # reported where it stands
                for call in calls:
                    yield _NamedProgram(entry, (*path, call.key), accounts[target], call)
            for path, verify in verify_blocks(plan):
                if verify.run:
                    call = ProgramCall(verify.run, "run", targets[target].repo, None, verify.inherit)
                    yield _NamedProgram(entry, (*path, "run"), accounts[target], call)


def _unsafe_secrets(draft: Draft, uid: int | None) -> Iterator[Problem]:
    for section in ("sources", "channels", "plans"):
        for entry in draft.entries[section].values():
            for path, file in _secret_files(tuple(entry.distinct_models())):
                path = path[1:]
                for each in find_untrusted([Path(file)], None if uid is None else (uid,)):
                    yield _reference(entry, path, f"{path[-1]} is read", each)


def _secret_files(model: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every file that holds a secret, by the type of its field."""
    if isinstance(model, tuple | list):
        for index, each in enumerate(model):
            yield from _secret_files(each, (*path, index))
    elif isinstance(model, BaseModel):
        for name, field in type(model).model_fields.items():
            key, value = field.alias or name, getattr(model, name)
            mark = path_field(type(model), key)
            if mark is not None and mark.credential:
                named = value if isinstance(value, dict) else {key: value}
                for name, file in named.items():
                    if isinstance(file, str) and os.path.isabs(file):  # noqa: PTH117
                        yield (*path, key, name) if isinstance(value, dict) else (*path, key), file
            elif mark is None:
                yield from _secret_files(value, (*path, key))


def _reference(entry: Entry, path: KeyPath, what: str, wrong: UntrustedPath) -> Problem:
    return _problem(entry, path, f"{what}, and {wrong.describe(with_path=True)}", wrong.cure)


def _problem(entry: Entry, path: KeyPath, what: str, cure: str) -> Problem:
    position = entry.node.value_position(*path)
    return Problem(entry.node.document.file, position.line, position.column, one_line(what), one_line(cure))


def _split(error: ActionError) -> tuple[str, str]:
    what, _, cure = str(error).partition(" — ")
    return what, cure
