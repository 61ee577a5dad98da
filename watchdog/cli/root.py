"""What is begun by root goes on as the account that owns the state folder; see `host.privileges` and `worker.broker`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from watchdog import config
from watchdog.cli import command_line
from watchdog.core.telemetry import log
from watchdog.host import privileges, systemctl
from watchdog.journal.lock import OUR_FILES


def let_go_of_root(path: Path, state: Path, *, acts: bool, writes: bool = True) -> None:
    """Nothing when we are not root, or not a process of our own.

    `acts`: on targets, so that somebody must stay who may become their owners. `writes`: into the state folder.

    Raises WatchdogError when the state folder cannot be handed over.
    """
    if os.geteuid() != 0 or not command_line.is_own_process:
        return
    if acts:
        from watchdog.worker import launch  # what only root needs

        broker = launch.Broker(path)
        launch.use_broker(broker)
        systemctl.ask_root = broker.systemctl
    account = privileges.service_account(state)
    if writes:
        privileges.hand_over(state, account, OUR_FILES)
    unreadable = privileges.drop(account, _believed_files(path))
    if unreadable is not None and acts:
        log.warning(
            "root alone may read %s: the right to read every file is kept — let user %s read it, or use the unit file",
            *(unreadable, account.name),
        )


def _believed_files(path: Path) -> list[Path]:
    """The configuration with what else lies in its folder, as tokens do; and this program."""
    folder = config.find_files(path).folder
    program = [Path(sys.executable), Path(os.__file__), Path(__file__)]
    return [folder, *(each for each in folder.rglob("*") if not each.is_symlink()), *program]
