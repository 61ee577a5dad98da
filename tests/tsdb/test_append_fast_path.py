"""The usual read, all series at one time, leaves the store just as the long way does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from watchdog.core.model import Sample
from watchdog.tsdb.head import Head
from watchdog.tsdb.head_page import HeadPage
from watchdog.tsdb.page import STALE_BITS

STALE_MARKER = float(np.array(STALE_BITS, np.int64).view(np.float64))
VALUES = st.sampled_from([0.0, 1.0, -2.5, 1e9, math.nan, math.inf, STALE_MARKER])
NAMES = ("a", "b", "c", "long")
READS = st.tuples(
    st.integers(-70_000, 400_000).map(lambda dt: dt if dt < -60_000 or dt > 100_000 else 1_000),
    st.sampled_from([NAMES, NAMES, NAMES, NAMES, NAMES[:3], NAMES[:3], NAMES[::-1], ("a",), (), ("a", "a", "b")]),
    st.sampled_from([0, 0, 0, 0, -500, 700_000, "apart"]),
    st.lists(VALUES, min_size=4, max_size=4) | st.just([1.0, 2.0, 3.0, 4.0]),
    st.sampled_from(["keep"] * 9 + ["lose"]),
)


def store_state(store: Head) -> list[Any]:
    return [
        (
            page.keys,
            page.t.tolist(),
            page.v.view(np.int64).tolist()
            if page.v.flags.c_contiguous
            else np.ascontiguousarray(page.v).view(np.int64).tolist(),
            page.watched_since.tolist(),
            page.trimmed_until,
            page.last_gap.tolist(),
            page.newest_gap,
            page.last_written.tolist(),
            page.gone_since.tolist(),
            page.now,
        )
        for page in store.pages
        if isinstance(page, HeadPage)
    ]


def run_reads(reads: list[Any], windows: dict[str, int]) -> list[Any]:
    store, now = Head(windows), 1_000_000
    said: list[Any] = []
    for dt, names, apart, values, what in reads:
        now += dt
        if what == "lose":
            store.mark_source_down("bot", now)
        else:
            times = [now - 7 * i for i in range(len(names))] if apart == "apart" else [now + apart] * len(names)
            said.append(
                store.ingest("bot", now, [Sample(n, (), t, v) for n, t, v in zip(names, times, values, strict=False)])
            )
        said.append(store_state(store))
    return said


@settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(READS, max_size=25), st.sampled_from([{}, {"long": 900_000}]))
def test_a_usual_read_is_kept_as_any_other(reads: list[Any], windows: dict[str, int]) -> None:
    quick = run_reads(reads, windows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeadPage, "append_full_row", lambda *_: False)
        slow = run_reads(reads, windows)

    assert quick == slow


def test_a_usual_read_does_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Head()
    for now in (1_000, 2_000, 3_000):
        store.ingest("bot", now, [Sample(name, (), now, 1.0) for name in NAMES])
    monkeypatch.setattr(HeadPage, "append", None)

    assert store.ingest("bot", 4_000, [Sample(name, (), 4_000, 2.0) for name in NAMES]) == 4_000
    assert [v for _, _, v in store.latest_samples("c")] == [2.0]
