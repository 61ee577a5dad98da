"""Many expressions at one time, as the daemon asks: what they share is worked out once.

`Tick.read` says what `evaluate` says of that time, bit for bit: `quick` for expressions about single series, and
`evaluate`'s own way for all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from watchdog.model import Labels, Millis
from watchdog.promql.engine import whole
from watchdog.promql.look import Common, Look, Unusual
from watchdog.promql.nodes import Expr
from watchdog.promql.pages import NEVER, Floats, Series
from watchdog.promql.quick import Plan
from watchdog.promql.selectors import NONE, Run
from watchdog.promql.vectors import Keys, nameless


class Values(Mapping[Labels, float]):
    """An instant vector: labels without `__name__` → value. Looks at single values cost a dictionary, made when one does."""

    __slots__ = ("_held", "_numbers", "high", "low", "names")

    names: Keys
    """The same object as long as the same series are there."""
    low: float
    """Least value, NaN when there is none or one of them is NaN; `high` the greatest."""
    high: float

    def __init__(self, names: Keys, numbers: tuple[float, ...] | Floats, low: float, high: float) -> None:
        self.names, self._numbers, self.low, self.high = names, numbers, low, high
        self._held: dict[Labels, float] | None = None

    def _dict(self) -> dict[Labels, float]:
        if self._held is None:
            self._held = dict(zip(self.names, np.asarray(self._numbers).tolist(), strict=True))
        return self._held

    def __getitem__(self, labels: Labels) -> float:
        return self._dict()[labels]

    def __iter__(self) -> Iterator[Labels]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return repr(self._dict())


class Instant(NamedTuple):
    """What an expression says at one time."""

    values: Values
    newest: Millis
    """As in `Result`; 0 = no sample was read."""
    have: Millis
    need: Millis
    until: Millis
    """As long as no samples come, the same is said up to this time, exclusively; the time itself: nothing is promised."""


_NOTHING = Values((), (), math.nan, math.nan)


class Live:
    """The plans of the expressions over some series, kept from one time to the next."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._generation: object = None
        self._plans: dict[int, tuple[Expr, Plan | None]] = {}
        self._common = Common()

    def at(self, now: Millis) -> Tick:
        """A look at `now`. Use it before the series change, and throw it away."""
        return Tick(self, now)

    @property
    def series(self) -> Series:
        return self._series

    def plans(self) -> dict[int, tuple[Expr, Plan | None]]:
        """Those of the series that there are now, by the id of the expression, which they hold so that it stays its own.
        None: the expression is not for the short way."""
        if self._generation is not self._series.generation:
            self._generation = self._series.generation
            self._plans, self._common = {}, Common()
        return self._plans

    def plan(self, expr: Expr) -> Plan | None:
        """A new plan."""
        try:
            plan = Plan(expr.node, self._series, self._common)
        except Unusual:
            plan = None
        if len(self._plans) >= _MANY:
            self._plans.clear()
        self._plans[id(expr)] = expr, plan
        return plan


_MANY = 100_000
"""Plans that are remembered: whoever parses anew for each look must not fill the memory."""


class Tick:
    """All that is asked at one time."""

    def __init__(self, live: Live, now: Millis) -> None:
        self._live = live
        self._now = now
        self._looks: dict[Millis, Look] = {}
        self._plans = live.plans()

    def read(self, expr: Expr, since: Millis | None = None) -> Instant:
        """`since`: as if no sample up to that time, inclusive, had ever been taken. Raises PromqlError as `evaluate` does."""
        known = self._plans.get(id(expr))
        plan = self._live.plan(expr) if known is None else known[1]
        if plan is None:
            return self._by_arrays(expr, since)
        after = NEVER if since is None else since
        look = self._looks.get(after)
        if look is None:
            look = self._looks[after] = Look(self._now, after)
        try:
            x = plan.value(look)
            have, need = plan.coverage(look) if plan.covers else (0, 0)
        except Unusual:
            return self._by_arrays(expr, since)
        if x is None:
            values = _NOTHING
        else:
            x = x if x == x else math.nan  # one NaN, whatever its bits
            values = Values(plan.names, (x,), x, x)
        newest, until = plan.about(look)
        return Instant(values, newest, have, need, until)

    def _by_arrays(self, expr: Expr, since: Millis | None) -> Instant:
        run = Run(self._live.series, np.array([self._now], np.int64), since)
        vector = whole(expr, run)
        newest = int(run.newest[0])
        have = int(run.have[0])
        return Instant(
            _values(expr, vector.keys, vector.v[:, 0]),
            0 if newest == NONE else newest,
            have,
            have if run.need is None else int(run.need[0]),
            self._now,
        )


def _values(expr: Expr, keys: Keys, v: Floats) -> Values:
    if not keys:
        return _NOTHING
    return Values(expr.names.of(keys, None, lambda: nameless(keys)), v, float(v.min()), float(v.max()))
