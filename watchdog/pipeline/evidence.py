"""What a verify looks at: verdicts and conditions on nothing but samples from after the last step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

from watchdog import rules
from watchdog.core.model import JsonObject, Labels, Millis, Verdict
from watchdog.journal.serialization import labels_from_list
from watchdog.pipeline.check_tracker import CheckTracker
from watchdog.pipeline.kpi_evaluation import KpiEvaluation
from watchdog.rules import Check
from watchdog.rules.state_machine import StateKey


def gather_evidence(
    target: str,
    checks: Iterable[Check],
    kpis: KpiEvaluation,
    is_inactive: Callable[[Check, Millis], bool],
    keys: Collection[StateKey],
    conditions: Collection[str],
    since: Millis,
    now: Millis,
    siblings: Mapping[tuple[str, str], Collection[Labels]] = MappingProxyType({}),
) -> tuple[list[Verdict], dict[str, bool | None]]:
    """`checks`: all there are; those of the target's `keys` are judged, and each of its `conditions` is asked. A rule that sleeps
    is `nodata`: what it is not meant for neither proves nor disproves anything. `siblings`: (rule, level) → the label sets that had
    a value when the repair began."""
    verdicts = []
    for check in checks:
        if check.target != target:
            continue
        mine = [key.labels for key in keys if (key.rule, key.level) == (check.rule, check.level)]
        if mine and is_inactive(check, now):
            verdicts += [
                Verdict(check.rule, check.level, labels, "nodata", f"{check.rule} sleeps", target=target)
                for labels in mine
            ]
        elif mine:
            judged = rules.judge(check, kpis.evaluate_check(check, {}, now, since), now, mine)
            before = siblings.get((check.rule, check.level))
            verdicts += rules.judge_replaced(judged, lambda _, before=before: before)  # type: ignore[misc]
    return verdicts, {text: kpis.condition_holds(text, target, now, since) for text in conditions}


_MAX_LABEL_SETS = 10_000
"""Of all rules together: they are written down ahead of a repair's first step."""


def dump_label_sets(trackers: Iterable[CheckTracker], target: str, rules: Collection[str]) -> JsonObject:
    """What has a value now, of these rules of a target and of those that start a plan, for the journal: so that a repair can
    tell what has come since. Rules without labels are left out, and what is too much."""
    found: JsonObject = {}
    left = _MAX_LABEL_SETS
    for tracker in trackers:
        check, present = tracker.check, tracker.present
        if check.target != target or (check.plan is None and check.rule not in rules):
            continue
        if present and present != ((),) and len(present) <= left:
            left -= len(present)
            found.setdefault(check.rule, {})[check.level] = present
    return found


def parse_label_sets(dumped: JsonObject) -> dict[tuple[str, str], frozenset[Labels]]:
    """(rule, level) → label sets, as the journal gives back what was dumped."""
    return {
        (rule, level): frozenset(map(labels_from_list, listed))
        for rule, levels in dumped.items()
        for level, listed in levels.items()
    }
