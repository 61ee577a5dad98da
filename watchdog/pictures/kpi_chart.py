"""One KPI as a picture for a phone: its values with limits and baseline, and what happened. Pure: data in, PNG out.

It has a background of its own, dark, with a rim: it is read the same in a dark and in a light chat. Nothing is told by colour
alone: each line has dashes of its own and its name on it, each mark a shape and a line of text below.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from watchdog.core.model import Millis
from watchdog.core.text import shorten
from watchdog.core.units import Unit, format_apart
from watchdog.pictures import plots
from watchdog.tsdb.page import Floats, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, _HEIGHT, _LINE_HEIGHT = 1080, 800, 44
"""Pixels; the height without the lines of text below, and of each of them."""
COLUMNS = 900
"""Places beside each other that a line has: of more values the least and the greatest in each are drawn."""
MAX_MARKS = 7
_DPI = 110
_LARGE, _TEXT, _SMALL, _SIGN = 25, 21, 19, 16
"""Sizes of type in points: a phone shows the picture at a third of its width."""
_BACKGROUND, _RIM, _INK, _DIM, _GRID = "#161b22", "#6b7684", "#f2f5f8", "#b6c0cc", "#39424e"
_LINE, _BAND = "#6fc3ff", "#2c5878"
_REFERENCES: dict[str, tuple[str, Any]] = {
    "crit": ("#ff8a4c", "--"),
    "warn": ("#f0e442", (0, (1.2, 1.6))),
    "baseline": ("#4fd8ab", (0, (8, 2.5, 1.2, 2.5))),
}
_MARKS = {"trip": ("▼", "#ff8a4c", "-"), "level": ("", "#f2f5f8", (0, (3, 2))), "end": ("◆", "#4fd8ab", (0, (1, 1.5)))}
_MAX_TITLE, _MAX_SUBTITLE, _MAX_TEXT, _MAX_NAME = 46, 62, 56, 30
_FIRST_ROW, _ROW = 14, 25
"""Points above the plot at which signs of marks stand, and from one row of them to the next."""
_MAX_ROWS = 4
_COLOURS = 64
"""In a picture; with those between its lines and their background."""
_SECONDS = (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800)
"""From one tick to the next, where they are durations of minutes and more."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A level at which a line is drawn."""

    kind: Literal["crit", "warn", "baseline"]
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened, and when."""

    kind: Literal["trip", "level", "end"]
    t: Millis
    text: str


@dataclass(frozen=True, slots=True)
class ChartData:
    """All that is drawn: it is JSON."""

    title: str
    subtitle: str
    unit: Unit
    start: Millis
    until: Millis
    times: list[Millis]
    values: list[float]
    """NaN: there was none."""
    low: list[float]
    high: list[float]
    """Of all series, where there are several; else empty."""
    references: list[Reference]
    marks: list[Mark]
    zone: str
    """What the clock is called, ``CET``, …"""
    utc_offset: Millis
    """… and how far it is ahead of UTC."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> ChartData:
        references = [Reference(**each) for each in known["references"]]
        return cls(**known | {"references": references, "marks": [Mark(**each) for each in known["marks"]]})


def decimate(times: Ints, values: Floats, columns: int = COLUMNS) -> tuple[Ints, Floats]:
    """No more than twice as many values as `columns`, in which every spike and every gap is still there: of each column the
    least and the greatest, each at its time; NaN where a column has none."""
    if times.size <= 2 * columns:
        return times, values
    kept = set[int]()
    column = (times - times[0]) * columns // (times[-1] - times[0] + 1)
    for part in np.split(np.arange(times.size), np.flatnonzero(np.diff(column)) + 1):
        known = part[~np.isnan(values[part])]
        kept |= (
            {int(known[values[known].argmin()]), int(known[values[known].argmax()])} if known.size else {int(part[0])}
        )
    rows = np.array(sorted(kept))
    return times[rows], values[rows]


