"""`snapshot`: what a target is before a deploy, and back to it."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from watchdog import snapshot
from watchdog.actions.git import deployed_again, standing_reverts
from watchdog.cli.act import ask, be_sure
from watchdog.cli.look import opened
from watchdog.config import Config
from watchdog.config.problem import listed, unknown
from watchdog.journal import Journal, Lock, runs
from watchdog.model import ActionError, Target, WatchdogError
from watchdog.shown import when


def handle(options: argparse.Namespace) -> int:
    """Takes one, goes back to one, or lists what there is."""
    loaded, journal = opened(options.config)
    if options.tag is not None:
        return _take(options, loaded, journal)
    if options.restore is not None:
        return _restore(options, loaded, journal)
    known = snapshot.listing(loaded.state / "snapshots")
    if options.json:
        print(
            json.dumps(
                [{"name": one.name, "target": one.target, "taken": one.taken, "commit": one.commit} for one in known]
            )
        )
        return 0
    for one in known:
        print(f"{one.name:<32} {one.target:<12} {when(one.taken)}  {(one.commit or '')[:10]}  {len(one.saved)} files")
    if not known:
        print("there is no snapshot yet: trading-watchdog snapshot --tag before-v3")
    return 0


def _take(options: argparse.Namespace, loaded: Config, journal: Journal) -> int:
    name, target = _target(loaded, options.target)
    wanted = [Path(target.repo or "", file) for file in options.save]
    wanted += [path for path in snapshot.flag_files(loaded.plans.values(), target) if path not in wanted]
    made = snapshot.take(loaded.state / "snapshots", options.tag, name, target, wanted, _now())
    notes = _notes(target)
    captured = _capture(loaded, journal)
    if options.json:
        files = [one.path for one in made.saved]
        print(
            json.dumps(
                {
                    "name": made.name,
                    "target": name,
                    "commit": made.commit,
                    "files": files,
                    "baselines": captured,
                    "notes": notes,
                }
            )
        )
        return 0
    print(f"snapshot {made.name} of {name}" + (f": tag {made.name} on {made.commit[:10]}" if made.commit else ""))
    for one in made.saved:
        print(f"  saved {one.path}")
    print(f"  baselines: {captured}")
    for note in notes:
        print(f"  note: {note}")
    print(f"back to it: trading-watchdog snapshot --restore {made.name}")
    return 0


def _restore(options: argparse.Namespace, loaded: Config, journal: Journal) -> int:
    folder = loaded.state / "snapshots"
    made = snapshot.find(folder, options.restore)
    _, target = _target(loaded, made.target)
    if at_work := runs.unended(journal, made.target):
        raise WatchdogError(f"plan {at_work[0].plan} is at work on {made.target}: wait for its end, or abort it")
    diff, other = snapshot.changes(made)
    if not options.json:
        print(diff, end="")
        for one in other:
            print(f" {one.path}: {one.what}")
    if diff.strip() or other:
        be_sure(options, f"Put {made.target} back to {made.name}?")
    said, aside = snapshot.restore(folder, made, target, _now())
    if options.json:
        print(json.dumps({"done": said, "replaced": aside}))
        return 0
    print(said)
    if aside is not None:
        print(f"what was replaced is snapshot {aside}; restart the bot: it goes on with what it has loaded")
    return 0


def _target(loaded: Config, name: str | None) -> tuple[str, Target]:
    if name is None and len(loaded.targets) == 1:
        (name,) = loaded.targets
    if name is None:
        raise WatchdogError(f"say which target: {listed(loaded.targets)}")
    if name not in loaded.targets:
        raise WatchdogError(unknown("target", name, loaded.targets))
    return name, loaded.targets[name]


def _notes(target: Target) -> list[str]:
    """What a person should know who is about to deploy on top of this."""
    if target.repo is None:
        return []
    try:
        again, standing = deployed_again(target.repo), standing_reverts(target.repo)
    except ActionError as error:
        return [f"what was rolled back before cannot be told: {error}"]
    return [f"{bad[:10]} ({subject}) was rolled back before, and runs again" for bad, subject in again] + [
        f"{one.bad[:10]} ({one.subject}) is taken back by {one.by[:10]}: merging it anew brings nothing; "
        f"git revert {one.by[:10]} does"
        for one in standing
    ]


def _capture(loaded: Config, journal: Journal) -> str:
    kpis = [name for name, kpi in loaded.kpis.items() if kpi.baseline == "captured"]
    if not kpis:
        return "no KPI says baseline: captured"
    lock = Lock(loaded.state)
    if lock.take():
        lock.release()
        return "not captured: no watchdog runs"
    granted, text = ask(journal, "capture", {"kpis": kpis, "for": 0})
    return f"capturing {text}" if granted else f"not captured: {text}"


def _now() -> int:
    return time.time_ns() // 1_000_000
