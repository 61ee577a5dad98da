"""KPIs around an incident, drawn: a word-sized line for text, and a PNG."""

from __future__ import annotations

import io

import numpy as np

from watchdog.offline.report.data import IncidentData
from watchdog.pictures import plots
from watchdog.tsdb.page import Floats

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


def sparkline(values: Floats) -> str:
    """The course of the values in a few characters; a space where there was none."""
    columns = [part[np.isfinite(part)] for part in np.array_split(values, min(_WIDTH, max(1, values.size)))]
    known = np.array([float(np.mean(part)) if part.size else np.nan for part in columns])
    if not np.isfinite(known).any():
        return ""
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    scale = (
        1.0 if np.isclose(low, high, rtol=1e-9, atol=0) else high - low
    )  # means of equal values differ in their last bit
    return "".join(" " if v != v else _BARS[int((v - low) / scale * (len(_BARS) - 1))] for v in known)


def draw_chart(data: IncidentData) -> bytes:
    """One strip a KPI over one axis of time; what happened stands as lines. Raises WatchdogError without matplotlib."""
    drawn_series = [line for line in data.lines if np.isfinite(line.values).any()][:6] or data.lines[:1]
    figure = plots.new_figure(10, 1.2 + 1.5 * len(drawn_series))
    strips = figure.subplots(len(drawn_series), 1, sharex=True, squeeze=False)[:, 0]
    opened, until = plots.to_datetimes([data.incident.opened, data.end])
    markers = [
        (event.t, "tab:red" if event.kind == "tripped" else "tab:blue" if event.kind == "step" else "tab:green")
        for event in data.events
        if event.kind in ("tripped", "step", "watch")
    ]
    for axes, line in zip(strips, drawn_series, strict=True):
        axes.plot(plots.to_datetimes(line.times), line.values, linewidth=1.3, color="black")
        axes.axvspan(opened, until, color="tab:red", alpha=0.07)
        if line.baseline is not None:
            axes.axhline(line.baseline, color="tab:green", linewidth=0.8, linestyle="--")
        for t, colour in markers:
            axes.axvline(plots.to_datetimes([t])[0], color=colour, linewidth=0.8, alpha=0.7)
        axes.set_title(line.name, fontsize=9, loc="left", parse_math=False)
        axes.grid(alpha=0.25)
    strips[0].annotate(
        "red: tripped · blue: a step · green: proven, dashed: baseline",
        (1, 1.02),
        xycoords="axes fraction",
        ha="right",
        va="bottom",
        fontsize=8,
    )
    figure.autofmt_xdate()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
