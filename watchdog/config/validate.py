"""What no file can know of itself: that names exist, limits fit, expressions parse and steps find what they touch."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

from watchdog import rules
from watchdog.config.entries import SECTION_NOUNS, Draft, Entry
from watchdog.config.entry_checks import report_error, report_unknown, run_each, validate_expression
from watchdog.config.identity_labels import lint_identity_labels
from watchdog.config.lint import lint, lint_warning
from watchdog.config.model_errors import ConfigNode
from watchdog.config.people import lint_people, validate_people
from watchdog.config.salvage import hangs_together
from watchdog.config.source_targets import validate_source_targets
from watchdog.config.validate_plans import lint_alike_bots, lint_halts, rule_target, validate_plan, validate_steps
from watchdog.config.variables import names_in
from watchdog.core.target import Escalation
from watchdog.core.units import UNITS, parse_limit
from watchdog.documents.problems import Problem, shorten
from watchdog.plans.models import Repair
from watchdog.promql import PromqlError, counter_metrics, detects_absence, expand_recordings, parse
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


def validate(draft: Draft) -> tuple[tuple[Check, ...], list[Problem]]:
    """The compiled checks and the warnings; what is wrong goes to the documents' ``problems``."""
    for entry in draft.readable("kpis"):
        for kpi in entry.readable_models():
            _validate_kpi(draft, entry, kpi)
    for defaults in draft.defaults:
        if defaults.readable is not None:
            _validate_references(draft, defaults, defaults.readable)
    lacks: set[tuple[str, ...]] = set()
    checks = [check for entry in draft.readable("rules") for check in _validate_rule(draft, entry, lacks)]
    for entry in draft.readable("plans"):
        for plan in entry.readable_models():
            validate_plan(draft, entry, plan)
    _validate_channels_of_targets(draft)
    validate_source_targets(draft)
    unheard = list(_validate_summary(draft))
    validate_steps(draft)
    validate_people(draft)
    found = [
        *lint(draft, checks),
        *lint_people(draft),
        *lint_identity_labels(draft),
        *lint_halts(draft),
        *lint_alike_bots(draft),
        *unheard,
    ]
    return tuple(checks), found


def _validate_summary(draft: Draft) -> Iterator[Problem]:
    """That its channels are there; and a warning where nobody hears it."""
    if draft.summary is None or draft.main is None:
        return
    node = ConfigNode(draft.main, ("summary",), draft.main.data["summary"])
    for index, channel in enumerate(draft.summary.notify or ()):
        report_unknown(draft, "channels", channel, node, node.value_position("notify", index))
    heard = [channel for channel in draft.models("channels").values() if channel.from_ == "info"]
    if draft.summary.notify is None and not heard and draft.entries["channels"]:
        what = "nobody gets the summary: no channel says from: info"
        name = next(iter(draft.entries["channels"]))
        yield lint_warning(node, node.key_position(), what, f"name one under summary: notify: [{name}]")


def _validate_channels_of_targets(draft: Draft) -> None:
    """Channels that a target, or `escalate` of watchdog.yaml, names."""
    if draft.main is None:
        return

    def report(said: Escalation | None, node: ConfigNode, *path: str) -> None:
        for index, name in enumerate(getattr(said, "to", None) or ()):
            report_unknown(draft, "channels", name, node, node.value_position(*path, "to", index))

    report(
        draft.escalate,
        ConfigNode(draft.main, ("escalate",), None if draft.escalate is None else draft.main.data["escalate"]),
    )
    for entry in draft.readable("targets"):
        target, node = entry.readable, entry.node
        for index, name in enumerate(getattr(target, "notify", None) or ()):
            report_unknown(draft, "channels", name, node, node.value_position("notify", index))
        said = getattr(target, "escalate", None)
        report(said if isinstance(said, Escalation) else None, node, "escalate")


