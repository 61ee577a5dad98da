"""From what a message is to show to its picture."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MINUTE, SECOND, PipelineHarness
from watchdog.app.charts import Charts
from watchdog.app.series_writer import SeriesWriter
from watchdog.core.model import Chart
from watchdog.core.telemetry import Telemetry
from watchdog.pictures.drawer import ChartDrawer
from watchdog.pictures.kpi_chart import ChartData

LONG = 90.0


class FakeDrawer(ChartDrawer):
    """Notes what it is to draw."""

    def __init__(self, *, ready: bool = True) -> None:
        super().__init__()
        self.ready = ready
        self.drawn: list[ChartData] = []
        self.release = asyncio.Event()
        self.release.set()
        self.picture: bytes | None = b"PNG"

    def is_ready(self) -> bool:
        return self.ready

    async def draw(self, data: ChartData) -> bytes | None:
        self.drawn.append(data)
        await self.release.wait()
        return self.picture


class Bot:
    def __init__(self, folder: Path) -> None:
        self.harness = PipelineHarness(folder)
        self.drawer = FakeDrawer()
        self.writer = SeriesWriter(self.harness.config, Telemetry("test"), lambda _: None)
        self.writer.path.parent.mkdir(exist_ok=True)
        self.charts = Charts(self.harness.pipeline, self.writer.path, lambda: self.harness.now, self.drawer)

    @property
    def chart(self) -> Chart:
        return Chart("errors", "bot", until=self.harness.now, span=10 * MINUTE)

    def draw(self, chart: Chart, deadline: float = LONG) -> bytes | None:
        return asyncio.run(self.charts.draw(chart, deadline))


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[Bot]:
    made = Bot(tmp_path)
    made.harness.rounds(20)
    made.harness.round(error_ratio=0.07)
    yield made
    made.charts.close()


def test_a_chart_is_drawn_from_the_samples_in_memory(bot: Bot) -> None:
    assert bot.draw(bot.chart) == b"PNG"

    (data,) = bot.drawer.drawn
    assert data.title == "bot: errors"
    assert data.values[-1] == 0.07
    assert 0.01 in data.values


def test_one_picture_is_drawn_for_several_channels_and_tries(bot: Bot) -> None:
    async def tell() -> None:
        drawn = await asyncio.gather(*(bot.charts.draw(bot.chart, LONG) for _ in range(3)))
        assert [*drawn, await bot.charts.draw(bot.chart, LONG)] == [b"PNG"] * 4

    asyncio.run(tell())
    assert len(bot.drawer.drawn) == 1


def test_one_that_reaches_up_to_now_is_drawn_anew_as_time_goes_on(bot: Bot) -> None:
    async def tell() -> None:
        for _ in range(2):
            assert await bot.charts.draw(Chart("errors", "bot"), LONG) == b"PNG"
            bot.harness.round()

    asyncio.run(tell())
    assert [data.until for data in bot.drawer.drawn] == [bot.harness.now - 2 * SECOND, bot.harness.now - SECOND]


def test_different_charts_at_once_are_all_drawn(bot: Bot) -> None:
    async def tell() -> None:
        charts = [Chart("errors", "bot", until=bot.harness.now - n * SECOND) for n in range(8)]
        assert await asyncio.gather(*(bot.charts.draw(each, LONG) for each in charts)) == [b"PNG"] * 8
        assert await bot.charts.draw(bot.chart, LONG) == b"PNG"
        assert len(bot.charts._tasks) <= 5  # the older ones are not kept

    asyncio.run(tell())


def test_what_comes_too_late_is_there_for_who_asks_later(bot: Bot, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def tell() -> None:
        bot.drawer.release.clear()
        assert await bot.charts.draw(bot.chart, 0.01) is None
        assert "without its picture of errors" in caplog.text
        bot.drawer.release.set()
        assert await bot.charts.draw(bot.chart, LONG) == b"PNG"

    asyncio.run(tell())
    assert len(bot.drawer.drawn) == 1


def test_what_could_not_be_drawn_is_tried_again_when_asked_again(bot: Bot) -> None:
    async def tell() -> None:
        bot.drawer.picture = None
        assert await bot.charts.draw(bot.chart, LONG) is None
        bot.drawer.picture = b"PNG"
        assert await bot.charts.draw(bot.chart, LONG) == b"PNG"

    asyncio.run(tell())


def test_without_matplotlib_nothing_is_gathered(bot: Bot) -> None:
    bot.drawer.ready = False

    assert bot.draw(bot.chart) is None
    assert bot.drawer.drawn == []


def test_a_mistake_costs_the_picture_alone(bot: Bot, caplog: pytest.LogCaptureFixture) -> None:
    del bot.charts._series_db

    assert bot.draw(bot.chart) is None
    assert "a mistake of ours" in caplog.text


def test_what_the_file_knows_of_the_time_before_is_shown_as_well(tmp_path: Path) -> None:
    """In memory is only what the rules read."""
    bot = Bot(tmp_path)
    bot.writer.restore(bot.harness.pipeline.store, bot.harness.now)
    bot.harness.rounds(5, error_ratio=0.03)
    early = bot.harness.now

    async def tell() -> None:
        bot.harness.rounds(5, error_ratio=0.01)
        await bot.writer.write(bot.harness.now, {})
        bot.harness.now += 150 * MINUTE
        bot.harness.rounds(70)  # until memory has made room
        await bot.charts.draw(Chart("errors", "bot", span=180 * MINUTE, until=bot.harness.now), LONG)
        await bot.writer.stop(bot.harness.now, {})

    asyncio.run(tell())
    bot.charts.close()
    kept = [int(page.t[0]) for page in bot.harness.pipeline.store.pages if page.rows_named("error_ratio")]
    assert min(kept) > early
    (data,) = bot.drawer.drawn
    assert dict(zip(data.times, data.values, strict=True))[early] == 0.03
    assert data.values[-1] == 0.01
