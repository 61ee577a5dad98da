"""What no file can know of itself: that names exist, limits fit, expressions parse and steps find what they touch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from watchdog import rules
from watchdog.config.entries import SECTION_NOUNS, Draft, Entry
from watchdog.config.lint import lint, verify_blocks
from watchdog.config.model_errors import ConfigNode, shorten_sentence
from watchdog.config.source_targets import validate_source_targets
from watchdog.config.variables import names_in
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Position, Problem, shorten, suggest
from watchdog.plans.models import Halt, Level, Repair
from watchdog.promql import PromqlError, detects_absence, expand_recordings, parse
from watchdog.rules import ALL_TARGETS, THRESHOLD_LEVELS, Check, Kpi, Rule, ThresholdError, unknown_placeholders

LEAVE_RUNNING = "leave-running"


def validate(draft: Draft) -> tuple[tuple[Check, ...], list[Problem]]:
    """The compiled checks and the warnings; what is wrong goes to the documents' ``problems``."""
    for entry in _valid_entries(draft, "kpis"):
        for kpi in entry.distinct_models():
            _validate_kpi(draft, entry, kpi)
    for defaults in draft.defaults:
        if defaults.model is not None:
            _validate_references(draft, defaults, defaults.model)
    checks = [check for entry in _valid_entries(draft, "rules") for check in _validate_rule(draft, entry)]
    for entry in _valid_entries(draft, "plans"):
        for plan in entry.distinct_models():
            _validate_plan(draft, entry, plan)
    validate_source_targets(draft)
    _validate_steps(draft)
    return tuple(checks), list(lint(draft, checks))


def _valid_entries(draft: Draft, section: str) -> list[Entry]:
    return [entry for entry in draft.entries[section].values() if entry.model is not None]


def _report_unknown(draft: Draft, section: str, name: str, node: ConfigNode, position: Position) -> bool:
    """Whether nothing of that name is defined, also not in a part that could not be read; reported."""
    if name in draft.entries[section] or not draft.complete:
        return name not in draft.entries[section]
    cure = suggest(name, draft.entries[section]) or f"define it under {section}:"
    node.report(position, f"there is no {SECTION_NOUNS[section]} {shorten(name)}", cure)
    return True


def _validate_expression(draft: Draft, text: str, node: ConfigNode, path: KeyPath) -> None:
    try:
        expand_recordings(parse(text), draft.recordings)
    except PromqlError as error:
        _report_error(node, node.value_position(*path), str(error))


def _report_error(node: ConfigNode, position: Position, text: str) -> None:
    what, _, cure = text.partition(" — ")
    node.report(position, shorten_sentence(what), shorten_sentence(cure))


def _validate_kpi(draft: Draft, entry: Entry, kpi: Kpi) -> None:
    _validate_expression(draft, kpi.expr, entry.node, ("expr",))
    if kpi.needs is not None:
        _validate_expression(draft, kpi.needs, entry.node, ("needs",))
    try:
        kpi.pinned_baseline()
    except ValueError as error:
        _report_error(entry.node, entry.node.value_position("baseline"), str(error))


def _validate_references(draft: Draft, entry: Entry, model: Any) -> None:
    """Target and channels, where they are said: what is inherited was checked where it stands."""
    written, node = entry.raw, entry.node
    said = written.get("target")
    for index, name in enumerate(said if isinstance(said, list) else [said] if said is not None else []):
        at = node.value_position("target", index) if isinstance(said, list) else node.value_position("target")
        if name == ALL_TARGETS and said not in (ALL_TARGETS, [ALL_TARGETS]):
            node.report(at, "all is every target, and stands alone", "say target: all")
        elif name != ALL_TARGETS:
            _report_unknown(draft, "targets", name, node, at)
        elif not draft.entries["targets"] and draft.complete:
            node.report(at, "there is no target", "define it under targets:")
    if draft.main is not None and written.get("notify") is not None:
        for index, channel in enumerate(model.notify):
            _report_unknown(draft, "channels", channel, node, node.value_position("notify", index))


