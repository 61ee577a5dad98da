"""What a verify looks at: verdicts and conditions on nothing but samples from after the last step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from watchdog import rules
from watchdog.core.model import Millis, Verdict
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
) -> tuple[list[Verdict], dict[str, bool | None]]:
    """`checks`: all there are; those of the target's `keys` are judged, and each of its `conditions` is asked. A rule that sleeps
    is `nodata`: what it is not meant for neither proves nor disproves anything."""
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
            verdicts += rules.judge(check, kpis.evaluate_check(check, {}, now, since), now, mine)
    return verdicts, {text: kpis.condition_holds(text, target, now, since) for text in conditions}
