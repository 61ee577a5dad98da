"""`query`: one expression, asked of the past in files or of the running daemon."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from watchdog import config, history, plots
from watchdog.history.ask import When, answer, names_in
from watchdog.model import Millis, WatchdogError
from watchdog.promql import parse, windows
from watchdog.promql.pages import Ints

_LONGEST: Millis = 400 * 86_400_000
"""How far before the first time a server is asked at most."""
_INF = {"NaN": float("nan"), "+Inf": float("inf"), "-Inf": float("-inf")}


def query(options: argparse.Namespace) -> int:
    when = When(options.at, options.start, options.end, options.step)
    told = _of_files(options.expr, options.history, when) if options.history else _of_daemon(options, when)
    if options.png is not None:
        _draw(told, options.png)
    if options.json:
        print(json.dumps(told))
    elif options.png is None:
        _print(told)
    return 0


def _of_files(expr: str, files: list[str], when: When) -> dict[str, Any]:
    names = names_in(expr)
    servers = any(name.startswith(("http://", "https://")) for name in files)
    now = time.time_ns() // 1_000_000
    span = _span(expr, when.times(now)) if servers and when.start else None
    if (end := history.end_of(files)) is not None:
        times = when.times(end)
        before = max(windows(parse(expr)).values(), default=0)
        pages = history.load(files, metrics=names, within=(int(times[0]) - before, int(times[-1])))
        return answer(expr, pages, times)[1]
    pages = history.load(files, metrics=names, span=span)
    if not servers:
        now = history.span_of(pages)[1]
    return answer(expr, pages, when.times(now))[1]


def _span(expr: str, times: Ints) -> history.Span:
    """What a server is asked for: the times asked for, and the windows before the first of them."""
    step = int(times[1] - times[0]) if times.size > 1 else 1_000
    before = min(max(windows(parse(expr)).values(), default=0), _LONGEST)
    return history.Span(int(times[0]) - before, int(times[-1]), step)


def _of_daemon(options: argparse.Namespace, when: When) -> dict[str, Any]:
    names_in(options.expr)  # a mistake in it is told without asking anybody
    loaded = config.load(options.config, environ=os.environ)
    host = "127.0.0.1" if loaded.web.host in ("0.0.0.0", "::", "") else loaded.web.host  # noqa: S104 – where to ask
    where = f"{f'[{host}]' if ':' in host else host}:{loaded.web.port}"
    said = {"expr": options.expr, "at": when.at, "from": when.start, "to": when.end, "step": when.step}
    asked = urlencode({name: text for name, text in said.items() if text is not None})
    try:
        with urllib.request.urlopen(f"http://{where}/api/query?{asked}", timeout=30) as page:
            told: dict[str, Any] = json.load(page)
    except urllib.error.HTTPError as error:
        raise WatchdogError(_refusal(error)) from None
    except (OSError, ValueError):
        kept = loaded.state / "series.db"
        if not kept.exists():
            cure = "is the service running? --history FILE asks files instead"
            raise WatchdogError(f"no watchdog answers at {where} — {cure}") from None
        print(f"no watchdog answers at {where}: {kept} does, and its end is now", file=sys.stderr)
        told = _of_files(options.expr, [str(kept)], when)
    return told


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the watchdog answers {error.code} — is it as new as this command?"


def _print(told: dict[str, Any]) -> None:
    times, series = told["times"], told["series"]
    if not series:
        print("nothing: no series has a value there", file=sys.stderr)
        return
    if len(times) == 1:
        width = max(len(name(one["labels"])) for one in series)
        for one in series:
            print(f"{name(one['labels']):<{width}}  {_number(one['values'][0])}")
        return
    heads = [name(one["labels"]) for one in series]
    columns = [[_number(v) for v in one["values"]] for one in series]
    widths = [max(len(head), *map(len, column)) for head, column in zip(heads, columns, strict=True)]
    print("  ".join([f"{'time':<23}", *(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))]))
    for i, t in enumerate(times):
        cells = (f"{column[i]:>{width}}" for column, width in zip(columns, widths, strict=True))
        print("  ".join([exactly(t), *cells]))


def _number(v: float | str | None) -> str:
    return "-" if v is None else v if isinstance(v, str) else f"{v:.10g}"


def exactly(t: Millis) -> str:
    """Local time with its milliseconds."""
    return datetime.fromtimestamp(t / 1_000).astimezone().isoformat(sep=" ", timespec="milliseconds")[:23]


def name(labels: dict[str, str]) -> str:
    """Labels as PromQL writes a series."""
    pairs = ", ".join(f'{label}="{text}"' for label, text in labels.items() if label != "__name__")
    metric = labels.get("__name__", "")
    return f"{metric}{{{pairs}}}" if pairs or not metric else metric


def _draw(told: dict[str, Any], path: Path) -> None:
    drawn = {}
    for one in told["series"]:
        v = np.array([_INF[v] if isinstance(v, str) else np.nan if v is None else v for v in one["values"]], np.float64)
        drawn[name(one["labels"])] = (v, np.isfinite(v))
    plots.lines(told["expr"], np.array(told["times"], np.int64), drawn, path)
