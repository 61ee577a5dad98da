"""`sources`: what each source delivers at the moment, which KPIs read it, and what its expressions match."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from watchdog import config
from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.cli.common import format_series, load_or_salvage, open_executor
from watchdog.cli.daemon_api import ask_for_json, find_status
from watchdog.cli.output import print_json, print_line, print_table
from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.core.executor import owner_executor
from watchdog.core.model import Labels, Millis
from watchdog.core.protocols import Match
from watchdog.core.text import shorten
from watchdog.core.units import format_duration, json_number
from watchdog.documents.problems import suggest, unknown_name
from watchdog.offline.source_look import SeriesLook, SourceLook, SourceLooker, readers_of, undelivered_metrics

_FEW_SERIES = 20
"""Of a source, where several are shown."""
_MANY_SERIES = 1_000
"""Of the one that was named."""
_MAX_WAIT = 2.0
"""s from the first look to the second, by which rates are known."""
_METRICS_AT_ONCE, _MANY_METRICS = 10, 200
"""Of a source that is told: how many the watchdog is asked the times of."""
_METRIC = "trading_watchdog_metric"
_MAX_WIDTH = 60
"""Characters of a series in the table."""


def register(commands: Commands) -> None:
    command = add_command(
        commands, "sources", sources, "What each source delivers right now, which KPIs read it, and what is missing."
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="these sources (default: all)")
    how_often = command.add_mutually_exclusive_group()
    how_often.add_argument("--once", action="store_true", help="look once: sooner, and without rates")
    how_often.add_argument("--watch", action="store_true", help="look again and again, until Ctrl-C")
    add_config_option(command)


def sources(options: argparse.Namespace) -> int:
    loaded = load_or_salvage(options.config)
    for name in options.names:
        if name not in loaded.sources:
            raise WatchdogError(_why_unknown(name, loaded, options.config))
    if not loaded.sources:
        raise WatchdogError("there is no source — add one under sources: in watchdog.yaml (docs/sources/README.md)")
    chosen = {name: source for name, source in loaded.sources.items() if not options.names or name in options.names}
    looker = SourceLooker(chosen, lambda: time.time_ns() // 1_000_000)
    pause = min(_MAX_WAIT, max(0.1, *(source.every / 1_000 for source in chosen.values())))
    with open_executor() as executor:
        token = owner_executor.set(executor)
        try:
            looks = looker.look(explain=options.once)
            while not options.once:
                time.sleep(pause)
                looks = looker.look()
                if not options.watch:
                    break
                _print_looks(options, loaded, looks)
        finally:
            owner_executor.reset(token)
    return 0 if _print_looks(options, loaded, looks) else 1


def _why_unknown(name: str, loaded: Config, folder: Path) -> str:
    """An entry with a mistake in it is left out: who asks for it wants to know the mistake."""
    try:
        config.load(folder, environ=os.environ, may_leave_out=True)
    except config.ConfigError as error:
        in_main = [problem for problem in error.problems if problem.file.endswith("watchdog.yaml")]
        if in_main:
            return f"source {shorten(name, 80)} is not among those that are well: {in_main[0]}"
    return unknown_name("source", name, loaded.sources)


def _print_looks(options: argparse.Namespace, loaded: Config, looks: Sequence[SourceLook]) -> bool:
    """Whether all of them are up."""
    status, unknown = None, ""
    try:
        status = find_status(loaded, options.config)
    except WatchdogError as problem:  # what the sources say does not depend on who has our address, or on how it is
        unknown = str(problem)
        if not options.json:
            print_line(f"note: {problem}")
    looks = [ask_about(loaded, look, status, unknown) if look.told else look for look in looks]
    all_up = all(look.error is None for look in looks)
    undelivered = {} if options.names else undelivered_metrics(loaded, looks)
    if options.json:
        print_json({"sources": [_as_json(loaded, look, status) for look in looks], "undelivered": undelivered})
        return all_up
    for look in looks:
        _print_look(loaded, look, status, _MANY_SERIES if options.names else _FEW_SERIES)
    delivered = {series.name for look in looks for series in look.series}
    for metric, readers in undelivered.items():
        cure = suggest(metric, delivered)
        read = "reads" if len(readers) == 1 else "read"
        print_line(f"no source delivers {metric}, which {', '.join(readers)} {read}{f' — {cure}' if cure else ''}")
    return all_up


def _print_look(loaded: Config, look: SourceLook, status: Any, most: int) -> None:
    source = loaded.sources[look.name]
    kind = getattr(source, "type", "?")
    print_line(f"{look.name} ({kind}, every {format_duration(source.every)}): {_describe(look)}")
    for note in _notes(look, status):
        print_line(f"  {note}")
    readers = readers_of(loaded, look.name)
    # What is judged comes first: it is what people look for.
    ordered = sorted(look.series, key=lambda series: (not readers(series.name), series.name, series.labels))
    rows = [_row(series, readers) for series in ordered[:most]]
    if rows:
        print_table([[f"  {row[0]}", *row[1:]] for row in rows])
    if len(ordered) > most:
        print_line(f"  and {len(ordered) - most} more: trading-watchdog sources {look.name}")
    for match in look.matches:
        for line in _format_match(match):
            print_line(f"  {line}")


def _row(series: SeriesLook, readers: Callable[[str], tuple[str, ...]]) -> list[str]:
    name = shorten(format_series({"__name__": series.name, **dict(series.labels)}), _MAX_WIDTH)
    rate = "" if series.rate is None else f"{series.rate:.3g}/s"
    value = json_number(series.value)
    shown, read_by = value if isinstance(value, str) else f"{value:.10g}", ", ".join(readers(series.name)) or "-"
    return [name, shown, rate, _format_age(series.age), read_by]


def _describe(look: SourceLook) -> str:
    if look.error is not None:
        return f"down: {look.error}"
    if look.told:
        return f"{len(look.series)} series, as the watchdog has them"
    return f"up, {len(look.series)} series, read in {look.duration} ms"


def _notes(look: SourceLook, status: Any) -> Iterator[str]:
    if look.cut is not None:
        yield f"cut: {look.cut}"
    theirs = None if status is None else status["sources"].get(look.name)
    if theirs is not None and theirs.get("flaps"):
        yield f"it flaps, says the running watchdog: {theirs['flaps']}"
    if theirs is not None and not theirs["up"] and theirs["error"] and theirs["error"] != look.error and not look.told:
        yield f"the running watchdog says otherwise: {theirs['error']}"


def _format_match(match: Match) -> Iterator[str]:
    if match.why:
        seen = f": {shorten(match.found[0], 100)}" if match.found else ""
        yield f"{match.key}: {shorten(match.expression, 80)} says nothing, {match.why}{seen}"
    elif not match.found:
        yield f"{match.key}: {shorten(match.expression, 80)} matches nothing" + ("; nearest:" if match.nearest else "")
    if not match.found or match.why:
        yield from (f"  {shorten(near, 110)}" for near in match.nearest)


def _format_age(age: Millis | None) -> str:
    if age is None:
        return "?"
    return "now" if age < 1_000 else f"{format_duration(age // 1_000 * 1_000)} old"


def ask_about(loaded: Config, look: SourceLook, status: Any, unknown: str = "") -> SourceLook:
    """What the running watchdog has of a source that is told; `status`: what it says of itself, None where none runs, or for
    the reason `unknown`."""
    if status is None:
        why = unknown or "no watchdog runs that could say what came"
        return look._replace(error=f"it listens to what others send, and {why}")
    theirs = status["sources"].get(look.name)
    if theirs is None:
        return look._replace(error="the running watchdog does not know it yet")
    try:
        asked = _query(loaded, f'{{source="{look.name}"}}', "__name__")
    except WatchdogError as problem:
        return look._replace(error=str(problem))
    values = {series: value for series, (value, _) in asked.items() if series[0] != "up"}
    times: dict[tuple[str, Labels], float] = {}
    names = sorted({name for name, _ in values})
    for start in range(0, min(len(names), _MANY_METRICS), _METRICS_AT_ONCE):
        parts = (
            f'label_replace(timestamp({{__name__="{name}", source="{look.name}"}}), "{_METRIC}", "{name}", "", "")'
            for name in names[start : start + _METRICS_AT_ONCE]
        )
        for series, (t, now) in _query(loaded, " or ".join(parts), _METRIC).items():
            times[series] = now - t * 1_000
    found = tuple(
        SeriesLook(*series, value, None if series not in times else max(0, round(times[series])))
        for series, value in values.items()
    )
    error = None if theirs["up"] else theirs["error"] or "nothing was received yet"
    return look._replace(error=error, series=found)


def _query(loaded: Config, expr: str, name_label: str) -> dict[tuple[str, Labels], tuple[float, Millis]]:
    """Metric and labels → value, and the time (ms) that the running watchdog was asked for; nothing where it says why not.
    Raises WatchdogError."""
    _, answer = ask_for_json(loaded, f"/api/query?{urlencode({'expr': expr})}", 10_000)
    found = {}
    for one in answer.get("series", ()):
        labels = {name: text for name, text in one["labels"].items() if name not in ("source", "target")}
        name = labels.pop(name_label, "")
        found[name, tuple(sorted(labels.items()))] = float(one["values"][-1]), answer["times"][-1]
    return found


def _as_json(loaded: Config, look: SourceLook, status: Any) -> dict[str, Any]:
    readers = readers_of(loaded, look.name)
    return {
        "name": look.name,
        "type": getattr(loaded.sources[look.name], "type", None),
        "every": loaded.sources[look.name].every,
        "error": look.error,
        "duration": look.duration,
        "notes": list(_notes(look, status)),
        "series": [_series_as_json(series, readers) for series in look.series],
        "matches": [match._asdict() for match in look.matches],
    }


def _series_as_json(series: SeriesLook, readers: Callable[[str], Iterable[str]]) -> dict[str, Any]:
    return {
        "name": series.name,
        "labels": dict(series.labels),
        "value": series.value,
        "age": series.age,
        "rate": series.rate,
        "read_by": list(readers(series.name)),
    }
