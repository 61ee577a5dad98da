"""What befalls many targets in one round is one message: how many, the worst few, and what is done about it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from watchdog.core.model import SEVERITY_RANK, Fact, Message
from watchdog.notifiers.folding import CLOSED
from watchdog.pipeline.incident_news import IncidentNews, PlanDecision, Recovery, Trip, with_labels

MAX_APART = 5
"""Targets that are told one by one."""
_MAX_WORST = 5
_MAX_NAMED = 20


def single_rule(news: IncidentNews) -> tuple[str, str] | None:
    """(rule, what happened) where one rule tripped, or recovered, and nothing else is to be told of the target but its plans."""
    told: Sequence[Trip | Recovery] = [*news.trips, *news.recoveries]
    rules = {one.rule for one in told}
    if len(rules) != 1 or news.departures or news.notes or (news.trips and news.recoveries):
        return None
    if news.recoveries:
        return None if news.decisions else (rules.pop(), "recovered")
    return rules.pop(), news.trips[0].how


def tell_as_one(what: tuple[str, str], news: Mapping[str, IncidentNews], incidents: Mapping[str, int]) -> Message:
    """`what`: of `single_rule`; `news` and `incidents` by target."""
    rule, how = what
    told: list[tuple[str, Trip | Recovery]] = []
    for target, part in news.items():
        told += [(target, trip) for trip in part.trips]
        told += [(target, recovery) for recovery in part.recoveries]
    told.sort(key=lambda one: (-SEVERITY_RANK[one[1].level], -one[1].excess))
    worst = dict(reversed(told))  # of each target the worst of it
    named = list(dict.fromkeys(target for target, _ in told))
    lines = [f"{target}: {with_labels(worst[target])}" for target in named[:_MAX_WORST]]
    lines += _name_others(named[_MAX_WORST:])
    lines += _count_decisions([decision for part in news.values() for decision in part.decisions])
    numbers = sorted(incidents[target] for target in news if target in incidents)
    lines += [f"incidents {numbers[0]} to {numbers[-1]}: trading-watchdog incidents"] if numbers else []
    parts = [part.message(target, incidents.get(target)) for target, part in news.items()]
    return Message(
        max((part.severity for part in parts), key=SEVERITY_RANK.__getitem__),
        f"{rule} {how} on {len(news)} targets",
        tuple(lines),
        opens=tuple(dict.fromkeys(topic for part in parts for topic in part.opens)),
        ends=tuple(dict.fromkeys(topic for part in parts for topic in part.ends)),
        facts=(
            Fact(named[0], f"{rule} {how}", told[0][1].level, len(news), with_labels(told[0][1]), told[0][1].excess),
        ),
    )


def end_as_one(ends: Sequence[Message]) -> Message:
    """Ends of many incidents, as they would be told one by one."""
    lines = [one.title for one in ends[:_MAX_NAMED]]
    lines += [f"and {len(ends) - _MAX_NAMED} more: trading-watchdog incidents"] if len(ends) > _MAX_NAMED else []
    return Message(
        max((one.severity for one in ends), key=SEVERITY_RANK.__getitem__),
        f"{len(ends)} incidents closed",
        tuple(lines),
        opens=tuple(dict.fromkeys(topic for one in ends for topic in one.opens)),
        ends=tuple(dict.fromkeys(topic for one in ends for topic in one.ends)),
        facts=(Fact("", CLOSED, "info", len(ends), ends[0].title),),
    )


def _name_others(targets: Sequence[str]) -> list[str]:
    if not targets:
        return []
    more = f" and {len(targets) - _MAX_NAMED} more" if len(targets) > _MAX_NAMED else ""
    return [f"and {', '.join(targets[:_MAX_NAMED])}{more}"]


def _count_decisions(decisions: Sequence[PlanDecision]) -> list[str]:
    """What is done first differs from bot to bot only by its files: of each kind the first one stands for all."""
    counts = Counter(one.what for one in decisions)
    first = {one.what: one for one in reversed(decisions)}
    return [f"{what} on {count}: {first[what].lines[0]}" for what, count in counts.items()]
