"""What no file can know of itself: that names exist, limits fit, expressions parse and steps find what they touch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from watchdog import rules
from watchdog.actions.plan import Halt, Level, Repair
from watchdog.config.document import Loc
from watchdog.config.doubts import doubts, verifies
from watchdog.config.entries import ONE, Draft, Entry
from watchdog.config.explain import Spot, short_sentence
from watchdog.config.problem import Place, Problem, nearest, short
from watchdog.model import ActionError, Target
from watchdog.promql import PromqlError, expand, parse, tells_absence
from watchdog.rules import Check, Kpi, Rule, ThresholdError, unknown_placeholders

LEVELS: tuple[Literal["warn", "crit"], ...] = ("warn", "crit")
LEAVE_RUNNING = "leave-running"


def crosscheck(draft: Draft) -> tuple[tuple[Check, ...], list[Problem]]:
    """The compiled checks and the warnings; what is wrong goes to the documents' ``problems``."""
    for entry in _well(draft, "kpis"):
        _kpi(draft, entry)
    for defaults in draft.defaults:
        if defaults.model is not None:
            _references(draft, defaults, defaults.model)
    checks = [check for entry in _well(draft, "rules") for check in _rule(draft, entry)]
    for entry in _well(draft, "plans"):
        _plan(draft, entry)
    _steps(draft)
    return tuple(checks), list(doubts(draft, checks))


def _well(draft: Draft, section: str) -> list[Entry]:
    return [entry for entry in draft.entries[section].values() if entry.model is not None]


def _unknown(draft: Draft, section: str, name: str, spot: Spot, place: Place) -> bool:
    """Whether nothing of that name is defined, also not in a part that could not be read; reported."""
    if name in draft.entries[section] or not draft.whole:
        return name not in draft.entries[section]
    cure = nearest(name, draft.entries[section]) or f"define it under {section}:"
    spot.report(place, f"there is no {ONE[section]} {short(name)}", cure)
    return True


def _expression(draft: Draft, text: str, spot: Spot, path: Loc) -> None:
    try:
        expand(parse(text), draft.recordings)
    except PromqlError as error:
        _say(spot, spot.value(*path), str(error))


def _say(spot: Spot, place: Place, text: str) -> None:
    what, _, cure = text.partition(" — ")
    spot.report(place, short_sentence(what), short_sentence(cure))


def _kpi(draft: Draft, entry: Entry) -> None:
    kpi: Kpi = entry.model
    _expression(draft, kpi.expr, entry.spot, ("expr",))
    if kpi.needs is not None:
        _expression(draft, kpi.needs, entry.spot, ("needs",))
    try:
        kpi.normal()
    except ValueError as error:
        _say(entry.spot, entry.spot.value("baseline"), str(error))


def _references(draft: Draft, entry: Entry, model: Any) -> None:
    """Target and channels, where they are said: what is inherited was checked where it stands."""
    said, spot = entry.said, entry.spot
    if said.get("target") is not None:
        _unknown(draft, "targets", model.target, spot, spot.value("target"))
    if draft.main is not None and said.get("notify") is not None:
        for index, channel in enumerate(model.notify):
            _unknown(draft, "channels", channel, spot, spot.value("notify", index))


def _rule(draft: Draft, entry: Entry) -> list[Check]:
    rule: Rule = entry.model
    spot = entry.spot
    _references(draft, entry, rule)
    if rule.kpi is not None:
        _unknown(draft, "kpis", rule.kpi, spot, spot.value("kpi"))
    for level in LEVELS:
        threshold = rule.threshold(level)
        if threshold is not None and threshold.expr is not None:
            _expression(draft, threshold.expr, spot, (level, "expr"))
    if rule.only is not None and rule.only.when is not None:
        _expression(draft, rule.only.when, spot, ("only", "when"))
    for wrong in unknown_placeholders(rule.summary or ""):
        spot.report(
            spot.value("summary"),
            f"{short(wrong)} means nothing in a summary",
            f"known: {', '.join(f'{{{{ {name} }}}}' for name in rules.PLACEHOLDERS)}",
        )
    _crit(draft, entry, rule)
    kpi = None if rule.kpi is None else draft.model("kpis", rule.kpi)
    if kpi is None and rule.kpi is not None:
        return []
    return [check for level in LEVELS for check in _check(spot, rule, level, kpi)]


def _check(spot: Spot, rule: Rule, level: Literal["warn", "crit"], kpi: Kpi | None) -> Iterator[Check]:
    try:
        check = rules.check(rule, level, kpi)
    except ThresholdError as error:
        if kpi is None or not _baseline_is_wrong(kpi):
            _say(spot, spot.value(error.level, error.key), str(error))
        return
    if check is None:
        return
    if check.waits is None and not (math.isfinite(check.limit) and math.isfinite(check.clear)):
        wrong = "clear" if math.isfinite(check.limit) else check.operator or ""
        spot.report(spot.value(level, wrong), "the limit is no finite number", "say one that can be reached")
        return
    yield check


