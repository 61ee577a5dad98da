"""The samples of one test: those that the file gives, and those that its rules record. Time goes forward on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.offline.ruletest.notation import SeriesValue
from watchdog.promql import Expr, evaluate
from watchdog.tsdb.page import ABSENT, STALE, PageList, SeriesPage, is_missing


class DuplicateError(Exception):
    """A series has another value at that time already."""


class SampleFeed(PageList):
    """Nothing after the time that was last advanced to can be seen."""

    def __init__(
        self, series: Mapping[Labels, Sequence[SeriesValue]], interval: Millis, rule_times: Iterable[Millis]
    ) -> None:
        """`series`: key with name → one value each `interval`, from time 0. `rule_times`: times at which rules may write."""
        longest = max(map(len, series.values()), default=0)
        self._t = np.unique(np.array([*(i * interval for i in range(longest)), *rule_times], np.int64))
        self._v = np.full((max(8, 2 * len(series)), self._t.size), ABSENT, np.float64)
        self._page = SeriesPage(np.zeros(0, np.int64), np.zeros((len(series), 0)), list(series), 0)
        self._rows = {key: row for row, key in enumerate(series)}
        self._now = -1
        for row, values in enumerate(series.values()):
            columns = np.searchsorted(self._t, np.arange(len(values), dtype=np.int64) * interval)
            for column, value in zip(columns.tolist(), values, strict=True):
                if value == "stale":
                    self._v[row, column] = STALE
                elif value is not None:
                    self._v[row, column] = value
        super().__init__([self._page])

    def advance_to(self, now: Millis) -> None:
        """Everything up to `now` can be seen."""
        self._now = now
        self._update_page()

    def _update_page(self) -> None:
        page, width = self._page, int(self._t.searchsorted(self._now, "right"))
        page.t, page.v = self._t[:width], self._v[: len(page.keys), :width]
        newest = int(page.t[-1]) if width else 0
        page.last_gap = np.full(len(page.keys), newest)  # any cell may be empty: a lookup tries twice
        page.newest_gap = newest

    def write(self, key: Labels, t: Millis, value: float) -> None:
        """What a rule says of a series. Raises DuplicateError when it has another value there."""
        row, column = self._row_of(key), int(self._t.searchsorted(t))
        before = self._v[row, column : column + 1]
        if not is_missing(before)[0]:
            if before[0] == value or (before[0] != before[0] and value != value):
                return
            raise DuplicateError("duplicate sample for timestamp")
        self._v[row, column] = value if value == value else np.nan

    def mark_stale(self, key: Labels, t: Millis) -> None:
        row, column = self._row_of(key), int(self._t.searchsorted(t))
        if is_missing(self._v[row, column : column + 1])[0]:
            self._v[row, column] = STALE

    def _row_of(self, key: Labels) -> int:
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._page.keys)
            if row == len(self._v):
                self._v = np.concatenate((self._v, np.full_like(self._v, ABSENT)))
            self._page.keys.append(key)
            self._page.watched_since = np.append(self._page.watched_since, 0)
            self._update_page()
            self.invalidate()
        return row

    def query(self, expr: Expr, t: Millis) -> dict[Labels, float]:
        """The instant vector at `t`: labels with the name, where PromQL keeps it. Raises PromqlError."""
        result = evaluate(expr, self, np.array([t], np.int64))
        return {result.keys[row]: float(result.values[row, 0]) for row in np.flatnonzero(result.present[:, 0])}
