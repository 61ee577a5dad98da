"""The polkit rule with which systemd lets a watchdog that is not root manage the units that its files name, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress

from watchdog.config.models import Config
from watchdog.core.errors import ActionError
from watchdog.core.target import Target
from watchdog.host.systemctl import mask_service
from watchdog.plans.models import all_steps

_HEAD = """\
// What the plans of the trading watchdog do to units. Written by `trading-watchdog polkit`: to be written anew when the plans
// name other units, and `trading-watchdog check` says when.
polkit.addRule(function(action, subject) {
  var allowed = ["""
_TAIL = """\
  ];
  if (action.id == "org.freedesktop.systemd1.manage-units" && subject.user == %s &&
      allowed.indexOf(action.lookup("verb") + " " + action.lookup("unit")) >= 0)
    return polkit.Result.YES;
});"""
_ENTRY = re.compile(r'^    ("[^\n]*"),?$', re.MULTILINE)


def unit_operations(config: Config, resolve: Callable[[str], str]) -> list[str]:
    """``restart trading-bot.service`` and the like: what any plan may do to a unit, whichever target it is run on.

    `resolve`: a unit's name as the files have it → as systemd has it, which is what polkit is asked with.
    """
    targets = dict(config.targets) or {"": Target()}
    found: dict[tuple[str, str], None] = {}
    for plan_name in config.plans:
        for name, target in targets.items():
            plan = config.plan(plan_name, name)
            for step in () if plan is None else all_steps(plan):
                try:
                    found |= dict.fromkeys(step.bind(target).unit_operations)
                except ActionError:  # no plan for this target
                    continue
    names = {unit: resolve(unit) for _, unit in found}
    return sorted({f"{verb} {names[unit]}" for verb, unit in found}, key=lambda each: each.split(" ")[::-1])


def polkit_rule(operations: Iterable[str], user: str) -> str:
    """JavaScript, about operations as `unit_operations` says them. Names are data: they are quoted."""
    entries = ",\n".join(f"    {json.dumps(_asked_of_polkit(operation))}" for operation in operations)
    return "\n".join([_HEAD, *([entries] if entries else []), _TAIL % json.dumps(user)]) + "\n"


def describe_differences(wanted: Iterable[str], rule: str | None) -> list[str]:
    """In what a rule that `polkit_rule` wrote is not the one for these operations; `rule` None: there is none at all."""
    wanted, allowed = [_asked_of_polkit(operation) for operation in wanted], _allowed_operations(rule or "")
    missing = [operation for operation in wanted if operation not in allowed]
    superfluous = [operation for operation in allowed if operation not in wanted]
    notes = []
    if missing:
        notes.append(f"polkit does not let the watchdog {', '.join(missing)}")
    if superfluous:
        notes.append(f"polkit lets the watchdog {', '.join(superfluous)}, which no plan does")
    return notes


def _asked_of_polkit(operation: str) -> str:
    """To mask is to change unit files, of which polkit is not told which: a unit of root's does it, and that is started."""
    verb, _, unit = operation.partition(" ")
    return f"start {mask_service(unit)}" if verb == "mask" else operation


def _allowed_operations(rule: str) -> list[str]:
    found = []
    for entry in _ENTRY.findall(rule):
        with suppress(ValueError):  # somebody's own line
            found.append(json.loads(entry))
    return found
