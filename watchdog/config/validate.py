"""What no file can know of itself: that names exist, limits fit, expressions parse and steps find what they touch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from watchdog import rules
from watchdog.config.entries import SECTION_NOUNS, Draft, Entry
from watchdog.config.lint import lint
from watchdog.config.model_errors import ConfigNode, shorten_sentence
from watchdog.config.ownership import validate_ownership
from watchdog.config.salvage import hangs_together
from watchdog.config.variables import names_in
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.core.units import UNITS, parse_limit
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Position, Problem, shorten, suggest
from watchdog.plans.models import Halt, Repair, Verify
from watchdog.promql import PromqlError, detects_absence, expand_recordings, parse
from watchdog.rules import (
    ALL_TARGETS,
    OPERATORS,
    THRESHOLD_LEVELS,
    Check,
    Kpi,
    Rule,
    Threshold,
    ThresholdError,
    unknown_placeholders,
)

LEAVE_RUNNING = "leave-running"


def validate(draft: Draft) -> tuple[tuple[Check, ...], list[Problem]]:
    """The compiled checks and the warnings; what is wrong goes to the documents' ``problems``."""
    for entry in draft.readable("kpis"):
        for kpi in entry.readable_models():
            _validate_kpi(draft, entry, kpi)
    for defaults in draft.defaults:
        if defaults.readable is not None:
            _validate_references(draft, defaults, defaults.readable)
    checks = [check for entry in draft.readable("rules") for check in _validate_rule(draft, entry)]
    for entry in draft.readable("plans"):
        for plan in entry.readable_models():
            _validate_plan(draft, entry, plan)
    validate_ownership(draft)
    _validate_steps(draft)
    return tuple(checks), list(lint(draft, checks))


def _run_each(entry: Entry, *checks: Callable[[], object]) -> None:
    """Each check of an entry. Of one that is not well itself, each as far as it goes: it lacks what was refused, and need
    not hang together."""
    for check in checks:
        try:
            check()
        except Exception:
            if entry.model is not None:
                raise


def _report_unknown(draft: Draft, section: str, name: object, node: ConfigNode, position: Position) -> bool:
    """Whether nothing of that name is defined, also not in a part that could not be read; reported."""
    if not isinstance(name, str):
        return True  # it was refused, with a word of its own
    if name in draft.entries[section] or not draft.complete:
        return name not in draft.entries[section]
    cure = suggest(name, draft.entries[section]) or f"define it under {section}:"
    node.report(position, f"there is no {SECTION_NOUNS[section]} {shorten(name)}", cure)
    return True


def _validate_expression(draft: Draft, text: str | None, node: ConfigNode, path: KeyPath) -> None:
    if not isinstance(text, str):  # nothing was said, or what was said was refused
        return
    try:
        expand_recordings(parse(text), draft.recordings)
    except PromqlError as error:
        _report_error(node, node.value_position(*path), str(error))


def _report_error(node: ConfigNode, position: Position, text: str) -> None:
    what, _, cure = text.partition(" — ")
    node.report(position, shorten_sentence(what), shorten_sentence(cure))


def _validate_kpi(draft: Draft, entry: Entry, kpi: Kpi) -> None:
    def validate_baseline() -> None:
        try:
            kpi.pinned_baseline()
        except ValueError as error:
            _report_error(entry.node, entry.node.value_position("baseline"), str(error))

    _run_each(
        entry,
        lambda: _validate_expression(draft, kpi.expr, entry.node, ("expr",)),
        lambda: _validate_expression(draft, kpi.needs, entry.node, ("needs",)),
        validate_baseline,
    )


def _validate_references(draft: Draft, entry: Entry, model: Any) -> None:
    """Target and channels, where they are said: what is inherited was checked where it stands."""
    written, node = entry.raw, entry.node

    said = written.get("target")

    def validate_target(index: int, name: object) -> None:
        at = node.value_position("target", index) if isinstance(said, list) else node.value_position("target")
        if name == ALL_TARGETS and said not in (ALL_TARGETS, [ALL_TARGETS]):
            node.report(at, "all is every target, and stands alone", "say target: all")
        elif name != ALL_TARGETS:
            _report_unknown(draft, "targets", name, node, at)
        elif not draft.entries["targets"] and draft.complete:
            node.report(at, "there is no target", "define it under targets:")

    def validate_channels() -> None:
        for index, channel in enumerate(model.notify if draft.main is not None and written.get("notify") else ()):
            _report_unknown(draft, "channels", channel, node, node.value_position("notify", index))

    names = said if isinstance(said, list) else [said] if said is not None else []
    _run_each(entry, *(partial(validate_target, *each) for each in enumerate(names)), validate_channels)


