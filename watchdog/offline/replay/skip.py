"""Long stretches of history in which the verdicts on a KPI are surely of one kind: nothing need be evaluated there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog import rules
from watchdog.core.model import Millis
from watchdog.promql import Expr
from watchdog.promql.fast.block_summaries import BlockSummary
from watchdog.promql.fast.envelopes import Envelope, TimeSpans, compute_envelope
from watchdog.rules import Check, Kpi, Rule
from watchdog.tsdb.page import Bools, PageList

ROUNDS_PER_STRETCH = 512
"""Rounds of a stretch: it is skipped as a whole, or not."""
MIN_STRETCHES = 8
"""So many stretches are worth passing over: it costs about as much to begin and to end that."""


class Segment(NamedTuple):
    """Times that belong together, one part after the other."""

    first: Millis
    last: Millis
    """Inclusive."""
    skippable: bool
    """Whether at all of them the verdicts are of one kind; if not, that is not known."""


class Segmenter:
    """One history, asked of many KPIs."""

    def __init__(
        self, pages: PageList, parsed: Mapping[str, Expr], start: Millis, end: Millis, interval: Millis
    ) -> None:
        self._pages, self._parsed, self._end = pages, parsed, end
        firsts = np.arange(start, end + 1, ROUNDS_PER_STRETCH * interval, dtype=np.int64)
        self._stretches = TimeSpans(firsts, np.minimum(firsts + (ROUNDS_PER_STRETCH * interval - 1), end))
        self._summaries: dict[int, BlockSummary] = {}
        self._envelopes: dict[str, Envelope | None] = {}

    def segments(
        self, kpi: Kpi, checks: Collection[tuple[Check, Rule]], max_age: Millis, ages: Mapping[str, Millis]
    ) -> list[Segment]:
        """All of the history. `max_age`: beyond which the KPI is not believed; `ages`: the same of the conditions of `only`."""
        states = self._verdict_states(kpi, checks, max_age, ages)
        firsts = self._stretches.starts
        if states is None or firsts.size < MIN_STRETCHES:
            return [Segment(int(firsts[0]), self._end, False)]
        return _merge_segments(states, self._stretches)

    def _verdict_states(
        self, kpi: Kpi, checks: Collection[tuple[Check, Rule]], max_age: Millis, ages: Mapping[str, Millis]
    ) -> npt.NDArray[np.int8] | None:
        """[stretches, states] where all verdicts stay of a kind, a row of numbers that says which; -1 where they may not."""
        kpi_envelope = self._envelope_of(kpi.expr)
        if kpi_envelope is None:
            return None
        sure: Bools = kpi_envelope.certain & (kpi_envelope.newest_age <= max_age)
        states: list[npt.NDArray[np.int8]] = [np.zeros(sure.size, np.int8)]
        if kpi.needs is not None:
            evidence = self._envelope_of(kpi.needs)
            if evidence is None:
                return None
            sure &= evidence.certain
            states += list(evidence.present.astype(np.int8))
        if any(check.requires_full_window for check, _ in checks):
            sure &= kpi_envelope.covered | kpi_envelope.uncovered
            states.append(kpi_envelope.covered.astype(np.int8))
        for check, rule in checks:
            sure &= (rules.same_kind(check, kpi_envelope.low, kpi_envelope.high) | ~kpi_envelope.present).all(axis=0)
            states += list(rules.verdict_kinds(check, kpi_envelope.low, kpi_envelope.present))
            for state, known in self._asleep_states(rule, ages):
                sure &= known
                states.append(state.astype(np.int8))
        found = np.array(states, np.int8)
        found[:, ~sure] = -1
        return found.T

    def _asleep_states(self, rule: Rule, ages: Mapping[str, Millis]) -> Iterator[tuple[Bools, Bools]]:
        """What keeps a rule asleep: whether it does, and where that is known."""
        only, (firsts, lasts) = rule.only, self._stretches
        if only is None:
            return
        if only.between or only.days:
            first = int(firsts[0]) // 60_000
            minutes = np.arange(first, self._end // 60_000 + 1, dtype=np.int64)
            open_ = np.zeros(minutes.size + 1, np.int64)
            np.cumsum(rules.in_schedule_at(only.between, only.days, only.timezone, minutes * 60_000), out=open_[1:])
            from_, until = firsts // 60_000 - first, lasts // 60_000 - first + 1
            inside = open_[until] - open_[from_]
            yield inside == 0, (inside == 0) | (inside == until - from_)
        if only.when is not None:
            said = self._envelope_of(only.when)
            state: Bools = np.zeros(firsts.size, np.bool_)
            known = state
            if said is not None:
                state = np.logical_not(said.present.any(axis=0))
                known = said.certain & (said.newest_age <= ages[only.when])
            yield state, known

    def _envelope_of(self, text: str) -> Envelope | None:
        if text not in self._envelopes:
            self._envelopes[text] = compute_envelope(self._parsed[text], self._pages, self._stretches, self._summaries)
        return self._envelopes[text]


def _merge_segments(states: npt.NDArray[np.int8], over: TimeSpans) -> list[Segment]:
    """Neighbours that are alike are one part; what is too short to be worth it is looked at closely with its neighbours."""
    moves = np.flatnonzero((states[1:] != states[:-1]).any(axis=1)) + 1
    edges = [0, *moves.tolist(), len(states)]
    known = (states[edges[:-1], 0] >= 0).tolist()
    parts: list[Segment] = []
    for start, stop, certain in zip(edges[:-1], edges[1:], known, strict=True):
        part = Segment(int(over.starts[start]), int(over.ends[stop - 1]), certain and stop - start >= MIN_STRETCHES)
        if parts and not part.skippable and not parts[-1].skippable:
            part = Segment(parts.pop().first, part.last, False)
        parts.append(part)
    return parts
