"""Charts of messages, from what is asked for to the picture: samples are copied on the loop, evaluated in a thread, drawn in a
process. A few are kept: what goes to several channels, or has to be sent again, is drawn once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from watchdog.app.series_copy import copy_series
from watchdog.chat.chart import ChartPlan, LocalTime, make_chart, plan_chart
from watchdog.core.errors import WatchdogError
from watchdog.core.model import Chart, Millis
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.telemetry import log
from watchdog.pictures.drawer import ChartDrawer
from watchdog.pictures.kpi_chart import ChartData
from watchdog.pipeline.pipeline import Pipeline
from watchdog.tsdb.page import PageList
from watchdog.tsdb.page_copy import PageCopy

_MAX_CELLS = 2_000_000
"""Samples that are copied for one picture: 16 MB for a moment."""
_EVALUATION_DEADLINE = 8.0
"""Seconds."""
_KEPT = 4
"""Pictures."""


class Charts:
    """Of one daemon."""

    def __init__(
        self, pipeline: Pipeline, series_db: Path, clock: Callable[[], Millis], drawer: ChartDrawer | None = None
    ) -> None:
        self._pipeline, self._series_db, self._clock = pipeline, series_db, clock
        self._drawer = drawer or ChartDrawer()
        self._thread = ThreadOffload(1, "charts")
        self._tasks: dict[Chart, asyncio.Task[bytes | None]] = {}
        """By what is drawn, the oldest first; done ones are kept for a while."""

    async def draw(self, chart: Chart, deadline: float) -> bytes | None:
        """A PNG; None where there is none within `deadline` seconds: it may be there for who asks later. Never raises.

        One without `until` reaches up to now."""
        chart = chart if chart.until else replace(chart, until=self._clock())
        task = self._tasks.get(chart)
        if task is None:
            task = self._tasks[chart] = asyncio.create_task(self._make(chart), name=f"chart {chart.kpi}")
            for old in [one for one, each in self._tasks.items() if each.done()][: max(0, len(self._tasks) - _KEPT)]:
                del self._tasks[old]
        done, _ = await asyncio.wait([task], timeout=deadline)
        if not done:
            log.info("a message goes without its picture of %s: not drawn within %g s", chart.kpi, deadline)
            return None
        picture = None if task.cancelled() else task.result()
        if picture is None:  # whoever asks next may have more luck
            self._tasks = {one: each for one, each in self._tasks.items() if each is not task}
        return picture

    async def _make(self, chart: Chart) -> bytes | None:
        try:
            if not self._drawer.is_ready():
                return None
            data = await self._collect(chart)
            return None if data is None else await self._drawer.draw(data)
        except (WatchdogError, DeadlineExceededError, StillBusyError) as error:
            log.warning("no picture of %s: %s", chart.kpi, str(error) or type(error).__name__)
        except Exception:
            log.exception("no picture of %s: a mistake of ours", chart.kpi)
        return None

    async def _collect(self, chart: Chart) -> ChartData | None:
        from watchdog.offline.history.query import find_read_range

        now, config = self._clock(), self._pipeline.config
        plan = plan_chart(chart, config, self._pipeline.baselines.checks(), self._pipeline.journal, now)
        if plan is None:
            return None
        reads = find_read_range(plan.expr, plan.list_times())
        copied = await copy_series(self._pipeline.store, reads.metrics, reads.after, reads.until, _MAX_CELLS)
        return await self._thread(f"chart {chart}", _EVALUATION_DEADLINE, self._evaluate, plan, copied)

    def _evaluate(self, plan: ChartPlan, copied: list[PageCopy]) -> ChartData:
        from watchdog.offline.history.query import find_read_range, with_stored_history

        reads = find_read_range(plan.expr, plan.list_times())
        pages = with_stored_history(self._series_db, PageList([one.page() for one in copied]), reads)
        local = time.localtime(plan.until / 1_000)
        return make_chart(plan, pages, LocalTime(local.tm_zone, local.tm_gmtoff * 1_000))

    def close(self) -> None:
        """Ends what is drawn."""
        for task in self._tasks.values():
            with contextlib.suppress(RuntimeError):  # the loop has ended before us
                task.cancel()
        self._tasks.clear()
        self._drawer.close()
        self._thread.close()
