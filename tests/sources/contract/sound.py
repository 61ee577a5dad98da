"""What holds of samples, whoever made them."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterable

from watchdog.core import model
from watchdog.core.model import Labels
from watchdog.core.protocols import SourceState


def check_series(found: Iterable[model.Sample]) -> set[tuple[str, Labels]]:
    """Names, labels, values and times are what they must be, and no series has two values of one time. Which there are."""
    seen: set[tuple[str, Labels, int]] = set()
    for name, labels, t, value in found:
        assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name)
        assert labels == tuple(sorted(labels))
        assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", key) and text for key, text in labels)
        assert "source" not in dict(labels)
        assert type(value) is float
        assert type(t) is int
        assert (name, labels, t) not in seen
        seen.add((name, labels, t))
    return {(name, labels) for name, labels, _ in seen}


def check_samples(found: Iterable[model.Sample], now: int) -> None:
    """Of what is well: one of each series, each a number, from now or from when the data say."""
    samples = list(found)
    assert samples
    assert len(check_series(samples)) == len(samples)
    for _, _, t, value in samples:
        assert math.isfinite(value) or math.isnan(value)
        assert t in (now, 1_699_999_999_000)


class Deliveries:
    """What a source has delivered so far."""

    def __init__(self) -> None:
        self.made: list[tuple[list[model.Sample], SourceState]] = []
        self._changed = threading.Condition()
        self._seen = 0

    def __call__(self, samples: Iterable[model.Sample], state: SourceState) -> int:
        with self._changed:
            self.made.append((list(samples), json.loads(json.dumps(state, allow_nan=False))))
            self._changed.notify_all()
        return 0

    def wait(self) -> tuple[list[model.Sample], SourceState]:
        """For the next one."""
        self._seen += 1
        self.wait_for_more_than(self._seen - 1)
        return self.made[-1]

    def wait_for_more_than(self, number: int) -> None:
        self.wait_until(lambda: len(self.made) > number)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 30), "it was not delivered"
