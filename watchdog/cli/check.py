"""`check`: every error of every file, what is doubtful, how long each rule takes at worst; the rules explained, or exported."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from watchdog import config
from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.cli.common import open_executor
from watchdog.cli.daemon_api import find_status
from watchdog.cli.output import print_data, print_json, print_line, print_lines
from watchdog.cli.sources import ask_about
from watchdog.config import Config
from watchdog.config.explain import explain_rule
from watchdog.config.latency import Delay, worst_delays
from watchdog.config.polkit import describe_differences, unit_operations
from watchdog.config.probe import ProbeResult, Series, probe_sources
from watchdog.core.errors import ActionError, WatchdogError
from watchdog.core.executor import owner_executor
from watchdog.core.protocols import Source
from watchdog.documents.problems import format_names, unknown_name
from watchdog.host.account import account_by_name
from watchdog.host.privileges import SERVICE_USER
from watchdog.host.systemctl import POLKIT_RULE_FILE, resolve_unit
from watchdog.journal import may_open_journal, open_journal
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.storage import Journal
from watchdog.notifiers.pictures import describe_missing_pictures
from watchdog.offline.source_look import SourceLook
from watchdog.pipeline.machine_state import firing_in
from watchdog.pipeline.removals import find_removals
from watchdog.pipeline.target_reconciliation import describe_unconfigured
from watchdog.prometheus_rules.exporter import describe_export, export_prometheus

_PROBE_INTERVAL_S = 1.0
"""Seconds between the two reads of a probe."""


def register(commands: Commands) -> None:
    command = add_command(
        commands, "check", check, "Check rule files and configuration; list every error with file, line and column."
    )
    command.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="rule files, a folder of rules, or a configuration folder (default: --config)",
    )
    command.add_argument(
        "--alone", action="store_true", help="read rule files by themselves, without the others of their folder"
    )
    command.add_argument(
        "--explain",
        metavar="RULE",
        help="tell in plain English what a rule (of one target: RULE@TARGET) does, defaults included",
    )
    command.add_argument(
        "--probe", action="store_true", help="read each source, and warn of metrics that none delivers"
    )
    command.add_argument("--export", choices=["prometheus"], help="print the rules as a file for a Prometheus server")
    add_config_option(command)


def check(options: argparse.Namespace) -> int:
    probed: list[ProbeResult] = []

    def probe(sources: Mapping[str, Source]) -> ProbeResult:
        with open_executor() as executor:
            token = owner_executor.set(executor)
            try:
                probed.append(
                    probe_sources(
                        sources,
                        lambda: time.time_ns() // 1_000_000,
                        lambda: time.sleep(_PROBE_INTERVAL_S),
                        lambda told: _ask_about(paths[0], told),
                    )
                )
            finally:
                owner_executor.reset(token)
        return probed[0]

    if not options.paths and options.config.is_file():
        config.require_files(options.config)
    paths = options.paths or [config.find_files(options.config).main or options.config]  # as `run` reads it
    with contextlib.nullcontext() if options.export or options.explain else open_executor() as looking:
        checked, problems = config.check_files(
            paths,
            environ=os.environ,
            probe=probe if options.probe else None,
            look=looking,
            alone=options.alone,
        )
    neighbours = [] if options.alone else config.find_neighbours(paths)
    if options.export and checked is not None:
        return _export(checked)
    if options.explain is not None and checked is not None:
        return _explain(checked, options.explain, as_json=options.json)
    warnings = () if checked is None else checked.warnings
    found = probed[0] if probed else None
    late = [] if checked is None else worst_delays(checked, None if found is None else found.metrics())
    failed = {} if found is None else found.failed
    if options.json:
        print_json(
            {
                "errors": [p._asdict() for p in problems],
                "warnings": [p._asdict() for p in warnings],
                "unread": dict(failed),
                "neighbours": neighbours,
                "rules": [delay._asdict() | {"worst": delay.worst} for delay in late],
            }
        )
        return 1 if problems or (checked is not None and _judges_nothing(checked)) else 0
    if neighbours:
        print_line(
            f"note: read together with {format_names(neighbours)}, for what is defined there; --alone reads "
            f"{'it' if len(paths) == 1 else 'them'} without"
        )
    for problem in problems:
        print_line(problem)
    for warning in warnings:
        print_line(f"{warning} (warning)")
    if checked is not None:
        for line in _format_delays(late, list(checked.targets)):
            print_line(line)
        for note in (*_shared_sources(checked), *_orphaned_targets(checked), *_polkit_differences(checked)):
            print_line(f"note: {note}")
        for source, why in failed.items():
            print_line(f"note: the source {source} could not be read: {why}")
        if (missing := describe_missing_pictures(checked.channels)) is not None:
            print_line(f"note: {missing}")
        for note in checked.unchecked:
            print_line(f"note: {note}")
        if checked.sources and not options.probe:
            print_line("note: whether the sources deliver what is asked of them was not looked at: say --probe")
        print_line(_summary(checked))
    if problems:
        print_line(f"{len(problems)} error{'s' if len(problems) > 1 else ''}", is_error=True)
    return 1 if problems or (checked is not None and _judges_nothing(checked)) else 0


def _ask_about(path: Path, told: Sequence[str]) -> dict[str, Series | str]:
    """What the running watchdog has of sources that listen to what others send."""
    folder = path if path.is_dir() else path.parent
    try:
        loaded = config.load_partial(folder, environ=os.environ)
        status = find_status(loaded, folder)
    except WatchdogError as problem:
        return dict.fromkeys(told, str(problem))
    looks = [ask_about(loaded, SourceLook(name, told=True), status) for name in told]
    return {look.name: look.error or frozenset((each.name, each.labels) for each in look.series) for look in looks}


def _shared_sources(checked: Config) -> list[str]:
    """Of targets that say what is their own: what is seen by all of them, but for the machine's."""
    owners = checked.target_by_source
    shared = [name for name, source in checked.sources.items() if owners is not None and name not in owners]
    shared = [name for name in shared if getattr(checked.sources[name], "type", "") != "host"]
    if not shared:
        return []
    return [
        f"no target names {format_names(shared)} as its own, so every target is judged by that, too: "
        "right for a market feed, wrong for a bot"
    ]


