"""`reload`: what the files say comes into force now; what takes away what is watched, only for who says so."""

from __future__ import annotations

import argparse

from watchdog.cli.arguments import Commands, add_command, add_config_option, add_reason_option
from watchdog.cli.common import open_journal, send_request
from watchdog.cli.output import print_json, print_line
from watchdog.core.errors import WatchdogError
from watchdog.journal.lock import StateLock
from watchdog.journal.requests import RELOAD

_WAIT = 75.0
"""Seconds: files may take a minute to be read."""


def register(commands: Commands) -> None:
    command = add_command(
        commands, "reload", reload, "Have the running watchdog read its files now, and hear what became of it."
    )
    command.add_argument(
        "--yes",
        action="store_true",
        help="also where it takes away what fires, what is latched, every rule, every source or every channel",
    )
    add_reason_option(command)
    add_config_option(command)


def reload(options: argparse.Namespace) -> int:
    loaded, journal = open_journal(options.config)
    lock = StateLock(loaded.state)
    if lock.acquire():
        lock.release()
        raise WatchdogError(f"no watchdog runs on {loaded.state} — it reads its files when it starts")
    ok, text = send_request(journal, RELOAD, {"yes": options.yes, "reason": options.reason}, wait=_WAIT)
    if options.json:
        print_json({"ok": ok, "text": text})
    else:
        for line in text.split("\n"):
            print_line(line, is_error=not ok)
    return 0 if ok else 1