def _validate_rule(draft: Draft, entry: Entry) -> list[Check]:
    rule: Rule = entry.model
    _validate_references(draft, entry, rule)
    if rule.kpi is not None:
        _report_unknown(draft, "kpis", rule.kpi, entry.node, entry.node.value_position("kpi"))
    seen: set[tuple[int, int]] = set()
    checks = []
    for target, variant in entry.variants.items():
        thresholds = id(variant.warn), id(variant.crit)  # of targets for which it is the same they are the same ones
        if thresholds not in seen:
            _validate_variant(draft, entry, variant)
        seen.add(thresholds)
        _report_missing_variables(draft, entry, variant, target)
        checks += _variant_checks(draft, entry, variant)
    return checks


def _report_missing_variables(draft: Draft, entry: Entry, rule: Rule, target: str) -> None:
    """A KPI or a plan in which a variable stands that this target does not have."""
    node = entry.node
    plan = rule.crit.plan if rule.crit is not None else None
    for section, name, path in (("kpis", rule.kpi, ("kpi",)), ("plans", plan, ("crit", "plan"))):
        user = draft.entries[section].get(name or "")
        if user is None or not user.varies or user.model is None or target in user.variants:
            continue
        known = draft.model("targets", target)
        missing = sorted((names_in(user.raw) & draft.variables) - (set() if known is None else known.vars.keys()))
        if missing:
            node.report(
                node.value_position(*path),
                f"{SECTION_NOUNS[section]} {shorten(name)} needs the variable {missing[0]}, and the target {shorten(target)} "
                "has none",
                f"add vars: {{{missing[0]}: …}} to it",
            )


def _validate_variant(draft: Draft, entry: Entry, rule: Rule) -> None:
    node = entry.node
    for level in THRESHOLD_LEVELS:
        threshold = rule.threshold(level)
        if threshold is not None and threshold.expr is not None:
            _validate_expression(draft, threshold.expr, node, (level, "expr"))
    if rule.only is not None and rule.only.when is not None:
        _validate_expression(draft, rule.only.when, node, ("only", "when"))
    for wrong in unknown_placeholders(rule.summary or ""):
        node.report(
            node.value_position("summary"),
            f"{shorten(wrong)} means nothing in a summary",
            f"known: {', '.join(f'{{{{ {name} }}}}' for name in rules.PLACEHOLDERS)}",
        )
    _validate_crit(draft, entry, rule)


def _variant_checks(draft: Draft, entry: Entry, rule: Rule) -> list[Check]:
    kpi = None if rule.kpi is None else draft.model_for("kpis", rule.kpi, rule.target)
    if kpi is None and rule.kpi is not None:
        return []
    scoped = has_own_sources(draft) or (rule.kpi is not None and draft.entries["kpis"][rule.kpi].varies)
    return [
        check for level in THRESHOLD_LEVELS for check in _compile_checks(entry.node, rule, level, kpi, scoped=scoped)
    ]


def has_own_sources(draft: Draft) -> bool:
    return any(target.sources is not None for target in draft.models("targets").values())


def _compile_checks(
    node: ConfigNode, rule: Rule, level: Literal["warn", "crit"], kpi: Kpi | None, *, scoped: bool
) -> Iterator[Check]:
    try:
        check = rules.compile_check(rule, level, kpi, scoped=scoped)
    except ThresholdError as error:
        if kpi is None or not _baseline_is_wrong(kpi):
            _report_error(node, node.value_position(error.level, error.key), str(error))
        return
    if check is None:
        return
    if check.limit_unknown is None and not (math.isfinite(check.limit) and math.isfinite(check.clear)):
        wrong = "clear" if math.isfinite(check.limit) else check.operator or ""
        node.report(node.value_position(level, wrong), "the limit is no finite number", "say one that can be reached")
        return
    yield check


def _baseline_is_wrong(kpi: Kpi) -> bool:
    """Then limits that need it cannot be judged; the baseline itself was reported."""
    try:
        kpi.pinned_baseline()
    except ValueError:
        return True
    return False


