"""`drill`: a plan rehearsed on copies."""

from __future__ import annotations

import argparse
import dataclasses

from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.cli.common import open_executor, open_journal
from watchdog.cli.dry_run import plan_of
from watchdog.cli.output import print_json, print_line, print_lines
from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.documents.problems import unknown_name
from watchdog.offline.drill.rehearse import RowResult, rehearse_plan

_MAX_DIFF_LINES = 40
"""Lines of a diff; --json has them all."""


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "drill",
        rehearse,
        "Rehearse a plan on copies of the repository and the files: what would fail tonight.",
    )
    command.add_argument("plan", metavar="PLAN")
    command.add_argument(
        "--target", metavar="NAME", help="only this one (default: every target whose rules start the plan)"
    )
    add_config_option(command)


def rehearse(options: argparse.Namespace) -> int:
    loaded, journal = open_journal(options.config, acts=True)
    plan = loaded.plans.get(options.plan)
    if plan is None:
        raise WatchdogError(unknown_name("plan", options.plan, loaded.plans))
    names = [options.target] if options.target else _targets_of(loaded, options.plan)
    for name in names:
        if name not in loaded.targets:
            raise WatchdogError(unknown_name("target", name, loaded.targets))
    with open_executor() as executor:
        rows = {
            name: rehearse_plan(plan_of(loaded, options.plan, name), loaded.targets[name], executor) for name in names
        }
    for name in names:
        latched = journal.targets.find_latch_reason(name)
        if latched is not None and plan.kind == "repair":
            cure = f'trading-watchdog resume {name} --reason "…" first'
            rows[name].append(RowResult("guard", (), (f"{name} is latched ({latched}): {cure}",)))
    wrong = any(row.problems for listed in rows.values() for row in listed)
    if options.json:
        print_json({name: [dataclasses.asdict(row) for row in listed] for name, listed in rows.items()})
        return int(wrong)
    for name, listed in rows.items():
        print_line(f"{options.plan} on {name}")
        for row in listed:
            _print_row(row)
    print_line("it would fail tonight" if wrong else "it would work tonight, as far as can be told without doing it")
    return int(wrong)


def _targets_of(loaded: Config, plan: str) -> list[str]:
    """The targets for which a rule starts the plan, or that a plan started by a rule falls back on; else all of them."""
    starts = {plan} | {name for name, known in loaded.plans.items() if getattr(known, "exhausted", None) == plan}
    found = {
        target
        for (_, target), rule in loaded.rules_by_target.items()
        if rule.crit is not None and rule.crit.plan in starts
    }
    return [name for name in loaded.targets if name in found] or list(loaded.targets)


def _print_row(row: RowResult) -> None:
    print_line()
    print_line(f"{row.name}{'' if not row.problems else ': WOULD FAIL'}")
    for step in row.steps:
        if step.how == "fails":
            continue  # it stands among the problems
        print_line(f"  {step.say}: {step.how}{f' — {step.detail}' if step.detail else ''}")
        lines = step.diff.removesuffix("\n").split("\n") if step.diff else []
        print_lines("\n".join(lines[:_MAX_DIFF_LINES]), indent="      ")
        if len(lines) > _MAX_DIFF_LINES:
            print_line(f"      … {len(lines) - _MAX_DIFF_LINES} more lines")
    for problem in row.problems:
        print_line(f"  ✗ {problem}")
