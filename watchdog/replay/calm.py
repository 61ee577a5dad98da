"""Long stretches of history in which the verdicts on a KPI are surely of one kind: nothing need be evaluated there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog import rules
from watchdog.model import Millis
from watchdog.promql import Expr, Pages
from watchdog.promql.envelopes import Envelope, Stretches, envelope
from watchdog.promql.pages import Bools
from watchdog.promql.summaries import Summary
from watchdog.rules import Check, Kpi, Rule

LOOKS = 512
"""Ticks of a stretch: it is calm or it is not."""
WORTH = 8
"""So many stretches are worth passing over: it costs about as much to begin and to end that."""


class Part(NamedTuple):
    """Times that belong together, one part after the other."""

    first: Millis
    last: Millis
    """Inclusive."""
    calm: bool
    """Whether at all of them the verdicts are of one kind; if not, that is not known."""


class Calm:
    """One history, asked of many KPIs."""

    def __init__(self, pages: Pages, parsed: Mapping[str, Expr], start: Millis, end: Millis, tick: Millis) -> None:
        self._pages, self._parsed, self._end = pages, parsed, end
        firsts = np.arange(start, end + 1, LOOKS * tick, dtype=np.int64)
        self._over = Stretches(firsts, np.minimum(firsts + (LOOKS * tick - 1), end))
        self._summaries: dict[int, Summary] = {}
        self._known: dict[str, Envelope | None] = {}

    def parts(
        self, kpi: Kpi, checks: Collection[tuple[Check, Rule]], max_age: Millis, ages: Mapping[str, Millis]
    ) -> list[Part]:
        """All of the history. `max_age`: beyond which the KPI is not believed; `ages`: the same of the conditions of `only`."""
        states = self._states(kpi, checks, max_age, ages)
        firsts = self._over.firsts
        if states is None or firsts.size < WORTH:
            return [Part(int(firsts[0]), self._end, False)]
        return _joined(states, self._over)

    def _states(
        self, kpi: Kpi, checks: Collection[tuple[Check, Rule]], max_age: Millis, ages: Mapping[str, Millis]
    ) -> npt.NDArray[np.int8] | None:
        """[stretches, states] where all verdicts stay of a kind, a row of numbers that says which; -1 where they may not."""
        said = self._ask(kpi.expr)
        if said is None:
            return None
        sure: Bools = said.sure & (said.age <= max_age)
        states: list[npt.NDArray[np.int8]] = [np.zeros(sure.size, np.int8)]
        if kpi.needs is not None:
            evidence = self._ask(kpi.needs)
            if evidence is None:
                return None
            sure &= evidence.sure
            states += list(evidence.there.astype(np.int8))
        if any(check.demands_cover for check, _ in checks):
            sure &= said.covered | said.uncovered
            states.append(said.covered.astype(np.int8))
        for check, rule in checks:
            sure &= (rules.settled(check, said.low, said.high) | ~said.there).all(axis=0)
            states += list(rules.kinds(check, said.low, said.there))
            for state, known in self._sleeps(rule, ages):
                sure &= known
                states.append(state.astype(np.int8))
        found = np.array(states, np.int8)
        found[:, ~sure] = -1
        return found.T

    def _sleeps(self, rule: Rule, ages: Mapping[str, Millis]) -> Iterator[tuple[Bools, Bools]]:
        """What keeps a rule asleep: whether it does, and where that is known."""
        only, (firsts, lasts) = rule.only, self._over
        if only is None:
            return
        if only.between or only.days:
            first = int(firsts[0]) // 60_000
            minutes = np.arange(first, self._end // 60_000 + 1, dtype=np.int64)
            open_ = np.zeros(minutes.size + 1, np.int64)
            np.cumsum(rules.inside_at(only.between, only.days, only.timezone, minutes * 60_000), out=open_[1:])
            from_, until = firsts // 60_000 - first, lasts // 60_000 - first + 1
            inside = open_[until] - open_[from_]
            yield inside == 0, (inside == 0) | (inside == until - from_)
        if only.when is not None:
            said = self._ask(only.when)
            state: Bools = np.zeros(firsts.size, np.bool_)
            known = state
            if said is not None:
                state = np.logical_not(said.there.any(axis=0))
                known = said.sure & (said.age <= ages[only.when])
            yield state, known

    def _ask(self, text: str) -> Envelope | None:
        if text not in self._known:
            self._known[text] = envelope(self._parsed[text], self._pages, self._over, self._summaries)
        return self._known[text]


def _joined(states: npt.NDArray[np.int8], over: Stretches) -> list[Part]:
    """Neighbours that are alike are one part; what is too short to be worth it is looked at closely with its neighbours."""
    moves = np.flatnonzero((states[1:] != states[:-1]).any(axis=1)) + 1
    edges = [0, *moves.tolist(), len(states)]
    known = (states[edges[:-1], 0] >= 0).tolist()
    parts: list[Part] = []
    for start, stop, calm in zip(edges[:-1], edges[1:], known, strict=True):
        part = Part(int(over.firsts[start]), int(over.lasts[stop - 1]), calm and stop - start >= WORTH)
        if parts and not part.calm and not parts[-1].calm:
            part = Part(parts.pop().first, part.last, False)
        parts.append(part)
    return parts
