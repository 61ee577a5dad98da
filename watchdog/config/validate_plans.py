"""Plans against the rest: what they name, whom they leave running, and that each step finds what it touches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from watchdog.config.entries import Draft, Entry
from watchdog.config.entry_checks import report_unknown, run_each, validate_expression
from watchdog.config.lint import lint_warning
from watchdog.config.model_errors import ConfigNode, shorten_sentence
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import ProcessSpec, Target
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Problem, shorten, suggest
from watchdog.plans.models import Halt, Repair, Verify
from watchdog.rules import Rule

LEAVE_RUNNING = "leave-running"


def validate_plan(draft: Draft, entry: Entry, plan: Halt | Repair) -> None:
    node = entry.node

    def validate_verify(path: KeyPath, find: Callable[[], Verify | None]) -> None:
        verify = find()
        if verify is not None:
            run_each(entry, lambda: validate_conditions(path, verify), lambda: validate_named_rules(path, verify))

    def validate_conditions(path: KeyPath, verify: Verify) -> None:
        for index, text in enumerate(verify.that):
            validate_expression(draft, text, node, (*path, "that", index))

    def validate_named_rules(path: KeyPath, verify: Verify) -> None:
        for index, name in enumerate(verify.rules):
            report_unknown(draft, "rules", name, node, node.value_position(*path, "rules", index))

    def validate_verify_of(key: str) -> None:
        for index, level in enumerate(getattr(plan, key)):
            run_each(entry, partial(validate_verify, (key, index, "verify"), partial(getattr, level, "verify")))

    def validate_names() -> None:
        names: dict[str, int] = {}
        for index, level in enumerate(plan.levels):
            name = getattr(level, "name", None)
            if name is not None and names.setdefault(name, index) != index:
                node.report(
                    node.value_position("levels", index, "name"),
                    f"two levels are called {shorten(name)}",
                    "rename one of them",
                )

    run_each(
        entry,
        lambda: validate_verify(("verify",), lambda: plan.verify),
        lambda: validate_verify_of("levels"),
        lambda: validate_verify_of("recover"),
        validate_names,
    )
    if isinstance(plan, Repair):
        repair = plan
        run_each(
            entry,
            lambda: _validate_disturbs(draft, node, repair),
            lambda: _validate_exhausted(draft, node, repair),
        )


def _validate_exhausted(draft: Draft, node: ConfigNode, plan: Repair) -> None:
    if plan.exhausted == LEAVE_RUNNING:
        return
    position = node.value_position("exhausted")
    halts = [
        name
        for name, other in draft.entries["plans"].items()
        if isinstance(other.readable, Halt) or other.readable is None
    ]
    known = [*halts, LEAVE_RUNNING]
    if plan.exhausted not in draft.entries["plans"]:
        if draft.complete:
            node.report(position, f"there is no plan {shorten(plan.exhausted)}", suggest(plan.exhausted, known))
    elif plan.exhausted not in halts:
        node.report(
            position,
            f"{plan.exhausted} is a repair; what is left when no level helped is a halt",
            suggest(plan.exhausted, known),
        )


def _validate_disturbs(draft: Draft, node: ConfigNode, plan: Repair) -> None:
    """A plan may mute what it itself makes trip, never what makes the bot safe."""
    for index, name in enumerate(plan.disturbs):
        position = node.value_position("disturbs", index)
        if report_unknown(draft, "rules", name, node, position):
            continue
        crit = getattr(draft.entries["rules"][name].readable, "crit", None)
        started = draft.entries["plans"].get(plan_name := getattr(crit, "plan", None) or "")
        if started is not None and isinstance(started.readable, Halt):
            node.report(
                position,
                f"{shorten(name)} starts the halt {shorten(plan_name)} and is never muted",
                "take it off the list; a halt during a repair goes first",
            )


def validate_steps(draft: Draft) -> None:
    """Every step of every plan, bound to every target that may come to it."""
    targets: Mapping[str, Target] = {name: entry.readable for name, entry in draft.entries["targets"].items()}
    for name, users in targets_by_plan(draft).items():
        entry = draft.entries["plans"][name]
        for target in sorted(users & targets.keys()):
            plan = draft.model_for("plans", name, target) if entry.model is not None else entry.readable
            unwell = entry if draft.model("targets", target) is not None else draft.entries["targets"][target]
            for path, action in plan_steps(plan) if plan is not None else ():
                run_each(unwell, partial(_bind_step, entry, path, action, target, targets[target]))


def _bind_step(entry: Entry, path: KeyPath, action: Action, name: str, target: Target) -> None:
    try:
        action.bind(target)
    except ActionError as error:
        what, _, cure = str(error).partition(" — ")
        entry.node.report(
            entry.node.value_position(*path), shorten_sentence(f"target {name}: {what}"), shorten_sentence(cure)
        )


def targets_by_plan(draft: Draft) -> dict[str, set[str]]:
    """Plan → targets whose rules start it, directly or when a repair is exhausted, as far as that can be read."""
    plans = {name: entry.readable for name, entry in draft.entries["plans"].items() if entry.readable is not None}
    users: dict[str, set[str]] = {}
    for entry in draft.readable("rules"):
        variants = entry.variants if entry.model is not None else {rule_target(entry.readable): entry.readable}
        for target, rule in variants.items():
            plan = getattr(getattr(rule, "crit", None), "plan", None)
            if plan not in plans or not target:
                continue
            users.setdefault(plan, set()).add(target)
            last = getattr(plans[plan], "exhausted", None)
            if last in plans:
                users.setdefault(last, set()).add(target)
    return users


def lint_halts(draft: Draft) -> Iterator[Problem]:
    """Halts that want a repair to follow, of targets no rule of which starts one."""
    users, plans = targets_by_plan(draft), draft.entries["plans"]
    repaired = {target for name in users if isinstance(plans[name].readable, Repair) for target in users[name]}
    for name, entry in plans.items():
        halted = users.get(name, set())
        if isinstance(entry.model, Halt) and entry.model.after and halted and not halted & repaired and draft.complete:
            yield lint_warning(
                entry.node,
                entry.node.value_position("after"),
                f"no rule of a target that {shorten(name)} halts starts a repair",
                "leave after: out, or name a repair in a rule's crit",
            )


def lint_alike_bots(draft: Draft) -> Iterator[Problem]:
    """Targets whose processes could be taken for one another: the same folder, and a command that the other's is a part of."""
    seen: list[tuple[str, ProcessSpec]] = []
    for name, target in draft.models("targets").items():
        with contextlib.suppress(ActionError):  # reported by the step that needs it
            spec = None if target.process is None else target.process.resolve(target.repo)
            if spec is None:
                continue
            for other, theirs in seen:
                if why := _alike(spec, theirs):
                    entry = draft.entries["targets"][name]
                    yield lint_warning(
                        entry.node,
                        entry.node.value_position("process"),
                        f"the bots of {shorten(name)} and {shorten(other)} cannot be told apart: {why}",
                        "give one a folder of its own, or another argument, such as the name of its configuration",
                    )
            seen.append((name, spec))


def _alike(one: ProcessSpec, other: ProcessSpec) -> str | None:
    if os.path.realpath(one.cwd or "") != os.path.realpath(other.cwd or ""):
        return None
    words, others = set(one.command), set(other.command)
    if words == others:
        return "the same command in the same folder"
    return "one command is a part of the other, in the same folder" if words <= others or others <= words else None


def plan_steps(plan: Halt | Repair) -> Iterator[tuple[KeyPath, Action]]:
    """Every step of a plan with its place in it."""
    yield from ((("before", index), action) for index, action in enumerate(getattr(plan, "before", ())))
    for key in ("levels", "recover"):
        for number, level in enumerate(getattr(plan, key, ())):
            steps = getattr(level, "steps", ())  # of a plan that is not well: what can be read of it
            yield from (((key, number, "steps", index), action) for index, action in enumerate(steps))
    yield from ((("proven", index), action) for index, action in enumerate(getattr(plan, "proven", ())))


def rule_target(rule: Rule) -> str:
    """Whom it speaks for; of one that is not well, nobody is known to be."""
    target = getattr(rule, "target", "")
    return target if isinstance(target, str) else ""