def draw_chart(data: ChartData) -> bytes:
    """A PNG. Raises WatchdogError without matplotlib."""
    marks = [mark for mark in data.marks if data.start <= mark.t <= data.until]
    more = [f"and {len(marks) - MAX_MARKS} more"] if len(marks) > MAX_MARKS else []
    marks = marks[:MAX_MARKS]
    below = len(marks) + len(more)
    figure = plots.new_figure(WIDTH / _DPI, (_HEIGHT + _LINE_HEIGHT * below) / _DPI)
    figure.set_dpi(_DPI)
    figure.patch.set(facecolor=_BACKGROUND, edgecolor=_RIM, linewidth=4)
    figure.set_layout_engine("constrained", w_pad=0.22, h_pad=0.2)
    axes = figure.subplots()
    axes.set_facecolor(_BACKGROUND)
    _draw_values(axes, data)
    _draw_scale(axes, data)
    _draw_time(axes, data)
    rows = _draw_marks(axes, data, marks)
    axes.set_title(
        shorten(data.subtitle, _MAX_SUBTITLE),
        fontsize=_TEXT, color=_DIM, loc="left", pad=8 + _ROW * rows, parse_math=False,
    )  # fmt: skip
    figure.suptitle(
        shorten(data.title, _MAX_TITLE), fontsize=_LARGE, color=_INK, weight="bold", x=0.03, ha="left", parse_math=False
    )
    lines = [f"local time, {data.zone}"]
    lines += [f"{_sign(mark, marks)}  {_clock(mark.t, data)}  {shorten(mark.text, _MAX_TEXT)}" for mark in marks]
    axes.set_xlabel("\n".join(lines + more), fontsize=_TEXT, color=_INK, loc="left", linespacing=1.4, parse_math=False)
    figure.draw_without_rendering()
    _name_references(axes, data)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=_BACKGROUND, edgecolor=_RIM)
    return _with_palette(buffer)


def _with_palette(picture: io.BytesIO) -> bytes:
    """The same PNG in a third of the bytes: it has few colours."""
    from PIL import Image  # matplotlib's own writer of PNGs

    smaller = io.BytesIO()
    with Image.open(picture) as image:
        image.convert("RGB").quantize(_COLOURS).save(smaller, format="png", optimize=True)
    return smaller.getvalue()


def _at(times: Sequence[Millis], data: ChartData) -> Any:
    return plots.to_datetimes(np.asarray(times, np.int64) + data.utc_offset)


def _draw_values(axes: Axes, data: ChartData) -> None:
    x = _at(data.times, data)
    if data.low:
        axes.fill_between(x, np.array(data.low), np.array(data.high), color=_BAND, linewidth=0)
    values = np.array(data.values, np.float64)
    known = ~np.isnan(values)
    axes.plot(x, values, color=_LINE, linewidth=3.2, solid_joinstyle="round", solid_capstyle="round")
    before, after = np.append(False, known[:-1]), np.append(known[1:], False)
    alone = known & ~before & ~after  # no line goes through them
    axes.plot(x[alone], values[alone], color=_LINE, linestyle="", marker="o", markersize=7)
    if not known.any():
        axes.text(
            0.5, 0.5, "no values in this time", transform=axes.transAxes, ha="center", color=_INK, fontsize=_LARGE
        )


def _draw_scale(axes: Axes, data: ChartData) -> None:
    """The range that is shown: of all values, limits and the baseline."""
    seen = [value for value in (*data.values, *data.low, *data.high) if math.isfinite(value)]
    seen += [each.value for each in data.references if math.isfinite(each.value)]
    low, high = (min(seen), max(seen)) if seen else (0.0, 1.0)
    spread = (high - low) or abs(high) or 1.0
    low, high = low - 0.07 * spread, high + 0.12 * spread
    axes.set_ylim(low, high)
    ticks = [tick for tick in _ticks(low, high, data.unit) if low <= tick <= high]
    axes.set_yticks(ticks, format_apart(ticks, data.unit), fontsize=_SMALL, color=_INK, parse_math=False)
    axes.tick_params(colors=_INK, length=0, pad=8)
    axes.grid(axis="y", color=_GRID, linewidth=1.5)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=_RIM, linewidth=2)
    for each in data.references:
        colour, dashes = _REFERENCES[each.kind]
        axes.axhline(each.value, color=colour, linewidth=3, linestyle=dashes)


