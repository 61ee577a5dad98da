"""How large a part of an evaluation may become, whoever asks: what is larger is refused by the name of the part that made it."""

from __future__ import annotations

from typing import NamedTuple

from watchdog.promql.errors import PromqlError

MAX_PAIRS = 1_000_000
"""Pairs of series that one operator lets meet."""


class EvaluationLimits(NamedTuple):
    """What one question of a person may take. Rules are bounded by their samples instead."""

    cost: int = 200_000_000
    """Values that are read or made, estimated before anything is evaluated."""
    cells: int = 10_000_000
    """Values (series × times) of any result on the way: 80 MB each."""
    series: int = 100_000
    """Series of any result on the way."""
    label_chars: int = 32_000_000
    """Characters of all labels of a result whose labels are made."""

    def check_size(self, part: str, series: int, times: int) -> None:
        """Raises PromqlError that names the part and the limit."""
        if series > self.series:
            raise PromqlError(
                f"{part} makes {series:,} series, more than {self.series:,} — select fewer of them, or aggregate before it"
            )
        if series * times > self.cells:
            raise PromqlError(
                f"{part} makes {series:,} series × {times:,} times, more than {self.cells:,} values"
                " — select fewer series, aggregate before it, or take a longer step"
            )