def _validate_crit(draft: Draft, entry: Entry, rule: Rule) -> None:
    """What follows from the plan that a crit starts."""
    node = entry.node
    if rule.crit is None or rule.crit.plan is None:
        return
    _report_unknown(draft, "plans", rule.crit.plan, node, node.value_position("crit", "plan"))
    plan = draft.model("plans", rule.crit.plan)
    if not isinstance(plan, Repair):
        return
    if not (rule.crit.for_.duration or rule.crit.for_.m):
        node.report(
            node.key_position("crit"),
            f"a crit that starts the repair {rule.crit.plan} needs patience",
            "add for: 5m or for: 3 of 5",
        )
    if rule.crit.expr is not None and _tells_absence(rule.crit.expr):
        node.report(
            node.value_position("crit", "plan"),
            f"missing data would start the repair {rule.crit.plan}: absent() is no proof that the bot is unwell",
            "let a halt answer it",
        )
    if rule.if_missing.then == "crit":
        position = (
            node.value_position("if_missing", "then")
            if "if_missing" in entry.raw
            else node.key_position("crit", "plan")
        )
        node.report(
            position,
            f"missing data would start the repair {rule.crit.plan}",
            "say then: warn or hold, or let crit start a halt",
        )


def _tells_absence(text: str) -> bool:
    try:
        return detects_absence(parse(text))
    except PromqlError:
        return False  # reported where it stands


def _validate_plan(draft: Draft, entry: Entry, plan: Halt | Repair) -> None:
    node = entry.node
    for path, verify in verify_blocks(plan):
        for index, text in enumerate(verify.that):
            _validate_expression(draft, text, node, (*path, "that", index))
        for index, name in enumerate(verify.rules):
            _report_unknown(draft, "rules", name, node, node.value_position(*path, "rules", index))
    names: dict[str, int] = {}
    for index, level in enumerate(plan.levels):
        if names.setdefault(level.name, index) != index:
            node.report(
                node.value_position("levels", index, "name"),
                f"two levels are called {shorten(level.name)}",
                "rename one of them",
            )
    if isinstance(plan, Repair):
        _validate_disturbs(draft, node, plan)
    if not isinstance(plan, Repair) or plan.exhausted == LEAVE_RUNNING:
        return
    position = node.value_position("exhausted")
    halts = [
        name for name, other in draft.entries["plans"].items() if isinstance(other.model, Halt) or other.model is None
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
        if _report_unknown(draft, "rules", name, node, position):
            continue
        rule = draft.model("rules", name)
        plan_name = None if rule is None or rule.crit is None else rule.crit.plan
        if plan_name is not None and isinstance(draft.model("plans", plan_name), Halt):
            node.report(
                position,
                f"{shorten(name)} starts the halt {shorten(plan_name)} and is never muted",
                "take it off the list; a halt during a repair goes first",
            )


def _validate_steps(draft: Draft) -> None:
    """Every step of every plan, bound to every target that may come to it."""
    targets: Mapping[str, Target] = draft.models("targets")
    for name, users in targets_by_plan(draft).items():
        entry = draft.entries["plans"][name]
        for target in sorted(users & targets.keys()):
            plan = draft.model_for("plans", name, target)
            for path, action in plan_steps(plan) if plan is not None else ():
                try:
                    action.bind(targets[target])
                except ActionError as error:
                    what, _, cure = str(error).partition(" — ")
                    entry.node.report(
                        entry.node.value_position(*path),
                        shorten_sentence(f"target {target}: {what}"),
                        shorten_sentence(cure),
                    )


def targets_by_plan(draft: Draft) -> dict[str, set[str]]:
    """Plan → targets whose rules start it, directly or when a repair is exhausted."""
    plans = draft.models("plans")
    users: dict[str, set[str]] = {}
    for entry in _valid_entries(draft, "rules"):
        for target, rule in entry.variants.items():
            crit = rule.crit
            if crit is None or crit.plan not in plans:
                continue
            users.setdefault(crit.plan, set()).add(target)
            last = getattr(plans[crit.plan], "exhausted", None)
            if last in plans:
                users.setdefault(last, set()).add(target)
    return users


def plan_steps(plan: Halt | Repair) -> Iterator[tuple[KeyPath, Action]]:
    """Every step of a plan with its place in it."""
    if isinstance(plan, Repair):
        yield from ((("before", index), action) for index, action in enumerate(plan.before))
    levels: Sequence[Level] = plan.levels
    for number, level in enumerate(levels):
        yield from ((("levels", number, "steps", index), action) for index, action in enumerate(level.steps))
    for number, stage in enumerate(plan.recover):
        yield from ((("recover", number, "steps", index), action) for index, action in enumerate(stage.steps))
    if isinstance(plan, Repair):
        yield from ((("proven", index), action) for index, action in enumerate(plan.proven))