def _ticks(low: float, high: float, unit: Unit) -> list[float]:
    """Some numbers between that are round as people read them."""
    from matplotlib.ticker import MaxNLocator

    least = (high - low) / 5
    step = 0.0
    if unit == "seconds" and least > 30:
        step = next((each for each in _SECONDS if each >= least), 0.0)
    elif unit == "bytes" and least > 64:
        step = 2.0 ** math.ceil(math.log2(least))
    if step:
        return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    scale = 100.0 if unit == "ratio" else 1.0
    return [float(tick) / scale for tick in MaxNLocator(5).tick_values(low * scale, high * scale)]


def _draw_time(axes: Axes, data: ChartData) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    margin = max(1, (data.until - data.start) // 40)
    axes.set_xlim(*_at([data.start, data.until + margin], data))
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=7))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(DateFormatter(_pattern(data)))  # type: ignore[no-untyped-call]
    axes.tick_params(axis="x", labelsize=_SMALL)


def _pattern(data: ChartData) -> str:
    long = data.until - data.start
    return (
        "%H:%M:%S"
        if long <= 240_000
        else "%H:%M"
        if long <= 90_000_000
        else "%d %b"
        if long > 260_000_000
        else "%a %H:%M"
    )


def _clock(t: Millis, data: ChartData) -> str:
    """Time of a mark: with its day where the picture has several."""
    day = data.until - data.start > 90_000_000
    moment = plots.to_datetimes([t + data.utc_offset])[0].astype(object)
    return str(moment.strftime("%a %H:%M" if day else "%H:%M:%S"))


def _sign(mark: Mark, marks: Sequence[Mark]) -> str:
    """Its shape; of a level its number in the picture."""
    return _MARKS[mark.kind][0] or str(1 + [each for each in marks if each.kind == "level"].index(mark))


def _draw_marks(axes: Axes, data: ChartData, marks: Sequence[Mark]) -> int:
    """Returns in how many rows their signs stand above the plot: those close together stand above each other."""
    close = (data.until - data.start) // 18
    ends: list[Millis] = []
    for mark in marks:
        _, colour, dashes = _MARKS[mark.kind]
        (x,) = _at([mark.t], data)
        axes.axvline(x, color=colour, linewidth=2.6, linestyle=dashes)
        row = next((n for n, end in enumerate(ends) if mark.t >= end), len(ends))
        row = min(row, _MAX_ROWS - 1)
        ends[row : row + 1] = [mark.t + close]
        axes.annotate(
            _sign(mark, marks), (x, 1), xycoords=("data", "axes fraction"), xytext=(0, _FIRST_ROW + _ROW * row),
            textcoords="offset points", ha="center", va="center", fontsize=_SIGN, weight="bold",
            color=_BACKGROUND if mark.kind == "level" else colour, annotation_clip=False,
            bbox={"boxstyle": "square,pad=0.2", "facecolor": colour} if mark.kind == "level" else None,
        )  # fmt: skip
    return len(ends)


def _name_references(axes: Axes, data: ChartData) -> None:
    """Each at its line, none over another: what is close together is moved up, and down from the top."""
    from matplotlib.patheffects import withStroke

    gap = 1.3 * _SMALL * _DPI / 72
    shown = sorted(data.references, key=lambda one: one.value)
    lines = [float(axes.transData.transform((axes.get_xlim()[0], each.value))[1]) for each in shown]
    top = float(axes.transAxes.transform((0, 1))[1]) - gap
    at: list[float] = []
    for n, y in enumerate(lines):
        at.append(min(max(y, at[-1] + gap) if at else y, top - gap * (len(lines) - 1 - n)))
    for each, line, y in zip(shown, lines, at, strict=True):
        axes.annotate(
            shorten(each.text, _MAX_NAME), (0, each.value), xycoords=("axes fraction", "data"),
            xytext=(8, 3 + (y - line) * 72 / _DPI), textcoords="offset points", ha="left", va="bottom", fontsize=_SMALL,
            color=_REFERENCES[each.kind][0], weight="bold", parse_math=False, zorder=6,
            path_effects=[withStroke(linewidth=5, foreground=_BACKGROUND)],
        ).set_in_layout(False)  # fmt: skip