def _validate_rule(draft: Draft, entry: Entry) -> list[Check]:
    rule: Rule = entry.readable
    _validate_references(draft, entry, rule)

    def validate_kpi() -> None:
        if rule.kpi is not None:
            _report_unknown(draft, "kpis", rule.kpi, entry.node, entry.node.value_position("kpi"))

    _run_each(entry, validate_kpi)
    seen: set[tuple[int, int]] = set()
    checks: list[Check] = []
    for target, variant in entry.variants.items() if entry.model is not None else [("", rule)]:
        thresholds = id(getattr(variant, "warn", None)), id(getattr(variant, "crit", None))
        if thresholds not in seen:  # of targets for which it is the same they are the same ones
            _validate_variant(draft, entry, variant)
        seen.add(thresholds)
        if entry.model is not None:
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

    def validate_level(level: Literal["warn", "crit"]) -> None:
        threshold = rule.threshold(level)
        if threshold is not None:
            _validate_expression(draft, threshold.expr, node, (level, "expr"))

    def validate_schedule() -> None:
        if rule.only is not None:
            _validate_expression(draft, rule.only.when, node, ("only", "when"))

    def validate_summary() -> None:
        for wrong in unknown_placeholders(rule.summary or ""):
            node.report(
                node.value_position("summary"),
                f"{shorten(wrong)} means nothing in a summary",
                f"known: {', '.join(f'{{{{ {name} }}}}' for name in rules.PLACEHOLDERS)}",
            )

    _run_each(
        entry,
        *(partial(validate_level, level) for level in THRESHOLD_LEVELS),
        validate_schedule,
        validate_summary,
        *_checks_of_crit(draft, entry, rule),
    )


def _variant_checks(draft: Draft, entry: Entry, rule: Rule) -> list[Check]:
    """The compiled levels of a rule. Of one that is not well, or whose KPI is not, as far as its limits can be read."""
    checks: list[Check] = []
    kpi_name = getattr(rule, "kpi", "")
    kpi_entry = draft.entries["kpis"].get(kpi_name or "")
    well: Kpi | None = None if kpi_entry is None else draft.model_for("kpis", kpi_entry.name, rule_target(rule))
    kpi: Kpi | None = well if well is not None or kpi_entry is None else kpi_entry.readable
    unwell = entry if kpi_entry is None or kpi_entry.model is not None else kpi_entry
    scoped = has_owners(draft) or (kpi_entry is not None and kpi_entry.varies)
    lacks_variable = (
        kpi_entry is not None and kpi_entry.model is not None and well is None
    )  # it is told where it stands

    def compile_level(level: Literal["warn", "crit"]) -> None:
        threshold = rule.threshold(level)
        if threshold is not None and entry.model is None and not hangs_together(threshold):
            return  # what is wrong with it is told already
        if kpi is not None or kpi_name is None:
            _run_each(unwell, lambda: checks.extend(_compile_checks(entry.node, rule, level, kpi, scoped=scoped)))
        if unwell.model is None or (kpi is None and kpi_name is not None):
            known = kpi if hasattr(kpi, "unit") and hasattr(kpi, "baseline") else None
            _run_each(unwell, lambda: _validate_limits(entry.node, level, threshold, known))

    if not lacks_variable:
        _run_each(entry, *(partial(compile_level, level) for level in THRESHOLD_LEVELS))
    return checks if entry.model is not None else []


def rule_target(rule: Rule) -> str:
    """Whom it speaks for; of one that is not well, nobody is known to be."""
    target = getattr(rule, "target", "")
    return target if isinstance(target, str) else ""


def has_owners(draft: Draft) -> bool:
    return any(target.sources is not None for target in draft.models("targets").values())


def _compile_checks(
    node: ConfigNode, rule: Rule, level: Literal["warn", "crit"], kpi: Kpi | None, *, scoped: bool
) -> Iterator[Check]:
    try:
        check = rules.compile_check(rule, level, kpi, scoped=scoped)
    except ThresholdError as error:
        if kpi is None or not _baseline_is_wrong(kpi):
            _report_error(node, node.value_position(error.level, error.key), str(error))
            _validate_limits(node, level, rule.threshold(level), kpi)
        return
    if check is None:
        return
    if check.limit_unknown is None and not (math.isfinite(check.limit) and math.isfinite(check.clear)):
        wrong = "clear" if math.isfinite(check.limit) else check.operator or ""
        node.report(node.value_position(level, wrong), "the limit is no finite number", "say one that can be reached")
        return
    yield check


def _validate_limits(node: ConfigNode, level: str, threshold: Threshold | None, kpi: Kpi | None) -> None:
    """Each limit by itself: `compile_check` ends at the first that does not fit. Without a KPI, that it fits none."""
    for key in (*OPERATORS, "clear", "ceiling"):
        written = getattr(threshold, key, None)
        for limit in () if key == "expr" or written is None else written if isinstance(written, tuple) else (written,):
            units = [*UNITS, *re.findall(r"[A-Z]{3,5}", str(limit))] if kpi is None else [kpi.unit]
            baseline = 1.0 if kpi is None else kpi.pinned_baseline()
            wrong = [
                _limit_error(limit, unit, baseline, dynamic=kpi is None or kpi.has_dynamic_baseline) for unit in units
            ]
            if all(wrong):
                text = f"{shorten(limit)!r} fits no KPI, whatever its unit" if kpi is None else wrong[0]
                _report_error(node, node.value_position(level, key), text)


