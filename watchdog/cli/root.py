"""What is begun by root goes on as the account that owns the state folder; see `host.privileges` and `worker.broker`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from watchdog import config
from watchdog.cli import command_line
from watchdog.core.errors import WatchdogError
from watchdog.host import privileges, systemctl
from watchdog.host.account import own_account


def let_go_of_root(path: Path, state: Path, *, acts: bool, writes: bool = True) -> str | None:
    """Nothing when we are not root, or not a process of our own.

    `acts`: on targets, so that somebody must stay who may become their owners. `writes`: into the state folder. Returns
    what a daemon has to say of a right that it could not let go of.

    Raises WatchdogError when the state folder cannot be handed over.
    """
    if os.geteuid() != 0 or not command_line.is_own_process:
        return None
    os.environ.setdefault("LOGNAME", own_account().name)  # who asked, whoever we are from here on
    if acts:
        from watchdog.worker import launch  # what only root needs

        broker = launch.Broker(path)
        launch.use_broker(broker)
        systemctl.ask_root = broker.systemctl
    account = privileges.service_account(state)
    if writes:
        _refuse_more_than_state(path, state)
        privileges.hand_over(state, account)
    unreadable = privileges.drop(account, _believed_files(path))
    if unreadable is None:
        return None
    return (
        f"root alone may read {unreadable}: the right to read every file is kept — "
        f"let user {account.name} read it, or use the unit file"
    )


def _believed_files(path: Path) -> list[Path]:
    """The configuration with what else lies in its folder, as tokens do; and this program."""
    folder = config.find_files(path).folder
    return [folder, *(each for each in folder.rglob("*") if not each.is_symlink()), *_program()]


def _program() -> list[Path]:
    return [Path(sys.executable), Path(os.__file__), Path(__file__)]


def _refuse_more_than_state(path: Path, state: Path) -> None:
    """What lies in the state folder becomes the service's, which may not write what it believes."""
    for each in (config.find_files(path).folder, *_program()):
        if each.resolve().is_relative_to(state.resolve()):
            raise WatchdogError(f"{each} lies in the state folder {state} — give `state` a folder of its own")
