"""What the changes amount to: trips, and the plans that they would have started."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from watchdog.config import Config
from watchdog.core.model import Labels, Millis
from watchdog.offline.replay.threshold import ThresholdReplay
from watchdog.rules import ThresholdLevel, guard
from watchdog.rules.guard import Allowed, Refused, may_start_plan


@dataclass(frozen=True, slots=True)
class ReplayTrip:
    """One threshold that fired."""

    rule: str
    level: ThresholdLevel
    target: str
    labels: Labels
    start: Millis
    end: Millis | None
    """None: it still fires at the end of the history."""
    reason: str
    plan: str | None
    index: int
    """Of its check, in file order."""


@dataclass(frozen=True, slots=True)
class PlanStart:
    """A plan that would have started, or why it would not have."""

    t: Millis
    target: str
    plan: str
    kind: str
    rule: str
    refused: str | None
    """None: it starts."""


def collect_trips(thresholds: Iterable[ThresholdReplay]) -> list[ReplayTrip]:
    trips = []
    for course in thresholds:
        check = course.check
        open_: dict[Labels, tuple[Millis, str]] = {}
        for change, _ in course.changes:
            if change.kind == "tripped":
                open_[change.key.labels] = (change.time, change.reason)
            elif change.kind == "cleared" or (change.kind == "gone" and change.key.labels in open_):
                start, reason = open_.pop(change.key.labels)
                trips.append(
                    ReplayTrip(
                        check.rule,
                        check.level,
                        check.target,
                        change.key.labels,
                        start,
                        change.time,
                        reason,
                        check.plan,
                        course.index,
                    )
                )
        trips += [
            ReplayTrip(check.rule, check.level, check.target, labels, start, None, reason, check.plan, course.index)
            for labels, (start, reason) in open_.items()
        ]
    return sorted(trips, key=lambda trip: (trip.start, trip.index, trip.labels))


def simulate_plans(config: Config, thresholds: Sequence[ThresholdReplay], end: Millis) -> list[PlanStart]:
    """Asks the guard as the daemon would.

    The past is what it was: a plan takes no time and changes nothing, each plan starts once an incident, and after a
    halt a person resumes as soon as the incident is over.
    """
    trips = collect_trips(thresholds)
    starts: list[PlanStart] = []
    for target in dict.fromkeys(trip.target for trip in trips):
        target_trips = [trip for trip in trips if trip.target == target]
        starts += _simulate_target(config, target, target_trips, end)
    return sorted(starts, key=lambda one: one.t)


def _simulate_target(config: Config, target: str, trips: Sequence[ReplayTrip], end: Millis) -> list[PlanStart]:
    starts: list[PlanStart] = []
    past: list[guard.PastRun] = []
    incidents = _merge_incidents(trips, end)
    freshness = {rule.name for rule in config.rules.values() if rule.if_missing.then == "crit"}
    # Halts first, then file order, as in the ledger.
    queue = [
        (trip.start, config.plans[trip.plan].kind != "halt", trip.index, n) for n, trip in enumerate(trips) if trip.plan
    ]
    heapq.heapify(queue)
    refused: dict[str, str] = {}
    while queue:
        now, _, _, n = heapq.heappop(queue)
        trip = trips[n]
        assert trip.plan is not None
        number = next(i for i, (start, over) in enumerate(incidents) if start <= trip.start <= over)
        incident_starts = [
            one for one in starts if one.refused is None and incidents[number][0] <= one.t <= incidents[number][1]
        ]
        plan = config.plans[trip.plan]
        if any(one.plan == trip.plan for one in incident_starts):
            continue
        blind = next(
            (
                f"{one.rule} fires"
                for one in trips
                if one.rule in freshness and one.start <= now < (end if one.end is None else one.end)
            ),
            None,
        )
        facts = guard.GuardInputs(
            latch_reason=None,
            blind_reason=blind,
            has_fresh_data=True,
            last_external_change=None,
            halt_ran=any(one.kind == "halt" for one in incident_starts),
            past_runs=past,
        )
        verdict = may_start_plan(plan.kind, config.targets[target], facts, now)
        if isinstance(verdict, Allowed):
            refused.pop(trip.plan, None)
            starts.append(PlanStart(now, target, trip.plan, plan.kind, trip.rule, None))
            past.append(guard.PastRun(plan.kind, now, now, number))
            continue
        if refused.get(trip.plan) != verdict.code:
            refused[trip.plan] = verdict.code
            starts.append(PlanStart(now, target, trip.plan, plan.kind, trip.rule, verdict.reason))
        retry_at = _retry_time(verdict, config, target, past, trips, now)
        if retry_at is not None and retry_at < (end if trip.end is None else trip.end):
            heapq.heappush(queue, (retry_at, plan.kind != "halt", trip.index, n))
    return starts


def _retry_time(
    verdict: Refused,
    config: Config,
    target: str,
    past: Sequence[guard.PastRun],
    trips: Sequence[ReplayTrip],
    now: Millis,
) -> Millis | None:
    """When it is worth asking again; None: not in this incident."""
    known = config.targets[target]
    if verdict.code == "cooldown":
        return max(one.ended or 0 for one in past if one.kind == "repair") + known.cooldown
    if verdict.code == "budget":
        return max(
            (use.frees for use in guard.budget_uses(known, past, now) if not use.left and use.frees), default=None
        )
    if verdict.code == "blind":
        return min((one.end for one in trips if one.end is not None and one.end > now), default=None)
    return None


def _merge_incidents(trips: Sequence[ReplayTrip], end: Millis) -> list[tuple[Millis, Millis]]:
    """From the first trip until nothing fires any more; both ends included."""
    merged: list[tuple[Millis, Millis]] = []
    for trip in trips:
        over = end if trip.end is None else trip.end
        if merged and trip.start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], over))
        else:
            merged.append((trip.start, over))
    return merged
