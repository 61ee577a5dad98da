"""`snapshot`: what a target is before a deploy, and back to it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from watchdog.actions.git.commit_refs import redeployed_commits, reverts_in_force
from watchdog.cli.arguments import Commands, add_command, add_config_option, add_yes_option
from watchdog.cli.common import confirm, open_executor, open_journal, send_request
from watchdog.cli.output import print_json, print_line, print_lines
from watchdog.config import Config
from watchdog.core.errors import ActionError, WatchdogError
from watchdog.core.executor import Executor
from watchdog.core.target import Target
from watchdog.documents.problems import format_names, unknown_name
from watchdog.journal.lock import StateLock
from watchdog.journal.storage import Journal
from watchdog.offline import snapshot
from watchdog.web.status_rows import format_time


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "snapshot",
        run_snapshot,
        "Before a deploy: tag the commit and save files; --restore undoes the deploy.",
    )
    command.add_argument("target", nargs="?", metavar="TARGET", help="needed when there are several")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--tag", metavar="NAME", help="take one of this name (default: list what there is)")
    which.add_argument("--restore", metavar="NAME", help="back to it: a new commit, and the saved files byte for byte")
    command.add_argument(
        "--save",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="save these too, beside the files in which plans set flags; relative to the repo",
    )
    add_yes_option(command)
    add_config_option(command)


def run_snapshot(options: argparse.Namespace) -> int:
    """Takes one, goes back to one, or lists what there is."""
    loaded, journal = open_journal(options.config, acts=True)
    if options.tag is not None or options.restore is not None:
        with open_executor() as executor:
            command = _take if options.tag is not None else _restore
            return command(options, loaded, journal, executor)
    known = snapshot.listing(loaded.state / "snapshots")
    if options.json:
        print_json(
            [{"name": one.name, "target": one.target, "taken": one.taken, "commit": one.commit} for one in known]
        )
        return 0
    for one in known:
        print_line(
            f"{one.name:<32} {one.target:<12} {format_time(one.taken)}  {(one.commit or '')[:10]}  {len(one.saved)} files"
        )
    if not known:
        print_line("there is no snapshot yet: trading-watchdog snapshot --tag before-v3")
    return 0


def _take(options: argparse.Namespace, loaded: Config, journal: Journal, executor: Executor) -> int:
    name, target = _target(loaded, options.target)
    wanted = [Path(target.repo or "", file).absolute() for file in options.save]
    wanted += [path for path in snapshot.flag_files(loaded.plans.values(), target, executor) if path not in wanted]
    taken = snapshot.take(loaded.state / "snapshots", options.tag, name, target, wanted, _now_ms(), executor)
    notes = _deploy_notes(target, executor)
    captured = _capture_baselines(loaded, journal)
    if options.json:
        files = [one.path for one in taken.saved]
        print_json(
            {
                "name": taken.name,
                "target": name,
                "commit": taken.commit,
                "files": files,
                "baselines": captured,
                "notes": notes,
            }
        )
        return 0
    print_line(
        f"snapshot {taken.name} of {name}" + (f": tag {taken.name} on {taken.commit[:10]}" if taken.commit else "")
    )
    for one in taken.saved:
        print_line(f"  saved {one.path}")
    print_line(f"  baselines: {captured}")
    for note in notes:
        print_line(f"  note: {note}")
    print_line(f"back to it: trading-watchdog snapshot --restore {taken.name}")
    return 0


def _restore(options: argparse.Namespace, loaded: Config, journal: Journal, executor: Executor) -> int:
    folder = loaded.state / "snapshots"
    chosen = snapshot.find(folder, options.restore)
    _, target = _target(loaded, chosen.target)
    if at_work := journal.runs.list_unfinished(chosen.target):
        raise WatchdogError(f"plan {at_work[0].plan} is at work on {chosen.target}: wait for its end, or abort it")
    diff, other = snapshot.pending_changes(chosen, target, executor)
    if not options.json:
        print_lines(diff)
        for one in other:
            print_line(f" {one.path}: {one.effect}")
    if diff.strip() or other:
        confirm(options, f"Put {chosen.target} back to {chosen.name}?")
    done, replaced_name = snapshot.restore(folder, chosen, target, _now_ms(), executor)
    if options.json:
        print_json({"done": done, "replaced": replaced_name})
        return 0
    print_line(done)
    if replaced_name is not None:
        print_line(
            f"what was replaced is snapshot {replaced_name}; restart the bot: it goes on with what it has loaded"
        )
    return 0


def _target(loaded: Config, name: str | None) -> tuple[str, Target]:
    if name is None and len(loaded.targets) == 1:
        (name,) = loaded.targets
    if name is None:
        raise WatchdogError(f"say which target: {format_names(loaded.targets)}")
    if name not in loaded.targets:
        raise WatchdogError(unknown_name("target", name, loaded.targets))
    return name, loaded.targets[name]


def _deploy_notes(target: Target, executor: Executor) -> list[str]:
    """What a person should know who is about to deploy on top of this."""
    if target.repo is None:
        return []
    try:
        redeployed = executor.call(target, redeployed_commits, target.repo)
        reverts = executor.call(target, reverts_in_force, target.repo)
    except ActionError as error:
        return [f"what was rolled back before cannot be told: {error}"]
    return [f"{bad[:10]} ({subject}) was rolled back before, and runs again" for bad, subject in redeployed] + [
        f"{one.reverted_commit[:10]} ({one.subject}) is taken back by {one.reverting_commit[:10]}: merging it anew brings nothing; "
        f"git revert {one.reverting_commit[:10]} does"
        for one in reverts
    ]


def _capture_baselines(loaded: Config, journal: Journal) -> str:
    kpis = [name for name, kpi in loaded.kpis.items() if kpi.baseline == "captured"]
    if not kpis:
        return "no KPI says baseline: captured"
    lock = StateLock(loaded.state)
    if lock.acquire():
        lock.release()
        return "not captured: no watchdog runs"
    granted, text = send_request(journal, "capture", {"kpis": kpis, "for": 0})
    return f"capturing {text}" if granted else f"not captured: {text}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
