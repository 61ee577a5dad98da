"""Changes to the world. The union below is the only registry: a new action is a file, a line, a test and a page."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from watchdog.actions.archive import Archive
from watchdog.actions.command import Command
from watchdog.actions.flag import Flag
from watchdog.actions.git import Git
from watchdog.actions.http import Http
from watchdog.actions.process import Process
from watchdog.actions.restore import Restore
from watchdog.actions.systemd import Systemd

__all__ = ["Action", "Archive", "Command", "Flag", "Git", "Http", "Process", "Restore", "Systemd"]

Action = Annotated[Flag | Git | Systemd | Process | Http | Archive | Restore | Command, Field(discriminator="do")]