def _baseline_is_wrong(kpi: Kpi) -> bool:
    """Then limits that need it cannot be judged; the baseline itself was reported."""
    try:
        kpi.normal()
    except ValueError:
        return True
    return False


def _crit(draft: Draft, entry: Entry, rule: Rule) -> None:
    """What follows from the plan that a crit starts."""
    spot = entry.spot
    if rule.crit is None or rule.crit.plan is None:
        return
    _unknown(draft, "plans", rule.crit.plan, spot, spot.value("crit", "plan"))
    plan = draft.model("plans", rule.crit.plan)
    if not isinstance(plan, Repair):
        return
    if not (rule.crit.for_.hold or rule.crit.for_.m):
        spot.report(
            spot.key("crit"),
            f"a crit that starts the repair {rule.crit.plan} needs patience",
            "add for: 5m or for: 3 of 5",
        )
    if rule.crit.expr is not None and _tells_absence(rule.crit.expr):
        spot.report(
            spot.value("crit", "plan"),
            f"missing data would start the repair {rule.crit.plan}: absent() is no proof that the bot is unwell",
            "let a halt answer it",
        )
    if rule.if_missing.then == "crit":
        place = spot.value("if_missing", "then") if "if_missing" in entry.said else spot.key("crit", "plan")
        spot.report(
            place,
            f"missing data would start the repair {rule.crit.plan}",
            "say then: warn or hold, or let crit start a halt",
        )


def _tells_absence(text: str) -> bool:
    try:
        return tells_absence(parse(text))
    except PromqlError:
        return False  # reported where it stands


def _plan(draft: Draft, entry: Entry) -> None:
    plan: Halt | Repair = entry.model
    spot = entry.spot
    for path, verify in verifies(plan):
        for index, text in enumerate(verify.that):
            _expression(draft, text, spot, (*path, "that", index))
        for index, name in enumerate(verify.rules):
            _unknown(draft, "rules", name, spot, spot.value(*path, "rules", index))
    names: dict[str, int] = {}
    for index, level in enumerate(plan.levels):
        if names.setdefault(level.name, index) != index:
            spot.report(
                spot.value("levels", index, "name"), f"two levels are called {short(level.name)}", "rename one of them"
            )
    if isinstance(plan, Repair):
        _disturbs(draft, spot, plan)
    if not isinstance(plan, Repair) or plan.exhausted == LEAVE_RUNNING:
        return
    place = spot.value("exhausted")
    halts = [
        name for name, other in draft.entries["plans"].items() if isinstance(other.model, Halt) or other.model is None
    ]
    known = [*halts, LEAVE_RUNNING]
    if plan.exhausted not in draft.entries["plans"]:
        if draft.whole:
            spot.report(place, f"there is no plan {short(plan.exhausted)}", nearest(plan.exhausted, known))
    elif plan.exhausted not in halts:
        spot.report(
            place,
            f"{plan.exhausted} is a repair; what is left when no level helped is a halt",
            nearest(plan.exhausted, known),
        )


def _disturbs(draft: Draft, spot: Spot, plan: Repair) -> None:
    """A plan may mute what it itself makes trip, never what makes the bot safe."""
    for index, name in enumerate(plan.disturbs):
        place = spot.value("disturbs", index)
        if _unknown(draft, "rules", name, spot, place):
            continue
        rule = draft.model("rules", name)
        last = None if rule is None or rule.crit is None else rule.crit.plan
        if last is not None and isinstance(draft.model("plans", last), Halt):
            spot.report(
                place,
                f"{short(name)} starts the halt {short(last)} and is never muted",
                "take it off the list; a halt during a repair goes first",
            )


def _steps(draft: Draft) -> None:
    """Every step of every plan, bound to every target that may come to it."""
    targets: Mapping[str, Target] = draft.models("targets")
    for name, users in _users(draft).items():
        entry = draft.entries["plans"][name]
        for target in users & targets.keys():
            for path, action in steps(entry.model):
                try:
                    action.at(targets[target])
                except ActionError as error:
                    what, _, cure = str(error).partition(" — ")
                    entry.spot.report(
                        entry.spot.value(*path), short_sentence(f"target {target}: {what}"), short_sentence(cure)
                    )


def _users(draft: Draft) -> dict[str, set[str]]:
    """Plan → targets whose rules start it, directly or when a repair is exhausted."""
    plans = draft.models("plans")
    users: dict[str, set[str]] = {}
    for entry in _well(draft, "rules"):
        crit = entry.model.crit
        if crit is None or crit.plan not in plans:
            continue
        users.setdefault(crit.plan, set()).add(entry.model.target)
        last = getattr(plans[crit.plan], "exhausted", None)
        if last in plans:
            users.setdefault(last, set()).add(entry.model.target)
    return users


def steps(plan: Halt | Repair) -> Iterator[tuple[Loc, Any]]:
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