def _limit_error(limit: object, unit: str, baseline: float | None, *, dynamic: bool) -> str:
    """Why it is no limit of a KPI in this unit; empty when it is one."""
    try:
        parse_limit(limit, unit, baseline, dynamic_baseline=dynamic)
    except ValueError as error:
        return str(error)
    return ""


def _baseline_is_wrong(kpi: Kpi) -> bool:
    """Then limits that need it cannot be judged; the baseline itself was reported."""
    try:
        kpi.pinned_baseline()
    except ValueError:
        return True
    return False


def _checks_of_crit(draft: Draft, entry: Entry, rule: Rule) -> tuple[Callable[[], None], ...]:
    """What follows from the plan that a crit starts."""
    node = entry.node

    def validate_plan() -> None:
        if rule.crit is not None and rule.crit.plan is not None:
            _report_unknown(draft, "plans", rule.crit.plan, node, node.value_position("crit", "plan"))

    def starts_repair() -> bool:
        found = None if rule.crit is None else draft.entries["plans"].get(rule.crit.plan or "")
        return found is not None and isinstance(found.readable, Repair)

    def validate_patience() -> None:
        if rule.crit is not None and starts_repair() and not (rule.crit.for_.duration or rule.crit.for_.m):
            node.report(
                node.key_position("crit"),
                f"a crit that starts the repair {rule.crit.plan} needs patience",
                "add for: 5m or for: 3 of 5",
            )

    def validate_condition() -> None:
        if rule.crit is not None and starts_repair() and rule.crit.expr is not None and _tells_absence(rule.crit.expr):
            node.report(
                node.value_position("crit", "plan"),
                f"missing data would start the repair {rule.crit.plan}: absent() is no proof that the bot is unwell",
                "let a halt answer it",
            )

    def validate_missing() -> None:
        if rule.crit is not None and starts_repair() and rule.if_missing.then == "crit":
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

    return validate_plan, validate_patience, validate_condition, validate_missing


def _tells_absence(text: str) -> bool:
    try:
        return detects_absence(parse(text))
    except PromqlError:
        return False  # reported where it stands


def _validate_plan(draft: Draft, entry: Entry, plan: Halt | Repair) -> None:
    node = entry.node

    def validate_verify(path: KeyPath, find: Callable[[], Verify | None]) -> None:
        verify = find()
        if verify is not None:
            _run_each(entry, lambda: validate_conditions(path, verify), lambda: validate_named_rules(path, verify))

    def validate_conditions(path: KeyPath, verify: Verify) -> None:
        for index, text in enumerate(verify.that):
            _validate_expression(draft, text, node, (*path, "that", index))

    def validate_named_rules(path: KeyPath, verify: Verify) -> None:
        for index, name in enumerate(verify.rules):
            _report_unknown(draft, "rules", name, node, node.value_position(*path, "rules", index))

    def validate_verify_of(key: str) -> None:
        for index, level in enumerate(getattr(plan, key)):
            _run_each(entry, partial(validate_verify, (key, index, "verify"), partial(getattr, level, "verify")))

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

    _run_each(
        entry,
        lambda: validate_verify(("verify",), lambda: plan.verify),
        lambda: validate_verify_of("levels"),
        lambda: validate_verify_of("recover"),
        validate_names,
    )
    if isinstance(plan, Repair):
        repair = plan
        _run_each(
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
        if _report_unknown(draft, "rules", name, node, position):
            continue
        crit = getattr(draft.entries["rules"][name].readable, "crit", None)
        started = draft.entries["plans"].get(plan_name := getattr(crit, "plan", None) or "")
        if started is not None and isinstance(started.readable, Halt):
            node.report(
                position,
                f"{shorten(name)} starts the halt {shorten(plan_name)} and is never muted",
                "take it off the list; a halt during a repair goes first",
            )


def _validate_steps(draft: Draft) -> None:
    """Every step of every plan, bound to every target that may come to it."""
    targets: Mapping[str, Target] = {name: entry.readable for name, entry in draft.entries["targets"].items()}
    for name, users in targets_by_plan(draft).items():
        entry = draft.entries["plans"][name]
        for target in sorted(users & targets.keys()):
            plan = draft.model_for("plans", name, target) if entry.model is not None else entry.readable
            unwell = entry if draft.model("targets", target) is not None else draft.entries["targets"][target]
            for path, action in plan_steps(plan) if plan is not None else ():
                _run_each(unwell, partial(_bind_step, entry, path, action, target, targets[target]))


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


def plan_steps(plan: Halt | Repair) -> Iterator[tuple[KeyPath, Action]]:
    """Every step of a plan with its place in it."""
    yield from ((("before", index), action) for index, action in enumerate(getattr(plan, "before", ())))
    for key in ("levels", "recover"):
        for number, level in enumerate(getattr(plan, key, ())):
            steps = getattr(level, "steps", ())  # of a plan that is not well: what can be read of it
            yield from (((key, number, "steps", index), action) for index, action in enumerate(steps))
    yield from ((("proven", index), action) for index, action in enumerate(getattr(plan, "proven", ())))
