"""What a page remembers of series that are gone, also at the moment at which it grows."""

from __future__ import annotations

import numpy as np

from watchdog.core.model import Sample
from watchdog.tsdb.head import Head
from watchdog.tsdb.head_page import HeadPage
from watchdog.tsdb.page import STALE_BITS

T = 1_767_225_600_000


def test_a_series_that_leaves_as_the_page_grows_is_marked_as_gone_at_that_time() -> None:
    for leaves in range(60, 70):
        head = Head({"d": 900_000})
        for i in range(80):
            there = ("a", "b") if i < leaves else ("a",)
            head.ingest("bot", T + 1_000 * i, [Sample("d", (("x", x),), T + 1_000 * i, 1.0) for x in there])
        (page,) = [one for one in head.pages if isinstance(one, HeadPage) and len(one.keys) == 2]
        row = next(row for row, key in enumerate(page.keys) if ("x", "b") in key)
        at = int(np.searchsorted(page.t, T + 1_000 * leaves))
        assert page.v[row].view(np.int64)[at] == STALE_BITS, leaves
