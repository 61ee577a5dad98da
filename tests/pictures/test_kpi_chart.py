"""A KPI as a picture: nothing of its course is lost, it fits a phone, and whatever it is given is drawn."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from watchdog.core.units import UNITS
from watchdog.pictures import kpi_chart
from watchdog.pictures.kpi_chart import COLUMNS, WIDTH, ChartData, Mark, Reference, decimate, draw_chart

UNTIL = 1_767_279_600_000
HOUR = 3_600_000
MAX_BYTES = 150_000

TIMES = np.arange(UNTIL - HOUR, UNTIL, 2_000)
NOISE = np.random.default_rng(7).normal(size=TIMES.size)
DATA = ChartData(
    title="bot: error_ratio",
    subtitle="3 % at 15:00, 14 % at worst",
    unit="ratio",
    start=UNTIL - HOUR,
    until=UNTIL,
    times=TIMES.tolist(),
    values=(0.03 + 0.01 * NOISE).tolist(),
    low=[],
    high=[],
    references=[Reference("crit", 0.1, "limit 10 %"), Reference("baseline", 0.02, "baseline 2 %")],
    marks=[Mark("trip", UNTIL - 900_000, "errors tripped"), Mark("level", UNTIL - 890_000, "feature off")],
    zone="CET (UTC+1)",
    utc_offset=HOUR,
)


def test_every_spike_and_every_gap_is_still_there_after_a_line_was_thinned_out() -> None:
    times = np.arange(0, 86_400_000, 1_000)
    values = np.sin(times / 1e6)
    values[12_345], values[54_321] = 50.0, -60.0
    values[70_000:71_000] = np.nan

    t, v = decimate(times, values)

    assert t.size <= 2 * COLUMNS
    assert (np.diff(t) > 0).all()
    assert v[t == times[12_345]] == 50
    assert v[t == times[54_321]] == -60
    assert np.isnan(v[(t > times[70_100]) & (t < times[70_900])]).all()
    assert np.isnan(v).any()


def test_what_is_short_stays_as_it_is() -> None:
    t, v = decimate(TIMES[:100], NOISE[:100])

    assert t.tolist() == TIMES[:100].tolist()
    assert v.tolist() == NOISE[:100].tolist()


def test_it_goes_to_the_process_and_back_as_json() -> None:
    data = replace(DATA, values=[*DATA.values[:-1], float("nan")])

    back = ChartData.from_json(json.loads(json.dumps(data.to_json())))

    assert back.marks == data.marks
    assert back.references == data.references
    assert str(back) == str(data)


def test_it_is_as_wide_as_a_phone_and_small_and_has_a_background_of_its_own_with_contrast() -> None:
    picture = draw_chart(DATA)

    assert len(picture) < MAX_BYTES
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    assert image.width == WIDTH
    assert 0.6 < image.width / image.height < 1.6
    assert image.getchannel("A").getextrema() == (255, 255)
    assert _contrast(kpi_chart._INK) > 12
    for colour in (kpi_chart._LINE, kpi_chart._DIM, *(each[0] for each in kpi_chart._REFERENCES.values())):
        assert _contrast(colour) > 6
    assert _contrast(kpi_chart._RIM) > 2.8  # its edge is seen in a dark chat, too


def _contrast(colour: str) -> float:
    """As WCAG has it, to the background."""

    def luminance(text: str) -> float:
        parts = [int(text[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    return (luminance(colour) + 0.05) / (luminance(kpi_chart._BACKGROUND) + 0.05)


def test_nothing_is_told_by_colour_alone() -> None:
    assert len({str(dashes) for _, dashes in kpi_chart._REFERENCES.values()}) == len(kpi_chart._REFERENCES)
    assert len({sign for sign, _, _ in kpi_chart._MARKS.values()}) == len(kpi_chart._MARKS)
    assert len({str(dashes) for _, _, dashes in kpi_chart._MARKS.values()}) == len(kpi_chart._MARKS)


@pytest.mark.slow
def test_noise_at_every_place_is_still_small() -> None:
    times = np.linspace(UNTIL - HOUR, UNTIL, 2 * COLUMNS).astype(np.int64)
    data = replace(DATA, times=times.tolist(), values=np.random.default_rng(1).normal(size=times.size).tolist())

    assert len(draw_chart(data)) < MAX_BYTES


NAN = float("nan")
ODD = {
    "nothing at all": {"times": [], "values": [], "references": [], "marks": []},
    "no values": {"values": [NAN] * TIMES.size},
    "one value": {"times": [UNTIL], "values": [3.0]},
    "always the same": {"values": [0.1] * TIMES.size},
    "zero and nothing else": {"values": [0.0] * TIMES.size, "references": []},
    "huge": {"values": (1e300 * NOISE).tolist()},
    "tiny": {"values": (1e-300 * NOISE).tolist(), "references": []},
    "negative": {"values": (-5 - abs(NOISE)).tolist()},
    "gaps everywhere": {"values": np.where(np.arange(TIMES.size) % 2, NOISE, np.nan).tolist()},
    "several series": {"low": (NOISE - 1).tolist(), "high": (NOISE + 1).tolist()},
    "a second": {"start": UNTIL - 1_000},
    "a week": {"start": UNTIL - 7 * 24 * HOUR},
    "half an hour beside UTC": {"utc_offset": 5 * HOUR + HOUR // 2, "zone": "IST (UTC+5:30)"},
    "markup and other scripts": {"title": "$x^2$ <b> \\frac 价格 \u202e {", "subtitle": "$", "zone": "$_$"},
    "long texts": {"title": "x" * 300, "subtitle": "y" * 300, "references": [Reference("crit", 1.0, "z" * 300)]},
    "limits in one place": {"references": [Reference("crit", 0.1, "limit"), Reference("warn", 0.1, "warn")]},
    "a limit far away": {"references": [Reference("crit", 1e12, "limit")]},
    "an infinite limit": {"references": [Reference("crit", float("inf"), "limit")]},
    "many marks at once": {"marks": [Mark("level", UNTIL - 10 * n, f"level {n} $") for n in range(30)]},
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", ODD.values(), ids=list(ODD))
def test_whatever_it_is_given_is_drawn(changes: dict[str, object]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        image = Image.open(io.BytesIO(draw_chart(replace(DATA, **changes))))  # type: ignore[arg-type]

    assert image.width == WIDTH


@pytest.mark.parametrize("unit", [*UNITS, "USDT"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 5e4, 3e9])
def test_ticks_are_round_as_people_read_them(unit: str, size: float) -> None:
    ticks = [each for each in kpi_chart._ticks(0, size, unit) if 0 <= each <= size]

    assert 2 <= len(ticks) <= 8
    if unit == "seconds" and size == 5e4:
        assert {each % 3_600 for each in ticks} == {0}
    if unit == "bytes" and size == 3e9:
        assert {each % (1 << 29) for each in ticks} == {0}