def _validate_kpi(draft: Draft, entry: Entry, kpi: Kpi) -> None:
    def validate_baseline() -> None:
        try:
            kpi.pinned_baseline()
        except ValueError as error:
            report_error(entry.node, entry.node.value_position("baseline"), str(error))

    def validate_born() -> None:
        texts = [text for text in (kpi.expr, kpi.needs) if text is not None]
        with contextlib.suppress(PromqlError):  # reported as a mistake
            if kpi.born and not any(
                counter_metrics(expand_recordings(parse(text), draft.recordings)) for text in texts
            ):
                what = "born: zero is for counters, and no rate, increase or irate of a metric is read here"
                report_error(entry.node, entry.node.value_position("born"), f"{what} — leave it out")

    run_each(
        entry,
        lambda: validate_expression(draft, kpi.expr, entry.node, ("expr",)),
        lambda: validate_expression(draft, kpi.needs, entry.node, ("needs",)),
        validate_baseline,
        validate_born,
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
            report_unknown(draft, "targets", name, node, at)
        elif not draft.entries["targets"] and draft.complete:
            node.report(at, "there is no target", "define it under targets:")

    def validate_channels() -> None:
        for index, channel in enumerate(model.notify if draft.main is not None and written.get("notify") else ()):
            report_unknown(draft, "channels", channel, node, node.value_position("notify", index))

    names = said if isinstance(said, list) else [said] if said is not None else []
    run_each(entry, *(partial(validate_target, *each) for each in enumerate(names)), validate_channels)


def _validate_rule(draft: Draft, entry: Entry, lacks: set[tuple[str, ...]]) -> list[Check]:
    """`lacks`: the variables that a target was found to lack, so that forty rules that start one plan say so once."""
    rule: Rule = entry.readable
    _validate_references(draft, entry, rule)

    def validate_kpi() -> None:
        if rule.kpi is not None:
            report_unknown(draft, "kpis", rule.kpi, entry.node, entry.node.value_position("kpi"))

    run_each(entry, validate_kpi)
    seen: set[tuple[int, int]] = set()
    checks: list[Check] = []
    for target, variant in entry.variants.items() if entry.model is not None else [("", rule)]:
        thresholds = id(getattr(variant, "warn", None)), id(getattr(variant, "crit", None))
        if thresholds not in seen:  # of targets for which it is the same they are the same ones
            _validate_variant(draft, entry, variant)
        seen.add(thresholds)
        if entry.model is not None and target in draft.entries["targets"]:
            _report_missing_variables(draft, entry, variant, target, lacks)
        checks += _variant_checks(draft, entry, variant)
    return checks


def _report_missing_variables(draft: Draft, entry: Entry, rule: Rule, target: str, lacks: set[tuple[str, ...]]) -> None:
    """A KPI or a plan in which a variable stands that this target does not have."""
    node = entry.node
    plan = rule.crit.plan if rule.crit is not None else None
    for section, name, path in (("kpis", rule.kpi, ("kpi",)), ("plans", plan, ("crit", "plan"))):
        user = draft.entries[section].get(name or "")
        if user is None or not user.varies or user.model is None or target in user.variants:
            continue
        known = draft.model("targets", target)
        if known is None:  # one that there is not, or that has a mistake of its own
            continue
        missing = sorted((names_in(user.raw) & draft.variables) - known.vars.keys())
        lack = (section, str(name), target, *missing)
        if missing and lack not in lacks:
            lacks.add(lack)
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
            validate_expression(draft, threshold.expr, node, (level, "expr"))

    def validate_schedule() -> None:
        if rule.only is not None:
            validate_expression(draft, rule.only.when, node, ("only", "when"))

    def validate_summary() -> None:
        for wrong in unknown_placeholders(rule.summary or ""):
            node.report(
                node.value_position("summary"),
                f"{shorten(wrong)} means nothing in a summary",
                f"known: {', '.join(f'{{{{ {name} }}}}' for name in rules.PLACEHOLDERS)}",
            )

    run_each(
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
    scoped = draft.has_own_sources or (kpi_entry is not None and kpi_entry.varies)
    lacks_variable = (
        kpi_entry is not None and kpi_entry.model is not None and well is None
    )  # it is told where it stands

    def compile_level(level: Literal["warn", "crit"]) -> None:
        threshold = rule.threshold(level)
        if threshold is not None and entry.model is None and not hangs_together(threshold):
            return  # what is wrong with it is told already
        if kpi is not None or kpi_name is None:
            run_each(unwell, lambda: checks.extend(_compile_checks(entry.node, rule, level, kpi, scoped=scoped)))
        if unwell.model is None or (kpi is None and kpi_name is not None):
            known = kpi if hasattr(kpi, "unit") and hasattr(kpi, "baseline") else None
            run_each(unwell, lambda: _validate_limits(entry.node, level, threshold, known))

    if not lacks_variable:
        run_each(entry, *(partial(compile_level, level) for level in THRESHOLD_LEVELS))
    return checks if entry.model is not None else []


def _compile_checks(
    node: ConfigNode, rule: Rule, level: Literal["warn", "crit"], kpi: Kpi | None, *, scoped: bool
) -> Iterator[Check]:
    try:
        check = rules.compile_check(rule, level, kpi, scoped=scoped)
    except ThresholdError as error:
        if kpi is None or not _baseline_is_wrong(kpi):
            report_error(node, node.value_position(error.level, error.key), str(error))
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
                report_error(node, node.value_position(level, key), text)


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

    def validate_started_plan() -> None:
        if rule.crit is not None and rule.crit.plan is not None:
            report_unknown(draft, "plans", rule.crit.plan, node, node.value_position("crit", "plan"))

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

    return validate_started_plan, validate_patience, validate_condition, validate_missing


def _tells_absence(text: str) -> bool:
    try:
        return detects_absence(parse(text))
    except PromqlError:
        return False  # reported where it stands
