"""What the files let the watchdog do as somebody else: ``python -I -m watchdog.worker allowed CONFIG`` prints it as JSON.

A process of its own, which ends again: whoever stays root does not parse files, nor keeps what stands in them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from watchdog import config
from watchdog.config import Config
from watchdog.config.polkit import unit_operations
from watchdog.core.errors import ActionError, WatchdogError
from watchdog.core.model import JsonObject
from watchdog.core.protocols import OwnedSource
from watchdog.core.target import Target
from watchdog.host.account import names_owner, target_account


def allowed(loaded: Config) -> JsonObject:
    """``{"accounts": uids that own targets, or as whom sources are read, "units": ["restart bot.service", …]}``."""
    accounts = set()
    for target in _owned(loaded):
        try:
            accounts.add(target_account(target).uid)
        except ActionError:  # whoever asks for it is told why
            continue
    return {"accounts": sorted(accounts), "units": unit_operations(loaded, lambda unit: unit)}


def _owned(loaded: Config) -> Iterator[Target]:
    """All that somebody is named for; else whoever asks acts: not root, whom we are."""
    yield from filter(names_owner, loaded.targets.values())
    for source in loaded.sources.values():
        if isinstance(source, OwnedSource):
            with contextlib.suppress(ActionError, FileNotFoundError):
                if names_owner(owner := source.owner()):
                    yield owner


def main() -> int:
    """Files that somebody else than root could write allow nothing."""
    path = Path(sys.argv[1])
    try:
        if config.unsafe_files(path, uid=os.geteuid()):
            return 1
        print(json.dumps(allowed(config.load_partial(path, environ={}))))  # noqa: T201 - what it is for
    except WatchdogError:
        return 1
    return 0
