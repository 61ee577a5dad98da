"""`query`: one expression, asked of the past in files or of the running daemon."""

from __future__ import annotations

import argparse
import contextlib
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from watchdog.cli.arguments import Commands, add_command, add_config_option, add_history_option
from watchdog.cli.common import format_series, load_or_salvage, open_journal
from watchdog.cli.daemon_api import DaemonFaultError, NobodyAnswersError, ask_for_json, daemon_address, find_status
from watchdog.cli.output import print_json, print_line, print_table
from watchdog.core.errors import WatchdogError
from watchdog.core.model import Millis
from watchdog.offline.history import loader
from watchdog.offline.history.query import QueryTimes, metrics_in, run_query
from watchdog.pictures import plots
from watchdog.promql import EvaluationLimits, parse, required_lookback
from watchdog.tsdb.page import Ints
from watchdog.tsdb.schema import SERIES_FILE

_MAX_WINDOW: Millis = 400 * 86_400_000
"""How far before the first time a server is asked at most."""
_FILE_LIMITS = EvaluationLimits(2_000_000_000, 100_000_000, 1_000_000, 256_000_000)
"""Whoever asks files has a process of his own for it, on a machine that may be the bot's."""
_SPECIAL_VALUES = {"NaN": float("nan"), "+Inf": float("inf"), "-Inf": float("-inf")}


def register(commands: Commands) -> None:
    command = add_command(
        commands, "query", query, "Ask a PromQL expression of history files, or of the running watchdog."
    )
    command.add_argument("expr", metavar="EXPR", help="PromQL")
    command.add_argument(
        "--at", metavar="TIME", help="one time: ISO 8601, seconds or milliseconds, now, now-1h (default: the end)"
    )
    command.add_argument("--from", dest="start", metavar="TIME", help="first time of several")
    command.add_argument("--to", dest="end", metavar="TIME", help="last time (default: the end)")
    command.add_argument("--step", metavar="DURATION", help="from one time to the next (default: 300 steps)")
    add_history_option(command, text="CSV, OpenMetrics text, series.db, a Prometheus's address; else the watchdog")
    command.add_argument("--png", type=Path, metavar="FILE", help="draw a picture instead of a table")
    add_config_option(command)


def query(options: argparse.Namespace) -> int:
    query_times = QueryTimes(options.at, options.start, options.end, options.step)
    result = (
        _query_files(options.expr, options.history, query_times)
        if options.history
        else _query_daemon(options, query_times)
    )
    if options.png is not None:
        _draw_plot(result, options.png)
    if options.json:
        print_json(result)
    elif options.png is None:
        _print_table(result)
    return 0


def _query_files(expr: str, files: list[str], query_times: QueryTimes) -> dict[str, Any]:
    names = metrics_in(expr)
    servers = any(name.startswith(("http://", "https://")) for name in files)
    now = time.time_ns() // 1_000_000
    span = _server_range(expr, query_times.times(now)) if servers and query_times.start else None
    if (end := loader.last_sample_time(files)) is not None:
        times = query_times.times(end)
        before = max(required_lookback(parse(expr)).values(), default=0)
        pages = loader.load(files, metrics=names, within=(int(times[0]) - before, int(times[-1])))
        return run_query(expr, pages, times, _FILE_LIMITS)[1]
    pages = loader.load(files, metrics=names, span=span)
    if not servers:
        now = loader.time_span(pages)[1]
    return run_query(expr, pages, query_times.times(now), _FILE_LIMITS)[1]


def _server_range(expr: str, times: Ints) -> loader.QueryRange:
    """What a server is asked for: the times asked for, and the windows before the first of them."""
    step = int(times[1] - times[0]) if times.size > 1 else 1_000
    before = min(max(required_lookback(parse(expr)).values(), default=0), _MAX_WINDOW)
    return loader.QueryRange(int(times[0]) - before, int(times[-1]), step)


def _query_daemon(options: argparse.Namespace, query_times: QueryTimes) -> dict[str, Any]:
    metrics_in(options.expr)  # a mistake in it is told without asking anybody
    loaded = load_or_salvage(options.config)
    args = {
        "expr": options.expr,
        "at": query_times.at,
        "from": query_times.start,
        "to": query_times.end,
        "step": query_times.step,
    }
    query_string = urlencode({name: text for name, text in args.items() if text is not None})
    with contextlib.suppress(DaemonFaultError):  # it may answer a query all the same
        find_status(loaded, options.config)  # another one's samples are not told as ours
    try:
        status, result = ask_for_json(loaded, f"/api/query?{query_string}", 30_000)
        if not 200 <= status < 300:
            raise WatchdogError(str(result.get("error") or f"the watchdog answers {status}"))
    except NobodyAnswersError:
        where, kept = daemon_address(loaded), loaded.state / SERIES_FILE
        if not kept.exists():
            cure = "is the service running? --history FILE asks files instead"
            raise WatchdogError(f"no watchdog answers at {where} — {cure}") from None
        open_journal(options.config)[1].close()  # which knows whose the state folder is
        print_line(f"no watchdog answers at {where}: {kept} does, and its end is now", is_error=True)
        result = _query_files(options.expr, [str(kept)], query_times)
    return result


def _print_table(result: dict[str, Any]) -> None:
    times, series = result["times"], result["series"]
    if not series:
        print_line("nothing: no series has a value there", is_error=True)
        return
    heads = [format_series(one["labels"]) for one in series]
    columns = [[_format_number(v) for v in one["values"]] for one in series]
    if len(times) == 1:
        print_table([(head, column[0]) for head, column in zip(heads, columns, strict=True)])
    else:
        rows = ([format_time_ms(t), *(column[i] for column in columns)] for i, t in enumerate(times))
        print_table([["time", *heads], *rows], align=">")


def _format_number(v: float | str | None) -> str:
    return "-" if v is None else v if isinstance(v, str) else f"{v:.10g}"


def format_time_ms(t: Millis) -> str:
    """Local time with its milliseconds."""
    return datetime.fromtimestamp(t / 1_000).astimezone().isoformat(sep=" ", timespec="milliseconds")[:23]


def _draw_plot(result: dict[str, Any], path: Path) -> None:
    drawn = {}
    for one in result["series"]:
        v = np.array(
            [_SPECIAL_VALUES[v] if isinstance(v, str) else np.nan if v is None else v for v in one["values"]],
            np.float64,
        )
        drawn[format_series(one["labels"])] = (v, np.isfinite(v))
    plots.plot_lines(result["expr"], np.array(result["times"], np.int64), drawn, path)
