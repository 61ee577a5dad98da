"""Changes to the world. The union below is the only registry: a new action is a file, a line, a test and a page."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from watchdog.actions.archive import ArchiveAction
from watchdog.actions.command import CommandAction
from watchdog.actions.flag import FlagAction
from watchdog.actions.git.action import GitAction
from watchdog.actions.http import HttpAction
from watchdog.actions.process import ProcessAction
from watchdog.actions.restore import RestoreAction
from watchdog.actions.systemd import SystemdAction

__all__ = [
    "AnyAction",
    "ArchiveAction",
    "CommandAction",
    "FlagAction",
    "GitAction",
    "HttpAction",
    "ProcessAction",
    "RestoreAction",
    "SystemdAction",
]

AnyAction = Annotated[
    FlagAction | GitAction | SystemdAction | ProcessAction | HttpAction | ArchiveAction | RestoreAction | CommandAction,
    Field(discriminator="do"),
]
