"""What holds of samples, whoever made them."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterable

from watchdog.core import model
from watchdog.core.model import Labels
from watchdog.core.protocols import SourceState


def check_samples(found: Iterable[model.Sample], now: int) -> None:
    series: list[tuple[str, Labels]] = []
    for name, labels, t, value in found:
        assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name)
        assert labels == tuple(sorted(labels))
        assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", key) and text for key, text in labels)
        assert "source" not in dict(labels)
        assert type(value) is float
        assert math.isfinite(value) or math.isnan(value)
        assert type(t) is int
        assert t in (now, 1_699_999_999_000)
        series.append((name, labels))
    assert series
    assert len(set(series)) == len(series)


class Deliveries:
    """What a source has delivered so far."""

    def __init__(self) -> None:
        self.made: list[tuple[list[model.Sample], SourceState]] = []
        self._one_more = threading.Semaphore(0)

    def __call__(self, samples: Iterable[model.Sample], state: SourceState) -> int:
        self.made.append((list(samples), json.loads(json.dumps(state, allow_nan=False))))
        self._one_more.release()
        return 0

    def wait(self) -> tuple[list[model.Sample], SourceState]:
        assert self._one_more.acquire(timeout=30), "nothing was delivered"
        return self.made[-1]
