"""`check`: whether the tags, commits, flags, files and programs that plans name are where their targets are.

Who looks is the target's owner (an `Executor`), and nothing is written. What stands in a repository and is not there is a
mistake at the place where it is named; what comes and goes by itself (a backup, a last-good commit) a warning; and a version
that is there and not deployed today is as it should be, and a note. Where nobody may look that is said once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from watchdog.actions import CommandAction
from watchdog.actions.values.value_types import is_yaml_switch
from watchdog.config.entries import Draft, Entry
from watchdog.config.lint import lint_warning, verify_blocks
from watchdog.config.validate_plans import plan_steps, targets_by_plan
from watchdog.core.errors import ActionError
from watchdog.core.executor import Executor
from watchdog.core.protocols import Action, Finding
from watchdog.core.target import Target
from watchdog.core.text import shorten
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Problem, format_names
from watchdog.host.account import names_owner
from watchdog.plans.models import Halt, Repair

_MAX_FINDINGS = 100
"""Of one step: who looks is the bot's user, and might tell of more than anybody reads."""
_MAX_SENTENCE = 400
"""Characters: whole paths are told, and not what somebody has made endless."""


class LookResult(NamedTuple):
    """Beside the mistakes, which stand in the documents."""

    warnings: list[Problem]
    notes: list[str]


class _Step(NamedTuple):
    plan: Entry
    path: KeyPath
    action: Action


def look_at_plans(draft: Draft, executor: Executor) -> LookResult:
    """Every step of every plan, on every target that may come to it. Blocks; a mistake elsewhere in the files keeps nobody
    from looking."""
    warnings: list[Problem] = []
    notes: dict[str, None] = {}
    not_looked: dict[str, dict[str, None]] = {}
    looked: set[tuple[str, KeyPath]] = set()
    for target, steps in _steps_by_target(draft).items():
        for step, findings in _look(draft.model("targets", target), steps, executor, target, not_looked):
            looked.add((step.plan.name, step.path))
            for each in findings:
                _report(step, target, each, warnings, notes, not_looked)
    warnings += [
        warning for step in _all_steps(draft) if (step.plan.name, step.path) not in looked for warning in _doubts(step)
    ]
    unseen = [f"what plans name on {format_names(names)} was not looked at: {why}" for why, names in not_looked.items()]
    return LookResult(list(dict.fromkeys(warnings)), [*notes, *unseen])


def _plan_steps(entry: Entry, plan: Halt | Repair) -> Iterator[_Step]:
    """Programs that prove a level are steps here, too."""
    yield from (_Step(entry, path, action) for path, action in plan_steps(plan))
    for path, verify in verify_blocks(plan):
        if verify.run:
            yield _Step(entry, path, CommandAction(do="command", run=verify.run, inherit=verify.inherit))


def _all_steps(draft: Draft) -> Iterator[_Step]:
    for entry in draft.entries["plans"].values():
        for plan in entry.distinct_models():
            yield from _plan_steps(entry, plan)


def _steps_by_target(draft: Draft) -> dict[str, list[_Step]]:
    """Of each target, the plans that its rules may start, as they are for it."""
    found: dict[str, list[_Step]] = {name: [] for name in draft.models("targets")}
    for name, users in targets_by_plan(draft).items():
        for target in users & found.keys():
            if (plan := draft.model_for("plans", name, target)) is not None:
                found[target] += _plan_steps(draft.entries["plans"][name], plan)
    return found


def _look(
    target: Target, steps: list[_Step], executor: Executor, name: str, not_looked: dict[str, dict[str, None]]
) -> Iterator[tuple[_Step, tuple[Finding, ...]]]:
    """Until the owner cannot be asked, which `not_looked` is told."""
    if (
        steps and os.geteuid() == 0 and not names_owner(target)
    ):  # whoever asks would act on it, and that is not for root
        not_looked.setdefault("nobody says whose it is — give it a repo, or run_as", {})[name] = None
        return
    for step in steps:
        try:
            action = step.action.bind(target)
        except ActionError:
            continue  # reported where it stands
        try:
            yield step, executor.act_as_owner(action, target).findings()[:_MAX_FINDINGS]
        except ActionError as error:
            not_looked.setdefault(shorten(str(error), _MAX_SENTENCE), {})[name] = None
            return


def _report(
    step: _Step,
    target: str,
    found: Finding,
    warnings: list[Problem],
    notes: dict[str, None],
    not_looked: dict[str, dict[str, None]],
) -> None:
    node = step.plan.node
    position = node.value_position(*step.path, *found.key)
    what, cure = (shorten(text, _MAX_SENTENCE) for text in (f"target {target}: {found.what}", found.cure))
    match found.kind:
        case "missing" | "unfit":
            node.report(position, what, cure)
        case "missing now" | "not part":
            warnings.append(lint_warning(node, position, what, cure))
        case "not deployed":
            notes[f"plan {step.plan.name}, {what}: nothing to take back"] = None
        case "stands for":
            notes[f"plan {step.plan.name}, {what}: that is taken back"] = None
        case "unreadable":
            not_looked.setdefault(shorten(found.what, _MAX_SENTENCE), {})[target] = None


def _doubts(step: _Step) -> Iterator[Problem]:
    """Of a step that nobody has held against its file."""
    node = step.plan.node
    prefix = (*node.path, *step.path, "set")
    for path, word in node.document.switch_words.items():
        if path[: len(prefix)] == prefix:
            yield lint_warning(
                node,
                node.document.value_positions[path],
                f"{word} is a text in these files, and no truth value as in older YAML",
                f"say {is_yaml_switch(word)}, or put the text in quotes",
            )
