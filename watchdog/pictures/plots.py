"""Pictures. matplotlib is only needed here, and only imported when a picture is asked for."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from watchdog.core.errors import WatchdogError, install_command
from watchdog.core.model import Millis
from watchdog.core.text import escape
from watchdog.tsdb.page import Bools, Floats, Ints

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_LEGEND_ENTRIES = 12


def describe_missing() -> str | None:
    """Why there are no pictures, and the cure; None: there are. Imports nothing."""
    try:
        is_there = find_spec("matplotlib") is not None
    except (ImportError, ValueError):  # somebody has barred it
        is_there = False
    return None if is_there else _missing()


def _missing() -> str:
    return f"pictures need matplotlib — {install_command('matplotlib')}"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches. Raises WatchdogError where matplotlib is missing."""
    # Where it keeps its cache is nothing to tell: whoever asks for a picture may act as a user without a home.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise WatchdogError(_missing()) from None
    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def import_all() -> None:
    """What takes a second, ahead of the first picture. Raises WatchdogError where matplotlib is missing."""
    figure = new_figure(1, 1)
    figure.savefig(io.BytesIO(), format="png")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes the PNG. Raises WatchdogError."""
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise WatchdogError(f"{path}: {error.strerror} — check the path") from None


def to_datetimes(times: Ints | Sequence[Millis]) -> Any:
    """ms → what matplotlib takes; UTC."""
    return np.asarray(times, np.int64).astype("datetime64[ms]")


def plot_lines(title: str, times: Ints, series: Mapping[str, tuple[Floats, Bools]], path: Path) -> None:
    """One line for each series: values [times] and whether there is one, with a gap where there is none."""
    figure = new_figure(10, 4.5)
    axes = figure.subplots()
    x = to_datetimes(times)
    for name, (v, there) in series.items():
        axes.plot(
            x, np.where(there, v, np.nan), label=escape(name) or "{}", marker="." if len(x) < 3 else "", linewidth=1.2
        )
    axes.set_title(escape(title), fontsize=10, parse_math=False)
    axes.grid(alpha=0.3)
    if 0 < len(series) <= _MAX_LEGEND_ENTRIES:
        for text in axes.legend(fontsize=8).get_texts():
            text.set_parse_math(False)
    figure.autofmt_xdate()
    save_figure(figure, path)
