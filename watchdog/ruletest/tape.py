"""The samples of one test: those that the file gives, and those that its rules record. Time goes forward on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from watchdog.model import Labels, Millis
from watchdog.promql import Expr, Page, Pages, evaluate
from watchdog.promql.pages import ABSENT, STALE, missing
from watchdog.ruletest.notation import Value


class DuplicateError(Exception):
    """A series has another value at that time already."""


class Tape(Pages):
    """Nothing after the time that was last `play`ed to can be seen."""

    def __init__(self, given: Mapping[Labels, Sequence[Value]], interval: Millis, others: Iterable[Millis]) -> None:
        """`given`: key with name → one value each `interval`, from time 0. `others`: times at which rules may write."""
        longest = max(map(len, given.values()), default=0)
        self._t = np.unique(np.array([*(i * interval for i in range(longest)), *others], np.int64))
        self._v = np.full((max(8, 2 * len(given)), self._t.size), ABSENT, np.float64)
        self._page = Page(np.zeros(0, np.int64), np.zeros((len(given), 0)), list(given), 0)
        self._row = {key: row for row, key in enumerate(given)}
        self._now = -1
        for row, values in enumerate(given.values()):
            columns = np.searchsorted(self._t, np.arange(len(values), dtype=np.int64) * interval)
            for column, value in zip(columns.tolist(), values, strict=True):
                if value == "stale":
                    self._v[row, column] = STALE
                elif value is not None:
                    self._v[row, column] = value
        super().__init__([self._page])

    def play(self, now: Millis) -> None:
        """Everything up to `now` can be seen."""
        self._now = now
        self._show()

    def _show(self) -> None:
        page, width = self._page, int(self._t.searchsorted(self._now, "right"))
        page.t, page.v = self._t[:width], self._v[: len(page.keys), :width]
        newest = int(page.t[-1]) if width else 0
        page.gap = np.full(len(page.keys), newest)  # any cell may be empty: readers look twice
        page.gap_max = newest

    def write(self, key: Labels, t: Millis, value: float) -> None:
        """What a rule says of a series. Raises DuplicateError when it has another value there."""
        row, column = self._place(key), int(self._t.searchsorted(t))
        before = self._v[row, column : column + 1]
        if not missing(before)[0]:
            if before[0] == value or (before[0] != before[0] and value != value):
                return
            raise DuplicateError("duplicate sample for timestamp")
        self._v[row, column] = value if value == value else np.nan

    def mark_gone(self, key: Labels, t: Millis) -> None:
        row, column = self._place(key), int(self._t.searchsorted(t))
        if missing(self._v[row, column : column + 1])[0]:
            self._v[row, column] = STALE

    def _place(self, key: Labels) -> int:
        row = self._row.get(key)
        if row is None:
            row = self._row[key] = len(self._page.keys)
            if row == len(self._v):
                self._v = np.concatenate((self._v, np.full_like(self._v, ABSENT)))
            self._page.keys.append(key)
            self._page.begins = np.append(self._page.begins, 0)
            self._show()
            self.changed()
        return row

    def ask(self, expr: Expr, t: Millis) -> dict[Labels, float]:
        """The instant vector at `t`: labels with the name, where PromQL keeps it. Raises PromqlError."""
        result = evaluate(expr, self, np.array([t], np.int64))
        return {result.keys[row]: float(result.values[row, 0]) for row in np.flatnonzero(result.present[:, 0])}