def _orphaned_targets(checked: Config) -> list[str]:
    """Of targets that are gone from the files, what the daemon's journal still says; nothing where it cannot be asked."""
    if not checked.sources or not may_open_journal(checked.state):
        return []  # rule files alone, or another user's machine
    try:
        with contextlib.closing(open_journal(checked.state, migrate=False)) as journal:
            known = journal.provenance.find_configuration()
            foreign = config.describe_foreign_state(known, checked.files[0], checked.state, os.environ)
            if foreign is not None:
                return [f"run will refuse this: {foreign}"]
            return [*describe_unconfigured(checked, journal), *_removals(checked, journal)]
    except (JournalError, JournalUnavailableError):
        return []


def _removals(checked: Config, journal: Journal) -> list[str]:
    """What a reload would refuse to take away; targets are spoken of already."""
    watched = config.Inventory.from_json(journal.provenance.find_inventory())
    fates = config.find_fates(checked.files[0].parent, watched.files())
    found = find_removals(watched, checked, fates, firing_in(journal), journal)
    return [
        f"a reload refuses this: it would take away {each} — trading-watchdog reload --yes"
        for each in found
        if not each.what.startswith("target ")
    ]


def _polkit_differences(checked: Config) -> list[str]:
    """What the watchdog's user may do to units, if that is not what the plans do; nothing where nobody may look."""
    if not checked.sources:
        return []  # rule files alone
    try:
        account_by_name(SERVICE_USER)
        rule = Path(POLKIT_RULE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        rule = None
    except (ActionError, OSError, ValueError):  # the watchdog is root; we may not look; somebody's own file
        return []
    notes = describe_differences(unit_operations(checked, resolve_unit), rule)
    return [f"{note} — as root: trading-watchdog polkit --write" for note in notes]


def _format_delays(delays: Iterable[Delay], targets: Sequence[str]) -> Iterator[str]:
    """A line for each rule and level; where it is otherwise for some of its targets, one for those."""
    whose: dict[str, list[str]] = {}
    for delay in delays:
        line = f"{delay.rule:<24} {delay.level} → {delay.plan or 'told':<14} {delay.describe()}"
        whose.setdefault(line, []).append(delay.target)
    for line, names in whose.items():
        few = f"all {len(names)} targets" if len(names) == len(targets) else format_names(names)
        yield f"{line} ({few})" if len(targets) > 1 else line


def _explain(checked: Config, name: str, *, as_json: bool) -> int:
    rule, _, target = name.partition("@")
    if rule not in checked.rules:
        raise WatchdogError(unknown_name("rule", rule, checked.rules))
    if target and target not in (targets := checked.targets_of(rule)):
        raise WatchdogError(unknown_name("target", target, targets))
    text = explain_rule(checked, name)
    if as_json:
        print_json({"rule": name, "text": text})
    else:
        print_lines(text)
    return 0


def _export(checked: Config) -> int:
    exported = export_prometheus(checked)
    print_data(exported.text)
    print_line(describe_export(exported.alerts, exported.unsupported), is_error=True)
    return 0


def _summary(checked: Config) -> str:
    """What there is; of what watches nothing, that it does."""
    counts = ", ".join(_counts(checked))
    if not counts:
        return "nothing is there: no rule, no source, no target"
    if _judges_nothing(checked):
        return f"nothing is judged, there is no rule: {counts} — write one into rules/, or is that folder not mounted?"
    return f"well: {counts}"


def _judges_nothing(checked: Config) -> bool:
    """Files without `watchdog.yaml` may hold KPIs or plans alone: others use them."""
    return not checked.rules and (bool(checked.sources) or not _counts(checked))


def _counts(checked: Config) -> list[str]:
    counts = [
        (len(checked.rules), "rule"),
        (len(checked.kpis), "KPI"),
        (len(checked.plans), "plan"),
        (len(checked.targets), "target"),
        (len(checked.sources), "source"),
        (len(checked.channels), "channel"),
    ]
    return [f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n]
