"""`polkit`: the rule that lets a watchdog which is not root manage the units of its plans."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from watchdog import config
from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.cli.output import print_data, print_line
from watchdog.config.polkit import polkit_rule, unit_operations
from watchdog.core.errors import WatchdogError
from watchdog.host.privileges import SERVICE_USER
from watchdog.host.systemctl import POLKIT_RULE_FILE, resolve_unit


def register(commands: Commands) -> None:
    command = add_command(
        commands,
        "polkit",
        polkit,
        "Print the polkit rule that lets the watchdog manage the units that its plans name, and no other.",
        as_json=False,
    )
    command.add_argument("--write", action="store_true", help=f"write it to {POLKIT_RULE_FILE} instead")
    command.add_argument("--user", default=SERVICE_USER, metavar="NAME", help="as whom it runs (%(default)s)")
    add_config_option(command)


def polkit(options: argparse.Namespace) -> int:
    operations = unit_operations(config.load(options.config, environ=os.environ, may_leave_out=True), resolve_unit)
    rule = polkit_rule(operations, options.user)
    if not options.write:
        print_data(rule)
        return 0
    try:
        _replace(Path(POLKIT_RULE_FILE), rule)
    except OSError as problem:
        raise WatchdogError(f"{POLKIT_RULE_FILE}: {problem.strerror} — as root, with polkitd installed") from None
    print_line(
        f"{POLKIT_RULE_FILE} lets {options.user}: {', '.join(operations) or 'nothing, as no plan manages a unit'}"
    )
    return 0


def _replace(path: Path, text: str) -> None:
    """As a whole, since polkitd reads it at once. OSError when that is not ours to do."""
    beside = path.with_name(f"{path.name}.new")  # polkitd reads what ends with .rules
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()  # left over from a crash
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - its mode
        os.fchmod(file.fileno(), 0o644)  # whatever our umask is: it is polkitd who reads it
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
