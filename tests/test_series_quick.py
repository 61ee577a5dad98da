"""The usual read, all series at one time, leaves the store just as the long way does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchdog.model import Sample
from watchdog.promql.pages import STALE_BITS
from watchdog.series import Store
from watchdog.series.shelf import Shelf

GONE = float(np.array(STALE_BITS, np.int64).view(np.float64))
VALUES = st.sampled_from([0.0, 1.0, -2.5, 1e9, math.nan, math.inf, GONE])
NAMES = ("a", "b", "c", "long")
READ = st.tuples(
    st.integers(-70_000, 400_000).map(lambda dt: dt if dt < -60_000 or dt > 100_000 else 1_000),
    st.sampled_from([NAMES, NAMES, NAMES, NAMES, NAMES[:3], NAMES[:3], NAMES[::-1], ("a",), (), ("a", "a", "b")]),
    st.sampled_from([0, 0, 0, 0, -500, 700_000, "apart"]),
    st.lists(VALUES, min_size=4, max_size=4) | st.just([1.0, 2.0, 3.0, 4.0]),
    st.sampled_from(["keep"] * 9 + ["lose"]),
)


def state(store: Store) -> list[Any]:
    return [
        (
            page.keys,
            page.t.tolist(),
            page.v.view(np.int64).tolist()
            if page.v.flags.c_contiguous
            else np.ascontiguousarray(page.v).view(np.int64).tolist(),
            page.begins.tolist(),
            page.trimmed,
            page.gap.tolist(),
            page.gap_max,
            page.last.tolist(),
            page.gone.tolist(),
            page.now,
        )
        for page in store.pages
        if isinstance(page, Shelf)
    ]


def told(reads: list[Any], windows: dict[str, int]) -> list[Any]:
    store, now = Store(windows), 1_000_000
    said: list[Any] = []
    for dt, names, apart, values, what in reads:
        now += dt
        if what == "lose":
            store.lose("bot", now)
        else:
            times = [now - 7 * i for i in range(len(names))] if apart == "apart" else [now + apart] * len(names)
            said.append(
                store.keep("bot", now, [Sample(n, (), t, v) for n, t, v in zip(names, times, values, strict=False)])
            )
        said.append(state(store))
    return said


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(READ, max_size=25), st.sampled_from([{}, {"long": 900_000}]))
def test_a_usual_read_is_kept_as_any_other(reads: list[Any], windows: dict[str, int]) -> None:
    quick = told(reads, windows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shelf, "extend", lambda *_: False)
        slow = told(reads, windows)

    assert quick == slow


def test_a_usual_read_does_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    for now in (1_000, 2_000, 3_000):
        store.keep("bot", now, [Sample(name, (), now, 1.0) for name in NAMES])
    monkeypatch.setattr(Shelf, "take", None)

    assert store.keep("bot", 4_000, [Sample(name, (), 4_000, 2.0) for name in NAMES]) == 4_000
    assert [v for _, _, v in store.last("c")] == [2.0]
