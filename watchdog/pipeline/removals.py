"""What a configuration would take away that nobody takes away without meaning it: such a reload is asked for on the spot.

A file that is emptied, deleted or cut off is a configuration like any other; that it says less is only seen beside what was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from watchdog.config import Config, Inventory
from watchdog.config.inventory import NOT_NAMED, count, describe_missing
from watchdog.journal.storage import Journal
from watchdog.pipeline.target_reconciliation import find_renamed, successors_of
from watchdog.rules import format_labels
from watchdog.rules.state_machine import StateKey

_EMPTIED = ("is empty", "says nothing, but for comments")
_MAX_FIRING = 20


class Removal(NamedTuple):
    what: str
    """``every rule (3)``, ``rule errors (crit) of bot, which fires``"""
    why: str = ""
    """``rules/bot.yaml is empty``"""

    def __str__(self) -> str:
        if not self.why:
            return self.what
        return f"{self.what} ({self.why})" if ": " in self.what else f"{self.what}: {self.why}"


def find_removals(
    before: Inventory, after: Config, fates: Mapping[str, str], firing: Collection[StateKey], journal: Journal
) -> list[Removal]:
    """None: nothing is taken away that has to be asked for.

    `before`: what is watched now. `fates`: see `find_fates`. `firing`: the thresholds that fire. A target that has another name
    takes its own along.
    """
    known, renamed = Inventory.of(after), find_renamed(after, journal)
    missing = before.missing_in(known)
    whole = list(_whole_sections(before, known, fates))
    found = [*whole, *_firing(before, after, renamed, firing, fates)]
    latched = {state.name: state for state in journal.targets.list_latched()}
    for (rule, target), file in before.rules.items():
        now = renamed.get(target, target)
        if target in latched and now in after.targets and (rule, now) not in known.rules:
            found.append(Removal(f"rule {rule} of {target}, which is latched", _why(file, fates)))
    for target, file in missing.get("targets", {}).items():
        if target in renamed:
            continue
        is_latched = target in latched and not successors_of(after, latched[target].place)
        states = ["is latched"] if is_latched else []
        if (incident := journal.incidents.find_open(target)) is not None:
            states.append(f"has an open incident ({incident.id})")
        states += [f"has {run.plan} at work" for run in journal.runs.list_unfinished(target)[:1]]
        if states:
            found.append(Removal(f"target {target}, which {', '.join(states)}", _why(file, fates)))
    if not whole:
        for section, names in missing.items():
            for emptied in dict.fromkeys(file for file in names.values() if fates.get(file) in _EMPTIED):
                listed = {name: "" for name, file in names.items() if file == emptied}
                found += [Removal(line, _why(emptied, fates)) for line in describe_missing({section: listed}, fates)]
    return found


def summarize(removals: Collection[Removal]) -> str:
    """The first, and how many more."""
    first, *rest = removals
    return f"{first.what}{f' and {len(rest)} more' if rest else ''}"


def _why(file: str | None, fates: Mapping[str, str]) -> str:
    return f"{file} {fates.get(file, NOT_NAMED)}" if file else ""


def _whole_sections(before: Inventory, after: Inventory, fates: Mapping[str, str]) -> Iterator[Removal]:
    there = dict(after.sections())
    for section, names in before.sections():
        if names and not there[section] and section != "targets":
            files = [_why(file, fates) for file in dict.fromkeys(names.values())]
            yield Removal(f"every {section.removesuffix('s')} ({len(names)})", ", ".join(filter(None, files)))


def _firing(
    before: Inventory,
    after: Config,
    renamed: Mapping[str, str],
    firing: Collection[StateKey],
    fates: Mapping[str, str],
) -> list[Removal]:
    checks = {(check.rule, check.level, check.target) for check in after.checks}
    lost = []
    for key in sorted(firing):
        source = dict(key.labels).get("source", "")
        if (key.rule, key.level, renamed.get(key.target, key.target)) not in checks:
            file = before.rules.get((key.rule, key.target))
        elif source in before.sources and source not in after.sources:
            file = before.sources[source]
        else:
            continue
        labels = f" {format_labels(dict(key.labels))}" if key.labels else ""
        lost.append(Removal(f"rule {key.rule} ({key.level}) of {key.target}{labels}, which fires", _why(file, fates)))
    more = len(lost) - _MAX_FIRING
    return [*lost[:_MAX_FIRING], *([Removal(f"{count(more, 'more threshold')}, which fire")] if more > 0 else [])]
