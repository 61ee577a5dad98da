"""`init`: a first configuration, made from what there is to look at."""

from __future__ import annotations

import argparse
import contextlib
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from watchdog.cli.arguments import DEFAULT_CONFIG, Commands, add_command, add_config_option
from watchdog.cli.common import open_executor
from watchdog.cli.output import print_json, print_line
from watchdog.core.errors import WatchdogError
from watchdog.core.executor import owner_executor
from watchdog.core.protocols import Source
from watchdog.documents.problems import format_names
from watchdog.offline.init.discover import Discovery, discover
from watchdog.offline.init.draft import SourceDraft
from watchdog.offline.init.kpis import FoundSeries, KpiDraft, recognise
from watchdog.offline.init.write import main_text, rules_text, write_files
from watchdog.offline.source_look import SourceLook, SourceLooker
from watchdog.sources import AnySource

_WEB_PORT, _WEB_PORTS = 9464, 20
_LOOK_PAUSE = 1.0
"""s between two looks at sources of which one is not enough."""


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "init",
        init,
        "Write a first watchdog.yaml and rules/ for a bot, from its files, its address or its unit.",
    )
    command.add_argument(
        "what",
        nargs="*",
        metavar="PATH|URL|UNIT",
        help="the bot's folder, a file of it, a metrics page or JSON API, its systemd unit (default: this folder)",
    )
    add_config_option(command)


def init(options: argparse.Namespace) -> int:
    folder: Path = options.config
    main, rules = folder / "watchdog.yaml", folder / "rules" / "bot.yaml"
    for path in (main, rules):
        if path.exists():
            raise WatchdogError(
                f"{path} is there already, and nothing is overwritten — say --config with another folder"
            )
    with open_executor() as executor:
        token = owner_executor.set(executor)
        try:
            found = discover(options.what or ["."], time.time())
            if not found.sources:
                seen = f": {'; '.join(found.notes)}" if found.notes else ""
                raise WatchdogError(
                    f"nothing was found that says how a bot is doing{seen} — name its files, its address or its unit"
                )
            found.sources.append(SourceDraft("host", {"type": "host", "every": "5s"}, "this machine", is_bot=False))
            looks = _look_at(found)
        finally:
            owner_executor.reset(token)
    problems = {look.name: look.error for look in looks if look.error is not None}
    series = [FoundSeries(look.name, each.name, each.labels, each.value) for look in looks for each in look.series]
    series += [
        FoundSeries(source.name, metric, (), math.nan)
        for source in found.sources
        if source.waits_for is not None
        for metric in source.entry["values"]
    ]
    kpis = recognise(
        series, [source for source in found.sources if source.is_bot and source.name not in problems], found.now
    )
    write_files(
        {
            main: main_text(
                found.sources,
                problems,
                found.notes,
                own_state=folder.resolve() != DEFAULT_CONFIG,
                web_port=_free_port(),
            ),
            rules: rules_text(found.target, kpis, series),
        }
    )
    if options.json:
        print_json(
            {
                "files": [str(main), str(rules)],
                "sources": {source.name: source.entry for source in found.sources},
                "kpis": [each.name for each in kpis],
                "unread": problems,
                "notes": found.notes,
            }
        )
        return 0
    for line in _summary(found, looks, kpis, folder):
        print_line(line)
    return 0


def _look_at(found: Discovery) -> list[SourceLook]:
    """What the entries deliver, as the daemon would read them."""
    sources: dict[str, Source] = {}
    broken: list[SourceLook] = []
    adapter: TypeAdapter[Any] = TypeAdapter(AnySource)
    for draft in found.sources:
        if draft.waits_for is not None:
            broken.append(SourceLook(draft.name, draft.waits_for))
            continue
        try:
            sources[draft.name] = adapter.validate_python(draft.entry)
        except ValidationError as error:
            broken.append(SourceLook(draft.name, str(error.errors()[0]["msg"])))
    looker = SourceLooker(sources, lambda: time.time_ns() // 1_000_000)
    looks = looker.look(explain=False)
    if looker.reads_needed > 1:
        time.sleep(_LOOK_PAUSE)
        looks = looker.look(explain=False)
    return [*looks, *broken]


def _free_port() -> int:
    """Of our own page: another watchdog of this machine may have the usual one."""
    for port in range(_WEB_PORT, _WEB_PORT + _WEB_PORTS):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    return _WEB_PORT


def _summary(found: Discovery, looks: list[SourceLook], kpis: list[KpiDraft], folder: Path) -> Iterator[str]:
    by_name = {look.name: look for look in looks}
    for source in found.sources:
        look = by_name[source.name]
        state = f"{len(look.series)} series" if look.error is None else f"not read yet: {look.error}"
        yield f"{source.name} ({source.entry['type']}): {source.about}, {state}"
        yield from (f"  edit: {each}" for each in source.todo)
    yield from (f"not read: {note}" for note in found.notes)
    names = format_names([each.name for each in kpis]) or "none: say what matters in rules/bot.yaml"
    yield f"recognised: {names}"
    where = "" if folder.resolve() == DEFAULT_CONFIG else f" --config {folder}"
    yield f"written: {folder / 'watchdog.yaml'}"
    yield f"written: {folder / 'rules' / 'bot.yaml'}: its rules change nothing, people are told. Next:"
    yield f"  trading-watchdog check --probe{where}"
    yield f"  trading-watchdog run{where}"
